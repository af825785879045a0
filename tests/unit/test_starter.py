"""The rowvec.toml that `rowvec init` writes."""

from __future__ import annotations

import re
import sqlite3
import tomllib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowvec.cli.init import init
from rowvec.config import (
    Config,
    LibsqlStoreConfig,
    LocalEmbedderConfig,
    OpenAIEmbedderConfig,
    PostgresStoreConfig,
    SqlSourceConfig,
    TextConfig,
    load,
)
from rowvec.config.models import PipelineTable
from rowvec.config.starter import URL_VARIABLE, starter
from rowvec.errors import ConfigError
from rowvec.sources.propose import Proposal, propose
from rowvec.sources.sql import SqlSource
from rowvec.types import Column, ColumnType


def table(name: str, **found: Any) -> Proposal:
    """What looking at a table gives."""
    usual: dict[str, Any] = {
        "rows": 10, "key": "id", "key_note": "primary key", "columns": (), "text": ("title",), "metadata": (),
        "cursor": None, "where": None,
    }  # fmt: skip
    return Proposal(table=name, **{**usual, **found})


def loaded(folder: Path, text: str) -> Config:
    (folder / "rowvec.toml").write_text(text, encoding="utf-8")
    return load(folder)


def columns(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, ColumnType.TEXT) for name in names)


def test_the_example_loads_and_says_what_the_defaults_say(tmp_path: Path) -> None:
    pipeline = loaded(tmp_path, starter()).pipeline()
    assert pipeline.source.table == "products"
    assert pipeline.source.url.get_secret_value() == f"sqlite:///{tmp_path}/shop.db"
    assert pipeline.text.columns == "*"
    assert pipeline.embedder == LocalEmbedderConfig()
    assert pipeline.store.metadata == ("name", "price")
    assert pipeline.store == PostgresStoreConfig(table="products_embeddings", metadata=("name", "price"))


def commented() -> list[tuple[str, str]]:
    """Each setting in a comment of the example with the section it stands in."""
    found, section = [], ""
    for line in starter().splitlines():
        if heading := re.fullmatch(r"\[pipelines\.products\.?(\w*)\]", line):
            section = heading[1]
        elif setting := re.match(r"# (\w+ = .*)", line):
            found.append((section, setting[1]))
    return found


KNOWN: dict[str, dict[str, Any]] = {
    "": {"on_missing": PipelineTable.model_fields["on_missing"]},
    "source": SqlSourceConfig.model_fields,
    "text": TextConfig.model_fields,
    "embedder": {**OpenAIEmbedderConfig.model_fields, **LocalEmbedderConfig.model_fields},
    "store": {**LibsqlStoreConfig.model_fields, **PostgresStoreConfig.model_fields},
}


@pytest.mark.parametrize(("section", "setting"), [each for each in commented() if "kind" not in each[1]])
def test_every_setting_in_a_comment_is_one_that_exists(section: str, setting: str) -> None:
    (name,) = tomllib.loads(setting)
    assert name in KNOWN[section]


@pytest.mark.parametrize(
    ("section", "name"),
    [
        ("", "on_missing"),
        ("source", "page_size"),
        ("embedder", "precision"),
        ("embedder", "device"),
        ("embedder", "overflow"),
        ("embedder", "base_url"),
        ("embedder", "concurrency"),
        ("store", "metric"),
        ("store", "storage"),
        ("store", "language"),
    ],
)
def test_a_default_in_a_comment_is_the_default(section: str, name: str) -> None:
    said = [
        tomllib.loads(setting)[name] for where, setting in commented() if (where, name) == (section, setting.split()[0])
    ]
    assert said == [KNOWN[section][name].default]


@pytest.mark.parametrize(
    ("section", "active", "wanted"),
    [("embedder", "openai", OpenAIEmbedderConfig), ("store", "libsql", LibsqlStoreConfig)],
)
def test_the_other_kind_works_when_its_comments_are_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, active: str, wanted: type
) -> None:
    monkeypatch.setenv("TURSO_AUTH_TOKEN", "t")
    before, heading, block = starter().partition(f"[pipelines.products.{section}]\n")
    block, _, after = block.partition("\n\n")
    other = "\n".join(line.removeprefix("# ") for line in block[block.index(f'# kind = "{active}"') :].splitlines())
    pipeline = loaded(tmp_path, f"{before}{heading}{other}\n\n{after}").pipeline()
    assert isinstance(getattr(pipeline, section), wanted)


@pytest.mark.parametrize(("longest", "said"), [(900, ""), (2_000, "# 1 of the first 2 texts are longer")])
def test_passages_are_offered_where_texts_are_longer_than_the_model_reads(
    tmp_path: Path, longest: int, said: str
) -> None:
    text = starter([table("article", text=("title", "body"), lengths=(50, longest))])
    assert (said in text) and ("# passages = {}" in text) == bool(said)
    offered = loaded(tmp_path, text.replace("# passages = {}", "passages = {}")).pipeline()
    assert (offered.text.passages is not None) == bool(said)


