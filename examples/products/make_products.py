"""Fill a table with a catalogue of any size, or change some of its rows.

    python make_products.py URL                                5,000 products in bronze.products
    python make_products.py URL --rows 278697
    python make_products.py URL --change 1% --delete 0.5%      edit what is there
    python make_products.py sqlite:///shop.db                  in the table products

The products are invented, the same at every run with the same --seed. A deleted product keeps its row and is marked.
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).parent))
from catalogue import COLUMNS, product, products

ROWS = 5_000
SEED = 278
LIVE = "select product_id, name, created_at from {table} where not deleted order by product_id"
CHANGE = (
    "update {table} set name = {mark}, polish_name = {mark}, price = {mark}, updated_at = {mark}, ingested_at = {mark}"
    " where product_id = {mark}"
)
DELETE = "update {table} set deleted = true, updated_at = {mark}, ingested_at = {mark} where product_id = {mark}"


class Database(Protocol):
    """What differs between the two kinds of database."""

    mark: str

    def fill(self, table: str, rows: Iterable[Sequence[Any]]) -> None: ...
    def fetch(self, statement: str) -> list[tuple[Any, ...]]: ...
    def change(self, statement: str, values: Sequence[Sequence[Any]]) -> None: ...


class Sqlite:
    mark = "?"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def fill(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        self._connection.execute(f"drop table if exists {table}")
        self._connection.execute(create(table))
        marks = ", ".join("?" * len(COLUMNS))
        self._connection.executemany(f"insert into {table} values ({marks})", map(_plain, rows))

    def fetch(self, statement: str) -> list[tuple[Any, ...]]:
        return [(*row[:-1], dt.datetime.fromisoformat(row[-1])) for row in self._connection.execute(statement)]

    def change(self, statement: str, values: Sequence[Sequence[Any]]) -> None:
        self._connection.executemany(statement, map(_plain, values))


class Postgres:
    mark = "%s"

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def fill(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        schema = table.rpartition(".")[0]
        if schema:
            self._connection.execute(f"create schema if not exists {schema}")
        self._connection.execute(f"drop table if exists {table} cascade")
        self._connection.execute(create(table))
        with self._connection.cursor().copy(f"copy {table} from stdin") as copy:
            for row in rows:
                copy.write_row(row)
        self._connection.execute(f"analyze {table}")

    def fetch(self, statement: str) -> list[tuple[Any, ...]]:
        return list(self._connection.execute(statement).fetchall())

    def change(self, statement: str, values: Sequence[Sequence[Any]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(statement, values)


def _plain(row: Sequence[Any]) -> list[Any]:
    """SQLite has neither decimals nor times."""
    kinds = {Decimal: float, dt.datetime: lambda value: value.isoformat(" ")}
    return [kinds.get(type(value), lambda same: same)(value) for value in row]


def create(table: str) -> str:
    return f"create table {table} ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})"


def edit(database: Database, table: str, change: float, delete: float, seed: int) -> tuple[int, int]:
    """Give a share of the live products a new name and price, and mark a share of them as deleted.

    Returns:
        How many of each.
    """
    live = database.fetch(LIVE.format(table=table))
    dice = random.Random(seed)
    chosen = dice.sample(live, round(len(live) * change) + round(len(live) * delete))
    changed = chosen[: round(len(live) * change)]
    deleted = chosen[len(changed) :]
    latest = database.fetch(f"select 0, max(ingested_at) from {table}")[0][-1]
    now = latest + dt.timedelta(minutes=1)
    fresh = [(key, product(random.Random(f"{seed} {key} {name}"), key, created)) for key, name, created in changed]
    place = {name: position for position, name in enumerate(COLUMNS)}
    values = [(row[place["name"]], row[place["polish_name"]], row[place["price"]], now, now, key) for key, row in fresh]
    database.change(CHANGE.format(table=table, mark=database.mark), values)
    database.change(DELETE.format(table=table, mark=database.mark), [(now, now, key) for key, _, _ in deleted])
    return len(changed), len(deleted)


@contextmanager
def connected(url: str) -> Any:
    """Everything in one transaction."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            yield Sqlite(connection)
        return
    import psycopg

    with psycopg.connect(url) as connection:
        yield Postgres(connection)


def share(text: str) -> float:
    """A number such as 0.005, or 0.5%."""
    value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share: write 1% or 0.01.")
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="postgresql://… or sqlite:///FILE")
    parser.add_argument("--table", help="default: bronze.products, and products in SQLite")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--change", type=share, default=0.0, metavar="SHARE", help="such as 1%%, of an existing table")
    parser.add_argument("--delete", type=share, default=0.0, metavar="SHARE", help="such as 0.5%%")
    options = parser.parse_args(arguments)
    table = options.table or ("products" if options.url.startswith("sqlite:") else "bronze.products")
    if options.change + options.delete > 1:
        parser.error("--change and --delete together are more than all products")
    opened: AbstractContextManager[Database] = connected(options.url)
    with opened as database:
        if options.change or options.delete:
            changed, deleted = edit(database, table, options.change, options.delete, options.seed)
            print(f"{table}: {changed:,} products changed, {deleted:,} deleted")
        else:
            database.fill(table, products(options.rows, options.seed))
            print(f"{table}: {options.rows:,} products")


if __name__ == "__main__":
    main()
