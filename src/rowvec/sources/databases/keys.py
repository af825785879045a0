"""Keys that a database gives: of the type they should be, each on one row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from rowvec.errors import SourceError
from rowvec.sources.databases.base import ENCODING_HINT, Database, NotUtf8, Relation, unique_keys
from rowvec.types import ColumnType, Key, is_bigint

_CLASSES: dict[ColumnType, type] = {ColumnType.INTEGER: int, ColumnType.TEXT: str, ColumnType.UUID: UUID}


def type_of_keys(database: Database, relation: Relation, column: str, declared: ColumnType) -> ColumnType:
    """
    Raises:
        SourceError: a key is not of such a type.
    """
    kind = database.key_type(declared)
    if kind not in _CLASSES:
        raise SourceError(
            f"source.key: {column!r} of {relation.name} is of type {kind}; a key is integer, text or uuid.",
            hint="Convert it in a query, such as SELECT CAST(… AS text) AS key, …",
        )
    return kind


@dataclass(frozen=True, slots=True)
class Keys:
    """Looks at the keys of one relation, and says what is wrong with them."""

    database: Database
    relation: Relation
    column: str
    kind: ColumnType

    def typed(self, keys: list[Any]) -> list[Any]:
        """The same keys as this source's key type, in their order."""
        wanted = _CLASSES[self.kind]
        if set(map(type, keys)) <= {wanted}:
            return keys
        if None in keys:
            raise self.null()
        if wanted is UUID and all(isinstance(key, str) for key in keys):
            return [UUID(key) for key in keys]
        odd = next(key for key in keys if type(key) is not wanted)
        if isinstance(odd, NotUtf8):
            raise SourceError(f"{self.relation.name}: the key {str(odd)!r} is not UTF-8.", hint=ENCODING_HINT)
        raise SourceError(
            f"{self.relation.name}: the key {odd!r} is of type {type(odd).__name__}, not {self.kind}.",
            hint="Convert it in a query, or correct the row.",
        )

    def checked(self, keys: list[Any]) -> list[Any]:
        keys = self.typed(keys)
        if len(set(keys)) < len(keys):
            raise self.duplicate(next(key for key, times in Counter(keys).items() if times > 1))
        if keys and self.kind is ColumnType.INTEGER and not (is_bigint(min(keys)) and is_bigint(max(keys))):
            odd = next(key for key in keys if not is_bigint(key))
            raise SourceError(
                f"{self.relation.name}: the key {odd} has more than 64 bits.",
                hint=f"Read it as text in a query: SELECT CAST({self.column} AS char(20)) AS {self.column}, …",
            )
        if self.kind is ColumnType.TEXT and "\0" in "".join(keys):
            odd = next(key for key in keys if "\0" in key)
            raise SourceError(
                f"{self.relation.name}: the key {odd!r} holds a NUL, which no store keeps.",
                hint="Leave the row out with source.where, or correct it.",
            )
        return keys

    def duplicate(self, key: Key) -> SourceError:
        relation = self.relation
        hint = "Name a column that is unique, or use a query with one row for each key (GROUP BY, DISTINCT)."
        if relation.table is not None:
            with self.database.connect() as connection:
                primary = unique_keys(connection, relation.table, relation.schema)[0]
            if len(primary) > 1:
                parts = " || '-' || ".join(primary)
                hint = (
                    f"Its primary key is ({', '.join(primary)}): make one key of it in a query, such as {parts} AS key."
                )
        return SourceError(f"{relation.name} has the key {self.column} = {key!r} on more than one row.", hint=hint)

    def null(self) -> SourceError:
        return SourceError(
            f"{self.relation.name} has a row whose key {self.column!r} is null.",
            hint=f"Leave such rows out with source.where, or name another key: {self.column} is not null",
        )
