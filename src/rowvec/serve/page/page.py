"""The web page: frames without data, which anybody may have, and what fills them as fragments behind the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from rowvec.serve.background import Background
from rowvec.serve.choosing import choose_or_first
from rowvec.serve.context import Context, context_of
from rowvec.serve.guard.auth import PANELS
from rowvec.serve.page import bodies, events
from rowvec.serve.page.bodies import HERE, templates
from rowvec.serve.page.docs import described
from rowvec.serve.service import Service

TITLES = {"overview": "Overview", "status": "Status", "runs": "Runs and money", "eval": "Evaluation", "quality": "Data"}


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

    @app.get("/ui/map", include_in_schema=False)
    async def embedding_map() -> Response:
        return _html("map.html", root="../")

    @app.get("/ui/compare", include_in_schema=False)
    async def compare() -> Response:
        return _html("compare.html", root="../")

    @app.get("/ui/row", include_in_schema=False)
    async def row() -> Response:
        return _html("row.html", root="../")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        names = list(context_of(request).services)
        keyed = bool(context_of(request).settings.api_keys)
        groups = described(app.openapi(), several=len(names) > 1, keyed=keyed)
        return _html("docs.html", root="", groups=groups, version=app.version, several=len(names) > 1, keyed=keyed)

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return FileResponse(HERE / "static" / "icon.svg", media_type="image/svg+xml")

    for name in PANELS:
        _install_panel(app, name)
    events.install(app)


def _install_panel(app: FastAPI, name: str) -> None:
    """A page about the state of pipelines: its frame, and its body behind the key."""

    async def frame() -> Response:
        return _html("panel.html", root="../", page=name, title=TITLES[name], body=f"ui/{name}/body")

    async def body(request: Request, pipeline: str | None = None) -> Response:
        context = context_of(request)
        return await context.side_threads.run(_body, context, name, pipeline)

    async def elsewhere() -> Response:
        return RedirectResponse("ui/" if name == PANELS[0] else f"../{name}")

    first = name == PANELS[0]
    app.add_api_route("/ui/" if first else f"/ui/{name}", frame, include_in_schema=False)
    app.add_api_route("/ui" if first else f"/ui/{name}/", elsewhere, include_in_schema=False)
    app.add_api_route(f"/ui/{name}/body", body, include_in_schema=False)


def _html(template: str, http_status: int = 200, **values: Any) -> Response:
    return HTMLResponse(
        templates.get_template(template).render(**values), http_status, headers={"Cache-Control": "no-cache"}
    )


def not_found(request: Request, status: int) -> Response:
    """For a person in a browser who mistyped an address.

    Args:
        status: 404; 401 where it was not looked whether the address exists.
    """
    depth = request.url.path.count("/") - 1
    return _html("missing.html", status, root="../" * depth, page="missing", path=request.url.path)


def _body(context: Context, name: str, pipeline: str | None) -> Response:
    services = context.services
    if name == "overview":
        values: dict[str, Any] = {"lines": bodies.overview(services.values())}
    else:
        service = choose_or_first(services, pipeline)
        values = _values(name, service, services) | (_tasks(context.background) if name == "status" else {})
    return _html(f"{name}_body.html", root="../", **values)


def _values(name: str, service: Service, services: Mapping[str, Service]) -> dict[str, Any]:
    if name == "status":
        return bodies.status_values(service, service.operations.status())
    if name == "runs":
        return bodies.run_values(service)
    if name == "eval":
        return bodies.evaluation_values(service) | {"several": len(services) > 1}
    return bodies.quality_values(service)


def _tasks(background: Background) -> dict[str, Any]:
    used = background.used
    return {"broker": used, "queue": background.look() if used else None}
