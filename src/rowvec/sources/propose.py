"""What a database offers for a pipeline: tables, keys, columns of text. Nothing is written, few rows are read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rowvec.errors import RowvecError, SourceError
from rowvec.sources.column_worth import is_category, is_measure, is_prose, rank
from rowvec.sources.databases import Database, Relation, open_database, unique_keys
from rowvec.sources.sql import join_name
from rowvec.types import Column, ColumnType
from rowvec.words import keyword_language

_KEY_TYPES = {ColumnType.INTEGER, ColumnType.TEXT, ColumnType.UUID}
_CURSORS = (
    "ingested_at",
    "updated_at",
    "modified_at",
    "changed_at",
    "last_modified",
    "modified",
    "updated",
    "created_at",
)
_DELETED = ("deleted", "is_deleted", "_deleted", "archived", "is_archived")
_ACTIVE = ("is_active", "active", "enabled", "is_enabled", "published", "is_published")
_MOST_METADATA = 8
_SAMPLED, _CHARACTERS = 500, 1_000
"""Rows whose values are looked at, and what is looked at of each to tell its language."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One table or view as a pipeline could read it. `table` is what `source.table` takes."""

    table: str
    rows: int | None
    """About how many there are; None where only counting would tell."""
    key: str | None
    key_note: str
    """Why this key, or why there is none."""
    columns: tuple[Column, ...]
    text: tuple[str, ...]
    """Columns worth embedding, the most telling first."""
    metadata: tuple[str, ...]
    cursor: str | None
    where: str | None
    is_view: bool = False
    language: str = "english"
    """For keyword search, by what some rows say."""
    texts: tuple[str, ...] = ()
    """What some rows say."""


Judge: TypeAlias = Callable[[Callable[[Column, str, Sequence[Any]], bool], Column], bool]


def propose(url: str, base: Path | None = None) -> list[Proposal]:
    """Every table and view of a database, those with a key and text first, the larger first.

    Raises:
        ConfigError, SourceError, SourceUnavailable: as `SqlSource`.
    """
    database = open_database(url, base or Path.cwd())
    proposals = []
    try:
        with database.connect() as connection:
            tables = database.tables(connection)
            views = database.views(connection)
        for schema, name in tables:
            try:
                # A connection for each: one view that is broken ends a transaction.
                with database.connect() as connection:
                    found = _propose(database, connection, schema, name)
                    proposals.append(replace(found, is_view=(schema, name) in views))
            except SourceError as error:
                if error.transient:
                    raise
                proposals.append(_unreadable(join_name(schema, name), error))
    finally:
        database.engine.dispose()
    # What a view shows is in tables, which have a key, indexes and a cursor of their own.
    return sorted(proposals, key=lambda p: (p.key is None or not p.text, p.is_view, -(p.rows or 0), p.table))


def _propose(database: Database, connection: Connection, schema: str | None, name: str) -> Proposal:
    relation = Relation(join_name(schema, name), sa.table(name, schema=schema), name, schema)
    columns = database.columns(connection, relation)
    key, note = _key(unique_keys(connection, name, schema), columns)
    by_name = {column.name.lower(): column for column in columns}
    cursor = next((by_name[each].name for each in _CURSORS if each in by_name), None)
    deleted = next((by_name[each].name for each in _DELETED if each in by_name), None)
    active = next((by_name[each].name for each in _ACTIVE if each in by_name), None)
    flag = deleted or active
    where = None
    if flag is not None and by_name[flag.lower()].type is ColumnType.BOOLEAN:
        quoted = database.engine.dialect.identifier_preparer.quote(flag)
        where = f"not {quoted}" if deleted else quoted
    declared, values = _declared(connection, schema, name), _sample(database, connection, relation)

    def judge(test: Callable[[Column, str, Sequence[Any]], bool], column: Column) -> bool:
        return test(column, declared.get(column.name, ""), values.get(column.name, ()))

    text = _text(columns, {key, cursor}, judge)
    said = _texts(values, text)
    return Proposal(
        table=relation.name,
        rows=database.approximate_rows(connection, schema, name),
        key=key,
        key_note=note,
        columns=tuple(columns),
        text=text,
        metadata=_metadata(columns, {key, flag, cursor}, text, judge),
        cursor=cursor,
        where=where,
        language=keyword_language(said),
        texts=tuple(said),
    )


def _unreadable(table: str, error: SourceError) -> Proposal:
    return Proposal(table, None, None, error.message, (), (), (), None, None)


def _key(uniques: list[list[str]], columns: list[Column]) -> tuple[str | None, str]:
    types = {column.name: column.type for column in columns}
    alone = [names[0] for names in uniques if len(names) == 1 and types.get(names[0]) in _KEY_TYPES]
    primary = uniques[0]
    if primary in [[name] for name in alone]:
        return primary[0], "primary key"
    if alone:
        return alone[0], "unique"
    if len(primary) > 1:
        return None, f"the primary key has {len(primary)} columns ({', '.join(primary)}): make one of them in a query"
    named = next((column.name for column in columns if column.name.lower() == "id" and column.type in _KEY_TYPES), None)
    if named is not None:
        return named, "by its name: nothing in the database says that it is unique"
    return None, "no primary key and nothing unique that could be one"


def _sample(database: Database, connection: Connection, relation: Relation) -> dict[str, list[Any]]:
    """Values of the first rows, by column; nothing where they cannot be read."""
    statement = sa.select(sa.text("*")).select_from(relation.clause).limit(_SAMPLED)
    try:
        description, rows = database.answer(connection, statement)
    except (RowvecError, sa.exc.SQLAlchemyError, ValueError):
        connection.rollback()
        return {}
    return {column[0]: [row[place] for row in rows] for place, column in enumerate(description)}


def _texts(values: Mapping[str, Sequence[Any]], columns: Sequence[str]) -> list[str]:
    """Of each sampled row what its text columns say."""
    rows = zip(*(values.get(name, ()) for name in columns), strict=True)
    return [" ".join(str(value) for value in row if value is not None)[:_CHARACTERS] for row in rows]


def _declared(connection: Connection, schema: str | None, name: str) -> dict[str, str]:
    """The database's own name of each column's type; "" where SQLAlchemy does not know it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        found = sa.inspect(connection).get_columns(name, schema=schema)
    return {column["name"]: type(column["type"]).__name__.upper() for column in found}


def _text(columns: list[Column], taken: set[str | None], judge: Judge) -> tuple[str, ...]:
    prose = [column.name for column in columns if column.name not in taken and judge(is_prose, column)]
    return tuple(sorted(prose, key=rank))


def _metadata(columns: list[Column], taken: set[str | None], text: tuple[str, ...], judge: Judge) -> tuple[str, ...]:
    free = [column for column in columns if column.name not in {*taken, *text[:1]}]
    chosen = [column.name for column in free if judge(is_category, column)]
    measured = [column.name for column in free if is_measure(column)]
    return (*text[:1], *chosen, *measured)[:_MOST_METADATA]
