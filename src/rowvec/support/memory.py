"""How much memory there is for this process, and what becomes of memory that it has freed."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path, PurePosixPath

_LIMITS = ("/sys/fs/cgroup{}/memory.max", "/sys/fs/cgroup/memory{}/memory.limit_in_bytes")
"""Of a container or a service, as cgroups of version 2 and 1 say it."""
_GROUPS = Path("/proc/self/cgroup")
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
KEEPING_FREED = {"MALLOC_TRIM_THRESHOLD_": str(2**25), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
"""The environment of a process whose C library, glibc, shall keep up to 32 MB of freed memory in each arena."""
_NUMBERS = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_MMAP_THRESHOLD_": -3}
"""Of these settings, for `mallopt`."""


def memory_bytes() -> int:
    """That of the machine, or of the container or service where that has less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits()])


def may_reserve() -> bool:
    """Memory that is asked for and not used costs nothing: neither the process nor the system counts it."""
    import resource

    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return False
    try:
        return _OVERCOMMIT.read_text().strip() != "2"
    except OSError:
        return True


def _limits() -> list[int]:
    groups = {PurePosixPath("/")}
    with suppress(OSError):
        for line in _GROUPS.read_text().splitlines():
            own = PurePosixPath(line.rpartition(":")[2])
            # What a group may have, those within it share.
            groups.update((own, *own.parents))
    found = []
    for path in (Path(limit.format(str(group).rstrip("/"))) for limit in _LIMITS for group in groups):
        # "max" where there is none.
        with suppress(OSError, ValueError):
            found.append(int(path.read_text()))
    return [each for each in found if each > 0]


def keep_freed() -> None:
    """Let this process keep freed memory, as `KEEPING_FREED` says.

    A keyword search of a million rows takes and frees some 20 MB. The system gives them page by page, which takes
    longer than the arithmetic on them. Does nothing where the C library is not glibc, or its settings are the user's.
    """
    if sys.platform != "linux" or os.environ.keys() & {*KEEPING_FREED, "GLIBC_TUNABLES"}:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, number in _NUMBERS.items():
            mallopt(number, int(KEEPING_FREED[name]))
