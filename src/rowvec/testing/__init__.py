"""Real implementations of the three protocols that need no database and no model, for tests of whatever uses them.

MemorySource    rows in a dictionary
MemoryStore     vectors, failures, runs and a lock in memory, with the guarantees of the real stores
HashEmbedder    the same text always gives the same vector; counts what it is asked, fails on request
"""

from __future__ import annotations

from rowvec.testing.embedder import HashEmbedder, with_nan, with_one_missing, with_zero
from rowvec.testing.source import MemorySource
from rowvec.testing.store import MemoryStore

__all__ = ["HashEmbedder", "MemorySource", "MemoryStore", "with_nan", "with_one_missing", "with_zero"]
