"""All vectors made by one embedder fingerprint are a generation, and it has a table of its own.

Searches see the live one. A new fingerprint fills the next one beside it, and when that is complete the two change
places in one transaction; the former stays as the previous one.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, fields, replace

from rowvec import types
from rowvec.errors import StoreError
from rowvec.stores.base import Ledger, TableSpec
from rowvec.stores.libsql import migrations, progress, schema
from rowvec.stores.libsql.database import Database, Statement
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.values import quoted
from rowvec.stores.libsql.write import now
from rowvec.stores.migrations import fingerprint_of
from rowvec.support.stored import format_of, from_json, moment, with_format
from rowvec.types import Fingerprint


@dataclass(frozen=True, slots=True)
class Generation:
    """A row of `rowvec_generations`, column by column."""

    state: str
    """live, next or previous."""
    number: int
    pipeline: str
    key: str
    key_type: str
    dimension: int
    metric: str
    metadata: str
    """JSON: name and type of each column."""
    language: str | None
    """Of the keyword index, and its format."""
    fingerprint: str | None
    """JSON."""
    recipe: str
    settings: str
    since: str
    """In this state."""
    undone: int
    vector_index: str | None = None


_COLUMNS = [quoted(field.name) for field in fields(Generation)]


class Generations:
    """Those of one vector table."""

    def __init__(self, database: Database, target: str, metric: str) -> None:
        self._database = database
        self._target = target
        self._metric = metric
        self._location = f"{database.location}, table {target}"

    def read(self) -> dict[str, Generation]:
        """By state.

        Raises:
            StoreError: a newer rowvec has changed the store, or nobody can read what it says.
        """
        state = migrations.look(self._database)
        migrations.refuse_newer(state, self._location)
        # An older rowvec made fewer columns.
        there = [
            name for name in state.columns.get("rowvec_generations", ()) if name in Generation.__dataclass_fields__
        ]
        if not there:
            return {}
        sql = f"select {', '.join(map(quoted, there))} from rowvec_generations where target = ?"
        rows = self._database.query(sql, (self._target,))
        found = [self._checked(from_json(Generation, dict(zip(there, values, strict=True)))) for values in rows]
        return {generation.state: generation for generation in found}

    def _checked(self, generation: Generation) -> Generation:
        """With its fingerprint as this rowvec writes it, so that it can be compared."""
        if generation.fingerprint is None:
            return generation
        try:
            fingerprint = fingerprint_of(generation.fingerprint)
        except ValueError as error:
            raise StoreError(
                f"{self._location}: the store does not say which model made its vectors: {error}.",
                hint="Restore the file from a copy, or give the store another table name.",
            ) from None
        return replace(generation, fingerprint=json.dumps(fingerprint.as_dict()))

    def tables(self, generation: Generation | None) -> Tables:
        if generation is None:
            return Tables(self._target)
        return Tables(self._target, generation.state, generation.number)

    def ledger(self) -> Ledger:
        if not self._database.exists() or not schema.columns_of(self._database, self._target):
            return Ledger(exists=False)
        filled = bool(self._database.query(f"select 1 from {quoted(self._target)} limit 1"))
        live = self.read().get("live")
        if live is None:
            return Ledger(True, filled)
        return Ledger(True, filled, _parsed(live), live.recipe, live.settings, _version(live))

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
            live = self.read().get("live")
            return _version(live) if live else ""
        return f"{found[0][0]} {found[0][1]}" if found else ""

    def listed(self, key: str) -> list[types.Generation]:
        """For `rowvec generations`; `key` is the key column."""
        known = self.read() if self._database.exists() else {}
        names = {"live": types.State.LIVE, "next": types.State.BUILDING, "previous": types.State.PREVIOUS}
        found = [self._listed(names[state], known[state], key) for state in names if state in known]
        building = known.get("next")
        if building is None:
            return found
        lost = self._lost(self.tables(known["live"]), self.tables(building), key)
        return [replace(each, lost=lost) if each.state is types.State.BUILDING else each for each in found]

    def _lost(self, live: Tables, building: Tables, key: str) -> int:
        sql = f"""select count(*) from {building.failures} where "key" not in (select "key" from {live.failures})
                  and "key" in (select {quoted(key)} from {live.vectors} where embedding is not null)"""
        return int(self._database.query(sql)[0][0])

    def _listed(self, state: types.State, known: Generation, key: str) -> types.Generation:
        tables = self.tables(known)
        sql = f"""select (select count(*) from {tables.vectors} where embedding is not null),
                  (select count(*) from {tables.failures}), (select count(*) from {tables.failures} where "key" in
                   (select {quoted(key)} from {tables.vectors} where embedding is not null))"""
        rows, failures, stale = self._database.query(sql)[0]
        since = moment(known.since) or dt.datetime.fromtimestamp(0, dt.UTC)
        return types.Generation(
            state, _parsed(known), rows, failures, stale, None, since, known.settings, bool(known.undone)
        )

    def existing(self, spec: TableSpec) -> Tables | None:
        """The generation with vectors of this fingerprint, if there is one."""
        if not self._database.exists():
            return None
        known, wanted = self.read(), _fingerprint(spec)
        live = known.get("live")
        if live is None or wanted in (None, live.fingerprint):
            tables = self.tables(live)
        else:
            begun = [known[state] for state in ("next", "previous") if state in known]
            fitting = next((each for each in begun if each.fingerprint == wanted), None)
            if fitting is None:
                return None
            tables = self.tables(fitting)
        return tables if schema.columns_of(self._database, tables.name) else None

    def preparation(self, spec: TableSpec) -> tuple[Tables, list[Statement]]:
        """The generation that a sync fills, and the statements that make it ready; none where it is so already.

        Raises:
            StoreError: a table of that name is not ours or of another shape.
        """
        schema.check_names(spec, self._location)
        known = self.read()
        state, old, removed = self._chosen(known, _fingerprint(spec))
        number = old.number if old else 1 + max((generation.number for generation in known.values()), default=0)
        tables = Tables(self._target, state, number)
        stands = self.tables(old) if old else tables
        columns = {} if removed and old is None else schema.columns_of(self._database, stands.name)
        missing = schema.repairs(tables, columns, spec, self._location) if columns else []
        wanted = self._wanted(spec, old, state, number)
        if columns and old == wanted and not missing and not removed:
            return tables, []
        if old is not None:
            self._check(old, spec)
        if columns and (old is None or _words(old.language) != _words(wanted.language)):
            missing += schema.new_keywords(tables)
        return tables, [*removed, *missing, *schema.creation(tables, spec), self._save(wanted)]

    def _chosen(
        self, known: dict[str, Generation], wanted: str | None
    ) -> tuple[str, Generation | None, list[Statement]]:
        """Which generation to fill: its state, its record, and what has to make room for it."""
        live, following = known.get("live"), known.get("next")
        if live is None or wanted is None or live.fingerprint in (None, wanted):
            return "live", live, []
        if not self._database.query(f"select 1 from {self.tables(live).vectors} limit 1"):
            return "live", None, schema.removal(self.tables(live))
        if following is not None and following.fingerprint == wanted:
            return "next", following, []
        self._check_names(known)
        gone = schema.removal(self.tables(following)) if following else []
        previous = known.get("previous")
        if previous is None or previous.fingerprint != wanted:
            return "next", None, gone
        # Its vectors are as good as new ones; what has changed since is found by comparing.
        return "next", previous, [*gone, *self._renamed(self._moved("previous", "next"))]

    def _check_names(self, known: dict[str, Generation]) -> None:
        """
        Raises:
            StoreError: a table that is no generation of this one has a name that a generation is going to have.
        """
        for name in (Tables(self._target, state).name for state in ("next", "previous") if state not in known):
            if schema.columns_of(self._database, name):
                raise StoreError(
                    f"{self._location}: a new model's vectors are made beside the old ones, for which the"
                    f" name {name} has"
                    " to be free; a table or view of that name is there that does not belong to it.",
                    hint="Give that table another name, or this store.",
                )

    def has_other_words(self, spec: TableSpec) -> bool:
        """The live keyword index is of another format or language than a sync would make."""
        live = self.read().get("live")
        return live is not None and _words(live.language) != _words(_language(spec))

    def _wanted(self, spec: TableSpec, old: Generation | None, state: str, number: int) -> Generation:
        return Generation(
            state=state,
            number=number,
            pipeline=spec.pipeline,
            key=spec.key,
            key_type=str(spec.key_type),
            dimension=spec.dimension,
            metric=self._metric,
            metadata=json.dumps([[column.name, str(column.type)] for column in spec.metadata]),
            language=_language(spec),
            fingerprint=_fingerprint(spec) or (old.fingerprint if old else None),
            # Rows made by the old recipe are there until a sync has compared every row.
            recipe=old.recipe if old else spec.recipe,
            settings=spec.settings,
            since=old.since if old and old.state == state else now(),
            undone=old.undone if old and old.state == state else 0,
            vector_index=old.vector_index if old else None,
        )

    def _check(self, old: Generation, spec: TableSpec) -> None:
        before = _types(old.metadata)
        differing = [("key type", old.key_type, str(spec.key_type)), ("metric", old.metric, self._metric)]
        differing += [
            (f"type of {column.name!r}", before.get(column.name, str(column.type)), str(column.type))
            for column in spec.metadata
        ]
        for what, was, asked in differing:
            if was != asked:
                raise StoreError(
                    f"{self._location}: its {what} is {was}, the pipeline asks for {asked}.",
                    hint="Give the store another table name, or change the setting back.",
                )

    def completion(self, spec: TableSpec, filled: Tables) -> list[Statement]:
        """The statements that make the filled generation the live one, of this recipe; none where it is so."""
        known = self.read()
        live, following = known.get("live"), known.get("next")
        if filled.state == "next" and following is not None and following.number == filled.number:
            inherited = progress.inheriting(self.tables(known["live"]), filled)
            return [inherited, *self._swap(known.get("previous")), *self._save_recipe(following, spec)]
        return self._save_recipe(live, spec) if live and live.recipe != spec.recipe else []

    def _swap(self, previous: Generation | None) -> list[Statement]:
        gone = schema.removal(self.tables(previous)) if previous else []
        return [*gone, *self._renamed([*self._moved("live", "previous"), *self._moved("next", "live")])]

    def rollback(self) -> list[Statement]:
        """
        Raises:
            StoreError: there is no previous generation.
        """
        known = self.read()
        if "previous" not in known:
            raise StoreError(f"{self._location} has no previous generation.", hint="`rowvec generations` lists them.")
        live = known["live"]
        # Fails where it was carried out already and its answer was lost: to do it twice would undo it.
        once = """select case when exists (select 1 from rowvec_generations where target = ? and state = 'live'
                  and since = ? and number = ?) then 0 else abs(-9223372036854775807 - 1) end"""
        return [
            Statement(once, (self._target, live.since, live.number)),
            *self._renamed(
                [
                    *self._moved("live", "between"),
                    *self._moved("previous", "live"),
                    *self._moved("between", "previous", undone=True),
                ]
            ),
        ]

    def dropping(self, state: str, word: str) -> list[Statement]:
        """
        Raises:
            StoreError: there is none in that state.
        """
        found = self.read().get(state)
        if found is None:
            raise StoreError(
                f"{self._location} has no {word} generation.", hint="`rowvec generations` lists those that there are."
            )
        return [*schema.removal(self.tables(found)), self._forgotten(state)]

    def _renamed(self, moves: list[Statement]) -> list[Statement]:
        """`moves` between taking the views away and putting them back as they were written. Otherwise SQLite would
        write a table's new name into them, so that they go on showing the former generation, and would rename nothing
        while any view of the database is broken."""
        views = self._database.query("select name, sql from sqlite_master where type = 'view' order by rowid")
        triggers = self._database.query(
            """select sql from sqlite_master where type = 'trigger'
               and tbl_name in (select name from sqlite_master where type = 'view') order by rowid"""
        )
        dropped = [Statement(f"drop view {quoted(name)}") for name, _ in views]
        return [*dropped, *moves, *(Statement(sql) for _, sql in views), *(Statement(sql) for (sql,) in triggers)]

    def _moved(self, old: str, new: str, *, undone: bool = False) -> list[Statement]:
        """The generation in one state is in another from now on, under that one's name."""
        name = {state: Tables(self._target, state).vectors for state in (old, new)}
        become = "update rowvec_generations set state = ?, since = ?, undone = ? where target = ? and state = ?"
        return [
            self._forgotten(new),
            Statement(f"alter table {name[old]} rename to {name[new]}"),
            Statement(become, (new, now(), int(undone), self._target, old)),
        ]

    def _forgotten(self, state: str) -> Statement:
        return Statement("delete from rowvec_generations where target = ? and state = ?", (self._target, state))

    def _save_recipe(self, generation: Generation, spec: TableSpec) -> list[Statement]:
        return [self._save(replace(generation, state="live", recipe=spec.recipe))]

    def _save(self, generation: Generation) -> Statement:
        values = tuple(getattr(generation, field.name) for field in fields(Generation))
        updates = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)
        return Statement(
            f"""insert into rowvec_generations (target, {", ".join(_COLUMNS)})
                values (?{", ?" * len(values)}) on conflict (target, state) do update set {updates}""",
            (self._target, *values),
        )


def _parsed(generation: Generation) -> Fingerprint | None:
    return from_json(Fingerprint, generation.fingerprint) if generation.fingerprint else None


def _language(spec: TableSpec) -> str | None:
    return None if spec.language is None else with_format(spec.language, schema.WORDS_FORMAT)


def _words(language: str | None) -> tuple[str, int] | None:
    return None if language is None else format_of(language)


def _types(metadata: str) -> dict[str, str]:
    """Of the columns; none of what another version of rowvec wrote in a way of its own."""
    try:
        return {str(name): str(kind) for name, kind in json.loads(metadata)}
    except (TypeError, ValueError):
        return {}


def _version(generation: Generation) -> str:
    return f"{generation.since} {generation.number}"


def _fingerprint(spec: TableSpec) -> str | None:
    return json.dumps(spec.fingerprint.as_dict()) if spec.fingerprint else None
