"""Repairing what an audit found: just those rows, by the same sync that writes everything else."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from itertools import chain, islice

from rowvec.auditing.audit import Auditing, confirmed
from rowvec.auditing.findings import Audit, Finding, Repair, RowHashes
from rowvec.auditing.sampling import NEAREST, QUERIES, IndexCheck, Sample
from rowvec.errors import StoreError
from rowvec.evaluation.recall import GOOD_RECALL
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Selection
from rowvec.stores.auditor import Audited, Auditor, Drift, Fault
from rowvec.stores.base import GenerationHandle
from rowvec.stores.runs import OnReport, Report
from rowvec.stores.write_batch import WriteBatch
from rowvec.syncing.deletion import check_share
from rowvec.syncing.pages import row_pages
from rowvec.syncing.run import sync
from rowvec.types import Key

EMBEDDED = (
    Drift.MISSING, Drift.STALE, Drift.DIMENSION, Drift.NOT_FINITE, Drift.NOT_NORMALISED, Drift.WRONG_VECTOR,
    Drift.PASSAGES,
)  # fmt: skip
REPAIRED_AT_ONCE = 5_000
VERIFIED = 100
"""Repaired vectors that are held against the model again."""
ALL = 2**62
"""More rows than there are."""
REWRITTEN = (Drift.METADATA, Drift.NO_WORDS, Drift.NO_TEXT)
OF_THE_STORE = (
    Drift.DUPLICATE, Drift.NO_WORDS, Drift.LOST_WORDS, Drift.WORD_COUNTS, Drift.INDEX, Drift.NO_TEXT, Drift.PASSAGES,
    Drift.MEAN, Drift.LOST_PASSAGES,
)  # fmt: skip
"""What the store alone can show."""


def repair(
    pipeline: Pipeline,
    found: Audit,
    *,
    allow_delete: bool = False,
    progress: OnReport | None = None,
    stop: threading.Event | None = None,
) -> Repair:
    """Repair the rows that `found` names, then look at them again.

    What is embedded is embedded again, and never taken from a row with the same text: its vector is in doubt too. If
    one vector of a sample was wrong, every row is embedded again and compared. The mean of passages alone is made of
    what is stored.

    Raises:
        StoreError: the live vectors are of another model than the config's, or have come to be since the audit.
        DeletionGuard: more than half of the vectors would be deleted; nothing was changed.
        Locked: a sync is at work.
    """
    stop = stop or threading.Event()
    _check(pipeline, found, allow_delete=allow_delete)
    done = Repair()
    in_doubt = _in_doubt(found)
    embedded = _keys(found, (drift for drift in EMBEDDED if not (in_doubt and drift is Drift.WRONG_VECTOR)))
    if embedded:
        options = Options(Selection(embedded), force=True, allow_delete=allow_delete)
        done.total.add(sync(pipeline, options, progress=progress, stop=stop))
    if averaged := _keys(found, (Drift.MEAN,)):
        options = Options(Selection(averaged), force=True, reuse=True, allow_delete=allow_delete)
        done.total.add(sync(pipeline, options, progress=progress, stop=stop))
    if in_doubt:
        _compare_all(pipeline, done, progress, stop)
    rewritten = _keys(found, REWRITTEN)
    with pipeline.store.lock():
        _check_live(pipeline)
        live = pipeline.store.prepare(pipeline.spec)
        assert isinstance(live, Audited)
        auditor = live.auditor()
        if rewritten:
            auditor.forget(rewritten)
        if Drift.LOST_FAILURE in found.findings:
            _drop_failures(pipeline, live, found.findings[Drift.LOST_FAILURE])
        _repair(auditor, found, (Drift.LOST_WORDS, Drift.LOST_PASSAGES))
    named = (*rewritten, *_keys(found, (Drift.ORPHANED,)))
    if named:
        options = Options(Selection(named), allow_delete=allow_delete)
        done.total.add(sync(pipeline, options, progress=progress, stop=stop))
    with pipeline.store.lock():
        _check_live(pipeline)
        # Last: words that were missing have been counted again, and the index is built over what is right.
        _repair(auditor, found, (Drift.WORD_COUNTS, Drift.INDEX))
    done.left = _left(pipeline, found, stop)
    return done


def _in_doubt(found: Audit) -> bool:
    """A wrong vector was found, and there are vectors that were not compared."""
    finding, sample = found.findings.get(Drift.WRONG_VECTOR), found.sample
    return finding is not None and (sample is None or sample.left_out > 0 or finding.count > len(finding.keys))


def _compare_all(pipeline: Pipeline, done: Repair, progress: OnReport | None, stop: threading.Event) -> None:
    """Embed every row again, and those once more whose vector differs, in parts, so that memory stays bounded."""
    looking = Auditing(pipeline, stop)
    sample = Sample(pipeline, looking.live, looking.auditor, ALL, ALL, stop)
    wrong: dict[Key, RowHashes] = {}
    seen = Report()

    def correct() -> None:
        done.wrong += len(wrong)
        done.compared = sample.rows
        if wrong and not stop.is_set():
            done.total.add(sync(pipeline, Options(Selection(tuple(wrong)), force=True), stop=stop))
        wrong.clear()

    for rows in row_pages(pipeline, Options(), stop):
        judged, documents = looking.judge(rows)
        wrong |= looking.wrong(sample.take([each for each in documents if each.key not in judged]))
        seen.read += len(rows)
        if progress is not None:
            progress(seen)
        if len(wrong) >= REPAIRED_AT_ONCE:
            correct()
    wrong |= looking.wrong(sample.finish())
    correct()


def _check(pipeline: Pipeline, found: Audit, *, allow_delete: bool) -> None:
    if not found.repairable:
        raise StoreError(
            f"The live vectors in {pipeline.store.location} are of {found.model}, but the config names another model,"
            " which cannot repair them. Nothing was changed.",
            hint="`rowvec sync` builds the new model's vectors beside them; or set embedder back to repair these.",
        )
    _check_live(pipeline)
    orphaned = found.findings.get(Drift.ORPHANED)
    if orphaned is not None and not allow_delete:
        check_share(pipeline, orphaned.count, found.entries)


def _check_live(pipeline: Pipeline) -> None:
    """To prepare for a model that a rollback has decided against would begin to build it again."""
    if pipeline.store.ledger().fingerprint not in (None, pipeline.spec.fingerprint):
        raise StoreError(
            f"Another generation of {pipeline.store.location} went live since the audit.", hint="Audit it again."
        )


def _keys(found: Audit, drifts: Iterable[Drift]) -> tuple[Key, ...]:
    each = (found.findings[drift].keys for drift in drifts if drift in found.findings)
    return tuple(dict.fromkeys(chain.from_iterable(each)))


def _drop_failures(pipeline: Pipeline, live: GenerationHandle, finding: Finding) -> None:
    """Under the lock, and only of rows that still have nothing to embed."""
    still = finding.copy()
    Auditing(pipeline, threading.Event()).look_again([still])
    live.write(WriteBatch(recovered=list(still.keys)))


def _repair(auditor: Auditor, found: Audit, drifts: Iterable[Drift]) -> None:
    for drift in drifts:
        if drift in found.findings:
            auditor.repair(_fault(found.findings[drift]))


def _fault(finding: Finding) -> Fault:
    return Fault(finding.drift, finding.count, list(finding.keys), finding.detail)


def _left(pipeline: Pipeline, found: Audit, stop: threading.Event) -> list[Finding]:
    """What is still wrong of what was found, and what there was no room to repair; all of it where nobody looked."""
    looking = Auditing(pipeline, stop)
    of_rows = [finding.copy() for finding in found.findings.values() if finding.drift not in OF_THE_STORE]
    of_store = [_fault(finding) for finding in found.findings.values() if finding.drift in OF_THE_STORE]
    looking.look_again(of_rows)
    of_rows += _still_wrong(pipeline, looking, found, stop)
    still = [
        Finding(fault.drift, fault.count, dict.fromkeys(fault.keys), fault.detail)
        for fault in confirmed(of_store, looking.faults())
    ]
    if Drift.INDEX in found.findings and all(finding.drift is not Drift.INDEX for finding in still):
        still += _index_left(looking, found, stop)
    if stop.is_set():
        return list(found.findings.values())
    return [*(finding for finding in of_rows if finding.count), *still]


def _still_wrong(pipeline: Pipeline, looking: Auditing, found: Audit, stop: threading.Event) -> list[Finding]:
    """Of the vectors that were wrong some are held against the model again."""
    finding = found.findings.get(Drift.WRONG_VECTOR)
    if finding is None:
        return []
    sample = Sample(pipeline, looking.live, looking.auditor, ALL, ALL, stop)
    wrong: dict[Key, RowHashes] = {}
    for rows in looking.read_again(islice(finding.keys, VERIFIED)):
        wrong |= looking.wrong(sample.take(looking.judge(rows)[1]))
    wrong |= looking.wrong(sample.finish())
    return [Finding(Drift.WRONG_VECTOR, len(wrong), dict(wrong))] if wrong else []


def _index_left(looking: Auditing, found: Audit, stop: threading.Event) -> list[Finding]:
    """An index that was built again is searched before it counts as right."""
    live = looking.live
    known = found.sample.vectors if found.sample is not None else {}
    again = {key: live.vector(key) for key in known} or dict(live.vectors(None, QUERIES))
    check = IndexCheck.of(live, {key: vector for key, vector in again.items() if vector is not None}, stop)
    if check is None:
        return []
    if check.unreachable:
        detail = f"{len(check.unreachable)} of {check.queries} rows are not found by their own vectors"
        return [Finding(Drift.INDEX, len(check.unreachable), dict.fromkeys(check.unreachable), detail)]
    if check.recall < GOOD_RECALL:
        detail = f"recall@{NEAREST} is {check.recall:.3f} after it was built again: `rowvec index tune` raises it"
        return [Finding(Drift.INDEX, 1, {}, detail)]
    return []
