"""Texts that a service refuses, falls over or gives no vector cost themselves; what it takes at once is learned."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rowvec.errors import EmbedderError, EmbedderUnavailable
from rowvec.pipeline import Options, Pipeline
from rowvec.syncing import outage
from rowvec.syncing.run import sync
from tests.integration.openai_rig import running
from tests.servers.openai import EmbeddingServer
from tests.support import rows_of, simple_pipeline

SHARES = [0.001, 0.02, 0.2]
COUNT = 1000


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(outage, "LONGEST_PAUSE", 0.05)


def texts(share: float) -> dict[Any, str]:
    bad = set(random.Random(3).sample(range(COUNT), max(1, int(COUNT * share))))
    return {key: f"row {key}{' poison' if key in bad else ''}" for key in range(COUNT)}


def is_bad(text: str) -> bool:
    return "poison" in text


@contextmanager
def pipeline_of(rows: dict[Any, str], **options: Any) -> Iterator[tuple[EmbeddingServer, Pipeline]]:
    with running(dimension=8, **options) as (server, embedder):
        yield server, simple_pipeline(rows=rows, embedder=embedder)


def assert_only_the_bad_failed(pipeline: Pipeline, rows: dict[Any, str]) -> None:
    bad = {key for key, text in rows.items() if is_bad(text)}
    assert {failure.key for failure in rows_of(pipeline).failures()} == bad
    stored = {key for key, found in rows_of(pipeline).lookup(list(rows)).items() if found.text_hash is not None}
    assert stored == rows.keys() - bad


@pytest.mark.parametrize("share", SHARES)
def test_texts_that_a_service_falls_over_with_500_fail_alone(share: float) -> None:
    """ollama#14657: 500 whenever one certain text is in the batch."""
    rows = texts(share)
    with pipeline_of(rows, fall=is_bad) as (server, pipeline):
        report = sync(pipeline)
        bad = sum(map(is_bad, rows.values()))
        assert (report.inserted, report.failed) == (COUNT - bad, bad)
        assert_only_the_bad_failed(pipeline, rows)
        assert "llama runner process" in rows_of(pipeline).failures()[0].error
        assert max(server.billed_texts[text] for text in rows.values()) == 1, "a good text is paid for once"
        tried = sum(is_bad(text) for request in server.log for text in request.texts)
        assert tried <= 20 * bad
        before = server.requests
        retried = sync(pipeline, Options(retry_failed=True))
        assert (retried.inserted, retried.failed) == (0, bad)
        assert server.requests - before <= 20 * bad
        server.fall = lambda text: False
        assert sync(pipeline, Options(retry_failed=True)).inserted == bad


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("how", ["nan", "null", "zero", "short"])
def test_texts_that_get_a_bad_vector_fail_alone(how: str, share: float) -> None:
    """ragflow#15392: 200 with one vector of NaN whenever one certain text is in the batch."""
    rows = texts(share)
    with pipeline_of(rows, spoil=lambda text: how if is_bad(text) else None) as (server, pipeline):
        report = sync(pipeline)
        bad = sum(map(is_bad, rows.values()))
        assert (report.inserted, report.failed) == (COUNT - bad, bad)
        assert_only_the_bad_failed(pipeline, rows)
        assert max(server.billed_texts[text] for text in rows.values() if not is_bad(text)) <= 3
        retried = sync(pipeline, Options(retry_failed=True))
        assert (retried.inserted, retried.failed) == (0, bad)


@pytest.mark.parametrize("share", SHARES)
def test_texts_that_spoil_every_vector_of_their_batch_fail_alone(share: float) -> None:
    rows = texts(share)
    with pipeline_of(rows) as (server, pipeline):
        work = server.answer

        def answer(body: dict[str, Any], key: str | None) -> Any:
            server.spoil = (lambda text: "nan") if any(map(is_bad, body["input"])) else (lambda text: None)
            return work(body, key)

        server.answer = answer  # type: ignore[method-assign]
        pipeline.embedder.concurrency = 1
        report = sync(pipeline)
        bad = sum(map(is_bad, rows.values()))
        assert (report.inserted, report.failed) == (COUNT - bad, bad)
        assert_only_the_bad_failed(pipeline, rows)


@pytest.mark.parametrize("share", SHARES)
def test_texts_that_a_service_refuses_fail_alone(share: float) -> None:
    rows = texts(share)
    with pipeline_of(rows, refuse=is_bad) as (server, pipeline):
        report = sync(pipeline)
        bad = sum(map(is_bad, rows.values()))
        assert (report.inserted, report.failed) == (COUNT - bad, bad)
        assert_only_the_bad_failed(pipeline, rows)
        assert max(server.billed_texts[text] for text in rows.values()) == 1


def test_a_service_that_refuses_everything_after_a_while_is_not_taken_for_bad_texts() -> None:
    """litellm#14144: 400 for everything once the budget is used up."""
    with pipeline_of(texts(0.001), batch_size=20) as (server, pipeline):
        work = server.answer

        def answer(body: dict[str, Any], key: str | None) -> Any:
            server.dead = server.dead or server.requests >= 10
            return work(body, key)

        server.answer = answer  # type: ignore[method-assign]
        with pytest.raises(EmbedderError, match="Budget has been exceeded") as caught:
            sync(pipeline)
        assert not isinstance(caught.value, EmbedderUnavailable)
        assert caught.value.hint is not None
        assert rows_of(pipeline).failures() == []
        assert server.requests < 120
        stored = rows_of(pipeline).status().rows
        assert stored >= 180
        server.answer = work  # type: ignore[method-assign]
        server.dead = False
        assert sync(pipeline).inserted == COUNT - stored


def test_many_long_texts_in_a_row_are_refused_one_by_one() -> None:
    rows = {key: "poison " * (50 + key) if key >= 900 else f"row {key}" for key in range(COUNT)}
    with pipeline_of(rows, refuse=is_bad) as (server, pipeline):
        assert sync(pipeline).failed == 100
        assert_only_the_bad_failed(pipeline, rows)
        words = sum(request.texts == ("rowvec",) for request in server.log)
        assert 1 <= words <= 12


def test_a_whole_outage_fails_no_row() -> None:
    with pipeline_of(texts(0.2), fall=lambda text: True, max_tries=1) as (server, pipeline):
        with pytest.raises(EmbedderUnavailable, match="llama runner"):
            sync(pipeline, patience=0.5)
        assert rows_of(pipeline).failures() == []
        assert server.requests < 60


@pytest.mark.parametrize("limit", [{"max_texts": 32}, {"max_tokens": 120}])
def test_what_a_service_takes_at_once_is_learned_from_its_refusals(limit: dict[str, int]) -> None:
    with pipeline_of(texts(0.001), concurrency=1, **limit) as (server, pipeline):
        report = sync(pipeline)
        assert (report.inserted, report.failed) == (COUNT, 0)
        refused = sum(request.status == 400 for request in server.log)
        assert refused <= 8, "and not for each of ten batches"


def test_a_limit_that_a_service_breaks_at_is_learned_too() -> None:
    with pipeline_of(texts(0.001), concurrency=1, max_tries=1) as (server, pipeline):
        work = server.answer

        def answer(body: dict[str, Any], key: str | None) -> Any:
            server.fall = (lambda text: True) if len(body["input"]) > 40 else (lambda text: False)
            return work(body, key)

        server.answer = answer  # type: ignore[method-assign]
        report = sync(pipeline)
        assert (report.inserted, report.failed) == (COUNT, 0)
        refused = sum(request.status == 500 for request in server.log)
        assert refused <= 20
