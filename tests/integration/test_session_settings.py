"""Whatever a server, a database or a role is set to, rows and vectors are read and written as ever."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pymysql
import pytest

from rowvec.errors import SourceError, StoreError
from rowvec.filters import Compare, Op
from rowvec.sources.sql import SqlSource
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.types import Column, ColumnType, Document, Row
from tests.integration.sql_rig import MARIADB, POSTGRES, Open, database_in, keys, mariadb_database, postgres_database
from tests.support import digest, rows_of, simple_pipeline, vectors_match_rows

POSTGRES_SETTINGS = {
    "datestyle": "German, DMY", "intervalstyle": "iso_8601", "timezone": "America/St_Johns",
    "client_encoding": "LATIN1", "bytea_output": "escape", "extra_float_digits": "-10",
    "standard_conforming_strings": "off", "escape_string_warning": "off", "backslash_quote": "on",
    "array_nulls": "off", "transform_null_equals": "on", "quote_all_identifiers": "on", "xmloption": "document",
    "gin_fuzzy_search_limit": "1", "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on", "search_path": '"$user"', "lc_numeric": "C", "lc_monetary": "C",
    "lc_time": "C", "lc_messages": "C", "statement_timeout": "20s", "lock_timeout": "10s",
    "default_text_search_config": "german",
}  # fmt: skip
AT = dt.datetime(2024, 5, 1, 10, 30, 0, 250_000, tzinfo=dt.UTC)


def set_database(url: str, settings: dict[str, str]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for name, value in settings.items():
            said = value if name == "search_path" else f"'{value}'"
            connection.execute(f'alter database "{connection.info.dbname}" set {name} to {said}'.encode())


@pytest.fixture
def unusual_url(postgres_url: str) -> Iterator[str]:
    set_database(postgres_url, POSTGRES_SETTINGS)
    yield postgres_url
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'alter database "{connection.info.dbname}" reset all'.encode())


def settings_read(url: str) -> list[Row]:
    with closing(SqlSource(url, table="public.t", key="id", cursor="at")) as some:
        assert some.newest() == AT
        assert some.changed(AT, 10) == [1, 2]
        assert some.existing([1, 2, 3]) == {1, 2}
        return [row for page in some.pages(10) for row in page]


TABLE = """
create table public.t (id int primary key, at timestamptz, day date, span interval, f float8, f4 real, raw bytea,
    n text, tags text[], x xml, small numeric(30,9));
insert into public.t values
    (1, '2024-05-01 10:30:00.25+00', '2024-02-01', '1 day 02:00', 0.1, 0.1, '\\x00ff', 'é \\ ''☃', '{NULL,a}', '<a/>',
     12345678901234567890.123456789),
    (2, '2024-05-01 10:30:00.25+00', null, null, null, null, null, null, null, null, null)
