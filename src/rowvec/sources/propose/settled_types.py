"""Types that are written into the config, so that they do not depend on which rows are read.

A code is a text though the first ones look like numbers: `4012` is joined by `0071`. An amount keeps its digits
though the first ones are whole. A column of dates stays one though a later row says `soon`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rowvec.sources.propose.keys import AMOUNTS, name_words
from rowvec.sources.told_types import Tally
from rowvec.types import ColumnType

_WITH_ZEROS = "sku code isbn ean gtin upc mpn barcode zip zipcode postcode plz phone telephone mobile fax vat"
_CODES = frozenset(_WITH_ZEROS.split())
_WRITTEN_AMOUNT = re.compile(r"-?[0-9]+(\.[0-9]{1,4})?")
_NUMBERS = (ColumnType.INTEGER, ColumnType.NUMBER, ColumnType.DECIMAL)
_DATES = (ColumnType.DATE, ColumnType.TIMESTAMP)


def settled(
    types: Mapping[str, ColumnType | None], sample: Mapping[str, Sequence[Any]], key: str, *, numbers: bool | None
) -> dict[str, ColumnType]:
    """Of the columns that need one, the type to declare.

    Args:
        types: as all values tell them.
        numbers: see `Format.numbers_in_text`; None where the files declare their types.
    """
    if numbers is None:
        return {}
    found = {}
    for name, kind in types.items():
        values = [value for value in sample.get(name, ()) if value is not None]
        chosen = None if kind is None else _declared(name, kind, values, is_key=name == key, numbers=numbers)
        if chosen is not None:
            found[name] = chosen
    return found


def _declared(name: str, kind: ColumnType, values: Sequence[Any], *, is_key: bool, numbers: bool) -> ColumnType | None:
    words = name_words(name)
    if kind in _NUMBERS and (kind is ColumnType.DECIMAL or words[-1] in _CODES) and is_key:
        return ColumnType.TEXT
    if kind is ColumnType.INTEGER and words[-1] in _CODES:
        return ColumnType.TEXT
    if is_key:
        return ColumnType.TEXT if kind is ColumnType.TEXT and _differs(kind, values, numbers) else None
    if kind in _NUMBERS and _is_amount(words, values):
        return ColumnType.DECIMAL
    return kind if kind in _DATES or kind is ColumnType.DECIMAL or _differs(kind, values, numbers) else None


def _is_amount(words: Sequence[str], values: Sequence[Any]) -> bool:
    texts = [value for value in values if isinstance(value, str)]
    if not AMOUNTS.isdisjoint(words):
        return all(map(_WRITTEN_AMOUNT.fullmatch, texts))
    # 2.50 is written so by whoever counts in hundredths.
    return (
        bool(texts)
        and all(map(_WRITTEN_AMOUNT.fullmatch, texts))
        and any(re.search(r"\.[0-9]*0$", each) for each in texts)
    )


def _differs(kind: ColumnType, values: Iterable[Any], numbers: bool) -> bool:
    """Whether some values alone would tell another type."""
    for value in values:
        tally = Tally(numbers=numbers)
        tally.see("", [value])
        if tally.types[""] is not kind:
            return True
    return False
