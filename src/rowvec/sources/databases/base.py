"""What the SQL source needs of a database, whichever it is."""

from __future__ import annotations

import datetime as dt
import string
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.sql.expression import ColumnElement

from rowvec.errors import ConfigError, RowvecError, SourceError, SourceUnavailable
from rowvec.support.clocks import here
from rowvec.support.redaction import scrub
from rowvec.types import Check, Column, ColumnType, Key

if TYPE_CHECKING:
    from rowvec.sources.databases.notify import Notifier

CONNECT_SECONDS = 10
SAMPLE_ROWS = 100
SETTINGS_HINT = "Check source.table, source.query and source.where."
COLUMN_HINT = (
    "Is the column misspelled, or was it renamed or dropped? Correct source.key, source.cursor, source.where, the text"
    " or store.metadata."
)
ACCESS_HINT = "Check the user and password in source.url (or --from), or in the variable it names."
ENCODING_HINT = (
    "Correct it, or leave it out with source.where. SQLite, and PostgreSQL in SQL_ASCII, take any bytes for text."
)
REACH_HINT = "Is the database running, and source.url (or --from) right?"

Order = Callable[[ColumnElement[Any]], ColumnElement[Any]]
"""Makes of a key, and of a value to compare it with, what they are ordered by."""

Answer = tuple[Sequence[Sequence[Any]], list[tuple[Any, ...]]]


class NotUtf8(str):
    """What can be read of a text. It does not find its row again, so it is not a key."""

    __slots__ = ()


