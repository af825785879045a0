"""A cross-encoder on this machine: it reads a query and a text as one, and says how well they go together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rowvec.embedders.architectures import unsupported
from rowvec.embedders.cross_encoder_files import CrossEncoderFiles, find_cross_encoder
from rowvec.embedders.dense import ACTIVATIONS
from rowvec.embedders.local.engine import cores
from rowvec.embedders.local.engines import load_engine
from rowvec.embedders.model_cache import default_cache
from rowvec.embedders.windows import CHARACTERS_PER_TOKEN, MARGIN, cut, cut_start, loaded_tokenizer, readable
from rowvec.types import Vectors

PAIRS = 8
"""Of each core, computed before it is asked again whether anybody waits for them."""


class PairTokenizer:
    """A query and a text to one list of tokens, with the special ones between them.

    What is too long for the window loses tokens from the longer of the two, as in the sentence-transformers library.

    Raises:
        EmbedderError: the tokenizer is damaged, or has no form for two texts.
    """

    def __init__(self, found: CrossEncoderFiles) -> None:
        files, window = found.files, found.files.recipe.max_tokens
        self._tokenizer = loaded_tokenizer(files)
        special = self._tokenizer.num_special_tokens_to_add(is_pair=True)
        if not 0 < special < window - 1:
            raise unsupported(files.name, f"its tokenizer puts {special} special tokens about two texts")
        self._tokenizer.no_padding()
        self._from_end = files.tokenizer_settings.side == "left"
        self._tokenizer.enable_truncation(
            window, strategy="longest_first", direction="left" if self._from_end else "right"
        )
        self._second = found.second
        self._reach = (window + MARGIN) * CHARACTERS_PER_TOKEN

    def encode(self, query: str, texts: Sequence[str]) -> list[list[int]]:
        asked = self._readable(query)
        pairs = self._tokenizer.encode_batch([(asked, self._readable(text)) for text in texts])
        if not self._second:
            return [pair.ids for pair in pairs]
        return [
            [token + self._second * kind for token, kind in zip(pair.ids, pair.type_ids, strict=True)] for pair in pairs
        ]

    def _readable(self, text: str) -> str:
        return readable(cut_start(text, self._reach) if self._from_end else cut(text, self._reach))


class CrossEncoder:
    """Safe to call from several threads at once.

    Args:
        model: a folder, or a name on the Hugging Face hub.
        precision: `float32`, `int8`, `bfloat16` or `float16`, as `LocalEmbedder` has it.
        cache_dir: where the converted model is kept; `default_cache()` unless given.

    Raises:
        ConfigError: this machine cannot compute in this precision.
        EmbedderError: the model is not found, or not a cross-encoder that can be run here.
    """

    def __init__(
        self, model: str, *, precision: str = "float32", engine: str = "auto", cache_dir: Path | None = None
    ) -> None:
        cache = cache_dir or default_cache()
        found = find_cross_encoder(model, cache)
        self._activation = ACTIVATIONS[found.activation]
        self._tokenizer = PairTokenizer(found)
        self._workers = cores()
        self._engine = load_engine(
            found.files, cache, engine=engine, precision=precision, device="auto", workers=self._workers
        )

    def scores(self, query: str, texts: Sequence[str], abandoned: Callable[[], bool] = lambda: False) -> Vectors | None:
        """One score for each text, shape (texts,), in the model's own scale; None where it was abandoned.

        Args:
            abandoned: whether nobody waits any more; asked between a few pairs.

        Raises:
            EmbedderError: the device ran out of memory, or failed in another way.
        """
        pairs = self._tokenizer.encode(query, texts)
        order = sorted(range(len(pairs)), key=lambda place: -len(pairs[place]))
        logits = np.empty(len(pairs), np.float32)
        step = PAIRS * self._workers
        for start in range(0, len(order), step):
            if abandoned():
                return None
            places = order[start : start + step]
            logits[places] = self._engine.vectors([pairs[place] for place in places])[:, 0]
        return self._activation(logits)

    def close(self) -> None:
        self._engine.close()
