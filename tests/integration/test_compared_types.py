"""Durations, money and citext of a PostgreSQL source: filtered as what they are, wherever the vectors are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rowvec.api.project import Project
from rowvec.filters import bind, parse
from rowvec.stores.filter_sql import POSTGRES, compile_filter
from rowvec.types import Column, ColumnType
from tests.integration.sql_rig import Run, postgres_database
from tests.servers.openai import EmbeddingServer

pytestmark = pytest.mark.slow
FILTERS = {
    "takes > '2 days'": [1, 2],
    "takes between '1 hour' and '2 days'": [3],
    "takes = 'P30D'": [1],
    "price > 999.99": [1, 2],
    "price in (1000, '0.05')": [2, 3],
    "not price = 1000": [1, 3],
    "email = 'ann@example.org'": [1, 2],
    "email in ('BOB@example.org', 'x')": [3],
    "email < 'B'": [1, 2],
    "price is null": [4],
}


@pytest.fixture
def source() -> Iterator[tuple[str, Run]]:
    with postgres_database() as (url, run):
        run("create extension citext")
        run("create table item (id int primary key, title text not null, takes text, price text, email text)")
        run(
            "insert into item values (1, 'lamp', '1 mon', '$1,234,567.50', 'Ann@example.org'),"
            " (2, 'desk', '10 days', '$1,000.00', 'ANN@EXAMPLE.ORG'),"
            " (3, 'chair', '26:00:00', '$0.05', 'bob@example.org'), (4, 'sofa', null, null, null)"
        )
        yield url, run


def typed(run: Run) -> None:
    run("alter table item alter takes type interval using takes::interval, alter price type money using price::money,"
        " alter email type citext")  # fmt: skip


def project(folder: Path, model: EmbeddingServer, url: str, store: str) -> Project:
    (folder / "rowvec.toml").write_text(f"""
        [pipelines.items]
        source = {{ kind = "sql", url = "{url}", table = "item", key = "id" }}
        text = {{ columns = ["title"] }}
        store = {{ {store}, metadata = ["takes", "price", "email"] }}

        [pipelines.items.embedder]
        kind = "openai"
        model = "text-embedding-3-small"
        base_url = "{model.url}"
        api_key = "test-key"
        dimensions = 8
        """)
    return Project(folder)


def found(project: Project) -> dict[str, list[Any]]:
    pipeline = project.pipeline()
    return {where: sorted(hit.key for hit in pipeline.search("a", where=where, passages=0).hits) for where in FILTERS}


@pytest.mark.parametrize("kind", ["libsql", "postgres"])
def test_texts_become_durations_money_and_citext_without_embedding(
    source: tuple[str, Run], tmp_path: Path, model: EmbeddingServer, request: pytest.FixtureRequest, kind: str
) -> None:
    url, run = source
    at = "vectors.db" if kind == "libsql" else request.getfixturevalue("postgres_url")
    with project(tmp_path, model, url, f'kind = "{kind}", url = "{at}"') as made:
        assert made.pipeline().sync().inserted == 4
    typed(run)
    with project(tmp_path, model, url, f'kind = "{kind}", url = "{at}"') as made:
        report = made.pipeline().sync()
        assert (report.embedded, report.failed) == (0, 0)
        assert found(made) == FILTERS
        (hit,) = made.pipeline().search("a", where="takes = '1 mon'", passages=0).hits
        assert hit.metadata == {"takes": "1 mon", "price": hit.metadata["price"], "email": "Ann@example.org"}
        assert str(hit.metadata["price"]) == "1234567.50"
        assert made.pipeline().sync().unchanged == 4


def test_a_filter_compares_columns_of_the_users_own_table_as_what_they_are(source: tuple[str, Run]) -> None:
    """Where the vectors are in that table, filters read these columns and none of rowvec's own."""
    url, run = source
    typed(run)
    columns = [
        Column("takes", ColumnType.INTERVAL),
        Column("price", ColumnType.DECIMAL),
        Column("email", ColumnType.TEXT, ignores_case=True),
    ]
    more = {"email like 'ANN@%'": [1, 2], "email in ('ÄNN', 'BOB@example.org')": [3], "email is not null": [1, 2, 3]}
    with psycopg.connect(url) as connection:
        for where, keys in (FILTERS | more).items():
            condition, values = compile_filter(bind(parse(where), columns), POSTGRES)
            rows = connection.execute(f"select id from item t where {condition} order by id".encode(), values)
            assert [key for (key,) in rows] == keys, where


