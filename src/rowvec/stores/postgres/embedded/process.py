"""Whether a process is what a file says it is: numbers are given again, so a number alone is never believed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def serves(pid: int, data: Path) -> bool:
    """Whether this process is a PostgreSQL that works in this very folder."""
    if os.path.isdir("/proc/self"):
        try:
            here, there = os.stat(data), os.stat(f"/proc/{pid}/cwd")
            program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        except OSError:
            return False
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) and program.startswith("postgres")
    command = subprocess.run(  # noqa: S603
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return "postgres" in command and f"-D {data}" in command


def interrupt(pid: int, data: Path) -> bool:
    """Ask the server of this folder for a fast shutdown; False when the number is no longer its own."""
    return tell(pid, data, signal.SIGINT)


def tell(pid: int, data: Path, what: signal.Signals) -> bool:
    """Send the server of this folder a signal; False when the number is no longer its own."""
    fd = _handle(pid)
    try:
        if not serves(pid, data):
            return False
        with suppress(ProcessLookupError):
            if fd is None:
                os.kill(pid, what)
            else:
                signal.pidfd_send_signal(fd, what)
        return True
    finally:
        if fd is not None:
            os.close(fd)


def _handle(pid: int) -> int | None:
    """Taken first: what is looked at and what is signalled are then one process, whoever gets the number later.

    None on systems that have no such handles.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            return os.pidfd_open(pid)
    return None


def end_orphans(data: Path) -> None:
    """Ask what is left of a killed server to end: such processes notice its death only when their work is done."""
    if not os.path.isdir("/proc/self"):
        return
    for name in os.listdir("/proc"):
        if name.isdecimal() and serves(int(name), data):
            with suppress(OSError, ValueError, IndexError):
                title = Path(f"/proc/{name}/cmdline").read_bytes()
                parent = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
                # The server itself was called with options; its children say "postgres: what they do".
                if title.startswith(b"postgres: ") and not serves(parent, data):
                    os.kill(int(name), signal.SIGTERM)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def command(pid: int) -> str:
    """How a process was called, for people to know it by."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        return " ".join(os.path.basename(os.fsdecode(word)) for word in words[:4])
    return ""


def holders(lock: Path) -> list[int]:
    """Processes that hold a lock on a file, as far as the system tells: Linux does, for those of this namespace."""
    try:
        wanted = lock.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    found = set()
    for line in lines:
        words = line.split()
        # "1: FLOCK ADVISORY READ 4711 fe:00:8123 0 EOF"; one that waits has an arrow before its kind.
        if len(words) == 8 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(wanted) and int(words[4]) > 0:
            found.add(int(words[4]))
    return sorted(found)
