"""One range of keys, synced while others sync theirs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from rowvec.assemble import parse_key
from rowvec.errors import ConfigError, StoreError
from rowvec.pipeline import Options, Pipeline
from rowvec.stores.base import DividesWork, Ledger, Store
from rowvec.syncing.report import OnReport
from rowvec.syncing.run import sync
from rowvec.types import Key, Report


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

    def begin_run(self) -> int:
        return self._run

    def save_run(self, run: int, report: Report, outcome: str, error: str | None = None) -> None:
        pass


def check_divisible(pipeline: Pipeline) -> None:
    """Raises StoreError where several workers cannot share a pipeline."""
    if not isinstance(pipeline.store, DividesWork):
        raise StoreError(
            f"{pipeline.store.location} takes one writer at a time.", hint="A fleet needs a PostgreSQL store."
        )


def identity(pipeline: Pipeline) -> list[str]:
    """What the members of a fleet must agree on."""
    spec = pipeline.spec
    return [repr(spec.fingerprint), spec.recipe, repr(spec.metadata), pipeline.store.location.rpartition(" in ")[0]]


def sync_range(
    pipeline: Pipeline,
    after: str | None,
    until: str | None,
    *,
    ledger: Ledger,
    expected: Sequence[str],
    run: int | None = None,
    options: Options,
    accept: bool = False,
    progress: OnReport | None = None,
    stop: threading.Event | None = None,
) -> Report:
    """Sync the rows whose keys are above `after` and not above `until`; nothing beyond them is touched.

    Raises:
        ConfigError: this worker has another config than whoever sent the range.
        Locked: somebody else syncs this range, or the whole table.
    """
    if list(expected) != identity(pipeline):
        raise ConfigError(
            f"The pipeline {pipeline.name!r} is another one here than where the fleet was started.",
            hint="Give every worker the same rowvec.toml, model and version of rowvec.",
        )
    if after is None and until is None:
        raise ConfigError("A range has at least one bound.", hint="Use rowvec.sync for the whole table.")
    check_divisible(pipeline)
    part: Any = PartOfStore(pipeline.store, f"{after!r}..{until!r}", ledger, run or 0)
    options = replace(options, after=_key(pipeline, after), until=_key(pipeline, until))
    return sync(replace(pipeline, store=part), options, accept=accept, progress=progress, stop=stop)


def _key(pipeline: Pipeline, text: str | None) -> Key | None:
    return None if text is None else parse_key(text, pipeline.spec.key_type)
