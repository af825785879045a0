# ruff: noqa: E501  A table reads best with its cells side by side.
"""Tables of PostgreSQL, MariaDB and SQLite that are drawn."""

from __future__ import annotations

import datetime as dt
import random
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.differential import values
from tests.differential.values import Told, quoted
from tests.differential.worlds import NAMES, Key, Table, World

Run = Callable[[str], object]


@dataclass(frozen=True)
class Place:
    """A database.

    Attributes:
        encoding: Python's name for what its texts have to fit; "" for any text.
        lacks: types that it does not have.
    """

    url: str
    run: Run
    encoding: str = ""
    lacks: frozenset[str] = frozenset()


STAMP = "stamp"
BEGINNING = dt.datetime(2026, 1, 1)


class Sql(World):
    quote = '"'
    escape: Callable[[str], str] = staticmethod(quoted)
    table_names: Sequence[str] = ("thing", "Thing", "order", "a b", "żółć", 'q"x', "a.b", "%s", "x'y")
    shapes: Sequence[str] = ("table", "table", "view", "query", "composite")
    key_columns: Mapping[str, str] = {"integer": "bigint"}
    joined = "{0} || '-' || {1}"
    """A key of two columns."""
    moment = "timestamp"
    """A type for a column that says when a row was written."""

    def __init__(self, *places: Place) -> None:
        """
        Args:
            places: one of them is drawn for each table, the first of them most often.
        """
        self.places, self.at = places, places[0]
        self._made: list[str] = []

    def run(self, statement: str) -> None:
        self.at.run(statement)

    def draw(self, chance: random.Random, plain: bool) -> Table:
        self.clear()
        self.at = chance.choice((self.places[0], *self.places))
        own = type(self)
        self.names = [name for name in own.names if self.fits(name)]
        self.table_names = [name for name in own.table_names if self.fits(name)]
        self.key_names = [name for name in own.key_names if self.fits(name)]
        self.keys = {kind: keys for kind, keys in own.keys.items() if kind not in self.at.lacks}
        self.kinds = {
            kind: fitting
            for kind, told in own.kinds.items()
            if kind not in self.at.lacks and (fitting := [each for each in told if all(map(self.fits, each))])
        }
        table = super().draw(chance, plain)
        if table.form != "every" and all(name.lower() != STAMP for name, _ in table.columns):
            table.cursor = chance.choice(("", "", "bigint", self.moment))
        return table

    def fits(self, text: object) -> bool:
        if not self.at.encoding:
            return True
        return str(text).encode(self.at.encoding, "ignore").decode(self.at.encoding) == str(text)

    def quoted_name(self, name: str) -> str:
        return self.quote + name.replace(self.quote, self.quote * 2) + self.quote

    def draw_keys(self, chance: random.Random, table: Table, count: int) -> list[Key]:
        if table.shape != "composite":
            return super().draw_keys(chance, table, count)
        table.key_type = "integer"
        return [f"{key}-k {number % 2}" for number, key in enumerate(super().draw_keys(chance, table, count))]

    def value(self, chance: random.Random, table: Table, kind: str) -> Told:
        fixed = "generated" in kind or "not null" in kind
        told = super().value(chance, table, kind) if fixed or chance.random() > 0.15 else ("null", "")
        return (told[0], None) if self.is_open(table, kind) and told[0] != "null" else told

    def is_open(self, table: Table, kind: str) -> bool:
        """The docs leave open what such a column says in a table of this shape."""
        return False

    def write(self, table: Table) -> None:
        self.clear()
        name = self.quoted_name(table.name)
        for statement in self.definition(table, name):
            self.run(statement)
        self._made = [f"table {name}"]
        if table.shape == "view":
            self.run(f"create view {self.quoted_name(table.name + ' view')} as select {self._every(table)} from {name}")
            self._made.insert(0, f"view {self.quoted_name(table.name + ' view')}")
        self.insert(table, table.rows)

    def clear(self) -> None:
        for made in self._made:
            self.run(f"drop {made}")
        self._made = []

    def definition(self, table: Table, name: str) -> list[str]:
        columns = "".join(f", {self.quoted_name(each)} {kind}" for each, kind in table.columns)
        columns += f", {STAMP} {table.cursor}" if table.cursor else ""
        if table.shape == "composite":
            return [f"create table {name} (ka bigint, kb varchar(20){columns}, primary key (ka, kb))"]
        kind = self.key_columns.get(table.key_type, table.key_type)
        return [f"create table {name} ({self.quoted_name(table.key)} {kind} primary key{columns}){self.ending(table)}"]

    def ending(self, table: Table) -> str:
        return ""

    def _every(self, table: Table) -> str:
        """With those that `*` leaves out."""
        named = [self.quoted_name(name) for name in (table.key, *(name for name, _ in table.columns))]
        return ", ".join([*named, STAMP] if table.cursor else named)

    def insert(self, table: Table, keys: Iterable[Key]) -> None:
        keys = list(keys)
        if not keys:
            return
        given = [not kind_of[1].count("generated always") for kind_of in table.columns]
        key_names = ["ka", "kb"] if table.shape == "composite" else [self.quoted_name(table.key)]
        names = [self.quoted_name(name) for (name, _), gives in zip(table.columns, given, strict=True) if gives]
        rows = [
            ", ".join(
                [self.key(table, key), *(told[0] for told, gives in zip(table.rows[key], given, strict=True) if gives)]
                + ([self.stamp(table)] if table.cursor else [])
            )
            for key in keys
        ]
        listed = ", ".join([*key_names, *names, *([STAMP] if table.cursor else [])])
        self.run(f"insert into {self.quoted_name(table.name)} ({listed}) values ({'), ('.join(rows)})")

    def stamp(self, table: Table) -> str:
        number = next(table.clock)
        if table.cursor == "bigint":
            return str(number)
        return quoted(f"{BEGINNING + dt.timedelta(minutes=number)}")

    def key(self, table: Table, key: Key) -> str:
        if table.shape == "composite":
            number, _, rest = str(key).rpartition("-")
            return f"{number}, {self.escape(rest)}"
        return str(key) if isinstance(key, int) else self.escape(key)

    def delete(self, table: Table, key: Key) -> None:
        columns = "(ka, kb)" if table.shape == "composite" else self.quoted_name(table.key)
        self.run(f"delete from {self.quoted_name(table.name)} where {columns} = ({self.key(table, key)})")

    def damage(self, table: Table, chance: random.Random) -> None:
        self.clear()

    def source(self, table: Table) -> dict[str, Any]:
        source: dict[str, Any] = {"kind": "sql", "url": self.at.url, "key": table.key}
        if table.cursor:
            source |= {"cursor": STAMP, "cursor_lag": 1 if table.cursor == "bigint" else "1m"}
        if table.shape in ("query", "composite"):
            key = self.quoted_name(table.key)
            whole = self.joined.format("ka", "kb") if table.shape == "composite" else key
            others = "".join(f", {self.quoted_name(name)}" for name, _ in table.columns)
            others += f", {STAMP}" if table.cursor else ""
            return {
                **source,
                "query": f"select {whole} as {key}{others} from {self.place}{self.quoted_name(table.name)}",
            }
        name = (table.name + " view" if table.shape == "view" else table.name).replace('"', '""')
        return {**source, "table": f'{self.place}"{name}"'}

    place = ""
    """The schema of a table, and a dot."""


