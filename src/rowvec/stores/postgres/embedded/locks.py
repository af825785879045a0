"""Locks that the kernel frees when their process ends, however it ends.

A lock belongs to an open file. A process that is forked shares its parent's, and one that is executed has none: every
file here is closed by an exec.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from rowvec.errors import StoreUnavailable

logger = logging.getLogger("rowvec.embedded")

POLL_SECONDS = 0.005
SLOWEST_POLL = 0.1
SAY_AFTER = 2.0


def open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


class Brief:
    """A lock of this process only, for a moment: a child that another thread forks meanwhile does not keep it."""

    _all: ClassVar[set[Brief]] = set()

    def __init__(self, path: Path) -> None:
        self.fd = open_lock(path)
        self._all.add(self)

    def close(self) -> None:
        self._all.discard(self)
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    @classmethod
    def close_all(cls) -> None:
        for each in list(cls._all):
            each.close()


os.register_at_fork(after_in_child=Brief.close_all)


def take(fd: int, *, shared: bool = False) -> bool:
    """Whether the lock could be had at once."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Whether any process has the lock."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that those who look at the same time do not take each other for a holder.
        return not take(fd, shared=True)
    finally:
        os.close(fd)


def wait(done: Callable[[], bool], for_what: Callable[[], str], limit: float | None = None) -> bool:
    """Look until it is `done`; after two seconds say once what is waited for. False when the limit was reached."""
    began = time.monotonic()
    pause, said = POLL_SECONDS, False
    while not done():
        waited = time.monotonic() - began
        if limit is not None and waited > limit:
            return False
        if waited > SAY_AFTER and not said:
            said = True
            logger.warning("Waiting for %s.", for_what())
        time.sleep(pause)
        # Attaching is quick, so the first looks are close together; recovery after a crash may take minutes.
        pause = min(SLOWEST_POLL, pause * 1.1)
    return True


@contextmanager
def alone(path: Path, limit: float) -> Iterator[None]:
    """Hold a lock while deciding; its file says which process has it.

    Raises:
        StoreUnavailable: another process held it for `limit` seconds.
    """
    lock = Brief(path)
    fd = lock.fd
    try:
        if not wait(lambda: take(fd), lambda: f"process {_holder(fd)}, which starts or stops {path.parent}", limit):
            raise StoreUnavailable(
                f"Process {_holder(fd)} has been starting or stopping the server in {path.parent} for"
                f" {limit:.0f} seconds.",
                hint="End that process if it hangs, then run this again.",
            )
        with suppress(OSError):  # A full disk: whose lock it is goes unsaid.
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        lock.close()


def _holder(fd: int) -> str:
    return os.pread(fd, 20, 0).decode(errors="replace").strip() or "of unknown number"
