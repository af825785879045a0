"""The command itself: its name, its own options, and the exit codes that all commands share."""

from __future__ import annotations

import os
from functools import partial
from typing import Annotated

import typer

from rowvec import __version__
from rowvec.cli.command import Command

app = typer.Typer(
    name="rowvec",
    help="Keep vector embeddings in step with the rows of a database, and search them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 usage or config, 3 done but some rows failed, 4 audit found drift.",
)

command = partial(app.command, cls=Command)


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
