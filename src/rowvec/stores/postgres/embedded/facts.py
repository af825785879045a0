"""What there is to say about an embedded server: for `rowvec check` and `rowvec embedded`."""

from __future__ import annotations

import datetime as dt
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rowvec.stores.postgres.embedded import binaries, folder, locks, process
from rowvec.stores.postgres.embedded.folder import Place


@dataclass(frozen=True)
class Facts:
    folder: Path
    version: str
    size: int
    since: str | None
    """In local time; None where it does not run."""
    users: list[str]
    """Processes, by number and command; those of other containers cannot be seen."""
    process: int | None = None


def describe(state: Path) -> Facts:
    """The server whose data is in `state`/postgres. Nothing is started or changed."""
    place = Place(state.absolute())
    known = folder.read_facts(place)
    runs = locks.is_held(place.server)
    users = [
        f"{number} ({process.command(number)})"
        for number in (process.holders(place.users) if runs else [])
        if number != known.get("supervisor")
    ]
    return Facts(
        place.data,
        str(known.get("version") or binaries.find().version()),
        _size(place.data),
        _since(place) if runs else None,
        users,
        folder.postmaster(place)[0] or None if runs else None,
    )


def _since(place: Place) -> str | None:
    """From the server's own file: its supervisor may have started it again."""
    try:
        seconds = int((place.data / "postmaster.pid").read_text().splitlines()[2])
    except (OSError, ValueError, IndexError):
        return None
    return dt.datetime.fromtimestamp(seconds, dt.UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _size(data: Path) -> int:
    total = 0
    for at, _, files in os.walk(data):
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(at, name)).st_size
    return total
