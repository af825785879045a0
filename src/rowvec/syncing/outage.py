"""A service that gives no answer: when it is asked again, when it is given up, and whether one text is to blame.

            a batch without an answer                   an answer, to whatever
    UP ─────────────────────────────▶ DOWN ──────────────────────────────────▶ UP
                                      │  ▲
      a pause, then the batch that    │  │  no answer again; each pause is twice as long
      waited longest is sent, alone   ▼  │  as the one before, 10 s at most
                                     TRYING ─────▶ the error ends the run, when `patience` is over

No row fails for that: none was refused. But a service can be well and fall over one text, which must not hold up
the others for ever, nor take the others of its batch with it. What tells the two apart is an answer to something else:

      a batch without an answer
         │ is sent again, after the others; again no answer
         ▼
      accused: it waits
         │
         ▼ an answer to another batch, or to a plain word that is sent to learn whether the service is well
      blamed: halved, and each half that gets no answer in its turn, until the text stands alone
         │
         ▼ blamed BLAMED times alone
      the row fails

So a text that a service falls over is sent, beside the tries of the embedder itself, at most 2 + log2(batch) times in
its batches and BLAMED times alone; each of these calls costs at most one plain word more.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from rowvec.embedders.base import PROBE
from rowvec.errors import EmbedderUnavailable
from rowvec.syncing.batches import Limits
from rowvec.types import Change

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
BLAMED = 3
"""A text alone that got no answer so often, each time with an answer to something else after it, fails."""
AGAIN = "It is tried again."
WORD_EVERY = 4
"""Of the calls without an answer, one after the other, each fourth is a plain word: it is embedded for nothing, and
tells whether it is the service or the texts."""
TOLD = 3
"""Such calls after which the outage is said: before, it may be a text."""
SPLITS = 2
"""Batches that passed in halves and not as a whole before that is taken for a limit of the service."""


@dataclass(slots=True)
class Split:
    """A batch that was halved because it got no answer."""

    texts: list[str]
    halves: list[list[str]]
    passed: int = 0


@dataclass(slots=True)
class Chunk:
    """Texts for one call of the embedder, one for each change; PROBE where there is no change."""

    changes: list[Change]
    tries: int = 0
    """Without an answer."""
    blamed: int = 0
    """Of these, how many with an answer to something else since."""
    answers: int | None = None
    """That there had been when it got none last."""
    part_of: Split | None = None
    problem: EmbedderUnavailable | None = None
    """What was said instead of the last answer."""

    @property
    def texts(self) -> list[str]:
        return [change.document.text for change in self.changes] or [PROBE]

    @property
    def suspect(self) -> bool:
        """It, or what it is a part of, has been left without an answer."""
        return self.tries > 0 or self.part_of is not None


class Outage:
    """What is known of a service by its answers.

    Args:
        patience: seconds without any answer that are waited for; `math.inf` waits for ever.
        tell: called once for each outage, with a whole sentence.
        limits: what the service takes at once, where its silence shows that.
    """

    def __init__(self, patience: float, tell: Callable[[str], None], limits: Limits) -> None:
        self._patience, self._tell, self._limits = patience, tell, limits
        self._answers = 0
        self._since: float | None = None
        self._silences = 0
        """One after the other."""
        self._resume_at = -math.inf
        self._pause = FIRST_PAUSE
        self._accused: list[Chunk] = []
        self._splits = 0
        self.failed: list[Chunk] = []
        """Of one text each, which is to blame; whoever takes them empties it."""

    @property
    def down(self) -> bool:
        """The last call got no answer."""
        return self._since is not None

    @property
    def waiting(self) -> bool:
        """There are texts of which it is not known whether they or the service are to blame."""
        return bool(self._accused)

    def wants_a_word(self, *, in_line: bool) -> bool:
        """
        Args:
            in_line: there is something else to send.
        """
        return self.down and (self._silences % WORD_EVERY == WORD_EVERY - 1 or (self.waiting and not in_line))

    def forget(self) -> None:
        """What waits for a word is not sent any more."""
        self._accused.clear()

    def answered(self, chunk: Chunk, *, whole: bool) -> list[Chunk]:
        """What to send again, now that it is known that the service is well.

        Args:
            whole: each text of the chunk got its vector.
        """
        self._answers += 1
        self._since, self._silences, self._resume_at, self._pause = None, 0, -math.inf, FIRST_PAUSE
        if whole and chunk.part_of is not None and chunk.changes:
            self._learn(chunk.part_of)
        accused, self._accused = self._accused, []
        return [part for each in accused for part in self._blame(each)]

    def unanswered(self, chunk: Chunk, error: EmbedderUnavailable, *, stopped: bool) -> list[Chunk]:
        """What to send instead of a chunk that got no answer, after the others.

        Raises:
            EmbedderUnavailable: the patience is over.
        """
        others_answered = chunk.answers is not None and chunk.answers < self._answers
        suspect = chunk.suspect
        chunk.tries += 1
        chunk.answers = self._answers
        if chunk.changes and others_answered:
            return self._blame(chunk)
        if not stopped:
            self._silent(error, at_once=suspect and bool(chunk.changes))
        if not chunk.changes:
            return []
        if suspect:
            self._accused.append(chunk)
            return []
        return [chunk]

    def _silent(self, error: EmbedderUnavailable, *, at_once: bool) -> None:
        now = time.monotonic()
        self._silences += 1
        if self._since is None:
            self._since = now
        if now - self._since >= self._patience:
            raise error
        if self._silences == TOLD:
            self._tell(f"{error.message} {AGAIN}")
        if now >= self._resume_at and not at_once:
            self._resume_at = now + self._pause * random.uniform(0.5, 1.0)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def seconds_left(self) -> float:
        """Of the pause; zero or less when it is over."""
        return self._resume_at - time.monotonic()

    def may_send(self, in_flight: int) -> bool:
        return self._since is None or (not in_flight and self.seconds_left() <= 0)

    def _blame(self, chunk: Chunk) -> list[Chunk]:
        """The service is well, and this chunk got no answer: what to send instead of it, the last of them first."""
        chunk.blamed += 1
        chunk.answers = self._answers
        if len(chunk.changes) > 1:
            middle = len(chunk.changes) // 2
            parts = (chunk.changes[:middle], chunk.changes[middle:])
            split = Split(chunk.texts, [[change.document.text for change in part] for part in parts])
            return [Chunk(part, answers=self._answers, part_of=split) for part in parts]
        if chunk.blamed < BLAMED:
            return [chunk]
        self.failed.append(chunk)
        return []

    def _learn(self, split: Split) -> None:
        split.passed += 1
        if split.passed == len(split.halves):
            self._splits += 1
            if self._splits >= SPLITS:
                self._limits.learn(split.texts, split.halves)
