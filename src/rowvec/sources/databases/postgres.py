"""PostgreSQL through psycopg 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.abc import Buffer
from psycopg.types import datetime as pg_datetime
from sqlalchemy.engine import URL, Connection
from sqlalchemy.sql.expression import ColumnElement

from rowvec.errors import RowvecError, SourceError
from rowvec.sources.column_types import named
from rowvec.sources.databases.base import (
    ACCESS_HINT,
    CONNECT_SECONDS,
    Database,
    Order,
    Relation,
    as_it_is,
    server_name,
)
from rowvec.support.poolers import STATEMENT_MODE, server_pid
from rowvec.support.retry import KEEPALIVES
from rowvec.types import Check, Column, ColumnType

# Classes and codes of https://www.postgresql.org/docs/current/errcodes-appendix.html that may pass:
# connection lost, conflict with another transaction, too many of something, shutting down, statement timeout, and a
# transaction that was ended because it was idle or long.
_TRANSIENT = ("08", "40", "53", "57", "25P03", "25P04")
QUEUE_SHARE = 0.1
"""Share of the server's queue of notifications above which `rowvec check` warns."""
_STYLES = (
    b"set local application_name to 'rowvec source';"
    b" set local client_encoding to 'UTF8'; set local timezone to 'UTC'; set local datestyle to 'ISO, YMD';"
    b" set local intervalstyle to 'postgres'; set local bytea_output to 'hex'; set local extra_float_digits to 1"
)
"""What values are read in, whatever the server, the database or the role says."""


