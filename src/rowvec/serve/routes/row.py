"""What the page of one row asks for: its values, the text its vector was made of, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from rowvec.documents.passages import SeesWindow
from rowvec.generations.lifecycle import live_rows, words
from rowvec.serve.choosing import choose_or_first
from rowvec.serve.context import context_of
from rowvec.serve.parameters import Router
from rowvec.serve.problems import Problem
from rowvec.serve.replies import json_reply, numbers
from rowvec.serve.routes.map import MapFile
from rowvec.serve.service import Service
from rowvec.stores.base import GenerationHandle, RowsHandle
from rowvec.types import Key

Id = Annotated[str, Query(max_length=10_000)]


def row_routes(files: Mapping[str, MapFile]) -> Router:
    """Args: files: of the maps, by pipeline."""
    router = Router(prefix="/ui/row", include_in_schema=False)

    def picked(request: Request, pipeline: str | None) -> Service:
        services = context_of(request).services
        return choose_or_first(services, pipeline)

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
    key = service.key(id)
    if service.limited:
        return _seen(service, key, id)
    _, rows = live_rows(service.pipeline.store, service.pipeline.spec)
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


def _seen(service: Service, key: Key, id: str) -> dict[str, Any]:
    """What of it somebody may see who sees the rows of a filter: what searches read, and not how it was synced."""
    rows = service.rows
    metadata, made = rows.metadata([key]).get(key), rows.spec.fingerprint
    if metadata is None:
        raise service.unknown(id)
    return {
        "id": key,
        "metadata": numbers(metadata),
        "embedded": True,
        "written_at": None,
        "model": words(made) if made else None,
        "failure": None,
        "unfit": [],
        "on_map": False,
        **_text(service, rows, key, cut=None),
    }


def _failure(rows: GenerationHandle, key: Key) -> dict[str, Any] | None:
    stored = rows.lookup([key]).get(key)
    if stored is None or stored.failure is None:
        return None
    found = next((each for each in rows.failures() if each.key == key), None)
    return None if found is None else {
        "error": found.error, "tries": found.attempts, "failed_at": found.failed_at, "next_try": found.next_try
    }  # fmt: skip


def _text(service: Service, rows: RowsHandle, key: Key, *, cut: bool | None) -> dict[str, Any]:
    """The text as far as it is kept, its passages, and where the model's window ends in a text that was cut.

    Args:
        cut: None where only the text can tell.
    """
    kept, made = rows.texts([key]).get(key), rows.spec.fingerprint
    if kept is None:
        return {"text": None, "passages": [], "tokens": None, "window": None, "longer": bool(cut), "read": None}
    window = made.max_tokens if made else None
    passages = [[each.start, each.end] for each in kept.passages]
    embedder = service.pipeline.embedder
    about = {
        "text": kept.text, "passages": passages, "tokens": None, "window": window, "longer": bool(cut), "read": None
    }  # fmt: skip
    if made is None or made.of_model != embedder.fingerprint:
        # Another model than that of the config made the vectors; its tokens are not those of this one.
        return about
    if made.overflow == "truncate" and isinstance(embedder, SeesWindow):
        if cut is None:
            cut = about["longer"] = not passages and not embedder.fits([kept.text])[0]
        if cut:
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
