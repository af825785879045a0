"""Reading PostgreSQL: what its types, collations and refusals are to a source; and a server that is not there."""

from __future__ import annotations

import datetime as dt
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy.engine import make_url

from rowvec.documents.text import Documents, build_recipe
from rowvec.errors import SourceError, SourceUnavailable
from rowvec.sources.base import Selection
from rowvec.sources.propose import propose
from rowvec.support.intervals import interval_of
from rowvec.types import ColumnType
from tests.integration.sql_rig import TRICKY, Open, Run, explained, keys, postgres_database, reads_every_key_once


@pytest.fixture
def postgres() -> Iterator[tuple[str, Run]]:
    with postgres_database() as database:
        yield database


def test_every_type_of_postgres_has_a_word_and_a_text(postgres: Any, source: Open) -> None:
    url, run = postgres
    run("create domain money_of_ours as numeric(10,2)")
    run("create type mood as enum ('calm', 'wild')")
    run(
        "create table t (id bigint primary key, a smallint, b real, c money_of_ours, d boolean, e char(5), f date,"
        " g time, h timestamp, i timestamptz, j uuid, k jsonb, l bytea, m text[], n mood, o interval, p inet)"
    )
    run(
        "insert into t values (1, 2, 0.1, 1250.00, true, 'ab', '2024-05-01', '12:30', '2024-05-01 12:30',"
        " '2024-05-01 12:30+02', '00000000-0000-0000-0000-000000000001', '{\"b\": [1], \"a\": \"é\"}', 'caf\u00e9',"
        " '{x,NULL,y}', 'wild', '1 day 02:00', '10.0.0.1')"
    )
    some = source(url, table="t")
    assert [column.type.value for column in some.columns] == [
        "integer", "integer", "number", "decimal", "boolean", "text", "date", "time", "timestamp", "timestamp", "uuid",
        "json", "bytes", "array", "text", "interval", "text",
    ]  # fmt: skip
    recipe = build_recipe(some.columns, "id", columns="*")
    assert recipe.render(next(some.pages(1))[0]) == (
        "a: 2. b: 0.1. c: 1250.00. d: yes. e: ab. f: 2024-05-01. g: 12:30:00. h: 2024-05-01 12:30:00."
        " i: 2024-05-01 10:30:00+00:00. j: 00000000-0000-0000-0000-000000000001."
        ' k: {"a":"é","b":[1]}. l: café. m: x, y. n: wild. o: 1 day 02:00:00. p: 10.0.0.1'
    )


def test_a_type_that_sounds_like_a_number_is_text_where_its_values_are(postgres: Any, source: Open) -> None:
    url, run = postgres
    run("create table t (id int primary key, a money, b point, c int4range, d int8multirange, e int2vector)")
    run("insert into t values (1, 1234.5, '(1,2)', '[1,10)', '{[1,3)}', '1 2')")
    some = source(url, table="t")
    assert {column.type for column in some.columns[2:]} == {ColumnType.TEXT}
    documents = Documents(build_recipe(some.columns, "id", columns="*"), some.columns[1:])
    assert documents(next(some.pages(1))[0]).metadata[1:] == ("(1,2)", "[1,10)", "{[1,3)}", "1 2")


@pytest.mark.parametrize("how", [{"table": "t"}, {"query": "select * from t"}])
def test_money_of_postgres_is_a_decimal_and_a_duration_keeps_its_months(postgres: Any, source: Open, how: Any) -> None:
    url, run = postgres
    run("create domain fee as money")
    run("create table t (id int primary key, price money, fees money[], fee fee, takes interval)")
    run("insert into t values (1, 1234567.5, '{1000,-0.05}', 0.1, '1 year 2 mons -3 days')")
    run("insert into t values (2, -2, null, null, '-1 day -02:00'), (3, null, null, null, '178000000 years')")
    some = source(url, **how)
    kinds = [ColumnType.INTEGER, ColumnType.DECIMAL, ColumnType.ARRAY, ColumnType.DECIMAL, ColumnType.INTERVAL]
    assert [column.type for column in some.columns] == kinds
    documents = Documents(build_recipe(some.columns, "id", columns="*"), some.columns[1:])
    first, second, third = map(documents, next(some.pages(3)))
    for part in ("1234567.50", "1000.00, -0.05", "0.10", "1 year 2 mons -3 days"):
        assert part in first.text
    assert first.metadata == (Decimal("1234567.50"), [1000.0, -0.05], Decimal("0.10"), "1 year 2 mons -3 days")
    assert second.metadata == (Decimal("-2.00"), None, None, "-1 days -02:00:00")
    assert third.metadata[3] is None
    assert third.unfit[0].column == "takes"


