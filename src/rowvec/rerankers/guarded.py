"""What all rerankers share: a search waits for `timeout` at most, loses nothing by a failure, and hears why."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress

from rowvec.errors import RowvecError
from rowvec.rerankers.base import NotAsked, Scored, Unusable
from rowvec.rerankers.breaker import FAILURES, Breaker

logger = logging.getLogger("rowvec.rerank")

SAID_EVERY = 60.0
"""Seconds."""


def failure(error: Exception) -> Unusable:
    """What went wrong in a way that nothing else says; of an error of a library only its name is shown."""
    return Unusable(f"failed: {error.message if isinstance(error, RowvecError) else type(error).__name__}")


class Guarded(ABC):
    """A `Reranker` of any kind; a subclass says how it is asked.

    Args:
        called: what messages in the log call it.
        timeout: seconds that a search waits.
    """

    def __init__(self, called: str, *, top: int, weight: float, timeout: float) -> None:
        self.top, self.weight, self.timeout = top, weight, timeout
        self.breaker = Breaker()
        self._called = called
        self._telling = threading.Lock()
        self._said = float("-inf")
        self._unsaid = 0
        self._latest = ""

    def scores(self, query: str, texts: Sequence[str]) -> Scored:
        if not self.breaker.admits():
            kept = self._kept(query, texts)
            return self._refused(NotAsked(self._resting())) if kept is None else Scored(kept)
        try:
            found = self._ask(query, texts)
        except Unusable as problem:
            return self._refused(problem)
        except Exception as error:
            # A search has its hits: whatever is wrong with the reranker must not cost them.
            return self._refused(failure(error))
        self.breaker.succeeded()
        return Scored(found)

    @abstractmethod
    def _ask(self, query: str, texts: Sequence[str]) -> list[float]:
        """
        Raises:
            Unusable: there are no scores that can be used.
        """

    def _kept(self, query: str, texts: Sequence[str]) -> list[float] | None:
        """An answer that is there already, for a search that must not ask."""
        return None

    def _late(self) -> Unusable:
        return Unusable(f"did not answer within {1000 * self.timeout:,.0f} ms")

    def _resting(self) -> str:
        wait = f"is not asked for another {self.breaker.left:,.0f} s"
        return f"{wait}, after {FAILURES} failures in a row. The last time, it {self._latest}"

    def _refused(self, problem: Unusable) -> Scored:
        said = str(problem).removesuffix(".")
        if not isinstance(problem, NotAsked):
            self._latest = said
            self.breaker.failed()
        self._tell(said)
        return Scored(None, f"The reranker {said}.")

    def _tell(self, said: str) -> None:
        now = time.monotonic()
        with self._telling:
            if now - self._said < SAID_EVERY:
                self._unsaid += 1
                return
            self._said, before, self._unsaid = now, self._unsaid, 0
        more = f" {before:,} searches before this one kept theirs too." if before else ""
        with suppress(Exception):
            logger.warning("The reranker %s %s. The search keeps the order it had.%s", self._called, said, more)
