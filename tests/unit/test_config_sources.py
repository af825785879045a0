"""Sources in files and in streams of events, as a rowvec.toml declares them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from rowvec.config import DebeziumSourceConfig, FilesSourceConfig
from tests.unit.configs import complaint, pipeline


def files(folder: Path, rest: str) -> FilesSourceConfig:
    found = pipeline(folder, source=f'source = {{ kind = "files", {rest} }}').source
    assert isinstance(found, FilesSourceConfig)
    return found


def events(folder: Path, rest: str) -> DebeziumSourceConfig:
    found = pipeline(folder, source=f'source = {{ kind = "debezium", {rest} }}').source
    assert isinstance(found, DebeziumSourceConfig)
    return found


def test_paths_start_beside_the_config_and_urls_stay(tmp_path: Path) -> None:
    found = files(tmp_path, 'key = "id", paths = ["rows/*.csv", "/data/x.parquet", "s3://bucket/rows/*.parquet"]')
    assert found.paths == (f"{tmp_path}/rows/*.csv", "/data/x.parquet", "s3://bucket/rows/*.parquet")


def test_a_single_path_and_a_single_topic_need_no_brackets(tmp_path: Path) -> None:
    assert files(tmp_path, 'key = "id", paths = "rows.csv"').paths == (f"{tmp_path}/rows.csv",)
    assert events(tmp_path, 'key = "id", brokers = "k:9092", topics = "t"').topics == ("t",)


def test_everything_that_files_can_be_told(tmp_path: Path) -> None:
    rest = """key = "id", paths = "a.txt", format = "csv", delimiter = "\\t", where = "price < 5", cursor = "at",
              columns = ["name"], types = { price = "decimal" }, page_size = 10"""
    found = files(tmp_path, " ".join(rest.split("\n")))
    assert (found.format, found.delimiter, found.where, found.cursor) == ("csv", "\t", "price < 5", "at")
    assert (found.columns, found.types, found.page_size) == (("name",), {"price": "decimal"}, 10)


@pytest.mark.parametrize(
    ("written", "lag"),
    [("1000", 1000), ('"5m"', dt.timedelta(minutes=5)), ('""', None), ('"1h30m"', dt.timedelta(minutes=90))],
)
def test_a_lag_is_an_amount_or_a_length_of_time(tmp_path: Path, written: str, lag: object) -> None:
    found = files(tmp_path, f'key = "id", paths = "a.csv", cursor = "at", full_every = "7d", cursor_lag = {written}')
    assert (found.cursor_lag, type(found.cursor_lag), found.full_every) == (lag, type(lag), dt.timedelta(days=7))


def test_what_files_are_when_nothing_is_told(tmp_path: Path) -> None:
    found = files(tmp_path, 'key = "id", paths = "a.csv", format = "", where = "", cursor = "", delimiter = ""')
    assert (found.format, found.delimiter, found.where, found.cursor) == (None, None, None, None)
    assert (found.columns, found.types, found.page_size) == (None, {}, 2000)


def test_everything_that_events_can_be_told(tmp_path: Path) -> None:
    rest = """key = "id", key_type = "uuid", paths = "e.jsonl", table = "things", columns = { id = "uuid" },
              types = { price = "Decimal(2)" }, where = "not deleted", placeholder = "?", skip_bad = true"""
    found = events(tmp_path, " ".join(rest.split("\n")))
    assert (found.key_type, found.table, found.columns) == ("uuid", "things", {"id": "uuid"})
    assert (found.types, found.where) == ({"price": "Decimal(2)"}, "not deleted")
    assert (found.placeholder, found.skip_bad, found.rows) == ("?", True, None)


def test_rows_are_a_table_with_the_key_of_the_events(tmp_path: Path) -> None:
    found = events(tmp_path, 'key = "id", paths = "e.jsonl", rows = { url = "sqlite:///shop.db", table = "things" }')
    assert found.rows is not None
    assert found.rows.url.get_secret_value() == f"sqlite:///{tmp_path}/shop.db"
    assert (found.rows.key, found.rows.table) == ("id", "things")


@pytest.mark.parametrize(
    "options",
    [
        '{ "sasl.username" = "me", "sasl.password" = "hush", "socket.timeout.ms" = 500, "debug.on" = true }',
        '{ sasl.username = "me", sasl.password = "hush", socket.timeout.ms = 500, debug.on = true }',
    ],
    ids=["quoted names", "tables within tables"],
)
def test_options_are_texts_and_secret(tmp_path: Path, options: str) -> None:
    found = events(tmp_path, f'key = "id", brokers = "k:9092", topics = "t", options = {options}')
    assert {name: value.get_secret_value() for name, value in found.options.items()} == {
        "sasl.username": "me",
        "sasl.password": "hush",
        "socket.timeout.ms": "500",
        "debug.on": "true",
    }
    assert "hush" not in repr(found)


def test_a_repr_shows_no_key_of_a_storage(tmp_path: Path) -> None:
    for found in (files, events):
        assert "hush" not in repr(found(tmp_path, 'key = "id", paths = "s3://me:hush@bucket/rows.csv"'))


MISTAKES: list[Any] = [
    ('kind = "files", key = "id"', "paths is missing", 'Add paths = "rows/*.parquet".'),
    ('kind = "files", key = "id", paths = []', "paths is empty", "Give it a value, or leave the line out"),
    ('kind = "files", key = "id", paths = 5', "paths is not a list", 'Write paths = ["…", "…"].'),
    ('kind = "files", paths = "a.csv"', "key is missing", 'Add key = "id".'),
    (
        'kind = "files", paths = "a.csv", key = ["a", "b"]',
        "key is a list, and a key is one column",
        'Write one name without brackets: key = "id".',
    ),
    (
        'kind = "files", paths = "a.csv", key = "id", format = "cvs"',
        "format is 'cvs', which is not one of parquet, csv, jsonl",
        "Did you mean 'csv'?",
    ),
    (
        'kind = "files", paths = "a.csv", key = "id", delimiter = ";;"',
        "delimiter is not one character",
        r'Write delimiter = ";", or "\t" for a tab.',
    ),
    (
        'kind = "files", paths = "a.csv", key = "id", types = { price = "numbr" }',
        "types.price is not a column type",
        "Did you mean 'number'?",
    ),
    (
        'kind = "files", paths = "a.csv", key = "id", types = { price = 5 }',
        "types.price is not a column type",
        "Write one of integer, number, decimal",
    ),
    (
        'kind = "files", paths = "a.csv", key = "id", cursor_lag = "5m"',
        "source has cursor_lag, but no cursor",
        'Add cursor = "updated_at", or leave it out.',
    ),
    (
        'kind = "sql", url = "sqlite:///x.db", table = "t", key = "id", full_every = "1d"',
        "source has full_every, but no cursor",
        'Add cursor = "updated_at", or leave it out.',
    ),
    (
        'kind = "sql", url = "sqlite:///x.db", table = "t", key = "id", cursor = "at", cursor_lag = "5 minutes"',
        "cursor_lag is not a length of time",
        'Write for example "30m", "12h", "1h30m" or "7d".',
    ),
    (
        'kind = "sql", url = "sqlite:///x.db", table = "t", key = "id", cursor = "at", cursor_lag = -5',
        "cursor_lag is less than 1",
        'Write a length of time such as "5m", or an amount such as 1000.',
    ),
    (
        'kind = "sql", url = "sqlite:///x.db", table = "t", key = "id", cursor = "at", full_every = 5',
        "full_every is not a length of time",
        'Write for example "30m", "12h", "1h30m" or "7d".',
    ),
    ('kind = "files", paths = "a.csv", key = "id", where = "price <"', "where is not a filter: ", ""),
    (
        'kind = "files", paths = "a.csv", key = "id", query = "select 1"',
        "query is not a known key",
        'It belongs to kind = "sql".',
    ),
    (
        'kind = "files", paths = "a.csv", key = "id", table = "t"',
        "table is not a known key",
        'It belongs to kind = "sql" or kind = "debezium".',
    ),
    (
        'kind = "debezium", key = "id"',
        "source has neither paths nor brokers",
        'Add paths = "events/*.jsonl", or brokers = "localhost:9092" and topics = "shop.public.products".',
    ),
    (
        'kind = "debezium", key = "id", paths = "e.jsonl", brokers = "k:9092", topics = "t"',
        "source has both paths and brokers",
        "Keep one of them.",
    ),
    (
        'kind = "debezium", key = "id", brokers = "k:9092"',
        "source has brokers, but no topics",
        'Add topics = "shop.public.products".',
    ),
    (
        'kind = "debezium", key = "id", paths = "e.jsonl", topics = "t"',
        "source has topics, but no brokers",
        'Add brokers = "localhost:9092", or leave it out.',
    ),
    (
        'kind = "debezium", key = "id", brokers = "k", topics = "t", options = { bootstrap.servers = "k" }',
        "options has bootstrap.servers",
        'Write brokers = "host:9092" beside options.',
    ),
    (
        'kind = "debezium", key = "id", brokers = "k", topics = "t", options = { "group.id" = "mine" }',
        "options has group.id, which is rowvec's own",
        "Leave it out: the store keeps how far was read.",
    ),
    (
        'kind = "debezium", key = "id", brokers = "k", topics = "t", options = { "sasl.username" = ["a"] }',
        "options has no text for sasl.username",
        'Write { "sasl.username" = "…" }.',
    ),
    (
        'kind = "debezium", key = "id", paths = "e.jsonl", key_type = "json"',
        "key_type is 'json', which is not one of integer, text, uuid",
        'Write key_type = "integer".',
    ),
    ('kind = "debezium", key = "id", paths = "e.jsonl", columns = {}', "columns is empty", "Give it a value"),
    ('kind = "debezium", key = "id", paths = "e.jsonl", rows = 5', "rows is not a table", "Write rows = { … }."),
    (
        'kind = "debezium", key = "id", paths = "e.jsonl", rows = { table = "t" }',
        "rows.url is missing",
        'Add url = "sqlite:///shop.db".',
    ),
    (
        'kind = "debezium", key = "id", paths = "e.jsonl", rows = { url = "sqlite:///x.db", tabel = "t", query = "q" }',
        "rows.tabel is not a known key",
        "Did you mean 'table'?",
    ),
    (
        'kind = "debezium", key = "id", paths = "e.jsonl", rows = { url = "sqlite:///x.db" }',
        "rows has neither table nor query",
        'Add table = "products"',
    ),
    (
        'kind = "debezium", key = "id", paths = "e.jsonl", rows = { url = "sqlite:///x.db", table = "t", key = "no" }',
        "source has a key that differs from that of its rows",
        "The events and the table share one key: leave one of the two out.",
    ),
]


@pytest.mark.parametrize(("source", "what", "fix"), MISTAKES, ids=[what for _, what, _ in MISTAKES])
def test_a_mistake_is_named_with_its_key_and_what_to_do(tmp_path: Path, source: str, what: str, fix: str) -> None:
    said, _, hint = complaint(tmp_path, source=f"source = {{ {source} }}").partition("\n  ")
    place = "" if what.startswith("source") else "source."
    assert said.startswith(f"pipelines.products.{place}{what}")
    assert hint.startswith(fix)
    assert hint
