"""Typos in a query: words that no row holds become words that rows hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rowvec.embedders.base import Embedder, knows
from rowvec.stores.base import LastWord, RowsHandle
from rowvec.words import PLAIN, analyzer
from rowvec.words.folding import folded
from rowvec.words.vocabulary import Vocabulary, edits_of
from rowvec.words.written import LONGEST, Word, last_of, words_of

MOST_WORDS = 200
"""Distinct words of a query that are looked at: as many as keyword search reads."""
MOST_WORDS_WITHIN = 20
"""The same where only some of the rows count: each word is a search then."""
MOST_UNKNOWN = 8
"""Words of a query that no row holds. A query with more is of something else, or in another language."""
MOST_NEAR = 200
"""Words that one may be a typo of, of which the most frequent is looked for."""
HELD_SECONDS = 60.0
"""A word that a row was found to hold counts as held for this long."""
READ_SECONDS = 2.0
"""The words of the rows are read again after this long."""
REMEMBERED = 50_000
MOST_COMPLETIONS = 200
"""Words that begin as the last one of a query, of which the most frequent are taken."""
FORMS = 20


@dataclass(frozen=True, slots=True)
class Reading:
    """A query as it is searched for."""

    text: str
    """By meaning."""
    words: str
    """By words, but for the last one."""
    last: LastWord | None = None
    corrected: str | None = None
    """The query with its typos corrected; None where there are none."""

    @classmethod
    def plain(cls, query: str) -> Reading:
        return cls(query, query)


NONE = Reading.plain("")


class _RowWords:
    """The words of the rows, read when they are first asked for, and from then on only what is new."""

    def __init__(self) -> None:
        self.all = Vocabulary()
        self._parts: set[int] = set()
        self._read_at = -READ_SECONDS
        self._reading = threading.Lock()

    def read(self, rows: RowsHandle) -> bool:
        """Bring them up to date, unless that was done just now; False where they are not kept."""
        with self._reading:
            if time.monotonic() - self._read_at < READ_SECONDS:
                return True
            parts = rows.kept_words(self._parts)
            if parts is None:
                return False
            self.all.add(word for words in parts.values() for word in words.split())
            self._parts.update(parts)
            self._read_at = time.monotonic()
            return True


class Speller:
    """Corrects and completes queries for the rows of one generation. Safe to use from several threads."""

    def __init__(self, rows: RowsHandle, embedder: Embedder) -> None:
        self._rows = rows
        self._embedder = embedder
        self._words = _RowWords()
        self._most_words = MOST_WORDS
        self._held: dict[str, float] = {}

    def within(self, rows: RowsHandle) -> Speller:
        """The same for some of the rows: no query becomes a word that only others hold. For one search."""
        limited = Speller(rows, self._embedder)
        limited._words, limited._most_words = self._words, MOST_WORDS_WITHIN
        return limited

    def _is_stop_word(self, word: str) -> bool:
        return not analyzer(self._rows.spec.language or PLAIN).query(word)

    def read(self, query: str, *, typos: bool, prefix: bool, by_meaning: bool = True) -> Reading:
        """
        Args:
            typos: correct them.
            prefix: take the last word as the beginning of one, unless a blank is behind it.
        """
        last = last_of(query) if prefix else None
        if last is None:
            corrected = self.corrected(query, by_meaning=by_meaning) if typos else None
            return Reading(corrected or query, corrected or query, corrected=corrected)
        forms = self._forms(last.text)
        typed = query[last.start :]
        begun = query[: last.start] if forms else query
        corrected = self.corrected(begun, by_meaning=by_meaning) if typos else None
        if corrected is not None:
            begun = corrected
            corrected += typed if forms else ""
        if not forms:
            # Not a word of letters, or no row holds one that begins so.
            return Reading(begun, begun, LastWord(folded(last.text)), corrected)
        whole = typed if forms[0] == last.text else forms[0]
        return Reading(begun + whole, begun, LastWord(folded(last.text), (last.text, *forms)), corrected)

    def _forms(self, word: str) -> list[str]:
        """The words of the rows that begin so, the most frequent first; the word itself comes first of all."""
        if not self._words.read(self._rows):
            return []
        begun = self._words.all.starting(word, MOST_COMPLETIONS)
        held = self._rows.holding(list(dict.fromkeys([word, *begun])))
        found = sorted((each for each in begun if each in held), key=lambda each: (-held[each], each))[:FORMS]
        return [word, *(each for each in found if each != word)] if word in held else found

    def corrected(self, query: str, *, by_meaning: bool = True) -> str | None:
        """The query with its typos corrected; None where there is nothing to correct.

        A word is one if no row holds it, in any of its forms, and it has no digit. It becomes the word of the rows that
        has the fewest edits from it, then the one that most rows hold, then the first in the alphabet. Up to one edit
        is corrected from 5 letters on, up to two from 9.

        Args:
            by_meaning: a word that the model knows is not a typo, though no row holds it: what it means can be found.
        """
        asked = [word for word in words_of(query) if edits_of(word.text) and len(word.text) <= LONGEST]
        unknown = self._unknown(list(dict.fromkeys(word.text for word in asked))[: self._most_words])
        if not 0 < len(unknown) <= MOST_UNKNOWN:
            return None
        known = knows(self._embedder, unknown) if by_meaning else set()
        unknown = [word for word in unknown if word not in known]
        if not unknown or not self._words.read(self._rows):
            return None
        meant = self._meant(unknown)
        return _replaced(query, asked, meant) if meant else None

    def _unknown(self, words: list[str]) -> list[str]:
        """Those that no row holds; stop words are in the rows or might be."""
        now = time.monotonic()
        unsure = [word for word in words if now - self._held.get(word, -HELD_SECONDS) >= HELD_SECONDS]
        held = self._rows.holding(unsure) if unsure else {}
        unknown = [word for word in unsure if word not in held and not self._is_stop_word(word)]
        if len(self._held) > REMEMBERED:
            self._held = {}
        self._held.update(dict.fromkeys(set(unsure).difference(unknown), now))
        return unknown

    def _meant(self, unknown: Sequence[str]) -> dict[str, str]:
        """What each of these words may be a typo of. Two edits are looked at only where one finds nothing."""
        chosen: dict[str, str] = {}
        for edits in (1, 2):
            asked = [word for word in unknown if word not in chosen and edits_of(word) >= edits]
            near = {word: sorted(self._words.all.near(word, edits))[:MOST_NEAR] for word in asked}
            found = list({each for its in near.values() for each in its})
            held = self._rows.holding(found) if found else {}
            # A stop word says nothing about a row: it comes last among equals.
            held |= {each: 0 for each in found if self._is_stop_word(each)}
            for word, its in near.items():
                best = min((each for each in its if each in held), key=lambda each: (-held[each], each), default=None)
                if best is not None:
                    chosen[word] = best
        return chosen


def _replaced(query: str, asked: Iterable[Word], meant: Mapping[str, str]) -> str:
    parts, end = [], 0
    for word in asked:
        if word.text in meant:
            parts += [query[end : word.start], _in_case(meant[word.text], query[word.start : word.end])]
            end = word.end
    return "".join([*parts, query[end:]])


def _in_case(word: str, typed: str) -> str:
    return word.upper() if typed.isupper() else word.title() if typed.istitle() else word
