"""Runs PostgreSQL for as long as anybody uses it. A program of its own: it imports nothing but the standard library.

It is the server's parent. It waits for the lock that every process using the server shares; when it gets that lock,
nobody uses the server, and it stops it. A server that ends without having been told to is started again.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from contextlib import suppress
from typing import Any, NoReturn

LOOK_SECONDS = 2.0
"""A signal can come in the moment before the wait begins; so it is also looked for now and then."""
STOP_SECONDS = 60.0
RESTARTS, WITHIN_SECONDS = 5, 60.0
PR_SET_PDEATHSIG = 1

# Now, and not where it is needed: the server's account may not be able to read the standard library.
try:
    import ctypes

    prctl: Any = ctypes.CDLL(None).prctl
except (ImportError, OSError, AttributeError):
    prctl = None


class _ServerEnded(Exception):
    pass


class _ToldToStop(Exception):
    pass


class Supervisor:
    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._run: int = plan["run"]
        self._data: int = plan["data"]
        self._lock: int = plan["lock"]
        self._users = self._open("users.lock")
        self._server = 0
        self._restarts: list[float] = []

    def run(self) -> None:
        self._server = self._spawn()
        os.write(self._plan["alive"], f"{os.getpid()} {self._server}\n".encode())
        while True:
            try:
                self._wait_for_users()
            except _ServerEnded:
                if not self._start_again():
                    return
            except _ToldToStop:
                self._stop()
                return
            else:
                # The lock of the users is kept until this process ends: whoever comes waits for that.
                self._stop()
                return

    def _wait_for_users(self) -> None:
        signal.signal(signal.SIGCHLD, self._look)
        signal.signal(signal.SIGALRM, self._look)
        for told in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(told, self._told)
        signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
        try:
            self._look()
            fcntl.flock(self._users, fcntl.LOCK_EX)
        finally:
            for each in (signal.SIGALRM, signal.SIGCHLD):
                signal.signal(each, signal.SIG_IGN if each is signal.SIGALRM else signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _look(self, *_: Any) -> None:
        if self._ended():
            raise _ServerEnded

    @staticmethod
    def _told(*_: Any) -> NoReturn:
        raise _ToldToStop

    def _ended(self) -> bool:
        try:
            return os.waitpid(self._server, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True

    def _stop(self) -> None:
        for told in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(told, signal.SIG_IGN)
        # Fast shutdown, which ends connections and writes everything; where that hangs, recovery does it later.
        for way, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)):
            with suppress(ProcessLookupError):
                os.kill(self._server, way)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                if self._ended():
                    return
                time.sleep(0.005)

    def _start_again(self) -> bool:
        """After a crash, as long as it makes sense: somebody wants the server, and it does not crash all the time."""
        now = time.monotonic()
        self._restarts = [each for each in self._restarts if now - each < WITHIN_SECONDS]
        if len(self._restarts) >= RESTARTS or not self._is_wanted():
            return False
        self._restarts.append(now)
        # Processes of the crashed server may still be there; they have this lock as long as they are.
        self._lock = self._open("server.lock")
        until = now + STOP_SECONDS
        while time.monotonic() < until:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
        else:
            return False
        if not self._is_wanted():  # Another process was first to start one.
            return False
        self._forget_the_dead()
        _log(f"LOG:  rowvec starts PostgreSQL again: process {self._server} ended by itself")
        self._server = self._spawn()
        return True

    def _is_wanted(self) -> bool:
        """It was up, nobody stopped it, and its folder is still there."""
        try:
            fd = os.open("server.json", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._run)
            with open(fd, encoding="utf-8") as file:
                ours = json.load(file).get("supervisor") == os.getpid()
            os.stat("PG_VERSION", dir_fd=self._data)
        except (OSError, ValueError, AttributeError):
            return False
        return bool(ours)

    def _forget_the_dead(self) -> None:
        """Remove the lock files of our own server, which has ended: its number may soon be another's."""
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            with suppress(OSError, ValueError):
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._data)
                with open(fd, encoding="utf-8") as file:
                    owner = int(file.readline())
                if owner == self._server:
                    os.unlink(name, dir_fd=self._data)

    def _open(self, name: str) -> int:
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=self._run)

    def _spawn(self) -> int:
        me = os.getpid()
        child = os.fork()
        if child == 0:
            try:
                self._become_the_server(me)
            except BaseException as error:
                _log(f"FATAL:  rowvec could not start PostgreSQL: {error}")
            finally:
                os._exit(127)
        # The server and its children have it now: it is free when the last of them has ended.
        os.close(self._lock)
        return child

    def _become_the_server(self, parent: int) -> None:
        for each in (signal.SIGCHLD, signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
        if self._plan["uid"] is not None:
            os.setgroups([])
            os.setgid(self._plan["uid"])
            os.setuid(self._plan["uid"])
        if sys.platform == "linux":
            # Should this supervisor be killed, nobody would ever stop the server: it then stops by itself.
            if prctl is not None:
                prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
            if os.getppid() != parent:
                return
        os.umask(0o077)
        os.set_inheritable(self._lock, True)
        os.set_inheritable(self._data, self._plan["uid"] is not None)
        os.execve(self._plan["command"][0], self._plan["command"], self._plan["environment"])  # noqa: S606


def _log(line: str) -> None:
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())


def main() -> None:
    plan = json.loads(sys.argv[1])
    if os.fork():
        os._exit(0)  # The starter has no child to wait for.
    for name in ("run", "data", "lock", "alive"):
        os.set_inheritable(plan[name], False)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    Supervisor(plan).run()


if __name__ == "__main__":
    main()
