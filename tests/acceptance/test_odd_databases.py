"""What commands say over a database that is set in an odd way, and of values that do not fit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal

import psycopg
import pytest

from tests.acceptance.shop import PARTS, Shop
from tests.support_tiny_models import tiny_model

ROWS = 12
STORE = 'kind = "postgres", url = "${STORE_URL}", metadata = ["at", "price"]'
COMMANDS = (("check",), ("plan",), ("sync",), ("status",), ("search", "lamp 3", "--where", "at < '2026-01-01'"),
            ("audit",), ("generations",), ("failures",))  # fmt: skip


@pytest.fixture(params=["database", "role"])
def odd(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[str]:
    """URL of a database whose sessions write dates as Germans do, and text in another encoding."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = connection.info.dbname if request.param == "database" else connection.info.user
        whom = f'{request.param} "{name}"'
        for setting in ("datestyle = 'German'", "client_encoding = 'LATIN1'", "timezone = 'Asia/Tokyo'"):
            connection.execute(f"alter {whom} set {setting}".encode())
        try:
            yield postgres_url
        finally:
            connection.execute(f"alter {whom} reset all".encode())


def test_every_command_reads_a_database_with_german_dates(shop: Shop, odd: str) -> None:
    with psycopg.connect(odd, autocommit=True) as connection:
        connection.execute("create table things (id int primary key, name text, price float8, at timestamptz)")
        connection.execute(
            "insert into things select n, 'lamp ' || n, n, '2024-05-01 10:30:00.25+00' from generate_series(1, 5) n"
        )
    shop.declare(
        source='url = "${STORE_URL}", table = "things", key = "id", cursor = "at"',
        text='columns = ["name"]',
        store=STORE,
    )
    for words in COMMANDS:
        answer = shop.run(*words)
        assert answer.code == 0, (words, answer.err)
        assert "Traceback" not in answer.err
    hits = json.loads(shop.run("search", "lamp 3", "-m", "keyword", "--json").out)["results"]
    assert {hit["metadata"]["at"] for hit in hits} == {"2024-05-01T10:30:00.250000+00:00"}
    assert shop.run("sync").out.startswith("products: 5 unchanged")


def test_metadata_that_does_not_fit_is_counted_and_listed(shop: Shop) -> None:
    shop.sql("update products set price = 'cheap' where id in (2, 5, 7)")
    synced = shop.run("sync")
    assert synced.code == 0, synced.err
    assert f"{ROWS} new" in synced.out
    assert "3 metadata values did not fit: null is stored, and `rowvec failures` lists why." in synced.err
    assert "3 metadata values stored as null (`rowvec failures` lists them)" in shop.run("status").out
    listed = shop.run("failures")
    assert listed.code == 0
    assert "3 metadata values did not fit: null is stored, the vector is there." in listed.out
    assert listed.out.splitlines()[-1].split()[:5] == ["3", "price", "2,", "5,", "7"]
    found = json.loads(shop.run("failures", "--json").out)
    assert [(each["key"], each["column"]) for each in found] == [(2, "price"), (5, "price"), (7, "price")]
    audited = shop.run("audit")
    assert audited.code == 0
    assert "3 metadata values did not fit" in audited.err


@pytest.mark.parametrize("store", ["postgres", "libsql"])
def test_every_digit_of_a_numeric_is_in_the_hits_as_json(shop: Shop, postgres_url: str, store: str) -> None:
    digits = {1: "12345678901234567890.123456789", 2: "0.100000001", 3: "19.990000000"}
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create table things (id int primary key, name text, price numeric(30,9))")
        connection.cursor().executemany("insert into things values (%s, 'lamp', %s)", digits.items())
    kept = STORE if store == "postgres" else 'kind = "libsql", url = "vectors.db", metadata = ["price"]'
    source = 'url = "${STORE_URL}", table = "things", key = "id"'
    shop.declare(source=source, text='columns = ["name"]', store=kept.replace('"at", ', ""))
    assert shop.run("sync").code == 0
    hits = json.loads(shop.run("search", "lamp", "-m", "keyword", "--json").out, parse_float=str)["results"]
    assert {hit["id"]: Decimal(hit["metadata"]["price"]) for hit in hits} == {
        key: Decimal(said) for key, said in digits.items()
    }
    found = shop.run("search", "lamp", "-m", "keyword", "--where", f"price = {digits[1]}", "--json").out
    assert [hit["id"] for hit in json.loads(found)["results"]] == [1]


def test_a_model_of_this_machine_has_no_price(shop: Shop) -> None:
    tiny_model(shop.folder / "model")
    shop.declare(embedder='kind = "local", model = "./model", cache_dir = "./cache"')
    for words in (("plan",), ("sync",), ("status",), ("audit",), ("check",)):
        answer = shop.run(*words)
        assert answer.code == 0, answer.err
        assert "$" not in answer.out + answer.err, words


def test_a_service_without_a_known_price_says_so(shop: Shop) -> None:
    shop.declare(embedder=PARTS["embedder"].replace("dimensions = 16, ", "price_per_million = 0.02, dimensions = 16, "))
    assert "Price: $" in shop.run("plan").out
