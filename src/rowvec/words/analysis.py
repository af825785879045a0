"""What a keyword index holds of a text, and what a query asks it for: the same for every store."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain, islice
from typing import NamedTuple, TypeAlias

from rowvec.words.detection import language_of
from rowvec.words.folding import folded
from rowvec.words.languages import AUTO, by_script, problem, script_of, stemmer, stop_words
from rowvec.words.tokens import (
    LONGEST_JOINED,
    LONGEST_REMEMBERED,
    SHORT,
    UNITS,
    Kind,
    Part,
    parts_of,
    pieces,
    spaced,
    split,
)

FORMAT = 6
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
    r"|[a-z]++\d[a-z\d]*+|\d++[a-z]++\d[a-z\d]*+"
)
"""Numbers, and codes that are not quantities."""
_QUANTITY = re.compile(r"(0\.\d++|\d++(?:\.(?:\d\d?|\d{4,}+))?)([a-z]++[23]?)")
"""A number and what it is of: 128gb, 2.5in."""
_LAST_THOUSANDS = re.compile(r"\d{3}(?:\.\d++)?+(?:[^\W\d_]++[23]?)?+")
"""What a number may end with behind the blank between its thousands: 234.56, 000mah."""
_TWO = re.compile(r"([a-z\d]++)([-/])([a-z\d]++)")
"""dvd-rom, snk-p0036, 10/100."""
_BEFORE, _AFTER = ".,:'-+#@/~_&", ".,:'-/_&"
"""What stands beside a word without being a part of it."""
REMEMBERED = 50_000
"""Pieces of text whose words are kept in memory, about 20 MB."""


class Token(NamedTuple):
    term: str
    """As the index holds it."""
    start: int
    """Of its place in the text, in characters; tokens may overlap."""
    end: int


_Piece: TypeAlias = tuple[tuple[str, ...], tuple[str, ...], str, str]
"""What stands between two blanks, analysed: the terms for the index; those for a query; its tail, the word or number
that it is or ends with, if the next piece may be joined to it, else ""; its head, the number or unit that it begins
with, if it may be joined to the piece before, else ""."""


class _Known(dict[str, _Piece]):
    """Pieces that were analysed, and any other as soon as it is looked up.

    Args:
        most: how many are kept.
    """

    def __init__(self, analyse: Callable[[str], _Piece], most: int) -> None:
        super().__init__()
        self._analyse, self._most = analyse, most

    def __missing__(self, piece: str) -> _Piece:
        if len(self) >= self._most:
            self.clear()
        found = self._analyse(piece)
        if len(piece) <= LONGEST_REMEMBERED:  # Where no blanks are written, a piece is a sentence.
            self[piece] = found
        return found


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
        self.languages = languages
        self._stems = {script: [stemmer(name) for name in found] for script, found in languages.items()}
        self._stop_words = {
            script: frozenset.intersection(*map(stop_words, found)) for script, found in languages.items()
        }
        latin = self._stems.get("latin", ())
        self._stem_of_letters = latin[0] if len(latin) == 1 else None
        self._latin_stop_words = self._stop_words.get("latin", frozenset())
        self._terms_asked = QUERY_TERMS * max(map(len, languages.values()), default=1)
        self._known = _Known(self._analysed, remembered)

    def terms(self, text: str) -> list[str]:
        found: list[str] = []
        tail = ""
        # The loop over the pieces of every text: what is done here is most of the time of a first fill.
        for terms, _, behind, head in map(self._known.__getitem__, split(text[:LONGEST_TEXT])):
            found += terms
            if head and tail:
                joined = _joined(tail, head)
                if joined:
                    found.append(joined)
                    behind = _grouped(tail, joined, behind)
            tail = behind
        return found

    def query(self, query: str) -> dict[str, float]:
        counts: Counter[str] = Counter()
        tail = ""
        for each in split(query[:LONGEST_QUERY]):
            _, asked, behind, head = self._known[each]
            joined = _joined(tail, head)
            counts.update((*asked, joined) if joined else asked)
            tail = _grouped(tail, joined, behind)
        return {term: 1 + math.log(count) for term, count in islice(counts.items(), self._terms_asked)}

    def tokens(self, text: str) -> Iterator[Token]:
        tail, start_of_tail = "", 0
        for piece, start in pieces(spaced(text[:LONGEST_TEXT])):
            parts = parts_of(piece)
            for part in parts:
                for term in self._terms_of(part):
                    yield Token(term, start + part.start, start + part.end)
            _, _, behind, head = self._known[piece]
            joined = _joined(tail, head)
            if joined:
                yield Token(joined, start_of_tail, start + parts[0].end)
            grouped = _grouped(tail, joined, behind)
            if grouped == behind:
                start_of_tail = start + max((part.start for part in parts if part.end == len(piece)), default=0)
            tail = grouped

    def _analysed(self, piece: str) -> _Piece:
        if piece.isascii():
            word = piece.lower().lstrip(_BEFORE).rstrip(_AFTER)
            if word.isalpha():
                return self._plain_word(piece, word)
            simple = _SIMPLE.fullmatch(word)
            # A unit with a digit, such as m3, is not a code, alone and behind its number.
            if simple and word.lstrip("0123456789") not in UNITS:
                return _simple_piece(piece, word, simple)
            if len(word) <= LONGEST_JOINED:
                two = _TWO.fullmatch(word)
                if two:
                    return self._two_parts(piece, *two.groups())
                if _QUANTITY.fullmatch(word):
                    return *self._terms_of_atom(word), "", word if _goes_on(word, piece) else ""
        parts = parts_of(piece)
        found = [self._terms_of(part) for part in parts]
        terms = tuple(chain.from_iterable(found))
        if not terms:
            return (), (), "", ""
        asked = terms
        if any(part.kind is Kind.INDEXED for part in parts):
            kept = (its for part, its in zip(parts, found, strict=True) if part.kind is not Kind.INDEXED)
            asked = tuple(chain.from_iterable(kept))
        head = tail = ""
        first = parts[0]
        plain = first.text.isdecimal() and piece.startswith(first.text)
        if plain or (first.start == 0 and (first.text in UNITS or _goes_on(first.text, piece))):
            head = first.text
        place = max(range(len(parts)), key=lambda place: parts[place].end)
        last = parts[place]
        if last.end == len(piece) and found[place] and (last.kind is Kind.WORD or _is_number(last.text)):
            tail = last.text
        return terms, asked, tail, head

    def _plain_word(self, piece: str, word: str) -> _Piece:
        terms = self._stems_of_letters(word[:LONGEST_TERM])
        if not terms:
            return (), (), "", ""
        head = word if word in UNITS and piece[0].isalpha() else ""
        return terms, terms, word if piece[-1].isalpha() else "", head

    def _two_parts(self, piece: str, one: str, sign: str, other: str) -> _Piece:
        """What `_analysed` makes of two parts with a sign between them, in fewer steps."""
        terms, asked = self._terms_of_atom(one)
        behind, asked_behind = self._terms_of_atom(other)
        terms, asked = terms + behind, asked + asked_behind
        whole = one + other
        if sign == "-" or not whole.isalpha() or max(len(one), len(other)) <= SHORT:
            joined = self._stems_of_letters(whole) if whole.isalpha() else (whole,)
            terms, asked = terms + joined, asked + joined
        if not terms:
            return (), (), "", ""
        first = piece[0].lower() == one[0]
        head = one if first and (one.isdecimal() or one in UNITS) else ""
        tail = other if behind and piece[-1].isalnum() and (other.isalpha() or other.isdecimal()) else ""
        return terms, asked, tail, head

    def _terms_of_atom(self, word: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Those of ASCII letters and digits for the index, and for a query."""
        if word.isalpha():
            stems = self._stems_of_letters(word)
            return stems, stems
        quantity = _QUANTITY.fullmatch(word)
        if quantity and quantity[2] in UNITS:
            return (word, *quantity.groups()), (word,)
        return (word,), (word,)

    def _terms_of(self, part: Part) -> list[str]:
        word = part.text[:LONGEST_TERM]
        return self._stems_of(word) if part.kind is Kind.WORD else [folded(word)]

    def _stems_of_letters(self, word: str) -> tuple[str, ...]:
        """What `_stems_of` gives for ASCII letters in lower case, in fewer steps where they are of one language."""
        if self._stem_of_letters is None:
            return tuple(self._stems_of(word))
        return () if word in self._latin_stop_words else (folded(self._stem_of_letters(word)),)

    def _stems_of(self, word: str) -> list[str]:
        """None for a stop word; several where other languages, or the word without diacritics, have other stems."""
        plain = folded(word)
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
    head = word if whole and (found.lastgroup == "whole" or _goes_on(word, piece)) else ""
    return terms, terms, terms[0] if number and piece[-1].isdecimal() else "", head


