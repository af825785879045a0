"""The span of a request, by OpenTelemetry's conventions for HTTP servers."""

from __future__ import annotations

from typing import Any

from starlette.types import Scope

from rowvec.support.tracing import NOTHING, Span, server_span, traced


def request_span(scope: Scope) -> Any:
    """A context manager that gives the `Span` of a request, without its path: that may hold the key of a row."""
    if not traced():
        return NOTHING
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return server_span(headers, {"http.request.method": scope["method"], "url.scheme": scope["scheme"]})


def note_answer(span: Span, scope: Scope, status: int) -> None:
    """What is known once a request is answered."""
    route = getattr(scope.get("route"), "path", None)
    span.name(f"{scope['method']} {route}" if route else scope["method"])
    span.note({"http.route": route, "http.response.status_code": status})
    if status >= 500:
        span.failed(str(status))
