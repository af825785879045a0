"""Decimals as JSON."""

from __future__ import annotations

from decimal import Decimal


def as_json(value: Decimal) -> float | str:
    """A number where a double holds it to the last digit, as JSON's readers take numbers for; else its text."""
    number = float(value)
    return number if not value.is_finite() or Decimal(repr(number)) == value else str(value)
