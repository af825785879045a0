"""Names of tables as people write them, and SQL of their own."""

from __future__ import annotations

import re

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rowvec.errors import ConfigError, SourceError
from rowvec.sources.databases.base import Database, Relation
from rowvec.support.redaction import redact
from rowvec.support.suggestions import suggestion

_PART = re.compile(r'"((?:[^"]|"")+)"|`((?:[^`]|``)+)`|\[([^\]]+)\]|([^."`\[\]]+)')


def relation_of(connection: Connection, database: Database, table: str | None, query: str | None) -> Relation:
    """What a source reads: one of the two, a table's name as `split_name` takes it or a SELECT.

    Raises:
        ConfigError: not the name of a table.
        SourceError: no such table.
    """
    if query is not None:
        # On a line of its own, the closing bracket is safe from a comment at the query's end.
        body = query.strip().rstrip(";")
        return Relation("source.query", verbatim(f"({body}\n) AS rows_of_query"))
    assert table is not None
    schema, name = split_name(table)
    if not sa.inspect(connection).has_table(name, schema):
        tables = [join_name(*found) for found in database.tables(connection)]
        same_name = [found for found in tables if split_name(found)[1] == name]
        near = f"Did you mean {same_name[0]!r}?" if same_name else suggestion(table, tables)
        raise SourceError(
            f"{database.location} has no table {redact(table)!r}.",
            hint=near if tables else "This user sees no table there: is source.url that of another database?",
        )
    return Relation(table, sa.table(name, schema=schema), name, schema)


def split_name(table: str) -> tuple[str | None, str]:
    """Schema, if there is one, and name of `table` or `schema.table`; each part may stand in quotes.

    Raises:
        ConfigError: not such a name.
    """
    parts: list[str] = []
    rest = table.strip()
    while match := _PART.match(rest):
        double, backtick, bracketed, plain = match.groups()
        quoted = double.replace('""', '"') if double else backtick.replace("``", "`") if backtick else bracketed
        parts.append(quoted or plain.strip())
        rest = rest[match.end() :]
        if not rest.startswith("."):
            break
        rest = rest[1:]
    if rest or not 1 <= len(parts) <= 2 or table.strip().endswith("."):
        raise ConfigError(
            f"source.table: {redact(table)!r} is not the name of a table.",
            hint='Write table or schema.table; a part with a dot in it goes in double quotes: "my.schema".table.',
        )
    return (parts[0] if len(parts) == 2 else None), parts[-1]


def join_name(schema: str | None, name: str) -> str:
    """What `split_name` takes apart."""
    quoted = [
        '"' + part.replace('"', '""') + '"' if re.search(r'[."`\[\]]', part) else part
        for part in (schema, name)
        if part
    ]
    return ".".join(quoted)


def verbatim(sql: str) -> sa.TextClause:
    """SQL of the user's own: a colon in it is not a parameter."""
    return sa.text(sql.replace(":", r"\:"))
