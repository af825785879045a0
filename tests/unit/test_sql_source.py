"""Reading SQLite: pages, keys, types, and what is said when something is wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rowvec.errors import ConfigError, SourceError, SourceUnavailable
from rowvec.sources.base import Selection, Source
from rowvec.sources.databases.relations import join_name, split_name
from rowvec.sources.sql import SqlSource
from rowvec.types import Column, ColumnType, Key, Row

TRICKY = ["a", "A", "á", "", "ä ", "ä", "a ", " a", "😀", "zz", "ZZ", "\uffff", "10", "9"]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as connection:
        yield connection


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Callable[..., SqlSource]]:
    """Opens sources of shop.db and closes them."""
    opened: list[SqlSource] = []

    def open_source(**settings: Any) -> SqlSource:
        settings = {"key": "id", **settings}
        if "query" not in settings:
            settings.setdefault("table", "product")
        opened.append(SqlSource("sqlite:///shop.db", base=tmp_path, **settings))
        return opened[-1]

    yield open_source
    for each in opened:
        each.close()


def fill(database: sqlite3.Connection, rows: int = 10) -> None:
    database.execute("create table product (id integer primary key, name text, price decimal(10,2), deleted boolean)")
    values = [(i, f"product {i}", i + 0.5, i % 5 == 0) for i in range(1, rows + 1)]
    database.execute("begin")
    database.executemany("insert into product values (?, ?, ?, ?)", values)
    database.execute("commit")


def keys(source: Source, size: int = 3, **bounds: Any) -> list[Key]:
    return [row.key for page in source.pages(size, **bounds) for row in page]


# --- pages ---


@pytest.mark.parametrize("size", [1, 3, 5, 10, 11, 100])
def test_pages_hold_every_row_once_in_key_order(database: Any, source: Any, size: int) -> None:
    fill(database)
    pages = list(source().pages(size))
    assert [row.key for page in pages for row in page] == list(range(1, 11))
    assert all(0 < len(page) <= size for page in pages)
    assert pages[0][0] == Row(1, {"id": 1, "name": "product 1", "price": 1.5, "deleted": 0})


def test_an_empty_table_gives_no_page(database: Any, source: Any) -> None:
    fill(database, rows=0)
    assert list(source().pages(10)) == []
    assert source().count() == 0


def test_where_applies_to_pages_count_and_existing(database: Any, source: Any) -> None:
    fill(database)
    some = source(where="not deleted and name like 'product %' -- those on sale")
    assert keys(some) == [1, 2, 3, 4, 6, 7, 8, 9]
    assert some.count() == 8
    assert some.existing([4, 5, 6, 99]) == {4, 6}


def test_where_takes_colons_and_percent_signs_as_they_are(database: Any, source: Any) -> None:
    fill(database, rows=3)
    database.execute("update product set name = '100% :new' where id = 2")
    assert keys(source(where="name = '100% :new'")) == [2]
    assert keys(source(query="select * from product where name like '%:new'")) == [2]


def test_a_column_that_was_dropped_meanwhile_is_named_as_that(database: Any, source: Any) -> None:
    fill(database)
    opened = source()
    assert keys(opened, until=1) == [1]
    database.execute("alter table product rename column price to cost")
    with pytest.raises(SourceError, match="price") as caught:
        keys(opened)
    assert caught.value.hint is not None
    assert "renamed or dropped" in caught.value.hint


def test_bounds_leave_out_after_and_include_until(database: Any, source: Any) -> None:
    fill(database)
    assert keys(source(), after=3, until=7) == [4, 5, 6, 7]
    assert keys(source(), after=10) == []


def test_a_selection_is_keys_and_ranges_with_both_ends(database: Any, source: Any) -> None:
    fill(database)
    selection = Selection(keys=(1, 5, 99), ranges=((7, 9),))
    assert keys(source(), selection=selection) == [1, 5, 7, 8, 9]
    assert keys(source(), selection=selection, after=5, until=8) == [7, 8]
    assert source().count(selection) == 5
    assert keys(source(), selection=Selection()) == []


def test_a_selection_of_many_keys_is_no_larger_than_sqlite_takes(database: Any, source: Any) -> None:
    fill(database)
    assert keys(source(), selection=Selection(keys=tuple(range(9, 100_000)))) == [9, 10]
    assert source().existing(range(-50_000, 4)) == {1, 2, 3}


def test_only_the_selected_columns_and_the_key_are_read(database: Any, source: Any) -> None:
    fill(database)
    some = source(columns=["name"])
    assert next(some.pages(1))[0].values == {"id": 1, "name": "product 1"}
    some.select(["price", "deleted"])
    assert next(some.pages(1))[0].values == {"id": 1, "price": 1.5, "deleted": 0}
    assert [column.name for column in some.columns] == ["id", "name", "price", "deleted"]


def test_rows_that_come_go_and_change_between_pages_do_no_harm(database: Any, source: Any) -> None:
    fill(database)
    pages = source().pages(3)
    assert [row.key for row in next(pages)] == [1, 2, 3]
    database.execute("delete from product where id in (2, 4, 5)")
    database.execute("insert into product values (0, 'before', 1, 0), (20, 'after', 1, 0)")
    database.execute("update product set name = 'new' where id = 6")
    rest = [row for page in pages for row in page]
    assert [row.key for row in rest] == [6, 7, 8, 9, 10, 20]
    assert rest[0].values["name"] == "new"


def test_no_lock_is_held_between_pages(database: Any, source: Any) -> None:
    fill(database)
    pages = source().pages(2)
    next(pages)
    database.execute("pragma busy_timeout = 0")
    database.execute("begin exclusive")
    database.execute("rollback")
    assert len(next(pages)) == 2


def test_a_file_put_in_the_place_of_another_is_read(database: Any, source: Any, tmp_path: Path) -> None:
    fill(database, rows=2)
    some = source()
    assert keys(some) == [1, 2]
    with closing(sqlite3.connect(tmp_path / "new.db", isolation_level=None)) as new:
        fill(new, rows=5)
    (tmp_path / "new.db").rename(tmp_path / "shop.db")
    assert keys(some) == [1, 2, 3, 4, 5]


def test_a_column_that_is_dropped_between_pages_is_not_read_as_its_own_name(database: Any, source: Any) -> None:
    """SQLite takes a name in double quotes that no column has for a text."""
    database.execute('create table product (id integer primary key, "Name" text)')
    database.execute("insert into product values (1, 'a'), (2, 'b'), (3, 'c')")
    pages = source().pages(1)
    assert next(pages)[0].values["Name"] == "a"
    database.execute('alter table product drop column "Name"')
    with pytest.raises(SourceError, match="no such column"):
        next(pages)


def test_the_source_cannot_write(database: Any, source: Any) -> None:
    fill(database)
    some = source()
    with pytest.raises(SourceError), some._database.connect() as connection:
        connection.exec_driver_sql("delete from product")


# --- names ---


@pytest.mark.parametrize(
    "name", ["order", "two words", "a.b", 'quo"te', "Grüße", "100%", "a:b", "semi;colon", "UPPER", "back`tick"]
)
def test_tables_and_columns_may_have_any_name(database: Any, source: Any, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    database.execute(f"create table {quoted} ({quoted} text primary key, other text)")
    database.execute(f"insert into {quoted} values ('k1', 'x'), ('k2', 'y')")
    some = source(table=quoted, key=name)
    assert keys(some, 1) == ["k1", "k2"]
    assert some.existing(["k2", "k3"]) == {"k2"}


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("product", (None, "product")),
        ("staging_staging.stg_product", ("staging_staging", "stg_product")),
        ('"my.schema"."my ""table"', ("my.schema", 'my "table')),
        ("`a`.`b.c`", ("a", "b.c")),
        ("[a b].c", ("a b", "c")),
    ],
)
def test_a_table_name_is_taken_apart_and_put_together(written: str, parts: tuple[str | None, str]) -> None:
    assert split_name(written) == parts
    assert split_name(join_name(*parts)) == parts


@pytest.mark.parametrize("written", ["", "a.", ".a", "a.b.c", 'a"b', '"a'])
def test_what_is_no_table_name_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match="not the name of a table"):
        split_name(written)


def test_a_view_and_a_query_are_read_like_a_table(database: Any, source: Any) -> None:
    fill(database)
    database.execute("create view cheap as select id, name from product where price < 4")
    assert keys(source(table="cheap")) == [1, 2, 3]
    assert keys(source(query="with c as (select * from product) select id, name from c where id > 7; ")) == [8, 9, 10]


def test_types_are_as_declared(database: Any, source: Any) -> None:
    database.execute(
        "create table product (id integer primary key, a varchar(10), b decimal(10,2), c boolean, d datetime, e date,"
        " f json, g blob, h real, i uuid, j bigint, k tinyint(1), l strange, m, n text as (a || a), o floating point)"
    )
    database.execute("insert into product (id, m) values (1, 2.5), (2, 1)")
    assert {column.name: column.type.value for column in source().columns} == {
        "id": "integer", "a": "text", "b": "decimal", "c": "boolean", "d": "timestamp", "e": "date", "f": "json",
        "g": "bytes", "h": "number", "i": "uuid", "j": "integer", "k": "boolean", "l": "text", "m": "number",
        "n": "text", "o": "number",
    }  # fmt: skip


def test_types_of_a_query_are_those_of_its_first_values(database: Any, source: Any) -> None:
    fill(database)
    query = "select id, name, price, null as empty, iif(id = 1, 'x', 1) as mixed, x'00' as raw from product"
    assert list(source(query=query).columns) == [
        Column("id", ColumnType.INTEGER),
        Column("name", ColumnType.TEXT),
        Column("price", ColumnType.NUMBER),
        Column("empty", ColumnType.TEXT),
        Column("mixed", ColumnType.TEXT),
        Column("raw", ColumnType.BYTES),
    ]


# --- text keys ---


@pytest.mark.parametrize("collation", ["binary", "nocase", "rtrim"])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_text_keys_that_a_collation_holds_for_equal_are_all_read(
    database: Any, source: Any, collation: str, size: int
) -> None:
    database.execute(f"create table product (id text collate {collation}, name text)")
    database.executemany("insert into product values (?, 'x')", [(key,) for key in TRICKY])
    some = source()
    read = keys(some, size)
    assert sorted(map(str, read)) == sorted(TRICKY)
    assert some.existing(TRICKY) == set(TRICKY)
    assert some.existing(["B", "Á"]) == set()
    for index, key in enumerate(read):
        assert keys(some, size, after=key) == read[index + 1 :]


@pytest.mark.parametrize(
    "unique", ["id text collate nocase primary key", "id text collate nocase unique", "id text primary key"]
)
def test_an_index_on_a_text_key_is_used(database: Any, source: Any, unique: str) -> None:
    database.execute(f"create table product ({unique}, name text)")
    some = source()
    seen: list[tuple[str, Any]] = []
    sa.event.listen(some._database.engine, "before_cursor_execute", lambda *call: seen.append((call[2], call[3])))
    assert keys(some, after="b") == []
    statement, values = seen[-1]
    plan = [step[-1] for step in database.execute(f"explain query plan {statement}", values)]
    assert any("USING" in step and "INDEX" in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


def test_uuids_in_sqlite_are_texts_as_they_were_written(database: Any, source: Any) -> None:
    written = ["0A1B2C3D-0000-0000-0000-000000000001", "0a1b2c3d00000000000000000000ffff"]
    database.execute("create table product (id uuid primary key, name text)")
    database.executemany("insert into product values (?, 'x')", [(key,) for key in written])
    some = source()
    assert some.key_type is ColumnType.TEXT
    assert keys(some, 1) == written
    assert some.existing(written) == set(written)


# --- bad keys ---


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_key_that_is_not_unique_is_named_on_one_page_and_across_two(database: Any, source: Any, size: int) -> None:
    database.execute("create table product (id integer, name text)")
    database.execute("insert into product values (1, 'a'), (2, 'b'), (3, 'c'), (3, 'd'), (4, 'e')")
    with pytest.raises(SourceError, match=r"product has the key id = 3 on more than one row.\n  .*unique"):
        keys(source(), size)


def test_a_part_of_a_composite_key_that_is_not_unique_names_the_whole(database: Any, source: Any) -> None:
    database.execute("create table product (id integer, part integer, name text, primary key (id, part))")
    database.execute("insert into product values (1, 1, 'a'), (1, 2, 'b')")
    with pytest.raises(SourceError, match=r"primary key is \(id, part\).*query"):
        keys(source())


def test_a_null_key_is_refused_before_the_first_page(database: Any, source: Any) -> None:
    database.execute("create table product (id text primary key, name text)")
    database.execute("insert into product values ('a', 'x'), (null, 'y')")
    with pytest.raises(SourceError, match=r"key 'id' is null.\n  .*id is not null"):
        keys(source())
    assert keys(source(where="id is not null")) == ["a"]


def test_a_key_of_another_type_than_declared_is_named(database: Any, source: Any) -> None:
    database.execute("create table product (id integer, name text)")
    database.execute("insert into product values (1, 'x'), ('two', 'y')")
    with pytest.raises(SourceError, match="the key 'two' is of type str, not integer"):
        keys(source())


@pytest.mark.parametrize("kind", ["real", "boolean", "blob", "date", "decimal(10,2)"])
def test_a_column_that_can_be_no_key_is_refused_at_once(database: Any, source: Any, kind: str) -> None:
    database.execute(f"create table product (id {kind} primary key, name text)")
    with pytest.raises(SourceError, match=r"a key is integer, text or uuid.\n  .*CAST"):
        source()


# --- bad input ---


def test_a_missing_file_is_named_with_its_neighbour_and_not_created(tmp_path: Path, database: Any) -> None:
    with pytest.raises(SourceError, match=r"no file .*shpo.db.\n  Did you mean 'shop.db'"):
        SqlSource("sqlite:///shpo.db", table="product", key="id", base=tmp_path)
    with pytest.raises(SourceError, match="no folder"):
        SqlSource("sqlite:///there/shop.db", table="product", key="id", base=tmp_path)
    with pytest.raises(SourceError, match="is not a file"):
        SqlSource(f"sqlite:///{tmp_path}", table="product", key="id")
    assert [path.name for path in tmp_path.iterdir()] == ["shop.db"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"table": "prodct"}, "Did you mean 'product'"),
        ({"table": "main.prodct"}, "has no table"),
        ({"key": "product_id"}, "source.key: there is no column 'product_id'"),
        ({"key": "idd"}, "Did you mean 'id'"),
        ({"columns": ["nmae"]}, "Did you mean 'name'"),
        ({"cursor": "updated"}, "source.cursor: there is no column"),
        ({"query": "select 1", "table": "product"}, "both a table and a query"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_one(database: Any, source: Any, settings: Any, message: str) -> None:
    fill(database)
    with pytest.raises((SourceError, ConfigError), match=message):
        source(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"where": "nmae = 1"}, "no such column: nmae"),
        ({"where": "name = "}, "syntax error"),
        ({"query": "selec * from product"}, "syntax error"),
    ],
)
def test_the_database_own_words_say_what_is_wrong_in_sql(
    database: Any, source: Any, settings: Any, message: str
) -> None:
    fill(database)
    with pytest.raises(SourceError, match=message) as caught:
        keys(source(**settings))
    assert "source.where" in str(caught.value)
    assert not caught.value.transient


def test_a_file_that_is_no_database_and_a_damaged_one_are_told_apart(
    tmp_path: Path, database: Any, source: Any
) -> None:
    (tmp_path / "notes.db").write_text("not a database, but long enough to be taken for one " * 100)
    with pytest.raises(SourceError, match="is not a SQLite database"):
        SqlSource("sqlite:///notes.db", table="product", key="id", base=tmp_path)
    fill(database, rows=2000)
    raw = bytearray((tmp_path / "shop.db").read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    (tmp_path / "shop.db").write_bytes(raw)
    with pytest.raises(SourceError, match=r"is damaged.*\n.*\.recover"):
        keys(source())


def test_a_locked_file_is_tried_again(database: Any, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowvec.sources.databases.sqlite.BUSY_SECONDS", 0)
    fill(database)
    some = source()
    database.execute("begin exclusive")
    with pytest.raises(SourceUnavailable, match="locked"):
        keys(some)
    database.execute("rollback")
    assert len(keys(some)) == 10


def test_text_that_is_not_utf8_is_read_with_replacement_characters(database: Any, source: Any) -> None:
    fill(database, rows=5)
    database.execute("update product set name = cast(x'61eda080ff62' as text) where id = 3")
    names = [row.values["name"] for page in source().pages(2) for row in page]
    assert names[:2] + names[3:] == ["product 1", "product 2", "product 4", "product 5"]
    assert names[2].startswith("a\ufffd")
    assert names[2].endswith("\ufffdb")


def test_a_key_that_could_not_be_found_again_is_refused(database: Any, source: Any) -> None:
    database.execute("create table t (id text primary key, name text)")
    database.execute("insert into t values ('a', 'one'), (cast(x'61ff' as text), 'two')")
    with pytest.raises(SourceError, match="the key 'a\ufffd' is not UTF-8"):
        keys(source(table="t"))
    database.execute("update t set id = 'b' || char(0) where id > 'a'")
    with pytest.raises(SourceError, match=r"the key 'b\\x00' holds a NUL"):
        keys(source(table="t"))


def test_a_text_of_5_megabytes_is_read(database: Any, source: Any) -> None:
    fill(database, rows=2)
    database.execute("update product set name = ? where id = 2", ["x" * 5_000_000])
    assert [len(row.values["name"]) for page in source().pages(10) for row in page] == [9, 5_000_000]


@pytest.mark.parametrize("url", ["shop.db", "oracle://u:hunter2@h/d", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_is_none_of_ours_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"source\.url") as caught:
        SqlSource(url, table="product", key="id")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("word", ["nothing", "generated", "window", "_id", "2024", "1e5", "$x"])
def test_every_name_is_quoted(database: Any, source: Any, word: str) -> None:
    """Without quotes, `nothing` is a syntax error, and `2024` is a number."""
    database.execute(f'create table "{word}" ("{word}" text primary key)')
    database.execute(f"insert into \"{word}\" values ('a'), ('b')")
    some = source(table=word, key=word)
    assert keys(some, 1) == ["a", "b"]
    assert some.existing(["a", "c"]) == {"a"}
