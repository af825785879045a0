"""What a model's own files say about turning its token vectors into the vector of a text.

The files are those that the sentence-transformers library writes. Whatever in them is not carried out here is refused,
because leaving a step out would give vectors that look right and are not the model's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from rowvec.embedders.architectures import positions_of, unsupported
from rowvec.errors import EmbedderError

MODULES = "modules.json"
POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""How a pooling module was written before it had a single `pooling_mode`."""


@dataclass(frozen=True, slots=True)
class ModelRecipe:
    """How the vector of a text is made."""

    pooling: str = "mean"
    """`mean` of the token vectors, or `cls`: the first one."""
    normalize: bool = False
    """Scaled to length 1."""
    max_tokens: int = 512
    """The window that the model was made for, special tokens included."""
    limit: int = 512
    """The most tokens that its positions allow."""
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str = ""

    def prompt(self, *names: str) -> str:
        """The first prompt among `names` that the model has, or else the one it puts before everything."""
        return next((self.prompts[name] for name in names if self.prompts.get(name)), self.default_prompt)


def read_recipe(name: str, folder: Path, config: Mapping[str, Any]) -> ModelRecipe:
    """The recipe of the model in `folder`; `config` is its config.json.

    A folder without modules.json is a bare encoder: as in the sentence-transformers library, its vectors are the
    mean of the token vectors, not normalised.

    Raises:
        EmbedderError: a module, a kind of pooling or an option that the local embedder does not carry out.
    """
    pooling, normalize = _modules(name, folder)
    settings = _encoder_settings(folder)
    positions = positions_of(config, name)
    limit = positions.stop - positions.start
    prompts = read_json(folder / "config_sentence_transformers.json", missing={})
    if prompts.get("truncate_dim") is not None:
        raise unsupported(name, f"its vectors are cut to {prompts['truncate_dim']} dimensions")
    texts = {key: text for key, text in (prompts.get("prompts") or {}).items() if text}
    return ModelRecipe(
        pooling=pooling,
        normalize=normalize,
        max_tokens=_window(folder, settings, limit),
        limit=limit,
        lower_case=bool(settings.get("do_lower_case")),
        prompts=texts,
        default_prompt=texts.get(prompts.get("default_prompt_name"), ""),
    )


def _modules(name: str, folder: Path) -> tuple[str, bool]:
    """How the model pools, and whether it normalises."""
    pooling, normalize = "mean", False
    kinds = []
    modules: Sequence[Mapping[str, Any]] = read_json(folder / MODULES, missing=())
    for module in modules:
        kind, place = str(module.get("type")), PurePosixPath(module.get("path", ""))
        # The library has moved its classes between its own packages; a class of any other package is the model's own.
        kinds.append(kind.rpartition(".")[2] if kind.startswith("sentence_transformers.") else kind)
        if place.is_absolute() or ".." in place.parts:
            raise EmbedderError(f"The modules.json of the model {name!r} names a folder outside the model: '{place}'.")
        if kinds[-1] == "Transformer" and place.parts:
            raise unsupported(name, f"its encoder lies in '{place}' instead of the model's own folder")
        if kinds[-1] == "Pooling":
            pooling = _pooling(name, read_json(folder / place / "config.json"))
        normalize |= kinds[-1] == "Normalize"
    if modules and kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        known = "Transformer, Pooling and Normalize"
        raise unsupported(name, f"its modules are {', '.join(kinds)}, but this embedder only runs {known}")
    return pooling, normalize


def _pooling(name: str, settings: Mapping[str, Any]) -> str:
    modes = settings.get("pooling_mode") or [mode for flag, mode in POOLING_FLAGS.items() if settings.get(flag)]
    modes = [modes] if isinstance(modes, str) else modes or ["mean"]
    if len(modes) != 1 or modes[0] not in ("mean", "cls"):
        raise unsupported(name, f"its pooling is {' + '.join(modes)}, but this embedder only does mean or cls")
    if settings.get("include_prompt") is False:
        raise unsupported(name, "its pooling leaves the prompt out")
    return str(modes[0])


def _encoder_settings(folder: Path) -> Mapping[str, Any]:
    # Named after the architecture that the library first met, whatever the model is.
    path = next(iter(sorted(folder.glob("sentence_*_config.json"))), None)
    return read_json(path) if path else {}


def _window(folder: Path, settings: Mapping[str, Any], limit: int) -> int:
    nested = settings.get("processor_kwargs") or settings.get("tokenizer_args") or {}
    wanted = settings.get("max_seq_length") or nested.get("model_max_length")
    if wanted is None:
        wanted = read_json(folder / "tokenizer_config.json", missing={}).get("model_max_length", limit)
    return min(int(wanted), limit)


def read_json(path: Path, missing: Any = None) -> Any:
    """The content of a JSON file; `missing`, where given, for one that is not there.

    Raises:
        EmbedderError: not there, or not JSON.
    """
    if missing is not None and not path.exists():
        return missing
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EmbedderError(
            f"The model file {path} cannot be read: {error}.",
            hint="The model is damaged or half downloaded: fetch it again.",
        ) from error
