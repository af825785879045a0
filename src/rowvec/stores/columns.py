"""What the columns of a table of rowvec's own are called, beside those that rowvec keeps there itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from rowvec.errors import ConfigError
from rowvec.filters import And, Compare, Filter, Not, Or, Order, bind
from rowvec.stores.base import TableSpec
from rowvec.types import Column, ColumnType

_TEXTS = {
    ColumnType.INTEGER,
    ColumnType.NUMBER,
    ColumnType.DECIMAL,
    ColumnType.BOOLEAN,
    ColumnType.DATE,
    ColumnType.TIME,
    ColumnType.TIMESTAMP,
    ColumnType.INTERVAL,
    ColumnType.UUID,
    ColumnType.JSON,
    ColumnType.ARRAY,
}
_WIDER = {
    (ColumnType.INTEGER, ColumnType.NUMBER),
    (ColumnType.INTEGER, ColumnType.DECIMAL),
    (ColumnType.NUMBER, ColumnType.DECIMAL),
    (ColumnType.DATE, ColumnType.TIMESTAMP),
    (ColumnType.ARRAY, ColumnType.JSON),
}


def is_lossless(old: ColumnType, new: ColumnType) -> bool:
    """Every value of a column of the old type is one of the new type too."""
    return old is new or (old, new) in _WIDER or (new is ColumnType.TEXT and old in _TEXTS)


PREFIX = "source_"


def folded(name: str) -> str:
    """A name as SQLite compares it: it knows the case of ASCII letters only."""
    return name.encode().lower().decode()


def stored_spec(
    spec: TableSpec, own: Collection[str], location: str, *, fold: bool = False, fit: Callable[[str], str] = str
) -> TableSpec:
    """The same table with its columns called as they are in the database.

    A metadata column that has the name of one of rowvec's own is kept as `source_` and that name.

    Args:
        own: names of columns that the table has in any case.
        fold: the database takes names that differ in case only for the same one; `own` is in lower case.
        fit: makes a name one that the database does not cut.

    Raises:
        ConfigError: the key has such a name, it is a metadata column too, or two metadata columns are the same to the
            database.
    """
    same: Callable[[str], str] = folded if fold else str
    if same(spec.key) in own:
        raise ConfigError(
            f"The key cannot be called {spec.key!r}: {location} has a column of its own under that name.",
            hint=f"Give it another name in source.query: select {spec.key} as other_name, and set source.key to that.",
        )
    seen: dict[str, str] = {}
    columns = []
    for column in spec.metadata:
        if same(column.name) == same(spec.key):
            raise ConfigError(
                f"store.metadata names {column.name!r}, which is the key: {location} holds it in any case.",
                hint=f'Take "{column.name}" out of store.metadata.',
            )
        name = fit(PREFIX + column.name if same(column.name) in own else column.name)
        other = seen.setdefault(same(name), column.name)
        if other != column.name:
            raise ConfigError(
                f"store.metadata names {other!r} and {column.name!r}, which are one column to {location}.",
                hint=f'Take one of them out, or give it another name in source.query: select "{column.name}" as other.',
            )
        columns.append(replace(column, name=name))
    return replace(spec, key=fit(spec.key), metadata=tuple(columns))


def stored_filter(where: Filter, asked: TableSpec, stored: TableSpec) -> Filter:
    """A filter, bound to the columns as the user names them, on the columns as the database names them.

    Raises:
        FilterError: see `bind`.
    """
    names = {one.name: other.name for one, other in zip(asked.metadata, stored.metadata, strict=True)}
    return _renamed(bind(where, asked.metadata), names)


def stored_columns(columns: Sequence[Column], asked: TableSpec, stored: TableSpec) -> list[Column]:
    """Metadata columns, named by the user, as the database names and holds them."""
    found = {one.name: other for one, other in zip(asked.metadata, stored.metadata, strict=True)}
    return [found[column.name] for column in columns]


def stored_order(order: Order, asked: TableSpec, stored: TableSpec) -> Order:
    (column,) = stored_columns([order.column], asked, stored)
    return replace(order, column=column)


def _renamed(where: Filter, names: Mapping[str, str]) -> Filter:
    match where:
        case Compare():
            return replace(where, column=names[where.column])
        case Not():
            return Not(_renamed(where.part, names))
        case And() | Or():
            return type(where)(tuple(_renamed(part, names) for part in where.parts))
