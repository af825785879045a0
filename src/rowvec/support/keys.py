"""Text to key: what a store, a message or a file keeps as text, and what a user writes."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from rowvec.support.plain_numbers import uuid_of
from rowvec.types import ColumnType, Key, is_bigint

_INTEGER = re.compile(r"-?[0-9]+")
_DIGITS = 30
"""More are not looked at: Python refuses to read thousands of them."""


def key_of(kept: Any, kind: ColumnType) -> Key:
    """The key that rowvec itself, or a database, wrote as text or as an integer."""
    if kind is ColumnType.INTEGER:
        return int(kept)
    return UUID(kept) if kind is ColumnType.UUID else str(kept)


def key_bytes(key: Key) -> int:
    """About the number of bytes that a key takes in a statement."""
    return len(key.encode("utf-8", "surrogatepass")) if isinstance(key, str) else len(str(key))


def parse_key(text: str, kind: ColumnType) -> Key:
    """A key as a user writes it.

    Raises:
        ValueError: it is not a key of that kind.
        OverflowError: it is an integer of more than 64 bits, which no row has.
    """
    if kind is ColumnType.UUID:
        return uuid_of(text)
    if kind is not ColumnType.INTEGER:
        return text
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(f"{text[:40]!r} is not an integer")
    if len(text) > _DIGITS or not is_bigint(int(text)):
        raise OverflowError(f"{text[:40]!r} has more than 64 bits")
    return int(text)
