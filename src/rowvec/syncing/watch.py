"""Following the rows of a table as they change: whoever hears about a change syncs the rows that it names.

What was not heard is caught up with: when watching begins, after a lost connection, where too many rows changed to
name them, and from time to time. To catch up is a sync like any other, by the cursor where the source has one.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from rowvec.errors import ConfigError, GenerationChanged, Locked, RowvecError
from rowvec.generations.lifecycle import Course, Tell, say_nothing
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Notifier, Selection, Watchable
from rowvec.sources.told_types import changes
from rowvec.stores.runs import OnReport, Report
from rowvec.support.keys import key_of
from rowvec.support.retry import is_transient
from rowvec.syncing.outage import AGAIN
from rowvec.syncing.run import sync
from rowvec.types import Fingerprint

EVERY_SECONDS = 600.0
GATHER_SECONDS = 0.1
"""Changes that come so soon after each other are synced together."""
LOOK_SECONDS = 0.5
LONGEST_PAUSE = 30.0


class Changed(Protocol):
    keys: set[Any]
    """As JSON writes them."""
    many: bool
    """More rows changed than `keys` names."""


class Heard(Protocol):
    def take(self, seconds: float) -> Changed:
        """What changed since the last time; waits so long for it, and may then be empty.

        Raises:
            SourceUnavailable: the connection is lost, and with it what was said since.
        """
        ...


class Listener(Protocol):
    """Hears which rows of a table change."""

    def listening(self) -> AbstractContextManager[Heard]: ...


def watch(
    pipeline: Pipeline,
    notifier: Listener,
    *,
    allow_delete: bool = False,
    every: float = EVERY_SECONDS,
    progress: OnReport | None = None,
    note: Tell = say_nothing,
    stop: threading.Event | None = None,
) -> Report:
    """Sync rows as they change, until `stop` is set.

    Args:
        allow_delete: go on although more than half of the vectors would be deleted, at once or one by one.
        every: seconds after which all is caught up with, whatever was heard.
        progress: called in this thread after each sync with the counts so far.
        note: called with what has to be waited for, and what a sync tells.

    Returns:
        The counts of all syncs together.

    Raises:
        DeletionGuard: more than half of the vectors would be deleted.
        GenerationChanged: another process put another model live.
        SourceError, EmbedderError, StoreError: what does not pass by waiting.
    """
    work = _Watching(pipeline, allow_delete, every, progress, note, stop or threading.Event())
    try:
        _watch(work, notifier)
    finally:
        if work.pipeline is not pipeline:
            work.pipeline.leave()
    return work.total


def _watch(work: _Watching, notifier: Listener) -> None:
    pauses = _pauses()
    while not work.stop.is_set():
        try:
            with notifier.listening() as heard:
                # Not before: what changes from here on is heard.
                work.catch_up()
                pauses = _pauses()
                work.follow(heard)
        except RowvecError as error:
            if not (is_transient(error) or isinstance(error, Locked)):
                raise
            work.note(f"{error.message} {AGAIN}")
            work.stop.wait(next(pauses))


def _pauses() -> Iterator[float]:
    seconds = 0.1
    while True:
        yield seconds
        seconds = min(2 * seconds, LONGEST_PAUSE)


class _Watching:
    def __init__(
        self,
        pipeline: Pipeline,
        allow_delete: bool,
        every: float,
        progress: OnReport | None,
        note: Tell,
        stop: threading.Event,
    ) -> None:
        self.pipeline = pipeline
        self.allow_delete = allow_delete
        self.every = every
        self.progress = progress
        self.note = note
        self.noted: set[str] = set()
        self.stop = stop
        self.total = Report()
        self.caught_up_at = 0.0
        self.looked = False
        self.live: Fingerprint | None = None

    def catch_up(self) -> None:
        self._renewed()
        self._sync(Options(allow_delete=self.allow_delete))
        self.caught_up_at = time.monotonic()

    def follow(self, heard: Heard) -> None:
        while not self.stop.is_set():
            changed = heard.take(LOOK_SECONDS)
            if changed.keys or changed.many:
                self.stop.wait(GATHER_SECONDS)
                more = heard.take(0)
                self._carry_out(changed.keys | more.keys, changed.many or more.many)
            if time.monotonic() - self.caught_up_at >= self.every:
                self.catch_up()

    def _carry_out(self, named: set[Any], many: bool) -> None:
        if many or self._renewed():
            self.catch_up()
            return
        keys: list[Any] = [key_of(each, self.pipeline.source.key_type) for each in named if each is not None]
        if keys:
            selection = Selection(keys=tuple(sorted(keys)))
            self._sync(Options(selection, allow_delete=self.allow_delete, followed=True))

    def _renewed(self) -> bool:
        """Whether columns of the table have changed: then every row may be another one."""
        before, now = self.pipeline, self.pipeline.current()
        if now is before:
            return False
        for said in changes(before.source.columns, now.source.columns):
            self.note(said)
        self.pipeline = now
        before.leave()
        return True

    def _tell(self, text: str) -> None:
        """What is so with every sync, as after a rollback, is said once."""
        if text.endswith(AGAIN) or text not in self.noted:
            self.noted.add(text)
            self.note(text)

    def _sync(self, options: Options) -> None:
        done = sync(self.pipeline, options, check=self._check_model, patience=math.inf, tell=self._tell, stop=self.stop)
        self.live = self.pipeline.spec.fingerprint
        self.total.add(done)
        if self.progress is not None:
            self.progress(self.total)

    def _check_model(self, chosen: Course) -> None:
        """Only the model that was live at the beginning is replaced by ours: another one is newer than our config."""
        if not self.looked:
            self.looked, self.live = True, chosen.ledger.fingerprint
        if chosen.live is not None and chosen.ledger.fingerprint != self.live:
            raise GenerationChanged.at(self.pipeline.store.location)


def notifier_of(pipeline: Pipeline) -> Notifier:
    """What tells of the rows that change.

    Raises:
        ConfigError: the source is not a table in PostgreSQL.
    """
    if not isinstance(pipeline.source, Watchable):
        raise ConfigError(
            f"{pipeline.name} has no change events to follow, and reads no table in PostgreSQL, which alone can be"
            " watched by a trigger.",
            hint="Run `rowvec sync` again and again, or let `rowvec beat` do so.",
        )
    return pipeline.source.notifier()


def installed_notifier(pipeline: Pipeline) -> Notifier:
    """
    Raises:
        ConfigError: the source is not a table in PostgreSQL, or the table has no trigger yet.
    """
    notifier = notifier_of(pipeline)
    if not notifier.installed():
        raise ConfigError(
            f"{notifier.schema}.{notifier.table} has no trigger that tells of its changes.",
            hint="Install it once: rowvec watch --install",
        )
    return notifier
