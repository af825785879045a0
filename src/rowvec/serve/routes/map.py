"""What the page of the map asks for: the points with their colours, a row, and where the hits of a query are."""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from rowvec.maps.clusters import Cluster, named
from rowvec.maps.draw import EmbeddingMap
from rowvec.searcher import SearchResult
from rowvec.serve.choosing import choose_or_first
from rowvec.serve.context import context_of
from rowvec.serve.models import Limit, Plain, QueryText, SearchMode
from rowvec.serve.page.aspects import ASPECTS, NOTHING, aspect_column, aspect_values
from rowvec.serve.page.colours import GONE, LEFT_OUT, NONE, OTHER, best_column, can_colour, colour
from rowvec.serve.parameters import Router
from rowvec.serve.problems import Problem
from rowvec.serve.replies import json_reply, numbers
from rowvec.serve.service import Service
from rowvec.support.suggestions import suggestion
from rowvec.types import Column, Key

PAGE = 5_000
SAMPLE = 2_000
RUNS = 100
FRESH_SECONDS = 30.0
"""Seconds that the colours of a column are kept: reading them takes a statement for every PAGE rows."""
KEPT = 8
Filters = Annotated[str | None, Query(max_length=10_000)]


class Colouring(NamedTuple):
    """
    Attributes:
        column: a metadata column; None for the one that shows most, "" for none.
        by: how a row stands in the store, instead of a column.
        filters: rows that do not pass it are left out.
    """

    column: str | None = None
    by: str | None = None
    filters: str | None = None


class MapFile:
    """The map of one pipeline as it is in its file, reloaded when it was drawn again. For several threads.

    Args:
        path: None if the pipeline has no folder for it.
    """

    def __init__(self, service: Service, path: Path | None) -> None:
        self._service = service
        self._path = path
        self._guard = threading.Lock()
        self._found: tuple[int, EmbeddingMap] | None = None
        self._bodies: dict[tuple[int, Colouring], tuple[float, bytes]] = {}
        self._naming = threading.Lock()
        self._named: tuple[int, list[Cluster]] | None = None

    def current(self) -> tuple[int, EmbeddingMap]:
        """The map, and a number that changes when the map is drawn again.

        Raises:
            Problem: 404, there is none.
        """
        with self._guard:
            version = self._version()
            if version is None:
                self._found = None
            elif self._found is None or self._found[0] != version:
                loaded = EmbeddingMap.load(self._path, self._service.pipeline.spec.key_type) if self._path else None
                self._found = None if loaded is None else (version, loaded)
            if self._found is None:
                raise self._missing()
            return self._found

    def _version(self) -> int | None:
        try:
            return self._path.stat().st_mtime_ns // 1000 if self._path else None  # JavaScript's integers end at 2^53.
        except OSError:
            return None

    def _missing(self) -> Problem:
        name = self._service.name
        hint = f"`rowvec map -p {name}` draws it."
        if find_spec("umap") is None:
            hint = f"pip install 'rowvec[map]', then {hint}"
        return Problem(404, f"There is no map of {name!r} yet.", hint)

    def at(self, version: int) -> EmbeddingMap:
        """The map of that number.

        Raises:
            Problem: 409, it has been drawn again since.
        """
        now, found = self.current()
        if now != version:
            raise Problem(409, "The map has been drawn again.", "Reload the page.")
        return found

    def names(self, version: int) -> list[Cluster]:
        """What the clusters of the map of that number are about; found out once for each map."""
        self._service.ready()
        found = self.at(version)
        with self._naming:
            if self._named is None or self._named[0] != version:
                self._named = (version, named(self._service.rows, found.keys, found.places))
            return self._named[1]

    def body(self, asked: Colouring) -> bytes:
        """The points with their colours.

        Raises:
            SearchError: the filter does not fit the columns.
        """
        self._service.ready()
        version, found = self.current()
        with self._guard:
            kept = self._bodies.get((version, asked))
        if kept is not None and time.monotonic() - kept[0] < FRESH_SECONDS:
            return kept[1]
        body = _body(self._service, version, found, asked)
        with self._guard:
            self._bodies[version, asked] = (time.monotonic(), body)
            while len(self._bodies) > KEPT:
                self._bodies.pop(next(iter(self._bodies)))
        return body


