"""What the tables of a database offer for a pipeline. Few rows are read."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rowvec.errors import RowvecError, SourceError
from rowvec.sources.databases import Database, Relation, open_database, unique_keys
from rowvec.sources.databases.relations import join_name
from rowvec.sources.propose.proposal import (
    KEY_TYPES,
    SAMPLED,
    Proposal,
    beginnings,
    cursor_of,
    flag_of,
    judge_of,
    metadata_of,
    said_by,
    text_of,
)
from rowvec.types import Column, ColumnType
from rowvec.words import keyword_language


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
    cursor = cursor_of(columns)
    flag, deleted = flag_of(columns)
    where = None
    if flag is not None and flag.type is ColumnType.BOOLEAN:
        # None of the names that mark rows is a word of SQL.
        plain = flag.name.islower() and flag.name.isascii()
        shown = flag.name if plain else database.engine.dialect.identifier_preparer.quote(flag.name)
        where = f"not {shown}" if deleted else shown
    values = _sample(database, connection, relation)
    judge = judge_of(_declared(connection, schema, name), values)
    text = text_of(columns, {key, cursor}, judge)
    whole = said_by(values, text)
    said = beginnings(whole)
    return Proposal(
        table=relation.name,
        rows=database.approximate_rows(connection, schema, name),
        key=key,
        key_note=note,
        columns=tuple(columns),
        text=text,
        metadata=metadata_of(columns, {key, flag.name if flag else None, cursor}, text, judge),
        cursor=cursor,
        where=where,
        language=keyword_language(said),
        texts=tuple(said),
        lengths=tuple(map(len, whole)),
    )


def _unreadable(table: str, error: SourceError) -> Proposal:
    return Proposal(table, None, None, error.message, (), (), (), None, None)


def _key(uniques: list[list[str]], columns: list[Column]) -> tuple[str | None, str]:
    types = {column.name: column.type for column in columns}
    alone = [names[0] for names in uniques if len(names) == 1 and types.get(names[0]) in KEY_TYPES]
    primary = uniques[0]
    if primary in [[name] for name in alone]:
        return primary[0], "primary key"
    if alone:
        return alone[0], "unique"
    if len(primary) > 1:
        return None, f"the primary key has {len(primary)} columns ({', '.join(primary)}): make one of them in a query"
    named = next((column.name for column in columns if column.name.lower() == "id" and column.type in KEY_TYPES), None)
    if named is not None:
        return named, "by its name: nothing in the database says that it is unique"
    return None, "no primary key and nothing unique that could be one"


def _sample(database: Database, connection: Connection, relation: Relation) -> dict[str, list[Any]]:
    """Values of the first rows, by column; nothing where they cannot be read."""
    statement = sa.select(sa.text("*")).select_from(relation.clause).limit(SAMPLED)
    try:
        description, rows = database.answer(connection, statement)
    except (RowvecError, sa.exc.SQLAlchemyError, ValueError):
        connection.rollback()
        return {}
    return {column[0]: [row[place] for row in rows] for place, column in enumerate(description)}


def _declared(connection: Connection, schema: str | None, name: str) -> dict[str, str]:
    """The database's own name of each column's type; "" where SQLAlchemy does not know it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        found = sa.inspect(connection).get_columns(name, schema=schema)
    return {column["name"]: type(column["type"]).__name__.upper() for column in found}
