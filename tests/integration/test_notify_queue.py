"""Somebody listens to PostgreSQL and is stopped: the queue fills, and the user's own writes must not fail for that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from rowvec.sources.sql import SqlSource
from rowvec.stores.postgres.embedded import embedded_url
from tests.integration.test_watching import Shop, in_step, until, watching

PAGES = 64
"""The fewest that the server takes: 512 kB instead of 8 GB."""
ENOUGH = 400
"""Statements, each with a notification of nearly 2 kB, for more than the queue holds."""


SMALL_QUEUE = f"""
import sys, pathlib, psycopg
from rowvec.stores.postgres.embedded import embedded_url, stop_embedded
folder = pathlib.Path(sys.argv[1])
with psycopg.connect(embedded_url(folder), autocommit=True) as connection:
    if connection.info.server_version >= 170000:
        connection.execute("alter system set max_notify_queue_pages = {PAGES}")
stop_embedded(folder)
"""


@pytest.fixture
def shop(state_folder: Path) -> Iterator[Shop]:
    # In a process of its own: the queue has its size from the server's start.
    subprocess.run([sys.executable, "-c", SMALL_QUEUE, str(state_folder)], check=True)
    url = embedded_url(state_folder)
    with ExitStack() as stack, psycopg.connect(url, autocommit=True) as connection:
        if connection.info.server_version < 170000:
            pytest.skip("max_notify_queue_pages came with PostgreSQL 17")
        yield Shop(url, lambda statement, values=None: connection.execute(statement, values) and None, stack)


def usage(shop: Shop) -> float:
    return float(shop.asked("select pg_notification_queue_usage()")[0][0])


@contextmanager
def stopped_listener(shop: Shop) -> Iterator[None]:
    """Its session does not take what it is sent, as that of a process under SIGSTOP does not in the end."""
    with psycopg.connect(shop.url) as connection:
        connection.execute("listen something")
        connection.commit()
        connection.execute("select 1")
        yield
        connection.rollback()


def write_much(shop: Shop) -> None:
    for number in range(ENOUGH):
        shop.run(f"insert into shop.things select 'row {number} ' || n || repeat('x', 40), 'row', 1"
                 " from generate_series(1, 30) n")  # fmt: skip


def test_the_application_goes_on_writing_when_a_listener_is_stopped(shop: Shop) -> None:
    shop.create("text")
    shop.install()
    with stopped_listener(shop):
        write_much(shop)
        assert 0.5 < usage(shop) < 1
        with closing(SqlSource(shop.url, table="shop.things", key="id")) as source:
            (line,) = source.checks()
        assert (line.what, line.ok) == ("notify", False)
        assert "% full" in line.detail
    shop.run("insert into shop.things values ('last', 'row', 1)")
    assert usage(shop) < 0.5


def test_watching_goes_on_by_comparing_while_nothing_can_be_told(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rowvec.sources.databases.notify.LOOK_SECONDS", 0.5)
    shop.create("text")
    notifier, pipeline = shop.install(), shop.pipeline()
    with stopped_listener(shop):
        write_much(shop)
        with watching(pipeline, notifier):
            in_step(shop, pipeline)
            shop.run("update shop.things set name = 'another' where id like 'row 7 %'")
            in_step(shop, pipeline)
            assert any("because somebody listens and does not read" in record.getMessage() for record in caplog.records)


def test_a_listener_that_was_stopped_itself_compares_all_rows(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowvec.sources.databases.notify.STOPPED_SECONDS", -1)
    shop.create()
    with shop.install().listening() as heard:
        until(lambda: heard.take(0.1).many, "it says that many may have changed")


def test_a_table_that_took_the_name_is_told_and_compared(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A tool such as dbt makes the table again under the same name, and the trigger goes with the former one."""
    monkeypatch.setattr("rowvec.sources.databases.notify.LOOK_SECONDS", 0.2)
    shop.create()
    shop.fill(5)
    notifier, pipeline = shop.install(), shop.pipeline()
    with watching(pipeline, notifier):
        in_step(shop, pipeline)
        shop.run(
            "begin; alter table shop.things rename to former;"
            " create table shop.things (like shop.former including all);"
            " insert into shop.things select * from shop.former; drop table shop.former; commit"
        )
        until(lambda: "has lost its trigger" in caplog.text, "it says that the trigger is gone")
        shop.run("insert into shop.things values (6, 'after the swap', 1)")
        in_step(shop, pipeline)
        shop.install()
        shop.run("insert into shop.things values (7, 'heard again', 1)")
        in_step(shop, pipeline)
    assert caplog.text.count("has lost its trigger") == 1
