"""Where the `rowvec` command begins and ends."""

from __future__ import annotations

import os
import sys

import typer

from rowvec.cli.commands import app
from rowvec.errors import ConfigError, RowvecError


def main() -> None:
    """Entry point: errors become one message on stderr and an exit code."""
    try:
        app()
    except RowvecError as error:
        typer.echo(f"Error: {error}", err=True)
        for note in getattr(error, "__notes__", ()):
            typer.echo(f"  {note}", err=True)
        if error.page:
            typer.echo(f"  Why: {error.page}", err=True)
        if os.environ.get("ROWVEC_VERBOSE"):
            import traceback

            traceback.print_exc()
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except MemoryError:
        typer.echo(
            "Error: This process has no memory left. What was embedded is stored.\n"
            "  Give it more, or leave the longest rows out with source.where; then run it again.",
            err=True,
        )
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
