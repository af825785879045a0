"""Who uses an embedded server. A process that uses it shares a lock for as long as it lives; nobody keeps a list.

What is decided about a server, such as to start, join, leave or stop it, is decided under one lock beside its data.
"""

from __future__ import annotations

import atexit
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from rowvec.errors import StoreError, StoreUnavailable
from rowvec.stores.postgres.embedded import address, folder, locks, process
from rowvec.stores.postgres.embedded.folder import Place
from rowvec.stores.postgres.embedded.start import start, stop

DECIDING_SECONDS = 300.0
LEAVING_SECONDS = 2.0
ENDING_SECONDS = 120.0
ELSEWHERE_SECONDS = 10.0
LOOK_SECONDS = 0.5


@dataclass
class _Use:
    place: Place
    fd: int
    process: int


_uses: dict[Place, _Use] = {}
_mutex = threading.RLock()


def _after_fork() -> None:
    # Another thread of the parent may have had it.
    global _mutex
    _mutex = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


def use(place: Place, *, durable: bool) -> None:
    """Have the server run until this process ends or leaves.

    Raises:
        StoreError: it does not start. StoreUnavailable: another process takes too long over it.
    """
    with _mutex:
        folder.prepare(place)
        with folder.told(place), locks.alone(place.deciding, DECIDING_SECONDS):
            _join(place)
            try:
                _have_it_run(place, durable=durable)
            except BaseException:
                _drop(place)
                raise


def _join(place: Place) -> None:
    known = _uses.get(place)
    if known is not None and known.process == os.getpid():
        with suppress(OSError):
            if os.path.samestat(os.fstat(known.fd), os.stat(place.users)):
                return
        # The folder was removed or replaced.
        _drop(place)
    # What a child of a fork has of its parent stays open: it is the parent's, too.
    fd = locks.open_lock(place.users)
    try:
        if not locks.wait(
            lambda: locks.take(fd, shared=True), lambda: f"the server in {place.data}, which ends", ENDING_SECONDS
        ):
            raise StoreUnavailable(f"The server in {place.data} has been ending for {ENDING_SECONDS:.0f} seconds.")
    except BaseException:
        os.close(fd)
        raise
    if not _uses:
        atexit.register(_leave_all)
    _uses[place] = _Use(place, fd, os.getpid())


def _have_it_run(place: Place, *, durable: bool) -> None:
    while True:
        if not locks.is_held(place.server):
            if start(place, durable=durable):
                return
            continue
        # The lock belongs to this very folder, so a server that has it does too: a copy's is free.
        elsewhere = folder.read_facts(place).get("machine", folder.machine()) != folder.machine()
        if not locks.wait(
            lambda: answers(place) or not _is_there(place),
            lambda: f"the server in {place.data}, which starts or ends",
            ELSEWHERE_SECONDS if elsewhere else None,
        ):
            host = folder.read_facts(place).get("host")
            raise StoreError(
                f"{place.data} is in use by a server on the machine {host}.",
                hint="An embedded server is reached on its own machine only; store.url may name one for all.",
            )
        if answers(place):
            return


def _is_there(place: Place) -> bool:
    """Whether a process of the server is; without their server the others of it are asked to end."""
    if not locks.is_held(place.server):
        return False
    number, _ = folder.postmaster(place)
    if number > 0 and not process.exists(number):
        process.end_orphans(place.data)
    return True


def answers(place: Place) -> bool:
    """Whether the server is ready for connections."""
    if folder.postmaster(place)[1] != "ready":
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fsencode(address.socket_path(place)))
        except OSError:
            return False
    return True


def end(place: Place) -> bool:
    """Stop the server, whoever uses it. False when none ran.

    Raises:
        StoreError: it does not end.
    """
    if not place.run.is_dir() and not place.data.is_dir():
        return False
    with _mutex:
        folder.prepare(place)
        with folder.told(place), locks.alone(place.deciding, DECIDING_SECONDS):
            _drop(place)
            ran = locks.is_held(place.server) or answers(place)
            stop(place)
            address.unlink(place)
        return ran


def wait_until_gone(place: Place) -> None:
    """Until nobody wants it to run any more; a crash, after which it is started again, is not that."""
    while place.facts.exists() or locks.is_held(place.server):
        time.sleep(LOOK_SECONDS)


def _leave_all() -> None:
    for each in list(_uses.values()):
        # A child of a fork has its parent's, which are not its to end.
        if each.process == os.getpid():
            with suppress(StoreError, OSError):
                leave(each.place)


def leave(place: Place) -> None:
    """Use it no longer. The last one waits until it has stopped: then its folder may be copied or removed."""
    with _mutex:
        if not place.run.is_dir():
            _drop(place)
            return
        with locks.alone(place.deciding, LEAVING_SECONDS):
            _drop(place)
            if _is_unused(place):
                stop(place)
                address.unlink(place)


def _is_unused(place: Place) -> bool:
    """Nobody has the lock, or its supervisor has it, as it stops the server."""
    fd = locks.open_lock(place.users)
    try:
        return locks.take(fd) or not locks.take(fd, shared=True)
    finally:
        os.close(fd)


def _drop(place: Place) -> None:
    known = _uses.pop(place, None)
    if known is not None and known.process == os.getpid():
        os.close(known.fd)
