"""MariaDB and MySQL through PyMySQL."""

from __future__ import annotations

import datetime as dt
import importlib.util
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection
from sqlalchemy.sql.expression import ColumnElement

from rowvec.documents.values import shortest
from rowvec.errors import MissingExtraError, RowvecError, SourceError
from rowvec.sources.column_types import inferred, named
from rowvec.sources.databases import mysql_url
from rowvec.sources.databases.base import (
    ACCESS_HINT,
    COLUMN_HINT,
    CONNECT_SECONDS,
    Database,
    Order,
    Relation,
    as_it_is,
    quote_every_name,
    told_driver,
)
from rowvec.support.addresses import mysql_address
from rowvec.types import Column, ColumnType, Key

# https://mariadb.com/docs/server/reference/error-codes
_WRONG_LOGIN = {1045, 1698}
_NO_DATABASE, _NO_COLUMN = 1049, 1054
_NO_PERMISSION = {1044, 1142, 1143, 1370}
_SETTINGS = (
    "set names utf8mb4 collate utf8mb4_general_ci, sql_mode = 'NO_ENGINE_SUBSTITUTION', time_zone = '+00:00',"
    " lc_time_names = 'en_US', sql_select_limit = 18446744073709551615, sql_auto_is_null = 0, sql_big_selects = 1,"
    " div_precision_increment = 4, group_concat_max_len = 16777216"
)
"""What values are read in, whatever the server or the user is set to; it is sent before anything else.

A mode such as ANSI_QUOTES changes what a statement means, `sql_select_limit` leaves rows out.
"""
_TRANSIENT = {1040, 1053, 1203, 1205, 1213, 1226, 1317, 1927, 1969, 2002, 2003, 2006, 2013, 2055, 3024}


