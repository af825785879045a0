"""Facets on the screen: one table for each column."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from rowvec.cli import output
from rowvec.filters import Facets
from rowvec.filters.facets import Facet, RangeFacet, ValueFacet

CELL = 60


def show(facets: Facets, *, filtered: bool) -> None:
    what = "pass the filter" if filtered else "have a vector"
    output.line(f"\n{output.count(facets.rows, 'row')} {what}:")
    for name, facet in facets.columns.items():
        output.line(f"\n{name}")
        rows = _listed(facet) if isinstance(facet, ValueFacet) else _binned(facet)
        output.table(["", ""], [(f"  {label}", count) for label, count in rows], right=[1])


def _listed(facet: ValueFacet) -> Sequence[tuple[str, int]]:
    rows = [(output.clip(output.value(each.value), CELL).strip() or "(empty)", each.count) for each in facet.values]
    if facet.other:
        rows.append((f"({output.count(facet.distinct - len(facet.values), 'other value')})", facet.other))
    return rows + _missing(facet)


def _binned(facet: RangeFacet) -> Sequence[tuple[str, int]]:
    # The many empty bins of a few outliers say nothing on a screen.
    rows = [(f"{_cell(each.start)} – {_cell(each.end)}", each.count) for each in facet.bins if each.count]
    if facet.min is None:
        return _missing(facet)
    mean = "" if facet.mean is None else f", mean {_cell(facet.mean)}"
    output.line(f"  from {_cell(facet.min)} to {_cell(facet.max)}{mean}")
    return rows + _missing(facet)


def _cell(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return value.isoformat(" ", "seconds").removesuffix("+00:00")
    return output.value(round(value, 2) if isinstance(value, float) and abs(value) >= 1 else value)


def _missing(facet: Facet) -> list[tuple[str, int]]:
    return [("(no value)", facet.missing)] if facet.missing else []