def readable(raw: bytes) -> str:
    """A text as UTF-8, or what can be read of it."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return NotUtf8(raw, "utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Relation:
    """What rows are read from: a table or view of this name, or a query."""

    name: str
    clause: sa.FromClause | sa.TextClause
    table: str | None = None
    schema: str | None = None


def quote_every_name(engine: Engine) -> None:
    """SQLAlchemy quotes the words of SQL that it knows; each version of a database has others of its own."""
    dialect = engine.dialect
    quoted = {"illegal_initial_characters": frozenset(string.ascii_lowercase + string.digits + "_$")}
    # The class too: when it has connected, the dialect of MySQL makes another one of it.
    dialect.preparer = type("EveryName", (dialect.preparer,), quoted)
    dialect.identifier_preparer = dialect.preparer(dialect)


class Database(ABC):
    """Connections to one database, and the one seam where its driver's errors become rowvec's."""

    engine: Engine
    location: str
    """Kind and place of the database for messages, without a password."""
    hidden_schemas: frozenset[str] = frozenset()
    cursor_types = frozenset({ColumnType.INTEGER, ColumnType.DATE, ColumnType.TIMESTAMP})
    """Columns of these types are ordered as their values are."""
    asked_table: str | None = None
    """As the user named it; None for a query."""
    named: frozenset[str] = frozenset()
    """Columns that are read although `select *` does not show them: the user has named them."""
    met_bad_text = False
    """An answer held what the driver cannot read; of text that is not UTF-8, what can be read came as `NotUtf8`."""
    refuses_bad_text = False
    """Such a text is an error, and not embedded as far as it can be read."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection for a few statements, its errors translated."""
        dbapi = self.engine.dialect.loaded_dbapi
        try:
            with self.engine.connect() as connection:
                yield connection
        except RowvecError:
            raise
        except sa.exc.DBAPIError as error:
            raise self.translate(error.orig or error) from error
        except (dbapi.Error, UnicodeError) as error:
            raise self.translate(error) from error

    def fetch(self, statement: sa.Executable) -> list[tuple[Any, ...]]:
        """Every row of a statement, as the driver gives it."""
        with self.connect() as connection:
            return self.answer(connection, statement)[1]

    def answer(self, connection: Connection, statement: sa.Executable) -> Answer:
        """The driver's description of the columns, their names first, and every row."""
        met: list[Exception] = []
        while True:
            try:
                return _answer(connection, statement)
            except Exception as error:
                if not self._goes_on_leniently(connection, error, met):
                    raise

    def stream(
        self, statement: Callable[[], sa.Executable], size: Callable[[], int]
    ) -> Generator[list[tuple[Any, ...]]]:
        """The rows of one statement part by part, as the driver gives them; the server keeps those that come later.

        Args:
            statement: asked for again where the driver cannot read a value: then for the rows after the last part.
            size: rows in the next part.
        """
        with self.connect() as connection:
            met: list[Exception] = []
            while True:
                try:
                    yield from self._parts(connection, statement(), size)
                    return
                except Exception as error:
                    if not self._goes_on_leniently(connection, error, met):
                        raise

    def _goes_on_leniently(self, connection: Connection, error: Exception, met: list[Exception]) -> bool:
        """Whether the error was a value that the driver cannot read: from now on it gives what can be read of it.

        Args:
            met: such errors of this answer so far; the error is put to them.

        Raises:
            Exception: the last of them, where the names in the statement cannot be said to what reads such a text.
        """
        if met and isinstance(error, UnicodeError):
            raise met[-1]
        # A value of each of two kinds: a date that Python has not, and a text that is not UTF-8.
        if len(met) == 2 or not self._undecodable(original := getattr(error, "orig", error)):
            return False
        connection.rollback()
        self._read_leniently(connection, original)
        self.met_bad_text = True
        # Without the frames, which hold the connection: it would stay open until Python looks for garbage.
        original.__traceback__ = None
        met.append(error.with_traceback(None))
        return True

    def _parts(
        self, connection: Connection, statement: sa.Executable, size: Callable[[], int]
    ) -> Generator[list[tuple[Any, ...]]]:
        result = connection.execution_options(stream_results=True).execute(statement)
        # Past SQLAlchemy's own rows, as in `_answer`. The cursor alone would lack the first one, which is held already.
        held = result.cursor_strategy
        try:
            # The result lets go of the cursor with the last row, which may be in any part.
            while result.cursor is not None and (rows := held.fetchmany(result, result.cursor, size())):
                yield list(rows)
        except BaseException:
            with suppress(Exception):
                self._abandon(connection, result)
            raise

    def sample(self, connection: Connection, relation: Relation) -> Answer:
        return self.answer(connection, sa.select(sa.text("*")).select_from(relation.clause).limit(SAMPLE_ROWS))

    @abstractmethod
    def columns(self, connection: Connection, relation: Relation, remembered: Sequence[Column] = ()) -> list[Column]:
        """
        Args:
            remembered: at the last sync; types that only values tell are widened by these.
        """

    @abstractmethod
    def order(self, connection: Connection, relation: Relation, key: str) -> Order:
        """A total order of text keys that agrees with `>`, and uses an index where there is one.

        A collation may hold two different keys for equal ('a' and 'A'): a page that ends between them would
        lose the second one. A unique index rules that out; without one the keys are ordered by their bytes.
        """

    def pages_by_index(self, connection: Connection, relation: Relation, key: str, order: Order) -> bool:
        """An index gives the rows in the order of their keys: the database need not sort all of them for a page."""
        return order is as_it_is and self._leads_an_index(connection, relation, key)

    def _leads_an_index(self, connection: Connection, relation: Relation, key: str) -> bool:
        if relation.table is None:
            return False
        return any(columns[:1] == [key] for columns in sorted_columns(connection, relation.table, relation.schema))

    @abstractmethod
    def one_of(self, column: ColumnElement[Any], keys: Sequence[Any]) -> ColumnElement[bool]:
        """`column` is one of any number of keys."""

    def statement_bytes(self) -> int:
        """Up to this many bytes of keys go into one statement."""
        return 2**20

    def bind(self, key: Key) -> Any:
        """A key as the driver takes it."""
        return key

    def read_key(self, connection: Connection, key: str, kind: ColumnType) -> ColumnElement[Any]:
        """What is selected to read the keys of the column, of that type."""
        return sa.column(key)

    def read_value(self, column: str) -> ColumnElement[Any]:
        """What is selected to read any other column."""
        return sa.column(column)

    def whole_values(self, names: Sequence[str], rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Rows of `read_value` with the values as they are in the table."""
        return rows

    @property
    def key_is_text(self) -> bool:
        """A key of type text is a text to the database as well."""
        return True

    def key_type(self, declared: ColumnType) -> ColumnType:
        """What keys from a column of this type are."""
        return declared

    @abstractmethod
    def translate(self, error: BaseException) -> RowvecError: ...

    def _undecodable(self, error: BaseException) -> bool:
        """The driver cannot make a Python value of something in this answer."""
        return False

    def _abandon(self, connection: Connection, result: sa.CursorResult[Any]) -> None:
        """Close an answer that is not read to its end."""
        result.close()

    def _read_leniently(self, connection: Connection, error: BaseException) -> None:
        """Give text for such a value as the error was about, on this connection from now on."""
        raise NotImplementedError

    def tables(self, connection: Connection) -> list[tuple[str | None, str]]:
        """Schema (None for the default one) and name of every table and view."""
        inspector = sa.inspect(connection)
        default = inspector.default_schema_name
        found = []
        for schema in inspector.get_schema_names():
            if schema not in self.hidden_schemas:
                names = {*inspector.get_table_names(schema), *inspector.get_view_names(schema)}
                found += [(None if schema == default else schema, name) for name in sorted(names)]
        return sorted(found, key=lambda table: (table[0] is not None, table))

    def views(self, connection: Connection) -> set[tuple[str | None, str]]:
        """Those of `tables` that show rows of others, as views do."""
        inspector = sa.inspect(connection)
        default = inspector.default_schema_name
        schemas = [schema for schema in inspector.get_schema_names() if schema not in self.hidden_schemas]
        return {
            (None if schema == default else schema, name)
            for schema in schemas
            for name in inspector.get_view_names(schema)
        }

    def approximate_rows(self, connection: Connection, schema: str | None, name: str) -> int | None:
        """About how many rows a table has; None where only counting would tell."""
        return None

    def checks(self, relation: Relation) -> list[Check]:
        """Lines for `rowvec check`, of what may go wrong where this is read."""
        return []

    def notifier(self, relation: Relation, key: str) -> Notifier:
        """See `SqlSource.notifier`."""
        what = "a query" if relation.table is None else f"a table in {self.location}"
        raise ConfigError(
            f"{what} cannot be watched: that takes a table in PostgreSQL, and a trigger on it.",
            hint="Run `rowvec sync` again and again, let `rowvec beat` do so, or follow the change events of the"
            ' table: source.kind = "debezium".',
        )

    def now(self, connection: Connection) -> dt.datetime:
        """The time by the clock of the database; by that of this host where the database is a file."""
        return here()

    def witness(self, connection: Connection, relation: Relation) -> str | None:
        """What the server says of itself, and which table of which database a name leads to; no other server, and no
        copy of this one, says the same. None where it says nothing."""
        return None

    def unique_alone(self, connection: Connection, relation: Relation, key: str) -> bool:
        """A primary key or unique index has `key` as its only column."""
        if relation.table is None:
            return False
        return [key] in unique_keys(connection, relation.table, relation.schema)

    def refused(self, line: str, hint: str | None = SETTINGS_HINT) -> SourceError:
        return SourceError(f"{self.location} refused to read: {scrub(line, self._url)}", hint=hint)

    def no_answer(self, line: str) -> SourceUnavailable:
        return SourceUnavailable(f"{self.location} does not answer: {scrub(line, self._url)}", hint=REACH_HINT)


def unique_keys(connection: Connection, table: str, schema: str | None) -> list[list[str]]:
    """Columns of the primary key (first) and of each unique index over a whole table."""
    found = _constraints(connection, table, schema)
    found += [columns for columns, index in _whole_indexes(connection, table, schema) if index["unique"]]
    return found


def sorted_columns(connection: Connection, table: str, schema: str | None) -> list[list[str]]:
    """Columns of each index over a whole table that keeps them in order."""
    found = _constraints(connection, table, schema)
    for columns, index in _whole_indexes(connection, table, schema):
        if index.get("dialect_options", {}).get("postgresql_using", "btree") == "btree":
            found.append(columns)
    return found


def _constraints(connection: Connection, table: str, schema: str | None) -> list[list[str]]:
    inspector = sa.inspect(connection)
    with _any_types():
        found = [inspector.get_pk_constraint(table, schema)["constrained_columns"]]
    return found + [constraint["column_names"] for constraint in inspector.get_unique_constraints(table, schema)]


def _whole_indexes(connection: Connection, table: str, schema: str | None) -> Iterator[tuple[list[str], Any]]:
    """Columns of each index that holds every row, "" for an expression; and what else is known of it."""
    with _any_types():
        indexes = sa.inspect(connection).get_indexes(table, schema)
    for index in indexes:
        if not any(name.endswith("_where") for name in index.get("dialect_options", {})):
            yield [name or "" for name in index["column_names"]], index


@contextmanager
def _any_types() -> Iterator[None]:
    """A column of a type that SQLAlchemy does not know makes no difference to keys and indexes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        yield


def _answer(connection: Connection, statement: sa.Executable) -> Answer:
    # Past SQLAlchemy's own rows: they would cost more than reading does.
    cursor = connection.execute(statement).cursor
    assert cursor is not None
    return cursor.description or (), list(cursor.fetchall())


def as_it_is(key: ColumnElement[Any]) -> ColumnElement[Any]:
    return key


def told_driver(engine: Engine) -> dict[str, Any]:
    """The parameters that the driver gets: the URL may have a host, a port or a socket after its question mark."""
    return dict(engine.dialect.create_connect_args(engine.url)[1])
