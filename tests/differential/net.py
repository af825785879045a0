"""One source and one store for many cases: what rowvec.toml says about them, and what the bare driver reads."""

from __future__ import annotations

import decimal
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from rowvec import assemble
from rowvec.config import load
from rowvec.pipeline import Pipeline
from rowvec.testing import HashEmbedder
from tests.differential.worlds import Table, World

DIMENSION = 8
PLAIN = "-c client_encoding=utf8 -c extra_float_digits=3 -c datestyle=ISO"
OWN = frozenset(
    {
        "embedding", "text_hash", "row_hash", "truncated", "created_at", "updated_at", "vector_hash", "rowid", "oid",
        "_rowid_", "rowvec_id", "rowvec_expected", "rowvec_text", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid",
        "source_updated_at",
    }
)  # fmt: skip
"""Names that the table of the vectors has for its own columns, and calls those of a source otherwise."""


@dataclass
class Surroundings:
    """What a process is started with, and what an application has set in it.

    Attributes:
        digits: of the context of decimals; None for Python's own.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    digits: int | None = None

    @contextmanager
    def here(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
            stack.callback(time.tzset)
            for name, value in self.variables.items():
                patch.setenv(name, value)
            time.tzset()
            with decimal.localcontext() as context:
                context.prec = self.digits or context.prec
                yield
            patch.undo()


class Net:
    """
    Attributes:
        kept: names of the columns that are metadata.
        done: the names of the steps of this case so far.
        source, settings: what rowvec.toml says of the source and of the store besides what the table needs.
    """

    def __init__(self, folder: Path, world: World, store: str, store_url: str) -> None:
        self.folder, self.world, self.store = folder, world, store
        self.store_url = store_url
        self.table, self.key = "net", "id"
        self.kept: list[str] = []
        self.source: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}
        self.surroundings = Surroundings()
        self.done: list[str] = []

    def declare(self, table: Table) -> None:
        self.key = table.key
        store: dict[str, Any] = {"kind": self.store, "table": self.table, "metadata": self.kept, **self.settings}
        store["url"] = self.store_url if self.store == "postgres" else str(self.folder / "vectors.db")
        source = {**self.world.source(table), **self.source}
        parts = {"source": source, "text": self._text(table), "store": store}
        lines = [f"[pipelines.net.{part}]\n{_toml(settings)}" for part, settings in parts.items()]
        (self.folder / "rowvec.toml").write_text("[pipelines.net]\n" + "\n".join(lines), encoding="utf-8")

    @staticmethod
    def _text(table: Table) -> dict[str, Any]:
        names = [name for name, _ in table.columns]
        if table.form == "every":
            return {}
        if table.form == "columns":
            return {"columns": names}
        if table.form == "template":
            return {"template": " ".join(f"{{{{ {name} }}}}" for name in names)}
        return {"lines": [f"{name}: {{{name}}}" for name in names]}

    @contextmanager
    def pipeline(self, refused: Iterable[str] = ()) -> Iterator[Pipeline]:
        """
        Args:
            refused: texts that the embedder does not take.
        """
        with self.surroundings.here(), pytest.MonkeyPatch.context() as patch:
            embedder = HashEmbedder(DIMENSION)
            embedder.refused.update(refused)
            patch.setattr(assemble, "build_embedder", lambda *_, **__: embedder)
            loaded = load(self.folder / "rowvec.toml")
            with closing(assemble.assemble(loaded, loaded.pipeline("net"))) as pipeline:
                yield pipeline

    def forget(self) -> None:
        if self.store == "postgres":
            with psycopg.connect(self.store_url, autocommit=True) as connection:
                connection.execute("drop schema if exists rowvec cascade")
                for (name,) in connection.execute(
                    "select tablename from pg_tables where schemaname = 'public'"
                ).fetchall():
                    connection.execute(f'drop table "{name}" cascade'.encode())
        else:
            for path in self.folder.glob("vectors.db*"):
                path.unlink()

    def shown(self, names: Iterable[str]) -> list[str]:
        """Those metadata columns that the table calls by their own names."""
        longest = 63 if self.store == "postgres" else 1000
        return [name for name in names if name.lower() not in OWN and len(name.encode()) <= longest]

    def stored(self, metadata: list[str]) -> dict[str, tuple[Any, ...]]:
        """By key as text, read by the bare driver: the vector, and each of these columns."""
        key, table, *columns = (_quoted(name) for name in (self.key, self.table, *metadata))
        if self.store == "postgres":
            read = ", ".join(f"{column}::text" for column in [key, "embedding", *columns])
            with psycopg.connect(self.store_url, options=PLAIN) as connection:
                rows = connection.execute(f"select {read} from public.{table}".encode()).fetchall()
            return {key: (np.array(json.loads(vector), dtype="f4"), *values) for key, vector, *values in rows if vector}
        with closing(sqlite3.connect(self.folder / "vectors.db")) as database:
            rows = database.execute(f"select {', '.join([key, 'embedding', *columns])} from {table}").fetchall()
        return {str(key): (np.frombuffer(vector, dtype="<f4"), *values) for key, vector, *values in rows if vector}

    def lose(self) -> bool:
        """Somebody deletes a row of the vectors by hand. False where the bare driver cannot."""
        if self.store != "postgres":
            return False
        table = f"public.{_quoted(self.table)}"
        with psycopg.connect(self.store_url, autocommit=True, options=PLAIN) as connection:
            one = f"select ctid from {table} where embedding is not null limit 1"
            connection.execute(f"delete from {table} where ctid = ({one})".encode())
        return True


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _toml(settings: dict[str, Any]) -> str:
    return "\n".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in settings.items()) + "\n"
