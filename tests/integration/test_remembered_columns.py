"""What a sync found out about columns is kept for the next: their order, and types that only widen."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rowvec.api.project import Project
from rowvec.syncing.preview import Preview, preview
from rowvec.types import ColumnType
from tests.servers.openai import EmbeddingServer

pytestmark = pytest.mark.slow


class Shop:
    """A pipeline over one file, opened again for each call, as a command does."""

    def __init__(self, folder: Path, model: EmbeddingServer, store: str) -> None:
        self.folder, self.model, self.store = folder, model, store

    def configure(self, source: str, *metadata: str, text: str = 'columns = "*"') -> None:
        (self.folder / "rowvec.toml").write_text(f"""
            [pipelines.things]
            source = {source}
            text = {{ {text} }}
            store = {{ {self.store}, metadata = {json.dumps(metadata)} }}

            [pipelines.things.embedder]
            kind = "openai"
            model = "text-embedding-3-small"
            base_url = "{self.model.url}"
            api_key = "test-key"
            dimensions = 8
            """)

    def files(self, name: str, *metadata: str) -> None:
        self.configure(f'{{ kind = "files", paths = ["{name}"], key = "id" }}', *metadata)

    def sync(self) -> dict[str, int]:
        """The counts that are not zero."""
        with Project(self.folder) as project:
            report = project.pipeline().sync()
        names = ("inserted", "embedded", "updated", "deleted", "unchanged", "failed")
        return {name: getattr(report, name) for name in names if getattr(report, name)}

    def plan(self) -> Preview:
        with Project(self.folder) as project:
            return preview(project.pipeline().assembled)

    def stored(self) -> dict[Any, Any]:
        """Metadata by key."""
        with Project(self.folder) as project:
            pipeline = project.pipeline().assembled
            handle = pipeline.store.generation(pipeline.spec)
            assert handle is not None
            return dict(handle.metadata(handle.keys(None, 10_000)))

    def search(self, where: str) -> list[Any]:
        with Project(self.folder) as project:
            return sorted(hit.key for hit in project.pipeline().search("a", where=where).hits)


@pytest.fixture(params=["libsql", "postgres"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, model: EmbeddingServer) -> Shop:
    store = 'kind = "libsql", url = "vectors.db"'
    if request.param == "postgres":
        store = f'kind = "postgres", url = "{request.getfixturevalue("postgres_url")}"'
    return Shop(tmp_path, model, store)


def jsonl(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_an_integer_column_becomes_a_number_without_a_stop(shop: Shop) -> None:
    path = shop.folder / "a.csv"
    path.write_text("id,n,v\n1,a,5\n2,b,6\n")
    shop.files("a.csv", "v")
    assert shop.sync() == {"inserted": 2}
    path.write_text("id,n,v\n1,a,5\n2,b,6.5\n")
    assert shop.plan().columns == ["The column 'v' is number now, and was integer."]
    assert shop.sync()["embedded"] == 1  # The text of row 2 says 6.5.
    assert shop.stored() == {1: {"v": 5.0}, 2: {"v": 6.5}}
    assert shop.search("v > 5.2") == [2]
    path.write_text("id,n,v\n1,a,5\n2,b,cheap\n")
    assert shop.sync()["embedded"] == 1
    assert shop.stored() == {1: {"v": "5"}, 2: {"v": "cheap"}}
    path.write_text("id,n,v\n1,a,5\n")
    assert shop.sync() == {"unchanged": 1, "deleted": 1}
    assert shop.stored() == {1: {"v": "5"}}


def test_integer_keys_become_text_and_nothing_is_embedded_again(shop: Shop) -> None:
    path = shop.folder / "a.csv"
    path.write_text("id,n\n1,a\n2,b\n")
    shop.files("a.csv", "n")
    assert shop.sync() == {"inserted": 2}
    path.write_text("id,n\n1,a\n2,b\nA12,c\n007,d\n")
    assert shop.plan().kinds == {"insert": 2, "unchanged": 2}
    report = shop.sync()
    assert report.pop("inserted") == 2
    assert "embedded" not in report
    assert sorted(shop.stored()) == ["007", "1", "2", "A12"]
    assert shop.search("n = 'd'") == ["007"]


def test_a_file_of_nothing_but_a_header_settles_no_type(shop: Shop) -> None:
    path = shop.folder / "a.csv"
    path.write_text("id,n,v\n")
    shop.files("a.csv", "v")
    assert shop.sync() == {}
    path.write_text("id,n,v\n1,a,5\n")
    assert shop.sync() == {"inserted": 1}
    assert shop.stored() == {1: {"v": 5}}


def test_optional_fields_of_json_lines_keep_their_place_in_the_text(shop: Shop) -> None:
    path = shop.folder / "a.jsonl"
    others = [{"id": n, "title": f"t{n}", "subtitle": f"s{n}", "price": n} for n in (2, 3, 4, 5)]
    jsonl(path, {"id": 1, "title": "t1", "price": 5}, *others)
    shop.files("a.jsonl", "price")
    assert shop.sync() == {"inserted": 5}
    jsonl(path, *others)
    assert shop.sync() == {"unchanged": 4, "deleted": 1}
    jsonl(path, {"id": 2, "title": "t2", "price": 2}, *others[1:3])
    assert shop.sync() == {"embedded": 1, "deleted": 1, "unchanged": 2}


def test_columns_of_csv_in_another_order_change_no_text(shop: Shop) -> None:
    path = shop.folder / "a.csv"
    path.write_text("id,n,v\n1,a,5\n")
    shop.files("a.csv")
    shop.sync()
    path.write_text("v,id,new,n\n5,1,,a\n")
    assert "The column 'new' (text) is new: it comes last where a text has all columns." in shop.plan().columns
    assert shop.sync() == {"unchanged": 1}


def test_a_boolean_goes_on_to_be_said_as_one_when_its_column_widens(shop: Shop) -> None:
    path = shop.folder / "a.csv"
    path.write_text("id,open\n1,true\n2,false\n")
    shop.files("a.csv", "open")
    shop.sync()
    path.write_text("id,open\n1,true\n2,false\n3,maybe\n")
    report = shop.sync()
    assert report.pop("inserted") == 1
    assert "embedded" not in report
    assert shop.stored() == {1: {"open": "true"}, 2: {"open": "false"}, 3: {"open": "maybe"}}


def test_19_digits_stay_exact(shop: Shop) -> None:
    (shop.folder / "a.csv").write_text("id,n,tweet\n1,a,1234567890123456789\n2,b,1234567890123456788\n")
    shop.files("a.csv", "tweet")
    shop.sync()
    assert shop.stored() == {1: {"tweet": 1234567890123456789}, 2: {"tweet": 1234567890123456788}}
    assert shop.search("tweet = 1234567890123456788") == [2]


def test_a_type_that_is_declared_wins_over_what_was_remembered(shop: Shop) -> None:
    path = shop.folder / "a.csv"
    path.write_text("id,v\n1,x\n")
    shop.files("a.csv", "v")
    shop.sync()
    path.write_text("id,v\n1,5\n")
    shop.sync()
    assert shop.stored() == {1: {"v": "5"}}
    shop.configure('{ kind = "files", paths = ["a.csv"], key = "id", types = { v = "integer" } }', "v")
    assert shop.sync() == {"updated": 1}
    assert shop.stored() == {1: {"v": 5}}


def test_a_table_whose_columns_change_places_keeps_its_texts(shop: Shop) -> None:
    def table(sql: str, values: tuple[Any, ...]) -> None:
        with closing(sqlite3.connect(shop.folder / "shop.db", isolation_level=None)) as database:
            database.execute("drop table if exists t")
            database.execute(f"create table t ({sql})")
            database.execute(f"insert into t values ({', '.join('?' * len(values))})", values)

    table("id integer primary key, a text, b integer", (1, "x", 5))
    shop.configure('{ kind = "sql", url = "sqlite:///shop.db", table = "t", key = "id" }', "b")
    assert shop.sync() == {"inserted": 1}
    table("b integer, id integer primary key, late text, a text", (5, 1, None, "x"))
    assert shop.sync() == {"unchanged": 1}
    # Another type that was declared: the column follows it.
    table("b text, id integer primary key, late text, a text", ("5", 1, None, "x"))
    assert shop.sync() == {"updated": 1}
    assert shop.stored() == {1: {"b": "5"}}
    table("id integer primary key, a text", (1, "x"))
    shop.configure('{ kind = "sql", url = "sqlite:///shop.db", table = "t", key = "id" }')
    assert shop.sync()["embedded"] == 1


def test_the_cases_of_the_data_keep_their_keys(shop: Shop, data: Path) -> None:
    for name, odd in (("late_leading_zeros.csv", {"00123", "1_0"}), ("late_json_values.jsonl", {"0005002", "true"})):
        from rowvec.sources.files.source import FilesSource

        source = FilesSource([str(data / "cases" / name)], key="id")
        keys = [row.key for page in source.pages(5000) for row in page]
        source.close()
        assert odd <= set(keys)
        assert len(keys) == len(set(keys))
        assert source.key_type is ColumnType.TEXT


def test_a_metadata_column_that_takes_the_place_of_another_is_filled(shop: Shop) -> None:
    """The values of a row are the same, and so is their hash; whose values they are is not."""
    (shop.folder / "things.csv").write_text("id,colour,paint\n1,red,red\n2,blue,green\n")
    shop.files("things.csv", "colour")
    shop.sync()
    shop.files("things.csv", "paint")
    assert shop.sync() == {"updated": 2}
    assert shop.stored() == {1: {"paint": "red"}, 2: {"paint": "green"}}
    assert shop.sync() == {"unchanged": 2}


def test_a_metadata_column_that_comes_back_has_the_values_of_today(shop: Shop) -> None:
    """The table has it still, with what was true then."""
    shop.configure('{ kind = "files", paths = ["things.csv"], key = "id" }', "colour", text='columns = ["name"]')
    (shop.folder / "things.csv").write_text("id,name,colour,paint\n1,a,red,red\n2,b,red,blue\n")
    shop.sync()
    (shop.folder / "things.csv").write_text("id,name,colour,paint\n1,a,green,green\n2,b,blue,blue\n")
    for column in ("paint", "colour"):
        shop.configure('{ kind = "files", paths = ["things.csv"], key = "id" }', column, text='columns = ["name"]')
        assert shop.sync() == {"updated": 2}
        assert shop.stored() == {1: {column: "green"}, 2: {column: "blue"}}


def test_metadata_columns_in_another_order_keep_their_own_values(shop: Shop) -> None:
    """The values are swapped too, so that the row looks as it did."""
    (shop.folder / "things.csv").write_text("id,name,seen,sold\n1,a,3,7\n2,b,4,5\n")
    source = '{ kind = "files", paths = ["things.csv"], key = "id" }'
    shop.configure(source, "seen", "sold", text='columns = ["name"]')
    shop.sync()
    (shop.folder / "things.csv").write_text("id,name,seen,sold\n1,a,7,3\n2,b,5,4\n")
    shop.configure(source, "sold", "seen", text='columns = ["name"]')
    assert shop.sync() == {"updated": 2}
    assert shop.stored() == {1: {"sold": 3, "seen": 7}, 2: {"sold": 4, "seen": 5}}
    assert shop.sync() == {"unchanged": 2}


def test_lists_and_objects_in_one_column_are_json(shop: Shop) -> None:
    """As text, an empty list and an empty object were both an empty text."""
    shop.files("things.jsonl", "v")
    values: list[Any] = [[1, "x", None, {"a": []}], {}, [], {"b": 1}]
    jsonl(shop.folder / "things.jsonl", *({"id": key, "name": "a", "v": value} for key, value in enumerate(values)))
    shop.sync()
    assert [each["v"] for _, each in sorted(shop.stored().items())] == values
    assert shop.search("v.b = 1") == [3]
