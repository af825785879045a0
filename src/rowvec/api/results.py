"""What the calls return: frozen values that can be read as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError, dataclass, fields
from typing import TYPE_CHECKING, Any

from rowvec.auditing.findings import Audit, Finding, Repair
from rowvec.embedders.known_languages import Misfit
from rowvec.embedders.pricing import Estimate
from rowvec.stores.runs import Report
from rowvec.support.tables import Tabular
from rowvec.types import Document, Key

if TYPE_CHECKING:
    from rowvec.syncing.preview import Preview


@dataclass(slots=True)
class SyncResult(Report, Tabular):
    """The report of a sync that has ended: it changes no more. As rows: one."""

    pipeline: str = ""
    notes: Sequence[str] = ()
    """What happened to generations, in whole sentences."""
    interrupted: bool = False

    @classmethod
    def of(cls, pipeline: str, report: Report, notes: Sequence[str], *, interrupted: bool) -> SyncResult:
        counts = {each.name: getattr(report, each.name) for each in fields(report)}
        return cls(**counts, pipeline=pipeline, notes=tuple(notes), interrupted=interrupted)

    def __setattr__(self, name: str, value: Any) -> None:
        # The last field that is set when it is made.
        if hasattr(self, "interrupted"):
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def to_dicts(self) -> list[dict[str, Any]]:
        return [{each.name: getattr(self, each.name) for each in fields(self)}]


@dataclass(frozen=True, slots=True)
class Plan(Tabular):
    """What a sync would do now. As rows: one for each reason."""

    pipeline: str
    rows: int
    """Rows that are compared."""
    changes: Mapping[str, int]
    """How many rows would be inserted, embedded, updated, deleted, or stay."""
    reasons: Mapping[str, int]
    examples: Mapping[str, Sequence[Key]]
    """A few keys for each reason."""
    texts: int
    """Texts that would be embedded, identical ones once."""
    tokens: int
    tokens_counted: bool
    """False when `tokens` is extrapolated from the first texts."""
    estimate: Estimate | None
    """What a paid model would bill; None for a model that costs nothing."""
    seconds: float | None
    """Expected for the embedding; None when unknown."""
    truncated: int
    divided: int
    """Rows that are cut into passages."""
    passages: int
    new_passages: int
    """Passages that would be embedded; the others have a vector already."""
    deletion_guard: bool
    """The sync would stop before deleting: more than half of the vectors would go."""
    comparison: str
    """Which rows are compared, and why those; empty where the source has no cursor."""
    generation: str
    """What would happen to generations, in sentences; empty when the live one is filled."""
    samples: Sequence[Document]
    misfit: Misfit | None
    """What is wrong with the model, or the keyword language, for the texts to embed; None where they fit."""

    def to_dicts(self) -> list[dict[str, Any]]:
        return [
            {"reason": reason, "rows": rows, "examples": list(self.examples.get(reason, ()))}
            for reason, rows in self.reasons.items()
        ]


def plan_of(pipeline: str, found: Preview) -> Plan:
    return Plan(
        pipeline=pipeline, rows=found.rows, changes=dict(found.kinds), reasons=dict(found.reasons),
        examples={reason: tuple(keys) for reason, keys in found.examples.items()}, texts=found.texts,
        tokens=found.tokens, tokens_counted=found.tokens_counted, estimate=found.estimate, seconds=found.seconds,
        truncated=found.truncated, divided=found.divided, passages=found.passages,
        new_passages=found.new_passages, deletion_guard=found.deletion_guard, comparison=found.comparison,
        generation=found.generation, samples=tuple(found.samples),
        misfit=found.misfit,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class AuditResult(Tabular):
    """What an audit found, and what a repair left. As rows: one for each kind of drift."""

    pipeline: str
    rows: int
    """Rows of the source that were compared."""
    entries: int
    """Rows and failures in the store."""
    findings: Sequence[Finding]
    notes: Sequence[str]
    lowest_cosine: float | None
    """Between stored vectors and the same texts embedded again; None when no row was sampled."""
    recall: float | None
    """recall@10 of the vector index; None when there is no index."""
    interrupted: bool
    repaired: Repair | None = None

    @classmethod
    def of(cls, found: Audit, repaired: Repair | None) -> AuditResult:
        return cls(
            pipeline=found.pipeline, rows=found.rows, entries=found.entries, findings=tuple(found.findings.values()),
            notes=tuple(found.notes), lowest_cosine=found.sample.lowest if found.sample else None,
            recall=found.index.recall if found.index else None, interrupted=found.interrupted, repaired=repaired,
        )  # fmt: skip

    @property
    def drift(self) -> bool:
        """Whether something is wrong now: after a repair, what it left."""
        return bool(self.findings if self.repaired is None else self.repaired.left)

    def to_dicts(self) -> list[dict[str, Any]]:
        return [finding.as_dict() for finding in self.findings]
