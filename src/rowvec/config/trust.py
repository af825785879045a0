"""Whose config is trusted: it names databases, decides what is paid for, and may run code."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from rowvec.errors import ConfigError

OTHERS_WRITE, OTHERS_READ, OTHERS_ENTER = stat.S_IWOTH, stat.S_IROTH, stat.S_IXOTH


def owner(file: Path) -> int | None:
    """The number of the user whose file it is; None if the file does not exist."""
    try:
        return file.stat().st_uid
    except OSError:
        return None


def check_ours(file: Path, also: Iterable[int] = ()) -> None:
    """
    Args:
        also: users who are trusted besides us, root, and whoever called sudo.

    Raises:
        ConfigError: another user could have written `file`.
    """
    try:
        found, folder = file.stat(), file.parent.stat()
    except OSError:
        return  # Whoever reads it says why it cannot be read.
    us = os.geteuid()
    trusted = {us, 0, *_caller(us), *also}
    if found.st_uid not in trusted:
        raise ConfigError(
            f"{file} belongs to another user (uid {found.st_uid}), who could make rowvec read, pay and run anything.",
            hint=f"If you trust that user: --config {file}." if file.suffix == ".toml" else "Make a file of your own.",
        )
    anybody = found.st_mode & OTHERS_WRITE
    if anybody or (folder.st_mode & OTHERS_WRITE and found.st_uid not in trusted - {0} | {us}):
        what = "Every user may write to it" if anybody else f"Every user may write into {file.parent}"
        fix = f"chmod o-w {file}" if anybody else f"chmod o-w {file.parent}"
        raise ConfigError(f"{file} is not trusted. {what}.", hint=f"Run: {fix}")


def _caller(us: int) -> set[int]:
    """Who called sudo has shown that root's rights are theirs."""
    text = os.environ.get("SUDO_UID", "")
    return {int(text)} if us == 0 and text.isdigit() else set()


def is_open_to_all(file: Path) -> bool:
    """Every user of this machine can read `file`."""
    try:
        return bool(file.stat().st_mode & OTHERS_READ) and all(
            folder.stat().st_mode & OTHERS_ENTER for folder in file.absolute().parents
        )
    except OSError:
        return False
