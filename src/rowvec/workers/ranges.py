"""One range of keys, synced while others sync theirs."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from rowvec import __version__
from rowvec.assemble import parse_key
from rowvec.documents.values import RENDERING
from rowvec.errors import ConfigError
from rowvec.pipeline import Options, Pipeline
from rowvec.stores.abilities import DividesWork
from rowvec.stores.base import Store
from rowvec.stores.ledger import Ledger
from rowvec.stores.runs import COUNTS, OnReport, Report, Run
from rowvec.syncing.run import sync
from rowvec.types import Key
from rowvec.workers.members import Place, check_divisible, check_members, check_source

WRITTEN = ("inserted", "embedded", "updated", "deleted", "reused", "truncated", "divided", "passages", "unfit")


class PartOfStore:
    """A store for whoever syncs one range: it holds that range's lock, and the fleet keeps the record of the run."""

    def __init__(self, store: Store, part: str, ledger: Ledger, run: int) -> None:
        self._store = store
        self._part = part
        self._ledger = ledger
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def ledger(self) -> Ledger:
        # Counting the whole table for each of its ranges would cost more than syncing them.
        return self._ledger

    def lock(self) -> AbstractContextManager[None]:
        assert isinstance(self._store, DividesWork)
        return self._store.lock(self._part)

    def begin_run(self, pipeline: str) -> int:
        return self._run

    def save_run(self, run: int, report: Report, outcome: str, error: str | None = None) -> None:
        pass

    def runs(self, limit: int = 10) -> list[Run]:
        """None: whoever started the fleet is asked to stop, not its ranges."""
        return []


def versions(pipeline: Pipeline) -> dict[str, Any]:
    """Of this program, of what its store keeps and of the rules by which values become text."""
    store: Any = pipeline.store
    return {"program": __version__, "state": store.layout, "rendering": RENDERING}


def check_versions(pipeline: Pipeline, sent: Mapping[str, Any]) -> None:
    """
    Raises:
        ConfigError: whoever sent a range writes in another way than this worker, or is a newer rowvec.
    """
    ours, theirs = versions(pipeline), dict(sent)
    formats = ("state", "rendering")
    if all(ours[name] == theirs.get(name) for name in formats) and _numbers(theirs) <= _numbers(ours):
        return
    raise ConfigError(
        f"The worker {Place.here()} is rowvec {ours['program']} (state {ours['state']}, rendering"
        f" {ours['rendering']}), but the fleet was started by rowvec {theirs.get('program', 'of an unknown version')}"
        f" (state {theirs.get('state', '?')}, rendering {theirs.get('rendering', '?')}): it writes nothing.",
        hint="Upgrade the workers first, then what starts the fleet; then run it again.",
    )


def _numbers(said: Mapping[str, Any]) -> list[int]:
    """A version such as 0.10.2 as numbers that can be compared."""
    return [int(number) for number in re.findall(r"\d+", str(said.get("program", "")))]


def sync_range(
    pipeline: Pipeline,
    after: str | None,
    until: str | None,
    *,
    ledger: Ledger,
    expected: Mapping[str, str],
    sent_by: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
    rows: Mapping[str, Any] | None = None,
    run: int | None = None,
    options: Options,
    accept: bool = False,
    before: Report | None = None,
    progress: OnReport | None = None,
    stop: threading.Event | None = None,
) -> Report:
    """Sync the rows whose keys are above `after` and not above `until`; nothing beyond them is touched.

    Args:
        expected: the `identity` of whoever sent the range.
        sent_by: its `versions`; None if that is this process.
        origin: its place and the proof of its store, see `rowvec.workers.members`.
        rows: its `evidence` of the range.
        before: of the workers that began the range and handed it back; what they wrote and paid for is counted too.

    Raises:
        ConfigError: this worker has another config, version, store or source than whoever sent the range.
        RowsDiffer: its source has the same address and other rows.
        Locked: somebody else syncs this range, or the whole table.
    """
    check_divisible(pipeline)
    if sent_by is not None:
        check_versions(pipeline, sent_by)
    if after is None and until is None:
        raise ConfigError("A range has at least one bound.", hint="Use rowvec.sync for the whole table.")
    what, bounds = f"the range {after}..{until}", (key_of(pipeline, after), key_of(pipeline, until))
    check_members(pipeline, what, expected, origin or {}, run or 0)
    check_source(pipeline, what, expected, origin or {}, bounds, rows)
    part: Any = PartOfStore(pipeline.store, f"{after!r}..{until!r}", ledger, run or 0)
    options = replace(options, after=bounds[0], until=bounds[1])

    def tell(report: Report) -> None:
        if progress is not None:
            progress(together(report, before))

    return together(sync(replace(pipeline, store=part), options, accept=accept, progress=tell, stop=stop), before)


def report_of(said: Mapping[str, Any]) -> Report:
    """The counts in what a task has said."""
    return Report(**{name: said[name] for name in (*COUNTS, "cost_estimated", "reasons") if name in said})


def together(report: Report, before: Report | None) -> Report:
    """The counts of a range that was handed back: what was written before is found unchanged, and counts once."""
    if before is None:
        return report
    total = replace(report, unchanged=max(0, report.unchanged - before.inserted - before.embedded - before.updated))
    total.add(before, *WRITTEN)
    total.add_cost(before)
    return total


def key_of(pipeline: Pipeline, text: str | None) -> Key | None:
    return None if text is None else parse_key(text, pipeline.spec.key_type)
