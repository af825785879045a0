"""A small libSQL server on loopback: Hrana over HTTP before real libSQL files.

It speaks `v2/pipeline` and `v3/pipeline` in JSON, as HTTP_V2_SPEC.md and HRANA_3_SPEC.md in tursodatabase/libsql
describe them. It is a process of its own, so that it can be killed, and because the `libsql` package keeps the
interpreter lock while it waits. `/NAME/v2/pipeline` is the database NAME in its folder. `POST /control` sets switches:

    cut_before, cut_after   this many requests lose their connection before, or after, they are carried out
    match                   counts only requests whose body holds this text
    status                  answer the next request with this HTTP status
    ahead                   its clock is ahead by this many seconds
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

IDLE_SECONDS = 5.0


class Engine:
    """The streams of a server; each is a connection that its baton names."""

    def __init__(self, folder: str, token: str | None) -> None:
        self.folder = folder
        self.token = token
        self.switches: dict[str, Any] = {}
        self.requests = 0
        self._streams: dict[str, tuple[Any, float]] = {}
        self._guard = threading.Lock()

    def take(self, name: str, baton: str | None) -> Any:
        import libsql

        with self._guard:
            for old, (_, used) in list(self._streams.items()):
                if time.monotonic() - used > IDLE_SECONDS:
                    self._streams.pop(old)[0].close()
            if baton is not None:
                return self._streams.pop(baton)[0]
        return libsql.connect(f"{self.folder}/{name}.db", timeout=1.0, isolation_level=None, _check_same_thread=False)

    def give(self, connection: Any) -> str:
        baton = secrets.token_urlsafe(16)
        with self._guard:
            self._streams[baton] = (connection, time.monotonic())
        return baton

    def due(self, switch: str, body: str) -> bool:
        with self._guard:
            if self.switches.get(switch, 0) < 1 or self.switches.get("match", "") not in body:
                return False
            self.switches[switch] -= 1
            return True


def pipeline(engine: Engine, name: str, base: str, body: dict[str, Any]) -> dict[str, Any]:
    connection = engine.take(name, body.get("baton"))
    results: list[dict[str, Any]] = []
    closed = False
    for request in body["requests"]:
        if request["type"] == "close":
            closed = True
            response: dict[str, Any] = {"type": "close"}
        else:
            try:
                response = answer(connection, request)
            except ValueError as error:
                results.append({"type": "error", "error": problem(error)})
                continue
        results.append({"type": "ok", "response": response})
    if closed:
        connection.close()
    return {"baton": None if closed else engine.give(connection), "base_url": base, "results": results}


def answer(connection: Any, request: dict[str, Any]) -> dict[str, Any]:
    kind = request["type"]
    match kind:
        case "execute":
            return {"type": kind, "result": execute(connection, request["stmt"])}
        case "batch":
            return {"type": kind, "result": batch(connection, request["batch"]["steps"])}
        case "get_autocommit":
            return {"type": kind, "is_autocommit": not connection.in_transaction}
        case "describe":
            return {"type": kind, "result": describe(connection, request["sql"])}
        case _:
            raise ValueError(f"unknown request {kind}")


def execute(connection: Any, statement: dict[str, Any]) -> dict[str, Any]:
    cursor = connection.execute(statement["sql"], tuple(map(decoded, statement.get("args") or ())))
    rows = cursor.fetchall() if cursor.description else []
    return {
        "cols": [{"name": column[0], "decltype": None} for column in cursor.description or ()],
        "rows": [[encoded(value) for value in row] for row in rows or []],
        "affected_row_count": max(cursor.rowcount, 0),
        "last_insert_rowid": str(cursor.lastrowid) if cursor.lastrowid else None,
    }


def batch(connection: Any, steps: list[dict[str, Any]]) -> dict[str, Any]:
    results: list[dict[str, Any] | None] = []
    errors: list[dict[str, Any] | None] = []
    for step in steps:
        result = error = None
        if step.get("condition") is None or holds(connection, step["condition"], results, errors):
            try:
                result = execute(connection, step["stmt"])
            except ValueError as trouble:
                error = problem(trouble)
        results.append(result)
        errors.append(error)
    return {"step_results": results, "step_errors": errors}


def holds(connection: Any, condition: dict[str, Any], results: list[Any], errors: list[Any]) -> bool:
    def inner(part: dict[str, Any]) -> bool:
        return holds(connection, part, results, errors)

    match condition["type"]:
        case "ok":
            return results[condition["step"]] is not None
        case "error":
            return errors[condition["step"]] is not None
        case "not":
            return not inner(condition["cond"])
        case "and":
            return all(map(inner, condition["conds"]))
        case "or":
            return any(map(inner, condition["conds"]))
        case _:
            return not connection.in_transaction


def describe(connection: Any, sql: str) -> dict[str, Any]:
    """Columns by an empty run of a query; enough for the clients that ask before they execute."""
    reading = sql.lstrip().lower().startswith(("select", "with"))
    count = sql.count("?")
    columns = connection.execute(f"select * from ({sql}) limit 0", (None,) * count).description if reading else ()
    return {
        "params": [{"name": None}] * count,
        "cols": [{"name": column[0], "decltype": None} for column in columns],
        "is_explain": False,
        "is_readonly": reading,
    }


def problem(error: ValueError) -> dict[str, Any]:
    return {"message": str(error), "code": "SQLITE_ERROR"}


def decoded(value: dict[str, Any]) -> Any:
    match value["type"]:
        case "null":
            return None
        case "integer":
            number = int(value["value"])
            # The package would bind a larger integer as a float.
            return number if -(2**31) <= number < 2**31 else str(number)
        case "blob":
            text = value["base64"]
            return base64.b64decode(text + "=" * (-len(text) % 4))
        case _:
            return value["value"]


def encoded(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {"type": "null"}
        case int():
            return {"type": "integer", "value": str(value)}
        case float():
            return {"type": "float", "value": value}
        case str():
            return {"type": "text", "value": value}
        case _:
            return {"type": "blob", "base64": base64.b64encode(value).decode().rstrip("=")}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: Engine

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        self.reply(200 if self.path.endswith(("/v2", "/v3")) else 404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        engine = self.engine
        if self.path == "/control":
            engine.switches.update(json.loads(body))
            return self.reply(200, {"requests": engine.requests})
        if engine.token and self.headers.get("Authorization") != f"Bearer {engine.token}":
            return self.reply(401, {"message": "Unauthorized"})
        name, _, endpoint = self.path.strip("/").partition("/")
        if endpoint not in ("v2/pipeline", "v3/pipeline"):
            return self.reply(404, {"message": "Not found"})
        engine.requests += 1
        if ahead := engine.switches.get("ahead"):
            body = body.replace("'now'", f"'now', '{ahead} seconds'")
        if status := engine.switches.pop("status", None):
            return self.reply(status, {"message": "as the test asked"})
        if engine.due("cut_before", body):
            return self.cut()
        try:
            result = pipeline(engine, name, f"http://{self.headers['Host']}/{name}", json.loads(body))
        except KeyError:
            return self.reply(400, {"message": "The stream was closed: unknown baton"})
        return self.cut() if engine.due("cut_after", body) else self.reply(200, result)

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def reply(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


class HranaServer:
    """The server as a process; its port stays the same when it is restarted."""

    def __init__(self, folder: Path, token: str | None = None) -> None:
        self.folder = folder
        self.token = token
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        command = [sys.executable, __file__, str(self.folder), "--port", str(self.port)]
        if self.token:
            command += ["--token", self.token]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It says nothing and ends nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def control(self, **switches: Any) -> dict[str, Any]:
        request = urllib.request.Request(self.url("control"), json.dumps(switches).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10) as response:
            answered: dict[str, Any] = json.load(response)
        return answered


@contextmanager
def serving(folder: Path, token: str | None = None) -> Iterator[HranaServer]:
    server = HranaServer(folder, token)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token")
    options = parser.parse_args()
    Handler.engine = Engine(options.folder, options.token)
    ThreadingHTTPServer.daemon_threads = True
    with ThreadingHTTPServer(("127.0.0.1", options.port), Handler) as server, contextlib.suppress(KeyboardInterrupt):
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
