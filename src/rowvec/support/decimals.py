"""Decimals as JSON, and JSON with numbers that no double holds."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

_FAR = re.compile(r"[eE][-+]?[0-9]{3}|[0-9]{300}")
MOST_DIGITS = 4000
"""Of a number that is read as one: Python makes no integer of more than 4,300 digits."""


def as_json(value: Decimal) -> float | str:
    """A number where a double holds it to the last digit, as JSON's readers take numbers for; else its text."""
    number = float(value)
    return number if not value.is_finite() or Decimal(repr(number)) == value else str(value)


def loads(text: str) -> Any:
    """JSON, with the digits of numbers beyond the doubles.

    Raises:
        ValueError: it is not JSON, or a number has too many digits. RecursionError: it is nested too deep.
    """
    return json.loads(text, parse_float=_far_number if _FAR.search(text) else None)


def _far_number(text: str) -> float | Decimal | str:
    """A number that may be beyond the floats: 1e400 would be infinity, and 1e-400 would be 0. PostgreSQL's jsonb writes
    them without exponents."""
    number = float(text)
    if math.isfinite(number) and (number or not text.lower().partition("e")[0].strip("-0.")):
        return number
    exponent = int(text.lower().partition("e")[2] or 0)
    return Decimal(text) if abs(exponent) + len(text) <= MOST_DIGITS else text
