"""Embedding one batch of texts so that a bad text costs itself and nothing else."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from rowvec.embedders.base import PROBE, Embedder, TriesAgain
from rowvec.errors import EmbedderError, EmbedderUnavailable, TextRefused
from rowvec.support.killpoints import Step, reached
from rowvec.support.stretches import stretches
from rowvec.support.tracing import span
from rowvec.types import Embedded, TextVector

T = TypeVar("T")

REFUSED_IN_A_ROW = 3
"""Texts refused alone, one after the other, after which that is asked; twice as many after each good answer."""


@dataclass(slots=True)
class Answer:
    """What became of the texts of one batch: a vector or an error each, in their order."""

    vectors: list[TextVector | EmbedderError] = field(default_factory=list)
    tokens: int = 0
    cost: float = 0.0
    estimated: bool = False
    problem: EmbedderError | None = None
    """What ended it before the last text: there are fewer vectors than texts then."""


def of_like_length(embedder: Embedder, items: Iterable[T], length: Callable[[T], int]) -> list[list[T]]:
    """Items of like length together, as many as one call of the embedder should get, longest last.

    Args:
        length: characters of an item's text.
    """
    ordered = sorted(items, key=length)
    # Four characters a token is near enough to share out work; the embedder cuts to its real limits.
    tokens = (length(item) // 4 + 1 for item in ordered)
    return [ordered[part] for part in stretches(tokens, embedder.chunk_texts, embedder.chunk_tokens)]


@dataclass(slots=True)
class Limits:
    """What a service takes at once, as its refusals have shown; shared by the batches of a run, each in its thread.

    A batch that is refused while both its halves pass was too large: for its number of texts, if none of as many has
    passed yet, else for its characters.
    """

    texts: int | None = None
    characters: int | None = None
    passed_texts: int = 0
    """The most that have passed at once."""
    passed_characters: int = 0
    refused: int = 0
    """Texts that were refused alone, one after the other."""
    trusted: int = REFUSED_IN_A_ROW
    """This many are believed before the service is asked for a plain word."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def passed(self, texts: Sequence[str]) -> None:
        with self.lock:
            self.passed_texts = max(self.passed_texts, len(texts))
            self.passed_characters = max(self.passed_characters, sum(map(len, texts)))
            self.refused = 0

    def learn(self, whole: Sequence[str], halves: Sequence[Sequence[str]]) -> None:
        """What was refused whole passed in halves. Never more than was learned before, by batches sent meanwhile."""
        with self.lock:
            if len(whole) > self.passed_texts:
                self.texts = min(self.texts or sys.maxsize, max(map(len, halves)))
            elif (characters := sum(map(len, whole))) > self.passed_characters:
                most = max(sum(map(len, half)) for half in halves)
                self.characters = min(self.characters or characters, most)

    def suspicious(self) -> bool:
        """One more text was refused alone, and after enough of them in a row it may not be the texts."""
        with self.lock:
            self.refused += 1
            return self.refused >= self.trusted

    def believed(self) -> None:
        """It was the texts: the service takes a plain word."""
        with self.lock:
            self.refused, self.trusted = 0, 2 * self.trusted

    def parts(self, texts: Sequence[str]) -> list[Sequence[str]]:
        most_texts, most_characters = self.texts or len(texts), self.characters or sys.maxsize
        return [texts[part] for part in stretches(map(len, texts), most_texts, most_characters)]


def embed_batch(
    embedder: Embedder,
    texts: Sequence[str],
    answer: Answer | None = None,
    *,
    limits: Limits | None = None,
    once: bool = False,
) -> Answer:
    """Embed `texts`; a batch refused because of a text in it is halved until that text stands alone.

    Args:
        answer: filled from the first text on, and gone on with where it holds some already: what was paid for before
            an error is not lost with it.
        limits: what is known of the service, and learned.
        once: a service that gives no answer is not asked again.

    Raises:
        EmbedderUnavailable: the service does not answer, for any text.
        EmbedderError: nothing can be embedded until something is fixed.
    """
    answer = answer or Answer()
    embed = embedder.embed_once if once and isinstance(embedder, TriesAgain) else embedder.embed
    _Halving(embed, embedder.fingerprint.dimension, answer, limits or Limits()).embed(texts[len(answer.vectors) :])
    return answer


