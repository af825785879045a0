"""What `rowvec` can do. Commands import what they need when they run: `--help` imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rowvec.cli.app import app
from rowvec.cli.options import (
    AllowDelete,
    ConfigPath,
    Force,
    FromStart,
    Full,
    Hits,
    Json,
    Keys,
    Limit,
    MaxCost,
    PipelineName,
    PipelineOption,
    RetryFailed,
    Where,
)
from rowvec.errors import ConfigError
from rowvec.evaluation.recall import GOOD_RECALL


@app.command()
def init(
    source: Annotated[str | None, typer.Option("--from", help="Database to inspect, e.g. sqlite:///shop.db.")] = None,
    config: Annotated[Path, typer.Option("--config", "-c", help="File to write.")] = Path("rowvec.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented rowvec.toml, filled in from a database if you name one."""
    from rowvec.cli.init import init as run

    run(source, config, force=force)


@app.command()
def check(
    pipeline: PipelineName = None,
    config: ConfigPath = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Upgrade the store, and add the columns that your own table needs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check config, connections, extension, model and permissions, one line each."""
    from rowvec.cli.check import check as run

    raise typer.Exit(run(config, pipeline, apply=apply, as_json=as_json))


@app.command()
def plan(
    pipeline: PipelineName = None,
    config: ConfigPath = None,
    keys: Keys = None,
    limit: Limit = None,
    full: Full = False,
    force: Force = False,
    retry_failed: RetryFailed = False,
    as_json: Json = False,
) -> None:
    """Show what a sync would do, why, and what it would cost. Writes nothing."""
    from rowvec.cli.sync import plan as run

    code = run(config, pipeline, keys, limit, force=force, retry_failed=retry_failed, full=full, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def sync(
    pipeline: PipelineName = None,
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
        str | None, typer.Option("--workers", metavar="celery", help="Distribute the work over the Celery workers.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do the same as `rowvec plan`.")] = False,
    as_json: Json = False,
) -> None:
    """Make the vectors match the rows: embed new and changed rows, delete the vectors of rows that are gone."""
    from rowvec.cli import sync as syncs

    if dry_run:
        code = syncs.plan(
            config, pipeline, keys, limit, force=force, retry_failed=retry_failed, full=full, as_json=as_json
        )
        raise typer.Exit(code)
    if workers is not None:
        from rowvec.cli import workers as fleet

        wanted = {
            "--keys": keys,
            "--limit": limit,
            "--retry-failed": retry_failed,
            "--max-cost": max_cost,
            "--from-start": from_start,
        }
        refused = [name for name, value in wanted.items() if value]
        raise typer.Exit(
            fleet.sync(
                config, pipeline, workers,
                refused=refused, force=force, allow_delete=allow_delete, accept=accept, as_json=as_json,
            )
        )  # fmt: skip
    raise typer.Exit(
        syncs.sync(
            config, pipeline, keys, limit,
            force=force, retry_failed=retry_failed, allow_delete=allow_delete, max_cost=max_cost, full=full,
            from_start=from_start, accept=accept, as_json=as_json,
        )
    )  # fmt: skip


@app.command()
def watch(
    pipeline: PipelineName = None,
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


@app.command()
def status(
    pipeline: PipelineName = None,
    config: ConfigPath = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh in place until Ctrl-C.")] = False,
    every: Annotated[
        float, typer.Option("--every", min=0.1, metavar="SECONDS", help="Refresh interval with --watch.")
    ] = 5.0,
    as_json: Json = False,
) -> None:
    """Show coverage, lag, failures, cost and the last runs."""
    from rowvec.cli.status import status as run

    run(config, pipeline, as_json=as_json, every=every if watch else None)


@app.command()
def failures(
    pipeline: PipelineName = None,
    config: ConfigPath = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try them again now.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum number of failures to show.")] = 50,
    as_json: Json = False,
) -> None:
    """List the rows that could not be embedded, each with its error."""
    from rowvec.cli.status import failures as run
    from rowvec.cli.sync import sync as run_sync

    if retry:
        raise typer.Exit(run_sync(config, pipeline, None, None, retry_failed=True, as_json=as_json))
    run(config, pipeline, limit, as_json=as_json)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for, in plain words.")],
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    mode: Annotated[str, typer.Option("--mode", "-m", help="semantic, keyword or hybrid.")] = "semantic",
    where: Where = None,
    limit: Hits = 10,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each score is made of.")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Compare every row, without an index.")] = False,
    as_json: Json = False,
) -> None:
    """Find rows by meaning, by words, or by both."""
    from rowvec.cli.search import search as run

    run(config, pipeline, query, mode=mode, where=where, limit=limit, explain=explain, exact=exact, as_json=as_json)


@app.command()
def similar(
    key: Annotated[str, typer.Argument(help="The key of a row.")],
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    where: Where = None,
    limit: Hits = 10,
    as_json: Json = False,
) -> None:
    """Find the rows nearest to a row."""
    from rowvec.cli.search import similar as run

    run(config, pipeline, key, where=where, limit=limit, as_json=as_json)


@app.command()
def index(
    action: Annotated[str, typer.Argument(help="build, drop, status or tune.")] = "status",
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    kind: Annotated[str, typer.Option("--kind", help="hnsw or ivfflat.")] = "hnsw",
    precision: Annotated[str, typer.Option("--precision", help="halfvec or vector.")] = "halfvec",
    m: Annotated[int, typer.Option("--m", min=2, max=100, help="Number of links of each row in an HNSW graph.")] = 16,
    ef_construction: Annotated[
        int, typer.Option("--ef-construction", min=4, max=1000, help="Effort of an HNSW build.")
    ] = 64,
    lists: Annotated[int | None, typer.Option("--lists", min=1, help="Number of clusters of an IVFFlat index.")] = None,
    target: Annotated[float, typer.Option("--target", min=0, max=1, help="Recall that tuning aims at.")] = GOOD_RECALL,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Number of searches that tuning compares.")] = 200,
    as_json: Json = False,
) -> None:
    """Build, drop, show or tune the vector index; searches and writes go on meanwhile."""
    from rowvec.cli.index import index as run

    run(
        action, config, pipeline, kind=kind, precision=precision, m=m, ef_construction=ef_construction, lists=lists,
        target=target, queries=queries, as_json=as_json,
    )  # fmt: skip


@app.command()
def audit(
    pipeline: PipelineName = None,
    config: ConfigPath = None,
    repair: Annotated[bool, typer.Option("--repair", help="Fix what was found, and nothing else.")] = False,
    sample: Annotated[
        int, typer.Option("--sample", min=0, metavar="ROWS", help="Number of random rows to embed again and compare.")
    ] = 100,
    allow_delete: AllowDelete = False,
    max_cost: MaxCost = None,
    as_json: Json = False,
) -> None:
    """Compare rows, vectors and indexes. Exit code 4 if they differ."""
    from rowvec.cli import audit as auditing

    raise typer.Exit(
        auditing.audit(
            config, pipeline, repair=repair, sample=sample, allow_delete=allow_delete, max_cost=max_cost,
            as_json=as_json,
        )
    )  # fmt: skip


@app.command()
def generations(
    pipeline: PipelineName = None,
    config: ConfigPath = None,
    drop: Annotated[
        str | None, typer.Option("--drop", metavar="STATE", help="Drop this generation: previous or building.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the generations of the vectors: the live one, the one being built, the one before."""
    from rowvec.cli import generations as listing

    listing.generations(config, pipeline, drop=drop, as_json=as_json)


@app.command()
def rollback(pipeline: PipelineName = None, config: ConfigPath = None, as_json: Json = False) -> None:
    """Swap back to the previous generation (undo a model change)."""
    from rowvec.cli import generations as listing

    listing.rollback(config, pipeline, as_json=as_json)


@app.command("eval")
def evaluate(
    queries: Annotated[Path, typer.Argument(help="Queries: CSV, JSONL or TREC.")],
    judgements: Annotated[Path, typer.Argument(help="Judgements: CSV, JSONL or TREC qrels.")],
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    mode: Annotated[
        list[str] | None, typer.Option("--mode", "-m", help="Mode to measure (repeatable). Default: all.")
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option("--measure", help="Measure such as nDCG@10 (repeatable).")
    ] = None,
    condensed: Annotated[bool, typer.Option("--condensed", help="Leave unjudged rows out of the rankings.")] = False,
    as_json: Json = False,
) -> None:
    """Measure how good the hits are: nDCG, recall, MRR and precision from human judgements."""
    from rowvec.cli.evaluate import evaluate as run

    run(
        config, pipeline, queries, judgements, modes=mode or ["semantic", "keyword", "hybrid"],
        measures=measure or ["nDCG@10", "recall@10", "MRR@10", "precision@10"], condensed=condensed, as_json=as_json,
    )  # fmt: skip


# After the commands above, which come first in `rowvec --help`.
from rowvec.cli import commands_more, embedded  # noqa: E402

__all__ = ["app", "commands_more"]
app.add_typer(embedded.app, name="embedded")
