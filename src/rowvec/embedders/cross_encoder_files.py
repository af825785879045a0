"""The files of a cross-encoder: an encoder that reads two texts as one, with a head that gives one score.

A head is two layers over the vector of the first token. Its weights are in the file of the encoder. What config.json
and the files of the sentence-transformers library say of the score is done as that library's `CrossEncoder` does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rowvec.embedders.architectures import family_of, positions_of, unsupported
from rowvec.embedders.dense import ACTIVATIONS, PACKAGE, Dense
from rowvec.embedders.encoder_weights import KINDS, Array, Table, Weights, settled_config
from rowvec.embedders.model_cache import default_cache
from rowvec.embedders.model_files import CONFIG, ModelFiles, locate, read_files, weights_in
from rowvec.embedders.model_json import Settings
from rowvec.embedders.model_recipe import ModelRecipe, encoder_settings, window_of
from rowvec.embedders.tokenizer_settings import CLASSES, FILE
from rowvec.errors import EmbedderError
from rowvec.support.redaction import redact

SHORTEST_WINDOW = 8
"""Tokens: the special ones of a pair, and a few of each text."""


class Layer(NamedTuple):
    """Of a head: how its weights are called, and the activation behind it."""

    name: str
    activation: str


_ROBERTA = (Layer("classifier.dense", "Tanh"), Layer("classifier.out_proj", "Identity"))
HEADS: Mapping[str, tuple[Layer, Layer]] = {
    "bert": (Layer("bert.pooler.dense", "Tanh"), Layer("classifier", "Identity")),
    "distilbert": (Layer("pre_classifier", "ReLU"), Layer("classifier", "Identity")),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert", "mpnet"), _ROBERTA),
}
"""By the `model_type` of a model's config.json."""
WITHOUT_KINDS = ("DistilBertTokenizer", "RobertaTokenizer", "XLMRobertaTokenizer", "CamembertTokenizer",
                 "MPNetTokenizer")  # fmt: skip
"""Tokenizers that do not tell the model which of the two texts a token is of."""


@dataclass(frozen=True, slots=True)
class CrossEncoderFiles:
    """A cross-encoder on disk that can be run here."""

    files: ModelFiles
    """Its recipe ends in the head, so that the vector of a pair is its logit, alone in one dimension."""
    activation: str
    """What makes the score of the logit."""
    second: int
    """What is added to each token of the second text, as `TwoKinds` has it; 0 where the two are not told apart."""


class TwoKinds:
    """Weights whose table of words holds each word twice: as it is in a first text, and as it is in a second one.

    An encoder adds the vector of token type 0 to every token. With this table the second text gets that of type 1, and
    no engine has to know of types.
    """

    def __init__(self, weights: Weights, words: str, model: str) -> None:
        self._weights = weights
        self._table = Table(weights, words, model)
        self._words = next(name for name in weights.keys() if name.endswith(words))  # noqa: SIM118

    def keys(self) -> list[str]:
        return self._weights.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        found = self._weights.shape(name)
        return (2 * found[0], *found[1:]) if name == self._words else found

    def type(self, name: str) -> str:
        return self._weights.type(name)

    def get_tensor(self, name: str) -> Array:
        found = self._weights.get_tensor(name)
        if name != self._words:
            return found
        kinds = self._table[KINDS]
        return np.concatenate([found, found + (kinds[1] - kinds[0])])


def find_cross_encoder(model: str, cache_dir: Path | None = None) -> CrossEncoderFiles:
    """The files of a cross-encoder and what they say. No weight of the encoder is read.

    Args:
        model: a folder, or a name on the hub.
        cache_dir: where digests of large files are kept; `default_cache()` unless given.

    Raises:
        ConfigError: this cannot be the name of a model.
        EmbedderError: it is not found, or not a cross-encoder that can be run here.
    """
    try:
        return _found(model, cache_dir or default_cache())
    except EmbedderError as error:
        # What loads any encoder there is loads no reranker.
        hint = _HINT if "sentence-transformers" in (error.hint or "") else error.hint
        raise EmbedderError(error.message.replace("local embedder", "local reranker"), hint=hint) from error


_HINT = (
    "A reranker here is a cross-encoder with one score. Any other runs as a service, such as text-embeddings-inference:"
    ' kind = "tei".'
)


