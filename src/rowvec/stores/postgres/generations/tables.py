"""The tables of a pipeline's generations: the live one, the one being filled, the one that was live before."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from rowvec.stores.base import TableSpec
from rowvec.stores.generation_policy import (
    Action,
    changes_model,
    check_drop,
    check_rollback,
    choose,
    filled,
    has_other_metadata,
    standing,
)
from rowvec.stores.postgres import books, schema
from rowvec.stores.postgres.adopting import Lacking, adopt_table, lacking
from rowvec.stores.postgres.books import Bookkeeping, Fence, Known
from rowvec.stores.postgres.connect import single
from rowvec.stores.postgres.generations import followers
from rowvec.stores.postgres.keyword_index.index import KeywordIndex
from rowvec.stores.postgres.locks import brief_lock
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.passages import Beside
from rowvec.stores.postgres.schema import KEY_TYPES
from rowvec.types import Check, Fingerprint, Generation, State

Connection = psycopg.Connection[Any]


class Generations:
    """A generation is a vector table with its keyword index; all of them stand in one schema."""

    def __init__(self, live: Names, books: Bookkeeping, storage: str, location: str) -> None:
        self.live = live
        self._books = books
        self._storage = storage
        self._location = location

    def usable(self, connection: Connection, names: Names) -> bool:
        """There is something to look vectors up in."""
        return schema.table_exists(connection, names)

    def check(self, connection: Connection, spec: TableSpec) -> Check:
        """The line that `rowvec check` prints.

        Raises:
            StoreError: a sync could not keep its vectors there.
        """
        if not schema.table_exists(connection, self.live):
            schema.check_may_create(connection, self.live, self._location)
            return Check("table", True, f"{self.live.scope} will be created")
        known = self._books.known(connection)
        action, live = self._chosen(connection, spec, known), known.get(State.LIVE)
        if live is not None and action is not Action.FILL_LIVE:
            if action is not Action.REPLACE_LIVE:
                followers.check_followers(connection, self.live)
            followers.check_owner(connection, self.live)
            # Meanwhile it is kept in step.
            as_it_is = replace(spec, dimension=live.fingerprint.dimension)
            schema.check_shape(connection, self.live, as_it_is, self._storage, self._location)
            empty = action is Action.REPLACE_LIVE
            then = " and empty; sync makes it again" if empty else "; sync builds the new one beside it"
            return Check("table", True, f"{self.live.scope} is of another model{then}")
        schema.check_shape(connection, self.live, spec, self._storage, self._location)
        return Check("table", True, f"{self.live.scope} fits: {spec.dimension} dimensions")

    def apply(self, connection: Connection, spec: TableSpec) -> list[str]:
        """Run the statements that `check` asks for; a table of rowvec's own needs none."""
        return []

    def existing(self, connection: Connection, fingerprint: Fingerprint | None) -> Names | None:
        """The table that a sync of this fingerprint goes on with, complete or not; None where it begins a new one."""
        found = self.aimed(connection, fingerprint)
        return None if found is None else found[0]

    def aimed(self, connection: Connection, fingerprint: Fingerprint | None) -> tuple[Names, Fence] | None:
        """The same, with what a write into it has to prove."""
        known = self._books.known(connection)
        state = standing(known, fingerprint)
        if state is None or not self.usable(connection, self.names(state)):
            return None
        return self.names(state), self._books.fence(known, state)

    def filled(self, connection: Connection, fingerprint: Fingerprint | None) -> tuple[Names, Fence]:
        """The table that a sync of this fingerprint has filled. Raises StoreError where there is none."""
        known = self._books.known(connection)
        state = filled(known, fingerprint, self._location)
        return self.names(state), self._books.fence(known, state)

    def _chosen(self, connection: Connection, spec: TableSpec, known: Mapping[State, Known]) -> Action:
        empty = changes_model(known, spec.fingerprint) and not spec.filled_elsewhere and self._is_empty(connection)
        return choose(known, spec.fingerprint, empty=empty)

    def _is_empty(self, connection: Connection) -> bool:
        return schema.is_empty(connection, self.live)

    def listed(self, connection: Connection, spec: TableSpec) -> list[Generation]:
        """For `rowvec generations`."""
        known = self._books.known(connection)
        return [self._listed(connection, spec, state, known[state]) for state in State if state in known]

    def _listed(self, connection: Connection, spec: TableSpec, state: State, known: Known) -> Generation:
        names = self.names(state)
        rows = failed = stale = lost = 0
        if self.usable(connection, names):
            counted = sql.SQL("select count({embedding}) from {table}").format(**names.parts)
            (rows,) = single(connection.execute(counted))
            failed, stale = books.count_failures(connection, names, sql.Identifier(spec.key))
            if state is State.BUILDING:
                lost = books.count_lost(connection, self.live, names, sql.Identifier(spec.key))
        since = dt.datetime.fromisoformat(known.version)
        size = self._size(connection, names, spec)
        return Generation(
            state, known.fingerprint, rows, failed, stale, size, since, known.settings, known.undone, lost
        )

    def _size(self, connection: Connection, names: Names, spec: TableSpec) -> int | None:
        """Bytes of the tables that are this generation's own."""
        words = KeywordIndex((names.schema, names.table), "", "text", "simple", family=names.family)
        own = [] if names.column else [names.sql]
        tables = [
            each.as_string(connection)
            for each in [*own, *words.tables, words.kept_words.table, *Beside(names, spec).tables]
        ]
        statement = "select sum(pg_total_relation_size(to_regclass(name)))::bigint from unnest(%s::text[]) as name"
        size: int | None = single(connection.execute(statement, [tables]))[0]
        return size

    def names(self, state: State) -> Names:
        return {State.LIVE: self.live, State.BUILDING: self.live.building, State.PREVIOUS: self.live.previous}[state]

    def make_way(self, connection: Connection, spec: TableSpec) -> Collection[str]:
        """What takes long and would otherwise be done while `open` keeps others off the table. Not for a transaction.

        Returns:
            The columns that `open` is going to add or widen, to be indexed after it.

        Raises:
            StoreError: an existing table has another shape.
        """
        known = self._books.known(connection)
        state = standing(known, spec.fingerprint)
        if state is None or not self.usable(connection, self.names(state)):
            return ()
        names = self.names(state)
        added, widened = self._lacking(connection, names, spec)
        words = keywords(names, spec)
        rereads = spec.language is not None and (
            words.language_of(connection) != spec.language
            or (spec.keeps_words and not words.kept_words.exists(connection))
        )
        others = state in known and has_other_metadata(known[state].settings, spec.settings)
        if (rereads or added or others) and "row_hash" not in added:
            # New columns are empty, and so are new words: no row's metadata is current any more.
            schema.forget_row_hashes(connection, names)
        return added | widened

    def _lacking(self, connection: Connection, names: Names, spec: TableSpec) -> Lacking:
        return lacking(connection, names, spec, self._storage, self._location)

    def open(self, connection: Connection, spec: TableSpec) -> tuple[Names, Fence]:
        """The table that vectors of this fingerprint belong into, made or adopted first, and what a write into it has
        to prove. Needs a transaction.

        Raises:
            StoreError: an existing table has another shape.
        """
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 1))", [self.live.scope])
        names, fence = self._begin(connection, spec)
        if schema.table_exists(connection, names):
            if adopt_table(connection, names, spec, self._storage, self._location):
                keywords(names, spec).drop(connection)
                Beside(names, spec).retype_keys(connection)
        else:
            schema.create_table(connection, names, spec, self._storage)
        self._fill_words(connection, names, spec)
        self._keep_words(connection, names, spec)
        self._make_beside(connection, names, spec)
        return names, fence

    def _make_beside(self, connection: Connection, names: Names, spec: TableSpec) -> None:
        """Make the tables of texts and passages, and the view of the live ones."""
        beside = Beside(names, spec)
        beside.ensure(connection)
        if names == self.live:
            beside.show(connection)

    def _begin(self, connection: Connection, spec: TableSpec) -> tuple[Names, Fence]:
        """Make room for the generation that is to be filled, and put it into the books."""
        known = self._books.known(connection)
        action = self._chosen(connection, spec, known)
        if action in (Action.REPLACE_LIVE, Action.BEGIN_BUILDING, Action.RESUME_PREVIOUS):
            self._books.keep_others_out(connection)
        if action is Action.REPLACE_LIVE:
            self._drop(connection, self.live, spec)
            self._books.forget_progress(connection, self.live.scope)
        elif action.fills is State.BUILDING:
            followers.check_owner(connection, self.live)
        if action in (Action.BEGIN_BUILDING, Action.RESUME_PREVIOUS):
            followers.check_followers(connection, self.live)
            self._clear(connection, action, spec)
            self._books.forget(connection, State.BUILDING)
            self._books.forget_progress(connection, self.live.building.scope)
        if action is Action.RESUME_PREVIOUS:
            self._rename(connection, self.live.previous, self.live.building, spec)
            self._books.move(connection, State.PREVIOUS, State.BUILDING)
            self._books.move_progress(connection, self.live.previous.scope, self.live.building.scope)
        if action in (Action.BEGIN_BUILDING, Action.RESUME_PREVIOUS):
            known = self._books.known(connection)
        if spec.fingerprint is not None:
            there = known.get(action.fills)
            recipe = there.recipe if there and action.fills is State.LIVE else spec.recipe
            if self._books.set_generation(connection, there, action.fills, spec.fingerprint, recipe, spec.settings):
                known = self._books.known(connection)
        return self.names(action.fills), self._books.fence(known, action.fills)

    def _clear(self, connection: Connection, action: Action, spec: TableSpec) -> None:
        """Drop what is left of a generation whose building was given up."""
        self._drop(connection, self.live.building, spec)

    def _fill_words(self, connection: Connection, names: Names, spec: TableSpec) -> None:
        """Make the keyword index; where it is new, of another language or format, have every row pass it again.

        One of an older format keeps its words until then. One of another language is dropped, and so is one that is not
        wanted: what is written from now on would be missing from it.
        """
        words = keywords(names, spec)
        if words.is_current(connection) if spec.language is not None else not words.exists(connection):
            return
        if spec.language is not None:
            schema.forget_row_hashes(connection, names)
            if words.language_of(connection) == spec.language:
                words.outdate(connection)
                return
        words.drop(connection)
        if spec.language is not None:
            words.create(connection)

    def _keep_words(self, connection: Connection, names: Names, spec: TableSpec) -> None:
        """Make the list of words as they are written, and have every row pass again, or drop it."""
        kept, wanted = keywords(names, spec).kept_words, spec.keeps_words and spec.language is not None
        if kept.exists(connection) == wanted:
            return
        if wanted:
            kept.create(connection)
            schema.forget_row_hashes(connection, names)
        else:
            brief_lock(connection, [kept.table])
            kept.drop(connection)

    def finish(self, connection: Connection, names: Names, spec: TableSpec, fence: Fence | None = None) -> None:
        """Make `names` the live generation, keeping the former one as the previous. Needs a transaction.

        Raises:
            psycopg.errors.LockNotAvailable: somebody reads the table for long; nothing was changed.
            GenerationChanged: it is not what `fence` says any more.
            StoreError: a view cannot show the new generation.
        """
        if names == self.live and self._books.says(connection, spec, fence):
            return  # A lock of a row is a write, and a commit that writes waits for the disk.
        self._books.keep_others_out(connection)
        if fence is not None:
            fence.hold(connection, self._location)
        if names != self.live:
            live, previous = self.live.scope, self.live.previous.scope
            self._succeed(connection, names, spec)
            self._books.move(connection, State.LIVE, State.PREVIOUS)
            self._books.move(connection, State.BUILDING, State.LIVE)
            self._books.inherit_offsets(connection, live, names.scope)
            self._books.move_progress(connection, live, previous)
            self._books.move_progress(connection, names.scope, live)
        if spec.fingerprint is not None:
            now = self._books.live(connection)
            self._books.set_generation(connection, now, State.LIVE, spec.fingerprint, spec.recipe, spec.settings)

    def rollback(self, connection: Connection, spec: TableSpec) -> None:
        """Swap the live generation and the previous one. Needs a transaction; raises as `finish` does."""
        self._books.keep_others_out(connection)
        check_rollback(self._books.known(connection), self._location)
        live, previous, between = self.live.scope, self.live.previous.scope, f"{self.live.scope} in between"
        self._succeed(connection, self.live.previous, spec)
        self._books.exchange(connection)
        self._books.move_progress(connection, previous, between)
        self._books.move_progress(connection, live, previous)
        self._books.move_progress(connection, between, live)

    def _succeed(self, connection: Connection, names: Names, spec: TableSpec) -> None:
        """Give `names` the live generation's name, and that the name of the previous one."""
        live = self.live
        followers.check_followers(connection, live)
        shown = followers.views(connection, live)
        tables: list[sql.Composable] = [sql.SQL(view.name) for view in shown]
        if keywords(live, spec).exists(connection):
            tables += keywords(live, spec).tables
        beside = Beside(live, spec)
        brief_lock(connection, [*tables, live.sql, *beside.tables])
        if beside.shown(connection):
            Beside(names, spec).make_passages(connection)
        between = live.between
        self._rename(connection, live, between, spec)
        if names == live.previous:
            self._rename(connection, names, live, spec)
        else:
            self._drop(connection, live.previous, spec)
            self._rename(connection, names, live, spec)
        self._rename(connection, between, live.previous, spec)
        followers.copy_grants(connection, live.previous, live)
        side = [[*keywords(each, spec).tables, *Beside(each, spec).tables] for each in (live.previous, live)]
        followers.copy_side_grants(connection, *side)
        beside.follow(connection, live.previous)
        followers.repoint(connection, shown)
        # What was measured was measured with other vectors.
        scopes = [live.scope, beside.passages.scope]
        connection.execute("delete from rowvec.tunings where scope = any(%s)", [scopes])

    def drop(self, connection: Connection, state: State, spec: TableSpec) -> None:
        """Drop the generation in that state. Needs a transaction.

        Raises:
            StoreError: there is none, or it is the live one.
        """
        self._books.keep_others_out(connection)
        check_drop(self._books.known(connection), state, self._location)
        self._drop(connection, self.names(state), spec)
        self._books.forget(connection, state)
        self._books.forget_progress(connection, self.names(state).scope)

    def _drop(self, connection: Connection, names: Names, spec: TableSpec) -> None:
        keywords(names, spec).drop(connection)
        Beside(names, spec).drop(connection)
        schema.drop_table(connection, names)

    def _rename(self, connection: Connection, old: Names, new: Names, spec: TableSpec) -> None:
        brief_lock(connection, [*keywords(old, spec).tables, old.sql, *Beside(old, spec).tables])
        schema.rename_table(connection, old, new)
        followers.rename_indexes(connection, old, new)
        keywords(old, spec).rename(connection, new.family)
        Beside(old, spec).rename(connection, new)


def keywords(names: Names, spec: TableSpec) -> KeywordIndex:
    return KeywordIndex(
        (names.schema, names.table), spec.key, KEY_TYPES[spec.key_type], spec.language or "simple", family=names.family
    )