def test_a_table_becomes_a_pipeline(tmp_path: Path) -> None:
    found = table(
        "staging.stg_product",
        rows=19406,
        key="product_id",
        columns=columns("product_id", "name", "description", "price", "deleted"),
        text=("name", "description"),
        metadata=("name", "price"),
        cursor="ingested_at",
        where="not deleted",
    )
    text = starter([found], "postgresql://reader@db/shop")
    pipeline = loaded(tmp_path, text).pipeline()
    source = pipeline.source
    assert isinstance(source, SqlSourceConfig)
    assert pipeline.name == "stg_product"
    assert source.url.get_secret_value() == "postgresql://reader@db/shop"
    assert (source.table, source.key) == ("staging.stg_product", "product_id")
    assert (source.where, source.cursor) == ("not deleted", "ingested_at")
    assert pipeline.text.columns == ("name", "description")
    assert pipeline.store.metadata == ("name", "price")
    assert pipeline.store.table == "stg_product_embeddings"
    assert "# about 19,406 rows\n" in text
    assert "# also there: price, deleted\n" in text


def test_the_best_table_gets_the_pipeline_and_the_others_a_comment(tmp_path: Path) -> None:
    tables = [
        table("books", rows=50, text=("title", "about")),
        table("notes", rows=1),
        table("numbers", rows=9999, text=()),
        table("logs", rows=None, key=None, key_note="nothing unique"),
    ]
    text = starter(tables, "sqlite:///x.db")
    assert loaded(tmp_path, text).names == ["books"]
    assert '#   "notes": 1 row; key "id"; text: "title"\n' in text
    assert '#   "numbers": about 9,999 rows; key "id"; text: none\n' in text
    assert '#   "logs": rows not counted; no key, nothing unique; text: "title"\n' in text


def test_a_table_without_a_key_still_loads_and_says_what_to_do(tmp_path: Path) -> None:
    found = table("lines", key=None, key_note="the primary key has 2 columns", columns=columns("order_id", "line_no"))
    text = starter([found], "sqlite:///x.db")
    source = loaded(tmp_path, text).pipeline().source
    assert isinstance(source, SqlSourceConfig)
    assert source.key == "order_id"
    assert "# The key needs a look: the primary key has 2 columns.\n" in text
    assert "# query = \"select a || '-' || b as id, * from lines\"\n" in text


def test_a_table_without_text_columns_takes_all(tmp_path: Path) -> None:
    assert loaded(tmp_path, starter([table("t", text=())])).pipeline().text.columns == "*"


def test_a_database_without_tables_gives_the_example_and_says_so(tmp_path: Path) -> None:
    text = starter([], "sqlite:///empty.db")
    assert "# No table was found there: this is an example.\n" in text
    assert loaded(tmp_path, text).pipeline().source.url.get_secret_value() == f"sqlite:///{tmp_path}/empty.db"


def test_a_real_database_becomes_a_config_that_its_own_source_can_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.executescript(
            """
            create table "my items" (id integer primary key, title text, price real, deleted boolean, seen timestamp);
            insert into "my items" values (1, 'a lamp', 2.5, false, '2026-01-01 00:00:00'), (2, 'gone', 1, true, null);
            create table pairs (a integer, b integer, primary key (a, b));
            """
        )
    declared = loaded(tmp_path, starter(propose(url), url)).pipeline()
    chosen = declared.source
    assert isinstance(chosen, SqlSourceConfig)
    assert declared.name == "my_items"
    source = SqlSource(url, table=chosen.table, key=chosen.key, where=chosen.where)
    try:
        assert [row.values["title"] for page in source.pages(10) for row in page] == ["a lamp"]
    finally:
        source.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@host/db",
        "postgresql+psycopg://u:hunt%40er2%2Fhunter2@host:5432/db?sslmode=require",
        "mysql://host/db?user=u&password=hunter2",
        "postgresql://:hunter2@/db",
    ],
)
def test_a_password_is_not_written_but_asked_for(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = starter([table("t")], url)
    assert "hunt" not in text
    assert f'url = "${{{URL_VARIABLE}}}"\n' in text
    line = re.search(rf"#   ({URL_VARIABLE}=.*)", text)
    assert line is not None
    assert "***" in line[1]
    (tmp_path / ".env").write_text(f"{URL_VARIABLE}='{url}'\n")
    assert loaded(tmp_path, text).pipeline().source.url.get_secret_value() == url


names = st.text(min_size=1, max_size=80)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    found=st.builds(
        table,
        names,
        rows=st.none() | st.integers(0, 10**9),
        key=st.none() | names,
        key_note=names,
        columns=st.lists(names, max_size=3).map(lambda given: columns(*given)),
        text=st.lists(names, max_size=3).map(tuple),
        metadata=st.lists(names, max_size=3).map(tuple),
        where=st.none() | names,
    ),
    others=st.lists(st.builds(table, names, key=st.none() | names, key_note=names), max_size=2),
)
def test_whatever_a_database_calls_its_parts_the_file_loads_and_names_them(
    tmp_path: Path, found: Proposal, others: list[Proposal]
) -> None:
    pipeline = loaded(tmp_path, starter([found, *others], "sqlite:///x.db")).pipeline()
    source = pipeline.source
    assert isinstance(source, SqlSourceConfig)
    assert (source.table, source.where) == (found.table, found.where)
    assert found.key is None or source.key == found.key
    assert pipeline.text.columns == (found.text or "*")
    assert pipeline.store.metadata == found.metadata


def test_a_url_whose_variable_is_not_set_is_shown_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        init("postgresql://me:hunter2@${NO_SUCH_HOST}/db", tmp_path / "rowvec.toml", force=False)
    assert "hunter2" not in str(caught.value)
    assert "NO_SUCH_HOST is not set" in str(caught.value)
