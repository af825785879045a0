"""Text as it goes into the keyword index, and a query as it goes against it."""

from __future__ import annotations

import re
import unicodedata

LONGEST_TEXT = 100_000
"""Characters of a text that are indexed. A tsvector holds 1 MB and counts positions up to 16,383."""
LONGEST_CODE = 40

# A quantity (3.5, 2.4ghz) is one atom, so that the point in it does not split it.
_ATOM = r"(?:\d+\.\d+[^\W\d_]*|[^\W_]+)"
_CODE = re.compile(rf"(?<!\w){_ATOM}(?:[-./_+:#]{_ATOM})+(?!\w)")
_SIGN = re.compile(r"(?<!\w)[-+](?=\d)")
# PostgreSQL's parser takes `<x>` for a tag and drops it; it refuses NUL.
_BLANKS = str.maketrans("<>\0", "   ")


def searchable(text: str) -> str:
    """The text in one spelling: composed, lower case, codes with punctuation both split and joined.

    "SABO-520067C" becomes "sabo 520067c sabo520067c", so that a code is found by either spelling and by its
    parts, where PostgreSQL's parser would read a path, a host name or a negative number. Only tokens with a
    digit count as codes. The case is folded here because the parser folds by the database's locale, which in
    a "C" database leaves everything beyond ASCII alone.
    """
    text = text[:LONGEST_TEXT].translate(_BLANKS)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).encode("utf-8", "replace").decode()
    return _SIGN.sub(" ", _CODE.sub(_spellings, text.lower()))[:LONGEST_TEXT]


def _spellings(match: re.Match[str]) -> str:
    code = match.group()
    if not any(map(str.isdigit, code)):
        return code
    parts = re.findall(_ATOM, code)
    if len(parts) == 1:
        return code
    joined = "".join(filter(str.isalnum, code))
    return " ".join([*parts, joined] if len(joined) <= LONGEST_CODE else parts)
