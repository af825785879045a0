"""The rows of one generation in memory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from rowvec.errors import GenerationChanged, StoreError, StoreUnavailable
from rowvec.filters import Facets, Filter, Order, Place, bind, browsed, facets_of, matches
from rowvec.stores.base import REPEATED_KEYS, LastWord, TableSpec
from rowvec.stores.guarding import GUARDED_FOR, OUTGROWN, Guarding, Refusal, Standing, over_half
from rowvec.stores.ledger import GenerationStatus, Repeated, Written
from rowvec.stores.part import Spans
from rowvec.stores.typical import Typical
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing.audit import MemoryAuditor
from rowvec.testing.part import MemoryPart
from rowvec.testing.ranking import ranked, similarity
from rowvec.testing.tables import Made, Moment, Record, Tables
from rowvec.types import (
    Column,
    Document,
    Failure,
    Key,
    PastFailure,
    Ranked,
    ScoredPassage,
    Stored,
    StoredText,
    TextVector,
    UnfitValue,
    Vector,
)
from rowvec.words import analyzer
from rowvec.words.written import NewWords


class _Faulty(Protocol):
    """What a MemoryStore tells its generations: the metric, what they share, and what is to fail."""

    metric: str
    tables: Tables
    unavailable: int
    lost_answers: int
    writes: int


class MemoryGeneration(MemoryPart):
    """See rowvec.stores.base.GenerationHandle."""

    index = None

    def __init__(self, store: _Faulty, made: Made, spec: TableSpec) -> None:
        self._store = store
        self._made = made
        self._state = next(state for state, each in store.tables.generations.items() if each is made)
        self.spec = spec

    def lookup(self, keys: Sequence[Key]) -> dict[Key, Stored]:
        with self._store.tables.guard:
            return {key: self._stored(key) for key in keys if self._known(key)}

    def _known(self, key: Key) -> bool:
        return key in self._made.records or key in self._made.failures

    def _stored(self, key: Key) -> Stored:
        record, failure = self._made.records.get(key), self._made.failures.get(key)
        past = PastFailure(failure.text_hash, failure.attempts, failure.next_try) if failure else None
        if record is None:
            return Stored(None, None, past)
        return Stored(record.document.text_hash, record.document.row_hash, past)

    def vectors_of_texts(self, hashes: Sequence[bytes]) -> dict[bytes, TextVector]:
        wanted = set(hashes)
        with self._store.tables.guard:
            records = list(self._made.records.values())
        found: dict[bytes, TextVector] = {}
        for record in records:
            if not record.passages:
                found[record.document.text_hash] = TextVector(record.vector, record.truncated)
            found.update({each.text_hash: TextVector(each.vector) for each in record.passages})
        return {text_hash: found[text_hash] for text_hash in wanted & found.keys()}

    def keys(self, after: Key | None, limit: int) -> list[Key]:
        with self._store.tables.guard:
            known: list[Any] = sorted({*self._made.records, *self._made.failures})
        return [key for key in known if after is None or key > after][:limit]

    def count(self) -> int:
        with self._store.tables.guard:
            return len({*self._made.records, *self._made.failures})

    def standing(self) -> Standing:
        return Standing(self.count(), self._made.refusal, self._filling)

    @property
    def _filling(self) -> bool:
        return not all(each.rows for each in self._made.moments)

    def refusal(self) -> Refusal | None:
        return self._made.refusal

    def write(self, batch: WriteBatch) -> int:
        if self._store.unavailable:
            self._store.unavailable -= 1
            raise StoreUnavailable("memory does not answer, as the test asked.")
        for entry in batch.entries:
            if len(entry.document.metadata) != len(self._made.spec.metadata):
                raise StoreError(f"Row {entry.document.key} has another number of metadata values than the store.")
            if len(entry.vector) != self._made.spec.dimension:
                raise StoreError(
                    f"A vector of {len(entry.vector)} dimensions does not fit {self._made.spec.dimension}."
                )
        with self._store.tables.guard:
            if self._store.tables.generations.get(self._state) is not self._made:
                raise GenerationChanged.at("memory")
            conflicts = self._apply(batch)
        self._store.writes += 1
        if self._store.lost_answers:
            self._store.lost_answers -= 1
            raise StoreUnavailable("memory was cut off before it answered, as the test asked.")
        return conflicts

    def _apply(self, batch: WriteBatch) -> int:
        records, failures = self._made.records, self._made.failures
        conflicts = 0
        if batch.guard is not None:
            self._guard(batch.guard, batch.deletes)
        for entry in batch.entries:
            document = entry.document
            # The document's own hash counts as expected: then this very batch came through before.
            if self._stored(document.key).text_hash not in (entry.expected, document.text_hash):
                conflicts += 1
                continue
            vector = np.array(entry.vector, np.float32)
            written = Record(document, vector, entry.truncated, entry.passages, self._made.spec.keeps_texts)
            if document.key in records:
                written.born = records[document.key].born
            records[document.key] = written
            self._list(document)
            failures.pop(document.key, None)
        for document in batch.updates:
            record = records.get(document.key)
            if record and record.document.text_hash == document.text_hash:
                record.document, record.at = document, dt.datetime.now(dt.UTC)
                record.kept |= self._made.spec.keeps_texts
                self._list(document)
                failures.pop(document.key, None)
        self._keep_words([each.text for each in (*(entry.document for entry in batch.entries), *batch.updates)])
        for key in batch.deletes:
            records.pop(key, None)
            failures.pop(key, None)
            self._made.unfit.pop(key, None)
        for key in batch.recovered:
            failures.pop(key, None)
        failures.update({failure.key: failure for failure in batch.failures})
        self._store.tables.positions.update(batch.positions)
        self._made.offsets.update(batch.offsets)
        return conflicts

    def _keep_words(self, texts: Sequence[str]) -> None:
        kept = self._made.kept_words
        if kept is not None and texts:
            words = NewWords(" ".join(kept).split()).of(texts)
            kept += [" ".join(words)] if words else []

    def _list(self, document: Document) -> None:
        self._made.unfit.pop(document.key, None)
        if document.unfit:
            self._made.unfit[document.key] = document.unfit

    def unfit(self, keys: Sequence[Key] | None = None, limit: int | None = None) -> list[UnfitValue]:
        with self._store.tables.guard:
            listed = [UnfitValue(key, *each) for key, unfit in self._made.unfit.items() for each in unfit]
        wanted = listed if keys is None else [each for each in listed if each.key in set(keys)]
        return sorted(wanted, key=lambda each: (each.column, str(each.key)))[:limit]

    def _guard(self, guard: Guarding, deletes: Sequence[Key]) -> None:
        made, now = self._made, dt.datetime.now(dt.UTC)
        if guard.resolved or guard.allowed:
            made.refusal = None
        if guard.allowed:
            made.moments.clear()
            return
        if guard.filled:
            if self._filling:
                made.moments = [each for each in made.moments if each.removed]
            return
        if made.refusal is None:
            made.moments = [each for each in made.moments if not each.rows or now - each.since < GUARDED_FOR]
        others = guard.elsewhere.rows() if guard.elsewhere else 0
        deleted = guard.elsewhere.deleted if guard.elsewhere else ()
        rows = len(made.records) + others if guard.rows is None else guard.rows
        least = 0 if guard.rows is None else rows / 2
        known = any(each.rows > least for each in made.moments) if rows else bool(made.moments)
        if guard.refused or not known:
            made.moments.append(Moment(now, rows, set(made.records)))
        if guard.refused:
            made.refusal = made.refusal or Refusal(now, guard.refused)
        gone = set(deletes)
        for each in made.moments:
            outgrown = guard.told and len(made.records) + others >= OUTGROWN * each.rows
            removed = each.removed + len(gone & each.keys) + sum(at < each.since for at in deleted)
            if each.rows and removed * 2 > each.rows and not outgrown:
                raise over_half("memory", each.rows, each.since)
        for each in made.moments:
            each.removed += len(gone & each.keys) + sum(at < each.since for at in deleted)
            each.keys -= gone

    def offsets(self) -> dict[str, str]:
        return dict(self._made.offsets)

    def positions(self, keys: Sequence[Key]) -> dict[Key, str]:
        return {key: self._store.tables.positions[key] for key in keys if key in self._store.tables.positions}

    def auditor(self) -> MemoryAuditor:
        return MemoryAuditor(self._store.tables.guard, self._made.records, self._made.failures)

    def failures(self, limit: int | None = None) -> list[Failure]:
        with self._store.tables.guard:
            found = list(self._made.failures.values())
        return sorted(found, key=lambda failure: failure.failed_at, reverse=True)[:limit]

    def status(self) -> GenerationStatus:
        records, failures = self._made.records, self._made.failures
        return GenerationStatus(
            rows=len(records),
            failures=len(failures),
            stale=len(failures.keys() & records.keys()),
            truncated=sum(record.truncated for record in records.values()),
            bytes=sum(record.vector.nbytes for record in records.values()),
            passages=sum(len(record.passages) for record in records.values()),
            divided=sum(record.passages != () for record in records.values()),
            unfit=sum(map(len, self._made.unfit.values())),
        )

    def truncated(self, limit: int) -> list[Key]:
        records: Mapping[Any, Record] = self._made.records
        return sorted(key for key, record in records.items() if record.truncated)[:limit]

    def repeated(self, limit: int) -> list[Repeated]:
        by_text: dict[bytes, list[Any]] = {}
        for key, record in self._made.records.items():
            by_text.setdefault(record.document.text_hash, []).append(key)
        groups = sorted((sorted(keys) for keys in by_text.values() if len(keys) > 1), key=len, reverse=True)
        return [Repeated(len(keys), tuple(keys[:REPEATED_KEYS])) for keys in groups[:limit]]

    def vector(self, key: Key, where: Filter | None = None) -> Vector | None:
        record = self._made.records.get(key)
        return None if record is None or not self.passing(where, [key]) else record.vector

    def vectors(self, after: Key | None, limit: int, where: Filter | None = None) -> list[tuple[Key, Vector]]:
        with self._store.tables.guard:
            known: list[Any] = sorted(self.passing(where, list(self._made.records)))
            kept = [key for key in known if after is None or key > after][:limit]
            return [(key, self._made.records[key].vector) for key in kept]

    def nearest(self, vector: Vector, limit: int, where: Filter | None = None, *, exact: bool = False) -> Ranked:
        records = self._made.records
        with self._store.tables.guard:
            keys = list(records)
        keys = self.passing(where, keys)
        if not keys:
            return Ranked([], [], True, True)
        held = len(records[keys[0]].vector)
        if held != len(vector):
            raise StoreError(f"memory holds vectors of {held} dimensions, the query has {len(vector)}.")
        return ranked(self.similarities(vector, keys), limit)

    def similarities(self, vector: Vector, keys: Sequence[Key], where: Filter | None = None) -> dict[Key, float]:
        known = self.passing(where, keys)
        if not known:
            return {}
        matrix = np.stack([self._made.records[key].vector for key in known])
        scores = dict(zip(known, similarity(self._store.metric, matrix, vector), strict=True))
        for key in known:
            passages = self._made.records[key].passages
            if passages:
                best = max(similarity(self._store.metric, np.stack([each.vector for each in passages]), vector))
                scores[key] = 0.5 * best + 0.5 * scores[key]
        return scores

    def typical(self, vector: Vector) -> float | None:
        metric = self._store.metric
        return Typical(metric, lambda most: [each for _, each in self.sample(most)]).similarity(vector)

    def texts(
        self, keys: Sequence[Key], vector: Vector | None = None, where: Filter | None = None
    ) -> dict[Key, StoredText]:
        with self._store.tables.guard:
            records = {key: self._made.records[key] for key in self.passing(where, keys)}
        kept = {key: each for key, each in records.items() if each.kept and self._made.spec.keeps_texts}
        return {key: StoredText(each.document.text, self._scored(each, vector)) for key, each in kept.items()}

    def _scored(self, record: Record, vector: Vector | None) -> tuple[ScoredPassage, ...]:
        if vector is None or not record.passages:
            return tuple(ScoredPassage(each.start, each.end) for each in record.passages)
        scores = similarity(self._store.metric, np.stack([each.vector for each in record.passages]), vector)
        return tuple(
            ScoredPassage(each.start, each.end, score) for each, score in zip(record.passages, scores, strict=True)
        )

    def keyword(self, query: str, limit: int, where: Filter | None = None, *, last: LastWord | None = None) -> Ranked:
        found = self.matching(query, last)
        return found.best(found.counts, limit, where)

    def holding(self, words: Sequence[str]) -> dict[str, int]:
        if self._made.spec.language is None:
            return {}
        its = analyzer(self._made.spec.language)
        with self._store.tables.guard:
            texts = [set(its.terms(record.document.text)) for record in self._made.records.values()]
        found = {word: [sum(term in each for each in texts) for term in its.query(word)] for word in words}
        return {word: max(counts) for word, counts in found.items() if any(counts)}

    def kept_words(self, known: Collection[int] = ()) -> dict[int, str] | None:
        kept = self._made.kept_words
        return None if kept is None else {part: words for part, words in enumerate(kept) if part not in known}

    def passing(self, where: Filter | None, keys: Sequence[Key]) -> list[Key]:
        """Those of the keys that have a row which passes the filter."""
        if where is None:
            return [key for key in keys if key in self._made.records]
        return list(self.metadata(keys, where))

    def browse(
        self,
        limit: int,
        where: Filter | None = None,
        *,
        order: Order | None = None,
        offset: int = 0,
        after: Place | None = None,
    ) -> list[Key]:
        return browsed(self.metadata(list(self._made.records), where), order, after)[offset : offset + limit]

    def facets(
        self, columns: Sequence[Column], where: Filter | None = None, *, most: int = 10, spans: Spans | None = None
    ) -> Facets:
        return facets_of(self.metadata(list(self._made.records), where).values(), columns, most, spans)

    def metadata(self, keys: Sequence[Key], where: Filter | None = None) -> dict[Key, Mapping[str, Any]]:
        names = [column.name for column in self._made.spec.metadata]
        records = self._made.records
        bound = None if where is None else bind(where, self._made.spec.metadata)
        found = {key: dict(zip(names, records[key].document.metadata, strict=True)) for key in keys if key in records}
        return {key: values for key, values in found.items() if bound is None or matches(bound, values)}

    def written(self, keys: Sequence[Key]) -> dict[Key, Written]:
        records = self._made.records
        return {key: Written(records[key].at, records[key].truncated) for key in keys if key in records}