def test_a_citext_of_postgres_ignores_case(postgres: Any, source: Open) -> None:
    url, run = postgres
    run("create extension citext; create domain email as citext")
    run("create table t (id int primary key, a citext, b email, c text, d int4range)")
    for how in ({"table": "t"}, {"query": "select * from t"}):
        assert [column.name for column in source(url, **how).columns if column.ignores_case] == ["a", "b"]


PARTS = [
    "2 days", "1h 30m", "1.5 years", "1.5 mons", "0.5 week", "-1 day +02:03:04", "1 day ago", "@ 1 minute", "1 c",
    "1:30", "P1Y2M3DT4H5M6.7S", "P2W", "PT36H", "3 dec 2 hrs 5 us", "-0:00:01.5", "1 day -25:00", "-1 mon 1 day",
]  # fmt: skip


def test_durations_are_read_and_written_as_postgres_does(postgres: Any) -> None:
    with psycopg.connect(postgres[0]) as connection:
        for text in PARTS:
            found = interval_of(text)
            written = connection.execute("select %s::interval::text, %s::interval = %s", [text, text, found.span])
            assert written.fetchone() == (str(found), True)


def test_times_that_python_has_not_are_read_as_text_and_stored_as_null(postgres: Any, source: Open) -> None:
    url, run = postgres
    run("create table t (id int primary key, until date, at timestamptz)")
    run("insert into t values (1, 'infinity', 'now'), (2, '0044-03-15 BC', '-infinity'), (3, '2024-05-01', null)")
    some = source(url, table="t")
    documents = Documents(build_recipe(some.columns, "id", columns=["until"]), some.columns[1:2])
    made = [documents(row) for page in some.pages(10) for row in page]
    assert [document.text for document in made] == ["until: infinity", "until: 0044-03-15 BC", "until: 2024-05-01"]
    assert [document.metadata for document in made] == [(None,), (None,), (dt.date(2024, 5, 1),)]


def test_json_that_python_cannot_read_stays_text_and_stops_nobody(postgres: Any, source: Open) -> None:
    url, run = postgres
    run("create table t (id int primary key, j jsonb, k json)")
    run("insert into t values (0, '1e400', '-1e400'), (3, '[1e-400]', '1')")
    run("insert into t values (1, '1e5000', '[1]'), (2, '{\"a\": 1}', (repeat('[', 1200) || repeat(']', 1200))::json)")
    some = source(url, table="t")
    recipe = build_recipe(some.columns, "id", columns=["j", "k"])
    texts = [recipe.render(row) for page in some.pages(10) for row in page]
    assert texts[0] == f"j: 1{'0' * 400}. k: -1{'0' * 400}"
    assert texts[1:3] == [f"j: 1{'0' * 5000}. k: 1", 'j: {"a":1}. k: ' + "[" * 1200 + "]" * 1200]
    assert texts[3] == f"j: 0.{'0' * 399}1. k: 1"


def test_arrays_of_types_of_the_users_own_are_lists(postgres: Any, source: Open) -> None:
    url, run = postgres
    run("create type mood as enum ('calm', 'very wild'); create domain score as int")
    run("create type pair as (a int, b text)")
    run("create table t (id int primary key, moods mood[], scores score[], pairs pair[], nothing mood[])")
    run("insert into t values (1, '{calm,NULL,\"very wild\"}', '{1,2}', array[(1, 'x')::pair], '{}')")
    some = source(url, table="t")
    assert [column.type for column in some.columns[1:]] == [ColumnType.ARRAY] * 4
    recipe = build_recipe(some.columns, "id", columns="*")
    assert recipe.render(next(some.pages(1))[0]) == "moods: calm, very wild. scores: 1, 2. pairs: (1,x)"


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