"""


@pytest.mark.parametrize("name", POSTGRES_SETTINGS)
def test_no_setting_of_a_database_changes_what_is_read(name: str) -> None:
    with postgres_database() as (url, run):
        run("set standard_conforming_strings to on")
        run(TABLE)
        usual = settings_read(url)
        assert usual[0].values["at"] == AT
        assert usual[0].values["small"] == Decimal("12345678901234567890.123456789")
        set_database(url, {name: POSTGRES_SETTINGS[name]})
        assert settings_read(url) == usual
        set_database(url, {name: POSTGRES_SETTINGS[name] for name in POSTGRES_SETTINGS})
        assert settings_read(url) == usual


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
def test_no_client_encoding_of_a_role_changes_what_is_read(encoding: str) -> None:
    with postgres_database() as (url, run):
        run("create table public.t (id text primary key, n text)")
        run("insert into public.t values ('schlüssel', 'é')")
        set_database(url, {"client_encoding": encoding})
        with closing(SqlSource(url, table="t", key="id")) as some:
            assert [row.values for page in some.pages(5) for row in page] == [{"id": "schlüssel", "n": "é"}]


def test_no_setting_of_the_stores_database_changes_what_is_written_found_and_shown(
    unusual_url: str, source: Open
) -> None:
    with psycopg.connect(unusual_url, autocommit=True) as connection:
        connection.execute("set standard_conforming_strings to on")
        connection.execute("create table public.t (id int primary key, at timestamptz, name text, price int)")
        connection.execute("insert into public.t values (1, '2024-05-01 10:30:00.25+00', 'é lamp \\', 3)")
    from_same = source(unusual_url, table="public.t", cursor="at")
    pipeline = simple_pipeline(from_same, PostgresStore(unusual_url, "public.vectors", pipeline="things"))
    spec = replace(pipeline.spec, metadata=(Column("at", ColumnType.TIMESTAMP),))

    def document(row: Row) -> Document:
        text = row.values["name"]
        return Document(row.key, text, (row.values["at"],), digest(text), digest(repr(row.values["at"])))

    pipeline = replace(pipeline, spec=spec, to_document=document, text_columns=("name", "at"))
    with closing(pipeline.store):
        assert all(each.ok for each in pipeline.store.checks(spec))
        assert sync(pipeline).inserted == 1
        assert sync(pipeline).inserted == 0
        vectors_match_rows(pipeline, {1: "é lamp \\"})
        assert rows_of(pipeline).metadata([1])[1]["at"] == AT
        query = pipeline.embedder.embed_query("lamp")
        for op, value, found in ((Op.EQ, AT, [1]), (Op.LT, AT, []), (Op.GE, AT, [1])):
            assert rows_of(pipeline).nearest(query, 5, Compare("at", op, value)).keys == found
        assert rows_of(pipeline).keyword("lamp", 5).keys == [1]
        assert pipeline.store.runs()[0].outcome == "done"
        assert all(each.ok for each in pipeline.store.checks(spec))


@pytest.mark.parametrize(
    ("encoding", "text"), [("SQL_ASCII", "Stühle ☃"), ("LATIN1", "Stühle"), ("WIN1251", "стул"), ("EUC_JP", "椅子")]
)
def test_a_source_in_another_encoding_is_read(encoding: str, text: str, source: Open) -> None:
    with database_in(f"{POSTGRES}/postgres", encoding) as url:
        with psycopg.connect(url, autocommit=True, client_encoding="utf8") as connection:
            connection.execute("create table t (id text primary key, name text)")
            connection.execute("insert into t values (%s, %s), ('b', null)", [text, text])
        some = source(url, table="t", where=f"name = '{text}'")
        assert [row.values for page in some.pages(1) for row in page] == [{"id": text, "name": text}]
        assert some.existing([text, "c"]) == {text}
        assert keys(source(url, table="t"), 1) == sorted([text, "b"])


def test_text_of_a_sql_ascii_source_that_is_not_utf8_is_named_with_its_row(source: Open) -> None:
    with database_in(f"{POSTGRES}/postgres", "SQL_ASCII") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create table t (id int primary key, name text)")
            connection.execute("insert into t values (1, 'a'), (2, E'St\\xfchle'), (3, 'c')")
        some = source(url, table="t")
        with pytest.raises(SourceError, match=r"t, row 2: the text in 'name' is not UTF-8") as caught:
            keys(some)
        assert "source.where" in str(caught.value.hint)
        assert keys(source(url, table="t", where="id <> 2")) == [1, 3]
        assert keys(source(url, query="select id from t")) == [1, 2, 3]


def test_names_of_any_letters_are_read_beside_a_date_that_python_has_not_in_sql_ascii(source: Open) -> None:
    with database_in(f"{POSTGRES}/postgres", "SQL_ASCII") as url:
        with psycopg.connect(url, autocommit=True, client_encoding="utf8") as connection:
            connection.execute('create table "żółć" (id int primary key, "gültig" date, name text)')
            connection.execute("insert into \"żółć\" values (1, 'infinity', 'Stühle'), (2, '2024-02-29', 'b')")
        values = [row.values for page in source(url, table='"żółć"').pages(1) for row in page]
        assert values == [
            {"id": 1, "gültig": "infinity", "name": "Stühle"},
            {"id": 2, "gültig": dt.date(2024, 2, 29), "name": "b"},
        ]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(b"update \"\xc5\xbc\xc3\xb3\xc5\x82\xc4\x87\" set name = E'\\xfc'")
        # What reads such a text takes no names of other letters: the row is not named.
        with pytest.raises(SourceError, match="invalid byte sequence") as caught:
            keys(source(url, table='"żółć"'))
        assert "source.where" in str(caught.value.hint)


def test_a_text_that_is_not_utf8_behind_a_date_that_python_has_not_is_named_too(source: Open) -> None:
    with database_in(f"{POSTGRES}/postgres", "SQL_ASCII") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create table t (id int primary key, until date, name text)")
            connection.execute("insert into t values (1, 'infinity', 'a'), (2, null, E'St\\xfchle'), (3, null, 'c')")
        for indexed in (True, False):
            some = source(url, **({"table": "t"} if indexed else {"query": "select * from t"}))
            with pytest.raises(SourceError, match=r"row 2: the text in 'name' is not UTF-8"):
                keys(some)


def test_a_store_in_sql_ascii_is_refused_by_name(server: str) -> None:
    with database_in(server, "SQL_ASCII") as url:
        pipeline = simple_pipeline(rows={1: "é"}, store=PostgresStore(url, "vectors", pipeline="things"))
        with closing(pipeline.store):
            for attempt in (lambda: sync(pipeline), lambda: pipeline.store.checks(pipeline.spec)):
                with pytest.raises(StoreError, match="SQL_ASCII"):
                    attempt()


@pytest.mark.parametrize(("encoding", "name"), [("LATIN1", "Stühle"), ("WIN1251", "стул")])
def test_a_store_in_another_encoding_is_written_searched_and_shown(server: str, encoding: str, name: str) -> None:
    with database_in(server, encoding) as url:
        pipeline = simple_pipeline(rows={1: name, 2: "lamp"}, store=PostgresStore(url, "vectors", pipeline="things"))
        with closing(pipeline.store):
            assert sync(pipeline).inserted == 2
            assert sync(pipeline).inserted == 0
            vectors_match_rows(pipeline, {1: name, 2: "lamp"})
            assert rows_of(pipeline).keyword("lamp", 1).keys == [2]
            assert pipeline.store.runs()[0].outcome == "done"


# MariaDB and MySQL

MARIADB_SETTINGS = {
    "sql_mode": "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,PAD_CHAR_TO_FULL_LENGTH,HIGH_NOT_PRECEDENCE",
    "time_zone": "+09:30", "collation_connection": "latin1_german2_ci", "character_set_client": "latin1",
    "character_set_results": "latin1", "sql_select_limit": 1,
    "lc_time_names": "de_DE", "group_concat_max_len": 4,
    "div_precision_increment": 0, "sql_auto_is_null": 1, "tx_isolation": "SERIALIZABLE",
}  # fmt: skip


@contextmanager
def mariadb_user(settings: dict[str, Any]) -> Iterator[str]:
    """Name of a user whose new connections are set so; those of root, which other tests use, are not."""
    name = f"rowvec_{uuid4().hex[:12]}"
    said = ", ".join(f"{setting} = {value!r}" for setting, value in settings.items())
    server = pymysql.connect(host="127.0.0.1", user="root", autocommit=True)
    with closing(server), server.cursor() as cursor:
        cursor.execute(f"create user {name}@'%'")
        cursor.execute(f"grant select on *.* to {name}@'%'")
        cursor.execute("set global init_connect = %s", [f"set {said}"])
        try:
            yield name
        finally:
            cursor.execute("set global init_connect = ''")
            cursor.execute(f"drop user {name}@'%'")


@pytest.mark.parametrize("name", MARIADB_SETTINGS)
def test_no_setting_of_a_mariadb_server_changes_what_is_read(name: str) -> None:
    with mariadb_database() as (url, run):
        run("create table t (id char(6) primary key, `at` timestamp null, `n o` text, `group` int)")
        run(
            "insert into t values ('a', '2024-05-01 10:30:00', 'é \\\\ ☃', 7),"
            " ('b''', null, null, null), ('c', null, '', 1)"
        )
        query = (
            "select id, `at`, date_format(`at`, '%M %W') as month_and_day, concat('a', 'b' || 'c') as joined,"
            " 10 / 4 as quotient, \"text\" as quoted, 'a\\\\b' as backslash,"
            " (select group_concat(id order by id) from t) as everyone from t"
        )

        def look(url: str) -> list[Any]:
            found: list[Any] = []
            chosen: list[dict[str, Any]] = [{"table": "t"}, {"query": query}]
            for settings in chosen:
                with closing(SqlSource(url, key="id", cursor="at", **settings)) as some:
                    found += [
                        some.existing(["a", "b'", "c"]),
                        some.newest(),
                        sorted(some.changed(AT, 10)),
                        some.columns,
                    ]
                    found += [row for page in some.pages(2) for row in page]
            return found

        usual = look(url)
        assert {"a", "b'", "c"} in usual
        with mariadb_user({name: MARIADB_SETTINGS[name]}) as user:
            changed = look(url.replace("root@", f"{user}@"))
        assert changed == usual


def test_a_url_cannot_choose_another_character_set(source: Open) -> None:
    with mariadb_database() as (url, run):
        run("create table t (id int primary key, n text)")
        run("insert into t values (1, 'é ☃')")
        some = source(f"{MARIADB}/{url.rpartition('/')[2]}?charset=latin1", table="t")
        assert next(some.pages(1))[0].values["n"] == "é ☃"
