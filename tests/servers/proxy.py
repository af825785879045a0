"""A TCP proxy that makes a network bad: it delays, cuts, falls silent, or lets bytes through one by one.

    with Proxy(("127.0.0.1", 6379)) as proxy:
        redis.connect(port=proxy.port)
        proxy.cut()

What it stands before is an address, a port, or the path of a Unix socket. Every attribute may be changed while it runs.
`python -m tests.servers.proxy TARGET --host HOST` runs a good one as a process, which prints its port.
"""

from __future__ import annotations

import argparse
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

Address = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""


class Proxy:
    """
    Attributes:
        delay: seconds that every piece of data waits.
        piece: bytes that are passed on at once.
        silent: nothing is passed on any more, and nothing is closed: what a host that vanished looks like.
        refusing: new connections are closed at once.
        cut_after: this many more bytes of the server are passed on, then every connection is cut, once.
        passed: bytes so far, both ways.
    """

    def __init__(self, target: Address, *, host: str = "127.0.0.1") -> None:
        self.target = target
        self.delay = 0.0
        self.piece = 65_536
        self.silent = False
        self.refusing = False
        self.cut_after: int | None = None
        self.passed = 0
        self.cuts = 0
        self._listening = socket.create_server((host, 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._guard = threading.Lock()

    def __enter__(self) -> Self:
        self._threads.append(threading.Thread(target=self._accept, daemon=True))
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._close_all()
        for thread in self._threads:
            thread.join()

    def through(self, url: str) -> str:
        """The same URL with the proxy for its host and port."""
        parts = urlsplit(url)
        user = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{user}@127.0.0.1:{self.port}" if user else f"127.0.0.1:{self.port}").geturl()

    def cut(self) -> None:
        """Break every connection there is, as a restart of the server or of a router would."""
        self.cuts += 1
        self._close_all()

    def _close_all(self) -> None:
        with self._guard:
            connections, self._open = self._open, set()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self.refusing:
                return
            with _connected(self.target) as server:
                for connection in (client, server):
                    if connection.family != socket.AF_UNIX:
                        # A proxy that gathers small packets would be a slow network that nobody asked for.
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._guard:
                    self._open |= {client, server}
                answers = threading.Thread(target=self._pump, args=(server, client, self._of_server), daemon=True)
                answers.start()
                self._pump(client, server, self._of_client)
                answers.join()

    def _pump(self, source: socket.socket, drain: socket.socket, count: Callable[[int], None]) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                for start in range(0, len(data), self.piece):
                    part = data[start : start + self.piece]
                    time.sleep(self.delay)
                    while self.silent and source in self._open:
                        time.sleep(0.01)
                    drain.sendall(part)
                    count(len(part))
        with self._guard:
            self._open -= {source, drain}
        for end in (source, drain):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _of_client(self, size: int) -> None:
        self.passed += size

    def _of_server(self, size: int) -> None:
        self.passed += size
        if self.cut_after is not None:
            self.cut_after -= size
            if self.cut_after <= 0:
                self.cut_after = None
                self.cut()


def _connected(target: Address) -> socket.socket:
    if isinstance(target, tuple):
        return socket.create_connection(target)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(target)
    return connection


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target", help="path of a Unix socket")
    parser.add_argument("--host", default="127.0.0.1")
    options = parser.parse_args()
    with Proxy(options.target, host=options.host) as proxy:
        print(proxy.port, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
