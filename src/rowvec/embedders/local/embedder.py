"""The embedder that needs no service: a BERT-like model run by CTranslate2, without torch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rowvec.embedders.architectures import TITLES
from rowvec.embedders.base import SEND_TEXT, shortened
from rowvec.embedders.known_prompts import choose, known_as
from rowvec.embedders.local.ctranslate2_engine import device_of
from rowvec.embedders.local.engine import Engine, cores, normalized
from rowvec.embedders.local.engines import ENGINES, chosen, for_queries, load_engine
from rowvec.embedders.matryoshka import checked_dimensions, trained_to_shorten
from rowvec.embedders.model_cache import default_cache
from rowvec.embedders.model_files import find
from rowvec.embedders.model_recipe import ModelRecipe
from rowvec.embedders.query_centre import centre_of
from rowvec.embedders.windows import CHARACTERS_PER_TOKEN, MARGIN, Tokenized, WindowTokenizer
from rowvec.errors import ConfigError, EmbedderError, TextRefused
from rowvec.types import Embedded, Fingerprint, Vector, Vectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PRECISIONS = ("float32", "float16", "bfloat16", "int8")
DEVICES = ("auto", "cpu", "cuda")
OVERFLOWS = ("truncate", "mean")
MAX_WINDOWS = 64
"""Windows of a text that are read with overflow = "mean": a row takes seconds, not minutes."""


class LocalEmbedder:
    """Texts to vectors on this machine. The model is loaded by the first text, not before.

    Args:
        model: a folder, or a name on the Hugging Face hub; see `models.find`.
        precision: `float32`; `int8`, faster, its vectors at a cosine of about 0.997 to those of float32; or `float16`
            on CUDA.
        query_precision: of queries, where it shall be another one; `auto` as `engines.for_queries` says. A process
            that embeds rows too then holds the weights twice.
        engine: `ctranslate2`, `openvino`, or `auto`; see `engines.chosen`.
        device: `cpu`, `cuda`, or `auto`.
        overflow: what becomes of a text longer than the window. `truncate` leaves the rest out; `mean` embeds up to
            MAX_WINDOWS windows and averages them, weighted by their tokens, into one vector.
        dimensions: of the vectors, to make them shorter than the model's own; see `matryoshka`.
        max_tokens: the window, special tokens included; the model's own unless given.
        query_prompt: put before a query; unless given the model's own prompt `query`, or what is known of the model.
        passage_prompt: put before a text; likewise, the model's own prompt `document`, `passage` or `corpus`.
        query_centre: share of the mean of queries that is taken off every query, 0 to 1; see `query_centre`.
        workers: batches computed side by side; as many as there are cores unless given.
        batch_size: texts in a batch at most, for a device with little memory; no vector depends on it.
        cache_dir: where the converted model is kept; `models.default_cache()` unless given.

    Raises:
        ConfigError: an argument out of its range.
        EmbedderError: the model is not found, or not one that can be run here.
    """

    billed = False
    chunk_texts = 256
    chunk_tokens = 16_384

    def __init__(
        self,
        model: str,
        *,
        precision: str = "float32",
        query_precision: str | None = None,
        engine: str = "auto",
        device: str = "auto",
        overflow: str = "truncate",
        dimensions: int | None = None,
        max_tokens: int | None = None,
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        query_centre: float = 0.0,
        workers: int | None = None,
        batch_size: int | None = None,
        cache_dir: Path | None = None,
    ) -> None:
        _check_choice("precision", precision, PRECISIONS)
        _check_choice("query_precision", query_precision or "auto", ("auto", *PRECISIONS))
        _check_choice("engine", engine, ENGINES)
        _check_choice("device", device, DEVICES)
        _check_choice("overflow", overflow, OVERFLOWS)
        if not 0 <= query_centre <= 1:
            raise ConfigError(f"The local embedder's query_centre is {query_centre}.", hint="Give 0 to 1.")
        self._cache = cache_dir or default_cache()
        self._files = find(model, self._cache)
        recipe = self._files.recipe
        own = self._files.dimension
        self._dimension = checked_dimensions(
            self._files.name, recipe.dimensions if dimensions is None else dimensions, own
        )
        self._max_tokens = recipe.max_tokens if max_tokens is None else max_tokens
        _check_numbers(self._files.name, recipe, self._max_tokens, workers=workers, batch_size=batch_size)
        self._workers = cores() if workers is None else workers
        self._batch_size = batch_size
        self._device = device
        self._engine_name = engine
        self._query_precision = query_precision
        self._windows = MAX_WINDOWS if overflow == "mean" else 1
        self.known_name = known_as(self._files.name, self._files.config, on_hub=self._files.origin != "path")
        self.shortens = trained_to_shorten(self.known_name, self._files.config)
        self._query_prompt, self._passage_prompt, self.prompt_note = choose(
            self.known_name, recipe, query_prompt, passage_prompt
        )
        self._query_centre = np.float32(query_centre)
        self._centres: dict[str, Vector] = {}
        self._centring = threading.Lock()
        self._tokenizer: WindowTokenizer | None = None
        self._engines: dict[str, Engine] = {}
        self._loading = threading.Lock()
        # One call at work and one being tokenized keep a few cores busy; many cores empty a call sooner.
        self.similarity = recipe.similarity
        self.concurrency = 1 + -(-self._workers // 8)
        self.fingerprint = self._fingerprint_of(recipe, overflow, precision)

    def _fingerprint_of(self, recipe: ModelRecipe, overflow: str, precision: str) -> Fingerprint:
        return Fingerprint(
            kind="local",
            model=self._files.name,
            revision=self._files.revision,
            dimension=self._dimension,
            pooling=recipe.pooling,
            normalized=recipe.normalize,
            prompt=self._passage_prompt,
            max_tokens=self._max_tokens,
            overflow=overflow,
            precision=precision,
        )

    @property
    def how(self) -> str:
        """The kind of network, what computes it, and how its vectors are pooled; for `rowvec check`."""
        engine = chosen(self._engine_name, self.fingerprint.precision, self._device, self._files.family)
        said = f"{self._files.family.name} on {TITLES[engine]}, pooling {self.fingerprint.pooling}"
        own = self._files.dimension
        if self._dimension == own:
            return said
        trained = "" if self.shortens else ", which the model was not trained for"
        return f"{said}, the first {self._dimension} of {own} numbers{trained}"

    def embed(self, texts: Sequence[str]) -> Embedded:
        tokenized = self._tokenize(self._passage_prompt, texts)
        tokens = sum(len(window) for text in tokenized for window in text.windows)
        truncated = [position for position, text in enumerate(tokenized) if text.truncated]
        problems = self._foreign(tokenized)
        if not problems:
            return Embedded(self._vectors(tokenized, self.fingerprint.precision), tokens, truncated)
        known = [position for position in range(len(tokenized)) if position not in problems]
        vectors = np.zeros((len(tokenized), self.fingerprint.dimension), np.float32)
        vectors[known] = self._vectors([tokenized[position] for position in known], self.fingerprint.precision)
        return Embedded(vectors, tokens, truncated, problems=problems)

    def _foreign(self, tokenized: Sequence[Tokenized]) -> dict[int, Exception]:
        """Texts with a token that the model has no vector for: one that was added to the tokenizer alone."""
        words = self._files.config["vocab_size"]
        highest = [max(map(max, text.windows)) for text in tokenized]
        return {
            position: EmbedderError(
                f"The tokenizer gives token {token} for this text, but the model has only {words} words.",
                hint="A word was added to the tokenizer alone: fetch the model again, or leave that word out.",
            )
            for position, token in enumerate(highest)
            if token >= words
        }

    def embed_query(self, text: str) -> Vector:
        return self._query(text, self.query_precision)

    @cached_property
    def query_precision(self) -> str:
        """The precision in which queries are computed here."""
        return for_queries(self._query_precision, self.fingerprint.precision, self._device)

    def query_parity(self, text: str) -> float:
        """The cosine of a query's vector to the one in the precision of the rows; 1.0 where both are one."""
        if self.query_precision == self.fingerprint.precision:
            return 1.0
        one, other = self.embed_query(text), self._query(text, self.fingerprint.precision)
        return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))

    def plain_query(self, text: str) -> Vector:
        """See `rowvec.embedders.base.CentresQueries`."""
        return self._plain(text, self.query_precision)

    def _query(self, text: str, precision: str) -> Vector:
        vector = self._plain(text, precision)
        if not self._query_centre:
            return vector
        with self._centring:
            if precision not in self._centres:
                embed = partial(self._plain, precision=precision)
                self._centres[precision] = centre_of(embed, self._cache, self._identity(precision))
        moved: Vector = vector - self._query_centre * self._centres[precision]
        return normalized(moved[None])[0] if self._files.recipe.normalize else moved

    def _identity(self, precision: str) -> str:
        """Of all that decides the vector of a query."""
        own = precision == self.fingerprint.precision
        engine = chosen(
            self._engine_name if own else "auto", precision, self._device, self._files.family, queries=not own
        )
        model = replace(self.fingerprint, prompt=self._query_prompt, precision=precision)
        return f"{model!r} {engine} {device_of(self._device)}"

    def _plain(self, text: str, precision: str) -> Vector:
        tokenized = self._tokenize(self._query_prompt, [text])
        windows = tokenized[0].windows
        if len(windows) > 1:
            vector: Vector = self._vectors(tokenized, precision)[0]
        else:
            vector = self._cut(self._engine(precision).query(windows[0]))[0]
        return vector

    exact_tokens = True

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [sum(map(len, text.windows)) for text in self._tokenize(self._passage_prompt, texts)]

    def fits(self, texts: Sequence[str]) -> list[bool]:
        """See `rowvec.documents.passages.SeesWindow`."""
        # Nearly all that are longer show that here, and are not read to their end.
        reach = (self._max_tokens + MARGIN) * CHARACTERS_PER_TOKEN
        fits = [not each.truncated for each in self._tokenize(self._passage_prompt, [text[:reach] for text in texts])]
        unsure = [place for place, text in enumerate(texts) if fits[place] and len(text) > reach]
        if unsure:
            whole = self._tokenize(self._passage_prompt, [texts[place] for place in unsure])
            for place, each in zip(unsure, whole, strict=True):
                fits[place] = not each.truncated
        return fits

    def tokenizer(self) -> Tokenizer:
        """See `rowvec.documents.passages.SeesWindow`."""
        return self._loaded_tokenizer().whole()

    def text_of(self, tokens: Sequence[int]) -> str:
        """See `rowvec.embedders.base.ReadsTokens`."""
        tokenizer, model = self._loaded_tokenizer(), self.fingerprint.model
        foreign = next((token for token in tokens if not 0 <= token < tokenizer.vocabulary), None)
        if foreign is not None:
            raise TextRefused(
                f"Token {foreign} is not in the vocabulary of {model!r}, which has {tokenizer.vocabulary:,} tokens.",
                hint=SEND_TEXT,
            )
        text = tokenizer.text_of(tokens)
        if text is None:
            raise TextRefused(
                f"These tokens do not come from the tokenizer of {model!r}: their text gives other tokens.",
                hint=SEND_TEXT,
            )
        return text

    def close(self) -> None:
        """Gives the memory back. A later call loads the model again."""
        with self._loading:
            engines, self._engines, self._tokenizer = self._engines, {}, None
        for engine in engines.values():
            engine.close()

    def unknown_tokens(self, texts: Sequence[str]) -> tuple[int, int]:
        return self._loaded_tokenizer().unknown(texts)

    def _tokenize(self, prompt: str, texts: Sequence[str]) -> list[Tokenized]:
        return self._loaded_tokenizer().encode([prompt + text for text in texts] if prompt else texts)

    def _loaded_tokenizer(self) -> WindowTokenizer:
        with self._loading:
            if self._tokenizer is None:
                self._tokenizer = WindowTokenizer(self._files, self._max_tokens, self._windows)
            return self._tokenizer

    def _vectors(self, tokenized: Sequence[Tokenized], precision: str) -> Vectors:
        """One row a text, shape (texts, dimension)."""
        if not tokenized:
            return np.empty((0, self.fingerprint.dimension), np.float32)
        windows = [window for text in tokenized for window in text.windows]
        vectors = self._engine(precision).vectors(windows)
        if len(windows) != len(tokenized):
            vectors = self._averaged(vectors, windows, tokenized)
        return self._cut(vectors)

    def _engine(self, precision: str) -> Engine:
        """Loaded by its first use."""
        with self._loading:
            if precision not in self._engines:
                # The engine is named for the rows; another precision may need another one.
                own = precision == self.fingerprint.precision
                self._engines[precision] = load_engine(
                    self._files,
                    self._cache,
                    engine=self._engine_name if own else "auto",
                    device=self._device,
                    precision=precision,
                    workers=self._workers,
                    batch_size=self._batch_size,
                    queries=not own,
                )
            return self._engines[precision]

    def _cut(self, vectors: Vectors) -> Vectors:
        if self._dimension == vectors.shape[1]:
            return vectors
        return shortened(vectors, self._dimension) if self._files.recipe.normalize else vectors[:, : self._dimension]

    def _averaged(self, vectors: Vectors, windows: Sequence[Sequence[int]], tokenized: Sequence[Tokenized]) -> Vectors:
        """The windows' vectors brought together into one a text, each with the weight of its tokens."""
        weights = np.array([len(window) for window in windows], np.float32)
        starts = np.cumsum([0, *(len(text.windows) for text in tokenized[:-1])])
        sums = np.add.reduceat(vectors * weights[:, None], starts)
        means = (sums / np.add.reduceat(weights, starts)[:, None]).astype(np.float32, copy=False)
        return normalized(means) if self._files.recipe.normalize else means


def _check_numbers(name: str, recipe: ModelRecipe, max_tokens: int, **others: int | None) -> None:
    if not 3 <= max_tokens <= recipe.limit:
        raise ConfigError(
            f"The local embedder's max_tokens is {max_tokens}.",
            hint=f"{name} takes 3 to {recipe.limit} tokens; it was made for {recipe.max_tokens}.",
        )
    for setting, number in others.items():
        if number is not None and number < 1:
            raise ConfigError(f"The local embedder's {setting} is {number}.", hint="Give 1 or more.")


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"The local embedder's {name} is {value!r}.", hint=f"Write one of {', '.join(allowed)}.")
