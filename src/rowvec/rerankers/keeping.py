"""What searches spend on a reranker, kept in the store, so that it outlives the process.

No search waits for that: a process writes at most once in EVERY seconds while it spends, and when it ends. One that is
killed loses what it spent since it wrote.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from rowvec.errors import RowvecError
from rowvec.rerankers.base import Reranker, Scored

logger = logging.getLogger("rowvec.rerank")

EVERY = 30.0
"""Seconds."""


class KeptSpending:
    """A `Reranker` around another one.

    Args:
        keep: adds US dollars to the store's sum; raises StoreError where it cannot.
    """

    def __init__(self, inner: Reranker, keep: Callable[[float], None]) -> None:
        self.inner = inner
        self.top, self.weight = inner.top, inner.weight
        self._keep = keep
        self._kept = 0.0
        self._timer: threading.Timer | None = None
        self._writing = threading.Lock()
        self._told = False

    def __repr__(self) -> str:
        return repr(self.inner)

    def scores(self, query: str, texts: Sequence[str]) -> Scored:
        found = self.inner.scores(query, texts)
        if self._timer is None and self.inner.spent > self._kept:
            # Two searches may both start one: the later one finds nothing to write.
            self._timer = threading.Timer(EVERY, self._write)
            self._timer.daemon = True
            self._timer.start()
        return found

    def warm(self) -> None:
        self.inner.warm()

    @property
    def spent(self) -> float:
        return self.inner.spent

    def close(self) -> None:
        timer = self._timer
        if timer is not None:
            timer.cancel()
        self._write()
        self.inner.close()

    def _write(self) -> None:
        with self._writing:
            self._timer = None
            owed = self.inner.spent - self._kept
            if owed <= 0:
                return
            try:
                self._keep(owed)
            except RowvecError as error:
                # The searches were answered, and a role that only reads is enough for them.
                if not self._told:
                    logger.warning("What searches spend on the reranker is not kept: %s", error)
                self._told = True
                return
            self._kept += owed
