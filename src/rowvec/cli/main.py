"""The `rowvec` command. Commands import what they need when they run: `--help` imports nothing heavy."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from rowvec import __version__
from rowvec.errors import ConfigError, RowvecError

app = typer.Typer(
    name="rowvec",
    help="Keep vector embeddings in step with the rows of a database, and search them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 failed, 2 usage or config, 3 done but some rows failed, 4 audit found drift.",
)

PipelineName = Annotated[
    str | None, typer.Argument(metavar="[PIPELINE]", help="Its name in rowvec.toml; not needed where there is one.")
]
ConfigPath = Annotated[
    Path | None, typer.Option("--config", "-c", help="The rowvec.toml to use; default: here or in a folder above.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Keys = Annotated[str | None, typer.Option("--keys", help="Only these keys, e.g. 1,5,10-20.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many rows, in key order.")]
Full = Annotated[bool, typer.Option("--full", help="Compare every row, whatever a cursor says.")]
Force = Annotated[bool, typer.Option("--force", help="Embed again even what has not changed.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Only rows that failed before, now.")]
MaxCost = Annotated[
    float | None, typer.Option("--max-cost", metavar="USD", help="Stop before the request that would pass this.")
]
AllowDelete = Annotated[bool, typer.Option("--allow-delete", help="Go on even if more than half would be deleted.")]


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
    source: Annotated[str | None, typer.Option("--from", help="Database to look at, e.g. sqlite:///shop.db.")] = None,
    config: Annotated[Path, typer.Option("--config", "-c", help="The file to write.")] = Path("rowvec.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented rowvec.toml, filled in from a database if you name one."""
    from rowvec.cli import setup

    setup.init(source, config, force=force)


@app.command()
def check(pipeline: PipelineName = None, config: ConfigPath = None, as_json: Json = False) -> None:
    """Check config, connections, extension, model and permissions, one line each."""
    from rowvec.cli import setup

    raise typer.Exit(setup.check(config, pipeline, as_json=as_json))


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
    from rowvec.cli import work

    work.plan(config, pipeline, keys, limit, force=force, retry_failed=retry_failed, as_json=as_json)


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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The same as `rowvec plan`.")] = False,
    as_json: Json = False,
) -> None:
    """Make the vectors match the rows: embed new and changed ones, delete those of vanished ones."""
    from rowvec.cli import work

    if dry_run:
        work.plan(config, pipeline, keys, limit, force=force, retry_failed=retry_failed, as_json=as_json)
        return
    raise typer.Exit(
        work.sync(
            config, pipeline, keys, limit,
            force=force, retry_failed=retry_failed, allow_delete=allow_delete, max_cost=max_cost, as_json=as_json,
        )
    )  # fmt: skip


@app.command()
def status(pipeline: PipelineName = None, config: ConfigPath = None, as_json: Json = False) -> None:
    """Show coverage, lag, failures, cost and the last runs."""
    from rowvec.cli import look

    look.status(config, pipeline, as_json=as_json)


@app.command()
def failures(
    pipeline: PipelineName = None,
    config: ConfigPath = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try them again now.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show at most so many.")] = 50,
    as_json: Json = False,
) -> None:
    """List the rows that could not be embedded, each with its error."""
    from rowvec.cli import look, work

    if retry:
        raise typer.Exit(work.sync(config, pipeline, None, None, retry_failed=True, as_json=as_json))
    look.failures(config, pipeline, limit, as_json=as_json)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for, in plain words.")],
    pipeline: Annotated[str | None, typer.Option("--pipeline", "-p", help="Its name in rowvec.toml.")] = None,
    config: ConfigPath = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many hits.")] = 10,
    as_json: Json = False,
) -> None:
    """Find the rows nearest to a query in meaning."""
    from rowvec.cli import look

    look.search(config, pipeline, query, limit, as_json=as_json)


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Option("--folder", help="Where the demo keeps its table, config and vectors.")
    ] = Path("rowvec-demo"),
    model: Annotated[str | None, typer.Option("--model", help="Another model: a name or a local path.")] = None,
) -> None:
    """Show the whole thing on real rows: the docstrings of Python's own standard library."""
    from rowvec.cli import demo as demonstration

    raise typer.Exit(demonstration.run(folder, model))


def main() -> None:
    """Entry point: errors become one message on stderr and an exit code."""
    try:
        app()
    except RowvecError as error:
        typer.echo(f"Error: {error}", err=True)
        for note in getattr(error, "__notes__", ()):
            typer.echo(f"  {note}", err=True)
        if os.environ.get("ROWVEC_VERBOSE"):
            import traceback

            traceback.print_exc()
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
