"""What an audit says: kinds of drift, how many rows of each, and which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from rowvec.stores.auditor import Drift
from rowvec.stores.runs import Report
from rowvec.types import Key

if TYPE_CHECKING:
    from rowvec.auditing.sampling import IndexCheck, Sample

EXAMPLES = 5
SAMPLE = 100
"""Rows that an audit embeds again, unless another number is asked for."""
KEPT_KEYS = 100_000
"""Keys kept of each kind; further ones are counted, and left to another repair."""


class RowHashes(NamedTuple):
    """What a row said when it was looked at first."""

    text_hash: bytes
    row_hash: bytes


@dataclass(slots=True)
class Finding:
    drift: Drift
    count: int = 0
    keys: dict[Key, RowHashes | None] = field(default_factory=dict)
    """The first KEPT_KEYS of them; no mark if the source does not have the row."""
    detail: str = ""

    def add(self, key: Key, mark: RowHashes | None) -> None:
        self.count += 1
        if len(self.keys) < KEPT_KEYS:
            self.keys[key] = mark

    def keep(self, keys: Mapping[Key, RowHashes | None]) -> None:
        self.count -= len(self.keys) - len(keys)
        self.keys = dict(keys)

    def copy(self) -> Finding:
        return replace(self, keys=dict(self.keys))

    def as_dict(self) -> dict[str, Any]:
        examples = [key if isinstance(key, int) else str(key) for key in islice(self.keys, EXAMPLES)]
        return {
            "kind": str(self.drift), "count": self.count, "examples": examples, "detail": self.detail,
            "repair": REPAIRS[self.drift],
        }  # fmt: skip


REPAIRS = {
    Drift.MISSING: "embed",
    Drift.STALE: "embed again",
    Drift.METADATA: "write the metadata again",
    Drift.ORPHANED: "delete",
    Drift.DIMENSION: "embed again",
    Drift.NOT_FINITE: "embed again",
    Drift.NOT_NORMALISED: "embed again",
    Drift.WRONG_VECTOR: "embed again",
    Drift.LOST_FAILURE: "drop the failure",
    Drift.DUPLICATE: "none, by hand only",
    Drift.NO_WORDS: "index the words again",
    Drift.LOST_WORDS: "drop the words",
    Drift.WORD_COUNTS: "count again",
    Drift.INDEX: "rebuild it",
    Drift.NO_TEXT: "keep the text again",
    Drift.PASSAGES: "embed again",
    Drift.MEAN: "average again",
    Drift.LOST_PASSAGES: "drop them",
}
"""What `--repair` does."""


@dataclass(slots=True)
class Audit:
    pipeline: str
    location: str
    model: str | None
    """Of the live generation."""
    rows: int = 0
    """Of the source that were looked at."""
    entries: int = 0
    """Rows and failures in the store."""
    failed: int = 0
    """Rows whose text could not be embedded; that is on record."""
    outdated: int = 0
    """Those of them that keep the vector of a former text."""
    empty: int = 0
    """Rows without a text, which have no vector."""
    findings: dict[Drift, Finding] = field(default_factory=dict)
    sample: Sample | None = None
    index: IndexCheck | None = None
    repairable: bool = True
    """False where the live vectors are of another model than the config's."""
    unfit: int = 0
    """Metadata values that are null because they do not fit their column."""
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    def add(self, drift: Drift, key: Key, mark: RowHashes | None) -> None:
        self.findings.setdefault(drift, Finding(drift)).add(key, mark)

    def settle(self) -> None:
        """Leave out kinds of which nothing is left, and order the others as they are declared."""
        self.findings = {drift: self.findings[drift] for drift in Drift if drift in self.findings}
        self.findings = {drift: found for drift, found in self.findings.items() if found.count}

    def as_dict(self) -> dict[str, Any]:
        return {
            "pipeline": self.pipeline, "where": self.location, "model": self.model, "rows": self.rows,
            "entries": self.entries, "failed": self.failed, "outdated": self.outdated, "empty": self.empty,
            "drift": bool(self.findings), "interrupted": self.interrupted,
            "findings": [finding.as_dict() for finding in self.findings.values()],
            "sample": self.sample.as_dict() if self.sample else None,
            "index": self.index.as_dict() if self.index else None,
            "unfit": self.unfit, "notes": self.notes,
        }  # fmt: skip


@dataclass(slots=True)
class Repair:
    left: list[Finding] = field(default_factory=list)
    """What is still wrong; of a repair that was stopped, what was found."""
    total: Report = field(default_factory=Report)
    """Of the syncs that repaired it."""
    compared: int = 0
    """Rows that were embedded again, all of them, because one of the sample was wrong; 0 where that was not needed."""
    wrong: int = 0
    """Those of them that had another vector than that of their text."""

    @property
    def failed(self) -> int:
        """Rows that could not be embedded; they are on record as failures."""
        return self.total.failed

    def as_dict(self) -> dict[str, object]:
        totals = {name: getattr(self.total, name) for name in ("failed", "texts", "tokens", "cost")}
        return {
            **totals,
            "compared": self.compared,
            "wrong": self.wrong,
            "left": [finding.as_dict() for finding in self.left],
        }
