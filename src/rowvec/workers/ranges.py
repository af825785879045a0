"""One range of keys, synced while others sync theirs."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from rowvec import __version__
from rowvec.assemble import parse_key
from rowvec.documents.values import RENDERING
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

    def begin_run(self, pipeline: str) -> int:
        return self._run

    def save_run(self, run: int, report: Report, outcome: str, error: str | None = None) -> None:
        pass


def check_divisible(pipeline: Pipeline) -> None:
    """Raises StoreError where several workers cannot share a pipeline."""
    if not isinstance(pipeline.store, DividesWork):
        raise StoreError(
            f"{pipeline.store.location} takes one writer at a time.", hint="A fleet needs a PostgreSQL store."
        )


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
        f"This worker is rowvec {ours['program']} (state {ours['state']}, rendering {ours['rendering']}), but the fleet"
        f" was started by rowvec {theirs.get('program', 'of an unknown version')} (state {theirs.get('state', '?')},"
        f" rendering {theirs.get('rendering', '?')}): it writes nothing.",
        hint="Give every worker the version of rowvec that starts the fleet.",
    )


def _numbers(said: Mapping[str, Any]) -> list[int]:
    """A version such as 0.10.2 as numbers that can be compared."""
    return [int(number) for number in re.findall(r"\d+", str(said.get("program", "")))]


def identity(pipeline: Pipeline) -> list[str]:
    """What the members of a fleet must agree on."""
    spec = pipeline.spec
    model = spec.fingerprint.identity() if spec.fingerprint else ""
    return [model, spec.recipe, repr(spec.metadata), pipeline.store.location.rpartition(" in ")[0]]


def sync_range(
    pipeline: Pipeline,
    after: str | None,
    until: str | None,
    *,
    ledger: Ledger,
    expected: Sequence[str],
    sent_by: Mapping[str, Any] | None = None,
    run: int | None = None,
    options: Options,
    accept: bool = False,
    progress: OnReport | None = None,
    stop: threading.Event | None = None,
) -> Report:
    """Sync the rows whose keys are above `after` and not above `until`; nothing beyond them is touched.

    Args:
        sent_by: the `versions` of whoever sent the range; None if that is this process.

    Raises:
        ConfigError: this worker has another config or version than whoever sent the range.
        Locked: somebody else syncs this range, or the whole table.
    """
    check_divisible(pipeline)
    if sent_by is not None:
        check_versions(pipeline, sent_by)
    if list(expected) != identity(pipeline):
        raise ConfigError(
            f"The pipeline {pipeline.name!r} differs here from the one that the fleet was started with.",
            hint="Give every worker the same rowvec.toml, model and version of rowvec.",
        )
    if after is None and until is None:
        raise ConfigError("A range has at least one bound.", hint="Use rowvec.sync for the whole table.")
    part: Any = PartOfStore(pipeline.store, f"{after!r}..{until!r}", ledger, run or 0)
    options = replace(options, after=_key(pipeline, after), until=_key(pipeline, until))
    return sync(replace(pipeline, store=part), options, accept=accept, progress=progress, stop=stop)


def _key(pipeline: Pipeline, text: str | None) -> Key | None:
    return None if text is None else parse_key(text, pipeline.spec.key_type)
