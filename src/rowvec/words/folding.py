"""Letters in one form: compatibility forms, case, and diacritics."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

_DROPPED = frozenset("\u00ad\u200b\u200c\u200d\u2060\ufeff\u0640\u180e\u200e\u200f\ufe0e\ufe0f")
"""Marks that stand within a word and are not read: soft hyphen, zero-width signs, tatweel, variation selectors."""
_BEFORE = {
    # Signs that NFKC would make letters of the word beside them.
    **dict.fromkeys("™®©℠ªº", " "),
    **dict.fromkeys("‐‑‒−﹣－", "-"),
    **dict.fromkeys("’‘ʼ`´＇ʹ′", "'"),
    "µ": "u",
    "×": "x",
    "⁄": "/",
}
_MICRO = re.compile("μ(?=[A-Za-zΩ\u2126])")
"""The Greek letter where it stands for the sign: keyboards have one of the two."""
_LETTERS = str.maketrans(
    {"ł": "l", "đ": "d", "ø": "o", "ı": "i", "ß": "ss", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d", "ħ": "h", "ŧ": "t",
     "ŋ": "n", "ς": "σ", "ƶ": "z", "ɨ": "i", "ǿ": "o"}
)  # fmt: skip
"""Letters that Unicode does not take apart."""
_OWN_LETTERS = frozenset("йўїѓќ")
"""Cyrillic letters of their own, which Unicode takes for a letter with a mark."""
_JAMO = range(0x1160, 0x1200)


class Folded(NamedTuple):
    """A text in compatibility form and lower case. Its letter `i` is made of `[starts[i], ends[i])` of the original."""

    text: str
    starts: list[int]
    ends: list[int]


def lowered(text: str) -> Folded:
    """Compatibility form (NFKC) and lower case. Diacritics stay, because stemmers read them."""
    if text.isascii():
        places = list(range(len(text) + 1))
        return Folded(text.lower(), places[:-1], places[1:])
    text = _MICRO.sub("µ", text)
    letters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in _clusters(text):
        made = "".join(_BEFORE.get(char, char) for char in text[start:end] if char not in _DROPPED)
        made = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", made).lower())
        if not made and ends:
            ends[-1] = end
        letters.append(made)
        starts += [start] * len(made)
        ends += [end] * len(made)
    return Folded("".join(letters), starts, ends)


def _clusters(text: str) -> list[tuple[int, int]]:
    """A letter with the marks that follow it."""
    edges = [place for place, char in enumerate(text) if place == 0 or not _joins(char)]
    return list(zip(edges, [*edges[1:], len(text)], strict=True))


def _joins(char: str) -> bool:
    return not char.isascii() and (is_mark(char) or ord(char) in _JAMO)


def is_mark(char: str) -> bool:
    return unicodedata.category(char)[0] == "M"


def shape_of(text: str) -> str:
    """The text with a letter in place of each mark: to Python's `\\w` a vowel sign is not a part of a word."""
    return text if text.isascii() else "".join("x" if is_mark(char) else char for char in text)


def folded(word: str) -> str:
    """A word in lower case without the diacritics of Latin, Greek, Cyrillic, Hebrew and Arabic letters."""
    if word.isascii():
        return word
    kept: list[str] = []
    for char in unicodedata.normalize("NFD", word.translate(_LETTERS)):
        if kept and unicodedata.combining(char) and _has_optional_marks(kept[-1]):
            whole = unicodedata.normalize("NFC", kept[-1] + char)
            if whole in _OWN_LETTERS:
                kept[-1] = whole
        else:
            kept.append(char)
    return unicodedata.normalize("NFC", "".join(kept))


def _has_optional_marks(letter: str) -> bool:
    code = ord(letter)
    return code < 0x700 or 0x1E00 <= code < 0x2000
