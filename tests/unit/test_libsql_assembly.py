"""Rows in an SQLite file and vectors in a libSQL file are two files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rowvec import config
from rowvec.assemble import assemble
from rowvec.errors import ConfigError
from rowvec.stores.libsql.local import LocalDatabase

CONFIG = """
[pipelines.things]
source = {{ kind = "sql", url = "{source}", table = "things", key = "id" }}
text = {{ columns = ["name"] }}
embedder = {{ kind = "openai", model = "text-embedding-3-small", api_key = "none" }}
store = {{ kind = "libsql", url = "{store}" }}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    database = sqlite3.connect(tmp_path / "things.db")
    database.execute("create table things (id integer primary key, name text)")
    database.close()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "linked.db").symlink_to(tmp_path / "things.db")
    (tmp_path / "same.db").hardlink_to(tmp_path / "things.db")
    return tmp_path


def assembled(folder: Path, source: str, store: str) -> None:
    (folder / "rowvec.toml").write_text(CONFIG.format(source=source, store=store))
    loaded = config.load(folder)
    assemble(loaded, loaded.pipeline()).close()


@pytest.mark.parametrize(
    "source", ["sqlite:///things.db", "sqlite:///{folder}/things.db", "sqlite+pysqlite:///same.db"]
)
@pytest.mark.parametrize(
    "store",
    [
        "things.db",
        "./deeper/../things.db",
        "{folder}/things.db",
        "file:things.db?cache=private",
        "linked.db",
        "same.db",
    ],
)
def test_one_file_for_rows_and_vectors_is_refused_under_whatever_name(folder: Path, source: str, store: str) -> None:
    before = (folder / "things.db").read_bytes()
    with pytest.raises(ConfigError, match=r"'things'.* holds the rows and cannot hold the vectors too") as caught:
        assembled(folder, source.format(folder=folder), store.format(folder=folder))
    assert caught.value.hint == 'Give the store a file of its own, such as url = "embeddings.db".'
    assert (folder / "things.db").read_bytes() == before


@pytest.mark.parametrize(
    "store", ["vectors.db", "deeper/things.db", "file:vectors.db", "http://127.0.0.1:1/things.db", "libsql://things.db"]
)
def test_any_other_place_for_the_vectors_is_taken(folder: Path, store: str) -> None:
    assembled(folder, "sqlite:///things.db", store)


@pytest.mark.parametrize("name", ["a?b", "a%20b", "a b?c=d", "a?b/c?d"])
def test_a_folder_with_a_question_mark_holds_two_files_and_not_one(folder: Path, name: str) -> None:
    inner = folder / name
    inner.mkdir(parents=True)
    with closing(sqlite3.connect(inner / "things.db")) as database:
        database.execute("create table things (id integer primary key, name text)")
    assembled(inner, "sqlite:///things.db", "vectors.db")
    with pytest.raises(ConfigError, match="holds the rows and cannot hold the vectors too"):
        assembled(inner, "sqlite:///things.db", "things.db")
    assert LocalDatabase(str(inner / "vectors.db")).location == str(inner / "vectors.db")


@pytest.mark.parametrize(
    "mistyped", ["host.turso.io?authToken=sec/ret", "libsql:/host/db?authToken=secret", "libsql//me:secret@host/db"]
)
def test_the_token_of_a_mistyped_address_is_in_no_location(tmp_path: Path, mistyped: str) -> None:
    for written in (mistyped, str(tmp_path / mistyped)):
        assert "sec" not in LocalDatabase(written).location
