"""Starting the server of a folder that nobody serves. The caller holds the lock under which that is decided."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from rowvec.errors import StoreError
from rowvec.stores.postgres.embedded import account, binaries, cluster, folder, locks, process, tuning
from rowvec.stores.postgres.embedded.account import Account
from rowvec.stores.postgres.embedded.address import url
from rowvec.stores.postgres.embedded.binaries import Binaries
from rowvec.stores.postgres.embedded.folder import Place

logger = logging.getLogger("rowvec.embedded")

LOG_BYTES = 8 << 20
STOP_LIMIT = 90.0
ORPHAN_SECONDS = 1.0
RELOAD_LIMIT = 30.0
SETTINGS = {
    "listen_addresses": "",
    # Where the server is, which is its data folder: a path of any length, with any letters.
    "unix_socket_directories": ".",
    "unix_socket_permissions": "0700",
    "port": "5432",
    "log_destination": "stderr",
    "logging_collector": "off",
    "ssl": "off",
}
"""Given on the command line, so that no file of settings, or what `alter system` left there, says otherwise."""
SAFE, FORGETFUL = "on", "off"
KEPT_BY = ("fsync", "full_page_writes", "synchronous_commit")
"""What makes the server keep what it said it has, whatever happens to the machine."""


def start(place: Place, *, durable: bool) -> bool:
    """Make the data folder where there is none, and start its server. False when another process was first.

    Raises:
        StoreError: the folder cannot be used, or the server says why it does not start.
    """
    lock = locks.Brief(place.server)
    try:
        # Somebody who only looks whether it is free has it for a moment.
        if not locks.wait(lambda: locks.take(lock.fd), lambda: "a look at the lock", 1.0):
            return False
        _refuse_a_stranger(place)
        programs, owner = _ready_the_folder(place)
        place.facts.unlink(missing_ok=True)
        _forget_the_dead(place)
        _run(place, programs, owner, lock, durable=durable)
    finally:
        lock.close()
    if not _lets_us_in(place):
        _set_password(place, owner)
    return True


def _set_password(place: Place, owner: Account) -> None:
    """Give the server the password of the file: the former start-up had none, and a restored folder has another."""
    number, _ = folder.postmaster(place)
    statement = cluster.password_statement(place)
    with cluster.without_password(place, owner):
        process.tell(number, place.data, signal.SIGHUP)
        if not locks.wait(lambda: _lets_us_in(place), lambda: "the server to read its rules", RELOAD_LIMIT):
            raise cluster.failed(place.data, "it does not read its rules of access again")
        with psycopg.connect(url(place), autocommit=True) as connection:
            connection.execute(statement.encode())
    process.tell(number, place.data, signal.SIGHUP)
    # Until the rules are read again, it lets in everybody who gets to its socket.
    locks.wait(lambda: not _lets_in_without(place), lambda: "the server to read its rules", RELOAD_LIMIT)
    if not _lets_us_in(place):
        raise cluster.failed(place.data, "it does not take the password that it was just given")


def _ready_the_folder(place: Place) -> tuple[Binaries, Account]:
    programs = binaries.find()
    if folder.check(place):
        owner = account.of_folder(place.data)
        cluster.take_over(place, owner)
        return account.reachable(programs, owner), owner
    owner = account.chosen()
    programs = account.reachable(programs, owner)
    cluster.create(place, programs, owner)
    if owner.uid is not None:
        logger.warning(
            "PostgreSQL does not run as root: it runs as user %s, which no account has, and owns only %s.",
            owner.uid, place.data,
        )  # fmt: skip
    return programs, owner


def _refuse_a_stranger(place: Place) -> None:
    """A server that works in this folder without our lock, such as one of rowvec's former start-up."""
    number, _ = folder.postmaster(place)
    if number > 0 and process.serves(number, place.data):
        raise StoreError(
            f"A PostgreSQL that this rowvec did not start works in {place.data} (process {number}).",
            hint="End the programs that use it, then it: rowvec embedded stop.",
        )


def _forget_the_dead(place: Place) -> None:
    """Remove lock files whose number another process has now, or that were cut off: PostgreSQL would believe them.

    Nobody serves the folder: its lock is ours, and no process works in it. Files of a number that is free are left
    to PostgreSQL, which then also looks for what a crash left in memory.
    """
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        path = place.data / name
        try:
            number = int(path.read_text(errors="replace").partition("\n")[0])
        except FileNotFoundError:
            continue
        except ValueError:
            number = 0
        if number <= 0 or process.exists(number):
            path.unlink()


