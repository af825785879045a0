"""What a model's own files say about turning its token vectors into the vector of a text.

The files are those that the sentence-transformers library writes. Whatever in them is not carried out here is refused,
because leaving a step out would give vectors that look right and are not the model's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from rowvec.embedders.architectures import family_of, positions_of, unsupported
from rowvec.embedders.dense import Dense, read_dense
from rowvec.embedders.model_json import Settings, damaged, read_json, shown
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


POOLINGS = ("mean", "cls", "max", "lasttoken", "weightedmean")
QUERY, PASSAGE = ("query",), ("document", "passage", "corpus")
"""The names of prompts, the first of which counts that says anything."""
SIMILARITIES = ("cosine", "dot", "dot_product", "euclidean", "manhattan")


@dataclass(frozen=True, slots=True)
class ModelRecipe:
    """How the vector of a text is made."""

    pooling: str = "mean"
    """One of POOLINGS: the `mean` of the token vectors, or the first one (`cls`), or the last, or the largest value of
    each dimension, or the mean where the token at place n counts n times."""
    dense: tuple[Dense, ...] = ()
    """Layers behind pooling, in turn."""
    normalize: bool = False
    """Scaled to length 1."""
    max_tokens: int = 512
    """The window that the model was made for, special tokens included."""
    limit: int = 512
    """The most tokens that its positions allow."""
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    """By name. One that is empty says that nothing is put before a text."""
    default_prompt: str | None = None
    """The name of the prompt that goes before texts of no kind of their own."""
    similarity: str = "cosine"
    """What the model was trained to be compared by: cosine, dot, euclidean or manhattan."""
    dimensions: int | None = None
    """The first numbers of each vector that count; None for all."""

    def prompt(self, *names: str) -> str:
        """What goes before a text: the first prompt among `names` that says anything; "" where they say to put nothing;
        else the default one, unless that is for queries and this is none, or the other way round."""
        said = [self.prompts[name] for name in names if name in self.prompts]
        if said:
            return next(filter(None, said), "")
        others = PASSAGE if "query" in names else QUERY
        return "" if self.default_prompt in (None, *others) else self.prompts.get(str(self.default_prompt), "")


def read_recipe(name: str, folder: Path, config: Mapping[str, Any]) -> ModelRecipe:
    """The recipe of the model in `folder`; `config` is its config.json.

    A folder without modules.json is a bare encoder: as in the sentence-transformers library, its vectors are the
    mean of the token vectors, not normalised.

    Raises:
        EmbedderError: a module, a kind of pooling or an option that the local embedder does not carry out.
    """
    pooling, places, normalize = _modules(name, folder)
    settings = encoder_settings(folder)
    positions = positions_of(config, name)
    limit = positions.stop - positions.start
    if limit < 3:
        raise unsupported(name, f"its {positions.stop} positions leave room for {max(0, limit)} tokens")
    window = window_of(folder, settings, limit)
    if window < 3:
        raise unsupported(name, f"its window is {window} tokens, which leaves no room for a text")
    own = Settings(folder / "config_sentence_transformers.json", optional=True)
    similarity = own.text("similarity_fn_name", "cosine", among=SIMILARITIES)
    return ModelRecipe(
        pooling=pooling,
        dense=_dense(name, [folder / place for place in places], config),
        normalize=normalize,
        max_tokens=window,
        limit=limit,
        lower_case=bool(settings.flag("do_lower_case")),
        prompts=_prompts(own),
        default_prompt=own.text("default_prompt_name") or None,
        similarity=similarity.removesuffix("_product"),
        dimensions=own.whole("truncate_dim", None),
    )


def _prompts(own: Settings) -> Mapping[str, str]:
    texts, default = own.mapping("prompts"), own.text("default_prompt_name") or None
    for name, text in texts.items():
        if not isinstance(text, str | None):
            raise damaged(own.path, f"the prompt {name!r} is {shown(text)}, not a text")
    if default is not None and default not in (*texts, "query", "document"):
        raise damaged(own.path, f"default_prompt_name is {default!r}, and there is no prompt of that name")
    return {name: text or "" for name, text in texts.items()}


def _dense(name: str, folders: list[Path], config: Mapping[str, Any]) -> tuple[Dense, ...]:
    found: list[Dense] = []
    width = config.get(family_of(config, name).width)
    for folder in folders:
        found.append(read_dense(name, folder, found[-1].dimension if found else width))
    return tuple(found)


def dense_folders(name: str, folder: Path) -> list[str]:
    """The folders of the model's Dense modules, which have weights of their own."""
    return _modules(name, folder)[1]


