"""Queries embedded by another embedder than rows: the same model somewhere else, such as on this machine.

Both must give a text the same vector, or searches would find other rows and nothing would say so. So they are compared
before the first query. What was found is kept in a file, so that one command after the other does not ask a service.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rowvec.embedders.base import Embedder, plain_query
from rowvec.errors import EmbedderError
from rowvec.support.stored import json_object
from rowvec.types import Embedded, Vector

logger = logging.getLogger("rowvec.embedders")

SAMPLES = (
    "quiet office chair",
    "SABO520067C",
    "How do I replace the battery of a wireless keyboard?",
    "Ersatzteil für die Vorderradbremse",
    "in",
)
"""Queries of different kinds: words, a code, a sentence, another language, hardly anything."""
LEAST = 0.99
"""Cosine from which two vectors count as the same. Of one model in float32 and in int8 it is 0.995 to 0.999."""


class Agreement(NamedTuple):
    """How far two embedders agree on `SAMPLES`."""

    lowest: float
    """The lowest cosine."""
    text: str
    """The one that has it."""

    @property
    def passed(self) -> bool:
        return self.lowest >= LEAST


def bills_queries(embedder: Embedder) -> bool:
    """A query costs money, whatever the texts of rows cost."""
    return embedder.queries.billed if isinstance(embedder, SeparateQueries) else embedder.billed


class SeparateQueries:
    """An `Embedder` whose queries come from `queries`, and all else from `rows`.

    Args:
        proofs: the file that keeps which pairs agree; None keeps nothing.
        settings: those of the two that a query alone is embedded by, such as its prompt. Fingerprints do not have them.

    Raises:
        EmbedderError: the vectors of the two have different dimensions.
    """

    def __init__(self, rows: Embedder, queries: Embedder, proofs: Path | None = None, settings: str = "") -> None:
        self.rows, self.queries = rows, queries
        self.fingerprint = rows.fingerprint
        self.concurrency, self.billed = queries.concurrency, rows.billed
        self.chunk_texts, self.chunk_tokens = rows.chunk_texts, rows.chunk_tokens
        self._proofs, self._settings = proofs, settings
        self._proven = False
        self._comparing = threading.Lock()
        one, other = queries.fingerprint.dimension, self.fingerprint.dimension
        if one != other:
            raise EmbedderError(
                f"The query_embedder gives vectors of {one} numbers, the embedder of {other}.",
                hint="Both must be the same model: check `model` and `dimensions`.",
            )

    def embed(self, texts: Sequence[str]) -> Embedded:
        return self.rows.embed(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self.rows.count_tokens(texts)

    @property
    def exact_tokens(self) -> bool:
        return bool(getattr(self.rows, "exact_tokens", False))

    def embed_query(self, text: str) -> Vector:
        """
        Raises:
            EmbedderError: the two do not agree, or could not be compared yet.
        """
        self._prove()
        return self.queries.embed_query(text)

    def compare(self) -> Agreement:
        """Both embed `SAMPLES` as queries. Sends them to a service, where one of the two is one.

        Raises:
            EmbedderError: one of them does not answer.
        """
        cosines = [_cosine(plain_query(self.rows, text), plain_query(self.queries, text)) for text in SAMPLES]
        lowest = int(np.argmin(cosines))
        found = Agreement(cosines[lowest], SAMPLES[lowest])
        self._keep(found)
        return found

    def close(self) -> None:
        self.queries.close()

    def _prove(self) -> None:
        if self._proven:
            return
        with self._comparing:
            if not self._proven:
                found = None if self._kept() else self.compare()
                if found is not None and not found.passed:
                    raise EmbedderError(
                        f"The query_embedder does not agree with the embedder: the cosine of their vectors of"
                        f" {found.text!r} is {found.lowest:.4f}, and {LEAST} is the least.",
                        hint="Both must be the same model with the same prompts. Leave query_embedder out otherwise.",
                    )
                self._proven = True

    @property
    def _pair(self) -> str:
        both = self.rows.fingerprint.digest() + self.queries.fingerprint.digest()
        return hashlib.sha256(both + repr((SAMPLES, self._settings)).encode()).hexdigest()

    def _kept(self) -> bool:
        try:
            kept = json_object(self._proofs.read_text(encoding="utf-8")) if self._proofs else {}
        except (OSError, ValueError):
            return False
        cosine = kept.get(self._pair)
        return isinstance(cosine, float) and cosine >= LEAST

    def _keep(self, found: Agreement) -> None:
        """Of the latest pair only: another one means that the config has changed."""
        if self._proofs is None:
            return
        try:
            self._proofs.parent.mkdir(parents=True, exist_ok=True)
            self._proofs.write_text(json.dumps({self._pair: found.lowest}), encoding="utf-8")
        except OSError as error:
            logger.warning("%s cannot be written (%s): the embedders are compared again.", self._proofs, error.strerror)


def _cosine(one: Vector, other: Vector) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
