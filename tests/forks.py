"""Commands in processes that are forked from one that has imported what they need.

    forks.run("rowvec.cli.main", "sync", cwd=folder, env=variables)

is `python -m rowvec.cli.main sync`, without the second that imports take. The process that is forked from has no
thread, no config and no connection, so that a command finds what it would find in a Python of its own. Tests of
imports, of encodings, of memory and of the installed command start a Python of their own.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, Self

IMPORTED = [
    "rowvec.cli.main", "rowvec.cli.sync", "rowvec.cli.search", "rowvec.cli.several", "rowvec.cli.status",
    "rowvec.cli.workers", "rowvec.api.project", "rowvec.backends", "rowvec.sources.sql", "rowvec.sources.files",
    "rowvec.sources.databases.sqlite", "rowvec.sources.events", "rowvec.stores.libsql", "rowvec.stores.postgres.store",
    "rowvec.embedders.openai", "rowvec.embedders.local.embedder", "rowvec.embedders.local.ctranslate2_engine",
    "rowvec.serve.api", "rowvec.workers.asked", "rowvec.workers.jobs", "rowvec.workers.ranges",
    "rowvec.workers.sql_queue", "celery.bin.celery", "celery.apps.worker", "celery.apps.beat",
    "celery.concurrency.prefork", "celery.backends.redis", "kombu.transport.redis", "kombu.transport.pyamqp",
    "libsql", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql.psycopg", "Stemmer", "uvicorn",
    "uvicorn.protocols.http.h11_impl", "uvicorn.lifespan.on",
]  # fmt: skip
"""What the commands of the tests use. Not rowvec.workers.celery: the environment decides what it does when imported."""
PR_SET_PDEATHSIG = 1
Sink = IO[Any] | int | None
Given = str | os.PathLike[str]


class Command:
    """What subprocess.Popen is to a program."""

    def __init__(self, args: list[str], pid: int, ended: int, streams: tuple[IO[str] | None, IO[str] | None]) -> None:
        self.args = args
        self.pid = pid
        self.returncode: int | None = None
        self.stdout, self.stderr = streams
        self._ended = ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        if self._look(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], timeout)[0]:
            self.returncode = int(os.read(self._ended, 16) or b"-9")
            os.close(self._ended)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it says on the streams that are pipes, and its end."""
        said = ["", ""]

        def listen(number: int, stream: IO[str]) -> None:
            with stream:
                said[number] = stream.read()

        streams = enumerate((self.stdout, self.stderr))
        readers = [threading.Thread(target=listen, args=(n, each), daemon=True) for n, each in streams if each]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join()
        return said[0], said[1]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    module: str,
    *arguments: Given,
    cwd: Given,
    env: Mapping[str, str],
    code: str = "",
    stdout: Sink = None,
    stderr: Sink = None,
    start_new_session: bool = False,
) -> Command:
    """`python -m module`, or `python -c code` where the module is ""; it reads nothing."""
    words = [str(each) for each in arguments]
    asked = {
        "module": module, "code": code, "arguments": words, "cwd": str(cwd), "env": dict(env),
        "session": start_new_session,
    }  # fmt: skip
    ended, told = os.pipe()
    outs = [_opened(1, stdout), _opened(2, stderr)]
    with open(os.devnull, "rb") as nothing:
        pid = _parent().ask(json.dumps(asked), [nothing.fileno(), outs[0][0], outs[1][0], told])
    os.close(told)
    for (theirs, ours), given in zip(outs, (stdout, stderr), strict=True):
        if ours is not None or given == subprocess.DEVNULL:
            os.close(theirs)
    return Command([module, *words], pid, ended, (outs[0][1], outs[1][1]))


def run(
    module: str, *arguments: Given, cwd: Given, env: Mapping[str, str], code: str = "", timeout: float | None = 120
) -> subprocess.CompletedProcess[str]:
    """The same to its end, with what it said."""
    pipe = subprocess.PIPE
    command = start(module, *arguments, cwd=cwd, env=env, code=code, stdout=pipe, stderr=pipe)
    try:
        out, err = command.communicate(timeout)
    finally:
        command.kill()
    assert command.returncode is not None
    return subprocess.CompletedProcess(command.args, command.returncode, out, err)


def _opened(default: int, given: Sink) -> tuple[int, IO[str] | None]:
    """(the end that the command writes to, the end that is read here)."""
    if given == subprocess.PIPE:
        ours, theirs = os.pipe()
        return theirs, open(ours, encoding="utf-8")
    if given == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_WRONLY), None
    if given is None:
        return default, None
    assert not isinstance(given, int)
    return given.fileno(), None


class _Parent:
    """The process that commands are forked from, and the line to it."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        root = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks", str(theirs.fileno())],
            cwd=root, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()
        self._guard = threading.Lock()

    def ask(self, asked: str, files: list[int]) -> int:
        sent = asked.encode()
        with self._guard:
            socket.send_fds(self._line, [len(sent).to_bytes(8)], files)
            self._line.sendall(sent)
            return int.from_bytes(_exactly(self._line, 8))

    def close(self) -> None:
        """It ends at the end of its line, and what it forked is told to."""
        self._line.close()
        self._process.wait()


@cache
def _parent() -> _Parent:
    made = _Parent()
    owner = os.getpid()
    # A process that was forked from this one has the same list of what is to do at its end.
    atexit.register(lambda: made.close() if os.getpid() == owner else None)
    return made


def _exactly(line: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        part = line.recv(count - len(got))
        if not part:
            raise EOFError
        got += part
    return got


# In the process that is forked from.


def _serve(line: socket.socket) -> Callable[[], object] | None:
    """Fork what is asked for until nobody can ask any more. Returns in each forked process what it is to do."""
    living: dict[int, int] = {}
    ended, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready = select.select([line.fileno(), ended], [], [])[0]
        if ended in ready:
            os.read(ended, 4096)
            _bury(living)
        if line.fileno() not in ready:
            continue
        try:
            size, files, _, _ = socket.recv_fds(line, 8, 4)
            asked = json.loads(_exactly(line, int.from_bytes(size + _exactly(line, 8 - len(size) if size else 8))))
        except EOFError:
            return None
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            line.close()
            for inherited in (ended, wakes, *living.values(), files.pop()):
                os.close(inherited)
            return lambda: _become(asked, files)
        living[pid] = files.pop()
        for each in files:
            os.close(each)
        line.sendall(pid.to_bytes(8))


def _bury(living: dict[int, int]) -> None:
    while living:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        told = living.pop(pid)
        os.write(told, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(told)


def _become(asked: dict[str, Any], files: list[int]) -> None:
    """What was asked for, in a process that was forked for it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked["session"]:
        os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # type: ignore[misc]  # noqa: SIM115
        2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    os.chdir(asked["cwd"])
    if wanted := asked["env"].get("PYTHONWARNINGS"):
        sys.warnoptions[:] = wanted.split(",")
        warnings.simplefilter(wanted)
    sys.path[0] = ""
    sys.path[1:1] = [each for each in asked["env"].get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.argv = ["-c", *asked["arguments"]]
    if module := asked["module"]:
        sys.modules.pop(module, None)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        exec(compile(asked["code"], "<string>", "exec"), {"__name__": "__main__"})


def main() -> None:
    line = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in IMPORTED:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    if work := _serve(line):
        work()


if __name__ == "__main__":
    main()