def _modules(name: str, folder: Path) -> tuple[str, list[str], bool]:
    """How the model pools, where its Dense modules are, and whether it normalises."""
    pooling, normalize = "mean", False
    kinds: list[str] = []
    dense: list[str] = []
    modules = read_json(folder / MODULES, missing=())
    if not isinstance(modules, list | tuple) or not all(isinstance(module, Mapping) for module in modules):
        raise damaged(folder / MODULES, "it is not a list of objects")
    for module in modules:
        kind, place = str(module.get("type")), PurePosixPath(str(module.get("path") or ""))
        # The library has moved its classes between its own packages; a class of any other package is the model's own.
        kinds.append(kind.rpartition(".")[2] if kind.startswith("sentence_transformers.") else kind)
        if place.is_absolute() or ".." in place.parts:
            raise EmbedderError(f"The modules.json of the model {name!r} names a folder outside the model: '{place}'.")
        if kinds[-1] == "Transformer" and place.parts:
            raise unsupported(name, f"its encoder lies in '{place}' instead of the model's own folder")
        if kinds[-1] == "Pooling":
            pooling = _pooling(name, Settings(folder / place / "config.json"))
        if kinds[-1] == "Dense":
            dense.append(str(place))
        normalize |= kinds[-1] == "Normalize"
    if modules and kinds != ["Transformer", "Pooling", *["Dense"] * len(dense), *["Normalize"] * normalize]:
        known = "Transformer, Pooling, Dense and Normalize, in this order"
        raise unsupported(name, f"its modules are {', '.join(kinds)}, but this embedder only runs {known}")
    return pooling, dense, normalize


def _pooling(name: str, settings: Settings) -> str:
    modes = settings.values.get("pooling_mode") or [mode for flag, mode in POOLING_FLAGS.items() if settings.flag(flag)]
    modes = modes if isinstance(modes, list) and modes else [modes or "mean"]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        chosen = " + ".join(map(str, modes))
        raise unsupported(name, f"its pooling is {chosen}, but this embedder only does one of {', '.join(POOLINGS)}")
    if settings.flag("include_prompt", True) is False:
        raise unsupported(name, "its pooling leaves the prompt out")
    return str(modes[0])


def encoder_settings(folder: Path) -> Settings:
    """What the library says of the encoder: its window, and whether it lowers the case."""
    # Named after the architecture that the library first met, whatever the model is.
    path = next(iter(sorted(folder.glob("sentence_*_config.json"))), folder / "sentence_bert_config.json")
    return Settings(path, optional=True)


def window_of(folder: Path, settings: Settings, limit: int) -> int:
    """The least of what the files name and the positions allow; a name without a number says nothing."""
    for place in ("processor_kwargs", "tokenizer_args"):
        nested = settings.mapping(place).get("model_max_length")
        if nested is not None and settings.values.get("max_seq_length") is None:
            return min(_whole(nested, settings.path), limit)
    wanted = settings.whole("max_seq_length", None)
    if wanted is None:
        tokenizer = Settings(folder / "tokenizer_config.json", optional=True)
        wanted = tokenizer.whole("model_max_length", tokenizer.whole("max_len", limit))
    assert wanted is not None
    return min(wanted, limit)


def _whole(value: Any, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < math.inf:
        raise damaged(path, f"model_max_length is {shown(value)}, not a whole number from 1 on")
    return int(value)
