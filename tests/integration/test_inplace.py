"""Vectors in a table of the user's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

import rowvec
from rowvec import search
from rowvec.cli.check import check
from rowvec.errors import StoreError
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.sql import SqlSource
from rowvec.stores.base import TableSpec
from rowvec.stores.postgres.generations.columns import is_ours
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.preview import preview
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from rowvec.types import Column, ColumnType, Document, Row
from tests.conftest import ROOT
from tests.servers.openai import EmbeddingServer
from tests.support import digest, rows_of
from tests.unit.configs import written

WHERE = "enrichment_status = 'enriched' and is_active"


def document(row: Row) -> Document:
    text = row.values["title"] or ""
    return Document(row.key, text, (), digest(text), digest(""))


opened: list[Pipeline] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


def open_pipeline(url: str, embedder: HashEmbedder | None = None, table: str = "datasets", **store: Any) -> Pipeline:
    source = SqlSource(url, table=table, key="id", where=WHERE)
    source.select(["title", "downloads"])
    embedder = embedder or HashEmbedder()
    pipeline = Pipeline(
        "datasets",
        source,
        document,
        ("title",),
        embedder,
        PostgresStore(url, table, pipeline="datasets", **{"column": "embedding", **store}),
        TableSpec(
            "datasets", "id", ColumnType.TEXT, embedder.fingerprint.dimension,
            metadata=(Column("downloads", ColumnType.INTEGER),), fingerprint=embedder.fingerprint, recipe="title",
        ),
    )  # fmt: skip
    opened.append(pipeline)
    return pipeline


@pytest.fixture
def url(postgres_url: str) -> str:
    """A database with a catalogue of ten datasets, seven of which are to be embedded."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create extension vector")
        connection.execute(
            "create table datasets (id varchar(40) primary key, title text, downloads integer,"
            " enrichment_status text default 'enriched', is_active boolean default true,"
            " updated_at timestamptz default '2026-01-01')"
        )
        connection.execute(
            "insert into datasets (id, title, downloads, enrichment_status, is_active) select 'd' || n, 'title ' || n,"
            " n, case when n <= 2 then 'pending' else 'enriched' end, n <> 10 from generate_series(1, 10) n"
        )
    return postgres_url


def ask(url: str, statement: str, *values: Any) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def embedded(url: str, column: str = "embedding") -> list[str]:
    return [key for (key,) in ask(url, f"select id from datasets where {column} is not null order by id")]


@pytest.fixture
def pipeline(url: str) -> Pipeline:
    pipeline = open_pipeline(url)
    pipeline.store.apply(pipeline.spec)
    return pipeline


def test_the_chosen_rows_get_their_vectors_and_no_row_comes_or_goes(url: str, pipeline: Pipeline) -> None:
    before = ask(url, "select id, title, downloads, enrichment_status, is_active, updated_at from datasets order by id")
    report = sync(pipeline)
    assert (report.inserted, report.deleted) == (7, 0)
    assert embedded(url) == [f"d{n}" for n in range(3, 10)]
    for n in range(3, 10):
        vector = rows_of(pipeline).vector(f"d{n}")
        assert vector is not None
        assert abs(vector - pipeline.embedder.embed_query(f"title {n}")).max() < 1e-6
    after = ask(url, "select id, title, downloads, enrichment_status, is_active, updated_at from datasets order by id")
    assert after == before


def test_a_plan_before_the_first_sync_finds_every_row_new(url: str, pipeline: Pipeline) -> None:
    assert preview(pipeline).reasons == {"new row": 7}


def test_a_second_sync_does_nothing(url: str, pipeline: Pipeline) -> None:
    sync(pipeline)
    report = sync(pipeline)
    assert (report.unchanged, report.written, report.texts) == (7, 0, 0)


def test_a_vector_set_to_null_by_hand_is_made_again(url: str, pipeline: Pipeline) -> None:
    sync(pipeline)
    ask(url, "update datasets set embedding = null where id in ('d4', 'd5')")
    assert sync(pipeline).reasons == {"vector missing": 2}
    assert len(embedded(url)) == 7


def test_only_the_changed_text_is_embedded_again(url: str, pipeline: Pipeline) -> None:
    sync(pipeline)
    ask(url, "update datasets set title = 'another title', downloads = 99 where id = 'd7'")
    ask(url, "update datasets set downloads = 98 where id = 'd8'")
    report = sync(pipeline)
    assert (report.embedded, report.updated, report.unchanged) == (1, 0, 6)


