"""Source, store and indexes held against each other: what `rowvec audit` finds.

Nothing is written, and syncs may be at work meanwhile. So whatever looks wrong is looked at again, the row first and
the store after it, and counts only if neither has changed; what a sync may be about to put right counts only if it
stays so for `settle` seconds. The generation that is audited is the one that searches see.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from rowvec.auditing.findings import KEPT_KEYS, SAMPLE, Audit, Finding, RowHashes
from rowvec.auditing.sampling import IndexCheck, Sample
from rowvec.errors import ConfigError, SourceError, StoreError
from rowvec.generations.lifecycle import as_live, live_rows
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Selection
from rowvec.sources.events.stream import has_table
from rowvec.stores.auditor import Audited, Auditor, Drift, Fault, Seen
from rowvec.stores.base import TableSpec
from rowvec.support.retry import patiently
from rowvec.syncing.pages import as_held, row_pages
from rowvec.types import Document, Key, Progress, Row

SETTLE_SECONDS = 2.0
LOOK_SECONDS = 0.25
KEYS_AT_ONCE = 1000
NORM_TOLERANCE = 0.01
"""Half precision and services that round stay well below it."""


def audit(
    pipeline: Pipeline,
    *,
    sample: int = SAMPLE,
    settle: float = SETTLE_SECONDS,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Audit:
    """Hold every row against the store and the store against every row; nothing is changed.

    Args:
        sample: number of rows, chosen at random, that are embedded again and compared with their vectors.
        settle: seconds for which a row must be behind; a sync may be about to write it.
        progress: called after every page of rows.
        stop: when set, what was found so far is returned, marked as interrupted.

    Raises:
        ConfigError: the source only gives changes, and there is no table to compare with.
        StoreError: there are no vectors yet, or another generation went live meanwhile.
        SourceError, EmbedderError, StoreUnavailable: one of them does not answer.
    """
    if not has_table(pipeline.source):
        raise ConfigError(
            f"{pipeline.name} follows change events and has no table to compare its vectors with.",
            hint="Name the table in source.rows.",
        )
    work = Auditing(pipeline, stop or threading.Event(), progress)
    if not work.same_model and sample:
        work.result.notes.append(
            f"The live vectors are of {work.result.model}, but the config names another model: none was embedded again."
        )
        sample = 0
    work.look(sample, settle)
    return work.result


class Auditing:
    """
    Attributes:
        pipeline: as the live vectors were made.
        spec: of the live generation.
        same_model: the live vectors are of the model that the config names.
    """

    def __init__(self, pipeline: Pipeline, stop: threading.Event, progress: Progress | None = None) -> None:
        self.store = pipeline.store
        self.stop = stop
        self.progress = progress
        self.ledger, self.live = live_rows(pipeline.store, pipeline.spec)
        self.same_model = self.ledger.fingerprint in (None, pipeline.spec.fingerprint)
        # Rows are judged by the text settings that the live vectors were made with.
        self.pipeline = pipeline if self.same_model else as_live(pipeline, self.ledger)
        self.spec = self.pipeline.spec
        assert isinstance(self.live, Audited)
        self.auditor: Auditor = self.live.auditor()
        model = self.ledger.fingerprint.model if self.ledger.fingerprint else None
        self.result = Audit(pipeline.name, self.store.location, model, repairable=self.same_model)

    def look(self, size: int, settle: float) -> None:
        result = self.result
        total = patiently(self.stop, self.pipeline.source.count)
        sample = Sample(self.pipeline, self.live, self.auditor, size, total, self.stop)
        for rows in row_pages(self.pipeline, Options(), self.stop):
            sound = self._rows(rows)
            for key, mark in self.wrong(sample.take(sound)).items():
                result.add(Drift.WRONG_VECTOR, key, mark)
            self._tell("Comparing rows", result.rows, total)
        for key, mark in self.wrong(sample.finish()).items():
            result.add(Drift.WRONG_VECTOR, key, mark)
        self._orphans()
        self._tell("Looking at the store by itself", 0, None)
        faults = self.faults()
        self._settle(time.monotonic() + settle)
        if faults and not self.stop.is_set():
            faults = confirmed(faults, self.faults())
        if size:
            result.sample = sample
        # An index that is known to be broken may not even answer.
        if size and all(fault.drift is not Drift.INDEX for fault in faults):
            result.index = IndexCheck.of(self.live, sample.vectors, self.stop, self.progress)
        self._leave_to_means(faults, sample)
        for fault in map(self._but_named, faults):
            result.findings[fault.drift] = Finding(fault.drift, fault.count, dict.fromkeys(fault.keys), fault.detail)
        self._blame_index()
        result.unfit = patiently(self.stop, self.live.status).unfit
        result.interrupted = self.stop.is_set()
        result.settle()
        if self.store.ledger().fingerprint != self.ledger.fingerprint:
            raise StoreError(
                f"Another generation of {self.store.location} went live during the audit.", hint="Run it again."
            )

    def _tell(self, phase: str, done: int, total: int | None) -> None:
        if self.progress is not None:
            self.progress(phase, done, total)

    # Rows against the store

    def _rows(self, rows: Sequence[Row]) -> list[Document]:
        """Take down what is wrong with these rows; returns the documents of the others that have a vector."""
        self.result.rows += len(rows)
        judged, documents = self.judge(rows, self.result)
        for key, (drift, mark) in self._again(judged).items():
            self.result.add(drift, key, mark)
        return [document for document in documents if document.key not in judged]

    def judge(
        self, rows: Sequence[Row], count: Audit | None = None
    ) -> tuple[dict[Key, tuple[Drift, RowHashes]], list[Document]]:
        """Rows that are not as they should be, and the documents of all that have a text.

        Args:
            count: gets the numbers of rows that are as they should be and have no vector of their text.
        """
        documents, unreadable = self._documents(rows)
        seen = patiently(self.stop, self.auditor.inspect, self._as_stored(documents))
        judged = {}
        for place, document in enumerate(documents):
            found = seen.get(document.key)
            if found is not None and document.whole_hash is not None:
                document = documents[place] = as_held(document, found.text_hash, found.failure)
            unfit = document.key in unreadable
            drift = _judged_unreadable(found) if unfit else judged_row(document, found, self.spec)
            if drift is not None:
                judged[document.key] = drift, RowHashes(document.text_hash, document.row_hash)
            elif count is not None and not document.text and not unfit:
                count.empty += 1
            elif count is not None and found is not None and (unfit or found.text_hash != document.text_hash):
                count.failed += 1
                count.outdated += found.text_hash is not None
        return judged, [document for document in documents if document.text]

    def _documents(self, rows: Sequence[Row]) -> tuple[list[Document], set[Key]]:
        """Also the keys of rows that cannot be made a document; theirs is empty."""
        documents, unreadable = [], set()
        to_document = self.pipeline.documents
        for row in rows:
            try:
                documents.append(to_document(row))
            except SourceError:
                unreadable.add(row.key)
                documents.append(Document(row.key, "", (None,) * len(self.spec.metadata), b"", b""))
        return documents, unreadable

    def _as_stored(self, documents: Sequence[Document]) -> list[Document]:
        """With null in the metadata that the store, and not the type, did not take."""
        listed: dict[Key, set[str]] = {}
        for each in patiently(self.stop, self.live.unfit, [document.key for document in documents]):
            listed.setdefault(each.key, set()).add(each.column)
        if not listed:
            return list(documents)
        names = [column.name for column in self.spec.metadata]
        stored = []
        for document in documents:
            lacking = listed.get(document.key, set())
            kept = (None if name in lacking else each for name, each in zip(names, document.metadata, strict=False))
            stored.append(document._replace(metadata=tuple(kept)) if lacking else document)
        return stored

    def _again(self, suspects: Mapping[Key, tuple[Drift, RowHashes]]) -> dict[Key, tuple[Drift, RowHashes]]:
        """Those that are still as they were: the row is read again, and what the store holds of it after that."""
        kept: dict[Key, tuple[Drift, RowHashes]] = {}
        for rows in self.read_again(suspects):
            judged, _ = self.judge(rows)
            kept |= {key: found for key, found in judged.items() if found == suspects[key]}
        return kept

    def read_again(self, keys: Iterable[Key]) -> Iterable[list[Row]]:
        wanted = iter(keys)
        while part := tuple(islice(wanted, KEYS_AT_ONCE)):
            yield from row_pages(self.pipeline, Options(Selection(keys=part)), self.stop)

    def wrong(self, suspects: Mapping[Key, Document]) -> dict[Key, RowHashes]:
        """Those whose row still says what was embedded."""
        wrong = {}
        for rows in self.read_again(suspects):
            documents, _ = self._documents(rows)
            for document in documents:
                text_hash = suspects[document.key].text_hash
                if text_hash in (document.text_hash, document.whole_hash):
                    wrong[document.key] = RowHashes(text_hash, document.row_hash)
        return wrong

    # The store against the rows

    def _orphans(self) -> None:
        after: Key | None = None
        while not self.stop.is_set():
            keys = patiently(self.stop, self.live.keys, after, 5 * KEYS_AT_ONCE)
            if not keys:
                return
            self.result.entries += len(keys)
            after = keys[-1]
            for key, drift in self.without_row(self.without_row(keys)).items():
                self.result.add(drift, key, None)
            self._tell("Looking for rows that are gone", self.result.entries, None)

    def without_row(self, keys: Iterable[Key]) -> dict[Key, Drift]:
        """Those that the source does not hold, and the store does after that."""
        wanted = list(keys)
        if not wanted:
            return {}
        existing = patiently(self.stop, self.pipeline.source.existing, wanted)
        gone = [key for key in wanted if key not in existing]
        held = patiently(self.stop, self.live.lookup, gone) if gone else {}
        found = {}
        for key in (key for key in gone if key in held):
            lost = held[key].failure is not None and held[key].text_hash is None and held[key].row_hash is None
            if lost or not self.pipeline.keep_missing:
                found[key] = Drift.LOST_FAILURE if lost else Drift.ORPHANED
        return found

    # All of it again

    def _settle(self, until: float) -> None:
        """Look again at what a sync may be about to repair, until it is repaired or has been wrong for long enough."""
        behind = [self.result.findings[drift] for drift in _BEHIND if drift in self.result.findings]
        while any(finding.keys for finding in behind) and not self.stop.is_set():
            self.look_again(behind)
            left = until - time.monotonic()
            if left <= 0:
                return
            self.stop.wait(min(LOOK_SECONDS, left))

    def look_again(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            with_row = {key: (finding.drift, mark) for key, mark in finding.keys.items() if mark is not None}
            kept: dict[Key, RowHashes | None] = {key: mark for key, (_, mark) in self._again(with_row).items()}
            rest = iter([key for key, mark in finding.keys.items() if mark is None])
            while part := list(islice(rest, 5 * KEYS_AT_ONCE)):
                still = self.without_row(part)
                kept |= {key: None for key in part if still.get(key) is finding.drift}
            finding.keep(kept)

    def faults(self) -> list[Fault]:
        return patiently(self.stop, self.auditor.faults, KEPT_KEYS)

    def _leave_to_means(self, faults: Sequence[Fault], sample: Sample) -> None:
        """A vector that is wrong while the passages of its row are right is made of them, and nothing is embedded."""
        wrong = self.result.findings.get(Drift.WRONG_VECTOR)
        averaged = {key for fault in faults if fault.drift is Drift.MEAN for key in fault.keys} - sample.other_passages
        if wrong is not None and averaged:
            wrong.keep({key: mark for key, mark in wrong.keys.items() if key not in averaged})

    def _but_named(self, fault: Fault) -> Fault:
        """Without rows that a finding names already, and that its repair puts right in this too."""
        findings = self.result.findings
        before = _NAMED_BEFORE.get(fault.drift, ())
        named = {key for drift in before if drift in findings for key in findings[drift].keys}
        keys = [key for key in fault.keys if key not in named]
        return replace(fault, keys=keys, count=fault.count - (len(fault.keys) - len(keys)))

    def _blame_index(self) -> None:
        index = self.result.index
        if index is None or not index.unreachable or Drift.INDEX in self.result.findings:
            return
        detail = f"{len(index.unreachable)} of {index.queries} rows are not found by their own vectors"
        keys: dict[Key, RowHashes | None] = dict.fromkeys(index.unreachable)
        self.result.findings[Drift.INDEX] = Finding(Drift.INDEX, len(keys), keys, detail)


_NAMED_BEFORE = {
    Drift.NO_WORDS: (Drift.ORPHANED,),
    Drift.NO_TEXT: (Drift.ORPHANED,),
    Drift.MEAN: (Drift.ORPHANED, Drift.STALE, Drift.DIMENSION, Drift.NOT_FINITE, Drift.NOT_NORMALISED,
                 Drift.WRONG_VECTOR),
}  # fmt: skip
_BEHIND = (Drift.MISSING, Drift.STALE, Drift.METADATA, Drift.ORPHANED, Drift.LOST_FAILURE)
"""What a sync puts right."""


def judged_row(document: Document, seen: Seen | None, spec: TableSpec) -> Drift | None:
    """What is wrong with what the store holds of a row; None for nothing. What embedding again repairs comes first."""
    if not document.text:
        if seen is None:
            return None
        return Drift.LOST_FAILURE if (seen.text_hash, seen.row_hash) == (None, None) else Drift.STALE
    if seen is None or seen.text_hash != document.text_hash:
        if seen is not None and seen.failure is not None and seen.failure.text_hash == document.text_hash:
            return None
        return Drift.MISSING if seen is None or seen.text_hash is None else Drift.STALE
    if seen.dimension != spec.dimension:
        return Drift.DIMENSION
    if not math.isfinite(seen.norm) or seen.norm == 0.0:
        return Drift.NOT_FINITE
    if spec.fingerprint is not None and spec.fingerprint.normalized and abs(seen.norm - 1) > NORM_TOLERANCE:
        return Drift.NOT_NORMALISED
    return None if seen.row_hash == document.row_hash and seen.metadata else Drift.METADATA


def _judged_unreadable(seen: Seen | None) -> Drift | None:
    """Of a row that cannot be made a document: that must be on record as a failure."""
    if seen is not None and seen.failure is not None:
        return None
    return Drift.MISSING if seen is None or seen.text_hash is None else Drift.STALE


def confirmed(before: Iterable[Fault], after: Iterable[Fault]) -> list[Fault]:
    """The faults of both lists, with the keys that are in both."""
    later = {fault.drift: fault for fault in after}
    kept = []
    for fault in before:
        now = later.get(fault.drift)
        if now is None:
            continue
        same = set(fault.keys) & set(now.keys)
        if same or not fault.keys:
            gone = len(fault.keys) - len(same)
            kept.append(replace(now, count=fault.count - gone, keys=[key for key in fault.keys if key in same]))
    return kept
