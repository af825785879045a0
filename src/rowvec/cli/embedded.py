"""`rowvec embedded`: the PostgreSQL that comes with rowvec. As in commands, imports wait until they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rowvec.cli.command import Command, Group
from rowvec.cli.options import ConfigPath
from rowvec.support.figures import size

if TYPE_CHECKING:
    from rowvec.types import Check

app = typer.Typer(
    cls=Group, help="Stop the PostgreSQL that comes with rowvec, or keep it running.", no_args_is_help=True
)


@app.command(cls=Command)
def stop(config: ConfigPath = None) -> None:
    """Stop it, whoever uses it. A process that still works starts it again when it next needs it."""
    from rowvec.cli import output
    from rowvec.config import load
    from rowvec.stores.postgres.embedded import describe, stop_embedded

    state = load(config).state
    users = describe(state).users
    if not stop_embedded(state):
        output.line("It does not run.")
        return
    output.line("Stopped.")
    if users:
        output.line(f"These used it, and start it again when they need it: {', '.join(users)}.")


@app.command(cls=Command)
def run(config: ConfigPath = None) -> None:
    """Keep it running and print its URL, for other programs; until Ctrl-C, or `rowvec embedded stop`."""
    from rowvec.cli import output
    from rowvec.config import load
    from rowvec.stores.postgres.embedded import embedded_url, wait_until_stopped

    state = load(config).state
    output.line(embedded_url(state))
    wait_until_stopped(state)


def checks(state: Path) -> Iterator[Check]:
    """What `rowvec check` says of it."""
    from rowvec.stores.postgres.embedded import describe
    from rowvec.types import Check

    found = describe(state)
    running = f"process {found.process}, since {found.since}" if found.since else "does not run"
    users = f", used by {', '.join(found.users)}" if found.users else ""
    detail = f"PostgreSQL {found.version} in {found.folder}, {size(found.size)}; {running}{users}"
    yield Check("embedded", True, detail)
