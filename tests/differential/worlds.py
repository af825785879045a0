"""Tables and files that are drawn from a seed, written by the bare driver, and changed by it."""

from __future__ import annotations

import csv
import json
import random
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from tests.differential import values
from tests.differential.values import Told, quoted
from tests.integration.sql_rig import TRICKY

Key = int | str
Run = Callable[[str], object]

POSTGRES_SETTINGS = (
    "datestyle = 'German'", "datestyle = 'SQL, DMY'", "datestyle = 'Postgres'", "intervalstyle = 'sql_standard'",
    "intervalstyle = 'iso_8601'", "timezone = 'America/New_York'", "timezone = 'Asia/Kolkata'",
    "bytea_output = 'escape'",
    "extra_float_digits = -15", "extra_float_digits = 0", "client_encoding = 'LATIN1'", "client_encoding = 'SQL_ASCII'",
    "standard_conforming_strings = off", "backslash_quote = off", "quote_all_identifiers = on", "array_nulls = off",
    "transform_null_equals = on", "xmloption = 'document'", "search_path = 'pg_catalog'", "lock_timeout = 2000",
    "default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on", "enable_seqscan = off",
    "row_security = off", "lc_messages = 'C'", "idle_in_transaction_session_timeout = 60000", "jit = off",
)  # fmt: skip
"""What a database or a role of other people may set."""

NAMES = (
    "name",
    "Select",
    "a b",
    'q"x',
    "żółć",
    "UPPER",
    "100%",
    "a.b",
    "created_at",
    "updated_at",
    "text",
    "%s",
    "x'y",
    "{z}",
    "2024",
    "$x",
)


@dataclass
class Table:
    """What is held, and what its texts are.

    Attributes:
        columns: name and type of each column besides the key.
        rows: for each key, as what each column was written and its text.
    """

    key_type: str
    columns: Sequence[tuple[str, str]]
    rows: dict[Key, list[Told]] = field(default_factory=dict)

    def texts(self) -> dict[str, str | None]:
        """By key as text: the text that is embedded, "" for none, None where the docs leave a value open."""
        return {str(key): self._text(told) for key, told in self.rows.items()}

    def _text(self, told: Sequence[Told]) -> str | None:
        shown = [text for _, text in told]
        if None in shown:
            return None
        return "\n".join(f"{name}: {text}" for (name, _), text in zip(self.columns, shown, strict=True) if text)


class World:
    """A source of one kind: what can be drawn for it, and how it is written."""

    kind: str
    kinds: Mapping[str, Sequence[Told]]
    key_types: Sequence[str] = ("integer",)

    def draw(self, chance: random.Random, plain: bool) -> Table:
        """
        Args:
            plain: columns of plain names, whose texts are compared.
        """
        count = chance.randint(1, 4)
        names = [f"c{number}" for number in range(count)] if plain else chance.sample(NAMES, count)
        table = Table(chance.choice(self.key_types), [(name, chance.choice(list(self.kinds))) for name in names])
        for key in self.keys(chance, table.key_type, chance.randint(3, 9)):
            table.rows[key] = self.row(chance, table)
        return table

    def keys(self, chance: random.Random, kind: str, count: int) -> list[Key]:
        if kind == "integer":
            return chance.sample([*range(1, 20), -5, 0, 2**40, 2**63 - 1, -(2**63)], count)
        if kind == "uuid":
            return [str(UUID(int=chance.getrandbits(128))) for _ in range(count)]
        return list(chance.sample([text for text in TRICKY if text], count))

    def row(self, chance: random.Random, table: Table) -> list[Told]:
        return [
            ("null", "") if chance.random() < 0.15 else chance.choice(self.kinds[kind]) for _, kind in table.columns
        ]

    def write(self, table: Table) -> None:
        """All of it, in the place of what was there."""
        raise NotImplementedError

    def source(self) -> dict[str, Any]:
        """The source's part of rowvec.toml."""
        raise NotImplementedError


class Sql(World):
    quote = '"'
    escape: Callable[[str], str] = staticmethod(quoted)

    def __init__(self, url: str, run: Run) -> None:
        self.url, self.run = url, run

    def name(self, name: str) -> str:
        return self.quote + name.replace(self.quote, self.quote * 2) + self.quote

    def key(self, key: Key) -> str:
        return str(key) if isinstance(key, int) else self.escape(key)

    def write(self, table: Table) -> None:
        self.run("drop table if exists thing")
        columns = "".join(f", {self.name(name)} {kind}" for name, kind in table.columns)
        self.run(f"create table thing (id {self.key_column(table.key_type)} primary key{columns})")
        for key, told in table.rows.items():
            self.insert(key, told)

    def key_column(self, kind: str) -> str:
        return {"integer": "bigint"}.get(kind, kind)

    def insert(self, key: Key, told: Sequence[Told]) -> None:
        self.run(f"insert into thing values ({self.key(key)}{''.join(f', {written}' for written, _ in told)})")

    def change(self, table: Table, key: Key, told: Sequence[Told]) -> None:
        self.run(f"delete from thing where id = {self.key(key)}")
        self.insert(key, told)

    def delete(self, table: Table, key: Key) -> None:
        self.run(f"delete from thing where id = {self.key(key)}")

    def source(self) -> dict[str, Any]:
        return {"kind": "sql", "url": self.url, "table": "thing", "key": "id"}


