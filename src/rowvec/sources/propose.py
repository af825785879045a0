"""What a database offers for a pipeline: tables, keys, columns of text. Nothing is written, few rows are read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rowvec.errors import SourceError
from rowvec.sources.databases import Database, Relation, open_database, unique_keys
from rowvec.sources.sql import join_name, split_name
from rowvec.types import Column, ColumnType
from rowvec.words import keyword_language

_KEY_TYPES = {ColumnType.INTEGER, ColumnType.TEXT, ColumnType.UUID}
_TELLING = ("title", "name", "description", "summary", "text", "body", "content", "comment", "note", "subject", "tags")
_NO_PROSE = ("url", "uri", "hash", "path", "email", "password", "token", "phone", "_id", "code", "sku", "ean", "status")
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
_METADATA_TYPES = {
    ColumnType.INTEGER,
    ColumnType.NUMBER,
    ColumnType.DECIMAL,
    ColumnType.BOOLEAN,
    ColumnType.DATE,
    ColumnType.TIMESTAMP,
}
_MOST_METADATA = 8
_SAMPLED, _CHARACTERS = 500, 1_000
"""Rows that tell the language, and what is looked at of each."""


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
    language: str = "english"
    """For keyword search, by what some rows say; read of the first proposal only."""


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
        for schema, name in tables:
            try:
                # A connection for each: one view that is broken ends a transaction.
                with database.connect() as connection:
                    proposals.append(_propose(database, connection, schema, name))
            except SourceError as error:
                if error.transient:
                    raise
                proposals.append(_unreadable(join_name(schema, name), error))
        proposals.sort(key=lambda p: (p.key is None or not p.text, -(p.rows or 0), p.table))
        if proposals and proposals[0].text:
            proposals[0] = replace(proposals[0], language=keyword_language(_sample(database, proposals[0])))
    finally:
        database.engine.dispose()
    return proposals


def _sample(database: Database, proposal: Proposal) -> list[str]:
    """The text of some rows; none where they cannot be read."""
    try:
        with database.connect() as connection:
            schema, name = split_name(proposal.table)
            columns: list[sa.ColumnClause[Any]] = [sa.column(each) for each in proposal.text]
            select = sa.select(*columns).select_from(sa.table(name, schema=schema)).limit(_SAMPLED)
            _, rows = database.answer(connection, select)
    except SourceError:
        return []
    return [" ".join(str(value) for value in row if value is not None)[:_CHARACTERS] for row in rows]


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
    text = _text(columns, key)
    return Proposal(
        table=relation.name,
        rows=database.approximate_rows(connection, schema, name),
        key=key,
        key_note=note,
        columns=tuple(columns),
        text=text,
        metadata=_metadata(columns, {key, flag, cursor}, text),
        cursor=cursor,
        where=where,
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


def _text(columns: list[Column], key: str | None) -> tuple[str, ...]:
    def rank(column: Column) -> tuple[int, int]:
        name = column.name.lower()
        place = next((index for index, word in enumerate(_TELLING) if word in name), len(_TELLING))
        return place, columns.index(column)

    prose = [
        column
        for column in columns
        if column.type is ColumnType.TEXT
        and column.name != key
        and not any(word in column.name.lower() for word in _NO_PROSE)
    ]
    return tuple(column.name for column in sorted(prose, key=rank))


def _metadata(columns: list[Column], taken: set[str | None], text: tuple[str, ...]) -> tuple[str, ...]:
    likely = [column.name for column in columns if column.type in _METADATA_TYPES and column.name not in taken]
    return (*text[:1], *likely)[:_MOST_METADATA]
