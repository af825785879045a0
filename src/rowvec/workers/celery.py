"""The Celery app: `celery -A rowvec.workers.celery worker`, or `rowvec worker`.

Tasks may be delivered more than once: after a worker was killed, and by Redis also when one takes longer than
`redeliver_after`. That does no harm. A sync compares before it writes; the pipeline's lock lets one work at a time; and
a task that is delivered again returns the result of its first run if there is one, or waits until that has ended.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from typing import Any

from celery import Celery
from celery.result import denied_join_result
from celery.signals import after_setup_logger, before_task_publish, setup_logging, worker_init, worker_process_shutdown
from celery.utils import uuid

from rowvec.api.project import Project
from rowvec.api.project_pipeline import ProjectPipeline
from rowvec.errors import ConfigError, EmbedderUnavailable, Locked, RowvecError, SourceUnavailable, StoreUnavailable
from rowvec.pipeline import Options, Pipeline
from rowvec.stores.ledger import Ledger
from rowvec.stores.runs import OnReport, Report
from rowvec.support import clocks, logs
from rowvec.support.stored import from_json
from rowvec.types import Fingerprint
from rowvec.workers import asked, jobs, outages, sql_queue
from rowvec.workers.again import PAUSE
from rowvec.workers.ending import told_to_end
from rowvec.workers.ranges import report_of
from rowvec.workers.ranges import sync_range as carry_out_range
from rowvec.workers.schedule import AFTER_RUN
from rowvec.workers.settings import broker_address, celery_settings, load_config, reachable

logger = logging.getLogger("rowvec.workers")

AGAIN_SECONDS = PAUSE.total_seconds()
AGAIN_TIMES = 30
PROGRESS_SECONDS = 1.0
STORE_TRIES = 15
"""About a minute: Celery doubles the pause from 10 ms up to 10 s."""
UNHEARD_SECONDS = 10.0
"""Seconds for which a result store is left alone after it did not take the progress."""
PROGRESS = "PROGRESS"
QUEUED = "QUEUED"
SEND_AGAIN = {"max_retries": 2, "interval_start": 0.0, "interval_step": 0.3}
LARGEST_BATCH = 1_000_000
AGAIN: dict[str, Any] = {"bind": True, "max_retries": None, "Request": "rowvec.workers.again:Request"}
"""Of a task: `_once` decides how often it comes again. Celery alone would give up after three times."""
COUNTED = ("processed", "inserted", "embedded", "failed", "skipped")

_configuring = threading.Lock()

sql_queue.install()
app = Celery("rowvec")
# Read when first needed: importing this module neither needs a config nor starts a server.
app.add_defaults(lambda: celery_settings(load_config()))


@app.task(name="rowvec.generate_embeddings", **AGAIN)
def generate_embeddings(
    task: Any, pipeline: str | None = None, batch_size: int = 100, after_run: int | None = None
) -> dict[str, Any]:
    """Embed up to `batch_size` of the rows that need it.

    Args:
        after_run: the newest run when this was asked for; a later one that left nothing out has done the work.

    Returns:
        `{"processed": 95, "failed": 5}`, with a reason in `skipped` when another sync did the work, or holds the
        pipeline for minutes.
    """
    _check_batch_size(batch_size)
    return _once(
        task,
        pipeline,
        lambda opened: jobs.generate_embeddings(opened, batch_size, after_run, progress=_progress(task)),
        skipped={"processed": 0, "failed": 0},
        patience=AGAIN_TIMES,
    )


@app.task(name="rowvec.sync", **AGAIN)
def sync(task: Any, pipeline: str | None = None, **options: Any) -> dict[str, Any]:
    """Make the vectors of a pipeline match its rows; `options` are fields of rowvec.pipeline.Options.

    Returns:
        The counts of the report, `processed` and `failed` among them.
    """
    after = getattr(task.request, AFTER_RUN, None)
    return _once(task, pipeline, lambda opened: jobs.sync(opened, _options(options), after, progress=_progress(task)))


@app.task(name="rowvec.sync_range", **AGAIN)
def sync_range(
    task: Any,
    pipeline: str,
    after: str | None,
    until: str | None,
    *,
    ledger: dict[str, Any],
    expected: dict[str, str],
    sent_by: dict[str, Any] | None = None,
    origin: dict[str, Any] | None = None,
    rows: dict[str, Any] | None = None,
    run: int | None = None,
    accept: bool = False,
    before: dict[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """One range of a fleet, whose record is that of `run`; see rowvec.workers.fleet.

    Args:
        before: the counts of the workers that began it and handed it back.
    """
    fingerprint = ledger.get("fingerprint")
    known = replace(from_json(Ledger, ledger), fingerprint=from_json(Fingerprint, fingerprint) if fingerprint else None)
    with told_to_end() as stop:
        return _once(
            task,
            pipeline,
            lambda opened: carry_out_range(
                opened, after, until,
                ledger=known, expected=expected, sent_by=sent_by or {}, origin=origin, rows=rows, run=run,
                options=_options(options), accept=accept, before=None if before is None else report_of(before),
                progress=_progress(task), stop=stop,
            ).as_dict(),
            wait=True, stop=stop,
        )  # fmt: skip


def send(task: Any, /, *arguments: Any, store_id: str | None = None, **options: Any) -> str:
    """Put a task into the queue; the id under which `state_of` knows it from now on.

    Args:
        store_id: `Store.identity` of the store that is meant, where it is known.

    Raises:
        BrokerUnavailable: broker or result store do not answer.
    """
    number = str(uuid())
    configure()
    # A result that is polled needs no subscription, which would stay for as long as this process lives.
    with reachable(), denied_join_result():
        # Before it is sent: a worker may be faster than we are.
        app.backend.store_result(number, None, QUEUED)
        headers = {asked.HEADER: asked.header(options.get("pipeline"), store_id)} if task.name in asked.TASKS else {}
        task.apply_async(
            arguments, options, task_id=number, retry=True, retry_policy=SEND_AGAIN, headers=headers or None
        )
    return number


def state_of(number: str) -> dict[str, Any]:
    """`status` (PENDING for an unknown task) and `result` (the counts so far, the result, or the error).

    Raises:
        BrokerUnavailable: the result store does not answer.
    """
    configure()
    with reachable():
        return dict(app.backend.get_task_meta(number))


def configure() -> None:
    """Read the config. Celery's own way at first use gives other threads a half-read one, without result store."""
    with _configuring:
        app.finalize()
        app.conf.result_backend  # noqa: B018
        sessions = getattr(app.backend, "session_manager", None)
        if sessions is not None:
            # Celery pools connections of a result database only where it has forked. Elsewhere each look at a
            # result makes an engine and a connection of its own, which takes ten times as long.
            sessions.forked = True


