"""Searching the vectors of a generation that is not live: in each store, and over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rowvec.errors import SearchError
from rowvec.pipeline import Options, Pipeline
from rowvec.searcher import Searcher
from rowvec.stores.libsql.store import LibsqlStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import MemoryStore
from rowvec.types import State
from tests.integration.serve_rig import application, client_of
from tests.models import Models
from tests.support import simple_pipeline

ROWS = {n: f"row {n}" for n in range(30)}
QUERY = "row 7"


@pytest.fixture(params=["memory", "libsql", "postgres"])
def old(request: pytest.FixtureRequest, tmp_path: Path, models: Models) -> Iterator[Pipeline]:
    """Thirty rows, synced with the old model."""
    store: Any = MemoryStore() if request.param == "memory" else LibsqlStore(str(tmp_path / "v.db"), table="things")
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        store = PostgresStore(url, "things", pipeline="things")
    with closing(store):
        pipeline = models.of(models.old, simple_pipeline(rows=ROWS, store=store))
        sync(pipeline)
        yield pipeline


def keys(searcher: Searcher, generation: State = State.LIVE, mode: Any = "semantic") -> list[Any]:
    return [hit.key for hit in searcher.search(QUERY, mode=mode, generation=generation).hits]


def test_the_previous_generation_answers_as_it_did(old: Pipeline, models: Models) -> None:
    before = {mode: keys(Searcher.of(old), mode=mode) for mode in ("semantic", "hybrid")}
    new = models.of(models.new, old)
    sync(new)
    searcher = Searcher.of(new)
    assert keys(searcher) != before["semantic"]
    for mode, expected in before.items():
        assert keys(searcher, State.PREVIOUS, mode) == expected


def test_a_generation_that_is_being_built_can_be_searched(old: Pipeline, models: Models) -> None:
    live, new = keys(Searcher.of(old)), models.of(models.new, old)
    sync(new, Options(limit=20), stop=threading.Event())
    searcher = Searcher.of(new)
    assert keys(searcher) == live
    found = keys(searcher, State.BUILDING)
    assert found and set(found) <= set(range(20))
    sync(new)
    assert set(found) <= set(ROWS)
    assert keys(searcher, State.PREVIOUS) == live


def test_a_generation_that_does_not_exist_is_said(old: Pipeline) -> None:
    with pytest.raises(SearchError, match=r"(?s)no previous generation.*There is: live"):
        keys(Searcher.of(old), State.PREVIOUS)


def test_over_http(old: Pipeline, models: Models) -> None:
    before = keys(Searcher.of(old))
    new = models.of(models.new, old)
    sync(new)
    with client_of(application(new)) as client:

        def ids(**more: Any) -> list[Any]:
            reply = client.post("/search/semantic", json={"query": QUERY, **more})
            assert reply.status_code == 200, reply.text
            return [hit["id"] for hit in reply.json()["results"]]

        assert ids(generation="previous") == before
        assert ids() == ids(generation="live") != before
        wrong = client.post("/search/semantic", json={"query": QUERY, "generation": "building"})
        assert (wrong.status_code, wrong.json()["error"]["message"]) == (
            422, "There is no building generation of 'things'."
        )  # fmt: skip
        wrong = client.post("/search/semantic", json={"query": QUERY, "generation": "newest"})
        assert wrong.status_code == 422
        changed = client.post("/search/hybrid", json={"query": QUERY, "explain": True, "ranking": {"fusion": "rrf"}})
        assert changed.json()["results"][0]["score"] < 0.1
        wrong = client.post("/search/hybrid", json={"query": QUERY, "ranking": {"static": "range(9)"}})
        assert (wrong.status_code, "range" in wrong.text) == (422, True)
        wrong = client.post("/search/hybrid", json={"query": QUERY, "ranking": {"fusoin": "rrf"}})
        assert (wrong.status_code, "fusion" in wrong.text) == (422, True)
        where = '{"price": {"<": 0}}'
        assert client.get("/search/similar/7", params={"where": where}).json()["results"] == []
        assert client.get("/search/similar/7", params={"where": "{broken"}).status_code == 422


def test_a_page_of_one_generation_does_not_lead_into_another(old: Pipeline, models: Models) -> None:
    new = models.of(models.new, old)
    sync(new)
    with client_of(application(new)) as client:
        body = {"query": QUERY, "limit": 5, "generation": "previous"}
        first = client.post("/search/semantic", json=body).json()
        second = client.post("/search/semantic", json={**body, "after": first["next"]}).json()
        assert not {hit["id"] for hit in first["results"]} & {hit["id"] for hit in second["results"]}
        wrong = client.post("/search/semantic", json={"query": QUERY, "limit": 5, "after": first["next"]})
        assert wrong.status_code == 422
