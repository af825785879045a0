"""Values as JSON, written fast: this is on the path of every search."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from rowvec.searcher import SearchResult
from rowvec.support import decimals


def json_reply(value: Any, status: int = 200) -> Response:
    """What JSON has no form for: dates in ISO 8601, bytes in hex, NaN as null, anything else as its text."""
    body = to_json(value, inf_nan_mode="null", bytes_mode="hex", fallback=str)
    return Response(body, status, media_type="application/json")


def search_reply(result: SearchResult, query_id: str | None) -> Response:
    """Args: query_id: of the log of queries."""
    found = result.as_dict()
    if query_id is not None:
        found["query_id"] = query_id
    for hit in found["results"]:
        hit["metadata"] = numbers(hit["metadata"])
    return json_reply(found)


def numbers(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Decimals as JSON numbers, as the columns they came from are; those that would be rounded as texts."""
    return {name: decimals.as_json(value) if isinstance(value, Decimal) else value for name, value in metadata.items()}
