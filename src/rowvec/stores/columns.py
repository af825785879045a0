"""Which columns a table of rowvec's own can have beside those that rowvec keeps there itself."""

from __future__ import annotations

from collections.abc import Callable, Collection

from rowvec.errors import ConfigError
from rowvec.stores.base import TableSpec
from rowvec.types import ColumnType

_TEXTS = {
    ColumnType.INTEGER,
    ColumnType.NUMBER,
    ColumnType.DECIMAL,
    ColumnType.BOOLEAN,
    ColumnType.DATE,
    ColumnType.TIME,
    ColumnType.TIMESTAMP,
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


def folded(name: str) -> str:
    """A name as SQLite compares it: it knows the case of ASCII letters only."""
    return name.encode().lower().decode()


def check_columns(spec: TableSpec, own: Collection[str], location: str, *, fold: bool = False) -> None:
    """
    Args:
        own: names of columns that the table has in any case.
        fold: the database takes names that differ in case only for the same one; `own` is in lower case.

    Raises:
        ConfigError: the key or a metadata column has such a name, the key is a metadata column too, or two metadata
            columns are the same to the database.
    """
    same: Callable[[str], str] = folded if fold else str
    if same(spec.key) in own:
        raise ConfigError(
            f"The key cannot be called {spec.key!r}: {location} has a column of its own under that name.",
            hint=f"Give it another name in source.query: select {spec.key} as other_name, and set source.key to that.",
        )
    seen: dict[str, str] = {}
    for column in spec.metadata:
        if same(column.name) == same(spec.key):
            raise ConfigError(
                f"store.metadata names {column.name!r}, which is the key: {location} holds it in any case.",
                hint=f'Take "{column.name}" out of store.metadata.',
            )
        if same(column.name) in own:
            raise ConfigError(
                f"store.metadata names {column.name!r}, but {location} has a column of its own under that name.",
                hint=f'Take "{column.name}" out of store.metadata, or give it another name in source.query:'
                f" select {column.name} as other_name.",
            )
        other = seen.setdefault(same(column.name), column.name)
        if other != column.name:
            raise ConfigError(
                f"store.metadata names {other!r} and {column.name!r}, which are one column to {location}.",
                hint=f'Take one of them out, or give it another name in source.query: select "{column.name}" as other.',
            )