def _is_number(word: str) -> bool:
    return word.replace(".", "").replace("'", "").isdecimal()


def _joined(tail: str, head: str) -> str:
    """A word before a number (tn 2110), a number before a unit (5 ghz), or thousands apart (10 000) as one; else ""."""
    if not tail or not head or len(tail) > LONGEST_NEIGHBOUR or len(head) > LONGEST_NEIGHBOUR:
        return ""
    if tail.isalpha():
        return folded(tail) + head if head.isdecimal() else ""
    if tail.replace("'", "").isdecimal() and head[:3].isdecimal() and len(head) >= 3:
        first = tail.partition("'")[0]
        grouped = _LAST_THOUSANDS.fullmatch(head) and len(first) <= 3 and not first.startswith("0")
        return tail.replace("'", "") + head if grouped else ""
    if head[0].isdecimal():
        return "" if _is_number(tail) else folded(tail) + head
    return tail.replace("'", "") + head if _is_number(tail) else ""


def _goes_on(word: str, piece: str) -> bool:
    """A number of which the thousands before may stand apart: 234.56, 000mah."""
    found = _LAST_THOUSANDS.fullmatch(word)
    unit = word.lstrip("0123456789.") if found else ""
    return found is not None and piece[:3] == word[:3] and (not unit or unit in UNITS)


def _grouped(before: str, joined: str, tail: str) -> str:
    """What the next piece may be joined to; thousands so far have an apostrophe between them."""
    if tail and joined.isdecimal():
        return f"{before}'{tail}"
    # With its decimals a number ends, and only a unit may follow.
    return joined if tail and _is_number(joined) else tail


@lru_cache(maxsize=16)
def analyzer(language: str) -> Analyzer:
    """That of a language, shared: what it has learnt of the texts makes it fast. For any number of threads."""
    return Analyzer(language)
