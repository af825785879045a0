"""What the page of the map asks for: the points with their colours, a row, and where the hits of a query are."""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from rowvec.maps.draw import EmbeddingMap
from rowvec.searcher import SearchResult
from rowvec.serve.context import context_of
from rowvec.serve.models import Limit, QueryText, SearchMode
from rowvec.serve.page.colours import GONE, NONE, OTHER, best_column, can_colour, colour
from rowvec.serve.problems import Problem
from rowvec.serve.replies import json_reply, numbers
from rowvec.serve.service import Service, choose
from rowvec.support.suggestions import suggestion
from rowvec.types import Column, Key

PAGE = 5_000
SAMPLE = 2_000
RUNS = 100
FRESH_SECONDS = 30.0
"""Seconds that the colours of a column are kept: reading them takes a statement for every PAGE rows."""
KEPT = 8


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
        self._bodies: dict[tuple[int, str | None], tuple[float, bytes]] = {}

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
        hint = f"`rowvec map {name}` draws it."
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

    def body(self, column: str | None) -> bytes:
        """The points, coloured by a column; None for the one that shows most, "" for none."""
        self._service.ready()
        version, found = self.current()
        with self._guard:
            kept = self._bodies.get((version, column))
        if kept is not None and time.monotonic() - kept[0] < FRESH_SECONDS:
            return kept[1]
        body = _body(self._service, version, found, column)
        with self._guard:
            self._bodies[version, column] = (time.monotonic(), body)
            while len(self._bodies) > KEPT:
                self._bodies.pop(next(iter(self._bodies)))
        return body


def map_routes(files: Mapping[str, MapFile]) -> APIRouter:
    """Args: files: by pipeline."""
    router = APIRouter(prefix="/ui/map", include_in_schema=False)

    def picked(request: Request, pipeline: str | None) -> tuple[Service, MapFile]:
        services = context_of(request).services
        service = choose(services, pipeline or next(iter(services)))
        return service, files[service.name]

    @router.get("/points")
    async def points(request: Request, pipeline: str | None = None, column: str | None = None) -> Response:
        _, file = picked(request, pipeline)
        body = await context_of(request).side_threads.run(file.body, column)
        return Response(body, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})

    @router.get("/row")
    async def row(
        request: Request,
        version: int,
        point: Annotated[int | None, Query(ge=0)] = None,
        id: Annotated[str | None, Query(max_length=10_000)] = None,
        pipeline: str | None = None,
    ) -> Response:
        service, file = picked(request, pipeline)
        return json_reply(await context_of(request).threads.run(_row, service, file, version, point, id))

    @router.get("/search")
    async def search(
        request: Request,
        query: Annotated[QueryText, Query()],
        version: int,
        mode: Annotated[SearchMode, Query()] = "semantic",
        limit: Annotated[Limit, Query()] = 100,
        pipeline: str | None = None,
    ) -> Response:
        service, file = picked(request, pipeline)
        context = context_of(request)
        found = await context.threads.run(file.at, version)
        result: SearchResult = await context.threads.run(service.search, query, mode, limit)
        context.searched(service, mode, query, None, result)
        hits = [
            {"point": found.index.get(hit.key), "id": hit.key, "score": hit.score, "metadata": numbers(hit.metadata)}
            for hit in result.hits
        ]
        return json_reply({"hits": hits})

    return router


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


def _body(service: Service, version: int, found: EmbeddingMap, name: str | None) -> bytes:
    """A header as JSON behind its length, then x and y of every point as uint16, then the colour codes as uint8.

    All little-endian; the header is filled up with blanks to a multiple of four bytes.
    """
    columns = [column for column in service.pipeline.spec.metadata if can_colour(column)]
    column = _column(service, found, columns, name)
    values: list[Any] = []
    present = np.zeros(len(found.keys), bool)
    for number, (there, value) in enumerate(_values(service, found.keys, column)):
        present[number] = there
        values.append(value)
    coloured = colour(values, present, column)
    header = {
        "version": version,
        "points": len(found.keys),
        "made_at": found.made_at.isoformat(),
        "model": found.model,
        "columns": [each.name for each in columns],
        "column": column.name if column else None,
        "kind": coloured.kind,
        "legend": [{"label": label, "rows": rows} for label, rows in coloured.legend],
        "other": coloured.count(OTHER) if column else 0,
        "none": coloured.count(NONE),
        "gone": coloured.count(GONE),
        **_since(service, found, int(present.sum())),
    }
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<I", len(text)) + text + found.places.astype("<u2").tobytes() + coloured.codes.tobytes()


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
    status = service.status()
    runs = service.pipeline.store.runs(RUNS)
    changed = sum(int(run.report.get("embedded", 0) or 0) for run in runs if run.started_at > found.made_at)
    return {
        "missing": max(0, status.current + status.stale - present),
        "changed": min(changed, present),
        "other_model": bool(status.model and found.model and status.model != found.model),
    }
