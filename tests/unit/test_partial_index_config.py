"""`store.partial_index` names a column whose values divide a table, or is refused with what to write."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import rowvec
from rowvec.errors import ConfigError

CONFIG = """
[pipelines.notes]
source = { kind = "sql", url = "sqlite:///notes.db", table = "notes", key = "id" }
text = { template = "{{ body }}"PASSAGES }
store = { kind = "KIND", url = "URL", metadata = ["tenant", "weight"], SETTING }
"""
POSTGRES = ("postgres", "postgresql://nobody@127.0.0.1:1/none")
LIBSQL = ("libsql", "vectors.db")


@pytest.mark.parametrize(
    ("setting", "passages", "store", "message"),
    [
        ('partial_index = "tenat"', "", POSTGRES, "tenat"),
        ('partial_index = "weight"', "", POSTGRES, "holds number values"),
        ('partial_index = "tenant", index = "none"', "", POSTGRES, 'partial_index beside index = "none"'),
        ('partial_index = "tenant"', ", passages = {}", POSTGRES, "searches that count on passages"),
        ('partial_index = "tenant"', "", LIBSQL, "partial_index"),
    ],
)
def test_what_divides_no_table_is_refused(
    tmp_path: Path, setting: str, passages: str, store: tuple[str, str], message: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "notes.db")) as connection:
        connection.execute("create table notes (id integer primary key, body text, tenant text, weight real)")
    kind, url = store
    text = CONFIG.replace("SETTING", setting).replace("PASSAGES", passages).replace("KIND", kind).replace("URL", url)
    (tmp_path / "rowvec.toml").write_text(text)
    with pytest.raises(ConfigError, match=message), rowvec.open(tmp_path / "rowvec.toml") as project:
        project.pipeline("notes").status()
