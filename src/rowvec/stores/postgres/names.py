"""What the vector table, its columns and its indexes are called."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql
from psycopg.sql import Composable

from rowvec.support.identifiers import shortened

LEDGER_COLUMNS = ("embedding", "text_hash", "row_hash", "truncated")


@dataclass(frozen=True, slots=True)
class Names:
    """The vector table and its columns, split and quoted once.

    Attributes:
        column: of the vectors, where they stand in a table of the user's own; what rowvec keeps beside them is then
            named after it. A generation is a column there, and a table elsewhere.
    """

    schema: str
    table: str
    column: str | None = None

    @classmethod
    def parse(cls, name: str, column: str | None = None) -> Names:
        schema, dot, table = name.rpartition(".")
        return cls(schema if dot else "public", table, column)

    @property
    def sql(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.table)

    @property
    def scope(self) -> str:
        return f"{self.schema}.{self.table}" + (f".{self.column}" if self.column else "")

    @property
    def family(self) -> str:
        """What the names of indexes and side tables begin with."""
        return f"{self.table}__{self.column}" if self.column else self.table

    def own(self, name: str) -> str:
        """The column that holds what elsewhere stands in the column `name` of a table of rowvec's own."""
        if self.column is None:
            return name
        return self.column if name == "embedding" else f"{self.column}_{name}"

    @property
    def parts(self) -> dict[str, Composable]:
        """For `format`: table, embedding, text_hash, row_hash, truncated, and `known`, true for rows of the ledger."""
        own = {name: sql.Identifier(self.own(name)) for name in LEDGER_COLUMNS}
        known = "true" if self.column is None else "({embedding} is not null or {text_hash} is not null)"
        return {"table": self.sql, **own, "known": sql.SQL(known).format(**own)}

    @property
    def building(self) -> Names:
        """The generation that is being filled; its name was given before its state was called so."""
        return self._sibling("next")

    @property
    def previous(self) -> Names:
        """The generation that was live before."""
        return self._sibling("previous")

    @property
    def between(self) -> Names:
        """What the live generation is called while it and another one are swapped."""
        return self._sibling("between")

    def _sibling(self, state: str) -> Names:
        if self.column:
            return Names(self.schema, self.table, f"{self.column}__{state}")
        return Names(self.schema, f"{self.table}__{state}")


def text_index(names: Names) -> str:
    return shortened(f"{names.family}_text_hash")
