"""Decimals as JSON, and JSON with numbers that no double holds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any

_FAR = re.compile(r"[eE][-+]?[0-9]{3}|[0-9.]{17}")
_MANY_DIGITS = re.compile(r"[0-9]{300}")
_MARK = "\0"
_MARKED = re.compile(r'"\\u0000"')
"""The mark as JSON, which no text is: a quote within one has a backslash before it, and a backslash has another."""
DOUBLE_DIGITS = 17
"""A double is told from every other one by this many digits."""
MOST_DIGITS = 4000
"""Of a number that is read as one: Python makes no integer of more than 4,300 digits."""


def as_json(value: Decimal) -> float | str:
    """A number where a double holds it to the last digit, as JSON's readers take numbers for; else its text."""
    number = float(value)
    return number if not value.is_finite() or Decimal(repr(number)) == value else str(value)


def as_number(text: str) -> float | Decimal:
    """A double, or a decimal where the text has more digits than one holds. Beyond all of them is infinity, or 0."""
    number = float(text)
    return number if math.isinf(number) or _is_all(number, text) else Decimal(text)


def may_be_far(text: str) -> bool:
    """JSON with a number that a double may not hold. A long text may look like one."""
    return _FAR.search(text) is not None


def loads(text: str, made: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """JSON, with the digits of numbers that no double holds. One of thousands of digits is text.

    Args:
        made: makes an object of its names and values; by default the last value of a name counts.

    Raises:
        ValueError: it is not JSON. RecursionError: it is nested too deep. What `made` raises.
    """
    if not may_be_far(text):
        return json.loads(text, object_pairs_hook=made)
    whole = _long_integer if _MANY_DIGITS.search(text) else None
    return json.loads(text, parse_float=_far_number, parse_int=whole, object_pairs_hook=made)


def dumps(value: Any) -> str:
    """JSON in which a decimal is a number with all of its digits, which `loads` gives back.

    Args:
        value: what JSON can say, and finite decimals; no text in it has a NUL.
    """
    found: list[str] = []

    def marked(decimal: Any) -> str:
        if not isinstance(decimal, Decimal):
            raise TypeError(f"{type(decimal).__name__} is not JSON")
        found.append(format(decimal, "f") if abs(decimal.adjusted()) <= MOST_DIGITS else str(decimal))
        return _MARK

    said = json.dumps(value, ensure_ascii=False, default=marked)
    numbers = iter(found)
    return _MARKED.sub(lambda _: next(numbers), said) if found else said


def _long_integer(text: str) -> int | str:
    return int(text) if len(text) <= MOST_DIGITS else text


def _far_number(text: str) -> float | Decimal | str:
    """A number that may be beyond the floats: 1e400 would be infinity, 1e-400 would be 0, and 12345678901234567890.5
    would lose its end. PostgreSQL's jsonb writes them without exponents."""
    number = float(text)
    if math.isfinite(number) and (number or not text.lower().partition("e")[0].strip("-0.")):
        return as_number(text)
    exponent = int(text.lower().partition("e")[2] or 0)
    return Decimal(text) if abs(exponent) + len(text) <= MOST_DIGITS else text


def _is_all(number: float, text: str) -> bool:
    """Whether a double says all that its text does: it has that many digits, or is written with more than it needs,
    as 0.1 is by `%.17g` (0.10000000000000001), by `%.18e` (1.000000000000000056e-01) and by whoever writes its bits
    out."""
    if len(text) < DOUBLE_DIGITS or len(text) > MOST_DIGITS:
        return True
    exact = Decimal(text)
    return exact in (Decimal(repr(number)), _rounded(number, len(exact.as_tuple().digits)))


def _rounded(number: float, digits: int) -> Decimal:
    return Decimal(number).normalize(Context(prec=max(1, digits)))
