"""The rowvec.toml that `rowvec init` writes."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowvec.config import Config, LibsqlStore, LocalEmbedder, OpenAIEmbedder, PostgresStore, SqlSource, Text, load
from rowvec.config.models import PipelineTable
from rowvec.starter import URL_VARIABLE, starter
from rowvec.types import Column, ColumnType


@dataclass(frozen=True)
class Table:
    """What looking at a database gives."""

    name: str
    rows: int | None = 10
    key: str | None = "id"
    schema: str | None = None
    key_problem: str | None = None
    columns: tuple[Column, ...] = ()
    text_columns: tuple[str, ...] = ("title",)
    metadata_columns: tuple[str, ...] = ()
    cursor: str | None = None
    where: str | None = None


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
    assert pipeline.embedder == LocalEmbedder()
    assert pipeline.store.metadata == ("name", "price")
    assert pipeline.store == PostgresStore(table="products_embeddings", metadata=("name", "price"))


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
    "source": SqlSource.model_fields,
    "text": Text.model_fields,
    "embedder": {**OpenAIEmbedder.model_fields, **LocalEmbedder.model_fields},
    "store": {**LibsqlStore.model_fields, **PostgresStore.model_fields},
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
    [("embedder", "openai", OpenAIEmbedder), ("store", "libsql", LibsqlStore)],
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


def test_a_table_becomes_a_pipeline(tmp_path: Path) -> None:
    table = Table(
        "stg_product",
        schema="staging",
        rows=19406,
        key="product_id",
        columns=columns("product_id", "name", "description", "price", "deleted"),
        text_columns=("name", "description"),
        metadata_columns=("name", "price"),
        cursor="ingested_at",
        where="not deleted",
    )
    text = starter([table], "postgresql://reader@db/shop")
    pipeline = loaded(tmp_path, text).pipeline()
    source = pipeline.source
    assert pipeline.name == "stg_product"
    assert source.url.get_secret_value() == "postgresql://reader@db/shop"
    assert (source.table, source.key, source.where, source.cursor) == (
        "staging.stg_product",
        "product_id",
        "not deleted",
        "ingested_at",
    )
    assert pipeline.text.columns == ("name", "description")
    assert pipeline.store.metadata == ("name", "price")
    assert pipeline.store.table == "stg_product_embeddings"
    assert "# 19,406 rows\n" in text
    assert "# also there: price, deleted\n" in text


def test_the_largest_table_with_a_key_and_a_text_gets_the_pipeline_and_the_others_a_comment(tmp_path: Path) -> None:
    tables = [
        Table("numbers", rows=9999, text_columns=()),
        Table("logs", rows=5000, key=None, key_problem="id appears twice"),
        Table("books", rows=50, text_columns=("title", "about")),
        Table("notes", rows=1),
    ]
    text = starter(tables, "sqlite:///x.db")
    assert loaded(tmp_path, text).names == ["books"]
    assert '#   "notes": 1 row; key "id"; text: "title"\n' in text
    assert '#   "numbers": 9,999 rows; key "id"; text: none\n' in text
    assert '#   "logs": 5,000 rows; no usable key: id appears twice; text: "title"\n' in text


def test_a_table_without_a_key_still_loads_and_says_what_to_do(tmp_path: Path) -> None:
    table = Table(
        "lines", key=None, key_problem="its key is (order_id, line_no)", columns=columns("order_id", "line_no")
    )
    text = starter([table], "sqlite:///x.db")
    assert loaded(tmp_path, text).pipeline().source.key == "order_id"
    assert "# The key needs a look: its key is (order_id, line_no)\n" in text
    assert "# query = \"select a || '-' || b as id, * from lines\"\n" in text


def test_a_table_without_text_columns_takes_all(tmp_path: Path) -> None:
    assert loaded(tmp_path, starter([Table("t", text_columns=())])).pipeline().text.columns == "*"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@host/db",
        "postgresql+psycopg://u:hunt@er2/hunter2@host:5432/db?sslmode=require",
        "mysql://host/db?user=u&password=hunter2",
        "postgresql://:hunter2@/db",
    ],
)
def test_a_password_is_not_written_but_asked_for(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = starter([Table("t")], url)
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
    name=names,
    schema=st.none() | names,
    key=st.none() | names,
    problem=st.none() | names,
    others=st.lists(names, max_size=3),
    text_columns=st.lists(names, max_size=3),
    where=st.none() | names,
)
def test_whatever_a_database_calls_its_tables_the_file_loads_and_names_them(
    tmp_path: Path,
    name: str,
    schema: str | None,
    key: str | None,
    problem: str | None,
    others: list[str],
    text_columns: list[str],
    where: str | None,
) -> None:
    table = Table(
        name,
        schema=schema,
        rows=99,
        key=key,
        key_problem=problem,
        columns=columns(*text_columns, *others),
        text_columns=tuple(text_columns),
        metadata_columns=tuple(others),
        where=where,
    )
    rest = [
        Table(other, rows=None, key=None, key_problem=problem, text_columns=tuple(text_columns)) for other in others
    ]
    pipeline = loaded(tmp_path, starter([table, *rest], "sqlite:///x.db")).pipeline()
    assert pipeline.source.table is not None
    assert pipeline.source.table.replace('""', '"').strip('"').endswith(name.strip('"'))
    assert pipeline.source.where == where
    assert key is None or pipeline.source.key == key
    assert pipeline.text.columns == (tuple(text_columns) or "*")
    assert pipeline.store.metadata == tuple(others)