def _once(
    task: Any,
    pipeline: str | None,
    work: Callable[[Pipeline], dict[str, Any]],
    *,
    skipped: dict[str, Any] | None = None,
    patience: int = 0,
    wait: bool = False,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Carry `work` out unless an earlier delivery of the same task did, or somebody else is at it.

    Args:
        skipped: what the result of a task says that another sync made needless.
        patience: how often it is tried again while somebody else holds the lock, who may do less.
        wait: until the lock is free, and databases and the embedding service answer. One delivered again always waits
            for the lock: the holder may be its own first run.
        stop: ends the work early; another worker then goes on with it.
    """
    again = bool((task.request.delivery_info or {}).get("redelivered")) or task.request.retries > 0
    if again:
        former = task.AsyncResult(task.request.id)
        if former.successful():
            logger.info("Task %s was done before.", task.request.id)
            return dict(former.result)
    try:
        with _opened(pipeline) as opened, logs.about(pipeline=opened.name, task=task.request.id):
            asked.check(getattr(task.request, asked.HEADER, None) or {}, pipeline, task.name, opened.store.identity)
            result = _logged(task.name, opened, work)
            if stop is not None and stop.is_set():
                logger.info("Task %s is handed back: this worker ends.", task.request.id)
                raise task.retry(countdown=0, kwargs={**task.request.kwargs, "before": result})
            return result
    except Locked as error:
        if wait or (again and not patience) or task.request.retries < patience:
            raise task.retry(exc=error, countdown=_pause()) from error
        logger.info("Task %s skipped: %s", task.request.id, error.message)
        return {**(skipped or {}), "skipped": error.message}
    except (StoreUnavailable, SourceUnavailable, EmbedderUnavailable) as error:
        if not wait:
            raise
        # The others of the fleet wait for this range: what restarts is not a reason to give up.
        raise task.retry(exc=error, countdown=_pause(), max_retries=AGAIN_TIMES) from error


def _pause() -> float:
    """Seconds until a task comes again. Redis would redeliver one that waits for long, and each copy would wait too."""
    redelivered = app.conf.broker_transport_options.get("visibility_timeout", 4 * AGAIN_SECONDS)
    return float(min(AGAIN_SECONDS, redelivered / 4))


def _logged(name: str, pipeline: Pipeline, work: Callable[[Pipeline], dict[str, Any]]) -> dict[str, Any]:
    began = time.monotonic()
    logger.info("%s of %s begins.", name, pipeline.name)
    try:
        result = work(pipeline)
    except Exception as error:
        logger.warning("%s of %s ended with %s.", name, pipeline.name, type(error).__name__)
        raise
    said = ", ".join(f"{each} {result[each]}" for each in COUNTED if each in result)
    logger.info("%s of %s is done after %.1f s: %s.", name, pipeline.name, time.monotonic() - began, said)
    return result


def _progress(task: Any) -> OnReport:
    last = 0.0

    def tell(report: Report) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_SECONDS:
            last = now
            try:
                task.update_state(state=PROGRESS, meta=report.as_dict())
            except Exception as error:
                # What is embedded is stored elsewhere: nobody loses a row because a count could not be reported.
                last = now + UNHEARD_SECONDS
                logger.warning("The progress of a task could not be reported: %s", type(error).__name__)

    return tell


def _options(given: dict[str, Any]) -> Options:
    allowed = {"limit", "force", "full", "retry_failed", "allow_delete"}
    if unknown := sorted(given.keys() - allowed):
        raise ConfigError(f"A task has no option {unknown[0]!r}.", hint=f"Available: {', '.join(sorted(allowed))}.")
    return Options(**given)


def _check_batch_size(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_BATCH:
        raise ConfigError(
            f"batch_size is {str(value)[:40]!r}.", hint=f"Give a whole number from 1 to {LARGEST_BATCH:,}."
        )


@contextmanager
def _opened(name: str | None) -> Iterator[Pipeline]:
    """A pipeline whose model stays loaded in this process. A store that broke opens its connections again."""
    yield _door(os.getpid(), name).current


@cache
def _door(process: int, name: str | None) -> ProjectPipeline:
    # By process: what a parent opened before it forked is not for its children.
    made = Project(load_config().path).pipeline(name)
    store = made.assembled.store
    # A store that does not answer now is for the task to tell.
    with suppress(RowvecError):
        differs = clocks.difference(clocks.ahead(store), "the store")
        if differs is not None:
            logger.warning("%s. %s", differs, clocks.SET)
    return made


if logs.wanted():

    @setup_logging.connect
    def _log_json(loglevel: int | str | None = None, **_: Any) -> None:
        logs.install(loglevel or logging.INFO)
        outages.install(broker_address())

else:

    @after_setup_logger.connect
    def _say_outages_once(**_: Any) -> None:
        outages.install(broker_address())


@before_task_publish.connect
def _say_who_asks(sender: str, headers: dict[str, Any], body: Any = None, **_: Any) -> None:
    if sender in asked.TASKS and not headers.get(asked.HEADER):
        positional, named = body[0], body[1]
        name = positional[0] if positional else named.get("pipeline")
        headers[asked.HEADER] = asked.header(name)
        if AFTER_RUN in headers:
            headers[AFTER_RUN] = _newest_run(name)


def _newest_run(name: str | None) -> int | None:
    """None where the store does not say: what is asked for is then done in any case."""
    try:
        with _opened(name) as opened:
            return jobs.newest_run(opened)
    except RowvecError as error:
        logger.warning("A sync is sent out that no other one answers: %s", error.message)
        return None


@worker_init.connect
def _be_patient(**_: Any) -> None:
    """What a worker has done is not lost because the result store was away for a minute; who asks waits for nobody."""
    app.backend.always_retry, app.backend.max_retries = True, STORE_TRIES


@worker_process_shutdown.connect
def _forget(**_: Any) -> None:
    _door.cache_clear()
