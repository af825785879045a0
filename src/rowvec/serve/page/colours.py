"""Which colour a row of the map has, by a metadata column."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from rowvec.types import Column, ColumnType

Codes: TypeAlias = npt.NDArray[np.uint8]

CATEGORIES = 10
STEPS = 7
LEFT_OUT, OTHER, NONE, GONE = 252, 253, 254, 255
"""Codes of a row that a filter leaves out, of a category without a colour of its own, of a row without a value, and of
a row that is gone."""
ORDERED = frozenset(
    {ColumnType.INTEGER, ColumnType.NUMBER, ColumnType.DECIMAL, ColumnType.DATE, ColumnType.TIME, ColumnType.TIMESTAMP}
)
NAMED = frozenset({ColumnType.BOOLEAN, ColumnType.TEXT})
LONGEST_LABEL = 40


@dataclass(frozen=True, slots=True)
class Colouring:
    """
    Attributes:
        codes: of each row, the position in `legend`, or LEFT_OUT, OTHER, NONE, GONE.
        kind: "names" have colours of their own, "steps" the shades of a scale.
        legend: label and number of rows.
    """

    codes: Codes
    kind: Literal["names", "steps"]
    legend: Sequence[tuple[str, int]]

    def count(self, code: int) -> int:
        return int(np.count_nonzero(self.codes == code))


def can_colour(column: Column) -> bool:
    return column.type in ORDERED | NAMED


def colour(
    values: Sequence[Any],
    present: npt.NDArray[np.bool_],
    column: Column | None,
    *,
    shown: npt.NDArray[np.bool_] | None = None,
) -> Colouring:
    """
    Args:
        values: of each row; None for a row without one.
        present: of each row, whether it is still there. column: None for no colours at all.
        shown: of each row, whether it passes the filter; None where there is none. Others have no part in the legend.
    """
    codes = np.full(len(values), NONE if column else OTHER, np.uint8)
    passes = np.ones(len(values), bool) if shown is None else shown
    known = [number for number, value in enumerate(values) if passes[number] and not _missing(value)] if column else []
    kind: Literal["names", "steps"] = "names"
    legend: list[tuple[str, int]] = []
    if column is not None and known:
        given = [values[number] for number in known]
        if column.type in ORDERED and len(set(given)) > CATEGORIES:
            kind = "steps"
            codes[known], legend = _steps(given)
        else:
            codes[known], legend = _names(given, in_order=column.type in ORDERED)
    codes[~passes] = LEFT_OUT
    codes[~present] = GONE
    return Colouring(codes, kind, legend)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float | Decimal) and math.isnan(value))


def _names(values: Sequence[Any], *, in_order: bool) -> tuple[Codes, list[tuple[str, int]]]:
    place: Callable[[Any], Any] = _number if in_order else str
    counted = sorted(Counter(values).items(), key=lambda item: (-item[1], place(item[0])))[:CATEGORIES]
    chosen = [value for value, _ in counted]
    chosen = sorted(chosen, key=place) if in_order else chosen
    number = {value: place for place, value in enumerate(chosen)}
    codes = np.array([number.get(value, OTHER) for value in values], np.uint8)
    return codes, [(_label(value), int(np.count_nonzero(codes == place))) for place, value in enumerate(chosen)]


def _steps(values: Sequence[Any]) -> tuple[Codes, list[tuple[str, int]]]:
    """Steps with about as many rows each, so that a few extremes do not take all the shades."""
    numbers = np.array([_number(value) for value in values], np.float64)
    order = np.argsort(numbers, kind="stable")
    cuts = _cuts(numbers[order])
    if len(cuts) < 2:
        # Most rows have the same value: steps among the values, whatever their rows.
        cuts = _cuts(np.unique(numbers))
    codes = np.searchsorted(cuts, numbers, side="right").astype(np.uint8)
    legend = []
    for step in range(len(cuts) + 1):
        inside = order[codes[order] == step]
        span = [_label(values[inside[0]]), _label(values[inside[-1]])] if len(inside) else [""]
        legend.append((" – ".join(dict.fromkeys(span)), len(inside)))
    return codes, legend


def _cuts(rising: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where each step but the first begins."""
    found: npt.NDArray[np.float64] = np.unique(rising[np.arange(1, STEPS) * len(rising) // STEPS])
    return np.asarray(found[found > rising[0]])


def _number(value: Any) -> float:
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp()
    if isinstance(value, dt.date):
        return float(value.toordinal())
    if isinstance(value, dt.time):
        return (value.hour * 60 + value.minute) * 60 + value.second + value.microsecond / 1e6
    return float(value)


def _label(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d}"
    if isinstance(value, int | float | Decimal):
        return f"{value:,.6g}" if -1e6 < value < 1e6 else f"{value:,.0f}"
    text = str(value)
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def best_column(sample: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Column | None:
    """The column that distinguishes most rows by few colours; None if no column does."""
    best: tuple[int, Column | None] = (1, None)
    for column in columns:
        counts = Counter(row[column.name] for row in sample if can_colour(column) and row.get(column.name) is not None)
        coloured = sum(number for _, number in counts.most_common(CATEGORIES))
        if coloured >= len(sample) / 2 and min(len(counts), CATEGORIES) > best[0]:
            best = (min(len(counts), CATEGORIES), column)
    return best[1]
