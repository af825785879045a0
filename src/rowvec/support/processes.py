"""Whether whoever holds a lock still lives."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path


def is_gone(pid: int) -> bool:
    """No process of this machine has that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # It is another user's.
    return False


def place() -> str:
    """Where a process number means something: this boot of this machine, and on Linux this set of processes.

    Neither the name of the host nor that of the set tells machines apart: many are called `vm` or `localhost`, and the
    first set of processes has the same number everywhere. Machines that were copied have one machine id too.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        processes = os.readlink("/proc/self/ns/pid")
    except OSError:
        boot, processes = f"{uuid.getnode():012x}", ""
    return f"{socket.gethostname()} {boot} {processes}"
