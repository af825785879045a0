"""A Prefect flow that syncs a pipeline, and its deployment on the schedule of rowvec.toml.

    from rowvec.workers.prefect import rowvec_sync, serve

    rowvec_sync("products", config="rowvec.toml")          one run, here and now
    serve("rowvec.toml", cron="0 2 * * *")                 a deployment for each pipeline, until it is stopped

The flow is one of yours like any other: call it from a flow that fetches the rows first, or deploy it to a work pool.
A run that was cut off is begun again at no cost but that of comparing, since what was embedded is stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rowvec.api.project import opened
from rowvec.config import load
from rowvec.errors import ConfigError, Locked, MissingExtraError
from rowvec.pipeline import Options
from rowvec.stores.runs import OnReport, Report
from rowvec.support.retry import is_transient
from rowvec.workers import jobs

try:
    from prefect import flow, get_run_logger, task
    from prefect import serve as serve_deployments
    from prefect.cache_policies import NO_CACHE
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Cron
    from prefect.tasks import exponential_backoff
    from prefect.types.entrypoint import EntrypointType
except ModuleNotFoundError as error:
    if error.name is not None and error.name.partition(".")[0] != "prefect":
        raise
    raise MissingExtraError("rowvec.workers.prefect", "prefect") from error

RETRIES = 3
FIRST_DELAY = 10.0
LOG_SECONDS = 10.0


def _passes(_task: Any, _run: Any, state: Any) -> bool:
    """Whether the error may pass: a wrong password or an unknown column is reported at once."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and is_transient(error)


@task(
    name="rowvec-sync",
    retry_jitter_factor=0.5,
    retry_condition_fn=_passes,
    # A result that Prefect remembers would stand for a sync that was not made.
    cache_policy=NO_CACHE,
)
def _carry_out(pipeline: str | None, config: str | None, options: dict[str, Any]) -> dict[str, Any]:
    logger = get_run_logger()
    with opened(config, pipeline) as door:
        chosen = door.assembled
        try:
            found = jobs.sync(chosen, Options(**options), progress=_progress(logger.info))
        except Locked as error:
            logger.warning("%s: skipped. %s", chosen.name, error.message)
            return {"processed": 0, "failed": 0, "skipped": error.message}
    logger.info(
        "%s: %s new, %s changed, %s metadata, %s deleted, %s unchanged",
        chosen.name, *(f"{found[name]:,}" for name in ("inserted", "embedded", "updated", "deleted", "unchanged")),
    )  # fmt: skip
    if found["failed"]:
        logger.warning("%s: %s rows failed; `rowvec failures` lists them", chosen.name, found["failed"])
    return found


@flow(name="rowvec-sync", flow_run_name="sync {pipeline}")
def rowvec_sync(
    pipeline: str | None = None,
    config: str | None = None,
    retries: int = RETRIES,
    retry_seconds: float = FIRST_DELAY,
    limit: int | None = None,
    force: bool = False,
    retry_failed: bool = False,
    allow_delete: bool = False,
) -> dict[str, Any]:
    """Make the vectors of a pipeline match its rows.

    Args:
        pipeline: its name; optional if the config has only one.
        config: the rowvec.toml; the nearest one above the working folder unless given.
        retries: how often a run that met a transient error is tried again. Other errors fail it at once.
        retry_seconds: how long before the first of them; each later one waits twice as long, and up to half more.
        limit, force, retry_failed, allow_delete: as of `rowvec sync`.

    Returns:
        The counts of the report, `processed` and `failed` among them. With `skipped`, and nothing done, when another
        sync of the pipeline is at work.

    Raises:
        RowvecError: the run failed.
    """
    options = {"limit": limit, "force": force, "retry_failed": retry_failed, "allow_delete": allow_delete}
    patient = _carry_out.with_options(retries=retries, retry_delay_seconds=exponential_backoff(retry_seconds))
    found: dict[str, Any] = patient(pipeline, config, options)
    return found


def deployment(
    pipeline: str | None = None, config: str | Path | None = None, *, cron: str | None = None, **parameters: Any
) -> RunnerDeployment:
    """A deployment named after the pipeline, which never runs twice at once.

    Args:
        cron: when to run; the pipeline's own `schedule` unless given, and on request only where it has none.
        parameters: further ones of `rowvec_sync`.

    Raises:
        ConfigError: the config is wrong, or `cron` is not a cron line.
    """
    loaded = load(Path(config) if config else None)
    declared = loaded.pipeline(pipeline)
    schedule = declared.schedule
    every = schedule.every if schedule and cron is None else None
    line = cron or (schedule.cron if schedule else None)
    timezone = loaded.workers.timezone or "UTC"
    try:
        return RunnerDeployment.from_flow(
            rowvec_sync, name=declared.name, interval=every, schedule=Cron(line, timezone=timezone) if line else None,
            parameters={"pipeline": declared.name, "config": str(loaded.path), **parameters},
            concurrency_limit=1, entrypoint_type=EntrypointType.MODULE_PATH,
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError(
            f"The deployment of {declared.name} is wrong: {error}.", hint='A cron line is five fields: "0 2 * * *".'
        ) from error


def serve(config: str | Path | None = None, *pipelines: str, cron: str | None = None) -> None:
    """Carry out the deployments of a config's pipelines, all of them where none is named, until this is stopped.

    Args:
        cron: when to run; each pipeline's own `schedule` unless given.
    """
    names = pipelines or load(Path(config) if config else None).names
    serve_deployments(*(deployment(name, config, cron=cron) for name in names))


def _progress(log: Callable[..., None]) -> OnReport:
    """Says where a sync stands, every few seconds."""
    last = time.monotonic()

    def tell(report: Report) -> None:
        nonlocal last
        if time.monotonic() - last >= LOG_SECONDS:
            last = time.monotonic()
            log("%s rows read, %s embedded", f"{report.read:,}", f"{report.inserted + report.embedded:,}")

    return tell
