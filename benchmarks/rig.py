"""What benchmarks share: the real data, a database of their own, the `rowvec` command, and a watch."""

from __future__ import annotations

import http.client
import importlib
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rowvec.stores.postgres.embedded import embedded_url, stop_embedded

if TYPE_CHECKING:
    from fastapi import FastAPI

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("ROWVEC_TEST_DATA", ROOT.parent / "shared" / "data"))
ROWVEC = [sys.executable, "-m", "rowvec.cli.main"]
AT = {"p50": 0.5, "p95": 0.95}
"""Quantiles as tables name them."""


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


@contextmanager
def embedding_service(latency: float, *options: str) -> Iterator[str]:
    """URL of an embedding service that takes `latency` seconds for each request.

    Args:
        options: see `tests.servers.openai`.
    """
    command = [sys.executable, "-m", "tests.servers.openai", "--latency", str(latency), *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


class Served(NamedTuple):
    port: int
    process: int


@contextmanager
def serving(app: Callable[..., FastAPI], *arguments: Any) -> Iterator[Served]:
    """Another process, which answers for the application that `app` makes of the arguments."""
    port = free_port()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(port, app, arguments), daemon=True)
    process.start()
    try:
        wait_for(port, process.is_alive)
        assert process.pid is not None
        yield Served(port, process.pid)
    finally:
        process.terminate()
        process.join()


def _serve(port: int, app: Callable[..., FastAPI], arguments: tuple[Any, ...]) -> None:
    import uvicorn

    made = app(*arguments)
    uvicorn.run(
        made,
        host="127.0.0.1",
        port=port,
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_keep_alive=600,
    )


class Caller:
    """One connection, kept open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.connect()
        # As every HTTP client does that waits for its answer before it goes on.
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def search(self, query: str, mode: str = "semantic", *, credential: str = "", filters: Any = None) -> float:
        """Seconds until the answer, of ten hits, is read."""
        body = json.dumps({"query": query, "limit": 10, **({"filters": filters} if filters else {})})
        headers = {"Content-Type": "application/json"}
        if credential:
            headers["Authorization"] = f"Bearer {credential}"
        began = time.perf_counter()
        self._connection.request("POST", f"/search/{mode}", body, headers)
        reply = self._connection.getresponse()
        content = reply.read()
        seconds = time.perf_counter() - began
        assert reply.status == 200, content
        assert len(json.loads(content)["results"]) == 10
        return seconds


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


def example(folder: str, module: str) -> Any:
    """A module of an example, which is not a package: its modules import each other by their bare names."""
    place = str(ROOT / "examples" / folder)
    if place not in sys.path:
        sys.path.insert(0, place)
    return importlib.import_module(module)


def quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share))


def timed(task: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


def resource_unit() -> int:
    """Bytes in a unit of ru_maxrss, which is kB everywhere but on macOS."""
    return 1 if sys.platform == "darwin" else 1024