_WORDS = [f"k{number}" for number in range(9)]


class Postgres(Sql):
    kind = "postgres"
    kinds = values.POSTGRES
    literal = frozenset(
        {"text", "varchar(5000)", "words", "citext", "text collate any_case", 'text collate "C"', "smallint", "integer", "bigint", "uuid",
         "inet", "macaddr", "mood", "xml", "pair", "ltree", "int4range", "numeric(12,2)", "price", "deep", "point", "bit(8)", "char(8)"}
    )  # fmt: skip
    # A search path that the database sets is what a name without a schema means.
    place = "public."
    shapes = (*Sql.shapes, "partitioned", "unlogged", "child")
    names: Sequence[str] = [name for name in NAMES if len(name.encode()) < 64]
    keys: Mapping[str, Sequence[Key]] = {
        "uuid": (), "smallint": range(1, 12), "oid": (1, 2, 3, 5, 8, 4294967295, 4000000000, 0, 9),
        "varchar(60)": _WORDS, 'text collate "C"': ["a", "A", "b", "é", "é", "zz", "10", "9", " "],
        "text collate any_case": ["a", "b", "Ä", "zz", "10", "9", "é", "it's", "ß"], "char(8)": [f"{word:8}" for word in _WORDS],
        "citext": ["a", "B", "Ä", "zz", "10", "9", "it's", "É", "-"], "name": _WORDS,
        "numeric": ["1", "1.50", "-2", "NaN", "Infinity", "0.00000000000000000001", "12345678901234567890.5", "7", "10"],
        "double precision": ["1.5", "NaN", "1e+300", "-Infinity", "0.1", "5e-324", "10", "9", "-0.3"],
        "date": ["2024-01-01", "infinity", "0044-03-15 BC", "10000-01-01", "2023-12-31", "0001-01-01", "-infinity", "1999-01-01", "2000-02-29"],
        "timestamptz": ["2024-01-01 00:00:00+00", "infinity", "2024-01-01 00:00:00.5+00", "0044-03-15 12:00:00+00 BC", "1970-01-01 00:00:00+00"],
        "interval": ["1 day", "02:00:00", "1 mon", "1 year 2 mons -3 days", "-00:30:00", "00:00:00", "10 days"],
        "inet": ["10.0.0.1", "10.0.0.0/8", "::1", "192.168.1.5/24", "10.0.0.2", "2001:db8::/32"], "boolean": ["t", "f"],
        "macaddr": [f"08:00:2b:01:02:{number:02x}" for number in range(9)], "bit(4)": [f"{number:04b}" for number in range(9)],
        "bytea": [f"\\x{number:02x}ff00" for number in range(9)], "int4range": ["[1,5)", "empty", "(,)", "[2,3)", "(,7)"],
        "text[]": ['{a,b}', '{}', '{"a b",NULL}', '{"q\\"x"}', '{"null"}', '{A}'], "mood": ["it's", "ż", "{a,b}", "null"],
        "pair": ["(1,x)", "(1,y)", '(,"a b")', "(2,x)"], "ltree": ["a", "a.b", "a.b.c", "b", "B"], "price": ["19.90", "1.00", "-5.25"],
        "macaddr8": [f"08:00:2b:01:02:03:04:{number:02x}" for number in range(9)],
    }  # fmt: skip

    def key(self, table: Table, key: Key) -> str:
        if table.shape == "composite" or isinstance(key, int):
            return super().key(table, key)
        return f"cast({self.escape(key)} as {table.key_type.partition(' collate')[0]})"

    def ending(self, table: Table) -> str:
        return f" partition by range ({self.quoted_name(table.key)})" if table.shape == "partitioned" else ""

    def definition(self, table: Table, name: str) -> list[str]:
        found = super().definition(table, name)
        part = self.quoted_name(table.name + " part")
        if table.shape == "partitioned":
            return [*found, f"create table {part} partition of {name} default"]
        if table.shape == "unlogged":
            return [found[0].replace("create table", "create unlogged table", 1)]
        return [*found, f"create table {part} () inherits ({name})"] if table.shape == "child" else found

    def clear(self) -> None:
        self._made = [f"{made} cascade" for made in self._made]
        super().clear()


