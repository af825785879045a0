"""The generation that searches see."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from rowvec.embedders.base import Embedder
from rowvec.searcher.spelling import Speller
from rowvec.stores.base import RowsHandle
from rowvec.types import Fingerprint

BESIDE = 16
"""Keyword halves that run beside their semantic halves at once; further ones run after them."""


@dataclass(frozen=True, slots=True)
class Live:
    version: str
    embedder: Embedder
    rows: RowsHandle
    speller: Speller


@dataclass(slots=True)
class Known:
    """What a searcher knows of its pipeline, and shares with those that see a part of the rows."""

    live: Live | None = None
    formers: dict[Fingerprint, Embedder] = field(default_factory=dict)
    looking: threading.Lock = field(default_factory=threading.Lock)
    without_parts: dict[frozenset[int], Known] = field(default_factory=dict)
    """What is known of the store without some of its parts."""
    beside: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(BESIDE, thread_name_prefix="rowvec-keyword")
    )

    def without(self, missing: frozenset[int]) -> Known:
        # Without the lock: whoever holds it may be waiting for a part that does not answer.
        return self.without_parts.setdefault(missing, Known(formers=self.formers, beside=self.beside))
