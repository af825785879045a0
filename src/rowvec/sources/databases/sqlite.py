"""SQLite files, opened read-only through Python's own driver."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection
from sqlalchemy.sql.expression import ColumnElement

from rowvec.errors import ConfigError, RowvecError, SourceError, SourceUnavailable
from rowvec.sources.column_types import named_freely
from rowvec.sources.databases.base import (
    COLUMN_HINT,
    SETTINGS_HINT,
    Database,
    Order,
    Relation,
    quote_every_name,
    readable,
)
from rowvec.sources.told_types import arranged, widened
from rowvec.support.suggestions import suggestion
from rowvec.types import Column, ColumnType

BUSY_SECONDS = 10
BOOT = Path("/proc/sys/kernel/random/boot_id")
"""The same in all containers of a machine, and another one on each machine (Linux)."""
_STORAGE_CLASSES = {
    "integer": ColumnType.INTEGER,
    "real": ColumnType.NUMBER,
    "text": ColumnType.TEXT,
    "blob": ColumnType.BYTES,
}
_UNIQUE_INDEX = sa.text(
    # "unique" and "partial" are words of SQL: they stay quoted.
    """
    select max(x.coll) from pragma_index_list(:name, :schema) l join pragma_index_xinfo(l.name, :schema) x
    where l."unique" and not l."partial" and x.key
    group by l.name having count(*) = 1 and max(x.name) = :key
    """
)


class SqliteDatabase(Database):
    """One file. It is opened again for each page: a file put in its place is seen, and nothing stays locked."""

    # Times are texts to SQLite, or numbers.
    cursor_types = Database.cursor_types | {ColumnType.TEXT, ColumnType.NUMBER}

    def __init__(self, url: str, parsed: URL, base: Path) -> None:
        super().__init__(url)
        if not parsed.database or parsed.database == ":memory:":
            raise ConfigError("source.url names no SQLite file.", hint="Such as sqlite:///shop.db.")
        self._path = file_of(url, base)
        self.location = f"SQLite {self._path}"
        self._check_file()
        self.engine = sa.create_engine("sqlite://", creator=self._open, poolclass=sa.NullPool, hide_parameters=True)
        # A name in double quotes that is not that of a column is a text to SQLite: a column that was dropped a moment
        # ago would have its own name as the value of each row.
        quote_every_name(self.engine)
        quotes = self.engine.dialect.identifier_preparer
        quotes.initial_quote = quotes.final_quote = quotes.escape_quote = "`"
        quotes.escape_to_quote = "``"

    def _check_file(self) -> None:
        if self._path.is_file():
            return
        if self._path.exists():
            raise SourceError(
                f"{self._path} is not a file.", hint="source.url names an SQLite file: sqlite:///shop.db."
            )
        folder = self._path.parent
        if not folder.is_dir():
            raise SourceError(
                f"There is no file {self._path}.", hint=f"Correct source.url: there is no folder {folder} either."
            )
        beside = [path.name for path in folder.iterdir() if path.suffix in (".db", ".sqlite", ".sqlite3", ".db3")]
        raise SourceError(
            f"There is no file {self._path}.",
            hint=suggestion(self._path.name, sorted(beside))
            if beside
            else "Correct source.url: no SQLite file is in that folder.",
        )

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(self._path))}?mode=ro", uri=True, timeout=BUSY_SECONDS, check_same_thread=False
        )

    def columns(self, connection: Connection, relation: Relation, remembered: Sequence[Column] = ()) -> list[Column]:
        """Types as declared; where nothing is declared, in a query above all, as all the values have them."""
        declared: dict[str, str] = {}
        if relation.table is not None:
            statement = sa.text("select name, type from pragma_table_xinfo(:name, :schema)")
            parameters = {"name": relation.table, "schema": relation.schema or "main"}
            declared = {row.name: row.type for row in connection.execute(statement, parameters)}
        described, _ = self.sample(connection, relation)
        names = [column[0] for column in described]
        types = {name: named_freely(declared.get(name, "")) for name in names}
        untold = [name for name in names if types[name] is None]
        if len(types) < len(names) or not untold:
            return [Column(name, types[name] or ColumnType.TEXT) for name in names]
        told = self._told(connection, relation, untold)
        found = arranged(types | told, remembered, declared=types.keys() - told.keys())
        by_name = {column.name: column for column in found}
        return [by_name[name] for name in names]

    def _told(self, connection: Connection, relation: Relation, names: list[str]) -> dict[str, ColumnType | None]:
        """The types of columns that declare none, from every row: SQLite keeps in each what it is given."""
        kinds = [sa.func.typeof(sa.column(name)) for name in names]
        statement = sa.select(*kinds).select_from(relation.clause).distinct()
        told: dict[str, ColumnType | None] = dict.fromkeys(names)
        for row in self.answer(connection, statement)[1]:
            for name, kind in zip(names, row, strict=True):
                told[name] = widened(told[name], _STORAGE_CLASSES.get(kind))
        return told

    def order(self, connection: Connection, relation: Relation, key: str) -> Order:
        collation = "BINARY"
        if relation.table is not None:
            parameters = {"name": relation.table, "schema": relation.schema or "main", "key": key}
            collation = connection.execute(_UNIQUE_INDEX, parameters).scalar() or collation
        return lambda value: value.collate(collation)

    def pages_by_index(self, connection: Connection, relation: Relation, key: str, order: Order) -> bool:
        # The collation that is ordered by is that of the index.
        return self._leads_an_index(connection, relation, key)

    def one_of(self, column: ColumnElement[Any], keys: Sequence[Any]) -> ColumnElement[bool]:
        # One parameter, however many keys: SQLite limits their number.
        values = sa.func.json_each(sa.bindparam(None, list(keys), type_=sa.JSON)).table_valued("value")
        return column.in_(sa.select(values.c.value))

    def key_type(self, declared: ColumnType) -> ColumnType:
        # A UUID is a string to SQLite, in the letters it was written with: as a UUID it could not be found again.
        return ColumnType.TEXT if declared is ColumnType.UUID else declared

    def witness(self, connection: Connection, relation: Relation) -> str | None:
        """The file itself, on the machine that runs."""
        try:
            boot, found = BOOT.read_text().strip(), self._path.stat()
        except OSError:
            return None
        return f"{boot} {found.st_dev} {found.st_ino} {relation.schema or ''} {relation.table or ''}"

    def tables(self, connection: Connection) -> list[tuple[str | None, str]]:
        return [(None, name) for _, name in super().tables(connection)]

    def approximate_rows(self, connection: Connection, schema: str | None, name: str) -> int | None:
        return int(
            connection.execute(sa.select(sa.func.count()).select_from(sa.table(name, schema=schema))).scalar_one()
        )

    def _undecodable(self, error: BaseException) -> bool:
        return "Could not decode to UTF-8" in str(error)

    def _read_leniently(self, connection: Connection, error: BaseException) -> None:
        driver = connection.connection.dbapi_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.text_factory = readable

    def translate(self, error: BaseException) -> RowvecError:
        line = str(error)
        code = getattr(error, "sqlite_errorname", None) or ""
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return SourceUnavailable(
                f"{self.location} is locked by another process: {line}",
                hint="Close what writes to it, or wait for it; then run it again.",
            )
        if code.startswith("SQLITE_NOTADB"):
            return SourceError(f"{self._path} is not a SQLite database.", hint="Correct source.url.")
        if code.startswith("SQLITE_CORRUPT"):
            return SourceError(
                f"{self.location} is damaged: {line}",
                hint=f"Restore it, or save what can be saved: sqlite3 {self._path.name} .recover",
            )
        if code.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_READONLY", "SQLITE_AUTH")):
            return SourceError(
                f"{self.location} cannot be opened: {line}",
                hint="May this user read the file? One in WAL mode needs its folder writable too.",
            )
        return self.refused(line, COLUMN_HINT if line.startswith("no such column") else SETTINGS_HINT)


def file_of(url: str, base: Path) -> Path:
    """The file that a URL names. A folder may be called `a%20b`, or have a question mark: what is there as it is
    written comes first, and `%20` read as a space last."""
    written = re.sub(r"^sqlite(\+\w+)?:///", "", url)
    plain = written.partition("?")[0]
    found = [(base / Path(each).expanduser()).resolve() for each in (written, plain, unquote(plain))]
    return next((path for path in found if path.is_file()), found[1])
