"""What benchmarks share: the real data, a database of their own, the `rowvec` command, and a watch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rowvec.stores.postgres.embedded import embedded_url, stop_embedded

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("ROWVEC_TEST_DATA", ROOT.parent / "shared" / "data"))
ROWVEC = [sys.executable, "-m", "rowvec.cli.main"]


@contextmanager
def database() -> Iterator[tuple[Path, str]]:
    """An empty folder, and the URL of an embedded PostgreSQL; both are thrown away in the end."""
    with tempfile.TemporaryDirectory(prefix="rowvec-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            yield folder, embedded_url(folder / "server")
        finally:
            stop_embedded(folder / "server")


def run(command: Sequence[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def rowvec(folder: Path, *arguments: str) -> Any:
    """What a `rowvec` command prints as JSON.

    Raises:
        SystemExit: with what it wrote on stderr, when it failed.
    """
    done = subprocess.run([*ROWVEC, *arguments, "--json"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


@contextmanager
def served(folder: Path, *options: str, log: Any = subprocess.DEVNULL) -> Iterator[int]:
    """The port on which `rowvec serve` answers; `log` is where it writes."""
    port = free_port()
    command = [*ROWVEC, "serve", "--port", str(port), *options]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=log)
    try:
        wait_for(port, lambda: process.poll() is None)
        yield port
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(port: int, alive: Callable[[], bool]) -> None:
    while alive():
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the server did not start")


def timed(task: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


def resource_unit() -> int:
    """Bytes in a unit of ru_maxrss, which is kB everywhere but on macOS."""
    return 1 if sys.platform == "darwin" else 1024
