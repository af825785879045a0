"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rowvec.cli.complete import columns, pipelines

PipelineOption = Annotated[
    str | None,
    typer.Option(
        "--pipeline", "-p", autocompletion=pipelines, help="Pipeline name. Optional if rowvec.toml defines only one."
    ),
]
Where = Annotated[
    str | None,
    typer.Option("--where", "-w", help='Keep only rows that pass a filter, e.g. "price < 100 and stock > 0".'),
]
Hits = Annotated[int, typer.Option("--limit", min=1, max=1000, help="Maximum number of hits.")]
Passages = Annotated[
    int, typer.Option("--passages", min=0, max=20, help="Maximum number of passages shown of each hit.")
]
Columns = Annotated[
    str | None,
    typer.Option("--columns", autocompletion=columns, help="Show only these metadata columns, e.g. title,price."),
]
Rerank = Annotated[
    bool | None,
    typer.Option("--rerank/--no-rerank", help="Ask the reranker of search.rerank. Default: if there is one."),
]
FacetColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--facet",
        metavar="COLUMN",
        autocompletion=columns,
        help="Count the values of a column over all rows that pass the filter.",
    ),
]
FacetLimit = Annotated[int, typer.Option("--facet-limit", min=1, max=1000, help="Maximum number of values of a facet.")]
Distinct = Annotated[
    str | None,
    typer.Option(
        "--distinct",
        metavar="COLUMN",
        autocompletion=columns,
        help="Show one hit for each value of a column, the best.",
    ),
]
Offset = Annotated[int, typer.Option("--offset", min=0, help="Leave out this many hits first.")]
After = Annotated[
    str | None, typer.Option("--after", metavar="CURSOR", help='Show the page after this one: "next" of --json.')
]
Order = Annotated[
    str | None, typer.Option("--order", help='Without a query: the order of the rows, e.g. "price desc".')
]
Typos = Annotated[
    bool | None,
    typer.Option("--typos/--no-typos", help="Correct words that no row holds. Default: as search.typos says."),
]
Prefix = Annotated[
    bool | None,
    typer.Option(
        "--prefix/--no-prefix", help="Take the last word as the beginning of one. Default: as search.prefix says."
    ),
]
Partial = Annotated[
    bool | None,
    typer.Option(
        "--partial/--no-partial",
        help="Answer without parts of a split store that do not answer. Default: as search.partial says.",
    ),
]
ConfigPath = Annotated[
    Path | None, typer.Option("--config", "-c", help="Use this rowvec.toml. Default: here or in a folder above.")
]
All = Annotated[bool, typer.Option("--all", help="Every pipeline of the config, one after the other.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Keys = Annotated[
    str | None,
    typer.Option("--keys", help="Process only these keys, e.g. 1,5,10-20, or '\"a,b\",c' with a comma."),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Process at most this many rows, in key order.")]
Full = Annotated[bool, typer.Option("--full", help="Compare every row, whatever a cursor or events say.")]
FromStart = Annotated[bool, typer.Option("--from-start", help="Read all change events again from the start.")]
Force = Annotated[bool, typer.Option("--force", help="Embed again rows that have not changed, too.")]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="Process only rows that failed before, without waiting for their next try."),
]
MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost", metavar="USD", help="Stop before a request that would cost more than this in total."),
]
AllowDelete = Annotated[
    bool, typer.Option("--allow-delete", help="Continue even if more than half of the vectors would be deleted.")
]
