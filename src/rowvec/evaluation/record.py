"""What is kept of an evaluation: small, and enough to see whether hits became better and which queries to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowvec.evaluation.measures import Evaluation

WORST = 20
"""Queries of each mode that are kept, by the first measure, worst first."""


def record(found: Mapping[str, Evaluation], queries: Mapping[str, str], *, model: str, version: str) -> dict[str, Any]:
    """
    Args:
        found: by mode.
        queries: texts by query id.
        model: of the generation that was measured.
        version: see `rowvec.stores.base.Store.live_version`.
    """
    return {
        "model": model,
        "version": version,
        "queries": max((each.queries for each in found.values()), default=0),
        "modes": {
            mode: {"means": each.means, "judged": each.judged, "worst": _worst(each, queries)}
            for mode, each in found.items()
        },
    }


def _worst(evaluation: Evaluation, queries: Mapping[str, str]) -> list[dict[str, Any]]:
    values = next(iter(evaluation.per_query.values()), {})
    ordered = sorted(values.items(), key=lambda each: (each[1], each[0]))
    return [{"id": name, "query": queries.get(name, ""), "value": value} for name, value in ordered[:WORST]]
