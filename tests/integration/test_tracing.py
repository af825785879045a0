"""Spans of searches, syncs, requests and calls of services, as OpenTelemetry's own SDK records them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rowvec.embedders.openai.client import OpenAIEmbedder
from rowvec.errors import EmbedderError
from rowvec.rerankers.service import ServiceReranker
from rowvec.searcher import Searcher
from rowvec.support.tracing import span, traced
from rowvec.syncing.run import sync
from tests.integration.openai_rig import KEY, make
from tests.integration.serve_rig import application, client_of, product_pipeline
from tests.servers.openai import EmbeddingServer, Fault
from tests.servers.rerank import KEY as RERANK_KEY
from tests.servers.rerank import RerankServer

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """An SDK for one test: the API lets a program set it up once."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def named(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    (found,) = (each for each in exporter.get_finished_spans() if each.name == name)
    return found


def parent(exporter: InMemorySpanExporter, child: ReadableSpan) -> str | None:
    assert child.parent is not None
    spans = {each.context.span_id: each.name for each in exporter.get_finished_spans() if each.context}
    return spans.get(child.parent.span_id)


def test_a_hybrid_search_shows_its_parts_under_one_span(spans: InMemorySpanExporter) -> None:
    searcher = Searcher.of(product_pipeline())
    spans.clear()
    searcher.search("brake pads", mode="hybrid", limit=3)
    whole = named(spans, "rowvec.search")
    assert whole.attributes == {
        "rowvec.pipeline": "products", "rowvec.mode": "hybrid", "rowvec.limit": 3, "rowvec.hits": 3,
        "rowvec.complete": True,
    }  # fmt: skip
    for part in ("rowvec.embed", "rowvec.semantic", "rowvec.keyword", "rowvec.fuse"):
        assert parent(spans, named(spans, part)) == "rowvec.search"


def test_no_span_carries_what_people_search_for(spans: InMemorySpanExporter) -> None:
    searcher = Searcher.of(product_pipeline())
    searcher.search("brake pads", mode="hybrid")
    assert "brake" not in "".join(each.to_json() for each in spans.get_finished_spans())


def test_a_sync_shows_reading_embedding_and_writing(spans: InMemorySpanExporter) -> None:
    pipeline = product_pipeline(count=30, synced=False)
    sync(pipeline)
    whole = named(spans, "rowvec.sync")
    assert whole.attributes is not None
    assert whole.attributes["rowvec.rows.inserted"] == whole.attributes["rowvec.rows.read"] == 30
    found = spans.get_finished_spans()
    for part, count in {"read": "rows", "embed": "texts", "write": "rows"}.items():
        of_part = [each for each in found if each.name == f"rowvec.{part}"]
        assert {parent(spans, each) for each in of_part} == {"rowvec.sync"}
        assert sum(int(str((each.attributes or {})[f"rowvec.{count}"])) for each in of_part) == 30