Picked = Callable[[Request, str | None], tuple[Service, MapFile]]
"""The pipeline that a request names, or the first, with its map."""


def map_routes(files: Mapping[str, MapFile]) -> Router:
    """Args: files: by pipeline."""
    router = Router(prefix="/ui/map", include_in_schema=False)

    def picked(request: Request, pipeline: str | None) -> tuple[Service, MapFile]:
        service = choose_or_first(context_of(request).services, pipeline)
        return service, files[service.name]

    _add_picture(router, picked)
    _add_rows(router, picked)
    return router


def _add_picture(router: Router, picked: Picked) -> None:
    """What is drawn: the points with their colours, and the names of their clusters."""

    @router.get("/points")
    async def points(
        request: Request,
        pipeline: str | None = None,
        column: str | None = None,
        by: str | None = None,
        filters: Filters = None,
    ) -> Response:
        _, file = picked(request, pipeline)
        body = await context_of(request).side_threads.run(file.body, Colouring(column, by, filters))
        return Response(body, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})

    @router.get("/names")
    async def names(request: Request, version: Annotated[int, Plain], pipeline: str | None = None) -> Response:
        _, file = picked(request, pipeline)
        found = await context_of(request).side_threads.run(file.names, version)
        return json_reply([{**asdict(each), "words": list(each.words)} for each in found])


def _add_rows(router: Router, picked: Picked) -> None:
    """Which rows the points are, and where the hits of a search lie."""

    @router.get("/rows")
    async def rows(
        request: Request,
        version: Annotated[int, Plain],
        points: Annotated[str, Query(pattern=r"^[0-9]{1,9}(,[0-9]{1,9}){0,99}$")],
        pipeline: str | None = None,
    ) -> Response:
        service, file = picked(request, pipeline)
        numbers = [int(each) for each in points.split(",")]
        return json_reply({"rows": await context_of(request).threads.run(_rows, service, file, version, numbers)})

    @router.get("/row")
    async def row(
        request: Request,
        version: Annotated[int, Plain],
        point: Annotated[int | None, Plain, Query(ge=0)] = None,
        id: Annotated[str | None, Query(max_length=10_000)] = None,
        pipeline: str | None = None,
    ) -> Response:
        service, file = picked(request, pipeline)
        return json_reply(await context_of(request).threads.run(_row, service, file, version, point, id))

    @router.get("/search")
    async def search(
        request: Request,
        query: Annotated[QueryText, Query()],
        version: Annotated[int, Plain],
        mode: Annotated[SearchMode, Query()] = "semantic",
        limit: Annotated[Limit, Query()] = 100,
        filters: Filters = None,
        pipeline: str | None = None,
    ) -> Response:
        service, file = picked(request, pipeline)
        context = context_of(request)
        found = await context.threads.run(file.at, version)
        result: SearchResult = await context.threads.run(service.search, query, mode, limit, filters)
        context.searched(service, mode, query, filters, result)
        hits = [
            {"point": found.index.get(hit.key), "id": hit.key, "score": hit.score, "metadata": numbers(hit.metadata)}
            for hit in result.hits
        ]
        return json_reply({"hits": hits})


def _row(service: Service, file: MapFile, version: int, point: int | None, id: str | None) -> dict[str, Any]:
    """A row of the map, by the number of its point or by its key."""
    service.ready()
    found = file.at(version)
    if id is not None:
        point = found.index.get(service.key(id))
    if point is None or point >= len(found.keys):
        raise Problem(404, "There is no such point on the map.", "`rowvec map` draws the map again.")
    key = found.keys[point]
    metadata = service.rows.metadata([key]).get(key)
    if metadata is None:
        raise Problem(404, f"The row {key!r} is gone.", "`rowvec map` draws the map again.")
    return {"id": key, "point": point, "metadata": numbers(metadata)}


def _rows(service: Service, file: MapFile, version: int, points: Sequence[int]) -> list[dict[str, Any]]:
    """Rows by the numbers of their points; those that are gone are left out."""
    service.ready()
    keys = file.at(version).keys
    asked = [(point, keys[point]) for point in points if point < len(keys)]
    known = service.rows.metadata([key for _, key in asked])
    return [{"id": key, "point": point, "metadata": numbers(known[key])} for point, key in asked if key in known]