def _run(place: Place, programs: Binaries, owner: Account, lock: locks.Brief, *, durable: bool) -> None:
    """Start the server under its supervisor and wait until it is ready, however long recovery takes.

    Raises:
        StoreError: it ended instead.
    """
    _turn_log(place)
    begin = place.log.stat().st_size if place.log.exists() else 0
    with _supervised(place, programs, owner, lock.fd, durable=durable) as alive:
        # From here the lock is the server's; held here too, it would seem to live after its death.
        lock.close()
        said, ended = b"", False

        def done() -> bool:
            nonlocal said, ended
            with suppress(BlockingIOError):
                part = os.read(alive, 100)
                said, ended = said + part, not part
            numbers = said.split()
            return ended or (len(numbers) == 2 and folder.postmaster(place) == (int(numbers[1]), "ready"))

        locks.wait(done, lambda: f"the embedded PostgreSQL in {place.data}: {_last(place, begin)}")
        if ended:
            raise cluster.failed(place.data, _reason(place, begin))
    supervisor, server = (int(number) for number in said.split())
    facts = {
        "supervisor": supervisor, "server": server, "version": programs.version(), "host": socket.gethostname(),
        "machine": folder.machine(), "since": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    folder.write(place.facts, json.dumps(facts))


@contextmanager
def _supervised(place: Place, programs: Binaries, owner: Account, lock: int, *, durable: bool) -> Iterator[int]:
    """Start the supervisor; the yielded pipe ends when it does."""
    alive, their_end = os.pipe()
    run = os.open(place.run, os.O_RDONLY | os.O_DIRECTORY)
    data = os.open(place.data, os.O_RDONLY | os.O_DIRECTORY)
    log = os.open(place.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.set_blocking(alive, False)
        plan = {
            "run": run, "data": data, "lock": lock, "alive": their_end, "uid": owner.uid,
            "command": _command(place, programs, owner, data, durable=durable),
            "environment": cluster.environment(),
        }  # fmt: skip
        # In a session of its own, so that no Ctrl-C reaches it, and out of the way of whoever moves a folder.
        subprocess.run(  # noqa: S603
            [_python(), "-I", "-S", Path(__file__).with_name("supervise.py"), json.dumps(plan)],
            pass_fds=(run, data, lock, their_end), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            start_new_session=True, check=True,
        )  # fmt: skip
        os.close(their_end)
        their_end = -1
        yield alive
    finally:
        for fd in (alive, their_end, run, data, log):
            if fd >= 0:
                os.close(fd)


def _command(place: Place, programs: Binaries, owner: Account, data: int, *, durable: bool) -> list[str]:
    where = cluster.address(place.data, data, is_root=owner.uid is not None)
    settings = {
        **SETTINGS,
        **tuning.settings(place.data),
        **dict.fromkeys(KEPT_BY, SAFE if durable else FORGETFUL),
        "hba_file": f"{where}/pg_hba.conf",
        # For people who look at the list of processes.
        "rowvec.folder": str(place.data),
    }
    command = [str(programs.postgres), "-D", where]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    return command


def _python() -> str:
    """This Python; not the web server that it may be a part of."""
    if os.path.basename(sys.executable or "").startswith("python"):
        return sys.executable
    base = Path(sys.base_exec_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return str(base) if base.exists() else shutil.which("python3") or sys.executable


def _lets_us_in(place: Place, **other: str) -> bool:
    try:
        psycopg.connect(url(place), connect_timeout=60, **other).close()  # type: ignore[arg-type]
    except psycopg.OperationalError as error:
        if "authentication failed" in str(error) or "no password" in str(error):
            return False
        raise cluster.failed(place.data, str(error).strip().splitlines()[-1]) from error
    return True


def _lets_in_without(place: Place) -> bool:
    return _lets_us_in(place, passfile=str(place.run / "none"))


def stop(place: Place) -> None:
    """Stop the server of a folder and wait until its last process has gone.

    Raises:
        StoreError: it is not of this machine, or does not end.
    """
    # Without this file its supervisor does not start it again.
    place.facts.unlink(missing_ok=True)
    interrupted = False
    began = time.monotonic()

    def done() -> bool:
        nonlocal interrupted
        number, _ = folder.postmaster(place)
        if not interrupted:
            # It may be about to write its number down.
            interrupted = number > 0 and process.interrupt(number, place.data)
        elif time.monotonic() - began > ORPHAN_SECONDS:
            process.end_orphans(place.data)
        return not locks.is_held(place.server) and not (number > 0 and process.serves(number, place.data))

    if not locks.wait(done, lambda: f"the server in {place.data}, which ends", STOP_LIMIT):
        raise StoreError(
            f"The server in {place.data} does not end"
            f"{'' if interrupted else ': its process is not one of this machine or container'}.",
            hint="Look for processes of `postgres` that work in this folder, also in other containers.",
        )


def _turn_log(place: Place) -> None:
    with suppress(FileNotFoundError):
        if place.log.stat().st_size > LOG_BYTES:
            place.log.replace(place.log.with_name("log.1"))


def _lines(place: Place, begin: int) -> list[str]:
    try:
        with open(place.log, "rb") as file:
            file.seek(begin)
            return file.read(1 << 20).decode(errors="replace").splitlines()
    except OSError:
        return []


def _reason(place: Place, begin: int) -> str:
    lines = _lines(place, begin)
    fatal = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    return (fatal or [line for line in lines if line.strip()] or ["its log says nothing"])[-1]


def _last(place: Place, begin: int) -> str:
    lines = [line.rpartition("LOG:")[2].strip() for line in _lines(place, begin) if "LOG:" in line]
    return lines[-1] if lines else "it starts"