def test_a_page_of_text_keys_is_read_from_the_index(postgres: Any, source: Open) -> None:
    url, run = postgres
    run("create table t as select md5(i::text) as id, repeat('x', 50) as name from generate_series(1, 20000) i")
    run("alter table t add primary key (id)")
    run("analyze t")
    for settings in ({"table": "t"}, {"query": "select id, name from t"}):
        steps = explained(source(url, **settings), after="8")
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
        with pytest.raises(SourceError, match=r"permission denied for table t\n  Let an .* run: GRANT SELECT ON t TO"):
            source(url.replace("postgres@", f"{role}:hunter2@"), table="t")
    finally:
        run(f"drop role {role}")


def test_rows_that_policies_hide_are_said_by_the_check(postgres: Any, source: Open) -> None:
    url, run = postgres
    role = f"reader_{uuid4().hex[:8]}"
    run('create table "Orders" (id int primary key, a text)')
    run("insert into \"Orders\" values (1, 'x'), (2, 'y')")
    run('create view seen as select * from "Orders"')
    run(f"create role {role} login password 'x'")
    run(f'grant select on "Orders", seen to {role}')
    reader = str(make_url(url).set(username=role, password="x").render_as_string(hide_password=False))
    try:
        assert source(reader, table="Orders").checks() == []
        run('alter table "Orders" enable row level security')
        run(f'create policy one on "Orders" to {role} using (id = 1)')
        run(f"alter role {role} set row_security = off")
        with pytest.raises(SourceError, match=r"affected by row-level security policy.*\n.*SET row_security = on"):
            source(reader, table="Orders").count()
        run(f"alter role {role} reset row_security")
        limited = source(reader, table="Orders")
        assert limited.count() == 1
        (line,) = limited.checks()
        assert line.ok
        assert line.detail == 'row-level security of "Orders" hides rows without an error'
        assert source(url, table="Orders").checks() == [], "whom no policy binds"
        assert source(reader, table="seen").checks() == [], "the owner of the view sees every row"
        run("create view theirs as select * from seen")
        run(f"alter view theirs owner to {role}")
        run("alter view seen set (security_invoker = true)")
        assert len(source(reader, table="seen").checks()) == 1
        assert len(source(reader, table="theirs").checks()) == 1
    finally:
        run(f"drop owned by {role}")
        run(f"drop role {role}")


def test_a_view_whose_owner_may_not_read_its_table_is_refused_by_the_names_of_both(postgres: Any, source: Open) -> None:
    url, run = postgres
    role = f"owner_{uuid4().hex[:8]}"
    run("create table base (id int primary key, a text)")
    run("create view seen as select * from base")
    run(f"create role {role}")
    run(f"alter view seen owner to {role}")
    try:
        with pytest.raises(SourceError, match="permission denied for table base") as caught:
            source(url, table="seen").count()
        assert "its owner needs a right" in (caught.value.hint or "")
    finally:
        run(f"drop owned by {role}")
        run(f"drop role {role}")


def test_the_check_says_that_a_trigger_forbids_prepared_transactions(postgres: Any, source: Open) -> None:
    url, run = postgres
    run("create table t (id int primary key, a text)")
    some = source(url, table="t")
    notifier = some.notifier()
    allowed = notifier.prepares()
    assert some.checks() == []
    notifier.carry_out(notifier.install_sql())
    assert [line.what for line in some.checks()] == ["notify"] * allowed


def test_a_connection_that_the_server_closed_is_replaced(postgres: Any, source: Open) -> None:
    url, run = postgres
    run("create table t (id int primary key)")
    run("insert into t select generate_series(1, 10)")
    some = source(url, table="t")
    pages = some.pages(4)
    next(pages)
    run(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
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


# --- any server ---


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
        with pytest.raises(SourceError, match=r"me@127.0.0.1:.*refused the user or the password") as caught:
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
