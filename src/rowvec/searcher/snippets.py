"""The parts of a hit's text that answer a query, with the query's words marked: offsets, never markup.

A row that has passages shows the best of them, as they were embedded. A row of one passage shows all of its text if
that is short, or else the stretch of it that holds most of the query's words.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from rowvec.documents.graphemes import near_boundary
from rowvec.types import FoundPassage, ScoredPassage, StoredText
from rowvec.words import PLAIN, Token, analyzer

WHOLE = 400
"""Characters of a text that is shown as a whole."""
STRETCH = 300
"""Characters that are shown of a longer one, about."""
READ = 2_000
"""Characters of a text of one passage that a reranker reads, about: what their windows hold beside a query."""
LOOKED_AT = 8_000
"""Characters of a text of one passage that are read word by word, and of each passage: to read all that is kept of ten
texts would take half a second."""
PLACES = 3
"""Behind those, places that are looked at for each term of the query."""
NEAR = 40
"""Characters that a cut moves at most to fall between two words."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is looked for in a text: the terms of a query, each with its weight."""

    terms: Mapping[str, float]
    language: str

    @classmethod
    def of(cls, query: str, language: str | None) -> Asked:
        """
        Args:
            language: of the keyword index; None where there is none, so that words are compared as they are.
        """
        chosen = language or PLAIN
        return cls(analyzer(chosen).query(query), chosen)

    def found(self, text: str) -> list[Token]:
        """Where the text, as far as it is looked at, holds words of the query."""
        if not self.terms:
            return []
        return [token for token in analyzer(self.language).tokens(text[:LOOKED_AT]) if token.term in self.terms]

    def further(self, text: str) -> Iterator[int]:
        """Places behind what is looked at where words of the query may stand, by what their terms begin with."""
        for term in self.terms:
            # A stem may end in other letters than its words do.
            beginning = re.compile(re.escape(term[: max(3, len(term) - 2)]), re.IGNORECASE)
            yield from (found.start() for found in islice(beginning.finditer(text, LOOKED_AT - NEAR), PLACES))

    def worth(self, tokens: Sequence[Token]) -> float:
        """How much of the query these say: each term once, by its weight."""
        return sum(self.terms[term] for term in {token.term for token in tokens})

    @property
    def worth_of_all(self) -> float:
        return sum(self.terms.values())

    def share(self, text: object) -> float:
        """How much of the query a text says, 0 to 1; nothing where it is none."""
        whole = self.worth_of_all
        return self.worth(self.found(text)) / whole if isinstance(text, str) and whole else 0.0


def passages_of(
    stored: StoredText, asked: Asked, most: int, *, score: float | None = None, by_words: bool = False
) -> tuple[FoundPassage, ...]:
    """Up to `most` parts of a row's text, the best first.

    Args:
        score: of the row, which is that of its only passage.
        by_words: passages are chosen by the words of the query that they hold; else by their scores.
    """
    if not stored.passages:
        return (_stretch(stored.text, asked, score),) if stored.text else ()
    chosen = _best(stored, asked, most, by_words)
    return tuple(_marked(stored.text, each.start, each.end, asked, each.score) for each in chosen)


def best_passage(stored: StoredText, asked: Asked, *, by_words: bool = False) -> str:
    """The part of a row's text that answers best, with all that stands around it: what a reranker judges the row by."""
    if stored.passages:
        (best,) = _best(stored, asked, 1, by_words)
        return stored.text[best.start : best.end]
    if len(stored.text) <= READ:
        return stored.text
    start, end = _around(stored.text, asked, READ)
    return stored.text[start:end]


def _best(stored: StoredText, asked: Asked, most: int, by_words: bool) -> list[ScoredPassage]:
    if by_words or any(each.score is None for each in stored.passages):
        found = [(asked.worth(asked.found(stored.text[each.start : each.end])), each) for each in stored.passages]
        found.sort(key=lambda pair: -pair[0])
        return [each for _, each in found[:most]]
    return sorted(stored.passages, key=_falling)[:most]


def _falling(passage: ScoredPassage) -> float:
    assert passage.score is not None
    return -passage.score


def _stretch(text: str, asked: Asked, score: float | None) -> FoundPassage:
    if len(text) <= WHOLE:
        return _marked(text, 0, len(text), asked, score)
    start, end = _around(text, asked, STRETCH)
    return _marked(text, start, end, asked, score)


def _around(text: str, asked: Asked, length: int) -> tuple[int, int]:
    """The stretch of about this length that says most of the query."""
    worth, first = _densest(asked.found(text), asked, length)
    for place in asked.further(text) if worth < asked.worth_of_all else ():
        begin = between_words(text, place)
        there = asked.found(text[begin : begin + length])
        tokens = [token._replace(start=begin + token.start, end=begin + token.end) for token in there]
        worth, first = max((worth, first), _densest(tokens, asked, length), key=lambda each: (each[0], -each[1]))
    # A little of what stands before the first word tells what it is about.
    start = between_words(text, max(0, first - NEAR))
    return start, between_words(text, min(len(text), start + length))


def _densest(tokens: Sequence[Token], asked: Asked, length: int) -> tuple[float, int]:
    """How much that stretch says, and where it begins: the first of several, or the beginning where none says any."""
    starts = [token.start for token in tokens]

    def worth(index: int) -> float:
        behind = bisect_right(starts, starts[index] + length - 2 * NEAR)
        return asked.worth(tokens[index:behind])

    worths = [(worth(index), -starts[index]) for index in range(len(tokens))]
    best, start = max(worths, default=(0.0, 0))
    return best, -start


def _marked(text: str, start: int, end: int, asked: Asked, score: float | None) -> FoundPassage:
    shown = text[start:end]
    marks: list[tuple[int, int]] = []
    for token in sorted(asked.found(shown), key=lambda each: each.start):
        if marks and token.start <= marks[-1][1]:
            marks[-1] = marks[-1][0], max(marks[-1][1], token.end)
        else:
            marks.append((token.start, token.end))
    return FoundPassage(shown, start, start + len(shown), score, tuple(marks))


def between_words(text: str, place: int) -> int:
    """The nearest place at or before `place` where a text can be cut: behind white space, or at least not inside of
    what is seen as one character."""
    if place in (0, len(text)):
        return place
    for index in range(place, max(0, place - NEAR), -1):
        if text[index - 1].isspace():
            return index
    return near_boundary(text, place)
