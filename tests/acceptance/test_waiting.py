"""Whoever has to wait for others in PostgreSQL says for whom, ends when asked to, and is in nobody's way meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.acceptance.shop import PARTS, Finished, Process, Shop, wait_until

ROWS = 30


@contextmanager
def other(url: str, *statements: str) -> Iterator[psycopg.Connection[Any]]:
    """Somebody with an open transaction, in which these have been run."""
    with psycopg.connect(url, application_name="reports of Ada") as connection:
        for statement in statements:
            connection.execute(statement.encode())
        yield connection
        connection.rollback()


def asked(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def stopped(process: Process) -> Finished:
    process.signal(signal.SIGINT)
    return process.finish()


SNAPSHOT = ("set transaction isolation level repeatable read", "select count(*) from products_vectors")


def test_an_index_build_says_for_whom_it_waits_and_ctrl_c_ends_it(shop: Shop, postgres_url: str) -> None:
    shop.run("sync")
    with other(postgres_url, *SNAPSHOT):
        build = shop.start("index", "build")
        wait_until(lambda: build.has_said("waits for reports of Ada (server process"), "it says for whom it waits")
        answer = stopped(build)
    assert answer.code == 130
    assert "Stopped. Searches go on as before" in answer.err
    assert asked(postgres_url, "select 1 from pg_locks where locktype = 'advisory'") == []
    assert shop.run("index", "build").code == 0
    assert asked(postgres_url, "select count(*) from pg_index where not indisvalid") == [(0,)]


def test_an_index_build_says_that_another_one_is_at_work(shop: Shop, postgres_url: str) -> None:
    shop.run("sync")
    with other(postgres_url, *SNAPSHOT):
        first = shop.start("index", "build")
        wait_until(lambda: first.has_said("waits for"), "the first one waits")
        second = shop.start("index", "build")
        wait_until(
            lambda: second.has_said(f"other work on the indexes of public.products_vectors: rowvec pid {first.pid} on"),
            "it says so",
        )
        assert stopped(second).code == 130
        assert stopped(first).code == 130


def test_the_lock_of_a_build_whose_process_was_killed_is_taken_from_it(shop: Shop, postgres_url: str) -> None:
    """The server would look for its process after the statement only, and that waits for somebody."""
    shop.run("sync")
    with other(postgres_url, *SNAPSHOT):
        first = shop.start("index", "build")
        wait_until(lambda: first.has_said("waits for"), "the first one waits")
        first.signal(signal.SIGKILL)
        first.finish()
        second = shop.start("index", "build")
        wait_until(lambda: second.has_said("waits for reports of Ada"), "the second one has come as far")
        assert stopped(second).code == 130


def test_a_model_change_that_waits_for_others_is_ended_by_ctrl_c_and_goes_on_later(
    shop: Shop, postgres_url: str
) -> None:
    shop.run("sync")
    assert shop.run("index", "build").code == 0
    shop.declare(embedder=PARTS["embedder"].replace("dimensions = 16", "dimensions = 8"))
    with other(postgres_url, "set transaction isolation level repeatable read", "select 1 from pg_class"):
        change = shop.start("sync")
        wait_until(lambda: change.has_said("waits for reports of Ada"), "it says for whom it waits")
        answer = stopped(change)
    assert answer.code == 130, answer.err
    assert asked(postgres_url, "select outcome from rowvec.runs order by id desc limit 1") == [("interrupted",)]
    assert shop.run("sync").code == 0
    assert asked(postgres_url, "select distinct vector_dims(embedding) from products_vectors") == [(8,)]


def test_after_a_hung_sync_was_ended_the_next_one_does_not_hear_of_it(shop: Shop, postgres_url: str) -> None:
    """Its session hangs in a statement still, when its process is no longer there."""
    shop.run("sync")
    shop.sql("update products set name = 'another' where id = 3")
    with other(postgres_url, "select 1 from products_vectors where id = 3 for update"):
        hung = shop.start("sync")
        wait_until(lambda: hung.has_said("waits for reports of Ada"), "it hangs")
        hung.signal(signal.SIGTERM)
        wait_until(lambda: hung.has_said("Ctrl-C again"), "it has heard that")
        hung.signal(signal.SIGKILL)
        hung.finish()
        next_one = shop.start("sync")
        wait_until(lambda: next_one.has_said("waits for reports of Ada"), "the next one has the lock")
    assert next_one.finish().code == 0


@pytest.mark.parametrize("change", ["column", "language"])
def test_a_change_of_the_table_is_in_nobodys_way(shop: Shop, postgres_url: str, change: str) -> None:
    """ALTER TABLE behind one long reader would make every later reader wait behind it."""
    shop.run("sync")
    if change == "column":
        shop.declare(store=PARTS["store"].replace('["price"]', '["price", "name"]'))
        read = "select count(*) from products_vectors"
    else:
        shop.declare(store=PARTS["store"].replace('language = ""', 'language = "english"'))
        shop.run("sync")
        shop.declare(store=PARTS["store"].replace('language = ""', 'language = "german"'))
        read = "select count(*) from products_vectors__postings"
    with other(postgres_url, read):
        sync = shop.start("sync")
        wait_until(lambda: sync.has_said("waits for reports of Ada"), "it says for whom it waits")
        for _ in range(20):
            with psycopg.connect(postgres_url, options="-c statement_timeout=2s") as reader:
                reader.execute(read.encode())
    answer = sync.finish()
    assert answer.code == 0, answer.err
    if change == "column":
        indexed = (
            "select count(*) from pg_indexes where tablename = 'products_vectors' and indexdef like '%hash (name)%'"
        )
        assert asked(postgres_url, indexed) == [(1,)]
        assert asked(postgres_url, "select count(*) from products_vectors where name is null") == [(0,)]


def test_a_sync_that_ends_beside_an_index_build_is_no_deadlock(shop: Shop, postgres_url: str) -> None:
    """It analyses the table, which waits for the build, which waits for the end of every statement that is older."""
    shop.run("sync")
    with other(postgres_url, *SNAPSHOT):
        build = shop.start("index", "build")
        wait_until(lambda: build.has_said("waits for reports of Ada"), "the build waits")
        shop.sql("update products set name = name || ' as new'")
        sync = shop.start("sync")
        wait_until(lambda: sync.has_said("other work on the indexes of public.products_vectors"), "the sync waits")
    assert build.finish().code == 0
    answer = sync.finish()
    assert answer.code == 0, answer.err
    outcomes = "select outcome, count(*) from rowvec.runs group by outcome"
    assert asked(postgres_url, outcomes) == [("done", 2)]


def test_check_apply_is_in_nobody_s_way(shop: Shop, postgres_url: str) -> None:
    """The table is the user's own, and their application reads and writes it."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create table products (id bigint primary key, name text, description text, price float8)")
        connection.execute("insert into products select n, 'lamp ' || n, 'a lamp', n from generate_series(1, 30) n")
    shop.declare(
        source='url = "${STORE_URL}", table = "products", key = "id"',
        store='kind = "postgres", url = "${STORE_URL}", table = "products", column = "embedding", language = ""',
    )
    with other(postgres_url, "select count(*) from products"):
        check = shop.start("check", "--apply")
        wait_until(lambda: check.has_said("waits for reports of Ada"), "it says for whom it waits")
        for number in range(20):
            with psycopg.connect(postgres_url, options="-c statement_timeout=2s") as application:
                application.execute("update products set price = %s where id = 1", [number])
    answer = check.finish()
    assert answer.code == 0, (answer.out, answer.err)
    assert "CREATE INDEX CONCURRENTLY" in answer.out
    assert shop.run("sync").code == 0
    assert asked(postgres_url, "select count(*) from products where embedding is null") == [(0,)]
