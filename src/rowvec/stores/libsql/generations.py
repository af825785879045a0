"""All vectors made by one embedder fingerprint are a generation, and it has a table of its own.

Searches see the live one. A new fingerprint is built beside it, and when that is complete the two swap in one
transaction; what was live stays as the previous one.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection
from dataclasses import replace

from rowvec.errors import StoreError
from rowvec.stores.base import TableSpec
from rowvec.stores.columns import is_lossless
from rowvec.stores.generation_policy import Action, changes_model, check_drop, check_rollback, choose, filled, standing
from rowvec.stores.ledger import Ledger
from rowvec.stores.libsql import books, clock, index, migrations, retyping, schema, views, words
from rowvec.stores.libsql.database import Database, Statement, fail_unless
from rowvec.stores.libsql.generation_row import COLUMNS, FIELDS, STATES, GenerationRow
from rowvec.stores.libsql.schema import WORDS, Tables
from rowvec.stores.libsql.values import quoted
from rowvec.support.stored import format_of, moment, with_format
from rowvec.types import ColumnType, Generation, State
from rowvec.words import FORMAT, problem


class Generations:
    """Those of one vector table."""

    def __init__(self, database: Database, target: str, metric: str) -> None:
        self._database = database
        self._target = target
        self._metric = metric
        self._location = f"{database.location}, table {target}"

    def read(self) -> dict[State, GenerationRow]:
        """
        Raises:
            StoreError: a newer rowvec has changed the store, or nobody can read what it says.
        """
        state = migrations.look(self._database)
        migrations.refuse_newer(state, self._location)
        # An older rowvec made fewer columns.
        there = [name for name in state.columns.get("rowvec_generations", ()) if name in FIELDS]
        if not there:
            return {}
        sql = f"select {', '.join(map(quoted, there))} from rowvec_generations where target = ?"
        rows = [dict(zip(there, values, strict=True)) for values in self._database.query(sql, (self._target,))]
        try:
            found = [GenerationRow.read(row) for row in rows if row["state"] in STATES]
        except ValueError as error:
            raise StoreError(
                f"{self._location}: the store does not say which model made its vectors: {error}.",
                hint="Restore the file from a copy, or give the store another table name.",
            ) from None
        return {generation.state: generation for generation in found}

    def tables(self, generation: GenerationRow | None) -> Tables:
        if generation is None:
            return Tables(self._target)
        return Tables(self._target, WORDS[generation.state], generation.number, generation.since)

    def ledger(self) -> Ledger:
        if not self._database.exists() or not schema.columns_of(self._database, self._target):
            return Ledger(exists=False)
        filled = bool(self._database.query(f"select 1 from {quoted(self._target)} limit 1"))
        live = self.read().get(State.LIVE)
        if live is None:
            return Ledger(True, filled)
        return Ledger(True, filled, live.fingerprint, live.recipe, live.settings, f"{live.since} {live.number}")

    def live_version(self) -> str:
        if not self._database.exists():
            return ""
        try:
            sql = "select since, number from rowvec_generations where target = ? and state = 'live'"
            found = self._database.query(sql, (self._target,))
        except StoreError as error:
            if error.transient:
                raise
            # There are no tables yet, or those of an older rowvec.
            live = self.read().get(State.LIVE)
            return f"{live.since} {live.number}" if live else ""
        return f"{found[0][0]} {found[0][1]}" if found else ""

    def listed(self, key: str) -> list[Generation]:
        """For `rowvec generations`; `key` is the key column."""
        known = self.read() if self._database.exists() else {}
        found = [self._listed(known[state], key) for state in State if state in known]
        if State.BUILDING not in known:
            return found
        lost = self._lost(self.tables(known[State.LIVE]), self.tables(known[State.BUILDING]), key)
        return [replace(each, lost=lost) if each.state is State.BUILDING else each for each in found]

    def _lost(self, live: Tables, building: Tables, key: str) -> int:
        sql = f"""select count(*) from {building.failures} where "key" not in (select "key" from {live.failures})
                  and "key" in (select {quoted(key)} from {live.vectors} where embedding is not null)"""
        return int(self._database.query(sql)[0][0])

    def _listed(self, known: GenerationRow, key: str) -> Generation:
        tables = self.tables(known)
        sql = f"""select (select count(*) from {tables.vectors} where embedding is not null),
                  (select count(*) from {tables.failures}), (select count(*) from {tables.failures} where "key" in
                   (select {quoted(key)} from {tables.vectors} where embedding is not null))"""
        rows, failures, stale = self._database.query(sql)[0]
        since = moment(known.since) or dt.datetime.fromtimestamp(0, dt.UTC)
        return Generation(
            known.state, known.fingerprint, rows, failures, stale, None, since, known.settings, known.undone
        )

    def existing(self, spec: TableSpec) -> Tables | None:
        """The generation with vectors of this fingerprint, if there is one."""
        if not self._database.exists():
            return None
        known = self.read()
        state = standing(known, spec.fingerprint)
        if state is None:
            return None
        tables = self.tables(known.get(state))
        return tables if schema.columns_of(self._database, tables.name) else None

    def preparation(self, spec: TableSpec) -> tuple[Tables, list[Statement]]:
        """The generation that a sync fills, and the statements that make it ready; none where it is so already.

        Raises:
            StoreError: a table of that name is not ours or of another shape.
        """
        wrong = problem(spec.language) if spec.language is not None else None
        if wrong:
            raise StoreError(f"{self._location}: {wrong}", hint="Set store.language.")
        known = self.read()
        state, old, removed = self._chosen(known, spec)
        number = old.number if old else self._number(known, state, adopts=not removed)
        wanted = self._wanted(spec, old, state, number)
        tables = Tables(self._target, WORDS[state], number, wanted.since)
        stands = self.tables(old) if old else tables
        columns = {} if removed and old is None else schema.columns_of(self._database, stands.name)
        missing = schema.repairs(tables, columns, spec, self._location) if columns else []
        beside = self._beside(tables, spec) if columns else []
        shown: list[Statement] = []
        if state is State.LIVE:
            has = wanted.has_passages
            shown = views.showing(self._database, tables, spec.key, passages=has, texts=spec.keeps_texts)
        if columns and old == wanted and not missing and not removed and not beside and not shown:
            return tables, []
        if old is not None:
            self._check(old, spec, tables)
            if columns and self._is_retyped(old, spec):
                if stands.name == tables.name:
                    wanted = replace(wanted, language=old.language)
                    missing = schema.unwritten(tables, old.column_types, spec)
                    return tables, [*self._retyped(tables, spec, old, set(columns)), *missing, self._save(wanted)]
                # First it gets its name: the next look finds it there.
                wanted = replace(wanted, key_type=old.key_type, metadata=old.metadata, language=old.language)
                return tables, [*removed, self._save(wanted)]
        if columns and (old is not None or missing):
            missing += schema.unwritten(tables, old.column_types if old else (), spec)
        if columns and wanted.vector_index is None:
            missing += index.removal(tables)
        if columns and (old is None or _words(old.language) != _words(wanted.language)):
            older = old is not None and old.language and spec.language == format_of(old.language)[0]
            missing += schema.carried_keywords(tables, spec) if older else schema.new_keywords(tables)
        return tables, [*removed, *missing, *beside, *schema.creation(tables, spec), *shown, self._save(wanted)]

    def _beside(self, tables: Tables, spec: TableSpec) -> list[Statement]:
        """Empty where the tables of texts, words and passages are as they should be."""
        names = tuple(tables.plain(what) for what in ("kept_texts", "kept_words", "passages"))
        found = self._database.query("select name from sqlite_master where name in (?, ?, ?)", names)
        there = {name for (name,) in found}
        columns = schema.columns_of(self._database, tables.plain("passages")) if spec.has_passages else {}
        return [*schema.lost(tables, spec, there), *schema.passage_repairs(tables, columns)]

    def _number(self, known: dict[State, GenerationRow], state: State, *, adopts: bool) -> int:
        """Of a generation that the books do not list: its own where its table is there, else one that nobody has."""
        numbers = schema.numbers(self._database, self._target)
        its_own = numbers.get(Tables(self._target, WORDS[state]).name) if adopts else None
        return its_own or 1 + max([*numbers.values(), *(each.number for each in known.values())], default=0)

    def _chosen(
        self, known: dict[State, GenerationRow], spec: TableSpec
    ) -> tuple[State, GenerationRow | None, list[Statement]]:
        """Which generation to fill: its state, its record, and what has to make room for it."""
        live, building = known.get(State.LIVE), known.get(State.BUILDING)
        empty = (
            changes_model(known, spec.fingerprint) and not spec.filled_elsewhere and self._is_empty(self.tables(live))
        )
        action = choose(known, spec.fingerprint, empty=empty)
        if action is Action.REPLACE_LIVE:
            return State.LIVE, None, schema.removal(self.tables(live))
        if action.fills is State.LIVE:
            return State.LIVE, live, []
        if action is Action.FILL_BUILDING:
            return State.BUILDING, building, []
        gone = self._abandoned(known)
        gone += schema.removal(self.tables(building)) if building else []
        if action is Action.BEGIN_BUILDING:
            return State.BUILDING, None, gone
        moved = self._moved(WORDS[State.PREVIOUS], WORDS[State.BUILDING])
        return State.BUILDING, known[State.PREVIOUS], [*gone, *views.around(self._database, moved)]

    def _is_empty(self, tables: Tables) -> bool:
        return not self._database.query(f"select 1 from {tables.vectors} limit 1")

    def _abandoned(self, known: Collection[State]) -> list[Statement]:
        """What removes generations that the books have lost: nobody can tell which model made them.

        Raises:
            StoreError: a table that is not a generation of this one has a name that a generation is going to have.
        """
        gone: list[Statement] = []
        numbers = schema.numbers(self._database, self._target)
        for word in (WORDS[state] for state in (State.BUILDING, State.PREVIOUS) if state not in known):
            name = Tables(self._target, word).name
            columns = schema.columns_of(self._database, name)
            if name in numbers and set(schema.OWN) <= columns.keys():
                gone += schema.removal(Tables(self._target, word, numbers[name]))
            elif columns:
                raise StoreError(
                    f"{self._location}: a new model's vectors are made beside the old ones, for which the"
                    f" name {name} has"
                    " to be free; a table or view of that name is there that does not belong to it.",
                    hint="Give that table another name, or this store.",
                )
        return gone

    def has_other_words(self, spec: TableSpec) -> bool:
        """The live keyword index is of another format or language than a sync would make."""
        live = self.read().get(State.LIVE)
        return live is not None and _words(live.language) != _words(_language(spec))

    def lacks_words(self, spec: TableSpec) -> bool:
        """Words are to be kept as they are written, and the live generation has no table of them."""
        if not schema.keeps_words(spec):
            return False
        live = self.live()
        return bool(schema.columns_of(self._database, live.name)) and not words.kept(self._database, live)

    def _wanted(self, spec: TableSpec, old: GenerationRow | None, state: State, number: int) -> GenerationRow:
        named = Tables(self._target, WORDS[state], number)
        return GenerationRow(
            state=state,
            number=number,
            pipeline=spec.pipeline,
            key=spec.key,
            key_type=str(spec.key_type),
            dimension=spec.dimension,
            metric=self._metric,
            metadata=json.dumps([[column.name, str(column.type)] for column in spec.metadata]),
            language=_language(spec),
            fingerprint=spec.fingerprint or (old.fingerprint if old else None),
            # Rows made by the old recipe are there until a sync has compared every row.
            recipe=old.recipe if old else spec.recipe,
            settings=spec.settings,
            since=old.since if old and old.state == state else clock.read(self._database),
            undone=old is not None and old.state == state and old.undone,
            vector_index=old.vector_index if old else index.standing(self._database, named),
        )

    def _check(self, old: GenerationRow, spec: TableSpec, tables: Tables) -> None:
        for what, was, asked in (("key type", old.key_type, str(spec.key_type)), ("metric", old.metric, self._metric)):
            if was == asked or (what == "key type" and self._may_change_key(was, spec, tables)):
                continue
            raise StoreError(
                f"{self._location}: its {what} is {was}, the pipeline asks for {asked}.",
                hint="Give the store another table name, or change the setting back.",
            )

    def _may_change_key(self, was: str, spec: TableSpec, tables: Tables) -> bool:
        """Integers become text, and an empty table has no key to lose."""
        return is_lossless(ColumnType(was), spec.key_type) or self._is_empty(tables)

    def _is_retyped(self, old: GenerationRow, spec: TableSpec) -> bool:
        return old.key_type != str(spec.key_type) or bool(retyping.other_types(spec, old.column_types))

    def _retyped(self, tables: Tables, spec: TableSpec, old: GenerationRow, columns: set[str]) -> list[Statement]:
        made = retyping.statements(self._database, tables, spec, old.key_type, old.column_types, columns)
        return views.around(self._database, made)

    def live(self) -> Tables:
        return self.tables(self.read().get(State.LIVE))

    def filled(self, spec: TableSpec) -> Tables:
        """The generation that a sync of this fingerprint has filled. Raises StoreError where there is none."""
        known = self.read()
        return self.tables(known.get(filled(known, spec.fingerprint, self._location)))

    def completion(self, spec: TableSpec) -> list[Statement]:
        """The statements that make the filled generation the live one, of this recipe; none where it is so."""
        known = self.read()
        live, building = known.get(State.LIVE), known.get(State.BUILDING)
        state = filled(known, spec.fingerprint, self._location)
        if live and building and state is State.BUILDING:
            inherited = books.inheriting_offsets(self.tables(live), self.tables(building))
            return [inherited, *self._swap(known.get(State.PREVIOUS), building), *self._save_recipe(building, spec)]
        return self._save_recipe(live, spec) if live and live.recipe != spec.recipe else []

    def _swap(self, previous: GenerationRow | None, next_live: GenerationRow) -> list[Statement]:
        gone = schema.removal(self.tables(previous)) if previous else []
        live, building, former = WORDS[State.LIVE], WORDS[State.BUILDING], WORDS[State.PREVIOUS]
        moves = [*self._moved(live, former), *self._moved(building, live)]
        return [*gone, *views.around(self._database, moves), *self._shown(next_live)]

    def _shown(self, live: GenerationRow) -> list[Statement]:
        """Once that generation is live, the view of passages shows those that it has."""
        tables = Tables(self._target, number=live.number)
        texts = views.texts_kept(self._database, tables)
        return views.showing(self._database, tables, live.key, passages=live.has_passages, texts=texts)

    def rollback(self) -> list[Statement]:
        """
        Raises:
            StoreError: there is no previous generation.
        """
        known = self.read()
        check_rollback(known, self._location)
        live, live_word, previous = known[State.LIVE], WORDS[State.LIVE], WORDS[State.PREVIOUS]
        # Fails where it was carried out already and its answer was lost: to do it twice would undo it.
        once = "select 1 from rowvec_generations where target = ? and state = 'live' and since = ? and number = ?"
        moves = [
            *self._moved(live_word, "between"),
            *self._moved(previous, live_word),
            *self._moved("between", previous, undone=True),
        ]
        return [
            fail_unless(once, (self._target, live.since, live.number)),
            *views.around(self._database, moves),
            *self._shown(known[State.PREVIOUS]),
        ]

    def dropping(self, state: State) -> list[Statement]:
        """
        Raises:
            StoreError: there is none in that state, or it is the live one.
        """
        known = self.read()
        check_drop(known, state, self._location)
        return [*schema.removal(self.tables(known[state])), self._forgotten(WORDS[state])]

    def _moved(self, old: str, new: str, *, undone: bool = False) -> list[Statement]:
        """The generation in one state is in another from now on, under that one's name."""
        name = {state: Tables(self._target, state).vectors for state in (old, new)}
        become = (
            f"update rowvec_generations set state = ?, since = {clock.NOW}, undone = ? where target = ? and state = ?"
        )
        return [
            self._forgotten(new),
            Statement(f"alter table {name[old]} rename to {name[new]}"),
            Statement(become, (new, int(undone), self._target, old)),
        ]

    def _forgotten(self, state: str) -> Statement:
        return Statement("delete from rowvec_generations where target = ? and state = ?", (self._target, state))

    def _save_recipe(self, generation: GenerationRow, spec: TableSpec) -> list[Statement]:
        return [self._save(replace(generation, state=State.LIVE, recipe=spec.recipe))]

    def _save(self, generation: GenerationRow) -> Statement:
        values = generation.row()
        updates = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS)
        return Statement(
            f"""insert into rowvec_generations (target, {", ".join(COLUMNS)})
                values (?{", ?" * len(values)}) on conflict (target, state) do update set {updates}""",
            (self._target, *values),
        )


def _language(spec: TableSpec) -> str | None:
    return None if spec.language is None else with_format(spec.language, FORMAT)


def _words(language: str | None) -> tuple[str, int] | None:
    return None if language is None else format_of(language)
