"""PostgreSQL through psycopg 3."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from psycopg.types.json import set_json_loads
from psycopg.types.multirange import MultirangeInfo
from psycopg.types.range import RangeInfo
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import URL, Connection
from sqlalchemy.sql.expression import ColumnElement

from rowvec.errors import RowvecError, SourceError
from rowvec.sources.column_types import named
from rowvec.sources.databases.base import (
    ACCESS_HINT,
    COLUMN_HINT,
    CONNECT_SECONDS,
    ENCODING_HINT,
    Database,
    Order,
    Relation,
    as_it_is,
    quote_every_name,
    told_driver,
)
from rowvec.sources.databases.postgres_checks import QUEUE_SHARE, queue_usage, table_checks
from rowvec.sources.databases.postgres_values import LENIENT, IntervalLoader, ReadableLoader
from rowvec.sources.json_values import value_or_text
from rowvec.support.addresses import is_unusable, postgres_address
from rowvec.support.poolers import STATEMENT_MODE, server_pid
from rowvec.support.postgres_settings import ENCODING, SETTINGS, set_statements
from rowvec.support.retry import KEEPALIVES
from rowvec.types import Check, Column, ColumnType

if TYPE_CHECKING:
    from rowvec.sources.databases.notify import Notifier

# Classes and codes of https://www.postgresql.org/docs/current/errcodes-appendix.html that may pass:
# connection lost, conflict with another transaction, too many of something, shutting down, statement timeout, and a
# transaction that was ended because it was idle or long.
_TRANSIENT = ("08", "40", "53", "57", "25P03", "25P04")
_DERIVED = sa.text(
    "select nullif(cast(n.nspname as text), current_schema()), cast(c.relname as text) from pg_class c"
    " join pg_namespace n on n.oid = c.relnamespace and n.nspname !~ '^pg_'"
    " where c.relkind in ('v', 'm') or c.relkind in ('r', 'p') and c.relispartition"
)
RAW = "SQL_ASCII"
"""The encoding of a database that takes any bytes for text."""
_POLICIES_HINT = (
    "The role has row_security = off. With ALTER ROLE … SET row_security = on it reads the rows that the policies show"
    " it, with BYPASSRLS all of them."
)
_BEGIN = (
    "set transaction isolation level read committed, not deferrable; set local application_name to 'rowvec source'; "
    + set_statements(SETTINGS, local=True)
).encode()
"""What values are read in, whatever the server, the database or the role says."""


class PostgresDatabase(Database):
    hidden_schemas = frozenset({"information_schema"})
    refuses_bad_text = True
    _oids: Mapping[str, int] = {}
    _arrays: frozenset[int] = frozenset()
    """Types of arrays of what is the user's own: an enum, a domain, a composite type."""
    _as_text = False
    _is_plain = True
    """A text is taken for a value of the key's type wherever one is compared."""
    _is_on_path = True
    """The operators of the key's type are found. In the place of those of `citext` the ones of `text` would be: pages
    would be sorted by the one, and cut by the other."""

    def __init__(self, url: str, parsed: URL) -> None:
        super().__init__(url)
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
                "client_encoding": ENCODING,
                **{name: value for name, value in KEEPALIVES.items() if name not in parsed.query},
            },
            execution_options={"postgresql_readonly": True},
        )
        self.location = f"PostgreSQL {postgres_address(told_driver(self.engine))}"
        quote_every_name(self.engine)
        sa.event.listen(self.engine, "connect", _begin_session)
        sa.event.listen(self.engine, "connect", _leave_ranges)
        sa.event.listen(self.engine, "begin", _use_our_styles)

    def columns(self, connection: Connection, relation: Relation, remembered: Sequence[Column] = ()) -> list[Column]:
        """Types as the server describes its answer, for a table and a query alike."""
        result = connection.execute(sa.select(sa.text("*")).select_from(relation.clause).limit(0))
        cursor = result.cursor
        assert isinstance(cursor, psycopg.Cursor)
        described = cursor.description or ()
        self._oids = {column.name: column.type_code for column in described}
        folding = self._look_up(connection)
        return [
            Column(column.name, self._type(column.type_code), ignores_case=column.type_code in folding)
            for column in described
        ]

    def _look_up(self, connection: Connection) -> frozenset[int]:
        """Of the types whose numbers are other ones in each database: notes the arrays, and returns `citext`."""
        foreign = [oid for oid in self._oids.values() if psycopg.adapters.types.get(oid) is None]
        if not foreign:
            return frozenset()
        known = sa.text("select oid, typname = 'citext', typcategory = 'A' from pg_type where oid = any(:oids)")
        found = connection.execute(known, {"oids": foreign}).all()
        self._arrays = frozenset(oid for oid, _, is_array in found if is_array)
        return frozenset(oid for oid, is_citext, _ in found if is_citext)

    def _type(self, oid: int) -> ColumnType:
        known = psycopg.adapters.types.get(oid)
        if known is None:
            # A type of an extension or of the user's own: psycopg gives its text.
            return ColumnType.ARRAY if oid in self._arrays else ColumnType.TEXT
        return ColumnType.ARRAY if known.array_oid == oid else named(known.name) or ColumnType.TEXT

    def order(self, connection: Connection, relation: Relation, key: str) -> Order:
        """As the column is ordered where that tells all keys apart: by every collation but a nondeterministic one (and
        citext), and by the order of any other type where an index says that the keys are unique."""
        column: ColumnElement[Any] = sa.column(key)
        if self._as_text:
            return as_it_is if self._is_plain and self.unique_alone(connection, relation, key) else _by_output
        if not self._is_on_path:
            return _by_bytes
        value = sa.select(column).select_from(relation.clause).limit(1).scalar_subquery()
        kind, collation = connection.execute(
            sa.select(sa.cast(sa.func.pg_typeof(value), sa.Text), sa.func.pg_collation_for(value))
        ).one()
        folds = kind == "citext" or (
            collation is not None
            and connection.execute(
                sa.text("select not collisdeterministic from pg_collation where oid = cast(:name as regcollation)"),
                {"name": collation},
            ).scalar()
        )
        if not folds or self.unique_alone(connection, relation, key):
            return as_it_is
        return _by_bytes

    def read_key(self, connection: Connection, key: str, kind: ColumnType) -> ColumnElement[Any]:
        """An integer, a text and a uuid as they are, a value of any other type as the server writes it."""
        column: ColumnElement[Any] = sa.column(key)
        if kind is not ColumnType.TEXT:
            return column
        # An array of texts has a collation too.
        known = sa.text(
            "select typcollation <> 0 and typcategory <> 'A', typtype = 'b' and typcategory <> 'A',"
            " pg_type_is_visible(oid) from pg_type where oid = :oid"
        )
        is_text, is_plain, self._is_on_path = connection.execute(known, {"oid": self._oids[key]}).one()
        self._is_plain = is_plain and self._is_on_path
        self._as_text = not is_text
        return column if is_text else _output(column).label("rowvec_key")

    def read_value(self, column: str) -> ColumnElement[Any]:
        """An amount of `money` as a number: its text has a currency's sign and the commas of a locale. An array of the
        user's own types as one of texts, which the driver takes apart."""
        value: ColumnElement[Any] = sa.column(column)
        money, oid = psycopg.adapters.types["money"], self._oids.get(column)
        if oid == money.oid:
            value = sa.cast(value, sa.Numeric).label(column)
        elif oid == money.array_oid:
            value = sa.cast(value, ARRAY(sa.Numeric)).label(column)
        elif oid in self._arrays:
            value = sa.cast(value, ARRAY(sa.Text)).label(column)
        return value

    @property
    def key_is_text(self) -> bool:
        return not self._as_text

    def key_type(self, declared: ColumnType) -> ColumnType:
        return declared if declared in (ColumnType.INTEGER, ColumnType.UUID) else ColumnType.TEXT

    def one_of(self, column: ColumnElement[Any], keys: Sequence[Any]) -> ColumnElement[bool]:
        if self._as_text and not self._is_plain:
            # A word that is not one of an enum, such as one that was renamed, is an error to it.
            return _output(column) == sa.func.any(sa.bindparam(None, list(keys), type_=ARRAY(sa.Text)))
        # An array of no stated type, so that it becomes one of the column's.
        return column == sa.func.any(sa.bindparam(None, list(keys), type_=sa.types.NullType()))

    def tables(self, connection: Connection) -> list[tuple[str | None, str]]:
        found = super().tables(connection)
        return found + sorted(self.views(connection).difference(found), key=str)

    def views(self, connection: Connection) -> set[tuple[str | None, str]]:
        """Partitions too: their rows are those of their table."""
        return {(schema, name) for schema, name in connection.execute(_DERIVED) if schema not in self.hidden_schemas}

    def approximate_rows(self, connection: Connection, schema: str | None, name: str) -> int | None:
        statement = sa.text(
            "select cast(c.reltuples as bigint) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relname = :name and n.nspname = coalesce(:schema, current_schema())"
            " and c.relkind in ('r', 'p', 'm')"
        )
        rows = connection.execute(statement, {"name": name, "schema": schema}).scalar()
        return rows if rows is not None and rows >= 0 else None

    def now(self, connection: Connection) -> dt.datetime:
        found: dt.datetime = connection.exec_driver_sql("select clock_timestamp()").scalar_one()
        return found

    def witness(self, connection: Connection, relation: Relation) -> str | None:
        """A copy of the files has the same system identifier; it runs as another server, which was started at another
        time. A name leads to another table with another search path."""
        quote = self.engine.dialect.identifier_preparer.format_table
        name = None if relation.table is None else quote(sa.table(relation.table, schema=relation.schema))
        statement = sa.text(
            "select (select system_identifier from pg_control_system()), pg_postmaster_start_time(),"
            " current_database(), current_user, coalesce("
            "cast(cast(to_regclass(cast(:name as text)) as oid) as text), cast(current_schemas(true) as text))"
        )
        return repr(tuple(connection.execute(statement, {"name": name}).one()))

    def notifier(self, relation: Relation, key: str) -> Notifier:
        if relation.table is None:
            return super().notifier(relation, key)
        from rowvec.sources.databases.notify import Notifier

        return Notifier(self, relation, key, as_text=not self.key_is_text)

    def checks(self, relation: Relation) -> list[Check]:
        with self.connect() as connection:
            lines = [] if relation.table is None else table_checks(connection, relation.table, relation.schema)
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            usage = queue_usage(driver)
            (limit,) = driver.execute("show statement_timeout").fetchone() or ("0",)
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
        dates = isinstance(error, psycopg.DataError) and error.sqlstate is None
        return dates or isinstance(error, psycopg.errors.CharacterNotInRepertoire)

    def _read_leniently(self, connection: Connection, error: BaseException) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        for name, loader in LENIENT.items():
            driver.adapters.register_loader(name, loader)
        raw = driver.info.parameter_status("server_encoding") == RAW
        if raw and isinstance(error, psycopg.errors.CharacterNotInRepertoire):
            # The server looks at what it sends in UTF-8, and at nothing that it sends as it is. Only for a text that
            # needs it: the driver then takes ASCII alone for the statement, and so for names.
            connection.info[RAW] = True
            for text in ("text", "varchar", "bpchar", "name", 0):
                driver.adapters.register_loader(text, ReadableLoader)

    def translate(self, error: BaseException) -> RowvecError:
        line = _first_line(error)
        code = getattr(error, "sqlstate", None)
        if code is None and is_unusable(line):
            return self.refused(
                line, "Correct the host, the port or what source.url (or --from) says after its question mark."
            )
        if code is None and isinstance(error, psycopg.OperationalError):
            if "authentication failed" in line or "no password supplied" in line:
                return SourceError(f"{self.location} refused the user or the password.", hint=ACCESS_HINT)
            if "does not exist" in line or "no pg_hba.conf entry" in line or "not permitted" in line:
                return self.refused(line, "Correct source.url, or ask for access.")
            return self.no_answer(line)
        if code in ("22021", "22P05") or isinstance(error, UnicodeError):
            return self.refused(line, ENCODING_HINT)
        if code == "42501" and "row-level security" in line:
            return self.refused(line, _POLICIES_HINT)
        if code == "42501":
            return self.refused(line, _grant_hint(line, self.asked_table, self.engine.url.username or "the user"))
        if code == "42703":
            return self.refused(line, COLUMN_HINT)
        if STATEMENT_MODE in line:
            return self.refused(line, "Set source.url to the database, or to a pooler in transaction mode.")
        if code is not None and code.startswith(_TRANSIENT):
            return self.no_answer(line)
        return self.refused(line)