def test_a_row_that_is_no_longer_chosen_keeps_its_place_and_loses_its_vector(url: str, pipeline: Pipeline) -> None:
    sync(pipeline)
    ask(url, "update datasets set is_active = false where id = 'd3'")
    assert sync(pipeline).deleted == 1
    assert ask(url, "select embedding, embedding_text_hash from datasets where id = 'd3'") == [(None, None)]
    assert ask(url, "select count(*) from datasets") == [(10,)]
    ask(url, "update datasets set is_active = true where id = 'd3'")
    assert sync(pipeline).inserted == 1


def test_a_row_that_the_user_deletes_leaves_no_words_behind(url: str, pipeline: Pipeline) -> None:
    sync(pipeline)
    ask(url, "delete from datasets where id = 'd3'")
    sync(pipeline)
    assert ask(url, "select count(*) from datasets__embedding__documents") == [(6,)]


def test_vectors_that_stood_there_before_are_made_anew(url: str, pipeline: Pipeline) -> None:
    ask(url, "update datasets set embedding = '[1,0,0,0,0,0,0,0]' where id = 'd5'")
    assert sync(pipeline).inserted == 7
    vector = rows_of(pipeline).vector("d5")
    assert vector is not None
    assert abs(vector - pipeline.embedder.embed_query("title 5")).max() < 1e-6


def test_a_newer_vector_is_never_overwritten_by_a_slow_writer(url: str, pipeline: Pipeline) -> None:
    sync(pipeline)

    class Racing(HashEmbedder):
        def embed(self, texts: Any) -> Any:
            ask(url, "update datasets set embedding_text_hash = 'a newer one' where id = 'd6'")
            return super().embed(texts)

    ask(url, "update datasets set title = 'slow' where id = 'd6'")
    assert sync(replace(pipeline, embedder=Racing())).conflicts == 1
    assert ask(url, "select embedding_text_hash from datasets where id = 'd6'") == [(b"a newer one",)]


def test_search_filters_on_the_table_s_own_columns(url: str, pipeline: Pipeline) -> None:
    from rowvec.filters import bind, parse

    sync(pipeline)
    query = pipeline.embedder.embed_query("title 4")
    condition = bind(parse("downloads < 6"), pipeline.spec.metadata)
    ranked = rows_of(pipeline).nearest(query, 10, condition)
    assert ranked.keys[0] == "d4"
    assert sorted(ranked.keys) == ["d3", "d4", "d5"]
    ask(url, "update datasets set downloads = 1000 where id = 'd4'")
    assert rows_of(pipeline).metadata(["d4"]) == {"d4": {"downloads": 1000}}
    assert rows_of(pipeline).keyword("title 9", 3).keys[0] == "d9"


def test_the_index_stands_on_the_user_s_column_and_theirs_is_left_alone(url: str, pipeline: Pipeline) -> None:
    from rowvec.stores.index import IndexSpec

    sync(pipeline)
    store = pipeline.store
    assert isinstance(store, PostgresStore)
    ask(url, "create index theirs on datasets using hnsw (embedding vector_l2_ops)")
    rows_of(pipeline).index.build(IndexSpec())
    assert sorted(found.name for found in rows_of(pipeline).index.status()) == [
        "datasets__embedding_vectors_1",
        "theirs",
    ]
    assert rows_of(pipeline).index.drop() == 1
    assert [found.name for found in rows_of(pipeline).index.status()] == ["theirs"]


