"""What a MemoryStore holds."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from dataclasses import dataclass, field

from rowvec.stores.base import TableSpec
from rowvec.stores.guarding import Refusal
from rowvec.stores.runs import Evaluated, Run
from rowvec.types import Document, Failure, Fingerprint, Generation, Key, Passage, State, Unfit, Vector


@dataclass(slots=True)
class Record:
    document: Document
    vector: Vector
    truncated: bool
    passages: tuple[Passage, ...] = ()
    kept: bool = True
    """Its text is kept for showing it."""
    at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    born: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    """When there was a row of its key first."""


@dataclass(slots=True)
class Moment:
    """Rows that there were at one time, and how many of them were deleted since."""

    since: dt.datetime
    rows: int
    keys: set[Key]
    removed: int = 0


@dataclass(slots=True)
class Made:
    spec: TableSpec
    records: dict[Key, Record] = field(default_factory=dict)
    failures: dict[Key, Failure] = field(default_factory=dict)
    offsets: dict[str, str] = field(default_factory=dict)
    unfit: dict[Key, tuple[Unfit, ...]] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    refusal: Refusal | None = None
    since: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    undone: bool = False
    kept_words: list[str] | None = None
    """Parts, each some words with blanks between them; None where they are not kept."""

    @property
    def fingerprint(self) -> Fingerprint | None:
        return self.spec.fingerprint

    def bring_texts(self, spec: TableSpec) -> None:
        """Have the next sync write the rows whose texts were not kept, where they are from now on."""
        for record in self.records.values() if spec.keeps_texts else ():
            if not record.kept:
                record.document = record.document._replace(row_hash=b"")

    def bring_words(self, spec: TableSpec) -> None:
        """The same for the words of rows as they are written."""
        wanted = spec.keeps_words and spec.language is not None
        if wanted == (self.kept_words is not None):
            return
        self.kept_words = [] if wanted else None
        for record in self.records.values() if wanted else ():
            record.document = record.document._replace(row_hash=b"")

    def listed(self, state: State, lost: int) -> Generation:
        size = sum(record.vector.nbytes for record in self.records.values())
        stale = len(self.failures.keys() & self.records.keys())
        rows, failures, spec = len(self.records), len(self.failures), self.spec
        return Generation(
            state, spec.fingerprint, rows, failures, stale, size, self.since, spec.settings, self.undone, lost
        )


@dataclass
class Tables:
    """What outlives a MemoryStore and is shared by those opened on it."""

    generations: dict[State, Made] = field(default_factory=dict)
    swaps: int = 0
    runs: list[Run] = field(default_factory=list)
    stops: set[int] = field(default_factory=set)
    evaluations: list[Evaluated] = field(default_factory=list)
    spent: float = 0.0
    """US dollars, by searches on a reranker."""
    positions: dict[Key, str] = field(default_factory=dict)
    holder: str | None = None
    placement: str = ""
    identity: str = field(default_factory=lambda: str(uuid.uuid4()))
    guard: threading.RLock = field(default_factory=threading.RLock)
