"""Vectors in a table of the user's own, written by UPDATE beside the columns they were made from.

Rows come and go by the user's hand alone. A row that has no vector, or must not have one any more, holds nulls. What
rowvec keeps beside a vector has the vector column's name before it: `embedding_text_hash` and so on. A sync never
changes the table's shape, but for the two renames that put a new generation in the place of the live one:
`rowvec check` names the columns that are missing, `rowvec check --apply` makes them.

A generation is a column here. When the model changes, `embedding__next` is filled while searches read `embedding`, and
in one transaction the former becomes the latter and that becomes `embedding__previous`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from rowvec.errors import StoreError
from rowvec.stores.base import TableSpec
from rowvec.stores.generation_policy import Action
from rowvec.stores.postgres import rights, schema
from rowvec.stores.postgres.adopting import Lacking
from rowvec.stores.postgres.books import Fence
from rowvec.stores.postgres.connect import outside
from rowvec.stores.postgres.generations import followers
from rowvec.stores.postgres.generations.tables import Generations, keywords
from rowvec.stores.postgres.locks import brief_lock
from rowvec.stores.postgres.names import LEDGER_COLUMNS, Names, text_index
from rowvec.stores.postgres.passages import Beside
from rowvec.stores.postgres.writes import Writer
from rowvec.types import Check, Document, Entry, Key

Connection = psycopg.Connection[Any]

APPLY = "rowvec check --apply"


class InPlaceWriter(Writer):
    """Updates and nothing else; filters read the table's own columns, so that there is no metadata to write."""

    def __init__(self, names: Names, spec: TableSpec, storage: str) -> None:
        super().__init__(names, replace(spec, metadata=()), storage)

    def write_entries(self, connection: Connection, entries: Sequence[Entry]) -> list[Entry]:
        """Write where the row still exists and holds the expected hash, the new one, or no vector."""
        self._copy(connection, ((e.document, e.vector, e.truncated, e.expected) for e in entries))
        written = self._update(
            connection,
            LEDGER_COLUMNS,
            "t.{text_hash} is not distinct from s.rowvec_expected or t.{text_hash} = s.text_hash"
            " or t.{embedding} is null",
        )
        return [entry for entry in entries if entry.document.key in written]

    def write_metadata(self, connection: Connection, documents: Sequence[Document]) -> list[Key]:
        self._copy(connection, ((document, None, False, None) for document in documents))
        return list(self._update(connection, ("row_hash",), "t.{text_hash} = s.text_hash"))

    def delete(self, connection: Connection, keys: Sequence[Key]) -> None:
        """Leave the rows and take their vectors."""
        statement = sql.SQL("update {table} set {nothing} where {key} = any(%s) and {known}")
        connection.execute(
            statement.format(key=self.key, nothing=_nothing(self.names), **self.names.parts), [list(keys)]
        )

    def _update(self, connection: Connection, columns: Sequence[str], where: str) -> set[Key]:
        parts = self.names.parts
        assign = sql.SQL(", ").join(sql.SQL("{} = s.{}").format(parts[name], sql.Identifier(name)) for name in columns)
        statement = sql.SQL(
            "update {table} t set {assign} from {stage} s where t.{key} = s.{key} and ({where}) returning t.{key}"
        ).format(
            table=self.names.sql, assign=assign, stage=self.stage, key=self.key, where=sql.SQL(where).format(**parts)
        )
        return {key for (key,) in connection.execute(statement)}


