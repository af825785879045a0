"""What was made of an object, kept for as long as the object is asked about."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Made = TypeVar("Made")
From = TypeVar("From")

MOST = 100
"""Objects: those asked about last. A filter of 1,000 values takes 140 kB with what is made of it."""


class KeptByIdentity(Generic[From, Made]):
    """Makes something of an object that never changes, once. Safe to use from several threads.

    It goes by which object it is, and not by what equals it: in Python 1 equals 1.0 and True, in a database they may be
    three different values.

    Args:
        make: called without a lock, so two threads may make the same thing at once.
    """

    def __init__(self, make: Callable[[From], Made], most: int = MOST) -> None:
        self._make, self._most = make, most
        # The object is kept too: another one cannot take its identity.
        self._known: OrderedDict[int, tuple[From, Made]] = OrderedDict()
        self._changing = threading.Lock()

    def of(self, one: From) -> Made:
        """Raises what `make` raises, and keeps nothing then."""
        known = self._known.get(id(one))
        made = self._make(one) if known is None else known[1]
        with self._changing:
            self._known[id(one)] = one, made
            self._known.move_to_end(id(one))
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        return made
