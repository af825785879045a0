"""Making the data folder, and what is put right in one that is there: who may come in, and the password."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rowvec.errors import StoreError
from rowvec.stores.postgres.embedded import account, folder, nameless
from rowvec.stores.postgres.embedded.account import Account
from rowvec.stores.postgres.embedded.binaries import Binaries
from rowvec.stores.postgres.embedded.folder import Place
from rowvec.support.memory import KEEPING_FREED

USER = "postgres"
ACCESS = """\
# rowvec writes this file at every start. Nobody comes in over a network, and nobody without a password.
local all all scram-sha-256
local replication all scram-sha-256
"""
LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
"""The same on every machine, so that the folder can be moved: the system's own locales sort differently by version."""


def create(place: Place, binaries: Binaries, owner: Account) -> None:
    """Make the data folder beside its place and move it there when it is complete.

    Raises:
        StoreError: initdb failed; with its reason.
    """
    # A link, or a disk that is mounted there, is filled where it is.
    there = place.data.is_symlink() or os.path.ismount(place.data)
    # Another name each time: the programs of a start that was killed may still write under theirs.
    target = place.data if there else place.run / f"new-{secrets.token_hex(4)}"
    if not there:
        for left in place.run.glob("new-*"):
            shutil.rmtree(left, ignore_errors=True)
        target.mkdir(mode=0o700)
    try:
        with nameless.named(binaries, place.run) as programs:
            _initdb(programs, target, _verifier(_password(place)))
        folder.write(target / "pg_hba.conf", ACCESS)
        owner.own(target)
        if not there:
            with suppress(FileNotFoundError):
                place.data.rmdir()
            target.rename(place.data)
    except BaseException:
        if not there:
            shutil.rmtree(target, ignore_errors=True)
        raise


def _initdb(binaries: Binaries, target: Path, verifier: str) -> None:
    maker = account.maker()
    data = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with tempfile.TemporaryFile(dir=target.parent) as file:
            file.write(f"{verifier}\n".encode())
            file.seek(0)
            if maker:
                for fd in (data, file.fileno()):
                    os.fchown(fd, maker["user"], maker["group"])
            done = subprocess.run(  # noqa: S603
                [
                    binaries.initdb, "-D", address(target, data, is_root=bool(maker)), "-U", USER, *LOCALE,
                    "--auth=scram-sha-256", "--no-instructions", f"--pwfile=/dev/fd/{file.fileno()}",
                ],
                pass_fds=(data, file.fileno()), cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", check=False, env=environment(), **maker,
            )  # fmt: skip
    finally:
        os.close(data)
    if done.returncode:
        raise failed(target, _reasons(done.stderr))


def address(data: Path, fd: int, *, is_root: bool) -> str:
    """How the server's account gets to the data: through folders that only root may enter, by what root has open."""
    return f"/proc/self/fd/{fd}" if is_root else str(data)


def environment() -> dict[str, str]:
    """What programs of PostgreSQL get: nothing that is meant for the user's own servers, and messages we can read."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    # To send the postings of a query takes less than half of the time then.
    return {**KEEPING_FREED, **kept, "LC_ALL": "C"}


def take_over(place: Place, owner: Account) -> None:
    """See that the folder belongs to the server's account, and that its rules of access are ours.

    One that the former start-up made lets everybody in; a copy that root made belongs to root.
    """
    if owner.uid is not None and place.data.stat().st_uid != owner.uid:
        owner.own(place.data)
    rules = place.data / "pg_hba.conf"
    try:
        same = rules.read_text() == ACCESS
    except (OSError, ValueError):
        same = False
    if not same:
        folder.write(rules, ACCESS, owner.uid)


def _password(place: Place) -> str:
    """The one there is, or a new one."""
    with suppress(OSError, ValueError):
        place.password.chmod(0o600)
        word = place.password.read_text().strip().rpartition(":")[2]
        if len(word) >= 32:
            return word
    return new_password(place)


def new_password(place: Place) -> str:
    word = secrets.token_urlsafe(32)
    # In the form that libpq reads by itself; the word stands nowhere else.
    folder.write(place.password, f"*:*:*:{USER}:{word}\n")
    return word


@contextmanager
def without_password(place: Place, owner: Account) -> Iterator[None]:
    """Have the server let in, once it reads its rules again, whoever gets to its socket, which is in our own folder."""
    rules = place.data / "pg_hba.conf"
    folder.write(rules, f"local postgres {USER} trust\n", owner.uid)
    try:
        yield
    finally:
        folder.write(rules, ACCESS, owner.uid)


def password_statement(place: Place) -> str:
    return f"alter role {USER} with login superuser password '{_verifier(_password(place))}'"


def _verifier(password: str) -> str:
    """What the server keeps of a password: it can check it and does not know it.

    One round: many are to make guessing slow, and 256 random bits are not guessed; each connection would pay for them.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    client, server = (hmac.digest(salted, name, "sha256") for name in (b"Client Key", b"Server Key"))
    stored = hashlib.sha256(client).digest()
    salt_, stored_, server_ = (base64.b64encode(each).decode() for each in (salt, stored, server))
    return f"SCRAM-SHA-256$1:{salt_}${stored_}:{server_}"


def _reasons(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "error:", "could not"))]
    return (told or lines or ["it gave no reason"])[0]


def failed(where: Path, reason: str) -> StoreError:
    reason = reason.partition("FATAL:")[2].strip() or reason.partition("PANIC:")[2].strip() or reason
    if "No space left" in reason or "quota" in reason:
        return StoreError(f"The disk of {where} is full: {reason}", hint="Free space, then run it again.")
    if "incompatible" in reason or "byte order" in reason:
        return StoreError(
            f"{where} was made by another build of PostgreSQL or on another kind of machine: {reason}",
            hint="Move it away; `rowvec sync` then embeds all rows again.",
        )
    return StoreError(
        f"The embedded PostgreSQL in {where} does not start: {reason}",
        hint="Free disk space or memory, check the folder's owner, or set store.url to a server of your own.",
    )
