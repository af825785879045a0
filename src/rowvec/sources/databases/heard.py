"""What a connection that listens has heard of changed rows, until somebody asks for it."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import Any

from rowvec.errors import SourceUnavailable

KEYS_WAITING = 10_000
"""Up to this many keys that nobody asked for yet are kept; more of them count as many."""


@dataclass(slots=True)
class Changed:
    """What was heard: rows by key, or that there are too many to name."""

    keys: set[Any] = field(default_factory=set)
    many: bool = False

    def add(self, payload: str) -> None:
        try:
            said = json.loads(payload)
            self.keys.update(said.get("keys", ()))
            self.many |= bool(said.get("many"))
        except (ValueError, AttributeError, TypeError):
            # Somebody else speaks on this channel: what is meant has to be found out by looking.
            self.many = True
        if len(self.keys) > KEYS_WAITING:
            self.keys.clear()
            self.many = True

    def __bool__(self) -> bool:
        return self.many or bool(self.keys)


class Heard:
    """What one connection has heard, gathered by a thread so that the server never waits for us to listen."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._changed = Changed()
        self._lost: SourceUnavailable | None = None

    def add(self, payload: str) -> None:
        with self._news:
            self._changed.add(payload)
            self._news.notify()

    def lose(self, error: SourceUnavailable) -> None:
        with self._news:
            self._lost = error
            self._news.notify()

    def take(self, seconds: float) -> Changed:
        """What was heard since the last time; waits for it so long, and may then be empty.

        Raises:
            SourceUnavailable: the connection is lost, and with it what was said since.
        """
        with self._news:
            self._news.wait_for(lambda: self._changed or self._lost, seconds)
            if self._lost is not None:
                raise self._lost
            changed, self._changed = self._changed, Changed()
            return changed
