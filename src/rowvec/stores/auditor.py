"""What `rowvec audit` asks of a store: the live generation looked at from the inside."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from rowvec.types import Document, Key, PastFailure, Vector


class Drift(enum.StrEnum):
    """Kinds of finding: in what way source, store and indexes have come apart."""

    MISSING = "missing"
    STALE = "stale"
    METADATA = "metadata"
    ORPHANED = "orphaned"
    DIMENSION = "wrong dimension"
    NOT_FINITE = "not finite"
    NOT_NORMALISED = "not normalised"
    WRONG_VECTOR = "wrong vector"
    LOST_FAILURE = "lost failure"
    DUPLICATE = "duplicate key"
    NO_WORDS = "keywords missing"
    LOST_WORDS = "keywords lost"
    WORD_COUNTS = "keyword totals"
    INDEX = "vector index"
    NO_TEXT = "text missing"
    """A row with a vector whose text is not kept, though the store keeps texts."""
    PASSAGES = "passages broken"
    """Of a row: one alone, a number left out, offsets out of order or beyond the kept text, a vector that is none."""
    MEAN = "mean differs"
    """The row's own vector is not the mean of its passages."""
    LOST_PASSAGES = "passages lost"
    """Passages, or a kept text, without their row."""


FURTHEST_MEAN = 1e-4
"""Cosine distance between the vector of a row and the mean of its passages: half precision stays well below it."""


class Seen(NamedTuple):
    """One row as the store holds it."""

    text_hash: bytes | None = None
    """None where there is no vector."""
    row_hash: bytes | None = None
    dimension: int = 0
    """Of the stored vector; 0 for bytes that are no vector."""
    norm: float = 0.0
    """Euclidean; NaN or infinite where a component is."""
    metadata: bool = True
    """The metadata columns hold what a write of the document would put there."""
    failure: PastFailure | None = None
    vector: Vector | None = None
    """Only where it was asked for."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that the store can tell without the source."""

    drift: Drift
    count: int
    keys: Sequence[Key] = ()
    """The first of the rows concerned, where it is about rows."""
    detail: str = ""


class Auditor(Protocol):
    """Looks at one generation.

    `forget` and `repair` write: call them under the store's lock and after `prepare`.
    """

    def inspect(self, documents: Sequence[Document], *, vectors: bool = False) -> dict[Key, Seen]:
        """Those of the documents' rows that the store knows, each as of one moment."""
        ...

    def faults(self, most: int) -> list[Fault]:
        """What does not fit within the store: keyword index, vector index, keys, passages. At most `most` keys in each.

        Safe beside writers: each fault is of one snapshot.
        """
        ...

    def forget(self, keys: Sequence[Key]) -> None:
        """Have the next sync write metadata, keywords and text of these rows again; nothing is embedded for that."""
        ...

    def repair(self, fault: Fault) -> None:
        """Put right what a sync does not: keywords, passages and texts without a row, keyword totals, the vector
        index."""
        ...


@runtime_checkable
class Audited(Protocol):
    """A generation that can be audited."""

    def auditor(self) -> Auditor: ...
