"""What a keyword index holds of a text, and what a query asks it for: the same for every store."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from rowvec.words.detection import language_of
from rowvec.words.folding import folded
from rowvec.words.languages import AUTO, by_script, problem, script_of, stemmer, stop_words
from rowvec.words.tokens import UNITS, Kind, Part, parts_of, pieces, spaced

FORMAT = 2
"""The number of what a text gives a keyword index. Whoever changes that raises it: the next sync makes every index
again from the rows, and `rowvec check` says so before."""
LONGEST_TEXT = 100_000
"""Characters of a text that are indexed."""
LONGEST_QUERY, QUERY_TERMS = 10_000, 200
LONGEST_TERM = 200
"""Characters of a term; the rest of a longer one is cut off, in text and query."""
LOOKED_AT = 2_000
"""Characters of a text that tell its language."""
COMMONEST = {"latin": "english", "cyrillic": "russian", "arabic": "arabic", "devanagari": "hindi"}
LONGEST_NEIGHBOUR = 20
_SIMPLE = re.compile(
    r"(?P<whole>\d++)|(?P<decimal>0\.\d++|\d++\.(?:\d\d?|\d{4,}+))|(?P<thousands>[1-9]\d?\d?\.\d{3})"
    r"|[A-Za-z]++\d[A-Za-z\d]*+|\d++[A-Za-z]++\d[A-Za-z\d]*+"
)
"""Numbers, and codes that are not quantities."""
_BEFORE, _AFTER = ".,:'-+#@/~_&", ".,:'-/_&"
"""What stands beside a word without being a part of it."""
REMEMBERED = 50_000
"""Pieces of text whose words are kept in memory, about 20 MB."""
LONGEST_REMEMBERED = 32
"""Characters of a piece whose terms are kept."""


class Token(NamedTuple):
    term: str
    """As the index holds it."""
    start: int
    """Of its place in the text, in characters; tokens may overlap."""
    end: int


class _Piece(NamedTuple):
    """What stands between two blanks, analysed."""

    terms: tuple[str, ...]
    """For the index."""
    asked: tuple[str, ...]
    """For a query."""
    tail: str
    """The word or number that it is or ends with, if the next piece may be joined to it; else ""."""
    head: str
    """The number or unit that it begins with, if it may be joined to the piece before; else ""."""


class Analyzer:
    """Texts and queries as terms.

    In a script of several languages, the words of a text have the stems of the one that it is written in, and those of
    a query the stems of all. Where the text does not tell, it has all of them too; with `auto`, those of the commonest.

    Args:
        language: one of `languages.names()`, several of them with "+" between them, or `auto`.

    Raises:
        ValueError: there is no such language.
    """

    def __init__(self, language: str) -> None:
        wrong = problem(language)
        if wrong:
            raise ValueError(wrong)
        scripts = by_script(language)
        self._all = _Words(scripts)
        self._several = {script: found for script, found in scripts.items() if len(found) > 1}
        self._candidates = [each for found in self._several.values() for each in found]
        self._unless_told = scripts
        if language == AUTO:
            self._unless_told = {script: (COMMONEST.get(script, found[0]),) for script, found in scripts.items()}
        self._chosen: dict[tuple[str, ...], _Words] = {}

    def terms(self, text: str) -> list[str]:
        """The terms of a text in its order, each as often as it occurs."""
        return self._words_of(text).terms(text)

    def query(self, query: str) -> dict[str, float]:
        """The first 200 distinct terms of a query, each with its weight: 1 + ln n where it occurs n times. Stems in
        several languages count as one term."""
        return self._all.query(query)

    def tokens(self, text: str) -> Iterator[Token]:
        """The terms of a text with their places in it, to mark what a query finds.

        Words of a script of several languages have the stems of all, because a part of a text need not tell its own.
        """
        return self._all.tokens(text)

    def _words_of(self, text: str) -> _Words:
        if not self._several:
            return self._all
        told = language_of(text[:LOOKED_AT], self._candidates)
        chosen = {script: (told[script],) if script in told else self._unless_told[script] for script in self._several}
        known = tuple(",".join(found) for found in chosen.values())
        if known not in self._chosen:
            self._chosen[known] = _Words(self._all.languages | chosen, REMEMBERED // 10)
        return self._chosen[known]


class _Words:
    """Words with the stems of given languages.

    Args:
        languages: by script.
        remembered: how many pieces of text are kept analysed.
    """

    def __init__(self, languages: dict[str, tuple[str, ...]], remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self.languages = languages
        self._stems = {script: [stemmer(name) for name in found] for script, found in languages.items()}
        self._stop_words = {
            script: frozenset.intersection(*map(stop_words, found)) for script, found in languages.items()
        }
        self._terms_asked = QUERY_TERMS * max(map(len, languages.values()), default=1)
        self._known: dict[str, _Piece] = {}

    def terms(self, text: str) -> list[str]:
        found: list[str] = []
        known, tail = self._known, ""
        for each in spaced(text[:LONGEST_TEXT]).split():
            piece = known.get(each) or self._piece(each)
            terms, _, behind, head = piece
            found += terms
            if head and tail:
                joined = _joined(tail, head)
                if joined:
                    found.append(joined)
                tail = _tail(tail, piece, joined)
            else:
                tail = behind
        return found

    def query(self, query: str) -> dict[str, float]:
        counts: Counter[str] = Counter()
        tail = ""
        for each in spaced(query[:LONGEST_QUERY]).split():
            piece = self._piece(each)
            joined = _joined(tail, piece.head)
            counts.update((*piece.asked, joined) if joined else piece.asked)
            tail = _tail(tail, piece, joined)
        return {term: 1 + math.log(count) for term, count in islice(counts.items(), self._terms_asked)}

    def tokens(self, text: str) -> Iterator[Token]:
        tail, start_of_tail = "", 0
        for piece, start in pieces(spaced(text[:LONGEST_TEXT])):
            parts = parts_of(piece)
            for part in parts:
                for term in self._terms_of(part):
                    yield Token(term, start + part.start, start + part.end)
            known = self._piece(piece)
            joined = _joined(tail, known.head)
            if joined:
                yield Token(joined, start_of_tail, start + parts[0].end)
            grouped = _tail(tail, known, joined)
            if grouped == known.tail:
                start_of_tail = start + max((part.start for part in parts if part.end == len(piece)), default=0)
            tail = grouped

    def _piece(self, piece: str) -> _Piece:
        found = self._known.get(piece)
        if found is None:
            if len(self._known) >= self._remembered:
                self._known.clear()
            found = self._analysed(piece)
            if len(piece) <= LONGEST_REMEMBERED:  # Where no blanks are written, a piece is a sentence.
                self._known[piece] = found
        return found

    def _analysed(self, piece: str) -> _Piece:
        if piece.isascii():
            word = piece.lstrip(_BEFORE).rstrip(_AFTER)
            if word.isalpha():
                return self._plain_word(piece, word.lower())
            simple = _SIMPLE.fullmatch(word)
            if simple:
                return _simple_piece(piece, word.lower(), simple)
        parts = parts_of(piece)
        terms = [(term, part.kind) for part in parts for term in self._terms_of(part)]
        asked = tuple(term for term, kind in terms if kind is not Kind.INDEXED)
        head = tail = ""
        if terms:
            first, last = parts[0], max(parts, key=lambda part: part.end)
            if (first.text.isdecimal() and piece.startswith(first.text)) or (first.start == 0 and first.text in UNITS):
                head = first.text
            if last.end == len(piece) and (last.kind is Kind.WORD or _is_number(last.text)):
                tail = last.text if self._terms_of(last) else ""
        return _Piece(tuple(term for term, _ in terms), asked, tail, head)

    def _plain_word(self, piece: str, word: str) -> _Piece:
        terms = tuple(self._terms_of(Part(word, 0, len(word), Kind.WORD)))
        tail = word if terms and piece[-1].isalpha() else ""
        return _Piece(terms, terms, tail, word if terms and word in UNITS and piece[0].isalpha() else "")

    def _terms_of(self, part: Part) -> list[str]:
        """None for a stop word; several where other languages, or the word without diacritics, have other stems."""
        word = part.text[:LONGEST_TERM]
        plain = folded(word)
        if part.kind is not Kind.WORD:
            return [plain]
        script = script_of(word)
        stems = self._stems.get(script)
        if stems is None:
            return [plain]
        if word in self._stop_words[script]:
            return []
        if plain == word and len(stems) == 1:
            return [folded(stems[0](word))]
        return list(dict.fromkeys(folded(stem(each)) for stem in stems for each in (word, plain)))


def _simple_piece(piece: str, word: str, found: re.Match[str]) -> _Piece:
    """What `_analysed` makes of a number or of a code without signs, in fewer steps."""
    terms = (word.replace(".", ""), word) if found.lastgroup == "thousands" else (word,)
    number = found.lastgroup is not None
    whole = number and piece[0] == word[0]
    head = word if found.lastgroup == "whole" and whole else ""
    return _Piece(terms, terms, terms[0] if number and piece[-1].isdecimal() else "", head)


def _is_number(word: str) -> bool:
    return word.replace(".", "").replace("'", "").isdecimal()


def _joined(tail: str, head: str) -> str:
    """A word before a number (tn 2110), a number before a unit (5 ghz), or thousands apart (10 000) as one; else ""."""
    if not tail or not head or len(tail) > LONGEST_NEIGHBOUR or len(head) > LONGEST_NEIGHBOUR:
        return ""
    if head.isdecimal():
        if tail.replace("'", "").isdecimal():
            first = tail.partition("'")[0]
            grouped = len(head) == 3 and len(first) <= 3 and not first.startswith("0")
            return tail.replace("'", "") + head if grouped else ""
        return "" if _is_number(tail) else folded(tail) + head
    return tail.replace("'", "") + head if _is_number(tail) else ""


def _tail(before: str, piece: _Piece, joined: str) -> str:
    """What the next piece may be joined to; thousands so far have an apostrophe between them."""
    return f"{before}'{piece.tail}" if joined and joined.isdecimal() and piece.tail else piece.tail


@lru_cache(maxsize=16)
def analyzer(language: str) -> Analyzer:
    """That of a language, shared: what it has learnt of the texts makes it fast. For any number of threads."""
    return Analyzer(language)
