"""A service that gives no answer: when it is asked again, when it is given up, and whether one text is to blame.

            a batch without an answer                   an answer, to whatever
    UP ─────────────────────────────▶ DOWN ──────────────────────────────────▶ UP
                                      │  ▲
      a pause, then the batch that    │  │  no answer again; each pause is twice as long
      waited longest is sent, alone   ▼  │  as the one before, 10 s at most
                                     TRYING ─────▶ the error ends the run, when `patience` is over

No row fails for that: none was refused. But a service can be well and fall over one text, which must not hold up
the others for ever. What tells the two apart is an answer to something else in between. A batch that stays without an
answer after one is halved, until the text stands alone; that fails when it stays without an answer once more. Where
there is nothing else to send, a short text of rowvec's own is.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from rowvec.errors import EmbedderUnavailable
from rowvec.types import Change

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
BLAMED = 2
"""A text alone that got no answer so often, each time after others had got one, fails."""
AGAIN = "It is tried again."
PROBE = "rowvec"
"""Sent where nothing else is left to send."""
PROBE_AFTER = 3
"""Tries of a text: only then, since a probe is embedded for nothing."""


@dataclass(slots=True)
class Chunk:
    """Texts for one call of the embedder, one for each change; PROBE where there is no change."""

    changes: list[Change]
    tries: int = 0
    """Without an answer."""
    blamed: int = 0
    """Of these, how many after others had got an answer."""
    answers: int | None = None
    """That there had been when it got none last."""

    @property
    def texts(self) -> list[str]:
        return [change.document.text for change in self.changes] or [PROBE]


class Outage:
    """What is known of a service by its answers.

    Args:
        patience: seconds without any answer that are waited for; `math.inf` waits for ever.
        tell: called once for each outage, with a whole sentence.
    """

    def __init__(self, patience: float, tell: Callable[[str], None]) -> None:
        self._patience, self._tell = patience, tell
        self._answers = 0
        self._since: float | None = None
        self._resume_at = -math.inf
        self._pause = FIRST_PAUSE

    def answered(self) -> None:
        self._answers += 1
        self._since, self._resume_at, self._pause = None, -math.inf, FIRST_PAUSE

    def silent(self, error: EmbedderUnavailable) -> None:
        """Raises the error when the patience is over."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
            if self._patience > 0:
                self._tell(f"{error.message} {AGAIN}")
        if now - self._since >= self._patience:
            raise error
        if now >= self._resume_at:
            self._resume_at = now + self._pause * random.uniform(0.5, 1.0)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def seconds_left(self) -> float:
        """Of the pause; zero or less when it is over."""
        return self._resume_at - time.monotonic()

    def may_send(self, in_flight: int) -> bool:
        return self._since is None or (not in_flight and self.seconds_left() <= 0)

    def instead_of(self, chunk: Chunk, *, alone: bool) -> list[Chunk]:
        """What to send for a chunk that got no answer, the last of them first; nothing where its text is to blame.

        Args:
            alone: there is nothing else to send.
        """
        chunk.tries += 1
        chunk.blamed += chunk.answers is not None and chunk.answers < self._answers
        chunk.answers = self._answers
        if len(chunk.changes) > 1 and (chunk.blamed or alone):
            middle = len(chunk.changes) // 2
            return [Chunk(half, answers=self._answers) for half in (chunk.changes[:middle], chunk.changes[middle:])]
        if not chunk.changes or chunk.blamed >= BLAMED:
            return []
        return [chunk, Chunk([])] if alone and chunk.tries >= PROBE_AFTER else [chunk]
