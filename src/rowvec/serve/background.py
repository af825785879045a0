"""How much waits for the workers, for the metrics and the status page."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from rowvec.errors import RowvecError

if TYPE_CHECKING:
    from rowvec.workers.queue import Queue

logger = logging.getLogger("rowvec.serve")

CONFIG_VARIABLE = "ROWVEC_CONFIG"
SECONDS = 10.0
"""Seconds between two questions to the broker, at least."""


class Background:
    def __init__(self) -> None:
        self._looking = threading.Lock()
        self._seen: tuple[float, Queue | None] | None = None

    @property
    def used(self) -> bool:
        """A broker is named in the config; the embedded one is not started just to look into it."""
        if not os.environ.get(CONFIG_VARIABLE):
            return False
        try:
            from rowvec.workers.settings import is_used, load_config

            return is_used(load_config())
        except (ModuleNotFoundError, RowvecError):
            return False

    def look(self, *, idle: bool = True) -> Queue | None:
        """None if the broker does not answer. Not for the event loop's thread.

        Args:
            idle: an earlier answer that nobody works is good enough.
        """
        from rowvec.workers.queue import look

        with self._looking:
            now = time.monotonic()
            known = self._seen is not None and now - self._seen[0] <= SECONDS
            if not known or not (idle or self._works()):
                try:
                    found = look()
                except RowvecError as error:
                    logger.warning("The workers' queue: %s", error.message)
                    found = None
                self._seen = (time.monotonic(), found)
            return self._seen[1] if self._seen else None

    def _works(self) -> bool:
        queue = self._seen[1] if self._seen else None
        return queue is not None and bool(queue.workers)