def answer_to(embedder: Embedder, texts: Sequence[str], limits: Limits, *, once: bool) -> Answer:
    """The same in a thread of a sync: an error that ends the batch is a part of its answer."""
    reached(Step.BEFORE_EMBED)
    answer = Answer()
    try:
        with span("rowvec.embed", {"rowvec.texts": len(texts)}):
            embed_batch(embedder, texts, answer, limits=limits, once=once)
    except EmbedderError as error:
        # What was answered before it is kept.
        answer.problem = error
    if answer.vectors:
        reached(Step.AFTER_EMBED)
    return answer


@dataclass(slots=True)
class _Halving:
    """One batch, and what it became."""

    send: Callable[[Sequence[str]], Embedded]
    dimension: int
    answer: Answer
    limits: Limits

    def embed(self, texts: Sequence[str]) -> bool:
        """Returns whether all of them passed at once."""
        parts = self.limits.parts(texts)
        if len(parts) > 1:
            for part in parts:
                self.embed(part)
            return False
        try:
            result = self.send(texts)
            _check_shape(result, len(texts), self.dimension)
        except TextRefused as error:
            if len(texts) == 1:
                self._refused(error)
                return False
            middle = len(texts) // 2
            halves = (texts[:middle], texts[middle:])
            passed = [self.embed(half) for half in halves]
            if all(passed):
                self.limits.learn(texts, halves)
            return False
        self._count(result)
        self.answer.vectors += _checked(result)
        self.limits.passed(texts)
        return True

    def _refused(self, error: TextRefused) -> None:
        """A text that is refused alone; many in a row may mean that everything is refused by now."""
        vectors = self.answer.vectors
        vectors.append(error)
        if not self.limits.suspicious():
            return
        try:
            self._count(self.send([PROBE]))
        except EmbedderError as problem:
            while vectors and isinstance(vectors[-1], TextRefused):
                vectors.pop()
            if not isinstance(problem, TextRefused):
                raise
            raise EmbedderError(
                f"{problem.message} That is what it says of a plain word too: it refuses every text now.",
                hint="Is the budget or the key used up? What was embedded is kept; run it again when that is settled.",
            ) from error
        self.limits.believed()

    def _count(self, result: Embedded) -> None:
        self.answer.tokens += result.tokens
        self.answer.cost += result.cost
        self.answer.estimated |= result.estimated


def _check_shape(result: Embedded, texts: int, dimension: int) -> None:
    shape = result.vectors.shape
    if shape != (texts, dimension):
        raise EmbedderUnavailable(
            f"The embedder answered with vectors of shape {shape} where {(texts, dimension)} was due.",
            hint="Check that embedder.model and embedder.dimensions are what the service serves.",
        )


def _checked(result: Embedded) -> list[TextVector | EmbedderError]:
    """What became of each text. All vectors are looked at together: one by one that took ten times as long."""
    vectors, truncated = result.vectors, set(result.truncated)
    checked: list[TextVector | EmbedderError] = [
        TextVector(vector, place in truncated) for place, vector in enumerate(vectors)
    ]
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        # As databases compute them.
        squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float32)
    for place in np.flatnonzero(~((squares >= np.finfo(np.float32).tiny) & (squares < np.inf))).tolist():
        checked[place] = EmbedderError(
            "The embedder gave a vector for this text that is too long or too short to be compared."
        )
    for place in np.flatnonzero(~vectors.any(axis=1)).tolist():
        checked[place] = EmbedderError("The embedder gave a vector of zeros for this text.")
    for place in np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
        checked[place] = EmbedderError("The embedder gave a vector with NaN or infinite numbers for this text.")
    for place, problem in result.problems.items():
        checked[place] = problem if isinstance(problem, EmbedderError) else EmbedderError(str(problem))
    return checked
