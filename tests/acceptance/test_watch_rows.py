"""`rowvec watch` on a table of PostgreSQL, from its trigger to its end by Ctrl-C; and plan and sync by a cursor."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.shop import Shop, wait_until
from tests.integration.sql_rig import Run, postgres_database
from tests.servers.openai import EmbeddingServer

STORE = 'kind = "libsql", url = "vectors.db", metadata = ["price"]'


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with EmbeddingServer() as server:
        shop = Shop(tmp_path, {"MODEL_URL": server.url})
        yield shop


@pytest.fixture
def postgres(shop: Shop) -> Iterator[tuple[str, Run]]:
    """Ten products in a table of PostgreSQL, and a rowvec.toml that reads it."""
    with postgres_database() as (url, run):
        run("create table products (id integer primary key, name text, description text, price real)")
        run("insert into products select n, 'lamp ' || n, 'number ' || n, n from generate_series(1, 10) n")
        shop.declare(source=f'url = "{url}", table = "products", key = "id"', store=STORE)
        yield url, run


def report(shop: Shop, *arguments: str) -> Any:
    done = shop.run(*arguments, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


class TestWatch:
    def test_the_trigger_is_printed_installed_and_removed(self, shop: Shop, postgres: tuple[str, Run]) -> None:
        done = shop.run("watch", "--install")
        assert done.code == 0, done.err
        assert done.err == "public.products tells of its changes now.\n"
        with psycopg.connect(postgres[0], autocommit=True) as connection:
            connection.execute(done.out.encode())
            connection.execute("update products set price = 5 where id = 1")
        said = report(shop, "watch", "--uninstall")
        assert (said["installed"], said["table"], len(said["statements"])) == (False, "public.products", 5)

    def test_rows_are_followed_until_it_is_stopped(self, shop: Shop, postgres: tuple[str, Run]) -> None:
        _, run = postgres
        assert shop.run("watch", "--install").code == 0
        process = shop.start("watch", "--json")
        wait_until(lambda: process.has_said("10 new"), "it has caught up")
        run("update products set name = 'chair' where id = 3")
        wait_until(lambda: process.has_said("1 changed"), "it has heard of the change")
        run("delete from products where id in (4, 5)")
        wait_until(lambda: process.has_said("2 deleted"), "it has heard of the deletion")
        process.signal(signal.SIGINT)
        done = process.finish()
        assert done.code == 0, done.err
        counts = json.loads(done.out)
        assert (counts["inserted"], counts["embedded"], counts["deleted"]) == (10, 1, 2)
        assert report(shop, "status")["current"] == 8

    def test_without_the_trigger_it_says_how_to_get_it(self, shop: Shop, postgres: tuple[str, Run]) -> None:
        done = shop.run("watch")
        assert done.code == 2
        assert "public.products has no trigger that tells of its changes" in done.err
        assert "rowvec watch --install" in done.err

    @pytest.mark.parametrize("arguments", [("watch",), ("watch", "--install"), ("watch", "--uninstall")])
    def test_another_database_is_refused(self, shop: Shop, arguments: tuple[str, ...]) -> None:
        shop.stock(3)
        shop.declare(store=STORE)
        done = shop.run(*arguments)
        assert done.code == 2
        assert "cannot be watched: that takes a table in PostgreSQL" in done.err
        assert "rowvec beat" in done.err

    def test_options_that_make_no_sense_are_refused(self, shop: Shop, postgres: tuple[str, Run]) -> None:
        for arguments, message in (
            (("--install", "--uninstall"), "contradict each other"),
            (("--from-start",), "are for change events"),
        ):
            done = shop.run("watch", *arguments)
            assert done.code == 2
            assert message in done.err


class TestCursor:
    @pytest.fixture
    def counted(self, shop: Shop) -> Shop:
        shop.stock(100)
        shop.sql("alter table products add column version integer")
        shop.sql("update products set version = id * 100")
        self.declare(shop)
        return shop

    @staticmethod
    def declare(shop: Shop, more: str = "") -> None:
        source = f'url = "sqlite:///shop.db", table = "products", key = "id", cursor = "version", cursor_lag = 50{more}'
        shop.declare(source=source, store=STORE)

    def test_plan_and_sync_say_which_rows_they_compare(self, counted: Shop) -> None:
        first = report(counted, "sync")
        assert (first["incremental"], first["inserted"]) == (False, 100)
        counted.sql("update products set name = 'chair', version = 20000 where id = 5")
        counted.sql("delete from products where id = 7")

        planned = report(counted, "plan")
        assert (planned["incremental"], planned["rows"]) == (True, 2)
        assert planned["changes"] == {"embed": 1, "unchanged": 1, "delete": 1}
        assert "Compared: 2 of 99 rows: version since 9950" in counted.run("plan").out
        assert report(counted, "plan", "--full")["rows"] == 99

        done = counted.run("sync")
        assert "1 changed, 1 deleted, 1 unchanged" in done.out
        assert (
            "Compared: 2 of 99 rows: version since 9950, rows without it, and rows that failed before. All are compared"
            in done.out
        )
        assert "Compared: all rows: as asked for." in counted.run("sync", "--full").out

    def test_another_condition_means_that_all_rows_are_compared(self, counted: Shop) -> None:
        report(counted, "sync")
        self.declare(counted, ', where = "id > 10"')
        said = report(counted, "sync")
        assert (said["comparison"], said["deleted"]) == ("all rows: the settings have changed.", 10)

    def test_a_named_row_that_is_gone_loses_its_vector(self, counted: Shop) -> None:
        report(counted, "sync")
        counted.sql("delete from products where id in (7, 8)")
        assert report(counted, "sync", "--keys", "7")["deleted"] == 1
        assert report(counted, "sync")["deleted"] == 1

    def test_a_cursor_that_is_no_time_is_explained(self, counted: Shop) -> None:
        source = 'url = "sqlite:///shop.db", table = "products", key = "id", cursor = "name"'
        counted.declare(source=source, store=STORE)
        done = counted.run("sync")
        assert done.code == 2
        assert "source.cursor: 'lamp 99' is not an ISO 8601 time" in done.err

    def test_progress_knows_how_many_rows_there_are(self, counted: Shop) -> None:
        assert report(counted, "sync")["to_compare"] == 100
        with sqlite3.connect(counted.folder / "shop.db") as database:
            database.execute("update products set version = 30000 where id < 5")
        database.close()
        assert report(counted, "sync")["to_compare"] == 5
