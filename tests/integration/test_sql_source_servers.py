"""Reading PostgreSQL and MariaDB: what their types, collations and refusals are to a source.

The servers are those at the standard ports of this machine; each test has a database of its own.
"""

from __future__ import annotations

import datetime as dt
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pymysql
import pytest

from rowvec.errors import SourceError, SourceUnavailable
from rowvec.sources.base import Selection
from rowvec.sources.propose import propose
from rowvec.sources.sql import SqlSource
from rowvec.text import Documents, build_recipe
from rowvec.types import ColumnType, Key

POSTGRES = "postgresql://postgres@127.0.0.1:5432"
MARIADB = "mysql://root@127.0.0.1:3306"
TRICKY = ["a", "A", "á", "", "ä ", "ä", "a ", " a", "😀", "zz", "ZZ", "10", "9", "it's", 'q"', "%s", ":x", "\\"]

Open = Callable[..., SqlSource]
Run = Callable[..., None]


def absent(name: str, error: Exception) -> None:
    if os.environ.get("CI") == "true":
        raise error
    pytest.skip(f"no {name} at its standard port of this machine")


@pytest.fixture
def postgres() -> Iterator[tuple[str, Run]]:
    """URL of an empty database, and what runs a statement in it."""
    name = f"rowvec_{uuid4().hex[:12]}"
    try:
        server = psycopg.connect(f"{POSTGRES}/postgres", autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        absent("PostgreSQL", error)
    with closing(server):
        server.execute(f"create database {name}")
        try:
            with psycopg.connect(f"{POSTGRES}/{name}", autocommit=True) as connection:
                yield (
                    f"{POSTGRES}/{name}",
                    lambda statement, values=None: connection.execute(statement, values) and None,
                )
        finally:
            server.execute(f"drop database {name} with (force)")


@pytest.fixture
def mariadb() -> Iterator[tuple[str, Run]]:
    name = f"rowvec_{uuid4().hex[:12]}"
    try:
        server = pymysql.connect(host="127.0.0.1", user="root", autocommit=True, connect_timeout=5)
    except pymysql.OperationalError as error:
        absent("MariaDB", error)
    with closing(server), server.cursor() as cursor:
        cursor.execute(f"create database {name} character set utf8mb4 collate utf8mb4_general_ci")
        cursor.execute(f"use {name}")
        try:
            yield f"{MARIADB}/{name}", lambda statement, values=None: cursor.execute(statement, values) and None
        finally:
            cursor.execute(f"drop database {name}")


@pytest.fixture
def source() -> Iterator[Open]:
    opened: list[SqlSource] = []

    def open_source(url: str, **settings: Any) -> SqlSource:
        opened.append(SqlSource(url, **{"key": "id", **settings}))
        return opened[-1]

    yield open_source
    for each in opened:
        each.close()


def keys(source: SqlSource, size: int = 3, **bounds: Any) -> list[Any]:
    return [row.key for page in source.pages(size, **bounds) for row in page]


def reads_every_key_once(source: SqlSource, expected: list[Any]) -> None:
    """At every page size, from every key on, and one by one."""
    everything = keys(source, 1000)
    assert sorted(everything, key=str) == sorted(expected, key=str)
    for size in (1, 2, 5):
        assert keys(source, size) == everything
    for index, key in enumerate(everything):
        assert keys(source, 4, after=key) == everything[index + 1 :]
    assert source.existing(everything) == set(everything)
    assert source.count() == len(expected)


# --- PostgreSQL ---


def test_every_type_of_postgres_has_a_word_and_a_text(postgres: Any, source: Open) -> None:
    url, run = postgres
    run("create domain money_of_ours as numeric(10,2)")
    run("create type mood as enum ('calm', 'wild')")
    run(
        "create table t (id bigint primary key, a smallint, b real, c money_of_ours, d boolean, e char(5), f date, g time,"
        " h timestamp, i timestamptz, j uuid, k jsonb, l bytea, m text[], n mood, o interval, p inet)"
    )
    run(
        "insert into t values (1, 2, 0.1, 1250.00, true, 'ab', '2024-05-01', '12:30', '2024-05-01 12:30',"
        " '2024-05-01 12:30+02', '00000000-0000-0000-0000-000000000001', '{\"b\": [1], \"a\": \"é\"}', 'caf\u00e9',"
        " '{x,NULL,y}', 'wild', '1 day 02:00', '10.0.0.1')"
    )
    some = source(url, table="t")
    assert [column.type.value for column in some.columns] == [
        "integer", "integer", "number", "decimal", "boolean", "text", "date", "time", "timestamp", "timestamp", "uuid",
        "json", "bytes", "array", "text", "text", "text",
    ]  # fmt: skip
    recipe = build_recipe(some.columns, "id", columns="*")
    assert recipe.render(next(some.pages(1))[0]) == (
        "a: 2. b: 0.1. c: 1250.00. d: yes. e: ab. f: 2024-05-01. g: 12:30:00. h: 2024-05-01 12:30:00."
        " i: 2024-05-01 10:30:00+00:00. j: 00000000-0000-0000-0000-000000000001."
        ' k: {"a":"é","b":[1]}. l: café. m: x, y. n: wild. o: 1 day 02:00:00. p: 10.0.0.1'
    )


def test_times_that_python_has_not_are_read_as_text_and_stored_as_null(postgres: Any, source: Open) -> None:
    url, run = postgres
    run("create table t (id int primary key, until date, at timestamptz)")
    run("insert into t values (1, 'infinity', 'now'), (2, '0044-03-15 BC', '-infinity'), (3, '2024-05-01', null)")
    some = source(url, table="t")
    documents = Documents(build_recipe(some.columns, "id", columns=["until"]), some.columns[1:2])
    made = [documents(row) for page in some.pages(10) for row in page]
    assert [document.text for document in made] == ["until: infinity", "until: 0044-03-15 BC", "until: 2024-05-01"]
    assert [document.metadata for document in made] == [(None,), (None,), (dt.date(2024, 5, 1),)]


def test_a_schema_and_names_of_any_kind(postgres: Any, source: Open) -> None:
    url, run = postgres
    run('create schema "staging.x"; create table "staging.x"."My ""Table" ("Select" int primary key, "100% :a" text)')
    run('insert into "staging.x"."My ""Table" values (1, \'50% :b\'), (2, null)')
    some = source(
        url, table='"staging.x"."My ""Table"', key="Select", where="\"100% :a\" like '50\\% :%' and 1::int = 1"
    )
    assert next(some.pages(5))[0].values == {"Select": 1, "100% :a": "50% :b"}
    with pytest.raises(SourceError, match=r"Did you mean '\"staging.x\"\.\"My"):
        source(url, table="staging.my_table")


@pytest.mark.parametrize("kind", ["text", "text collate nodet", "citext", "varchar(9)"])
def test_text_keys_of_postgres_are_all_read_whatever_their_collation(postgres: Any, source: Open, kind: str) -> None:
    url, run = postgres
    run("create extension citext; create collation nodet (provider=icu, locale='und-u-ks-level1', deterministic=false)")
    run(f"create table t (id {kind}, name text)")
    for key in TRICKY:
        run("insert into t values (%s, 'x')", [key])
    reads_every_key_once(source(url, table="t"), TRICKY)
    reads_every_key_once(source(url, query="select id, name from t"), TRICKY)


def test_uuid_and_padded_keys_find_themselves_again(postgres: Any, source: Open) -> None:
    url, run = postgres
    run("create table t (id uuid primary key, code char(6) unique not null)")
    written = [UUID(int=i * 2**120 + 7) for i in range(1, 9)]
    for index, key in enumerate(written):
        run("insert into t values (%s, %s)", [key, f"c{index}"])
    some = source(url, table="t")
    assert some.key_type is ColumnType.UUID
    reads_every_key_once(some, written)
    assert keys(some, selection=Selection(keys=(written[0],), ranges=((written[2], written[4]),))) == [
        written[0],
        *written[2:5],
    ]
    reads_every_key_once(source(url, table="t", key="code"), [f"c{index}    " for index in range(8)])


def test_a_page_of_text_keys_is_read_from_the_index(postgres: Any) -> None:
    url, run = postgres
    run("create table t as select md5(i::text) as id, repeat('x', 50) as name from generate_series(1, 20000) i")
    run("alter table t add primary key (id)")
    run("analyze t")
    for settings in ({"table": "t"}, {"query": "select id, name from t"}):
        with closing(SqlSource(url, key="id", **settings)) as some, some._database.connect() as connection:
            import sqlalchemy as sa

            statement = some._from(sa.select(some._key), [some._order(some._key) > some._order(some._bound("8"))])
            compiled = statement.order_by(some._order(some._key)).limit(101).compile(dialect=connection.dialect)
            steps = connection.exec_driver_sql(f"explain {compiled}", compiled.params).scalars().all()
            assert any("Index" in step for step in steps), steps
            assert not any("Sort" in step or "Seq Scan" in step for step in steps), steps


def test_a_query_cannot_write(postgres: Any, source: Open) -> None:
    url, run = postgres
    run("create table t (id int primary key)")
    run("create function f() returns setof int language sql as 'insert into t values (1) returning id'")
    some = source(url, query="select f as id from f()", key="id")
    with pytest.raises(SourceError, match="read-only"):
        keys(some)
    assert source(url, table="t").count() == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"table": "t", "where": "nmae = 1"}, 'column "nmae" does not exist'),
        ({"query": "selec id from t"}, "syntax error"),
        ({"query": "select t.id, u.id from t, t u"}, "two columns named 'id'"),
        ({"query": "delete from t returning id"}, "syntax error"),
    ],
)
def test_what_postgres_refuses_is_said_in_its_words(postgres: Any, source: Open, settings: Any, message: str) -> None:
    url, run = postgres
    run("create table t (id int primary key, name text)")
    with pytest.raises(SourceError, match=message) as caught:
        keys(source(url, **settings))
    assert not caught.value.transient


