"""Bringing an existing vector table to what the pipeline needs now: columns that are missing, and columns of another
type. These are widened where that loses nothing, else made again and filled by the sync that follows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from rowvec.errors import StoreError
from rowvec.stores.base import TableSpec
from rowvec.stores.postgres.locks import brief_lock
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.schema import (
    KEY_TYPES,
    OWN_COLUMNS,
    SQL_TYPES,
    check_shape,
    fits,
    keeps_values,
    other_key,
)
from rowvec.types import ColumnType

Connection = psycopg.Connection[Any]


class Lacking(NamedTuple):
    """Names of columns that a table has not as it should have them."""

    empty: set[str]
    """They are made, and hold nothing at first."""
    widened: set[str]


def lacking(connection: Connection, names: Names, spec: TableSpec, storage: str, location: str) -> Lacking:
    """
    Raises:
        StoreError: it is another kind of table, or of another shape.
    """
    found = check_shape(connection, names, spec, storage, location)
    replaced = _replaced(found, spec)
    return Lacking(_missing(found, spec).keys() | replaced, _other_types(found, spec).keys() - replaced)


def adopt_table(connection: Connection, names: Names, spec: TableSpec, storage: str, location: str) -> bool:
    """Check an existing table against what the pipeline needs, add what is missing, and widen what is too narrow.

    What takes long has been done by then (`make_way`), or is done later (`index_adopted`): others wait for this.
    A column that is widened is the exception: the server writes the whole table again, once.

    Returns:
        Whether keys are of another type now, so that the keyword index no longer fits.

    Raises:
        StoreError: it is another kind of table, or of another shape, or a view holds on to a column.
    """
    found = check_shape(connection, names, spec, storage, location)
    changes: list[sql.Composable] = [
        sql.SQL("add column {} {}").format(sql.Identifier(name), sql.SQL(kind))
        for name, kind in _missing(found, spec).items()
    ]
    other = _other_types(found, spec)
    changes += _clauses(found, spec)
    kind = KEY_TYPES[spec.key_type]
    other_keys = not fits(found[spec.key], kind)
    if other_keys:
        changes.append(other_key(sql.Identifier(spec.key), spec.key_type))
    if not changes:
        return False
    brief_lock(connection, [names.sql])
    _drop_indexes(connection, names, other)
    try:
        connection.execute(sql.SQL("alter table {} {}").format(names.sql, sql.SQL(", ").join(changes)))
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.DependentObjectsStillExist) as error:
        columns = ", ".join(repr(name) for name in [*other, *([spec.key] if other_keys else [])])
        raise StoreError(
            f"{names.scope}: {columns} holds other values than before, and its type cannot change:"
            f" {error.diag.message_primary}.",
            hint="Drop the view, run `rowvec sync`, and create it again.",
        ) from error
    return other_keys


def _missing(found: Mapping[str, str], spec: TableSpec) -> dict[str, str]:
    wanted = {**OWN_COLUMNS, **{column.name: SQL_TYPES[column.type] for column in spec.metadata}}
    return {name: kind for name, kind in wanted.items() if name not in found}


def _other_types(found: Mapping[str, str], spec: TableSpec) -> dict[str, ColumnType]:
    """Metadata columns that are there with another type than they have now, and that type.

    Args:
        found: name and type of each column of the table.
    """
    there = {each.name: each.type for each in spec.metadata if each.name in found}
    return {name: kind for name, kind in there.items() if not fits(found[name], SQL_TYPES[kind])}


def _replaced(found: Mapping[str, str], spec: TableSpec) -> set[str]:
    """Columns that lose their values when their type changes."""
    return {name for name, kind in _other_types(found, spec).items() if not keeps_values(found[name], kind)}


def _clauses(found: Mapping[str, str], spec: TableSpec) -> list[sql.Composable]:
    """What ALTER TABLE has to do."""
    made: list[sql.Composable] = []
    for name, kind in _other_types(found, spec).items():
        parts = {"name": sql.Identifier(name), "type": sql.SQL(SQL_TYPES[kind])}
        if not keeps_values(found[name], kind):
            made += [sql.SQL("drop column {name}").format(**parts), sql.SQL("add column {name} {type}").format(**parts)]
            continue
        # By way of text, a float keeps the digits it is written with.
        by_text = kind in (ColumnType.TEXT, ColumnType.DECIMAL)
        value = sql.SQL("{name}::text::{type}" if by_text else "{name}::{type}").format(**parts)
        made.append(sql.SQL("alter column {name} type {type} using {value}").format(value=value, **parts))
    return made


def _drop_indexes(connection: Connection, names: Names, columns: Collection[str]) -> None:
    """Of columns whose type changes: each type has an index of its own kind, which is made when the table is free."""
    found = connection.execute(
        "select distinct i.indexrelid::regclass::text from pg_index i"
        " join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)"
        " where i.indrelid = to_regclass(%s) and a.attname = any(%s) and not i.indisprimary",
        [names.sql.as_string(connection), list(columns)],
    ).fetchall()
    for (index,) in found:
        connection.execute(sql.SQL("drop index {}").format(sql.SQL(index)))
