"""The URL of an embedded server. Its socket is in its data folder, however long or odd the path of that is."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from rowvec.errors import StoreError
from rowvec.stores.postgres.embedded.cluster import USER
from rowvec.stores.postgres.embedded.folder import Place

LONGEST = 100
"""Bytes of a socket's path: systems take 103 or 107."""


def url(place: Place) -> str:
    """
    Raises:
        StoreError: the path is too long, and there is no private folder for a short name of it.
    """
    state = place.state if _is_plain(place) else link(place)
    host, password = (quote(os.fsencode(path), safe="") for path in (state / "postgres", state / "embedded/password"))
    # The empty password keeps PGPASSWORD, which is for another server, from being taken for the file's.
    return f"postgresql://{USER}@/postgres?host={host}&port=5432&passfile={password}&password="


def socket_path(place: Place) -> str:
    return str(place.socket if _is_plain(place) else link(place) / "postgres" / place.socket.name)


def _is_plain(place: Place) -> bool:
    """Short enough for the system; and libpq takes a comma for two hosts, and text that is not UTF-8 not at all."""
    path = str(place.socket)
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        return False
    return length <= LONGEST and "," not in path and path.isprintable()


def link(place: Place) -> Path:
    """A short name for the state folder, in a folder that only we can enter."""
    name = hashlib.sha256(os.fsencode(place.state)).hexdigest()[:16]
    for folder in _private_folders():
        path = folder / name
        if len(os.fsencode(path)) + len("/postgres/.s.PGSQL.5432") > LONGEST:
            continue
        with suppress(OSError):
            if os.path.islink(path) and os.readlink(path) == str(place.state):
                return path
            fresh = folder / f"{name}.{os.getpid()}"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(place.state)
            fresh.replace(path)
            return path
    raise StoreError(
        f"The path {place.socket} is too long for a socket, and no private folder was found for a shorter one.",
        hint="Set XDG_RUNTIME_DIR to a folder that only you can enter, or move the project to a shorter path.",
    )


def unlink(place: Place) -> None:
    if not _is_plain(place):
        with suppress(OSError, StoreError):
            link(place).unlink()


def _private_folders() -> Iterator[Path]:
    """Where short names may stand: folders of ours that nobody else can enter. Those that are not are left alone."""
    bases = [os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("XDG_CACHE_HOME"), os.path.expanduser("~/.cache")]
    for base in bases:
        if base and os.path.isabs(base) and os.path.isdir(base):
            yield from _private(Path(base) / "rowvec")
    for base in (os.environ.get("TMPDIR"), "/tmp", "/var/tmp"):  # noqa: S108 (only a 0700 folder of ours)
        if base and os.path.isdir(base):
            yield from _private(Path(base) / f"rowvec-{os.geteuid()}")


def _private(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        folder.mkdir(mode=0o700)
    try:
        found = os.lstat(folder)
    except OSError:
        return
    # A link, or a folder that another user made under this name, is not believed.
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077:
        yield folder
