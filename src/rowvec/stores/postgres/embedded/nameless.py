"""initdb for accounts without a name, such as those of containers that are run with any number for a user.

initdb looks its user up only to have a name for the first role, which rowvec gives it anyway, and so does the server
that it starts to fill the folder. They end where there is none: `docker run --user 4711` could make no database. Copies
of the two ask for the first account of the machine instead, by a function whose name has as many letters. Once the
folder is made, the server wants no name.
"""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rowvec.errors import StoreError
from rowvec.stores.postgres.embedded.binaries import LIBRARIES, Binaries

LOOKS_UP, FIRST = b"\0getpwuid\0", b"\0getpwent\0"


@contextmanager
def named(binaries: Binaries, folder: Path) -> Iterator[Binaries]:
    """Programs with which this account can make a data folder; copies of two stand in `folder` meanwhile.

    Raises:
        StoreError: this account has no name, and its programs are not such as can be helped.
    """
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        pass
    else:
        yield binaries
        return
    programs = {path.name: path.read_bytes() for path in (binaries.initdb, binaries.postgres)}
    if any(program.count(LOOKS_UP) != 1 for program in programs.values()) or not pwd.getpwall():
        raise _refusal()
    with tempfile.TemporaryDirectory(prefix="initdb-", dir=folder) as name:
        copy = Binaries(Path(name) / binaries.root.parent.name / binaries.root.name)
        copy.initdb.parent.mkdir(parents=True)
        for part in binaries.root.iterdir():
            if part.name != "bin":
                (copy.root / part.name).symlink_to(part)
        if binaries.libraries.exists():
            (Path(name) / LIBRARIES).symlink_to(binaries.libraries)
        for each, program in programs.items():
            path = copy.initdb.with_name(each)
            path.write_bytes(program.replace(LOOKS_UP, FIRST))
            path.chmod(0o700)
        try:
            yield copy
        except PermissionError as error:
            # A disk whose programs may not be run.
            raise _refusal() from error


def _refusal() -> StoreError:
    return StoreError(
        f"User {os.geteuid()} has no entry in /etc/passwd, and PostgreSQL makes no data folder without one.",
        hint="Give the container's user a name (useradd in its Dockerfile), or run as one that has; or set"
        " store.url to a server of your own.",
    )
