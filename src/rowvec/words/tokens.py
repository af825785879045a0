"""Where the words of a text are, whatever its language.

A text is cut at blanks. Within a piece without blanks, letters and digits that stand together are a part; parts that a
single sign of `-._+:#&'/` holds together are also one word: "SABO-520067.C" is sabo, 520067, c and sabo520067c.
Patterns are possessive throughout: no text makes them try twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

from rowvec.words.folding import lowered, shape_of

LONGEST_JOINED = 40
"""Characters of a word that is put together from parts: longer ones are addresses, which nobody asks for whole."""
SHORT = 3
"""Letters of a part that a slash joins without a digit: tcp/ip, a/c."""
REMEMBERED = 8192
"""Pieces whose parts are kept in memory, a few MB."""
LONGEST_REMEMBERED = 32
"""Characters of such a piece."""

_UNITS = """
a ah b bar bit btu c cc cd cl cm cm2 cm3 db dba dl dm dpi f fps ft g gb gbit gbps ghz gib h hp hz in inch j k kb
kbit kbps kcal kg khz km kmh kn kv kva kw kwh l lb lbs lm lux m m2 m3 ma mah mb mbit mbps mg mhz mib min mj ml mm
mm2 mn mp mpa ms mv mw mwh n nf nm ns ohm oz pa pb pf ppm psi pt px rpm s tb tib u uf ug uh um us v va w wh г гб гц
дм кб квт кг кгц км л м мб мг мгц мин мл мм м2 м3 ом с см т тб
aud brl chf cny czk dkk eur gbp huf inr jpy krw nok pln rub sek usd zł kč руб
"""
UNITS = frozenset(_UNITS.split())
"""What may follow a number with or without a blank."""

# Written without spaces between words: Japanese, Chinese, Korean (whose particles cling), Thai, Lao, Burmese, Khmer.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_LETTER = rf"[^\W_{_UNSPACED}]"
_NUMBER = rf"(?>(?<!{_LETTER})v?\d++(?>(?:[.,']\d++)+)[^\W_{_UNSPACED}]*+)"
_SIGNED = rf"(?>(?<!{_LETTER})(?:[cg]\+\+|[cfj]\#))"
_ATOM = rf"(?:{_SIGNED}|{_NUMBER}|{_LETTER}++)"
_NUMBER_OF = re.compile(r"(v?)(\d++(?>(?:[.,']\d++)*))((?!\d)[^\W_]*+)")
_ENTITY = re.compile(r"&(?:amp|nbsp|lt|gt|quot|apos|#\d{1,7}|#x[\da-f]{1,6});", re.IGNORECASE)
_BREAKING = '\0!"$%()*;<=>?[\\]^`{|}'
_BREAK = re.compile(f"[{re.escape(_BREAKING)}]")
_PIECE = re.compile(r"\S+")
_CONTRACTED = frozenset(("t", "d", "ll", "re", "ve", "m"))
"""What an apostrophe leaves of an English word: don't, we'll."""
_SIGNS = re.compile(r"[.+#',]")
_DIGIT = re.compile(r"\d")


# Compiled by the first text and not by every command that starts: that takes 20 ms.
@cache
def _unspaced_sign() -> re.Pattern[str]:
    return re.compile(f"[{_UNSPACED}]")


@cache
def _run() -> re.Pattern[str]:
    # An atomic group and not `*+` around a group, which Python before 3.11.5 takes back (python/cpython#106052).
    return re.compile(
        rf"(?P<run>{_ATOM}(?>(?:[-._+:#&'/]{_ATOM})*))|(?P<unspaced>[{_UNSPACED}]++)"
        r"|(?P<sign>[\u2600-\u27bf\u2b50-\u2b55\U0001f1e6-\U0001f3fa\U0001f400-\U0001faff])"
    )


@cache
def _atoms() -> re.Pattern[str]:
    return re.compile(_ATOM)


class Kind(Enum):
    WORD = "word"
    """Letters only: it has a stem, and may be a stop word."""
    EXACT = "exact"
    """As it stands."""
    INDEXED = "indexed"
    """The same, but only of a text; a query that has it is answered by what it is a part of."""


class Part(NamedTuple):
    text: str
    """In compatibility form and lower case, with its diacritics."""
    start: int
    """Of its place in the original text, in characters."""
    end: int
    kind: Kind


def spaced(text: str) -> str:
    """The text with blanks in place of what is never a part of a word; of the same length."""
    if "&" in text:
        text = _ENTITY.sub(lambda found: " " * len(found.group()), text)
    return _BREAK.sub(" ", text)


def split(text: str) -> list[str]:
    """What stands between blanks in `spaced(text)`."""
    return spaced(text).split()


def unspaced(word: str) -> bool:
    """It has signs of a script without blanks between words."""
    return _unspaced_sign().search(word) is not None


def pieces(text: str) -> Iterator[tuple[str, int]]:
    """What stands between blanks, and where it begins."""
    for found in _PIECE.finditer(text):
        yield found.group(), found.start()


def parts_of(piece: str) -> tuple[Part, ...]:
    """The words of a text without blanks, in the order of their beginnings."""
    return _remembered(piece) if len(piece) <= LONGEST_REMEMBERED else _parts_of(piece)


def _parts_of(piece: str) -> tuple[Part, ...]:
    if piece.isascii():
        text = piece.lower()
        return tuple(_parts_in(text, text))
    text, starts, ends = lowered(piece)
    found = _parts_in(text, shape_of(text))
    return tuple(Part(word, starts[start], ends[end - 1], kind) for word, start, end, kind in found)


# The pieces of a batch are asked for twice: for the keyword index, and for the words as they are written.
_remembered = lru_cache(maxsize=REMEMBERED)(_parts_of)


def _parts_in(text: str, shape: str) -> list[Part]:
    found: list[Part] = []
    if text.isalnum() and text.isascii():
        _add_atom(found, text, 0, len(text))
        return found
    for run in _run().finditer(shape):
        start, end = run.span()
        if run.lastgroup == "run":
            _add_run(found, text, shape, start, end)
        elif run.lastgroup == "unspaced":
            found += _of_unspaced(text, start, end)
        else:
            found.append(Part(text[start:end], start, end, Kind.EXACT))
    return found


def _of_unspaced(text: str, start: int, end: int) -> Iterator[Part]:
    """Each two neighbours; single signs too, so that a word of one sign is found."""
    if end - start == 1:
        yield Part(text[start:end], start, end, Kind.EXACT)
        return
    for place in range(start, end):
        yield Part(text[place], place, place + 1, Kind.INDEXED)
        if place + 1 < end:
            yield Part(text[place : place + 2], place, place + 2, Kind.EXACT)


def _add_run(found: list[Part], text: str, shape: str, start: int, end: int) -> None:
    """The parts of a run, each piece between slashes joined, and two of those joined where it is a code."""
    atoms = [atom.span() for atom in _atoms().finditer(shape, start, end)]
    if len(atoms) == 1:
        _add_atom(found, text[start:end], start, end)
        return
    slashes = [place for place, (first, _) in enumerate(atoms) if place and shape[first - 1] == "/"]
    edges = [0, *slashes, len(atoms)]
    for one, next_one in pairwise(edges):
        _add_group(found, text, atoms[one:next_one])
    if len(slashes) == 1 and (_DIGIT.search(text, start, end) or all(last - first <= SHORT for first, last in atoms)):
        _add_joined(found, text, atoms)


def _add_group(found: list[Part], text: str, atoms: list[tuple[int, int]]) -> None:
    after_apostrophe = ""
    if len(atoms) > 1 and text[atoms[-1][0] - 1] == "'":
        first, last = atoms[-1]
        after_apostrophe = text[first:last]
    if after_apostrophe == "s":
        # The English genitive says nothing.
        atoms = atoms[:-1]
    if len(atoms) != 2 or after_apostrophe not in _CONTRACTED:
        for first, last in atoms:
            _add_atom(found, text[first:last], first, last)
    if len(atoms) > 1:
        _add_joined(found, text, atoms)


def _add_joined(found: list[Part], text: str, atoms: list[tuple[int, int]]) -> None:
    words = [text[first:last] for first, last in atoms]
    start, end = atoms[0][0], atoms[-1][1]
    if len(words) == 2 and words[1] in UNITS and _is_number(words[0]):
        found.append(Part(_values(words[0])[0] + words[1], start, end, Kind.EXACT))
        return
    word = _SIGNS.sub("", "".join(words))
    if len(word) <= LONGEST_JOINED:
        found.append(Part(word, start, end, Kind.EXACT if _DIGIT.search(word) else Kind.WORD))


def _add_atom(found: list[Part], word: str, start: int, end: int) -> None:
    if word.isalpha():
        found.append(Part(word, start, end, Kind.WORD))
        return
    if not _DIGIT.search(word):
        found.append(Part(word, start, end, Kind.EXACT if word[-1] in "+#" else Kind.WORD))
        return
    number = None if word.isdecimal() else _NUMBER_OF.fullmatch(word)
    if number is None or (number[1] and ("." not in number[2] or number[3])):
        found.append(Part(word, start, end, Kind.EXACT))
        return
    _, digits, unit = number.groups()
    values = _values(digits)
    found += [Part(value + unit, start, end, Kind.EXACT) for value in values]
    if unit in UNITS:
        place = end - len(unit)
        found += [Part(value, start, place, Kind.INDEXED) for value in values]
        found.append(Part(unit, place, end, Kind.INDEXED))


def _is_number(word: str) -> bool:
    return word[0].isdigit() and word[-1].isdigit() and not any(map(str.isalpha, word))


def _values(number: str) -> list[str]:
    """How a number may be written: 10,000 as 10000 and as 10.000; 3,5 as 3.5; 1,23,456 as 123456; 2.0.1 as that."""
    plain = number.replace(",", ".").replace("'", ".")
    first, *rest = plain.split(".")
    if not rest:
        return [number]
    sizes = [len(group) for group in rest]
    in_thousands = len(first) <= 3 and first[0] != "0" and sizes == [3] * len(sizes)
    if len(rest) == 1:
        return [first + rest[0], plain] if in_thousands else [plain]
    signs = "".join(char for char in number if not char.isdecimal())
    if in_thousands and len(set(signs)) == 1:
        return [first + "".join(rest), *([plain] if signs[0] == "." else [])]
    in_lakhs = len(first) <= 2 and first[0] != "0" and signs[0] == ","
    whole = sizes[:-1]
    ends_with_decimals = set(signs[:-1]) == {signs[0]} != {signs[-1]}
    if ends_with_decimals and (whole == [3] * len(whole) or (in_lakhs and _are_lakhs(whole))):
        return [first + "".join(rest[:-1]) + "." + rest[-1]]
    if "." not in signs:
        # It may be a list of numbers all the same.
        joined = in_lakhs and set(signs) == {","} and _are_lakhs(sizes)
        return [*([first + "".join(rest)] if joined else []), first, *rest]
    return [plain, *(each for each in (first, *rest) if len(each) > SHORT)]


def _are_lakhs(sizes: list[int]) -> bool:
    """As digits are grouped in India."""
    return sizes == [2] * (len(sizes) - 1) + [3]