def _body(service: Service, version: int, found: EmbeddingMap, asked: Colouring) -> bytes:
    """A header as JSON behind its length, then x and y of every point as uint16, then the colour codes as uint8.

    All little-endian; the header is filled up with blanks to a multiple of four bytes.
    """
    columns = [column for column in service.pipeline.spec.metadata if can_colour(column)]
    column = None if asked.by else _column(service, found, columns, asked.column)
    values: list[Any] = []
    present, passing = np.zeros(len(found.keys), bool), np.ones(len(found.keys), bool)
    for number, (there, value) in enumerate(_values(service, found.keys, column)):
        present[number] = there
        values.append(value)
    if asked.by:
        values = _stands(service, found, asked.by)
    if asked.filters:
        passing = _passing(service, found.keys, asked.filters)
    coloured = colour(values, present, aspect_column(asked.by) if asked.by else column, shown=passing)
    header = {
        "version": version,
        "points": len(found.keys),
        "rows": found.rows,
        "made_at": found.made_at.isoformat(),
        "model": found.model,
        "columns": [each.name for each in columns],
        "aspects": ASPECTS,
        "column": column.name if column else None,
        "by": asked.by or None,
        "kind": coloured.kind,
        "legend": [{"label": label, "rows": rows} for label, rows in coloured.legend],
        "other": coloured.count(OTHER) if column or asked.by else 0,
        "none": coloured.count(NONE),
        "nothing": NOTHING.get(asked.by or "", "none"),
        "left_out": coloured.count(LEFT_OUT),
        "gone": coloured.count(GONE),
        **_since(service, found, int(present.sum())),
    }
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<I", len(text)) + text + found.places.astype("<u2").tobytes() + coloured.codes.tobytes()


def _stands(service: Service, found: EmbeddingMap, name: str) -> list[Any]:
    if name not in ASPECTS:
        raise Problem(422, f"The map cannot be coloured by {name[:100]!r}.", suggestion(name, ASPECTS))
    known = dict(aspect_values(name, service, found.keys))
    return [known.get(key) for key in found.keys]


def _passing(service: Service, keys: Sequence[Key], filters: str) -> npt.NDArray[np.bool_]:
    where = service.filter(filters)
    passes: set[Key] = set()
    for start in range(0, len(keys), PAGE):
        passes |= service.rows.metadata(keys[start : start + PAGE], where).keys()
    return np.fromiter((key in passes for key in keys), bool, len(keys))


def _column(service: Service, found: EmbeddingMap, columns: Sequence[Column], name: str | None) -> Column | None:
    if name is None:
        step = max(1, len(found.keys) // SAMPLE)
        keys = list(found.keys[::step])
        return best_column(list(service.rows.metadata(keys).values()), columns)
    if not name:
        return None
    chosen = next((column for column in columns if column.name == name), None)
    if chosen is None:
        hint = suggestion(name, [column.name for column in columns])
        raise Problem(422, f"There is no metadata column {name[:100]!r} to colour by.", hint)
    return chosen


def _values(service: Service, keys: Sequence[Key], column: Column | None) -> Iterator[tuple[bool, Any]]:
    """Of each key, whether its row is still there and what it has in the column."""
    for start in range(0, len(keys), PAGE):
        some = keys[start : start + PAGE]
        known = service.rows.metadata(some)
        for key in some:
            row = known.get(key)
            yield row is not None, row.get(column.name) if row is not None and column is not None else None


def _since(service: Service, found: EmbeddingMap, present: int) -> dict[str, Any]:
    """How far the map is behind the vectors."""
    status = service.operations.status()
    runs = service.pipeline.store.runs(RUNS)
    changed = sum(int(run.report.get("embedded", 0) or 0) for run in runs if run.started_at > found.made_at)
    return {
        "missing": max(0, status.current + status.stale - present - (found.rows - len(found.keys))),
        "changed": min(changed, present),
        "other_model": bool(status.model and found.model and status.model != found.model),
    }
