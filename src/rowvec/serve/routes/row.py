"""What the page of one row asks for: its values, the text its vector was made of, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from rowvec.documents.passages import SeesWindow
from rowvec.generations.lifecycle import live_rows, words
from rowvec.serve.context import context_of
from rowvec.serve.problems import Problem
from rowvec.serve.replies import json_reply, numbers
from rowvec.serve.routes.map import MapFile
from rowvec.serve.service import Service, choose
from rowvec.stores.base import GenerationHandle
from rowvec.types import Key

Id = Annotated[str, Query(max_length=10_000)]


def row_routes(files: Mapping[str, MapFile]) -> APIRouter:
    """Args: files: of the maps, by pipeline."""
    router = APIRouter(prefix="/ui/row", include_in_schema=False)

    def picked(request: Request, pipeline: str | None) -> Service:
        services = context_of(request).services
        return choose(services, pipeline or next(iter(services)))

    @router.get("/metadata")
    async def metadata(request: Request, id: Id, pipeline: str | None = None) -> Response:
        service = picked(request, pipeline)
        return json_reply(await context_of(request).threads.run(_metadata, service, id))

    @router.get("/data")
    async def data(request: Request, id: Id, pipeline: str | None = None) -> Response:
        service = picked(request, pipeline)
        return json_reply(await context_of(request).threads.run(_whole, service, files[service.name], id))

    return router


def _metadata(service: Service, id: str) -> dict[str, Any]:
    metadata, _ = service.row(id)
    return {"id": service.key(id), "metadata": numbers(metadata)}


def _whole(service: Service, file: MapFile, id: str) -> dict[str, Any]:
    """
    Raises:
        Problem: 404, neither a vector nor a failure has that key.
    """
    service.ready()
    key, (_, rows) = service.key(id), live_rows(service.pipeline.store, service.pipeline.spec)
    metadata, failure = rows.metadata([key]).get(key), _failure(rows, key)
    if metadata is None and failure is None:
        raise service.unknown(id)
    written = rows.written([key]).get(key)
    made = rows.spec.fingerprint
    return {
        "id": key,
        "metadata": numbers(metadata or {}),
        "embedded": written is not None,
        "written_at": written.at if written else None,
        "model": words(made) if made else None,
        "failure": failure,
        "unfit": [{"column": each.column, "reason": each.reason} for each in rows.unfit([key])],
        "on_map": _on_map(file, key),
        **_text(service, rows, key, cut=bool(written and written.truncated)),
    }


def _failure(rows: GenerationHandle, key: Key) -> dict[str, Any] | None:
    stored = rows.lookup([key]).get(key)
    if stored is None or stored.failure is None:
        return None
    found = next((each for each in rows.failures() if each.key == key), None)
    return None if found is None else {
        "error": found.error, "tries": found.attempts, "failed_at": found.failed_at, "next_try": found.next_try
    }  # fmt: skip


def _text(service: Service, rows: GenerationHandle, key: Key, *, cut: bool) -> dict[str, Any]:
    """The text as far as it is kept, its passages, and where the model's window ends in a text that was cut."""
    kept, made = rows.texts([key]).get(key), rows.spec.fingerprint
    if kept is None:
        return {"text": None, "passages": [], "tokens": None, "window": None, "longer": cut, "read": None}
    window = made.max_tokens if made else None
    passages = [[each.start, each.end] for each in kept.passages]
    embedder = service.pipeline.embedder
    about = {"text": kept.text, "passages": passages, "tokens": None, "window": window, "longer": cut, "read": None}
    if made is None or made.of_model != embedder.fingerprint:
        # Another model than that of the config made the vectors; its tokens are not those of this one.
        return about
    if cut and made.overflow == "truncate" and isinstance(embedder, SeesWindow):
        about["read"] = _within(embedder, kept.text)
    return about | {"tokens": embedder.count_tokens([kept.text])[0]}


def _within(embedder: SeesWindow, text: str) -> int:
    """Characters at the beginning of the text that fit the window, found by halving."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if embedder.fits([text[:middle]])[0]:
            low = middle
        else:
            high = middle - 1
    return low


def _on_map(file: MapFile, key: Key) -> bool:
    try:
        return key in file.current()[1].index
    except Problem:
        return False
