"""Rows of a table, view or query in SQLite, PostgreSQL, MariaDB or MySQL."""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.sql.expression import ColumnElement

from rowvec.errors import ConfigError, SourceError, SourceUnavailable
from rowvec.sources.ahead import Ahead
from rowvec.sources.base import CursorValue, Selection, names_of
from rowvec.sources.databases import Database, Order, as_it_is, open_database
from rowvec.sources.databases.base import ENCODING_HINT, NotUtf8
from rowvec.sources.databases.keys import Keys, type_of_keys
from rowvec.sources.databases.relations import relation_of, verbatim
from rowvec.sources.page_size import PageSize, sample
from rowvec.sources.told_types import in_order
from rowvec.support.keys import key_bytes
from rowvec.support.stretches import stretches
from rowvec.support.suggestions import check_column
from rowvec.types import Check, Column, ColumnType, Key, Row

if TYPE_CHECKING:
    from rowvec.sources.databases.notify import Notifier

KEYS_AT_ONCE = 5000


class SqlSource:
    """A `Source` that reads pages by key order, each in a short transaction of its own; or ahead, in one.

    The key column is an integer, a text or a uuid, never null and never twice. SQLite has no type for UUIDs:
    its keys are the texts that it holds.

    Attributes:
        columns: every column there is. `select` narrows what is read.
        cursor: the column that grows with each change.
        identity: see `Incremental`.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str,
        table: str | None = None,
        query: str | None = None,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        cursor: str | None = None,
        base: Path | None = None,
        remembered: Sequence[Column] = (),
    ) -> None:
        """
        Args:
            table: a name, with its schema before it if need be: `staging.product`. A part that holds a dot or a
                space of its own stands in double quotes.
            query: a SELECT, instead of a table.
            where: a condition in the database's own SQL.
            columns: those to read; all of them when None.
            base: the folder that a relative SQLite path starts from; the current one when None.
            remembered: the columns as they were at the last sync: they stay in that order.

        Raises:
            ConfigError: not a database URL, both or neither of table and query, an unknown column.
            SourceError: unknown table, wrong password, no permission, a key of another type.
            SourceUnavailable: the database did not answer.
        """
        if (table is None) == (query is None):
            raise ConfigError("source has both a table and a query, or neither.", hint="Give one of them.")
        self._database: Database = open_database(url, base or Path.cwd())
        self._database.asked_table = table
        self._database.named = frozenset({key, *([cursor] if cursor else []), *(columns or [])})
        self.location = self._database.location
        self.identity = repr((self.location, table, query, where))
        self._asked = (table, query, where)
        condition = (where or "").strip().rstrip(";")
        self._where = verbatim(f"({condition}\n)") if condition else None
        self.key = key
        self.cursor = cursor
        self._key: ColumnElement[Any] = sa.column(key)
        self._nulls_looked_for = False
        try:
            self._look(table, query, remembered)
            self.select([column.name for column in self.columns] if columns is None else columns)
        except BaseException:
            self.close()
            raise

    def _look(self, table: str | None, query: str | None, remembered: Sequence[Column]) -> None:
        with self._database.connect() as connection:
            self._relation = relation_of(connection, self._database, table, query)
            found = self._database.columns(connection, self._relation, remembered)
            self._check_names([column.name for column in found])
            self._found = found
            self.columns: Sequence[Column] = in_order(found, remembered)
            declared = next(column.type for column in found if column.name == self.key)
            self.key_type = type_of_keys(self._database, self._relation, self.key, declared)
            self._key_rules = Keys(self._database, self._relation, self.key, self.key_type)
            self._check_cursor()
            self._read_key = self._database.read_key(connection, self.key, self.key_type)
            if not self._database.key_is_text:
                self.columns = [
                    Column(each.name, ColumnType.TEXT) if each.name == self.key else each for each in self.columns
                ]
            self._order: Order = as_it_is
            if self.key_type is ColumnType.TEXT:
                self._order = self._database.order(connection, self._relation, self.key)
            self._has_index = self._database.pages_by_index(connection, self._relation, self.key, self._order)

    def retyped(self) -> bool:
        """See `Retyped`. It costs one question to the server; SQLite looks at the values of columns without a type."""
        with self._database.connect() as connection:
            return self._database.columns(connection, self._relation, self.columns) != self._found

    def select(self, columns: Sequence[str]) -> None:
        self._names = names_of(self.columns, self.key, columns)
        self._position = self._names.index(self.key)

    def count(self, selection: Selection | None = None) -> int:
        statement = self._from(sa.select(sa.func.count()), self._selected(selection))
        return int(self._database.fetch(statement)[0][0])

    def pages(
        self, size: int, *, selection: Selection | None = None, after: Key | None = None, until: Key | None = None
    ) -> Iterator[list[Row]]:
        """See `Source.pages`. One row more than a page holds is read, to see a key that continues on the next one."""
        self._refuse_null_keys()
        names, selected = self._names, self._selected(selection)
        while True:
            values = self._database.fetch(self._rows(selected, after, until, size + 1))
            keys = self._keys(values)
            page = _page(names, keys, self._database.whole_values(names, values[:size]))
            if page:
                yield page
            if len(values) <= size:
                return
            after = page[-1].key

    def read_ahead(
        self,
        size: int,
        *,
        stop: threading.Event,
        selection: Selection | None = None,
        after: Key | None = None,
        until: Key | None = None,
        limit: int | None = None,
    ) -> Iterator[list[Row]] | None:
        """See `ReadsAhead.read_ahead`. Where no index gives the rows in the order of their keys, the database sorts all
        of them for each page: a view of n rows would be read n / size times."""
        if self._has_index:
            return None
        self._refuse_null_keys()
        ahead, names = Ahead(), self._names
        try:
            with closing(self._read_once(PageSize(size), self._selected(selection), after, until, limit)) as parts:
                for keys, values in parts:
                    # Only now: a key that is on the last row before this part and on the first one of it was refused.
                    if ahead.full:
                        break
                    ahead.put((keys, values))
                    if stop.is_set():
                        break
        except BaseException:
            ahead.close()
            raise
        return (_page(names, keys, values) for keys, values in ahead.pages())

    def _read_once(
        self,
        size: PageSize,
        selected: Sequence[ColumnElement[bool]],
        after: Key | None,
        until: Key | None,
        limit: int | None,
    ) -> Generator[tuple[list[Any], list[tuple[Any, ...]]]]:
        """Keys and values, as far as the connection lasts."""
        last, read = after, 0

        def rest() -> sa.Select[Any]:
            return self._rows(selected, last, until, None if limit is None else limit - read)

        try:
            with closing(self._database.stream(rest, lambda: size.rows)) as parts:
                for values in parts:
                    keys = self._keys(values)
                    if keys[0] == last:
                        raise self._key_rules.duplicate(keys[0])
                    size.learn(sample(values))
                    last, read = keys[-1], read + len(keys)
                    yield keys, self._database.whole_values(self._names, values)
        except SourceUnavailable:
            if not read:
                raise

    def _rows(
        self, selected: Sequence[ColumnElement[bool]], after: Key | None, until: Key | None, limit: int | None
    ) -> sa.Select[Any]:
        columns = [self._read_key if name == self.key else self._database.read_value(name) for name in self._names]
        some = self._from(sa.select(*columns), [*selected, *self._between(after, until)])
        return some.order_by(self._order(self._key)).limit(limit)

    def _keys(self, values: Sequence[tuple[Any, ...]]) -> list[Any]:
        if self._database.met_bad_text and self._database.refuses_bad_text:
            self._refuse_bad_text(values)
        return self._key_rules.checked([row[self._position] for row in values])

    def boundaries(self, size: int) -> Iterator[Key]:
        """See `Divisible.boundaries`. Keys alone are read, along their index where the database has one."""
        after: Key | None = None

        def rest() -> sa.Select[Any]:
            return self._from(sa.select(self._read_key), self._between(after, None)).order_by(self._order(self._key))

        if not self._has_index:
            # All of these few keys first, so that no connection is held while their ranges are worked on.
            found_ahead: list[Key] = []
            with closing(self._database.stream(rest, lambda: size)) as parts:
                for part in parts:
                    if len(part) == size:
                        after = self._key_rules.typed([part[-1][0]])[0]
                        found_ahead.append(after)
            yield from found_ahead
            return
        while found := self._key_rules.typed(
            [row[0] for row in self._database.fetch(rest().offset(size - 1).limit(1))]
        ):
            after = found[0]
            yield found[0]

    def now(self) -> dt.datetime:
        """The time by the clock of the database, which stamps its rows."""
        with self._database.connect() as connection:
            return self._database.now(connection)

    def witness(self) -> str | None:
        """See `Witnessed.witness`."""
        try:
            with self._database.connect() as connection:
                server = self._database.witness(connection, self._relation)
        except SourceUnavailable:
            raise
        except SourceError:
            return None  # The role may not ask that.
        return None if server is None else hashlib.sha256(repr((server, self._asked)).encode()).hexdigest()

    def rows_between(self, after: Key | None, until: Key | None) -> int:
        statement = self._from(sa.select(sa.func.count()), self._between(after, until))
        return int(self._database.fetch(statement)[0][0])

    def existing(self, keys: Sequence[Key]) -> set[Key]:
        found: set[Key] = set()
        most = self._database.statement_bytes() if len(keys) > 1 else 0
        for part in stretches(map(key_bytes, keys), KEYS_AT_ONCE, most):
            some = [self._database.bind(key) for key in keys[part]]
            statement = self._from(sa.select(self._read_key), [self._database.one_of(self._key, some)])
            found.update(self._key_rules.typed([row[0] for row in self._database.fetch(statement)]))
        # A collation finds 'A' for 'a': what was asked for is what counts.
        return found.intersection(keys)

    def newest(self, below: CursorValue | None = None) -> CursorValue | None:
        """See `Incremental.newest`. A time that Python has not, such as PostgreSQL's `infinity`, is in the future,
        which no mark is: the highest one up to now counts then.

        Raises:
            SourceError: it is none that a lag can be taken from, such as `-infinity`.
        """
        cursor = self._cursor_column
        bound = [] if below is None else [cursor < sa.bindparam(None, below, type_=sa.types.NullType())]
        highest = self._database.fetch(self._from(sa.select(sa.func.max(cursor)), bound))[0][0]
        texts = ColumnType.TEXT in self._database.cursor_types
        if isinstance(highest, str) and not texts:
            past = self._from(sa.select(sa.func.max(cursor)), [cursor <= sa.func.current_timestamp()])
            highest = self._database.fetch(past)[0][0]
        if isinstance(highest, dt.date | int | float | None) or (texts and isinstance(highest, str)):
            return highest
        raise SourceError(
            f"{self._relation.name}: the highest {self.cursor!r} is {highest!r}, which is not a time to start from.",
            hint="Leave such rows out with source.where, or name another cursor.",
        )

    def changed(self, since: CursorValue, limit: int) -> list[Key]:
        """See `Incremental.changed`. Two statements in place of an OR, so that an index on the cursor serves both."""
        cursor, found = self._cursor_column, []
        # A row moves from one to the other while they run only if its cursor is set to null or for the first time.
        for condition in (cursor >= sa.bindparam(None, since, type_=sa.types.NullType()), cursor.is_(None)):
            found += self._database.fetch(self._from(sa.select(self._read_key), [condition]).limit(limit + 1))
        return list(dict.fromkeys(self._key_rules.typed([row[0] for row in found])))

    def beyond(self, mark: CursorValue, until: CursorValue, limit: int) -> int:
        """See `CountsChanged.beyond`."""
        cursor = self._cursor_column
        low, high = (sa.bindparam(None, value, type_=sa.types.NullType()) for value in (mark, until))
        some = self._from(sa.select(sa.literal_column("1")), [cursor > low, cursor <= high]).limit(limit)
        return int(self._database.fetch(sa.select(sa.func.count()).select_from(some.subquery()))[0][0])

    def notifier(self) -> Notifier:
        """What tells which rows of the table change.

        Raises:
            ConfigError: it is a query, or a table of another database than PostgreSQL.
            SourceError: it is a view.
        """
        return self._database.notifier(self._relation, self.key)

    def checks(self) -> list[Check]:
        """What may go wrong with the database, for `rowvec check`."""
        return self._database.checks(self._relation)

    def close(self) -> None:
        self._database.engine.dispose()

    # --- statements ----------------------------------------------------------------------------------------

    def _from(self, select: sa.Select[Any], conditions: Iterable[ColumnElement[bool]]) -> sa.Select[Any]:
        select = select.select_from(self._relation.clause).where(*conditions)
        return select if self._where is None else select.where(self._where)

    def _selected(self, selection: Selection | None) -> list[ColumnElement[bool]]:
        if selection is None:
            return []
        chosen: list[ColumnElement[bool]] = [sa.false()]
        if selection.keys:
            chosen.append(self._database.one_of(self._key, [self._database.bind(key) for key in selection.keys]))
        key = self._order(self._key)
        for low, high in selection.ranges:
            chosen.append(sa.and_(key >= self._order(self._bound(low)), key <= self._order(self._bound(high))))
        return [sa.or_(*chosen)]

    def _between(self, after: Key | None, until: Key | None) -> Iterator[ColumnElement[bool]]:
        """Keys beyond `after`, up to `until`."""
        key = self._order(self._key)
        if until is not None:
            yield key <= self._order(self._bound(until))
        if after is not None:
            yield key > self._order(self._bound(after))

    def _bound(self, key: Key) -> ColumnElement[Any]:
        # Without a type, so that it is compared as one of the column's and an index on it serves.
        return sa.bindparam(None, self._database.bind(key), type_=sa.types.NullType())

    # --- checks --------------------------------------------------------------------------------------------

    def _check_names(self, names: Sequence[str]) -> None:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SourceError(
                f"source.query gives two columns named {twice[0]!r}.", hint="Rename one: … AS other_name."
            )
        check_column(self.key, names, "source.key")
        if self.cursor is not None:
            check_column(self.cursor, names, "source.cursor")

    @property
    def _cursor_column(self) -> ColumnElement[Any]:
        if self.cursor is None:
            raise ConfigError("source.cursor is not set.", hint="Name the column that grows with each change.")
        return sa.column(self.cursor)

    def _check_cursor(self) -> None:
        kind = next((column.type for column in self.columns if column.name == self.cursor), None)
        if kind is not None and kind not in self._database.cursor_types:
            raise SourceError(
                f"source.cursor: {self.cursor!r} of {self._relation.name} is of type {kind}; a cursor is a timestamp,"
                " a date or an integer.",
                hint="Name another column, or convert it in a query.",
            )

    def _refuse_null_keys(self) -> None:
        if self._nulls_looked_for:
            return
        statement = self._from(sa.select(sa.literal_column("1")), [self._key.is_(None)]).limit(1)
        if self._database.fetch(statement):
            raise self._key_rules.null()
        self._nulls_looked_for = True

    def _refuse_bad_text(self, values: Sequence[tuple[Any, ...]]) -> None:
        for row in values:
            bad = next((name for name, value in zip(self._names, row, strict=True) if isinstance(value, NotUtf8)), None)
            if bad is not None:
                raise SourceError(
                    f"{self._relation.name}, row {row[self._position]!r}: the text in {bad!r} is not UTF-8.",
                    hint=ENCODING_HINT,
                )


def _page(names: Sequence[str], keys: Sequence[Any], values: Sequence[tuple[Any, ...]]) -> list[Row]:
    # [Row(key, dict(zip(names, row))) ...] without a step of Python for each row: half of the time to read one.
    rows = zip(keys, map(dict, map(partial(zip, names), values)), strict=False)
    return list(map(partial(tuple.__new__, Row), rows))
