"""An index that has the metadata of all rows side by side. Facets read it alone: a table is mostly vectors."""

from __future__ import annotations

from rowvec.stores.base import TableSpec
from rowvec.stores.facet_sql import COVERED
from rowvec.stores.libsql.database import Database, Statement
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.values import quoted

ROWS = 10_000
"""With fewer, the table is read in a few milliseconds."""
SHORT = 100
"""Characters that the texts of a column have on average. Longer ones are for reading, not for counting."""
_SAMPLE = 1_000


def wanted(database: Database, tables: Tables, spec: TableSpec) -> list[Statement]:
    """What makes it where the table is large; nothing where it is there."""
    able = [column for column in spec.metadata if column.type in COVERED]
    if not able or database.query(f"select count(*) < {ROWS} from (select 1 from {tables.vectors} limit {ROWS})")[0][0]:
        return []
    name = tables.named("facets")
    there = {each for (each,) in database.query("select name from pragma_index_info(?)", (tables.plain("facets"),))}
    sample = f"select {{}} from (select * from {tables.vectors} limit {_SAMPLE})"
    widths = database.query(sample.format(", ".join(f"avg(length({quoted(each.name)}))" for each in able)))[0]
    chosen = [column.name for column, width in zip(able, widths, strict=True) if (width or 0) <= SHORT]
    if not chosen or there.issuperset(chosen):
        return []
    columns = ", ".join(map(quoted, chosen))
    return [
        Statement(f"drop index if exists {name}"),
        Statement(f"create index {name} on {tables.vectors} ({columns}) where embedding is not null"),
    ]