class Mariadb(Sql):
    kind = "mariadb"
    kinds = values.MARIADB
    literal = frozenset(
        {kind for kind in kinds if kind.startswith(("longtext", "varchar", "mediumtext", "tinyint", "smallint", "mediumint", "enum"))}
        | {"decimal(10,2)", "inet6", "inet4"}
    ) - {"tinyint(1)"}  # fmt: skip
    quote = "`"
    escape = staticmethod(lambda text: quoted(text.replace("\\", "\\\\")))
    joined = "concat({0}, '-', {1})"
    shapes = (*Sql.shapes, "partitioned")
    names: Sequence[str] = [name for name in NAMES if name != "emoji😀" and len(name) <= 64]
    table_names: Sequence[str] = [name for name in Sql.table_names if name != "Thing"]
    moment = "datetime"
    key_columns: Mapping[str, str] = {
        "integer": "bigint",
        "text": "varchar(60) character set utf8mb4 collate utf8mb4_nopad_bin",
        "plain text": "varchar(60)",
        "latin": "varchar(60) character set latin1",
        "fixed": "char(8) collate utf8mb4_nopad_bin",
    }
    keys: Mapping[str, Sequence[Key]] = {
        "plain text": ["a", "b", "zz", "10", "9", "it's", "\\", "😀", "%s"], "latin": ["a", "b", "é", "ß", "9"], "fixed": _WORDS,
        "int unsigned": (1, 2, 4294967295, 7, 9), "bigint unsigned": (1, 2, 2**63 - 1, 9), "smallint": range(-5, 5), "year": (1901, 2024, 2155),
        "enum('k2','k10','it''s','ż')": ["k2", "k10", "it's", "ż"], "uuid": (), "varchar(60) collate utf8mb4_bin": ["a", "A", "á", "zz"],
    }  # fmt: skip

    def ending(self, table: Table) -> str:
        ends = f" partition by key ({self.quoted_name(table.key)}) partitions 3" if table.shape == "partitioned" else ""
        return f" character set utf8mb4{ends}"

    def is_open(self, table: Table, kind: str) -> bool:
        return table.shape in ("query", "composite") and kind in ("bit(1)", "boolean")

    def draw(self, chance: random.Random, plain: bool) -> Table:
        table = super().draw(chance, plain)
        if table.shape == "view" and any(name != name.strip() for name, _ in table.columns):
            # A view of MariaDB drops the white space in front of a name.
            table.shape = "query"
        return table

    def kinds_of(self, table: Table) -> Mapping[str, Sequence[Told]]:
        if table.shape in ("view", "query", "composite"):
            return self.kinds
        # Of a table, columns that `*` leaves out are not read; one in partitions has none of geometry.
        left_out = ("invisible", "point", "geometry") if table.shape == "partitioned" else ("invisible",)
        return {kind: told for kind, told in self.kinds.items() if not any(word in kind for word in left_out)}


