"""`rowvec worker`, `rowvec beat` and `rowvec sync --workers celery`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rowvec.api.project import opened
from rowvec.cli import output, progress
from rowvec.cli.codes import INTERRUPTED, SOME_FAILED
from rowvec.cli.sync import interruptible, print_report
from rowvec.config import Config, load
from rowvec.errors import ConfigError, MissingExtraError
from rowvec.pipeline import Options

CONFIG_VARIABLE = "ROWVEC_CONFIG"
LEVELS = ("debug", "info", "warning", "error")


def worker(config: Path | None, concurrency: int, *, beat: bool, log_level: str) -> int:
    """Work until it is stopped: the first Ctrl-C or SIGTERM waits for the tasks in hand, and hands a range back.

    Returns the exit code.
    """
    arguments = [
        "worker", f"--concurrency={concurrency}", f"--loglevel={_level(log_level)}",
        f"--hostname=rowvec-{os.getpid()}@%h", "--without-mingle", "--without-gossip",
    ]  # fmt: skip
    return _start(config, [*arguments, "--beat"] if beat else arguments)


def beat(config: Path | None, log_level: str) -> int:
    """Send tasks out when they are due, until it is stopped. Returns the exit code."""
    return _start(config, ["beat", f"--loglevel={_level(log_level)}"])


def sync(
    config: Path | None,
    name: str | None,
    engine: str,
    *,
    refused: Sequence[str] = (),
    force: bool = False,
    allow_delete: bool = False,
    accept: bool = False,
    as_json: bool = False,
) -> int:
    """Spread one sync over the workers that listen. Returns the exit code.

    Args:
        refused: options that the user gave and a fleet has not.
        accept: put a new generation live although it is worse, lacks rows or was rolled back.

    Raises:
        ConfigError: an unknown engine, or such an option.
    """
    if engine != "celery":
        raise ConfigError(f"--workers {engine}: unknown kind of workers.", hint="Write --workers celery.")
    if refused:
        raise ConfigError(f"{refused[0]} does not go with --workers.", hint="A fleet syncs the whole pipeline.")
    loaded = _aim(config)
    _need_celery()
    from rowvec.workers import fleet
    from rowvec.workers.settings import check_broker

    check_broker()
    with opened(loaded.path, name) as door, interruptible() as stop:
        pipeline = door.assembled
        options = Options(force=force, allow_delete=allow_delete)
        with progress.shown(pipeline.source.count()) as callback:
            report = fleet.sync(
                pipeline, options, accept=accept, range_rows=loaded.workers.range_rows, progress=callback,
                tell=output.note, stop=stop,
            )  # fmt: skip
        if as_json:
            output.print_json({"pipeline": pipeline.name, "interrupted": stop.is_set(), **report.as_dict()})
        else:
            print_report(pipeline, report, interrupted=stop.is_set())
        if stop.is_set():
            return INTERRUPTED
        return SOME_FAILED if report.failed or report.waiting else 0


def _start(config: Path | None, arguments: list[str]) -> int:
    loaded = _aim(config)
    _need_celery()
    loaded.pipelines  # noqa: B018  A config with a mistake in it is told here rather than by the first task.
    from celery.bin.celery import celery

    from rowvec.workers.settings import check_broker

    check_broker()
    output.note(f"{loaded.path}: {', '.join(loaded.names)}. Stop with Ctrl-C.")
    # Not through the app, which drops the exit code: a worker that broke must not look like one that was stopped.
    main: Callable[..., int | None] = celery.main
    return main(args=["--app=rowvec.workers.celery", *arguments], standalone_mode=False) or 0


def _aim(config: Path | None) -> Config:
    """Have the tasks, and the processes that carry them out, use this config."""
    named = config or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    loaded = load(named)
    os.environ[CONFIG_VARIABLE] = str(loaded.path)
    return loaded


def _need_celery() -> None:
    try:
        import celery  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("Background work", "celery") from error


def _level(name: str) -> str:
    if name.lower() not in LEVELS:
        raise ConfigError(f"--log-level {name} is none of {', '.join(LEVELS)}.")
    return name.lower()