def test_an_index_is_built_for_many_vectors_and_not_for_many_rows(
    url: str, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowvec.stores.postgres.vector_index.indexes.AUTO_ROWS", 8)
    store = pipeline.store
    assert isinstance(store, PostgresStore)
    sync(pipeline)
    assert rows_of(pipeline).index.status() == []
    ask(url, "update datasets set is_active = true")
    sync(pipeline)
    assert len(rows_of(pipeline).index.status()) == 1


class TestFromTheCommandLine:
    CONFIG = """
        [pipelines.datasets]
        source = {{ kind = "sql", url = "{url}", table = "datasets", key = "id", where = "is_active" }}
        text = {{ columns = "*", exclude = ["updated_at"] }}
        store = {{ kind = "postgres", column = "embedding", metadata = ["downloads"] }}
        [pipelines.datasets.embedder]
        kind = "openai"
        model = "text-embedding-3-small"
        base_url = "{model}"
        api_key = "test-key"
        dimensions = 8
    """

    def test_check_apply_sync_and_search(self, url: str, tmp_path: Path) -> None:
        with EmbeddingServer(dimension=8) as model:
            config = written(tmp_path, self.CONFIG.format(url=url, model=model.url))
            assert check(config, None, as_json=True) == 1
            assert check(config, None, apply=True, as_json=True) == 0
            assert rowvec.sync(config=config).inserted == 9
            assert rowvec.sync(config=config).unchanged == 9, "the vectors are no part of the text"
            found = search("title 5", config=config, where="downloads < 6", mode="keyword").hits
        assert found[0].key == "d5"
        assert found[0].metadata == {"downloads": 5}


def test_another_model_fills_a_column_beside_and_takes_the_place_of_the_first_in_the_end(
    url: str, pipeline: Pipeline
) -> None:
    sync(pipeline)
    second = open_pipeline(url, HashEmbedder(4, model="other"))
    with pytest.raises(StoreError, match="lacks the columns") as error:
        sync(second)
    assert 'ADD COLUMN "embedding__next" vector(4)' in str(error.value.hint)
    second.store.apply(second.spec)
    sync(second, Options(limit=3))
    assert len(embedded(url)) == 7, "searches still see the vectors of the first model"
    assert sync(second).reasons == {"model changed": 4}
    assert len(embedded(url)) == len(embedded(url, "embedding__previous")) == 7
    assert ask(url, "select distinct vector_dims(embedding) from datasets where embedding is not null") == [(4,)]
    assert sync(second).unchanged == 7
    third = open_pipeline(url, HashEmbedder(2, model="third"))
    third.store.apply(third.spec)
    assert sync(third).inserted == 7
    assert rows_of(third).keyword("title 9", 3).keys[0] == "d9"


def test_the_columns_of_rowvec_are_known_by_their_names() -> None:
    ours = ["embedding", "embedding_text_hash", "embedding__next", "embedding__previous_row_hash"]
    theirs = ["embedding_model", "title", "embeddings", "text_hash"]
    assert [name for name in ours + theirs if is_ours(name, "embedding")] == ours


class TestMistakes:
    def test_without_the_columns_a_sync_says_which_statement_makes_them(self, url: str) -> None:
        pipeline = open_pipeline(url)
        with pytest.raises(StoreError) as error:
            sync(pipeline)
        statements = str(error.value.hint).partition("owner: ")[2]
        for statement in statements.split("; "):
            ask(url, statement)
        assert sync(pipeline).inserted == 7

    def test_check_names_the_statement_and_after_it_is_content(self, url: str) -> None:
        pipeline = open_pipeline(url)
        line = pipeline.store.checks(pipeline.spec)[-1]
        assert not line.ok
        assert 'ALTER TABLE "public"."datasets" ADD COLUMN "embedding" vector(8)' in str(line.fix)
        pipeline.store.apply(pipeline.spec)
        assert pipeline.store.checks(pipeline.spec)[-1].ok
        assert pipeline.store.apply(pipeline.spec) == []

    def test_a_table_that_is_not_there(self, url: str) -> None:
        pipeline = open_pipeline(url)
        ask(url, "alter table datasets rename to elsewhere")
        with pytest.raises(StoreError, match=r"no table public\.datasets"):
            sync(pipeline)

    def test_a_column_of_another_dimension(self, url: str) -> None:
        ask(url, "alter table datasets add column embedding vector(768)")
        with pytest.raises(StoreError, match="holds vectors of 768 dimensions, but the model gives 8"):
            sync(open_pipeline(url))

    def test_a_column_that_holds_no_vectors(self, url: str) -> None:
        with pytest.raises(StoreError, match=r"'title' of public\.datasets is text, not a vector"):
            sync(open_pipeline(url, column="title"))

    def test_a_column_of_another_precision(self, url: str) -> None:
        ask(url, "alter table datasets add column embedding halfvec(8)")
        with pytest.raises(StoreError, match='storage = "halfvec"'):
            sync(open_pipeline(url))
        pipeline = open_pipeline(url, storage="halfvec")
        pipeline.store.apply(pipeline.spec)
        assert sync(pipeline).inserted == 7

    def test_a_role_that_may_not_update(self, url: str, pipeline: Pipeline) -> None:
        sync(pipeline)
        role = "reader_" + url.partition("/test_")[2][:12]
        ask(url, f"create role {role} login")
        try:
            ask(
                url,
                f"grant usage on schema rowvec to {role}; grant all on all tables in schema rowvec to {role};"
                f" grant select on datasets to {role}",
            )
            theirs = open_pipeline(f"{url}&options=-c%20role%3D{role}")
            with pytest.raises(StoreError, match="may not write the vectors") as error:
                sync(theirs)
            ask(url, str(error.value.hint).removeprefix("Grant it: "))
            ask(url, f"grant all on all tables in schema public to {role}")
            assert sync(theirs).unchanged == 7
        finally:
            ask(url, f"drop owned by {role}; drop role {role}")


PAGE = ROOT / "docs" / "howto" / "postgres-in-place.md"


@pytest.fixture
def columns_only(url: str, pipeline: Pipeline) -> Iterator[str]:
    """The URL of a role that has what the page grants, and does not own the table."""
    role = "writer_" + url.partition("/test_")[2][:12]
    blocks = dict(re.findall(r'```sql title="(\w+)"\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.DOTALL))
    ask(url, f"drop schema if exists rowvec cascade; create role {role} login")
    try:
        for title in ("before", "columns"):
            ask(url, blocks[title].replace("rowvec_sync", role))
        yield f"{url}&options=-c%20role%3D{role}"
    finally:
        ask(url, f"drop owned by {role} cascade; drop role {role}")


def test_a_role_that_has_what_the_page_grants_syncs_and_searches(columns_only: str) -> None:
    theirs = open_pipeline(columns_only)
    assert sync(theirs).inserted == 7
    assert sync(theirs).unchanged == 7


def test_what_a_role_without_the_schema_lacks_is_said_and_gives_it_no_right_of_the_owner(
    url: str, columns_only: str
) -> None:
    ask(url, f"revoke create on schema public from {columns_only.rpartition('%3D')[2]}")
    with pytest.raises(StoreError, match="permission denied for schema public") as refused:
        sync(open_pipeline(columns_only))
    advice = str(refused.value.hint).removeprefix("Let an administrator run: ")
    assert advice.startswith("GRANT USAGE, CREATE ON SCHEMA public TO writer_")
    assert ";" not in advice.removesuffix(";")
    ask(url, advice)
    assert sync(open_pipeline(columns_only)).inserted == 7


def test_a_role_that_may_not_index_the_table_says_so_and_syncs(
    url: str, columns_only: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each sync of 10,000 rows or more ended in an error, after it had stored them."""
    monkeypatch.setattr("rowvec.stores.postgres.vector_index.indexes.AUTO_ROWS", 5)
    pipeline = open_pipeline(columns_only)
    with caplog.at_level("WARNING", "rowvec.waits"):
        assert sync(pipeline).inserted == 7
    assert "only the owner of the table may make one" in caplog.text
    assert rows_of(pipeline).index.status() == []
    with pytest.raises(StoreError, match="must be owner"):
        rows_of(pipeline).index.build()
    # The owner makes it once. It serves the role, which leaves it as it is.
    rows_of(open_pipeline(url)).index.build()
    caplog.clear()
    assert sync(pipeline).unchanged == 7
    assert (len(rows_of(pipeline).index.status()), caplog.text) == (1, "")


def test_a_row_that_a_trigger_of_the_table_refuses_costs_itself(url: str) -> None:
    pipeline = open_pipeline(url)
    pipeline.store.apply(pipeline.spec)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "create function no_five() returns trigger language plpgsql as $$ begin if new.id = 'd5' and"
            " (new.embedding is null) <> (old.embedding is null) then raise exception 'five is frozen'; end if;"
            " return new; end $$"
        )
        connection.execute("create trigger no_five before update on datasets for each row execute function no_five()")
    report = sync(pipeline)
    assert (report.inserted, report.failed) == (6, 1)
    (failure,) = rows_of(pipeline).failures()
    assert (failure.key, "five is frozen" in failure.error) == ("d5", True)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop trigger no_five on datasets")
    assert sync(pipeline, Options(retry_failed=True)).failed == 0
    assert rows_of(pipeline).failures() == []
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create trigger no_five before update on datasets for each row execute function no_five()")
        connection.execute("update datasets set is_active = false where id in ('d5', 'd6')")
    report = sync(pipeline)
    assert (report.deleted, report.failed) == (1, 1)
    assert [failure.key for failure in rows_of(pipeline).failures()] == ["d5"]


def test_words_as_they_are_written_go_with_their_column(url: str, pipeline: Pipeline) -> None:
    def keeping(made: Pipeline) -> Pipeline:
        made.store.apply(made.spec)
        return replace(made, spec=replace(made.spec, keeps_words=True))

    def words(made: Pipeline) -> str | None:
        parts = rows_of(made).kept_words()
        return None if parts is None else " ".join(parts.values())

    sync(pipeline)
    assert words(pipeline) is None
    kept = keeping(open_pipeline(url))
    report = sync(kept)
    assert (report.updated, report.texts, words(kept)) == (7, 0, "title")
    other = keeping(open_pipeline(url, HashEmbedder(4, model="other")))
    sync(other)
    assert words(other) == "title"
    other.store.rollback(other.spec)
    assert words(kept) == "title"
    sync(pipeline)
    assert words(pipeline) is None