class Sqlite(Sql):
    kind = "sqlite"
    kinds = values.SQLITE
    literal = frozenset({"text", "varchar(10)", "text collate nocase", "text not null default 'never'"})
    moment = "datetime"
    key_columns: Mapping[str, str] = {"plain": "int", "untyped": "", "folding": "text collate nocase"}
    shapes = (*Sql.shapes, "without rowid", "strict", "strict, without rowid")
    keys: Mapping[str, Sequence[Key]] = {
        "plain": (1, 2, 3, -5, 0, 2**53 + 1, 2**63 - 1, 8, 9), "folding": ["a", "B", "zz", "10", "9", "Ä", "ä", "it's"],
        "varchar(10)": _WORDS, "uuid": (),
    }  # fmt: skip

    def is_open(self, table: Table, kind: str) -> bool:
        # The answer to a query does not say what a column is declared as.
        return table.shape in ("query", "composite") and kind in ("boolean", "bit(1)", "tinyint(1)")

    def draw(self, chance: random.Random, plain: bool) -> Table:
        table = super().draw(chance, plain)
        if "strict" in table.shape:
            # Neither type of a stamp is one of such a table.
            table.cursor = ""
        return table

    def kinds_of(self, table: Table) -> Mapping[str, Sequence[Told]]:
        return values.SQLITE_STRICT if "strict" in table.shape else self.kinds

    def draw_keys(self, chance: random.Random, table: Table, count: int) -> list[Key]:
        if "strict" in table.shape and table.key_type not in ("integer", "text"):
            table.key_type = "text"
        return super().draw_keys(chance, table, count)

    def ending(self, table: Table) -> str:
        return f" {table.shape}" if "strict" in table.shape or "rowid" in table.shape else ""


def sqlite_place(path: Path, *settings: str) -> tuple[Place, sqlite3.Connection]:
    """
    Args:
        settings: of the file, such as its encoding.
    """
    database = sqlite3.connect(path, isolation_level=None)
    for setting in settings:
        database.execute(f"pragma {setting}")
    return Place(f"sqlite:///{path}", lambda statement: database.execute(statement)), database