class PostgresDatabase(Database):
    hidden_schemas = frozenset({"information_schema"})

    def __init__(self, url: str, parsed: URL) -> None:
        super().__init__(url)
        self.location = server_name("PostgreSQL", parsed, 5432)
        self.engine = sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            pool_size=2,
            hide_parameters=True,
            use_native_hstore=False,
            # A connection pooler between us and the server does not keep prepared statements, but it keeps a name for
            # the next client.
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "prepare_threshold": None,
                **{name: value for name, value in KEEPALIVES.items() if name not in parsed.query},
            },
            execution_options={"postgresql_readonly": True},
        )
        sa.event.listen(self.engine, "connect", _name)
        sa.event.listen(self.engine, "begin", _use_our_styles)

    def columns(self, connection: Connection, relation: Relation, remembered: Sequence[Column] = ()) -> list[Column]:
        """Types as the server describes its answer, for a table and a query alike."""
        result = connection.execute(sa.select(sa.text("*")).select_from(relation.clause).limit(0))
        cursor = result.cursor
        assert isinstance(cursor, psycopg.Cursor)
        return [Column(column.name, self._type(column.type_code)) for column in cursor.description or ()]

    @staticmethod
    def _type(oid: int) -> ColumnType:
        known = psycopg.adapters.types.get(oid)
        if known is None or known.name == "money":
            # A type of an extension or of the user's own, or with a currency's sign: psycopg gives its text.
            return ColumnType.TEXT
        return ColumnType.ARRAY if known.array_oid == oid else named(known.name) or ColumnType.TEXT

    def order(self, connection: Connection, relation: Relation, key: str) -> Order:
        """As the column is ordered: every collation but a nondeterministic one (and citext) tells all strings apart."""
        column: ColumnElement[Any] = sa.column(key)
        rows = sa.select(column).select_from(relation.clause).limit(1).subquery()
        value = rows.c[key]
        found = connection.execute(
            sa.select(sa.cast(sa.func.pg_typeof(value), sa.Text), sa.func.pg_collation_for(value)).select_from(rows)
        ).first()
        if found is None:
            return as_it_is
        kind, collation = found
        folds = kind == "citext" or (
            collation is not None
            and connection.execute(
                sa.text("select not collisdeterministic from pg_collation where oid = cast(:name as regcollation)"),
                {"name": collation},
            ).scalar()
        )
        if not folds or self.unique_alone(connection, relation, key):
            return as_it_is
        return lambda key: sa.cast(key, sa.Text).collate("C")

    def one_of(self, column: ColumnElement[Any], keys: Sequence[Any]) -> ColumnElement[bool]:
        # An array of no stated type, so that it becomes one of the column's.
        return column == sa.func.any(sa.bindparam(None, list(keys), type_=sa.types.NullType()))

    def tables(self, connection: Connection) -> list[tuple[str | None, str]]:
        inspector = sa.inspect(connection)
        default = inspector.default_schema_name
        views = [
            (None if schema == default else schema, name)
            for schema in inspector.get_schema_names()
            for name in inspector.get_materialized_view_names(schema)
        ]
        return super().tables(connection) + views

    def approximate_rows(self, connection: Connection, schema: str | None, name: str) -> int | None:
        statement = sa.text(
            "select cast(c.reltuples as bigint) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relname = :name and n.nspname = coalesce(:schema, current_schema())"
            " and c.relkind in ('r', 'p', 'm')"
        )
        rows = connection.execute(statement, {"name": name, "schema": schema}).scalar()
        return rows if rows is not None and rows >= 0 else None

    def checks(self) -> list[Check]:
        with self.connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            usage = queue_usage(driver)
            (limit,) = driver.execute("show statement_timeout").fetchone() or ("0",)
        lines = []
        if limit != "0":
            fix = "Where that happens: a smaller source.page_size, an index on the key, or a higher limit."
            lines.append(Check("source", True, f"statement_timeout = {limit}: what takes longer is not read", fix))
        if usage > QUEUE_SHARE:
            full = (
                f"the NOTIFY queue of {self.location} is {100 * usage:.0f} % full: commits that notify fail in the end"
            )
            fix = "Somebody listens and does not read: end that session; pg_stat_activity shows it."
            lines.append(Check("notify", False, full, fix))
        return lines

    def _undecodable(self, error: BaseException) -> bool:
        # Raised by the driver, without a code of the server: a date that Python has not.
        return isinstance(error, psycopg.DataError) and error.sqlstate is None

    def _read_leniently(self, connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        for name, loader in _LENIENT.items():
            driver.adapters.register_loader(name, loader)

    def translate(self, error: BaseException) -> RowvecError:
        line = _first_line(error)
        code = getattr(error, "sqlstate", None)
        if code is None and isinstance(error, psycopg.OperationalError):
            if "authentication failed" in line or "no password supplied" in line:
                return SourceError(f"{self.location} refused the user or the password.", hint=ACCESS_HINT)
            if "does not exist" in line or "no pg_hba.conf entry" in line or "not permitted" in line:
                return self.refused(line, "Correct source.url, or ask for access.")
            return self.no_answer(line)
        if code == "42501":
            return self.refused(line, "Grant the user SELECT on it, and USAGE on its schema.")
        if STATEMENT_MODE in line:
            return self.refused(line, "Set source.url to the database, or to a pooler in transaction mode.")
        if code is not None and code.startswith(_TRANSIENT):
            return self.no_answer(line)
        return self.refused(line)


def queue_usage(connection: psycopg.Connection[Any]) -> float:
    """Share of the server's queue of notifications that is in use."""
    row = connection.execute("select pg_notification_queue_usage()").fetchone()
    assert row is not None
    return float(row[0])


def _name(connection: Any, _record: object) -> None:
    """So that an administrator sees who it is, where that is not kept for the next client of a pooler."""
    if server_pid(connection) == connection.info.backend_pid:
        connection.execute("set application_name to 'rowvec source'")
    connection.commit()


def _use_our_styles(connection: Connection) -> None:
    # For this transaction: a pooler may lend the connection to others after it.
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    driver.execute(_STYLES)


def _first_line(error: BaseException) -> str:
    """What the server or libpq says; libpq puts the address that it tried before it, one line for each."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("connection failed: ")


def _lenient(strict: type[Any]) -> type[Any]:
    class Lenient(strict):  # type: ignore[misc]
        def load(self, data: Buffer) -> Any:
            try:
                return super().load(data)
            except psycopg.DataError:
                return bytes(data).decode()

    return Lenient


# `infinity`, years before 1 and after 9999, 24:00: times that PostgreSQL has and Python has not stay text.
_LENIENT = {
    "date": _lenient(pg_datetime.DateLoader),
    "time": _lenient(pg_datetime.TimeLoader),
    "timetz": _lenient(pg_datetime.TimetzLoader),
    "timestamp": _lenient(pg_datetime.TimestampLoader),
    "timestamptz": _lenient(pg_datetime.TimestamptzLoader),
    "interval": _lenient(pg_datetime.IntervalLoader),
}
