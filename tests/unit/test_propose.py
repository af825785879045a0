"""What `rowvec init --from` finds in a database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from rowvec.sources.propose import propose


def test_a_proposal_finds_key_text_metadata_cursor_and_condition(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    database.execute(
        "create table product (product_id integer primary key, vendor_code text, description text, name text,"
        " price decimal(10,2), deleted boolean, updated_at datetime)"
    )
    database.execute("insert into product (name) values ('x')")
    database.execute("create table link (a integer, b integer, primary key (a, b))")
    database.execute("create table event (slug text unique, is_active boolean)")
    database.execute("create view broken as select * from nowhere")
    database.close()
    product, *others = propose("sqlite:///shop.db", tmp_path)
    assert (product.table, product.rows, product.key, product.key_note) == ("product", 1, "product_id", "primary key")
    assert product.text == ("name", "description")
    assert product.metadata == ("name", "price")
    assert (product.cursor, product.where) == ("updated_at", "not deleted")
    found = {proposal.table: proposal for proposal in others}
    assert found["link"].key is None
    assert "2 columns (a, b)" in found["link"].key_note
    assert (found["event"].key, found["event"].where) == ("slug", "is_active")
    assert "no such table" in found["broken"].key_note


def shop(tmp_path: Path, *statements: str) -> str:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database, database:
        for statement in statements:
            database.execute(statement)
    return f"sqlite:///{tmp_path}/shop.db"


def test_a_table_comes_before_its_view(tmp_path: Path) -> None:
    url = shop(
        tmp_path,
        "create table item (id integer primary key, name text)",
        "insert into item values (1, 'a lamp')",
        "create view all_items as select id, name from item",
    )
    assert [each.table for each in propose(url)] == ["item", "all_items"]


def test_the_cursor_and_other_dates_kept_as_text_are_not_text(tmp_path: Path) -> None:
    url = shop(
        tmp_path,
        "create table item (id integer primary key, name text, updated_at text, seen text)",
        "insert into item values (1, 'a lamp', '2026-01-01T10:00:00Z', '2026-01-01 10:00:00')",
    )
    (item,) = propose(url)
    assert (item.text, item.cursor) == (("name",), "updated_at")


@pytest.mark.parametrize(
    "value",
    [
        "https://shop.example/1", "ann@shop.example", "6f1c2f0e-8a55-4a53-9d0c-0d1f4a3b2c1d", "SABO-520067.C", "12.5",
        "[1,5)", '{"a": 1}', "d41d8cd98f00b204e9800998ecf8427e", "+48 22 123 45 67", "192.168.0.1/24",
    ],
)  # fmt: skip
def test_what_holds_no_words_is_not_text(tmp_path: Path, value: str) -> None:
    url = shop(tmp_path, "create table item (id integer primary key, name text, extra text)")
    shop(tmp_path, f"insert into item values (1, 'лампа', '{value}'), (2, '椅子', '{value}')")
    assert propose(url)[0].text == ("name",)


def test_statuses_and_brands_are_metadata(tmp_path: Path) -> None:
    url = shop(tmp_path, "create table item (id integer primary key, name text, grade text, brand text, info text)")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database, database:
        rows = [(n, f"lamp {n}", "ABC"[n % 3] * 2, f"Maker {n}", f"It is number {n}") for n in range(100)]
        database.executemany("insert into item values (?, ?, ?, ?, ?)", rows)
    item = propose(url)[0]
    assert item.metadata == ("name", "grade", "brand")
    assert set(item.text) >= {"name", "brand", "info"}


@pytest.mark.parametrize(("words", "kept"), [(5, ("body", "pages")), (200, ("pages",))])
def test_a_long_text_is_embedded_and_not_kept_for_filters(tmp_path: Path, words: int, kept: tuple[str, ...]) -> None:
    url = shop(tmp_path, "create table article (id integer primary key, body text, pages integer)")
    said = " ".join(["pump"] * words)
    shop(tmp_path, f"insert into article values (1, '{said}', 3), (2, '{said}', 4)")
    (article,) = propose(url)
    assert (article.text, article.metadata) == (("body",), kept)
    assert article.lengths == (len(said), len(said))


def test_types_of_postgresql_that_are_no_prose(server: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("drop schema if exists proposed cascade")
        connection.execute("create schema proposed")
        try:
            connection.execute("create type proposed.mood as enum ('calm', 'wild')")
            connection.execute(
                "create table proposed.item (id bigint primary key, title text, span int4range, host inet, mac macaddr,"
                " flags bit(8), words tsvector, feel proposed.mood, took interval, paid money, label varchar(20))"
            )
            found = next(each for each in propose(server) if each.table == "proposed.item")
        finally:
            connection.execute("drop schema proposed cascade")
    assert found.text == ("title", "label")
    assert found.metadata == ("title", "feel", "took", "paid")


def test_a_table_of_postgresql_comes_before_its_views_and_partitions(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create table zone (id int primary key, name text) partition by range (id)")
        connection.execute("create table a_zone partition of zone for values from (0) to (100)")
        connection.execute("insert into zone select n, 'a lamp of glass ' || n from generate_series(1, 50) n")
        connection.execute("create view a_view as select id, name from zone")
        connection.execute("create materialized view a_copy as select * from zone")
        connection.execute("create schema more; create materialized view more.copy as select * from zone")
        # The server does so by itself for partitions, and not for their table.
        connection.execute("analyze a_zone; analyze a_copy; analyze more.copy")
    found = propose(postgres_url)
    assert found[0].table == "zone"
    assert {each.table for each in found[1:]} == {"a_zone", "a_view", "a_copy", "more.copy"}
    assert len(found) == 5
