"""Settings that depend on the machine, for a server whose folder says nothing else."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from rowvec.support.memory import may_reserve, memory_bytes

SHARE = 4
"""Part of the memory, as PostgreSQL's manual advises: a model, other programs and the files of tables need some too."""
DEFAULT = "128MB"
"""What initdb writes into the file of settings where the machine has it."""

_SHARED_BUFFERS = re.compile(r"^\s*shared_buffers\s*=?\s*'?([^'#\n]*?)'?\s*(?:#.*)?$", re.MULTILINE | re.IGNORECASE)


def settings(data: Path) -> dict[str, str]:
    """A vector index is read page by page, all over: what is not in the server's own buffers costs a call of the system
    for each. So they are as large as the data when the server starts, up to a share of the machine's memory. No further
    limit: a gigabyte that is never read costs 35 MB.
    """
    megabytes = min(memory_bytes() // SHARE // 2**20, _held(data) // 2**20)
    if megabytes <= int(DEFAULT.removesuffix("MB")) or not may_reserve() or _chosen(data) != [DEFAULT]:
        return {}
    return {"shared_buffers": f"{megabytes}MB"}


def _held(data: Path) -> int:
    """Bytes of all tables and indexes."""
    found = 0
    for folder, _, files in os.walk(data / "base"):
        for name in files:
            # A server that crashed may have left files which somebody removes meanwhile.
            with suppress(OSError):
                found += os.stat(os.path.join(folder, name)).st_size
    return found


def _chosen(data: Path) -> list[str]:
    """Every value that the files of settings give `shared_buffers`; initdb writes one."""
    found: list[str] = []
    for name in ("postgresql.conf", "postgresql.auto.conf"):
        try:
            found += _SHARED_BUFFERS.findall((data / name).read_text(errors="replace"))
        except OSError:
            continue
    return [each.strip() for each in found]
