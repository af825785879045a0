"""What HTTP servers in a thread of a test have in common: a free port of 127.0.0.1, their end, and their replies.

class Greeting(Handler):
    def do_GET(self) -> None:
        self.reply(200, b"hello", {})

with LoopbackServer(Greeting) as server:
    httpx2.get(f"http://{server.address}")
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Handler(BaseHTTPRequestHandler):
    """Of one connection; `owner` is the server whose it is."""

    owner: Any
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class LoopbackServer:
    """Starts on entering; on leaving, it raises what went wrong in a handler.

    Attributes:
        host: the address that it listens on.
    """

    host = "127.0.0.1"

    def __init__(self, handler: type[Handler]) -> None:
        self._handler = type("OwnHandler", (handler,), {"owner": self})
        self._http: _Http | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        assert self._http is not None, "the server is not running"
        return f"{self.host}:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._http = _Http((self.host, 0), self._handler)
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._http is not None
        self._http.shutdown()
        self._http.server_close()
        if self._http.mistakes:
            raise ExceptionGroup("the test server itself failed", self._http.mistakes)


class _Http(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.mistakes: list[Exception] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is not news; a mistake of this server must not pass for a fault it was to make."""
        error = sys.exception()
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self.mistakes.append(error)
