"""The folders of one embedded server, and what can be wrong with them; each has its own message."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rowvec.errors import StoreError
from rowvec.stores.postgres.embedded import account
from rowvec.stores.postgres.embedded.binaries import MAJOR

CONTROL_VERSIONS = range(900, 10000)
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs", "fuse.glusterfs", "lustre")
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Place:
    """`data` is PostgreSQL's own folder, with its socket; `run` has what rowvec keeps beside it."""

    state: Path

    @property
    def data(self) -> Path:
        return self.state / "postgres"

    @property
    def run(self) -> Path:
        return self.state / "embedded"

    @property
    def password(self) -> Path:
        return self.run / "password"

    @property
    def log(self) -> Path:
        return self.run / "log"

    @property
    def socket(self) -> Path:
        return self.data / ".s.PGSQL.5432"

    @property
    def deciding(self) -> Path:
        """Held by who starts, joins, leaves or stops it, for as long as that takes."""
        return self.run / "start.lock"

    @property
    def users(self) -> Path:
        """Shared by all who use the server, for as long as they live."""
        return self.run / "users.lock"

    @property
    def server(self) -> Path:
        """Held by every process of the server itself."""
        return self.run / "server.lock"

    @property
    def facts(self) -> Path:
        return self.run / "server.json"


@contextmanager
def told(place: Place) -> Iterator[None]:
    """Raise what the system says about a folder as StoreError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StoreError(
                f"The disk of {place.state} is full: the embedded PostgreSQL does not start.",
                hint="Free space, then run it again.",
            ) from error
        if error.errno == errno.EROFS:
            raise StoreError(
                f"{place.state} is on a disk that is read-only: the embedded PostgreSQL cannot write there.",
                hint="Move the project to a disk of yours, or set store.url to a server of your own.",
            ) from error
        where = error.filename if isinstance(error.filename, str) else str(place.state)
        raise StoreError(
            f"The embedded PostgreSQL in {place.state} does not start: {where}: {error.strerror or error}.",
            hint="Give the folder to the user that runs rowvec, or set store.url to a server of your own.",
        ) from error


def prepare(place: Place) -> None:
    """Make what is ours, and see that nobody else can enter it.

    Raises:
        StoreError: it cannot be made, or is another user's.
    """
    account.refuse_for(place.state)
    with told(place):
        # Others may look, as far as the umask lets them; they may never put a folder of theirs in the place of ours.
        place.state.mkdir(mode=0o755, parents=True, exist_ok=True)
        place.run.mkdir(mode=0o700, exist_ok=True)
        _be_ours(place.run)
        if place.data.is_dir():
            _be_ours(place.data, server=True)


def _be_ours(folder: Path, *, server: bool = False) -> None:
    found = folder.stat()
    # The server of root runs under an account of its own, which has the data.
    if found.st_uid != os.geteuid() and not (server and account.is_root()):
        owner = account.name_of(found.st_uid)
        raise StoreError(
            f"{folder} belongs to {owner}, and this is {account.name_of(os.geteuid())}.",
            hint=f"Run this as {owner}, or let the folder be given to you: chown -R.",
        )
    if stat.S_IMODE(found.st_mode) & 0o077 or stat.S_IMODE(found.st_mode) & 0o700 != 0o700:
        folder.chmod(0o700)


def check(place: Place) -> bool:
    """Whether there is data; what this PostgreSQL cannot use is refused.

    Raises:
        StoreError: it is of another version or machine, or was never finished.
    """
    data = place.data
    aside = f"Move {data} away; `rowvec sync` then embeds all rows again."
    try:
        if not any(data.iterdir()):
            return False
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise StoreError(f"{data} is a file, where the embedded PostgreSQL has its folder.", hint=aside) from None
    major = _first(data / "PG_VERSION").strip()
    if major != str(MAJOR):
        if major.isdecimal():
            raise StoreError(
                f"{data} holds the data of PostgreSQL {major}; this rowvec brings PostgreSQL {MAJOR}.",
                hint=f"{aside} Or move the data to a server of your own: dump it with PostgreSQL {major}.",
            )
        raise StoreError(f"{data} is not empty and not a data folder of PostgreSQL.", hint=aside)
    _check_control(data, aside)
    _check_machine(place)
    return True


def _check_control(data: Path, aside: str) -> None:
    """The first 12 bytes of pg_control: whose data it is, and the format, in the order of bytes of its machine."""
    try:
        head = (data / "global" / "pg_control").read_bytes()[:12]
    except FileNotFoundError:
        head = b""
    if len(head) < 12:
        raise StoreError(f"{data} is incomplete: global/pg_control is missing or empty.", hint=aside)
    if struct.unpack("=I", head[8:])[0] not in CONTROL_VERSIONS:
        other = ">I" if struct.pack("=I", 1) == struct.pack("<I", 1) else "<I"
        if struct.unpack(other, head[8:])[0] in CONTROL_VERSIONS:
            raise StoreError(f"{data} was made on another kind of machine: its bytes are in another order.", hint=aside)
        raise StoreError(f"{data} is damaged: global/pg_control is not what PostgreSQL writes.", hint=aside)


def _check_machine(place: Place) -> None:
    """On a disk that machines share, locks may not be shared with it."""
    facts = read_facts(place)
    if facts.get("machine", machine()) == machine() or not _is_shared(place.data):
        return
    raise StoreError(
        f"{place.data} is in use by a server on the machine {facts.get('host')}, or that machine went down with it.",
        hint=f"Stop it there: rowvec embedded stop. If that machine is gone for good, remove {place.facts}.",
    )


def machine() -> str:
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        if name := _first(Path(path)).strip():
            return name
    return socket.gethostname()


def _is_shared(folder: Path) -> bool:
    """Whether the folder is on a file system that several machines may have mounted."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return False
    found = folder.resolve().stat().st_dev
    device = f"{os.major(found)}:{os.minor(found)}"
    kinds = [line.partition(" - ")[2].split(" ")[0] for line in lines if line.split(" ")[2] == device]
    return any(kind in NETWORK for kind in kinds)


def read_facts(place: Place) -> dict[str, Any]:
    """What the starter wrote down; nothing where that is missing or was cut off."""
    try:
        found = json.loads(place.facts.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(path: Path, text: str, owner: int | None = None) -> None:
    """Put a file of ours in its place at once and whole, readable by nobody else."""
    fresh = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        fresh.unlink()
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        if owner is not None:
            os.fchown(fd, owner, owner)
        file.write(text)
        file.flush()
        os.fsync(fd)
    os.replace(fresh, path)


def _first(path: Path) -> str:
    try:
        return path.read_text(errors="replace").partition("\n")[0]
    except OSError:
        return ""


def postmaster(place: Place) -> tuple[int, str]:
    """Number and status from the server's own file; 0 and "" where it is missing or unfinished."""
    try:
        lines = (place.data / "postmaster.pid").read_text(errors="replace").splitlines()
        return int(lines[0]), lines[7].strip() if len(lines) > 7 else ""
    except (OSError, ValueError, IndexError):
        return 0, ""
