"""What a column is good for: to be embedded, or to filter by. Told from its declared type, its name and some values."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from typing import Any

from rowvec.types import Column, ColumnType

TELLING = ("title", "name", "description", "summary", "text", "body", "content", "comment", "note", "subject", "tags")
_NO_PROSE = ("url", "uri", "hash", "path", "email", "password", "token", "phone", "_id", "code", "sku", "ean", "status")
_TYPES = "inet cidr macaddr macaddr8 tsvector tsquery bit oid regclass regconfig interval money hstore enum"
_NO_PROSE_TYPES = frozenset(_TYPES.upper().split())
_CHOICES = (
    "status state stage brand category subcategory genre mood kind type colour color size country region city language"
    " currency supplier vendor manufacturer department level priority condition material gender season format licence"
    " license"
)
_CATEGORIES = frozenset(_CHOICES.split())
_NUMBERS = frozenset(
    {
        ColumnType.INTEGER,
        ColumnType.NUMBER,
        ColumnType.DECIMAL,
        ColumnType.BOOLEAN,
        ColumnType.DATE,
        ColumnType.TIMESTAMP,
        ColumnType.INTERVAL,
    }
)
_LETTER = re.compile(r"[^\W\d_]")
_NO_WORDS = re.compile(
    r"""\w+://\S*                                   # an address
      | \S+@\S+\.\S+                                # an e-mail address
      | [0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12} | [0-9a-fA-F]{16,}   # a UUID, a hash
      | [\d\s.,:/+-]+                               # a number, a date, a time
      | [A-Z0-9./_-]*\d[A-Z0-9./_-]*                # a code
      | [\[{].*[\]}]                                # JSON, a range
    """,
    re.VERBOSE | re.DOTALL,
)
FEW = 50
"""Distinct values that a list to choose from can have."""
LONGEST = 60
"""Characters of a value to choose."""
LONG = 500
"""Characters that a text has on average, from which on it is not worth keeping beside a vector for filters."""
ENOUGH = 20
"""Values that show whether they repeat."""


def is_prose(column: Column, declared: str, values: Sequence[Any]) -> bool:
    """Whether its text says something: most of its values hold words, and are not numbers, dates, addresses or codes.

    Args:
        declared: the name of its type in the database.
        values: of some rows; without any, its name decides alone.
    """
    named_otherwise = any(word in column.name.lower() for word in _NO_PROSE)
    if column.type is not ColumnType.TEXT or named_otherwise or _no_prose_type(declared):
        return False
    texts = [value.strip() for value in values if isinstance(value, str) and value.strip()]
    return not texts or _share(texts, _speaks) > 0.5


def is_category(column: Column, declared: str, values: Sequence[Any]) -> bool:
    """Whether it is a text to choose from a list: a status, a brand."""
    if column.type is not ColumnType.TEXT:
        return False
    name = column.name.lower()
    if declared == "ENUM" or name in _CATEGORIES or name.rpartition("_")[2] in _CATEGORIES:
        return True
    texts = [value for value in values if isinstance(value, str) and value]
    different = set(texts)
    few = len(different) <= min(FEW, len(texts) / 4)
    return len(texts) >= ENOUGH and len(different) > 1 and few and max(map(len, different)) <= LONGEST


def is_long(column: Column, declared: str, values: Sequence[Any]) -> bool:
    """Whether it is a text of many words: an article, a description in paragraphs."""
    lengths = [len(value) for value in values if isinstance(value, str) and value]
    return bool(lengths) and sum(lengths) >= LONG * len(lengths)


def is_measure(column: Column) -> bool:
    return column.type in _NUMBERS


def rank(name: str) -> int:
    """Lower for what tells more."""
    return next((index for index, word in enumerate(TELLING) if word in name.lower()), len(TELLING))


def _no_prose_type(declared: str) -> bool:
    return declared in _NO_PROSE_TYPES or declared.endswith("RANGE")


def _share(texts: Sequence[str], test: Callable[[str], bool]) -> float:
    return sum(map(test, texts)) / len(texts)


def _speaks(text: str) -> bool:
    if _NO_WORDS.fullmatch(text) or not _LETTER.search(text):
        return False
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return True
    return False
