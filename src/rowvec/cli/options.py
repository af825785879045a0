"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PipelineName = Annotated[
    str | None, typer.Argument(metavar="PIPELINE", help="Its name in rowvec.toml; not needed where there is one.")
]
PipelineOption = Annotated[str | None, typer.Option("--pipeline", "-p", help="Its name in rowvec.toml.")]
Where = Annotated[str | None, typer.Option("--where", "-w", help='A filter, e.g. "price < 100 and stock > 0".')]
Hits = Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many hits.")]
ConfigPath = Annotated[
    Path | None, typer.Option("--config", "-c", help="The rowvec.toml to use; default: here or in a folder above.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Keys = Annotated[str | None, typer.Option("--keys", help="Only these keys, e.g. 1,5,10-20.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many rows, in key order.")]
Full = Annotated[bool, typer.Option("--full", help="Compare every row, whatever a cursor or events say.")]
FromStart = Annotated[bool, typer.Option("--from-start", help="Read change events again that were read before.")]
Force = Annotated[bool, typer.Option("--force", help="Embed again even what has not changed.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Only rows that failed before, now.")]
MaxCost = Annotated[
    float | None, typer.Option("--max-cost", metavar="USD", help="Stop before the request that would pass this.")
]
AllowDelete = Annotated[bool, typer.Option("--allow-delete", help="Go on even if more than half would be deleted.")]