def test_a_table_without_permission_names_the_grant(postgres: Any, source: Open) -> None:
    url, run = postgres
    role = f"reader_{uuid4().hex[:8]}"
    run("create table t (id int primary key)")
    run(f"create role {role} login password 'hunter2'")
    try:
        with pytest.raises(SourceError, match=r"permission denied for table t\n  Grant"):
            source(url.replace("postgres@", f"{role}:hunter2@"), table="t")
    finally:
        run(f"drop role {role}")


def test_a_connection_that_the_server_closed_is_replaced(postgres: Any, source: Open) -> None:
    url, run = postgres
    run("create table t (id int primary key)")
    run("insert into t select generate_series(1, 10)")
    some = source(url, table="t")
    pages = some.pages(4)
    next(pages)
    run(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    )
    assert [row.key for page in pages for row in page] == [5, 6, 7, 8, 9, 10]


def test_no_transaction_is_open_between_pages(postgres: Any, source: Open) -> None:
    url, run = postgres
    run("create table t (id int primary key)")
    run("insert into t select generate_series(1, 10)")
    pages = source(url, table="t").pages(4)
    next(pages)
    run("set lock_timeout = '2s'")
    run("alter table t add column late text")
    assert len(next(pages)) == 4


# --- MariaDB ---


def test_every_type_of_mariadb_has_a_word_and_a_text(mariadb: Any, source: Open) -> None:
    url, run = mariadb
    run(
        "create table t (id bigint primary key, a tinyint(1), b tinyint(4), c float, d decimal(10,2), e varchar(9), f date,"
        " g time, h datetime, i timestamp null, j uuid, k json, l blob, m enum('x','y'), n year, o bit(1), p double)"
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


def test_a_unique_text_key_of_mariadb_is_read_from_its_index(mariadb: Any) -> None:
    url, run = mariadb
    run("create table t (id varchar(40) primary key, name text)")
    run("insert into t select md5(seq), 'x' from seq_1_to_5000")
    with closing(SqlSource(url, table="t", key="id")) as some, some._database.connect() as connection:
        import sqlalchemy as sa

        statement = some._from(sa.select(some._key), [some._order(some._key) > some._order(some._bound("8"))])
        compiled = (
            statement.order_by(some._order(some._key))
            .limit(101)
            .compile(dialect=connection.dialect, compile_kwargs={"literal_binds": False})
        )
        values = tuple(compiled.params[name] for name in compiled.positiontup or ())
        (step,) = connection.exec_driver_sql(f"explain {compiled}", values).mappings().all()
    assert step["key"] == "PRIMARY"
    assert "filesort" not in (step["Extra"] or "")


def test_uuid_keys_of_mariadb_are_uuids(mariadb: Any, source: Open) -> None:
    url, run = mariadb
    run("create table t (id uuid primary key)")
    written = [uuid4() for _ in range(9)]
    for key in written:
        run("insert into t values (%s)", [str(key)])
    some = source(url, table="t")
    reads_every_key_once(some, written)
    assert some.count(Selection(keys=tuple(written[:2]))) == 2


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


# --- both ---


@pytest.mark.parametrize(
    "url", ["postgresql://me:hunter2@127.0.0.1:{port}/shop", "mysql://me:hunter2@127.0.0.1:{port}/shop"]
)
def test_an_unreachable_database_is_tried_again_and_its_password_not_shown(url: str, source: Open) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(SourceUnavailable, match=f"me@127.0.0.1:{port}/shop does not answer") as caught:
        source(url.format(port=port), table="product")
    assert "hunter2" not in str(caught.value)


def test_a_wrong_password_for_postgres_is_said_and_not_shown(source: Open) -> None:
    # The answer of a server that asks for passwords, which the one of this machine does not:
    # https://www.postgresql.org/docs/current/protocol-message-formats.html, ErrorResponse.
    fields = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "me"\0\0'
    refusal = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields

    def refuse(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    # Eight bytes long is the question whether we speak TLS: no.
                    if len(connection.recv(4096)) == 8:
                        connection.sendall(b"N")
                        connection.recv(4096)
                    connection.sendall(refusal)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=refuse, args=[server], daemon=True).start()
        port = server.getsockname()[1]
        with pytest.raises(SourceError, match="me@127.0.0.1:.*refused the user or the password") as caught:
            source(f"postgresql://me:hunter2@127.0.0.1:{port}/shop", table="product")
        server.shutdown(socket.SHUT_RDWR)
    assert "hunter2" not in str(caught.value)
    assert not caught.value.transient


def test_a_proposal_sees_schemas_views_and_sizes(postgres: Any) -> None:
    url, run = postgres
    run("create schema staging; create table staging.product (id int primary key, name text, ingested_at timestamptz)")
    run("insert into staging.product select i, 'x' from generate_series(1, 50) i; analyze staging.product")
    run("create materialized view names as select id, name from staging.product")
    found = {proposal.table: proposal for proposal in propose(url)}
    assert set(found) == {"staging.product", "names"}
    product = found["staging.product"]
    assert (product.key, product.rows, product.text, product.cursor) == ("id", 50, ("name",), "ingested_at")
    assert "by its name" in found["names"].key_note
