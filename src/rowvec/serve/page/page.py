"""The web page: frames without data, which anybody may have, and the status as a fragment behind the key."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import jinja2
from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from rowvec.evaluation.recall import GOOD_RECALL
from rowvec.pipeline_status import Status
from rowvec.serve.background import Background
from rowvec.serve.context import context_of
from rowvec.serve.page import pictures
from rowvec.serve.page.docs import described
from rowvec.serve.service import Service, choose
from rowvec.types import Failure, Run

HERE = Path(__file__).parent
RUNS = 24
FAILURES = 10

templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


class _Static(StaticFiles):
    """Asked for again each time, and sent only where it changed: new pages never meet old scripts."""

    def file_response(self, *given: Any, **more: Any) -> Response:
        response = super().file_response(*given, **more)
        response.headers["Cache-Control"] = "no-cache"
        return response


def install(app: FastAPI) -> None:
    app.mount("/static", GZipMiddleware(_Static(directory=HERE / "static"), minimum_size=500), name="static")

    @app.get("/", include_in_schema=False)
    async def search() -> Response:
        return _html("search.html", root="")

    @app.get("/ui/status", include_in_schema=False)
    async def status() -> Response:
        return _html("status.html", root="../")

    @app.get("/ui/map", include_in_schema=False)
    async def embedding_map() -> Response:
        return _html("map.html", root="../")

    @app.get("/ui/compare", include_in_schema=False)
    async def compare() -> Response:
        return _html("compare.html", root="../")

    @app.get("/ui/row", include_in_schema=False)
    async def row() -> Response:
        return _html("row.html", root="../")

    @app.get("/ui/status/body", include_in_schema=False)
    async def status_body(request: Request, pipeline: str | None = None) -> Response:
        context = context_of(request)
        service = choose(context.services, pipeline or next(iter(context.services)))
        return await context.side_threads.run(_status_body, service, context.background)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return _html("docs.html", root="", groups=described(app.openapi()), version=app.version)


def _html(template: str, **values: Any) -> Response:
    return HTMLResponse(templates.get_template(template).render(**values), headers={"Cache-Control": "no-cache"})


def _status_body(service: Service, background: Background) -> Response:
    used = background.used
    tasks = {"broker": used, "queue": background.look() if used else None}
    return _html("status_body.html", **body_values(service, service.status()), **tasks)


def body_values(service: Service, status: Status) -> dict[str, Any]:
    """What the template of the status says."""
    store = service.pipeline.store
    runs = store.runs(RUNS) if status.runs else []
    return {
        "status": status,
        "dimension": service.pipeline.spec.dimension,
        "index": status.index,
        "runs": runs,
        "failures": status.latest_failures[:FAILURES],
        "pictures": _pictures(status, runs),
        "parts": pictures.PARTS,
        "cache": service.embedder,
    }


def _pictures(status: Status, runs: list[Run]) -> dict[str, Any]:
    coverage = percent(status.coverage)
    index = status.index
    index_bytes = (index.bytes if index else None) or 0
    sizes = [
        pictures.Part(f"rows {size(status.bytes - index_bytes)}", max(0, status.bytes - index_bytes), "new"),
        pictures.Part(f"vector index {size(index_bytes)}", index_bytes, "changed"),
    ]
    recall = index.recall if index else None
    return {
        "coverage": pictures.ring(status.coverage, coverage, f"Coverage {coverage}"),
        "recall": None if recall is None else pictures.ring(
            recall, percent(recall), f"Recall of the index {percent(recall)}", good=GOOD_RECALL
        ),
        "sizes": pictures.stripe(sizes, f"{sizes[0].name}, {sizes[1].name}"),
        "runs": pictures.runs(runs),
    }  # fmt: skip


def percent(fraction: float) -> str:
    """Never 100 % unless it is: a missing row must show."""
    shown = int(fraction * 1000) / 10
    return f"{shown:.0f} %" if shown == int(shown) else f"{shown:.1f} %"


def size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def took(run: Run) -> str:
    return duration((run.ended_at - run.started_at).total_seconds()) if run.ended_at else "–"


def ago(moment: dt.datetime) -> str:
    return duration(max(0.0, (dt.datetime.now(dt.UTC) - moment).total_seconds())) + " ago"


def first_line(text: str) -> str:
    return text.partition("\n")[0]


def retry_in(failure: Failure) -> str:
    left = (failure.next_try - dt.datetime.now(dt.UTC)).total_seconds()
    return f"in {duration(left)}" if left > 0 else "with the next sync"


templates.filters.update(
    percent=percent, size=size, duration=duration, took=took, ago=ago, first_line=first_line, retry_in=retry_in
)
