"""Which columns a table of rowvec's own can have beside those that rowvec keeps there itself."""

from __future__ import annotations

from collections.abc import Collection

from rowvec.errors import ConfigError
from rowvec.stores.base import TableSpec


def check_columns(spec: TableSpec, own: Collection[str], where: str, *, fold: bool = False) -> None:
    """
    Args:
        own: names of columns that the table has in any case.
        fold: the database takes names that differ in case only for the same one; `own` is in lower case.

    Raises:
        ConfigError: the key or a metadata column has such a name, or the key is a metadata column too.
    """

    def folded(name: str) -> str:
        return name.lower() if fold else name

    if folded(spec.key) in own:
        raise ConfigError(
            f"The key cannot be called {spec.key!r}: {where} has a column of its own under that name.",
            hint=f"Give it another name in source.query: select {spec.key} as other_name, and set source.key to that.",
        )
    for column in spec.metadata:
        if folded(column.name) == folded(spec.key):
            raise ConfigError(
                f"store.metadata names {column.name!r}, which is the key: {where} holds it in any case.",
                hint=f'Take "{column.name}" out of store.metadata.',
            )
        if folded(column.name) in own:
            raise ConfigError(
                f"store.metadata names {column.name!r}, but {where} has a column of its own under that name.",
                hint=f'Take "{column.name}" out of store.metadata, or give it another name in source.query:'
                f" select {column.name} as other_name.",
            )