def _grant_hint(line: str, table: str | None, user: str) -> str:
    """
    Args:
        line: what the server said; only in English it names the object in a way that is known.
        table: that is read, with its schema.
    """
    found = re.search(r"permission denied for (table|view|relation|schema) (.+)$", line)
    if found is None:
        return "Grant the user SELECT on it, and USAGE on its schema. What a view reads, its owner needs a right to."
    kind, name = found.groups()
    if kind != "schema" and table is not None and table.replace('"', "").endswith(f".{name}"):
        name = table
    right = f"USAGE ON SCHEMA {name}" if kind == "schema" else f"SELECT ON {name}"
    return f'Let an administrator run: GRANT {right} TO "{user}"; What a view reads, its owner needs a right to.'


def _output(key: ColumnElement[Any]) -> ColumnElement[Any]:
    """The text that the server writes for a value; a cast to text may be another one, as for `inet`."""
    return sa.func.concat(key)


def _by_output(key: ColumnElement[Any]) -> ColumnElement[Any]:
    text: ColumnElement[Any] = sa.cast(key, sa.Text) if isinstance(key, sa.BindParameter) else _output(key)
    return text.collate("C")


def _by_bytes(key: ColumnElement[Any]) -> ColumnElement[Any]:
    return sa.cast(key, sa.Text).collate("C")


def _begin_session(connection: Any, _record: object) -> None:
    """The form of durations; and a name for an administrator, where a pooler does not keep it for the next client."""
    connection.adapters.register_loader("interval", IntervalLoader)
    set_json_loads(value_or_text, connection)
    if server_pid(connection) == connection.info.backend_pid:
        connection.execute("set application_name to 'rowvec source'")
    connection.commit()


def _leave_ranges(connection: Any, _record: object) -> None:
    """As the server writes them, such as `[1,5)` and `(,)`: Python's text of them is another one."""
    for info in psycopg.adapters.types:
        if isinstance(info, RangeInfo | MultirangeInfo):
            connection.adapters.register_loader(info.oid, ReadableLoader)


def _use_our_styles(connection: Connection) -> None:
    # For this transaction: a pooler may lend the connection to others after it.
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    driver.execute(_BEGIN)
    if RAW in connection.info:
        driver.execute(f"set local client_encoding to '{RAW}'")


def _first_line(error: BaseException) -> str:
    """What the server or libpq says; libpq puts the address that it tried before it, one line for each."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("connection failed: ")
