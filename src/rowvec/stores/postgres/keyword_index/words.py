"""Text as it goes into the keyword index, and a query as it goes against it."""

from __future__ import annotations

import re
import unicodedata

FORMAT = 1
"""The number of what `searchable` and the postings make of a text. Whoever changes either raises it: the next sync then
makes every keyword index again, and `rowvec check` says so before."""
LONGEST_TEXT = 100_000
"""Characters of a text that are indexed. A tsvector holds 1 MB and counts positions up to 16,383."""
LONGEST_CODE = 40

# Possessive throughout: no text makes these patterns try twice. A quantity (3.5, 2.4ghz) is one part.
_PART = r"(?>\d++\.\d++[^\W\d_]*+|[^\W_]++)"
_PARTS = re.compile(_PART)
_CODE = re.compile(rf"(?<!\w){_PART}(?:[-./_+:#]{_PART})++")
_SIGN = re.compile(r"(?<!\w)[-+](?=\d)")
_DIGIT = re.compile(r"\d")
# PostgreSQL's parser takes `<x>` for a tag and drops it; it refuses NUL.
_BLANKS = str.maketrans("<>\0", "   ")


def searchable(text: str) -> str:
    """The text in one spelling: composed, lower case, codes with punctuation both split and joined.

    "SABO-520067C" becomes "sabo 520067c sabo520067c", so that a code is found by either spelling and by its
    parts, where PostgreSQL's parser would read a path, a host name or a negative number. Only what has a digit
    in it counts as a code. The case is folded here because the parser folds by the database's locale, which in
    a "C" database leaves everything beyond ASCII alone.
    """
    text = text[:LONGEST_TEXT].translate(_BLANKS)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).encode("utf-8", "replace").decode()
    words = text.lower().split()
    for place, word in enumerate(words):
        if not word.isalpha() and _DIGIT.search(word):
            words[place] = _SIGN.sub(" ", _CODE.sub(_spellings, word))
    return " ".join(words)[:LONGEST_TEXT]


def _spellings(match: re.Match[str]) -> str:
    code = match.group()
    if not _DIGIT.search(code):
        return code
    pieces = code.split("/")
    words = [word for piece in pieces for word in _split_and_joined(piece)]
    if len(pieces) == 2:
        # "mq2k2zd/a" is a part number; more slashes make a path, whose joined form nobody asks for.
        words += _joined(code)
    return " ".join(words)


def _split_and_joined(piece: str) -> list[str]:
    parts = _PARTS.findall(piece)
    return parts + _joined(piece) if len(parts) > 1 else parts


def _joined(code: str) -> list[str]:
    letters = "".join(filter(str.isalnum, code))
    return [letters] if len(letters) <= LONGEST_CODE else []
