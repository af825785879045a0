"""From the words of a rowvec.toml to a source that reads files or events."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rowvec.assemble import assemble, build_source
from rowvec.config import load
from rowvec.errors import ConfigError, MissingExtraError
from rowvec.sources.base import Source
from rowvec.sources.events.kafka import KafkaEvents
from rowvec.sources.events.stream import EventStream
from rowvec.types import Column, ColumnType
from tests.integration.debezium_rig import lines, put
from tests.integration.test_debezium_kafka import Broker
from tests.unit.configs import pipeline


def source(folder: Path, rest: str) -> Source:
    return build_source(pipeline(folder, source=f"source = {{ {rest} }}"))


def test_files_get_their_filter_types_columns_and_delimiter(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("sku;name;price\n007;lamp;5\n008;desk;50\n009;chair;7\n")
    built = source(
        tmp_path,
        'kind = "files", paths = "rows.txt", key = "sku", format = "csv", delimiter = ";", where = "price < 10",'
        ' types = { sku = "text", price = "decimal" }, columns = ["name"]',
    )
    assert built.columns[0] == Column("sku", ColumnType.TEXT)
    assert [(row.key, row.values["name"]) for page in built.pages(10) for row in page] == [
        ("007", "lamp"),
        ("009", "chair"),
    ]
    built.close()


@pytest.mark.parametrize("kind", ["files", "debezium"])
def test_a_filter_on_a_column_that_is_not_there_is_a_mistake_in_the_config(tmp_path: Path, kind: str) -> None:
    (tmp_path / "rows.jsonl").write_text(lines([put(1, "lamp", 1)]) if kind == "debezium" else '{"id": 1, "price": 5}')
    with pytest.raises(ConfigError, match=r"'products', source\.where: .*'prize'") as caught:
        source(tmp_path, f'kind = "{kind}", paths = "rows.jsonl", key = "id", where = "prize < 10"')
    assert "price" in str(caught.value.hint)


def test_events_get_what_the_config_says_of_them(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(lines([put(1, "lamp", 1)]))
    built = source(
        tmp_path,
        'kind = "debezium", paths = "events.jsonl", key = "id", key_type = "text", table = "things",'
        ' columns = { id = "integer", name = "text" }, types = { price = "Decimal(2)" }, where = "name = \'x\'",'
        ' placeholder = "?", skip_bad = true',
    )
    assert isinstance(built, EventStream)
    assert built.columns == [Column("id", ColumnType.INTEGER), Column("name", ColumnType.TEXT)]
    assert (built.key_type, built.filtered) == (ColumnType.TEXT, {"name"})
    told = built.settings
    assert (told.table, told.types, told.placeholder, told.skip_bad) == ("things", {"price": "Decimal(2)"}, "?", True)


def test_events_of_kafka_are_read_with_the_options_of_the_client(tmp_path: Path) -> None:
    broker = Broker()
    broker.send([put(1, "lamp", 1), put(2, "desk", 2)])
    where = f'kind = "debezium", brokers = "{broker.address}", topics = "things", key = "id"'
    built = source(tmp_path, where + ', options = { "log_level" = 0, "client.id" = "shop" }')
    assert isinstance(built, KafkaEvents)
    assert [column.name for column in built.columns] == ["id", "name", "price"]
    with pytest.raises(ConfigError, match="no table to compare with"):
        built.count()


def test_a_library_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtraError, match="'kafka' extra"):
        source(tmp_path, 'kind = "debezium", brokers = "127.0.0.1:1", topics = "t", key = "id"')
    with pytest.raises(MissingExtraError, match="'files' extra"):
        source(tmp_path, 'kind = "files", paths = "rows.parquet", key = "id"')


def test_the_table_of_events_and_their_vectors_are_not_one_file(tmp_path: Path) -> None:
    rows = '{ url = "sqlite:///shop.db", table = "things" }'
    declared = pipeline(
        tmp_path,
        'store = { kind = "libsql", url = "shop.db" }',
        source=f'source = {{ kind = "debezium", paths = "e.jsonl", key = "id", rows = {rows} }}',
    )
    with pytest.raises(ConfigError, match="holds the rows and cannot hold the vectors too"):
        assemble(load(tmp_path), declared)