def test_a_request_goes_on_with_the_trace_of_its_caller(spans: InMemorySpanExporter) -> None:
    with client_of(application(product_pipeline())) as client:
        answer = client.post(
            "/search/semantic", json={"query": "brake"}, headers={"traceparent": f"00-{TRACE}-{CALLER}-01"}
        )
    assert answer.status_code == 200
    request = named(spans, "POST /search/semantic")
    assert request.context is not None
    assert request.parent is not None
    assert (f"{request.context.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE, CALLER)
    assert request.kind is trace.SpanKind.SERVER
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["http.route"] == "/search/semantic"
    # The search runs in a thread of its own.
    assert parent(spans, named(spans, "rowvec.search")) == "POST /search/semantic"


def test_a_request_that_fails_has_its_route_and_status(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    with client_of(application(product_pipeline())) as client:
        monkeypatch.setattr(Searcher, "search", fail)
        assert client.post("/search/semantic", json={"query": "brake"}).status_code == 500
    request = named(spans, "POST /search/semantic")
    assert request.attributes is not None
    assert request.attributes["http.route"] == "/search/semantic"
    assert request.attributes["http.response.status_code"] == 500
    assert request.status.status_code is trace.StatusCode.ERROR


@pytest.mark.parametrize("header", ["", "nonsense", "00-0-0-01", f"00-{TRACE}-{CALLER}-01" * 1000])
def test_a_request_with_a_broken_traceparent_has_a_trace_of_its_own(spans: InMemorySpanExporter, header: str) -> None:
    with client_of(application(product_pipeline())) as client:
        answer = client.get("/pipelines", headers={"traceparent": header})
    assert answer.status_code == 200
    assert named(spans, "GET /pipelines").parent is None


def test_a_request_that_is_refused_names_no_path(spans: InMemorySpanExporter) -> None:
    with client_of(application(product_pipeline())) as client:
        client.get("/nothing/here/4711")
    request = named(spans, "GET")
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 404
    assert "4711" not in request.to_json()


def test_a_call_of_a_service_has_the_names_of_generative_ai_and_passes_its_trace_on(
    spans: InMemorySpanExporter,
) -> None:
    seen: list[httpx.Headers] = []
    with EmbeddingServer() as server:
        embedder = make(server)
        embedder._http.event_hooks["request"].append(lambda request: seen.append(request.headers))
        with span("outside"):
            embedder.embed(["one", "two"])
        embedder.close()
    call = named(spans, "embeddings text-embedding-3-small")
    assert call.kind is trace.SpanKind.CLIENT
    assert call.attributes is not None
    tokens = call.attributes["gen_ai.usage.input_tokens"]
    assert isinstance(tokens, int)
    assert tokens > 0
    assert dict(call.attributes) == {
        "gen_ai.operation.name": "embeddings", "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "text-embedding-3-small", "gen_ai.embeddings.dimension.count": 64,
        "gen_ai.usage.input_tokens": tokens, "rowvec.texts": 2, "server.address": "127.0.0.1",
        "server.port": int(server.url.split(":")[2].split("/")[0]),
    }  # fmt: skip
    assert call.context is not None
    assert seen[0]["traceparent"].startswith(f"00-{call.context.trace_id:032x}-{call.context.span_id:016x}-")
    assert KEY not in call.to_json()


def test_a_call_that_fails_is_marked_by_the_class_of_its_error(spans: InMemorySpanExporter) -> None:
    with EmbeddingServer(refuse=lambda text: "secret" in text) as server:
        embedder: OpenAIEmbedder = make(server)
        embedder.embed(["fine"])
        with pytest.raises(EmbedderError):
            embedder.embed(["a secret text"])
        embedder.close()
    failed = spans.get_finished_spans()[-1]
    assert failed.status.status_code is trace.StatusCode.ERROR
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "TextRefused"
    assert "secret" not in failed.to_json()


def test_tries_of_one_call_are_one_span(spans: InMemorySpanExporter) -> None:
    with EmbeddingServer(script=[Fault.ERROR]) as server:
        embedder = make(server)
        embedder.embed(["one"])
        embedder.close()
    assert [each.name for each in spans.get_finished_spans()] == ["embeddings text-embedding-3-small"]


def test_a_reranker_is_called_under_its_search(spans: InMemorySpanExporter) -> None:
    with RerankServer(lambda query, text: 1.0) as server, span("outside"):
        reranker = ServiceReranker("cohere", server.url("cohere"), "m", api_key=RERANK_KEY, timeout=20.0)
        assert reranker.scores("brake", ["one", "two"]).scores == [1.0, 1.0]
        reranker.close()
    call = named(spans, "rerank")
    assert parent(spans, call) == "outside"
    assert call.attributes is not None
    assert call.attributes["rowvec.texts"] == 2


def test_without_an_sdk_nothing_is_recorded_and_nothing_is_imported() -> None:
    code = (
        "import json, sys; from rowvec.support.tracing import span, traced\n"
        "with span('a', {'b': 1}) as one: one.note({'c': 2}); one.name('d'); one.failed('e')\n"
        "print(json.dumps([traced(), 'opentelemetry' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, False]
    assert not traced()