def _found(model: str, cache: Path) -> CrossEncoderFiles:
    if "/" not in model and not Path(model).expanduser().is_dir():
        raise EmbedderError(
            f"There is no folder {redact(model)!r}, and a name on the Hugging Face hub has its owner before it.",
            hint="Give the folder of the model, or its whole name, such as cross-encoder/ms-marco-MiniLM-L6-v2.",
        )
    name, folder, origin = locate(model, modules=False)
    if folder.is_file():
        raise unsupported(name, "it makes vectors, and is not a cross-encoder")
    said = Settings(folder / CONFIG)
    head = HEADS.get(str(said.values.get("model_type")))
    if head is None:
        kind = said.values.get("model_type")
        raise unsupported(name, f"its architecture is {kind!r}, but cross-encoders are run of {', '.join(HEADS)}")
    weights: Weights = weights_in(folder, name)
    config = settled_config(said, weights, name)
    layers = _head(head, weights, int(config[family_of(config, name).width]), name)
    family, second = family_of(config, name), 0
    if _tells_kinds(folder, config, weights, name):
        second = int(config["vocab_size"])
        weights = TwoKinds(weights, family.words, name)
        config = {**config, "vocab_size": 2 * second}
    files = read_files(name, folder, origin, config, _recipe(name, folder, config, layers), weights, cache)
    return CrossEncoderFiles(files, _activation(name, folder, said), second)


def _head(head: tuple[Layer, Layer], weights: Weights, width: int, name: str) -> tuple[Dense, ...]:
    """
    Raises:
        EmbedderError: it is not there, or gives more than one score.
    """
    names = set(weights.keys())
    if f"{head[-1].name}.weight" not in names:
        raise unsupported(name, f"it is not a cross-encoder: its weights hold no '{head[-1].name}.weight'")
    labels = weights.shape(f"{head[-1].name}.weight")[0]
    if labels != 1:
        raise unsupported(name, f"it has {labels} labels, and a reranker has one")
    layers = []
    for layer, size in zip(head, (width, labels), strict=True):
        for part, shape in ((f"{layer.name}.weight", (size, width)), (f"{layer.name}.bias", (size,))):
            if part not in names:
                raise unsupported(name, f"its weights hold no {part!r}")
            if weights.shape(part) != shape:
                found = list(weights.shape(part))
                raise unsupported(name, f"its weight {part!r} has the shape {found} instead of {list(shape)}")
        weight, bias = (weights.get_tensor(f"{layer.name}.{part}") for part in ("weight", "bias"))
        layers.append(Dense(weight, bias, layer.activation))
    return tuple(layers)


def _recipe(name: str, folder: Path, config: Mapping[str, Any], layers: tuple[Dense, ...]) -> ModelRecipe:
    positions, settings = positions_of(config, name), encoder_settings(folder)
    limit = positions.stop - positions.start
    window = window_of(folder, settings, limit)
    if window < SHORTEST_WINDOW:
        raise unsupported(name, f"its window is {window} tokens, which leaves no room for two texts")
    return ModelRecipe(
        pooling="cls", dense=layers, max_tokens=window, limit=limit, lower_case=bool(settings.flag("do_lower_case"))
    )


def _tells_kinds(folder: Path, config: Mapping[str, Any], weights: Weights, name: str) -> bool:
    """Whether the model is told which of the two texts a token is of."""
    table = Table(weights, family_of(config, name).words, name)
    if KINDS not in table or table.shape(KINDS)[0] < 2:
        return False
    said = Settings(folder / FILE, optional=True)
    named = said.values.get("model_input_names")
    if isinstance(named, list):
        return "token_type_ids" in named
    kind = said.text("tokenizer_class") or config.get("tokenizer_class") or CLASSES[str(config["model_type"])]
    return str(kind).removesuffix("Fast") not in WITHOUT_KINDS


def _activation(name: str, folder: Path, config: Settings) -> str:
    """As `CrossEncoder` chooses it: what its own file names, what config.json does, or a sigmoid.

    A class of the model's own is not run, neither there nor here.
    """
    own = Settings(folder / "config_sentence_transformers.json", optional=True)
    said = (
        own.values.get("activation_fn")
        or config.mapping("sentence_transformers").get("activation_fn")
        or config.values.get("sbert_ce_default_activation_function")
    )
    if said is None or not str(said).startswith("torch."):
        return "Sigmoid"
    activation = str(said).rpartition(".")[2]
    if activation not in ACTIVATIONS or not str(said).startswith(PACKAGE):
        raise unsupported(name, f"the activation of its score is {said!r}")
    return activation
