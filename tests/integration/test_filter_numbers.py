"""A number in a filter finds the same rows however it is written, whatever type the column has and wherever it is."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rowvec.api.project import Project
from rowvec.api.project_pipeline import ProjectPipeline
from tests.integration.serve_rig import application, client_of
from tests.servers.openai import EmbeddingServer

pytestmark = pytest.mark.slow
TABLE = (
    "create table item (id int primary key, title text not null, small real, large double precision,"
    " fixed numeric(10, 2), free numeric, paid money, whole int, smalls real[], fixes numeric[], tags text[],"
    " attrs jsonb, plain json)"
)
WRITTEN: dict[int, tuple[float, list[str]]] = {
    1: (0.5, [".5", "0.50", "5e-1", "+00.5", "0.5000000000000000000000"]),
    2: (0.1, [".1", "0.10", "1e-1"]),
    3: (19.99, ["19.990", "1999e-2"]),
}
NUMBERS = ("small", "large", "fixed", "free", "paid", "attrs.n", "plain.n")
LISTS = ("smalls", "fixes", "attrs.list", "plain.list")


def filters(key: int, number: float, text: str) -> list[str]:
    """Each of which finds that row and no other."""
    asked = [form.format(name, text) for name in NUMBERS for form in ("{0} = {1}", "{0} in ({1}, 77)")]
    asked += [f"{name} between {text} and {text} and not {name} != {text}" for name in NUMBERS]
    asked += [f"{name} contains {text}" for name in LISTS]
    asked += [json.dumps({name: {">=": number, "<=": number}}) for name in NUMBERS]
    return [*asked, f"fixed = '{text}'", f"paid = '{text}'", f"tags contains 'tag {key}'", f"whole = {key}.0"]


@pytest.mark.parametrize("kind", ["its own table", "the user's table", "libsql"])
def test_a_number_is_found_however_it_is_written(
    postgres_url: str, tmp_path: Path, model: EmbeddingServer, kind: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create extension vector")
        connection.execute(TABLE)
        for key, (number, _) in WRITTEN.items():
            inside = json.dumps({"n": number, "list": [number]})
            row = (
                "lamp",
                number,
                number,
                number,
                number,
                number,
                key,
                [number],
                [number],
                [f"tag {key}"],
                inside,
                inside,
            )
            marks = "%s, %s, %s, %s, %s, %s, %s::numeric::money, %s, %s, %s, %s, %s, %s"
            connection.execute(f"insert into item values ({marks})".encode(), (key, *row))
    store = {
        "its own table": f'kind = "postgres", url = "{postgres_url}"',
        "the user's table": f'kind = "postgres", url = "{postgres_url}", table = "item", column = "embedding"',
        "libsql": 'kind = "libsql", url = "vectors.db"',
    }[kind]
    (tmp_path / "rowvec.toml").write_text(f"""
        [pipelines.items]
        source = {{ kind = "sql", url = "{postgres_url}", table = "item", key = "id" }}
        text = {{ columns = ["title"] }}
        store = {{ {store}, metadata = [
            "small", "large", "fixed", "free", "paid", "whole", "smalls", "fixes", "tags", "attrs", "plain"
        ] }}
        [pipelines.items.embedder]
        kind = "openai"
        model = "text-embedding-3-small"
        base_url = "{model.url}"
        api_key = "test-key"
        dimensions = 8
        """)
    with Project(tmp_path) as made:
        pipeline = made.pipeline()
        if kind == "the user's table":
            pipeline.assembled.store.apply(pipeline.assembled.spec)
        assert pipeline.sync().inserted == 3
        for key, (number, texts) in WRITTEN.items():
            for where in (each for text in (str(number), *texts) for each in filters(key, number, text)):
                assert [hit.key for hit in pipeline.search(where=where, limit=9).hits] == [key], where
        assert walked(pipeline, "small") == walked(pipeline, "large") == [2, 1, 3]
        with client_of(application(pipeline.assembled)) as client:
            for digits, keys in (("0.5", [1]), ("0.50000000000000000001", [])):
                body = f'{{"query": "lamp", "filters": {{"free": {digits}}}}}'
                reply = client.post("/search/filtered", content=body, headers={"Content-Type": "application/json"})
                found = [hit["id"] for hit in reply.json()["results"]]
                assert found == [hit.key for hit in pipeline.search("lamp", where=f"free = {digits}").hits]
                # SQLite compares decimals as doubles.
                assert found == ([1] if kind == "libsql" else keys)
        facets = pipeline.search("lamp", facets=["small"]).facets
        assert facets is not None
        small: Any = facets.columns["small"]
        assert (small.min, small.max, small.mean) == (0.1, 19.99, pytest.approx(20.59 / 3, abs=1e-12))


def walked(pipeline: ProjectPipeline, column: str) -> list[Any]:
    """The keys in the order of a column, one on a page."""
    keys, after = list[Any](), None
    while True:
        page = pipeline.search(order=column, limit=1, after=after)
        keys += [hit.key for hit in page.hits]
        after = page.next
        if after is None:
            return keys


LONG = ("12345678901234567890.123456789", "0.12345678901234567891", "-9007199254740993.5")


@pytest.mark.parametrize("source", ["table", "lines"])
@pytest.mark.parametrize("store", ["postgres", "libsql"])
def test_a_number_inside_json_keeps_every_digit(
    postgres_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], store: str, source: str
) -> None:
    """From the source to the hit, over Python, HTTP and the command line; and a filter finds it."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create extension vector")
        connection.execute("create table item (id int primary key, title text, attrs jsonb)")
        lines = [f'{{"n": {text}, "plain": 0.5, "list": [1, {text}]}}' for text in LONG]
        for key, attrs in enumerate(lines):
            connection.execute("insert into item values (%s, 'lamp', %s::jsonb)", (key, attrs))
    written = "".join(f'{{"id": {key}, "title": "lamp", "attrs": {attrs}}}\n' for key, attrs in enumerate(lines))
    (tmp_path / "items.jsonl").write_text(written)
    place = {
        "table": f'kind = "sql", url = "{postgres_url}", table = "item"',
        "lines": 'kind = "files", paths = "items.jsonl"',
    }
    kept = {"postgres": f'kind = "postgres", url = "{postgres_url}"', "libsql": 'kind = "libsql", url = "vectors.db"'}
    (tmp_path / "rowvec.toml").write_text(f"""
        [pipelines.items]
        source = {{ {place[source]}, key = "id" }}
        text = {{ columns = ["title"] }}
        store = {{ {kept[store]}, metadata = ["attrs"] }}
        """)
    with Project(tmp_path) as made:
        pipeline = made.pipeline()
        assert pipeline.sync().inserted == len(LONG)
        found = {hit.key: hit.metadata["attrs"] for hit in pipeline.search("lamp").hits}
        for key, text in enumerate(LONG):
            assert found[key] == {"n": Decimal(text), "plain": 0.5, "list": [1, Decimal(text)]}
            for where in (f"attrs.n = {text}", f"attrs.n in ({text})", f"attrs.list contains {text}"):
                assert [hit.key for hit in pipeline.search(where=where).hits] == [key], where
        near = pipeline.search(where=f"attrs.n = {float(LONG[0])!r}").hits
        # SQLite compares the numbers of JSON as doubles.
        assert len(near) == (1 if store == "libsql" else 0)
        assert (pipeline.sync().updated, pipeline.audit(sample=3).drift) == (0, 0)
        with client_of(application(pipeline.assembled)) as client:
            hits = client.get("/search", params={"query": "lamp"}).json()["results"]
            assert {hit["id"]: hit["metadata"]["attrs"]["n"] for hit in hits} == dict(enumerate(LONG))
