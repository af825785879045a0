"""Replies of `rowvec serve` as what the library itself gives: JSON has no dates, UUIDs, decimals or bytes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from rowvec.errors import ServerError
from rowvec.filters.facets import Bin, Facet, Facets, RangeFacet, ValueCount, ValueFacet
from rowvec.searcher import SearchResult
from rowvec.support.keys import key_of
from rowvec.types import ColumnType, FoundPassage, Hit

_READ: Mapping[ColumnType, Callable[[Any], Any]] = {
    ColumnType.DECIMAL: lambda value: Decimal(str(value)),
    ColumnType.DATE: dt.date.fromisoformat,
    ColumnType.TIME: dt.time.fromisoformat,
    ColumnType.TIMESTAMP: dt.datetime.fromisoformat,
    ColumnType.INTERVAL: TypeAdapter(dt.timedelta).validate_python,
    ColumnType.UUID: UUID,
    ColumnType.BYTES: bytes.fromhex,
}
"""Of the types whose values JSON holds as something else."""


@dataclass(frozen=True, slots=True)
class Described:
    """One pipeline, as the server lists it."""

    name: str
    key_type: ColumnType
    columns: Mapping[str, ColumnType]

    @classmethod
    def among(cls, reply: Mapping[str, Any], name: str | None) -> Described | None:
        """The pipeline of that name, or the only one; None where there is none, or several and no name."""
        try:
            listed = [each for each in reply["pipelines"] if name in (None, each["name"])]
            if len(listed) != 1:
                return None
            columns = {column["name"]: ColumnType(column["type"]) for column in listed[0]["columns"]}
            return cls(listed[0]["name"], ColumnType(listed[0]["key_type"]), columns)
        except (KeyError, TypeError, ValueError) as error:
            raise _broken(error) from error

    def result(self, reply: Mapping[str, Any], *, filtered: bool) -> SearchResult:
        """
        Args:
            filtered: the request had a filter.

        Raises:
            ServerError: the reply is not that of a search.
        """
        try:
            said = {name: reply[name] for name in _SAME if name in reply}
            hits = [self._hit(each) for each in reply["results"]]
            facets = self._facets(reply["facets"]) if "facets" in reply else None
            return SearchResult(hits, facets=facets, filtered=filtered, **said)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _broken(error) from error

    def _hit(self, hit: Mapping[str, Any]) -> Hit:
        metadata = {name: self._value(name, value) for name, value in hit["metadata"].items()}
        passages = tuple(_passage(each) for each in hit.get("passages", ()))
        return Hit(key_of(hit["id"], self.key_type), hit["score"], metadata, hit.get("explain"), passages)

    def _value(self, column: str, value: Any) -> Any:
        read = _READ.get(self.columns.get(column, ColumnType.JSON))
        return value if value is None or read is None else read(value)

    def _facets(self, facets: Mapping[str, Any]) -> Facets:
        columns = {name: self._facet(name, facet) for name, facet in facets["columns"].items()}
        return Facets(facets["rows"], columns)

    def _facet(self, column: str, facet: Mapping[str, Any]) -> Facet:
        if facet["kind"] == "values":
            values = [ValueCount(self._value(column, each["value"]), each["count"]) for each in facet["values"]]
            return ValueFacet(values, facet["other"], facet["missing"], facet["distinct"])

        def read(value: Any) -> Any:
            # Facets give decimals as floats.
            return value if facet["kind"] == "numbers" else self._value(column, value)

        bins = [Bin(read(each["from"]), read(each["to"]), each["count"]) for each in facet["bins"]]
        least, most = read(facet["min"]), read(facet["max"])
        unit, mean = facet.get("unit"), facet.get("mean")
        return RangeFacet(facet["kind"], least, most, mean, facet["missing"], unit, bins)


_SAME = (
    "exact", "complete", "embed_ms", "search_ms", "reranked", "rerank_ms", "rerank_problem", "corrected", "total",
    "next", "missing_parts", "advice",
)  # fmt: skip
"""Called alike in a reply and in a result."""


def _passage(given: Mapping[str, Any]) -> FoundPassage:
    marks: Sequence[Sequence[int]] = given["marks"]
    places = tuple((start, end) for start, end in marks)
    return FoundPassage(given["text"], given["start"], given["end"], given["score"], places)


def _broken(error: Exception) -> ServerError:
    return ServerError(
        f"The server's reply cannot be read: {type(error).__name__} at {error}.",
        hint="Server and client may be of versions that differ too much: update the older one.",
    )