class MySqlDatabase(Database):
    hidden_schemas = frozenset({"information_schema", "mysql", "performance_schema", "sys"})

    def __init__(self, url: str, parsed: URL) -> None:
        super().__init__(url)
        self._packet: int | None = None
        """Bytes in one statement that the server takes."""
        self._singles: frozenset[str] = frozenset()
        """Columns of type FLOAT."""
        if importlib.util.find_spec("pymysql") is None:
            raise MissingExtraError("Reading MySQL or MariaDB", "mysql")
        told = mysql_url.arguments(parsed)
        self.engine = sa.create_engine(
            parsed.set(drivername="mysql+pymysql", query={}),
            pool_pre_ping=True,
            pool_size=2,
            hide_parameters=True,
            connect_args={
                "connect_timeout": CONNECT_SECONDS, **told, "conv": _conversions(), "charset": "utf8mb4",
                "init_command": _SETTINGS,
            },
        )  # fmt: skip
        self.location = f"MySQL {mysql_address(told_driver(self.engine) | told)}"
        quote_every_name(self.engine)
        sa.event.listen(self.engine, "connect", _only_read)

    def columns(self, connection: Connection, relation: Relation, remembered: Sequence[Column] = ()) -> list[Column]:
        """Types as declared for a table; as the driver describes them for a query, or a sample has them."""
        if relation.table is not None:
            quoted = self.engine.dialect.identifier_preparer.format_table(
                sa.table(relation.table, schema=relation.schema)
            )
            rows = connection.exec_driver_sql(f"show columns from {quoted}").all()
            # `select *` does not show those either.
            rows = [row for row in rows if row[0] in self.named or "INVISIBLE" not in _text(row[5]).upper()]
            self._singles = frozenset(row[0] for row in rows if _text(row[1]).lower().startswith("float"))
            return [Column(row[0], named(_text(row[1])) or ColumnType.TEXT) for row in rows]
        described, rows_seen = self.sample(connection, relation)
        self._singles = frozenset(column[0] for column in described if _is_single(column))
        return [
            Column(column[0], _described(column) or inferred(row[index] for row in rows_seen))
            for index, column in enumerate(described)
        ]

    def read_value(self, column: str) -> ColumnElement[Any]:
        """Of a FLOAT the server writes six digits, and of a DOUBLE all of them: 123456.7 would be read as 123457."""
        value: ColumnElement[Any] = sa.column(column)
        return (value + sa.literal_column("0e0")).label(column) if column in self._singles else value

    def whole_values(self, names: Sequence[str], rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """A FLOAT that was read as a DOUBLE is 19.989999771118164 where 19.99 was stored."""
        singles = [name in self._singles for name in names]
        if not any(singles):
            return rows
        return [
            tuple(
                shortest(np.float32(value)) if single and value is not None else value
                for single, value in zip(singles, row, strict=True)
            )
            for row in rows
        ]

    def order(self, connection: Connection, relation: Relation, key: str) -> Order:
        if not self.unique_alone(connection, relation, key) or self._is_ordered_by_number(connection, relation, key):
            return _by_bytes
        return as_it_is

    def _is_ordered_by_number(self, connection: Connection, relation: Relation, key: str) -> bool:
        """An enum is sorted by the place of a word in its list, and compared with a text by the word."""
        statement = sa.text(
            "select data_type in ('enum', 'set') from information_schema.columns"
            " where table_name = :name and table_schema = coalesce(:schema, database()) and column_name = :key"
        )
        parameters = {"name": relation.table, "schema": relation.schema, "key": key}
        return bool(connection.execute(statement, parameters).scalar())

    def one_of(self, column: ColumnElement[Any], keys: Sequence[Any]) -> ColumnElement[bool]:
        # PyMySQL writes the values into the statement, so that their number has no limit.
        return column.in_(list(keys))

    def statement_bytes(self) -> int:
        if self._packet is None:
            self._packet = int(self.fetch(sa.text("select @@max_allowed_packet"))[0][0])
        # Each byte may be written as two, and there are quotes between them.
        return self._packet // 4

    def bind(self, key: Key) -> Any:
        return str(key) if isinstance(key, UUID) else key

    def tables(self, connection: Connection) -> list[tuple[str | None, str]]:
        found = [(None if own else schema, name) for schema, name, _, own in self._listed(connection)]
        return sorted(found, key=lambda table: (table[0] or "", table[1]))

    def views(self, connection: Connection) -> set[tuple[str | None, str]]:
        return {
            (None if own else schema, name) for schema, name, kind, own in self._listed(connection) if "VIEW" in kind
        }

    def _listed(self, connection: Connection) -> list[tuple[str, str, str, bool]]:
        """In one statement: a schema that is dropped between two of them would be an error."""
        statement = (
            "select table_schema, table_name, table_type, table_schema = database() from information_schema.tables"
            " where table_type in ('BASE TABLE', 'SYSTEM VERSIONED', 'VIEW')"
        )
        rows = connection.exec_driver_sql(statement).all()
        return [
            (_text(schema), _text(name), _text(kind), bool(own))
            for schema, name, kind, own in rows
            if _text(schema) not in self.hidden_schemas
        ]

    def approximate_rows(self, connection: Connection, schema: str | None, name: str) -> int | None:
        statement = sa.text(
            "select table_rows from information_schema.tables"
            " where table_name = :name and table_schema = coalesce(:schema, database())"
        )
        rows = connection.execute(statement, {"name": name, "schema": schema}).scalar()
        return None if rows is None else int(rows)

    def now(self, connection: Connection) -> dt.datetime:
        found: dt.datetime = connection.exec_driver_sql("select utc_timestamp(6)").scalar_one()
        return found.replace(tzinfo=dt.UTC)

    def witness(self, connection: Connection, relation: Relation) -> str | None:
        statement = "select @@hostname, @@port, @@datadir, @@pid_file, @@server_id, database(), current_user()"
        return repr(tuple(map(_text, connection.exec_driver_sql(statement).one())))

    def _abandon(self, connection: Connection, result: sa.CursorResult[Any]) -> None:
        # The driver would read all that is left, even from a connection that is closed.
        unread: Any = result.cursor
        unread._result.unbuffered_active = False
        connection.invalidate()

    def translate(self, error: BaseException) -> RowvecError:
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        line = str(error.args[1] if code and len(error.args) > 1 else error).splitlines()[0]
        if code in _WRONG_LOGIN:
            return SourceError(f"{self.location} refused the user or the password.", hint=ACCESS_HINT)
        if code in _NO_PERMISSION:
            return self.refused(line, "Grant the user SELECT on it.")
        if code == _NO_COLUMN:
            return self.refused(line, COLUMN_HINT)
        if code == _NO_DATABASE:
            return self.refused(line, "Correct source.url.")
        if "CERTIFICATE_VERIFY_FAILED" in line:
            return self.refused(line, "Name the authority's file as ssl_ca in source.url, or correct its host.")
        if line.startswith("SSL is required"):
            return self.refused(line, "Have the server speak TLS, or give source.url another ssl-mode.")
        if code in _TRANSIENT or isinstance(error, OSError):
            return self.no_answer(line)
        return self.refused(line)


def _conversions() -> dict[Any, Any]:
    """The driver's own, but a TIMESTAMP is a moment, as Debezium tells it too: the session's time zone is UTC."""
    from pymysql import converters
    from pymysql.constants import FIELD_TYPE

    def moment(text: str) -> Any:
        value = converters.convert_datetime(text)
        return value.replace(tzinfo=dt.UTC) if isinstance(value, dt.datetime) else value

    return {**converters.conversions, FIELD_TYPE.TIMESTAMP: moment}


def _only_read(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("set session transaction read only")


def _by_bytes(key: ColumnElement[Any]) -> ColumnElement[Any]:
    """The bytes of a string in UTF-8, whatever its column is kept in. A `_bin` collation would not do: it pads."""
    in_utf8 = sa.func.convert(key.op("USING")(sa.text("utf8mb4")))
    return sa.cast(in_utf8, sa.LargeBinary)


def _described(column: Sequence[Any]) -> ColumnType | None:
    """The type in a description of an answer; None for a string, which may be text or bytes."""
    from pymysql.constants import FIELD_TYPE as codes

    if column[1] == codes.TINY and column[3] == 1:
        return ColumnType.BOOLEAN
    return {
        codes.TINY: ColumnType.INTEGER,
        codes.SHORT: ColumnType.INTEGER,
        codes.INT24: ColumnType.INTEGER,
        codes.LONG: ColumnType.INTEGER,
        codes.LONGLONG: ColumnType.INTEGER,
        codes.YEAR: ColumnType.INTEGER,
        codes.FLOAT: ColumnType.NUMBER,
        codes.DOUBLE: ColumnType.NUMBER,
        codes.DECIMAL: ColumnType.DECIMAL,
        codes.NEWDECIMAL: ColumnType.DECIMAL,
        codes.DATE: ColumnType.DATE,
        codes.TIME: ColumnType.TIME,
        codes.DATETIME: ColumnType.TIMESTAMP,
        codes.TIMESTAMP: ColumnType.TIMESTAMP,
        codes.JSON: ColumnType.JSON,
    }.get(column[1])


def _is_single(column: Sequence[Any]) -> bool:
    from pymysql.constants import FIELD_TYPE

    return bool(column[1] == FIELD_TYPE.FLOAT)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
