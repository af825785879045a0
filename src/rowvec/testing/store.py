"""A store in memory, with the guarantees of the real ones."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rowvec.errors import Locked, SearchError, StoreError, StoreUnavailable
from rowvec.filters import Filter, bind, matches
from rowvec.stores.base import Ledger, TableSpec
from rowvec.testing.audit import MemoryAuditor
from rowvec.testing.ranking import bm25, ranked, similarity, words
from rowvec.types import (
    Check,
    Document,
    Failure,
    Generation,
    Key,
    PastFailure,
    Ranked,
    Report,
    Run,
    State,
    Stored,
    TextVector,
    Vector,
    WriteBatch,
)


@dataclass(slots=True)
class _Record:
    document: Document
    vector: Vector
    truncated: bool


@dataclass(slots=True)
class _Generation:
    spec: TableSpec
    records: dict[Key, _Record] = field(default_factory=dict)
    failures: dict[Key, Failure] = field(default_factory=dict)
    offsets: dict[str, str] = field(default_factory=dict)
    since: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    undone: bool = False

    def listed(self, state: State, lost: int) -> Generation:
        size = sum(record.vector.nbytes for record in self.records.values())
        stale = len(self.failures.keys() & self.records.keys())
        rows, failures, spec = len(self.records), len(self.failures), self.spec
        return Generation(
            state, spec.fingerprint, rows, failures, stale, size, self.since, spec.settings, self.undone, lost
        )


@dataclass
class _Tables:
    """What outlives a MemoryStore and is shared by those opened on it."""

    live: _Generation | None = None
    following: _Generation | None = None
    previous: _Generation | None = None
    swaps: int = 0
    runs: list[Run] = field(default_factory=list)
    positions: dict[Key, str] = field(default_factory=dict)
    holder: str | None = None
    guard: threading.RLock = field(default_factory=threading.RLock)


class MemoryStore:
    """A store in memory. `MemoryStore(share=other)` opens the same tables a second time, as another process would.

    Set `unavailable` to let so many writes fail before they do anything, and `lost_answers` to let so many
    fail after they were carried out, as when a connection is cut before the answer comes.
    """

    location = "memory"

    def __init__(self, *, metric: str = "cosine", share: MemoryStore | None = None) -> None:
        self.metric = metric
        self.unavailable = 0
        self.lost_answers = 0
        self.writes = 0
        self._tables: _Tables = share._tables if share else _Tables()
        self._aimed = State.LIVE

    @property
    def _live(self) -> _Generation:
        if self._tables.live is None:
            raise StoreError("The memory store is not prepared.", hint="Call prepare() first.")
        return self._tables.live

    @property
    def _target(self) -> _Generation:
        """The generation that is filled: the live one, or that of a new fingerprint beside it."""
        return self._generations.get(self._aimed) or self._live

    @property
    def _generations(self) -> dict[State, _Generation]:
        tables = self._tables
        found = {State.LIVE: tables.live, State.BUILDING: tables.following, State.PREVIOUS: tables.previous}
        return {state: generation for state, generation in found.items() if generation is not None}

    def ledger(self) -> Ledger:
        live = self._tables.live
        if live is None:
            return Ledger(exists=False)
        spec = live.spec
        return Ledger(True, bool(live.records), spec.fingerprint, spec.recipe, spec.settings, self.live_version())

    def live_version(self) -> str:
        return str(self._tables.swaps)

    def generations(self, spec: TableSpec) -> list[Generation]:
        return [generation.listed(state, self._lost(state)) for state, generation in self._generations.items()]

    def _lost(self, state: State) -> int:
        if state is not State.BUILDING:
            return 0
        live, building = self._live, self._generations[state]
        return len(building.failures.keys() & (live.records.keys() - live.failures.keys()))

    def rollback(self, spec: TableSpec) -> None:
        with self._tables.guard:
            former, previous = self._live, self._tables.previous
            if previous is None:
                raise StoreError("memory has no previous generation.", hint="`rowvec generations` lists them.")
            self._succeed(previous)
            former.undone = True

    def _succeed(self, new: _Generation) -> None:
        tables = self._tables
        tables.live, tables.previous = new, tables.live
        for generation in (tables.live, tables.previous):
            if generation is not None:
                generation.since, generation.undone = _now(), False
        tables.swaps += 1
        self._aimed = State.LIVE

    def drop_generation(self, state: State, spec: TableSpec) -> None:
        if state is State.LIVE:
            raise StoreError("memory: the live generation is what searches see: it is not dropped.")
        if state not in self._generations:
            raise StoreError(f"memory has no {state} generation.", hint="`rowvec generations` lists them.")
        setattr(self._tables, "following" if state is State.BUILDING else "previous", None)
        self._aimed = State.LIVE

    def attach(self, spec: TableSpec) -> bool:
        wanted = [
            state
            for state, generation in self._generations.items()
            if generation.spec.fingerprint == spec.fingerprint or (state is State.LIVE and spec.fingerprint is None)
        ]
        self._aimed = wanted[0] if wanted else State.LIVE
        return bool(wanted)

    def prepare(self, spec: TableSpec) -> None:
        tables, live = self._tables, self._tables.live
        known = live.spec.fingerprint if live else None
        self._aimed = State.LIVE
        if live is None or (known not in (None, spec.fingerprint) and not live.records and spec.fingerprint):
            tables.live = _Generation(spec)
            tables.swaps += 1
        elif None in (known, spec.fingerprint) or known == spec.fingerprint:
            _check_shape(live.spec, spec)
            live.spec = replace(spec, recipe=live.spec.recipe, fingerprint=spec.fingerprint or known)
        else:
            self._aimed = State.BUILDING
            if tables.following is None or tables.following.spec.fingerprint != spec.fingerprint:
                tables.following = self._begun(spec)

    def _begun(self, spec: TableSpec) -> _Generation:
        previous = self._tables.previous
        if previous is None or previous.spec.fingerprint != spec.fingerprint:
            return _Generation(spec)
        self._tables.previous = None
        return previous

    def activate(self, spec: TableSpec) -> None:
        target = self._target
        target.spec = replace(spec, fingerprint=spec.fingerprint or target.spec.fingerprint)
        if self._aimed is State.BUILDING:
            self._tables.following = None
            target.offsets = self._live.offsets | target.offsets
            self._succeed(target)

    def checks(self, spec: TableSpec) -> list[Check]:
        return [Check("store", True, self.location)]

    @contextmanager
    def lock(self) -> Iterator[None]:
        with self._tables.guard:
            if self._tables.holder:
                raise Locked(f"Another sync holds the lock: {self._tables.holder}.")
            self._tables.holder = f"thread {threading.current_thread().name} since {_now():%Y-%m-%d %H:%M:%S %Z}"
        try:
            yield
        finally:
            self._tables.holder = None

    def lookup(self, keys: Sequence[Key]) -> dict[Key, Stored]:
        with self._tables.guard:
            return {key: self._stored(key) for key in keys if self._known(key)}

    def _known(self, key: Key) -> bool:
        return key in self._target.records or key in self._target.failures

    def _stored(self, key: Key) -> Stored:
        record, failure = self._target.records.get(key), self._target.failures.get(key)
        past = PastFailure(failure.text_hash, failure.attempts, failure.next_try) if failure else None
        if record is None:
            return Stored(None, None, past)
        return Stored(record.document.text_hash, record.document.row_hash, past)

    def vectors_of_texts(self, hashes: Sequence[bytes]) -> dict[bytes, TextVector]:
        wanted = set(hashes)
        with self._tables.guard:
            records = list(self._target.records.values())
        known = (record for record in records if record.document.text_hash in wanted)
        return {record.document.text_hash: TextVector(record.vector, record.truncated) for record in known}

    def keys(self, after: Key | None, limit: int) -> list[Key]:
        with self._tables.guard:
            known: list[Any] = sorted({*self._target.records, *self._target.failures})
        return [key for key in known if after is None or key > after][:limit]

    def count(self) -> int:
        with self._tables.guard:
            return len({*self._target.records, *self._target.failures})

    def write(self, batch: WriteBatch) -> int:
        if self.unavailable:
            self.unavailable -= 1
            raise StoreUnavailable("memory does not answer, as the test asked.")
        for entry in batch.entries:
            if len(entry.document.metadata) != len(self._target.spec.metadata):
                raise StoreError(f"Row {entry.document.key} has another number of metadata values than the store.")
            if len(entry.vector) != self._target.spec.dimension:
                raise StoreError(
                    f"A vector of {len(entry.vector)} dimensions does not fit {self._target.spec.dimension}."
                )
        with self._tables.guard:
            conflicts = self._apply(batch)
        self.writes += 1
        if self.lost_answers:
            self.lost_answers -= 1
            raise StoreUnavailable("memory was cut off before it answered, as the test asked.")
        return conflicts

    def _apply(self, batch: WriteBatch) -> int:
        records, failures = self._target.records, self._target.failures
        conflicts = 0
        for entry in batch.entries:
            document = entry.document
            # The document's own hash counts as expected: then this very batch came through before.
            if self._stored(document.key).text_hash not in (entry.expected, document.text_hash):
                conflicts += 1
                continue
            records[document.key] = _Record(document, np.array(entry.vector, np.float32), entry.truncated)
            failures.pop(document.key, None)
        for document in batch.updates:
            record = records.get(document.key)
            if record and record.document.text_hash == document.text_hash:
                record.document = document
                failures.pop(document.key, None)
        for key in batch.deletes:
            records.pop(key, None)
            failures.pop(key, None)
        for key in batch.recovered:
            failures.pop(key, None)
        failures.update({failure.key: failure for failure in batch.failures})
        self._tables.positions.update(batch.positions)
        self._target.offsets.update(batch.offsets)
        return conflicts

    def offsets(self) -> dict[str, str]:
        return dict(self._target.offsets)

    def positions(self, keys: Sequence[Key]) -> dict[Key, str]:
        return {key: self._tables.positions[key] for key in keys if key in self._tables.positions}

    def auditor(self, spec: TableSpec) -> MemoryAuditor:
        return MemoryAuditor(self._tables.guard, self._live.records, self._live.failures)

    def begin_run(self) -> int:
        run = len(self._tables.runs) + 1
        self._tables.runs.append(Run(run, self._target.spec.pipeline, _now(), None, "running", {}))
        return run

    def save_run(self, run: int, report: Report, outcome: str, error: str | None = None) -> None:
        ended = None if outcome == "running" else _now()
        old = self._tables.runs[run - 1]
        self._tables.runs[run - 1] = replace(old, ended_at=ended, outcome=outcome, report=report.as_dict(), error=error)

    def runs(self, limit: int = 10) -> list[Run]:
        dead = self._tables.holder is None
        runs = self._tables.runs[::-1][:limit]
        return [replace(run, outcome="lost") if dead and run.outcome == "running" else run for run in runs]

    def failures(self, limit: int | None = None) -> list[Failure]:
        with self._tables.guard:
            found = list(self._target.failures.values())
        return sorted(found, key=lambda failure: failure.failed_at, reverse=True)[:limit]

    def status(self) -> Mapping[str, Any]:
        records, failures = self._live.records, self._live.failures
        return {
            "rows": len(records),
            "failures": len(failures),
            "stale": len(failures.keys() & records.keys()),
            "truncated": sum(record.truncated for record in records.values()),
            "bytes": sum(record.vector.nbytes for record in records.values()),
            "totals": self._totals(),
        }

    def _totals(self) -> dict[str, Any]:
        reports = [run.report for run in self._tables.runs]
        sums = {name: sum(report.get(name, 0) for report in reports) for name in ("texts", "tokens", "cost")}
        outcomes: dict[str, tuple[int, float]] = {}
        for run in self._tables.runs:
            if run.ended_at is not None:
                count, seconds = outcomes.get(run.outcome, (0, 0.0))
                outcomes[run.outcome] = count + 1, seconds + (run.ended_at - run.started_at).total_seconds()
        return {"runs": len(reports), **sums, "outcomes": outcomes}

    def vector(self, key: Key) -> Vector | None:
        record = self._live.records.get(key)
        return None if record is None else record.vector

    def vectors(self, after: Key | None, limit: int) -> list[tuple[Key, Vector]]:
        with self._tables.guard:
            known: list[Any] = sorted(self._live.records)
            kept = [key for key in known if after is None or key > after][:limit]
            return [(key, self._live.records[key].vector) for key in kept]

    def nearest(
        self, vector: Vector, limit: int, where: Filter | None = None, *, exact: bool = False, filled: bool = False
    ) -> Ranked:
        records = self._target.records if filled else self._live.records
        keys = list(records) if filled else self._matching(where)
        if not keys:
            return Ranked([], [], True, True)
        matrix = np.stack([records[key].vector for key in keys])
        if matrix.shape[1] != len(vector):
            raise StoreError(f"memory holds vectors of {matrix.shape[1]} dimensions, the query has {len(vector)}.")
        scores = similarity(self.metric, matrix, vector)
        return ranked(dict(zip(keys, scores, strict=True)), limit)

    def keyword(self, query: str, limit: int, where: Filter | None = None) -> Ranked:
        if self._live.spec.language is None:
            raise SearchError("This pipeline has no keyword index.", hint="Set store.language.")
        texts = {key: words(record.document.text) for key, record in self._live.records.items()}
        scores = bm25(texts, words(query))
        kept = set(self._matching(where))
        return ranked({key: score for key, score in scores.items() if key in kept}, limit)

    def _matching(self, where: Filter | None) -> list[Key]:
        with self._tables.guard:
            keys = list(self._live.records)
        if where is None:
            return keys
        bound = bind(where, self._live.spec.metadata)
        return [key for key, metadata in self.metadata(keys).items() if matches(bound, metadata)]

    def metadata(self, keys: Sequence[Key]) -> dict[Key, Mapping[str, Any]]:
        names = [column.name for column in self._live.spec.metadata]
        records = self._live.records
        return {key: dict(zip(names, records[key].document.metadata, strict=True)) for key in keys if key in records}

    def close(self) -> None:
        pass


def _check_shape(old: TableSpec, new: TableSpec) -> None:
    if old.dimension != new.dimension:
        raise StoreError(f"memory holds vectors of {old.dimension} dimensions, the embedder gives {new.dimension}.")
    if (old.key_type, old.metadata) != (new.key_type, new.metadata):
        raise StoreError("memory holds a table with another key type or other metadata columns.")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