class InPlaceGenerations(Generations):
    """Generations that are columns of the user's table; only their keyword indexes are tables of rowvec's."""

    def usable(self, connection: Connection, names: Names) -> bool:
        found = schema.table_columns(connection, names).keys()
        # The columns may have been made by hand before rowvec's own tables were.
        return self._books.live(connection) is not None and {names.own(name) for name in LEDGER_COLUMNS} <= found

    def check(self, connection: Connection, spec: TableSpec) -> Check:
        target = self._target(connection, spec)
        missing = self._missing(connection, target, spec)
        if missing:
            fix = f"Run `{APPLY}`, or as the table's owner: {' '.join(missing)}"
            return Check("table", False, f"{self._table} lacks what keeps the vectors", fix)
        self._check_rights(connection, target, spec)
        return Check("table", True, f"{self._table} fits: {spec.dimension} dimensions in column {target.column}")

    def apply(self, connection: Connection, spec: TableSpec) -> list[str]:
        missing = self._missing(connection, self._target(connection, spec), spec)
        if missing and not rights.is_owned(connection, self.live):
            raise StoreError(
                f"{self._location}: the role does not own the table, so that it may not change it.",
                hint=f"Let its owner run: {' '.join(missing)}",
            )
        for statement in missing:
            if " CONCURRENTLY " in statement:
                outside(connection, statement.encode())
                continue
            with connection.transaction():
                brief_lock(connection, [self.live.sql])
                connection.execute(statement.encode())
        return missing

    def _lacking(self, connection: Connection, names: Names, spec: TableSpec) -> Lacking:
        return Lacking(set(), set())

    def open(self, connection: Connection, spec: TableSpec) -> tuple[Names, Fence]:
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 1))", [self.live.scope])
        target = self._target(connection, spec)
        missing = self._missing(connection, target, spec)
        if missing:
            raise StoreError(
                f"{self._location}: the table lacks the columns of its vectors.",
                hint=f"Run `{APPLY}`, or as the table's owner: {' '.join(missing)}",
            )
        self._check_rights(connection, target, spec)
        target, fence = self._begin(connection, spec)
        self._fill_words(connection, target, spec)
        self._keep_words(connection, target, spec)
        self._make_beside(connection, target, spec)
        return target, fence

    def finish(self, connection: Connection, names: Names, spec: TableSpec, fence: Fence | None = None) -> None:
        super().finish(connection, names, spec, fence)
        if spec.language is not None:
            self._forget_lost_words(connection, spec)
        Beside(self.live, spec).drop_lost(connection)

    @property
    def _table(self) -> str:
        return f"{self.live.schema}.{self.live.table}"

    def _target(self, connection: Connection, spec: TableSpec) -> Names:
        """The column that vectors of this fingerprint belong into."""
        action = self._chosen(connection, spec, self._books.known(connection))
        # Columns that are there already need not be made: `open` renames them.
        return self.live.previous if action is Action.RESUME_PREVIOUS else self.names(action.fills)

    def _is_empty(self, connection: Connection) -> bool:
        """An empty column is filled again by its own model only: a sync does not change the table's shape."""
        return False

    def _clear(self, connection: Connection, action: Action, spec: TableSpec) -> None:
        target = self.live.building
        if action is Action.RESUME_PREVIOUS:
            self._drop(connection, target, spec)
            return
        clear = sql.SQL("update {table} set {nothing} where {known}")
        connection.execute(clear.format(nothing=_nothing(target), **target.parts))
        keywords(target, spec).drop(connection)
        Beside(target, spec).drop(connection)

    def _missing(self, connection: Connection, target: Names, spec: TableSpec) -> list[str]:
        """The statements that make what is not there, ready to be run.

        Raises:
            StoreError: the table is not there, or cannot hold the vectors as it is.
        """
        found = schema.table_columns(connection, target)
        if not found:
            raise StoreError(
                f"{self._location}: there is no table {self._table}.",
                hint="Correct store.table, or leave store.column out: rowvec then makes a table of its own.",
            )
        if spec.key not in found:
            raise StoreError(f"{self._table} has no column {spec.key!r}.", hint="Correct source.key or store.table.")
        schema.check_key(connection, target, spec, self._location, found)
        drop = self._check_type(found, target, spec)
        wanted = {
            target.own("embedding"): f"{self._storage}({spec.dimension})",
            target.own("text_hash"): "bytea",
            target.own("row_hash"): "bytea",
            target.own("truncated"): "boolean NOT NULL DEFAULT false",
        }
        table = target.sql.as_string(connection)
        changes = [f"DROP COLUMN {_quoted(connection, name)}" for name in drop]
        changes += [
            f"ADD COLUMN {_quoted(connection, name)} {kind}"
            for name, kind in wanted.items()
            if name not in found or name in drop
        ]
        statements = [f"ALTER TABLE {table} {', '.join(changes)};"] if changes else []
        index = text_index(target)
        name = sql.Identifier(target.schema, index).as_string(connection)
        valid = connection.execute(
            "select indisvalid from pg_index where indexrelid = to_regclass(%s)", [name]
        ).fetchone()
        if valid == (False,):
            # A build that was cut off left it behind.
            statements.append(f"DROP INDEX CONCURRENTLY {name};")
        if valid != (True,):
            hashes = _quoted(connection, target.own("text_hash"))
            statements.append(f"CREATE INDEX CONCURRENTLY {_quoted(connection, index)} ON {table} ({hashes});")
        return statements

    def _check_type(self, found: dict[str, str], target: Names, spec: TableSpec) -> list[str]:
        """Columns to make again: those of a generation that was given up, which hold another dimension."""
        column = target.own("embedding")
        if column not in found:
            return []
        kind, _, dimension = found[column].rpartition(".")[2].partition("(")
        if kind == self._storage and dimension in ("", f"{spec.dimension})"):
            return []
        if target != self.live:
            return [column]
        if kind not in ("vector", "halfvec"):
            raise StoreError(
                f"The column {column!r} of {self._table} is {found[column]}, not a vector.",
                hint="Name another column in store.column; `rowvec check --apply` makes it.",
            )
        if kind != self._storage:
            raise StoreError(
                f"The column {column!r} of {self._table} is {kind}, but store.storage is {self._storage}.",
                hint=f'Set store.storage = "{kind}".',
            )
        raise StoreError(
            f"The column {column!r} of {self._table} holds vectors of {dimension.rstrip(')')} dimensions,"
            f" but the model gives {spec.dimension}.",
            hint="Use the model that filled it, or name another column in store.column.",
        )

    def _check_rights(self, connection: Connection, target: Names, spec: TableSpec) -> None:
        """Raises StoreError when the role could not write the vectors, or not put them in their place in the end."""
        columns = [target.own(name) for name in LEDGER_COLUMNS]
        row = connection.execute(
            "select coalesce(bool_and(has_column_privilege(%s, name, 'update')), false), has_table_privilege(%s,"
            " 'select'), current_user from unnest(%s::text[]) as name",
            [target.sql.as_string(connection), target.sql.as_string(connection), columns],
        ).fetchone()
        assert row is not None
        if not (row[0] and row[1]):
            names = ", ".join(_quoted(connection, name) for name in columns)
            raise StoreError(
                f"{self._location}: the role {row[2]!r} may not write the vectors into the table.",
                hint=f"Grant it: GRANT SELECT, UPDATE ({names}) ON {target.sql.as_string(connection)} TO"
                f" {_quoted(connection, row[2])};",
            )
        if target != self.live:
            followers.check_owner(connection, self.live)

    def _drop(self, connection: Connection, names: Names, spec: TableSpec) -> None:
        keywords(names, spec).drop(connection)
        Beside(names, spec).drop(connection)
        brief_lock(connection, [names.sql])
        columns = sql.SQL(", ").join(
            sql.SQL("drop column if exists {}").format(sql.Identifier(names.own(name))) for name in LEDGER_COLUMNS
        )
        connection.execute(sql.SQL("alter table {} {}").format(names.sql, columns))

    def _rename(self, connection: Connection, old: Names, new: Names, spec: TableSpec) -> None:
        brief_lock(connection, [*keywords(old, spec).tables, old.sql, *Beside(old, spec).tables])
        for name in LEDGER_COLUMNS:
            connection.execute(
                sql.SQL("alter table {} rename column {} to {}").format(
                    old.sql, sql.Identifier(old.own(name)), sql.Identifier(new.own(name))
                )
            )
        connection.execute(
            sql.SQL("alter index if exists {} rename to {}").format(
                sql.Identifier(old.schema, text_index(old)), sql.Identifier(text_index(new))
            )
        )
        followers.rename_indexes(connection, old, new)
        keywords(old, spec).rename(connection, new.family)
        Beside(old, spec).rename(connection, new)

    def _forget_lost_words(self, connection: Connection, spec: TableSpec) -> None:
        """Rows that the user deleted took their vectors with them, but not their words."""
        words = keywords(self.live, spec)
        words.delete(connection, words.lost(connection))


def is_ours(name: str, column: str) -> bool:
    """Whether a column of a user's table is the vector column, or one that rowvec keeps beside it."""
    return name == column or any(
        name in {names.own(each) for each in LEDGER_COLUMNS}
        for live in [Names("", "", column)]
        for names in (live, live.building, live.previous)
    )


def _nothing(names: Names) -> sql.Composed:
    return sql.SQL("{embedding} = null, {text_hash} = null, {row_hash} = null, {truncated} = false").format(
        **names.parts
    )


def _quoted(connection: Connection, name: str) -> str:
    return sql.Identifier(name).as_string(connection)
