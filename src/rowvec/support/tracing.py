"""Spans for OpenTelemetry, where the program that rowvec runs in has set up its SDK.

Only the API is used, and only once somebody else has imported it: without an SDK a span costs one look into two
dictionaries. No span carries a query, a text, a key or a value. Names follow OpenTelemetry's conventions for HTTP and,
in version 1.37 and later, for generative AI (`gen_ai.*`); what they do not name is called `rowvec.*`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

Kind = Literal["INTERNAL", "CLIENT", "SERVER"]
Value = str | bool | int | float


class Span(Protocol):
    """What rowvec does with a span."""

    def name(self, name: str) -> None: ...

    def note(self, attributes: Mapping[str, Value | None]) -> None: ...

    def failed(self, reason: str) -> None: ...


class _Nothing:
    """The span of a program that nobody traces."""

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def name(self, name: str) -> None:
        return None

    def note(self, attributes: Mapping[str, Value | None]) -> None:
        return None

    def failed(self, reason: str) -> None:
        return None


class _Recorded:
    def __init__(self, span: Any) -> None:
        self._span = span

    def name(self, name: str) -> None:
        self._span.update_name(name)

    def note(self, attributes: Mapping[str, Value | None]) -> None:
        self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def failed(self, reason: str) -> None:
        """
        Args:
            reason: a word of few values, such as the class of an error or the status of an answer.
        """
        trace = sys.modules["opentelemetry.trace"]
        self._span.set_attribute("error.type", reason)
        self._span.set_status(trace.Status(trace.StatusCode.ERROR))


NOTHING = _Nothing()


def span(name: str, attributes: Mapping[str, Value | None] | None = None, *, kind: Kind = "INTERNAL") -> Any:
    """A context manager that gives the `Span` of what is done inside it, a child of the span around it.

    An error that leaves it marks it as failed by the error's class alone: a message may quote a text.
    """
    return _recorded(name, attributes or {}, kind, None) if traced() else NOTHING


def traced() -> bool:
    """Whether an SDK of OpenTelemetry is set up in this process."""
    trace = sys.modules.get("opentelemetry.trace")
    # Before an SDK is set up, the API answers by a stand-in that waits for one.
    return trace is not None and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def server_span(headers: Mapping[str, str], attributes: Mapping[str, Value | None]) -> Any:
    """The span of a request: of the trace that its `traceparent` names, unless somebody has begun a span for it."""
    if not traced() or sys.modules["opentelemetry.trace"].get_current_span().get_span_context().is_valid:
        return NOTHING
    from opentelemetry import propagate

    return _recorded("HTTP", attributes, "SERVER", propagate.extract(headers))


def pass_on(headers: MutableMapping[str, str]) -> None:
    """Add what tells the next service which trace this is a part of."""
    if traced():
        from opentelemetry import propagate

        propagate.inject(headers)


def service(url: str) -> dict[str, Value | None]:
    """Where a service is, without what stands before its host or behind it."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return {"server.address": parts.hostname, "server.port": port}


@contextmanager
def _recorded(name: str, attributes: Mapping[str, Value | None], kind: Kind, context: Any) -> Iterator[Span]:
    from rowvec import __version__

    trace = sys.modules["opentelemetry.trace"]
    tracer = trace.get_tracer("rowvec", __version__)
    known = {key: value for key, value in attributes.items() if value is not None}
    with tracer.start_as_current_span(
        name, context, trace.SpanKind[kind], known, record_exception=False, set_status_on_exception=False
    ) as made:
        recorded = _Recorded(made)
        try:
            yield recorded
        except BaseException as error:
            recorded.failed(type(error).__name__)
            raise
