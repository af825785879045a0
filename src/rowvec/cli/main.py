"""Where the `rowvec` command begins and ends."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
import warnings

WAITS = "rowvec.waits"
INTERRUPTED = 130
"""As a shell has it for a command that Ctrl-C ended."""


class _Notes(logging.Handler):
    """What a store logs of its waiting, as the commands say it."""

    def emit(self, record: logging.LogRecord) -> None:
        from rowvec.cli import output

        output.note(record.getMessage())


def _prepare() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As stderr does: a letter that the terminal lacks is shown as its code.
        sys.stdout.reconfigure(errors="backslashreplace")
    if not sys.warnoptions:
        warnings.showwarning = _note_warning


def main() -> None:
    """Entry point: errors become one message on stderr and an exit code."""
    try:
        _run()
    except KeyboardInterrupt:
        # While commands are imported, a third of a second. One that has begun says itself what became of it.
        sys.exit(INTERRUPTED)


def _run() -> None:
    import typer

    from rowvec.cli import output
    from rowvec.cli.codes import code_of
    from rowvec.cli.commands import app
    from rowvec.errors import RowvecError
    from rowvec.support import logs

    _prepare()
    logging.getLogger(WAITS).addHandler(logging.NullHandler() if logs.wanted() else _Notes())
    try:
        try:
            app()
        except SystemExit:
            # Python does so at its own end, where it tells of a failure in its own words.
            if sys.stdout:
                sys.stdout.flush()
            raise
    except RowvecError as error:
        output.error(error)
        sys.exit(code_of(error))
    except MemoryError:
        typer.echo(
            "Error: This process has no memory left. What was embedded is stored.\n"
            "  Give it more, or leave the longest rows out with source.where; then run it again.",
            err=True,
        )
        sys.exit(1)
    except OSError as error:
        if error.filename is not None and not os.environ.get("ROWVEC_VERBOSE"):
            # A path that is too long, a loop of links: it is told by whoever meets it first.
            typer.echo(f"Error: {error.filename} cannot be used: {error.strerror}.", err=True)
            sys.exit(1)
        if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        # The reader of our output went away, as `| head` does, and need not be told.
        if error.errno != errno.EPIPE:
            typer.echo(f"Error: What is printed cannot be written: {error.strerror}.", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _note_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """A library's warning is meant for developers. It goes to the log without the library's path, or to --verbose."""
    if os.environ.get("ROWVEC_VERBOSE"):
        import typer

        typer.echo(f"{category.__name__}: {message}", err=True)
    else:
        logging.getLogger("rowvec.warnings").debug("%s: %s", category.__name__, message)


if __name__ == "__main__":
    main()
