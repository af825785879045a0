"""Which column of files can be the key: nothing declares one, so names and values tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rowvec.sources.propose.proposal import KEY_TYPES
from rowvec.types import Column, ColumnType

_IDS = frozenset({"id", "uid", "uuid", "guid", "key", "pk"})
_LIKE_IDS = "sku code number no nr num isbn ean gtin upc asin mpn barcode handle slug ref reference url uri"
_CODES = frozenset(_LIKE_IDS.split())
_MONEY = "price cost amount total revenue salary fee tax discount budget balance"
AMOUNTS = frozenset(_MONEY.split())
_WRITTEN_ID = re.compile(r"(?=.*[0-9])[\w./:+-]+")
_OWN_ID, _UNNAMED = 1, 6
_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Candidate:
    name: str
    named: bool
    """It is called, or written, as an id is."""
    is_id: bool
    """It is called the id of these rows."""


def candidates(
    table: str, types: Mapping[str, ColumnType | None], values: Mapping[str, Sequence[Any]]
) -> list[Candidate]:
    """Columns that would do if they are unique and never null, the best first."""
    ranked = []
    for place, (name, kind) in enumerate(types.items()):
        rank = _rank(Column(name, kind or ColumnType.TEXT), table, values.get(name, ()), first=place == 0)
        if rank is not None and kind is not None:
            ranked.append((rank, place, Candidate(name, named=rank < _UNNAMED, is_id=rank <= _OWN_ID)))
    return [candidate for *_, candidate in sorted(ranked, key=lambda each: each[:2])]


def _rank(column: Column, table: str, values: Sequence[Any], *, first: bool) -> int | None:
    """Lower for what is more like an id; None for what cannot be a key."""
    words = name_words(column.name)
    texts = [str(value) for value in values if value is not None]
    digits = column.type is ColumnType.DECIMAL and all(map(_DIGITS.fullmatch, texts))
    if column.type not in KEY_TYPES and not digits:
        return None
    if words[-1] in _IDS:
        if len(words) == 1:
            return 0
        return 1 if table.lower().startswith(words[0][:4]) else 2
    if words[-1] in _CODES:
        return 3
    if column.type is ColumnType.TEXT and texts and all(map(_WRITTEN_ID.fullmatch, texts)):
        return 4
    if first and column.type is not ColumnType.TEXT and AMOUNTS.isdisjoint(words):
        return 5
    # A price or a count is unique only by chance.
    return _UNNAMED if column.type is ColumnType.TEXT else None


def name_words(name: str) -> list[str]:
    """`productId` and `product_id` are two words."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return [word for word in re.split(r"[\W_]+", parted) if word] or [name]
