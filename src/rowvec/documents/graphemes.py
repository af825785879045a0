"""Where a text may be cut without taking a character apart that people see as one."""

from __future__ import annotations

import unicodedata

FURTHEST = 1000
"""Characters that are looked back for a place to cut; what is longer is not a character that people see."""
JOINER = "\u200d"
VIRAMA = 9
"""Its combining class."""
FOLLOWS = {"L": ("L", "V", "LV", "LVT"), "V": ("V", "T"), "LV": ("V", "T"), "T": ("T",), "LVT": ("T",)}
"""What goes on with a syllable of Hangul: consonants, vowels and finals, alone or put together."""


def within_cluster(text: str, at: int) -> bool:
    """Whether what people see as one character lies on both sides of `at`: an emoji of several parts, a letter with its
    marks, a flag, a syllable of Hangul in parts, the two characters of a line end."""
    if not 0 < at < len(text):
        return False
    one, other = text[at - 1], text[at]
    if one < "\u0300" and other < "\u0300":
        return one == "\r" and other == "\n"
    if other == JOINER or one == JOINER or "\U0001f3fb" <= other <= "\U0001f3ff":
        return True
    if unicodedata.category(other) in ("Mn", "Me", "Mc") or "\U000e0020" <= other <= "\U000e007f":
        return True
    if _is_regional(one) and _is_regional(other):
        first = at
        while first > max(0, at - FURTHEST) and _is_regional(text[first - 1]):
            first -= 1
        return (at - first) % 2 == 1
    if unicodedata.combining(one) == VIRAMA and unicodedata.category(other) == "Lo":
        # In scripts of India, the next consonant belongs to the same syllable.
        return True
    # Thai, Lao: a vowel that is written behind its consonant.
    return other in "\u0e33\u0eb3" or _hangul(other) in FOLLOWS.get(_hangul(one), ())


def near_boundary(text: str, at: int) -> int:
    """`at`, or the nearest place before it where no character is taken apart."""
    found = at
    while found > max(0, at - FURTHEST) and within_cluster(text, found):
        found -= 1
    return found if found and not within_cluster(text, found) else at


def _is_regional(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _hangul(char: str) -> str:
    if "\u1100" <= char <= "\u115f":
        return "L"
    if "\u1160" <= char <= "\u11a7":
        return "V"
    if "\u11a8" <= char <= "\u11ff":
        return "T"
    if "\uac00" <= char <= "\ud7a3":
        return "LV" if (ord(char) - 0xAC00) % 28 == 0 else "LVT"
    return ""
