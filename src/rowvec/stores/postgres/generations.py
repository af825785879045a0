"""The tables of a pipeline's generations: the live one, the one being filled, the one that was live before."""

from __future__ import annotations

from typing import Any

import psycopg

from rowvec.stores.base import TableSpec
from rowvec.stores.postgres import schema
from rowvec.stores.postgres.bookkeeping import Bookkeeping
from rowvec.stores.postgres.keyword import KeywordIndex
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.schema import KEY_TYPES
from rowvec.types import Check, Fingerprint

Connection = psycopg.Connection[Any]


class Generations:
    """A generation is a vector table with its keyword index; all of them stand in one schema."""

    def __init__(self, live: Names, books: Bookkeeping, storage: str, where: str) -> None:
        self.live = live
        self._books = books
        self._storage = storage
        self._where = where

    def usable(self, connection: Connection, names: Names) -> bool:
        """There is something to look vectors up in."""
        return schema.table_exists(connection, names)

    def check(self, connection: Connection, spec: TableSpec) -> Check:
        """The line that `rowvec check` prints.

        Raises:
            StoreError: a sync could not keep its vectors there.
        """
        live = self._books.live(connection)
        if not schema.table_exists(connection, self.live):
            schema.check_may_create(connection, self.live, self._where)
            return Check("table", True, f"{self.live.scope} will be created")
        if live is not None and live[0] != spec.fingerprint:
            return Check("table", True, f"{self.live.scope} is of another model; sync builds the new one beside it")
        schema.check_shape(connection, self.live, spec, self._where)
        return Check("table", True, f"{self.live.scope} fits: {spec.dimension} dimensions")

    def apply(self, connection: Connection, spec: TableSpec) -> list[str]:
        """Run the statements that `check` asks for; a table of rowvec's own needs none."""
        return []

    def existing(self, connection: Connection, fingerprint: Fingerprint | None) -> Names | None:
        """The table that holds vectors of this fingerprint, complete or not; None where there is none."""
        live = self._books.live(connection)
        if live is None or fingerprint in (None, live[0]):
            return self.live if self.usable(connection, self.live) else None
        return self.live.next if self._books.building(connection) == fingerprint else None

    def open(self, connection: Connection, spec: TableSpec) -> Names:
        """The table that vectors of this fingerprint belong into, made or adopted first. Needs a transaction.

        Raises:
            StoreError: an existing table has another shape.
        """
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 1))", [self.live.scope])
        names = self._choose(connection, spec)
        if schema.table_exists(connection, names):
            schema.adopt_table(connection, names, spec, self._where)
        else:
            schema.create_table(connection, names, spec, self._storage)
        if spec.language is not None:
            self._fill_words(connection, names, spec)
        return names

    def _choose(self, connection: Connection, spec: TableSpec) -> Names:
        if spec.fingerprint is None:
            return self.live
        live = self._books.live(connection)
        if live is None or live[0] == spec.fingerprint or schema.is_empty(connection, self.live):
            if live is not None and live[0] != spec.fingerprint:
                self._drop(connection, self.live, spec)
            self._books.set_generation(connection, "live", spec.fingerprint, live[1] if live else spec.recipe)
            return self.live
        if self._books.building(connection) != spec.fingerprint:
            self._drop(connection, self.live.next, spec)
            self._books.set_generation(connection, "building", spec.fingerprint, spec.recipe)
        return self.live.next

    def _fill_words(self, connection: Connection, names: Names, spec: TableSpec) -> None:
        """Make the keyword index; where it is new or of another language, have every row pass it again."""
        words = keywords(names, spec)
        if words.language_of(connection) == spec.language:
            return
        words.drop(connection)
        words.create(connection)
        schema.forget_row_hashes(connection, names)

    def finish(self, connection: Connection, names: Names, spec: TableSpec) -> None:
        """Make `names` the live generation, keeping the former one as the previous. Needs a transaction."""
        if names != self.live:
            self._drop(connection, self.live.previous, spec)
            self._rename(connection, self.live, self.live.previous, spec)
            self._rename(connection, names, self.live, spec)
            self._books.promote(connection)
        if spec.fingerprint is not None:
            self._books.set_generation(connection, "live", spec.fingerprint, spec.recipe)

    def _drop(self, connection: Connection, names: Names, spec: TableSpec) -> None:
        keywords(names, spec).drop(connection)
        schema.drop_table(connection, names)

    def _rename(self, connection: Connection, old: Names, new: Names, spec: TableSpec) -> None:
        schema.rename_table(connection, old, new)
        keywords(old, spec).rename(connection, new.family)


def keywords(names: Names, spec: TableSpec) -> KeywordIndex:
    return KeywordIndex(
        (names.schema, names.table), spec.key, KEY_TYPES[spec.key_type], spec.language or "simple", family=names.family
    )
