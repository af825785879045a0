"""Stopping a sync and trying failed rows again, over HTTP."""

from __future__ import annotations

import pytest

from rowvec.serve import operations
from rowvec.serve.service import Service
from rowvec.stores.runs import Report
from rowvec.testing import HashEmbedder
from tests.integration.serve_rig import KEY, application, client_of, product_pipeline, rows


def test_a_sync_at_work_is_asked_to_stop() -> None:
    pipeline = product_pipeline()
    with client_of(application(pipeline)) as client, pipeline.store.lock():
        run = pipeline.store.begin_run("products")
        pipeline.store.save_run(run, Report(phase="embedding", to_compare=100, inserted=40, per_second=10.0), "running")
        work = client.get("/status").json()["work"]
        assert (work["phase"], work["rows"], work["total"], work["share"], work["seconds_left"]) == (
            "embedding", 40, 100, 0.4, 6.0,
        )  # fmt: skip
        assert "since" in work["holder"]
        assert client.post("/sync/stop").json() == {"run": run}
        assert pipeline.store.save_run(run, Report(), "running") is True
        assert pipeline.store.runs(1)[0].stopping


def test_without_one_there_is_nothing_to_stop() -> None:
    with client_of(application(product_pipeline(), product_pipeline(name="never", synced=False))) as client:
        for name in ("products", "never"):
            answer = client.post(f"/pipelines/{name}/sync/stop")
            assert (answer.status_code, answer.json()["error"]["message"]) == (409, "No sync is at work.")


def test_failed_rows_are_due_at_once_and_not_while_a_sync_is_at_work() -> None:
    embedder = HashEmbedder(16)
    embedder.refused = {"spark plug 3", "spark plug 10"}
    pipeline = product_pipeline(embedder=embedder, data=rows(20))
    with client_of(application(pipeline)) as client:
        with pipeline.store.lock():
            assert client.post("/failures/retry").status_code == 409
        assert client.post("/failures/retry").json() == {"rows": 2}
        assert [each["rows"] for each in client.get("/status").json()["reasons"]] == [2]


def test_both_are_behind_the_key() -> None:
    with client_of(application(product_pipeline(), api_keys=(KEY,))) as client:
        for path in ("/sync/stop", "/failures/retry", "/ui/events", "/ui/status/body", "/ui/quality/body"):
            assert client.request("POST" if "/ui" not in path else "GET", path).status_code == 401, path
        assert client.post("/failures/retry", headers={"X-API-Key": KEY}).json() == {"rows": 0}


def test_the_verdict_is_in_the_status() -> None:
    pipeline = product_pipeline()
    with client_of(application(pipeline)) as client:
        said = client.get("/status").json()
        assert said["verdict"]["text"].startswith("in step as of the last sync, ")
        assert said["as_of"] is not None
        assert (said["waiting"], said["work"]) == (None, None)
        text = client.get("/metrics").text
        assert 'rowvec_last_sync_timestamp_seconds{pipeline="products"}' in text
        assert "rowvec_waiting_rows{" not in text, "nothing can tell"


def test_a_status_that_takes_long_to_count_is_kept_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Service(product_pipeline(count=3)).operations
    first = asked.status()
    assert asked.status(-1.0) is not first
    monkeypatch.setattr(operations, "LONG", 0.0)
    monkeypatch.setattr(operations, "REST", 10**6)
    kept = asked.status(-1.0)
    assert asked.status(-1.0) is kept
    asked.retry_failures()
    assert asked.status() is not kept