def test_durations_and_money_beside_vectors_in_the_users_own_table(
    postgres_url: str, tmp_path: Path, model: EmbeddingServer
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create extension vector")
        connection.execute(
            "create table item (id int primary key, title text, takes interval, price money, email text)"
        )
        connection.execute(
            "insert into item values (1, 'lamp', '1 mon', 1234567.5, 'a'), (2, 'desk', '1 h', 0.05, 'b')"
        )
    store = f'kind = "postgres", url = "{postgres_url}", table = "item", column = "embedding"'
    with project(tmp_path, model, postgres_url, store) as made:
        pipeline = made.pipeline()
        pipeline.assembled.store.apply(pipeline.assembled.spec)
        assert pipeline.sync().failed == 0
        (hit,) = pipeline.search("a", where="takes = '30 days' and price > 1000", passages=0).hits
        assert (hit.key, hit.metadata["takes"], str(hit.metadata["price"])) == (1, "1 mon", "1234567.50")


FOUND = {
    "until = '2024-05-01'": [3],
    "until > '2000-01-01'": [3],
    "until is null": [1, 2],
    "at is null": [1, 2],
    "clock = '12:30:00+05:30'": [1],
    "clock != '12:30:00+05:30'": [2],
    "clock is null": [3],
}


@pytest.mark.parametrize("kind", ["libsql", "postgres"])
def test_times_that_no_column_holds_are_said_in_texts_listed_and_null_to_filters(
    source: tuple[str, Run], tmp_path: Path, model: EmbeddingServer, request: pytest.FixtureRequest, kind: str
) -> None:
    """An offset of a time of day is kept: the column is a text."""
    url, run = source
    run("drop table item")
    run("create table item (id int primary key, title text, until date, at timestamptz, clock timetz)")
    run(
        "insert into item values (1, 'lamp', 'infinity', 'infinity', '12:30+05:30'),"
        " (2, 'desk', '0044-03-15 BC', '-infinity', '12:30-11'),"
        " (3, 'sofa', '2024-05-01', '2024-05-01 10:00+00', null)"
    )
    at = "vectors.db" if kind == "libsql" else request.getfixturevalue("postgres_url")
    with project(tmp_path, model, url, f'kind = "{kind}", url = "{at}"'):
        config = (tmp_path / "rowvec.toml").read_text()
    config = config.replace('["takes", "price", "email"]', '["until", "at", "clock"]')
    (tmp_path / "rowvec.toml").write_text(config.replace('columns = ["title"]', 'columns = "*"'))
    with Project(tmp_path) as made:
        pipeline = made.pipeline()
        report = pipeline.sync()
        assert (report.inserted, report.failed, report.unfit) == (3, 0, 4)
        assert set(model.billed_texts) == {
            "title: lamp. until: infinity. at: infinity. clock: 12:30:00+05:30",
            "title: desk. until: 0044-03-15 BC. at: -infinity. clock: 12:30:00-11:00",
            "title: sofa. until: 2024-05-01. at: 2024-05-01 10:00:00+00:00",
        }
        assert {(each.key, each.column) for each in pipeline.unfit()} == {
            (1, "until"), (1, "at"), (2, "until"), (2, "at"),
        }  # fmt: skip
        for where, keys in FOUND.items():
            assert sorted(hit.key for hit in pipeline.search("a", where=where).hits) == keys, where
