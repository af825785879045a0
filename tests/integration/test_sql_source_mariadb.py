"""Reading MariaDB: what its types, collations and refusals are to a source."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pymysql
import pytest

from rowvec.documents.text import Documents, build_recipe
from rowvec.errors import SourceError
from rowvec.sources.base import Selection
from rowvec.sources.events.values import decoder
from rowvec.types import Key
from tests.integration.sql_rig import (
    MARIADB,
    TRICKY,
    Open,
    Run,
    explained,
    keys,
    mariadb_database,
    reads_every_key_once,
)


@pytest.fixture
def mariadb() -> Iterator[tuple[str, Run]]:
    with mariadb_database() as database:
        yield database


@pytest.mark.parametrize("asked", [{"table": "t"}, {"query": "select * from t"}])
def test_a_float_has_every_digit_it_was_stored_with_and_no_more(
    mariadb: Any, source: Open, asked: dict[str, str]
) -> None:
    """The server writes six digits of a FLOAT: 123456.7 came as 123457, and a change of the seventh was not seen."""
    url, run = mariadb
    stored = [19.99, 123456.7, 16777216.0, 1234567.0, 3.4e38, 1.17549e-38, 0.1, -2.5, None]
    run("create table t (id int primary key, `the price` float, g float(7,2), d double)")
    run(
        "insert into t values "
        + ", ".join(f"({n}, {'null' if v is None else v}, 99999.99, 0.1)" for n, v in enumerate(stored))
    )
    some = source(url, key="id", **asked)
    read = [row.values for page in some.pages(4) for row in page]
    assert [row["the price"] for row in read] == stored
    assert {(row["g"], row["d"]) for row in read} == {(99999.99, 0.1)}
    documents = Documents(build_recipe(some.columns, "id", columns=["the price"]), some.columns)
    page = next(some.pages(2))
    assert [documents(row).text for row in page] == ["the price: 19.99", "the price: 123456.7"]


def test_a_column_that_select_star_does_not_show_is_not_read_unless_it_is_named(mariadb: Any, source: Open) -> None:
    url, run = mariadb
    run(
        "create table t (id int invisible auto_increment primary key, name varchar(20), secret varchar(20) invisible,"
        " changed timestamp(6) invisible default now(6), doubled int as (id * 2) invisible)"
    )
    run("insert into t (name, secret) values ('lamp', 'hidden')")
    some = source(url, table="t")
    assert [column.name for column in some.columns] == ["id", "name"]
    assert [row.values for row in next(some.pages(5))] == [{"id": 1, "name": "lamp"}]
    named = source(url, table="t", cursor="changed", columns=["name", "secret"])
    assert next(named.pages(5))[0].values == {"id": 1, "name": "lamp", "secret": "hidden"}
    assert named.newest() is not None


def test_tables_are_listed_while_another_schema_is_dropped(mariadb: Any, source: Open) -> None:
    """One after the other, a schema that was there when they were listed is unknown."""
    url, run = mariadb
    run("create table t (id int primary key)")
    run("create view v as select * from t")
    run("create sequence s")
    database = source(url, table="t")._database
    other = f"rowvec_{uuid4().hex[:12]}"
    stop = threading.Event()

    def make_and_drop() -> None:
        with pymysql.connect(host="127.0.0.1", user="root", autocommit=True) as connection:
            cursor = connection.cursor()
            while not stop.is_set():
                cursor.execute(f"create database {other}")
                cursor.execute(f"drop database {other}")

    thread = threading.Thread(target=make_and_drop)
    thread.start()
    try:
        for _ in range(8):
            with database.connect() as connection:
                found = database.tables(connection)
                assert [name for schema, name in found if schema is None] == ["t", "v"]
                assert (None, "v") in database.views(connection)
    finally:
        stop.set()
        thread.join()


def test_every_type_of_mariadb_has_a_word_and_a_text(mariadb: Any, source: Open) -> None:
    url, run = mariadb
    run(
        "create table t (id bigint primary key, a tinyint(1), b tinyint(4), c float, d decimal(10,2), e varchar(9),"
        " f date, g time, h datetime, i timestamp null, j uuid, k json, l blob, m enum('x','y'), n year, o bit(1),"
        " p double)"
    )
    run(
        "insert into t values (1, 1, 2, 0.5, 1250, 'ab', '2024-05-01', '12:30', '2024-05-01 12:30', '2024-05-01 12:30',"
        " '00000000-0000-0000-0000-000000000001', '{\"a\":1}', x'ff', 'y', 2024, b'1', null)"
    )
    types = [
        "integer", "boolean", "integer", "number", "decimal", "text", "date", "time", "timestamp", "timestamp", "uuid",
        "text", "bytes", "text", "integer", "boolean", "number",
    ]  # fmt: skip
    some = source(url, table="t")
    assert [column.type.value for column in some.columns] == types
    row = next(some.pages(1))[0]
    assert build_recipe(some.columns, "id", columns="*", exclude=["i"]).render(row) == (
        "a: yes. b: 2. c: 0.5. d: 1250.00. e: ab. f: 2024-05-01. g: 12:30:00. h: 2024-05-01 12:30:00."
        ' j: 00000000-0000-0000-0000-000000000001. k: {"a":1}. m: y. n: 2024. o: yes'
    )
    assert Documents(build_recipe(some.columns, "id", columns=["e"]), some.columns)(row).metadata[:5] == (
        1, True, 2, 0.5, Decimal("1250.00"),
    )  # fmt: skip
    by_query = {column.name: column.type.value for column in source(url, query="select * from t").columns}
    assert by_query | {"j": "uuid", "o": "boolean"} == dict(zip([c.name for c in some.columns], types, strict=True))


def test_times_are_what_debezium_tells_of_them(mariadb: Any, source: Open) -> None:
    url, run = mariadb
    run("create table t (id int primary key, at timestamp(3) null, day datetime, never timestamp null)")
    run("set time_zone = '+00:00'")
    run("set sql_mode = ''")
    run("insert into t values (1, '2024-05-01 12:30:00.5', '2024-05-01 12:30', '0000-00-00')")
    moment = decoder({"type": "string", "name": "io.debezium.time.ZonedTimestamp"})
    clock = decoder({"type": "int64", "name": "io.debezium.time.Timestamp"})
    assert moment is not None and clock is not None
    told = {"id": 1, "at": moment("2024-05-01T12:30:00.5Z"), "day": clock(1714566600000)}
    for some in (source(url, table="t", key="id", cursor="at"), source(url, query="select * from t", key="id")):
        values = dict(next(some.pages(1))[0].values)
        assert values.pop("never") == "0000-00-00 00:00:00"
        assert values == told, "a timestamp is a moment, a datetime is none"
    some = source(url, table="t", key="id", cursor="at")
    assert some.newest() == told["at"]
    assert some.changed(told["at"], 5) == [1]


@pytest.mark.parametrize("kind", ["varchar(20)", "varchar(20) collate utf8mb4_bin", "text"])
def test_text_keys_of_mariadb_are_all_read_although_its_collation_folds_and_pads(
    mariadb: Any, source: Open, kind: str
) -> None:
    url, run = mariadb
    run(f"create table t (id {kind}, name text)")
    for key in TRICKY:
        run("insert into t values (%s, 'x')", [key])
    reads_every_key_once(source(url, table="t"), TRICKY)
    reads_every_key_once(source(url, query="select id, name from t"), TRICKY)
    assert source(url, table="t").existing(["Zz", "á "]) == set()


def test_text_keys_of_another_character_set_are_all_read(mariadb: Any, source: Open) -> None:
    url, run = mariadb
    run("create table t (id varchar(20) character set latin1)")
    written: list[Key] = ["é", "É", "e", "ü", "z", "ÿ"]
    for key in written:
        run("insert into t values (%s)", [key])
    reads_every_key_once(source(url, table="t"), written)


def test_keys_of_an_enum_are_all_read_although_it_is_sorted_by_number(mariadb: Any, source: Open) -> None:
    url, run = mariadb
    run("create table t (id enum('c','a','b','d') primary key, name text)")
    run("insert into t (id) values ('a'), ('b'), ('c'), ('d')")
    reads_every_key_once(source(url, table="t"), ["a", "b", "c", "d"])


def test_a_unique_text_key_of_mariadb_is_read_from_its_index(mariadb: Any, source: Open) -> None:
    url, run = mariadb
    run("create table t (id varchar(40) primary key, name text)")
    run("insert into t select md5(seq), 'x' from seq_1_to_5000")
    (step,) = explained(source(url, table="t"), after="8")
    assert "PRIMARY" in step
    assert "filesort" not in step


def test_uuid_keys_of_mariadb_are_uuids(mariadb: Any, source: Open) -> None:
    url, run = mariadb
    run("create table t (id uuid primary key)")
    written = [uuid4() for _ in range(9)]
    for key in written:
        run("insert into t values (%s)", [str(key)])
    some = source(url, table="t")
    reads_every_key_once(some, written)
    assert some.count(Selection(keys=tuple(written[:2]))) == 2


def test_every_word_of_the_server_is_a_name(mariadb: Any, source: Open) -> None:
    url, run = mariadb
    with pymysql.connect(host="127.0.0.1", user="root") as connection, connection.cursor() as cursor:
        cursor.execute("select lower(word) from information_schema.keywords")
        words = sorted({word for (word,) in cursor.fetchall() if word.isidentifier()} - {"id"})
    for start in range(0, len(words), 100):
        some = words[start : start + 100]
        run(f"create or replace table t (id int primary key, {', '.join(f'`{word}` int' for word in some)})")
        run(f"insert into t values (1{', 2' * len(some)})")
        (row,) = next(source(url, table="t").pages(5))
        assert row.values == {"id": 1, **dict.fromkeys(some, 2)}


def test_a_part_of_a_composite_key_names_the_whole(mariadb: Any, source: Open) -> None:
    url, run = mariadb
    run("create table t (id int, part int, primary key (id, part))")
    run("insert into t values (1, 1), (2, 1), (2, 2)")
    with pytest.raises(SourceError, match=r"id = 2 on more than one row.\n  Its primary key is \(id, part\)"):
        keys(source(url, table="t"))


def test_a_wrong_password_is_said_and_not_shown(mariadb: Any, source: Open) -> None:
    url, _ = mariadb
    with pytest.raises(SourceError, match=r"root@127.0.0.1:3306/\w+ refused the user or the password") as caught:
        source(url.replace("root@", "root:hunter2@"), table="t")
    assert "hunter2" not in str(caught.value)
    assert not caught.value.transient


def test_an_unknown_database_and_table_and_a_wrong_condition(mariadb: Any, source: Open) -> None:
    url, run = mariadb
    run("create table product (id int primary key, name text)")
    with pytest.raises(SourceError, match="Did you mean 'product'"):
        source(url, table="prodcut")
    with pytest.raises(SourceError, match="Unknown database"):
        source(f"{MARIADB}/no_such_database", table="product")
    with pytest.raises(SourceError, match="Unknown column 'nmae'"):
        keys(source(url, table="product", where="nmae = 1"))


def test_keys_that_no_single_statement_takes_are_asked_for_in_several(mariadb: Any, source: Open) -> None:
    """elastic/connectors#334"""
    url, run = mariadb
    run("create table t (id varchar(700) primary key, name text)")
    run("insert into t values ('kept', 'one')")
    some = source(url, table="t", key="id")
    # Each quote is written as two bytes: 30 MB, and the server takes 16 MB by default.
    gone = [f"{number}{chr(39) * 3000}" for number in range(5000)]
    assert some.existing([*gone, "kept"]) == {"kept"}
