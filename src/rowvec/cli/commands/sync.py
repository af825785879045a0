"""From a config to vectors that are in step with their rows: init, check, plan, sync, watch, status, failures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rowvec.cli import complete
from rowvec.cli.app import command
from rowvec.cli.options import (
    All,
    AllowDelete,
    ConfigPath,
    Force,
    FromStart,
    Full,
    Json,
    Keys,
    Limit,
    MaxCost,
    PipelineOption,
    RetryFailed,
)
from rowvec.errors import ConfigError


@command()
def init(
    source: Annotated[
        str | None,
        typer.Option(
            "--from", help="What to look at: a database's URL, a file, a folder, a pattern, or '${VARIABLE}'."
        ),
    ] = None,
    table: Annotated[
        str | None, typer.Option("--table", help="Table or view for the pipeline. Default: the most promising one.")
    ] = None,
    config: Annotated[Path, typer.Option("--config", "-c", help="File to write.")] = Path("rowvec.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented rowvec.toml, filled in from a database or files if you name some."""
    from rowvec.cli.init import init as run

    run(source, config, table=table, force=force)


@command()
def check(
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Upgrade the store, and add the columns that your own table needs.")
    ] = False,
    every: All = False,
    as_json: Json = False,
) -> None:
    """Check config, connections, extension, model and permissions, one line each."""
    from rowvec.cli.check import check as run
    from rowvec.cli.several import each, shows_all

    every = every or shows_all(config, pipeline)
    raise typer.Exit(
        each(config, pipeline, lambda one: run(config, one, apply=apply, as_json=as_json), every=every, as_json=as_json)
    )


@command()
def plan(
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    keys: Keys = None,
    limit: Limit = None,
    full: Full = False,
    force: Force = False,
    retry_failed: RetryFailed = False,
    every: All = False,
    as_json: Json = False,
) -> None:
    """Show what a sync would do, why, and what it would cost. Writes nothing."""
    from rowvec.cli.several import each, shows_all
    from rowvec.cli.sync import plan as run

    def one(name: str | None) -> int:
        return run(config, name, keys, limit, force=force, retry_failed=retry_failed, full=full, as_json=as_json)

    every = every or (keys is None and shows_all(config, pipeline))
    raise typer.Exit(each(config, pipeline, one, every=every, as_json=as_json))


@command()
def sync(
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    keys: Keys = None,
    limit: Limit = None,
    full: Full = False,
    force: Force = False,
    retry_failed: RetryFailed = False,
    allow_delete: AllowDelete = False,
    max_cost: MaxCost = None,
    from_start: FromStart = False,
    accept: Annotated[
        bool,
        typer.Option("--accept", help="Activate a new generation even if it is worse, lacks rows or was rolled back."),
    ] = False,
    workers: Annotated[
        str | None,
        typer.Option(
            "--workers",
            metavar="celery",
            autocompletion=complete.words(complete.FLEETS),
            help="Distribute the work over the Celery workers.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do the same as `rowvec plan`.")] = False,
    every: All = False,
    as_json: Json = False,
) -> None:
    """Make the vectors match the rows: embed new and changed rows, delete the vectors of rows that are gone."""
    if dry_run:
        return plan(pipeline, config, keys, limit, full, force, retry_failed, every, as_json)
    from rowvec.cli import sync as syncs
    from rowvec.cli import workers as fleet
    from rowvec.cli.several import each

    def alone(name: str | None) -> int:
        return syncs.sync(
            config, name, keys, limit,
            force=force, retry_failed=retry_failed, allow_delete=allow_delete, max_cost=max_cost, full=full,
            from_start=from_start, accept=accept, as_json=as_json,
        )  # fmt: skip

    def together(name: str | None) -> int:
        wanted = {
            "--keys": keys,
            "--limit": limit,
            "--retry-failed": retry_failed,
            "--max-cost": max_cost,
            "--from-start": from_start,
        }
        return fleet.sync(
            config, name, workers or "", refused=[option for option, value in wanted.items() if value],
            force=force, allow_delete=allow_delete, accept=accept, as_json=as_json,
        )  # fmt: skip

    raise typer.Exit(each(config, pipeline, alone if workers is None else together, every=every, as_json=as_json))


@command()
def watch(
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    install: Annotated[
        bool, typer.Option("--install", help="Create a trigger on the PostgreSQL table that reports its changes.")
    ] = False,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Remove the trigger.")] = False,
    from_start: FromStart = False,
    allow_delete: Annotated[
        bool, typer.Option("--allow-delete", help="Carry out a TRUNCATE, and delete more than half of the rows.")
    ] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Skip events that cannot be read.")] = False,
    max_cost: MaxCost = None,
    as_json: Json = False,
) -> None:
    """Follow change events, or the rows of a PostgreSQL table, as they change, until Ctrl-C."""
    from rowvec.cli import watch as following

    if install or uninstall:
        if install and uninstall:
            raise ConfigError("--install and --uninstall contradict each other.", hint="Leave one of them out.")
        raise typer.Exit(following.set_trigger(config, pipeline, install=install, as_json=as_json))
    raise typer.Exit(
        following.watch(
            config, pipeline, from_start=from_start, allow_delete=allow_delete, skip_bad=skip_bad, max_cost=max_cost,
            as_json=as_json,
        )
    )  # fmt: skip


@command()
def status(
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh in place until Ctrl-C.")] = False,
    every: Annotated[
        float, typer.Option("--every", min=0.1, metavar="SECONDS", help="Refresh interval with --watch.")
    ] = 5.0,
    all_of_them: All = False,
    as_json: Json = False,
) -> None:
    """Show whether vectors are in step, as of when, what waits, failures, cost and the last runs."""
    from rowvec.cli import status as showing
    from rowvec.cli.several import each, shows_all

    def one(name: str | None) -> None:
        showing.status(config, name, as_json=as_json, every=every if watch else None)

    if watch and all_of_them:
        raise ConfigError("--watch shows one pipeline.", hint="Name it with -p, and leave --all out.")
    several = not watch and not all_of_them and shows_all(config, pipeline)
    if several and not as_json:
        raise typer.Exit(showing.overview(config))
    raise typer.Exit(each(config, pipeline, one, every=several or all_of_them, as_json=as_json))


@command()
def failures(
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try them again now.")] = False,
    each_row: Annotated[bool, typer.Option("--each-row", help="Show each row instead of each reason.")] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Maximum number of lines; 50, and all with --each-row or --json."),
    ] = None,
    every: All = False,
    as_json: Json = False,
) -> None:
    """List why rows could not be embedded or stored, and which metadata does not fit its column."""
    from rowvec.cli.failures import failures as run
    from rowvec.cli.several import each, shows_all
    from rowvec.cli.sync import sync as run_sync

    def again(name: str | None) -> int:
        return run_sync(config, name, None, None, retry_failed=True, as_json=as_json)

    def one(name: str | None) -> None:
        run(config, name, limit, each_row=each_row, as_json=as_json)

    every = every or (not retry and shows_all(config, pipeline))
    raise typer.Exit(each(config, pipeline, again if retry else one, every=every, as_json=as_json))
