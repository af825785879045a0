"""Memory that a search has freed serves the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from rowvec.support.memory import keep_freed

if "keep" in sys.argv:
    keep_freed()
def work():
    arrays = [np.ones(1_000_000) for _ in range(3)]
    return sum(map(np.sum, arrays))
for _ in range(3):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments: str, **variables: str) -> int:
    """Pages that the system gave for the same work again and again."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables or None)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="its allocator only")
def test_freed_memory_is_kept_for_the_next_search() -> None:
    kept = faults("keep")
    assert kept < 1_000
    assert faults() > 10 * kept
    assert faults("keep", MALLOC_TRIM_THRESHOLD_="131072") > 10 * kept, "what the user has set stays"
