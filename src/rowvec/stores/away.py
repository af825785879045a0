"""Parts of a store that do not answer, for searches that go on without them."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from rowvec.errors import PartUnavailable

logger = logging.getLogger("rowvec.stores")
T = TypeVar("T")

AGAIN_SECONDS = 5.0
"""A part that did not answer is left alone for so long. Then one search asks it again; the others go on without it."""


class Away:
    """Safe to use from several threads."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._until: dict[int, float] = {}
        self._changing = threading.Lock()

    def now(self) -> frozenset[int]:
        """The numbers, from 0 on, of the parts that this search leaves out."""
        now = time.monotonic()
        with self._changing:
            left_out = frozenset(part for part, until in self._until.items() if until > now)
            for part in self._until.keys() - left_out:
                # Until this one ends: a part may keep it waiting for longer than others should be let through.
                self._until[part] = math.inf
            return left_out

    def ended(self, left_out: frozenset[int]) -> None:
        """A search that left these out has ended, whatever became of it."""
        with self._changing:
            for part, until in self._until.items():
                if until == math.inf and part not in left_out:
                    self._until[part] = time.monotonic() + AGAIN_SECONDS

    def known(self) -> list[int]:
        """All that did not answer lately, in their order."""
        with self._changing:
            return sorted(self._until)

    def note(self, error: PartUnavailable) -> None:
        with self._changing:
            is_news = error.part not in self._until
            self._until[error.part] = time.monotonic() + AGAIN_SECONDS
        if is_news:
            logger.warning("%s: searches go on without part %d: %s", self._location, error.part + 1, error)

    def answered(self, without: frozenset[int]) -> None:
        """All parts but these have answered."""
        with self._changing:
            back = sorted(self._until.keys() - without)
            for part in back:
                del self._until[part]
        for part in back:
            logger.warning("%s: part %d answers again.", self._location, part + 1)


def answer_without(away: Away, ask: Callable[[frozenset[int]], T]) -> tuple[T, frozenset[int]]:
    """What `ask` answers when it leaves out the parts that do not answer, and which those are.

    Each answer is that of a whole store of the other parts: where a part is lost in the middle, all is asked again.

    Args:
        ask: called with the numbers of the parts to leave out.

    Raises:
        PartUnavailable: no part answers, or one that is left out is needed.
    """
    left_out = missing = away.now()
    try:
        while True:
            try:
                found = ask(missing)
            except PartUnavailable as error:
                if error.part in missing:
                    raise
                away.note(error)
                missing |= {error.part}
            else:
                away.answered(missing)
                return found, missing
    finally:
        away.ended(left_out)