class Postgres(Sql):
    kind = "postgres"

    def source(self) -> dict[str, Any]:
        # A search path that the database sets is what a name without a schema means.
        return {**super().source(), "table": "public.thing"}

    kinds = values.POSTGRES
    key_types = ("integer", "text", "uuid")


class Mariadb(Sql):
    kind = "mariadb"
    kinds = values.MARIADB
    key_types = ("integer", "text")
    quote = "`"
    escape = staticmethod(lambda text: quoted(text.replace("\\", "\\\\")))

    def key_column(self, kind: str) -> str:
        return {"integer": "bigint", "text": "varchar(60) character set utf8mb4 collate utf8mb4_nopad_bin"}[kind]


class Sqlite(Sql):
    kind = "sqlite"
    kinds = values.SQLITE
    key_types = ("integer", "text")

    def key_column(self, kind: str) -> str:
        return {"integer": "integer"}.get(kind, kind)


def sqlite_world(folder: Path) -> Sqlite:
    path = folder / "rows.db"

    def run(statement: str) -> object:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute(statement)
        return None

    return Sqlite(f"sqlite:///{path}", run)


class Files(World):
    """One file, written again for each change."""

    key_types = ("integer", "text")
    suffix: str

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"rows{self.suffix}"

    def change(self, table: Table, key: Key, told: Sequence[Told]) -> None:
        self.write(table)

    def delete(self, table: Table, key: Key) -> None:
        self.write(table)

    def source(self) -> dict[str, Any]:
        return {"kind": "files", "paths": [str(self.path)], "key": "id"}


class Csv(Files):
    kind, suffix, kinds = "csv", ".csv", values.CSV
    delimiter = ","

    def row(self, chance: random.Random, table: Table) -> list[Told]:
        return [chance.choice(self.kinds[kind]) for _, kind in table.columns]

    def draw(self, chance: random.Random, plain: bool) -> Table:
        table = super().draw(chance, plain)
        # A column in which every value looks like a number is one: the first row says that these are texts.
        first = next(iter(table.rows))
        told = table.rows[first]
        table.rows[first] = [
            ("some words", "some words") if kind == "text" else cell
            for cell, (_, kind) in zip(told, table.columns, strict=True)
        ]
        return table

    def keys(self, chance: random.Random, kind: str, count: int) -> list[Key]:
        found = super().keys(chance, kind, count)
        return found if kind == "integer" else ["k0", *found[1:]]

    def write(self, table: Table) -> None:
        with self.path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=self.delimiter)
            writer.writerow(["id", *(name for name, _ in table.columns)])
            for key, told in table.rows.items():
                writer.writerow([key, *(written for written, _ in told)])


class Tsv(Csv):
    kind, suffix, delimiter = "tsv", ".tsv", "\t"


class Jsonl(Files):
    kind, suffix, kinds = "jsonl", ".jsonl", values.JSONL

    def row(self, chance: random.Random, table: Table) -> list[Told]:
        return [chance.choice(self.kinds[kind]) for _, kind in table.columns]

    def write(self, table: Table) -> None:
        names = [name for name, _ in table.columns]
        with self.path.open("w", encoding="utf-8") as file:
            for key, told in table.rows.items():
                cells = zip(names, (written for written, _ in told), strict=True)
                file.write(json.dumps({"id": key, **dict(cells)}) + "\n")


class Parquet(Files):
    kind, suffix = "parquet", ".parquet"
    kinds: Mapping[str, Sequence[Told]] = {name: told for name, (_, told) in values.PARQUET.items()}

    def write(self, table: Table) -> None:
        key = pa.int64() if table.key_type == "integer" else pa.string()
        fields = [("id", key), *((name, values.PARQUET[kind][0]) for name, kind in table.columns)]
        arrays = [pa.array(list(table.rows), key)]
        for number, (_, kind) in enumerate(table.columns):
            arrays.append(pa.array([told[number][0] for told in table.rows.values()], values.PARQUET[kind][0]))
        pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), self.path)

    def row(self, chance: random.Random, table: Table) -> list[Told]:
        return [chance.choice(self.kinds[kind]) for _, kind in table.columns]
