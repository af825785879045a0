"""Names that PostgreSQL would cut."""

from __future__ import annotations

import hashlib

LONGEST = 63
"""Bytes of a name; PostgreSQL cuts what is longer."""


def clipped(name: str, size: int) -> str:
    """Up to `size` bytes of a name, cut between two characters."""
    return name.encode()[:size].decode(errors="ignore")


def shortened(name: str, suffix: str = "") -> str:
    """`name` and `suffix`, with a hash in place of the name's end where both together are too long."""
    if len((name + suffix).encode()) <= LONGEST:
        return name + suffix
    end = f"_{hashlib.sha256(name.encode()).hexdigest()[:8]}{suffix}"
    return clipped(name, LONGEST - len(end.encode())) + end
