"""No string that rowvec is given is ever taken for SQL: a canary table lives in every database, and stays as it is.

Strings come from the config, from rows and keys, from filters and queries, and from whoever calls the API. Only
`source.where` and `source.query` are SQL by design: the config is trusted.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import libsql
import psycopg
import pytest

from rowvec import assemble
from rowvec.filters import Compare, Op, bind, from_json, parse
from rowvec.pipeline import Options, Pipeline
from rowvec.pipeline_status import status
from rowvec.searcher import Searcher
from rowvec.serve import Service
from rowvec.serve.api import create_app
from rowvec.serve.settings import ServeSettings
from rowvec.syncing.run import sync
from tests.integration.serve_rig import client_of
from tests.servers.openai import EmbeddingServer
from tests.torture import Faults, error_of, tried

pytestmark = pytest.mark.slow

STATEMENTS = ["drop table canary", "delete from canary", "update canary set name = 'dead'"]
BREAKOUTS = [
    "'; {} --",
    '"; {}; --',
    "') ; {} ; --",
    '") ; {} ; --',
    "x\\'; {}; --",
    "`; {}; --",
    "$$; {}; --",
    "1; {}",
]
ATTACKS = [breakout.format(STATEMENTS[0]) for breakout in BREAKOUTS]
ATTACKS += [BREAKOUTS[0].format(statement) for statement in STATEMENTS[1:]]
ODD = ["%s", "%(x)s", ":x", "?", "{x}", "${x}", "$1", "\\", "/*", "--", "' or '1'='1", "\u202e", "'' or 1=1", "a\tb"]
NAMES = [
    "select", "order", "Two Words", "Größe", "日本", 'has "quotes"', "it's", "100%", "%s", ":x", "semi;colon", "{x}",
    "UPPER", "back`tick", "$dollar", "-- comment", "/* comment", "name)", "rowid", "a-b", "1st", "😀",
]  # fmt: skip
"""Of tables and columns, as databases allow them within quotes."""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass
class Site:
    """Rows in one database and vectors in another, and what asks whether the canaries live."""

    folder: Path
    rows_url: str
    store: str
    store_url: str
    model: EmbeddingServer

    def sql(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        if self.rows_url.startswith("sqlite"):
            with closing(sqlite3.connect(self.folder / "rows.db")) as database, database:
                return database.execute(statement.replace("%s", "?") if values else statement, values).fetchall()
        with psycopg.connect(self.rows_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def store_sql(self, statement: str) -> list[Any]:
        if self.store == "libsql":
            database = libsql.connect(str(self.folder / "vectors.db"))
            found = database.execute(statement).fetchall() or []
            database.commit()
            database.close()
            return list(found)
        with psycopg.connect(self.store_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def set_canaries(self) -> None:
        for ask in (self.sql, self.store_sql):
            ask("create table if not exists canary (name text)")
            ask("insert into canary select 'alive' where not exists (select 1 from canary)")

    def canaries_live(self) -> None:
        for ask in (self.sql, self.store_sql):
            assert [tuple(row) for row in ask("select name from canary")] == [("alive",)]

    def declare(self, **parts: Any) -> None:
        pipeline = {
            "source": {"kind": "sql", "url": self.rows_url, "table": "things", "key": "id"},
            "text": {"columns": ["name"]},
            "embedder": {"kind": "openai", "model": "text-embedding-3-small", "base_url": self.model.url,
                         "api_key": "test-key", "dimensions": 8, "max_tries": 1},
            "store": {"kind": self.store, "url": self.store_url, "table": "vectors", "metadata": ["note"]},
        }  # fmt: skip
        for part, settings in parts.items():
            pipeline[part] = pipeline[part] | settings
        lines = []
        for part, settings in pipeline.items():
            lines += [
                f"[pipelines.things.{part}]",
                *(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in settings.items()),
            ]
        (self.folder / "rowvec.toml").write_text("\n".join(lines).replace("${", "$${"), encoding="utf-8")

    @contextmanager
    def opened(self) -> Iterator[Pipeline]:
        with assemble.opened(self.folder, None) as pipeline:
            yield pipeline


@pytest.fixture(params=[("sqlite", "libsql"), ("postgres", "postgres")], ids="-".join)
def site(request: pytest.FixtureRequest, quick_folder: Path) -> Iterator[Site]:
    rows, store = request.param
    url = request.getfixturevalue("postgres_url") if "postgres" in request.param else ""
    rows_url = url if rows == "postgres" else f"sqlite:///{quick_folder / 'rows.db'}"
    with EmbeddingServer(dimension=8) as model:
        store_url = url if store == "postgres" else str(quick_folder / "vectors.db")
        made = Site(quick_folder, rows_url, store, store_url, model)
        made.set_canaries()
        yield made


def test_rows_keys_filters_and_queries_are_never_sql(site: Site, faults: Faults) -> None:
    site.sql("create table things (id varchar(200) primary key, name text, note text)")
    texts = [*ATTACKS, *ODD]
    for text in texts:
        site.sql("insert into things values (%s, %s, %s)", (text, f"name {text}", text))
    site.declare()
    with site.opened() as pipeline:
        assert sync(pipeline).inserted == len(texts)
        assert sync(pipeline).written == 0
        searcher = Searcher.of(pipeline)
        for text in texts:
            tried(faults, "SQL injection")
            for where in (from_json({"note": text}), parse("note = '" + text.replace("'", "''") + "'")):
                bound = bind(where, pipeline.spec.metadata)
                hits = searcher.search(text, where=bound, mode="hybrid").hits
                assert [hit.key for hit in hits] == [text]
            within = bind(Compare("note", Op.CONTAINS, text), pipeline.spec.metadata)
            assert text in {hit.key for hit in searcher.search(text, where=within, limit=50).hits}
            searcher.search(text, mode="keyword")
            assert searcher.similar(text, limit=3).hits
            assert pipeline.source.existing([text]) == {text}
            error_of(partial(parse, text))
        site.sql("delete from things where note = %s", (ATTACKS[0],))
        assert sync(pipeline).deleted == 1
        status(pipeline)
    site.canaries_live()


@pytest.mark.parametrize("name", NAMES)
def test_every_name_that_a_database_allows_is_only_a_name(site: Site, name: str, faults: Faults) -> None:
    """As table and column of rows, as key, and as table and column of vectors."""
    tried(faults, "odd name")
    table, key, column = name, f"{name} k", f"{name} c"
    site.sql(f"create table {quoted(table)} ({quoted(key)} integer primary key, {quoted(column)} text)")
    site.sql(f"insert into {quoted(table)} values (1, 'first'), (2, 'second')")
    vectors = f"{name} v"
    site.declare(
        source={"table": quoted(table), "key": key},
        text={"columns": [column]},
        store={"table": vectors, "metadata": [column]},
    )
    with site.opened() as pipeline:
        assert sync(pipeline).inserted == 2
        site.sql(f"update {quoted(table)} set {quoted(column)} = 'other' where {quoted(key)} = 2")
        site.sql(f"insert into {quoted(table)} values (3, 'third')")
        assert sync(pipeline, Options()).written == 2
        searcher = Searcher.of(pipeline)
        for where in (from_json({column: "other"}), parse(f"{quoted(column)} = 'other'")):
            hits = searcher.search("other", where=bind(where, pipeline.spec.metadata), mode="hybrid").hits
            assert [(hit.key, hit.metadata[column]) for hit in hits] == [(2, "other")]
        assert [hit.key for hit in searcher.search("third", mode="keyword").hits] == [3]
        status(pipeline)
    site.canaries_live()


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_setting_is_ever_sql(site: Site, attack: str, faults: Faults) -> None:
    """Names that no database has are refused; a table that can be made under such a name is made under it."""
    site.sql("create table things (id integer primary key, name text, note text)")
    site.sql("insert into things values (1, 'first', 'x')")
    for part, setting in [
        ("source", {"table": attack}),
        ("source", {"key": attack}),
        ("text", {"columns": [attack]}),
        ("store", {"metadata": [attack]}),
        ("store", {"table": attack}),
        ("store", {"language": attack}),
        ("embedder", {"model": attack}),
    ]:
        tried(faults, "SQL injection")
        site.declare(**{part: setting})

        def use() -> None:
            with site.opened() as pipeline:
                sync(pipeline)
                status(pipeline)

        error_of(use)
        site.canaries_live()


def test_no_request_is_ever_sql(site: Site, faults: Faults) -> None:
    site.sql("create table things (id varchar(200) primary key, name text, note text)")
    site.sql("insert into things values ('1', 'first', 'x')")
    site.declare()
    with site.opened() as pipeline:
        sync(pipeline)
        app = create_app({"things": Service(pipeline)}, ServeSettings(rate=1e6))
        with client_of(app) as client:
            for attack in [*ATTACKS[:4], *ODD[:6]]:
                tried(faults, "SQL injection")
                for reply in _requests(client, attack):
                    assert reply.status_code < 500, reply.text
    site.canaries_live()


def _requests(client: httpx.Client, attack: str) -> Iterator[httpx.Response]:
    yield client.get("/search", params={"query": attack, "mode": "hybrid"})
    yield client.get("/search", params={"query": "x", "where": attack})
    yield client.get("/search", params={"query": "x", "where": "note = '" + attack.replace("'", "''") + "'"})
    yield client.get(f"/search/similar/{quote(attack, safe='')}")
    yield client.get("/status", params={"pipeline": attack})
    for body in (
        {"query": attack},
        {"query": "x", "filters": {"note": attack}},
        {"query": "x", "filters": {attack: 1}},
    ):
        for mode in ("semantic", "filtered", "keyword", "hybrid"):
            yield client.post(f"/search/{mode}", json=body)
    yield client.post("/v1/embeddings", json={"input": attack, "model": attack})
