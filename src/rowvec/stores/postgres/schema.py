"""The vector table and rowvec's own tables: made where missing, checked where they exist."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import psycopg
from psycopg import sql

from rowvec.errors import StoreError
from rowvec.stores.base import TableSpec
from rowvec.stores.columns import is_lossless, stored_spec
from rowvec.stores.postgres.connect import SHORT_VECTORS, outside, use_vectors, version_tuple
from rowvec.stores.postgres.locks import brief_lock
from rowvec.stores.postgres.names import Names, text_index
from rowvec.support.identifiers import shortened
from rowvec.types import Column, ColumnType

SQL_TYPES = {
    ColumnType.INTEGER: "bigint",
    ColumnType.NUMBER: "double precision",
    ColumnType.DECIMAL: "numeric",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.TEXT: "text",
    ColumnType.DATE: "date",
    ColumnType.TIME: "time without time zone",
    ColumnType.TIMESTAMP: "timestamp with time zone",
    ColumnType.INTERVAL: "interval",
    ColumnType.UUID: "uuid",
    ColumnType.JSON: "jsonb",
    ColumnType.ARRAY: "jsonb",
    ColumnType.BYTES: "bytea",
}
KEY_TYPES = {ColumnType.INTEGER: "bigint", ColumnType.TEXT: "text", ColumnType.UUID: "uuid"}
EQUIVALENT = {
    "bigint": {"bigint", "integer", "smallint"},
    "text": {"text", "character varying", "character"},
    "double precision": {"double precision", "real", "numeric"},
    "timestamp with time zone": {"timestamp with time zone", "timestamp without time zone"},
    "jsonb": {"jsonb", "json"},
}
METADATA_INDEXES = {
    ColumnType.INTEGER: "btree ({})",
    ColumnType.NUMBER: "btree ({})",
    ColumnType.DECIMAL: "btree ({})",
    ColumnType.DATE: "btree ({})",
    ColumnType.TIMESTAMP: "btree ({})",
    ColumnType.INTERVAL: "btree ({})",
    ColumnType.UUID: "hash ({})",
    ColumnType.TEXT: "hash ({})",
    ColumnType.ARRAY: "gin ({} jsonb_path_ops)",
}
FOLDED_INDEX = 'hash (lower({} collate "C"))'
OWN_COLUMNS = {
    "text_hash": "bytea",
    "row_hash": "bytea",
    "truncated": "boolean not null default false",
    "created_at": "timestamp with time zone not null default now()",
    "updated_at": "timestamp with time zone not null default now()",
}
SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")

BOOKKEEPING = """
create table if not exists rowvec.generations (
    scope text not null,
    state text not null check (state in ('live', 'building', 'previous')),
    pipeline text not null,
    fingerprint jsonb not null,
    recipe text not null,
    settings text not null default '',
    undone boolean not null default false,
    created_at timestamp with time zone not null default now(),
    changed_at timestamp with time zone not null default now(),
    primary key (scope, state)
);
create table if not exists rowvec.tunings (
    scope text not null,
    definition text not null,
    effort integer not null,
    recall double precision not null,
    measured_at timestamp with time zone not null default now(),
    primary key (scope, definition)
);
create table if not exists rowvec.runs (
    id bigint generated always as identity primary key,
    scope text not null,
    pipeline text not null,
    started_at timestamp with time zone not null default now(),
    ended_at timestamp with time zone,
    outcome text not null default 'running',
    report jsonb not null default '{}',
    error text
);
create index if not exists runs_scope on rowvec.runs (scope, id desc);
create table if not exists rowvec.totals (
    scope text not null,
    outcome text not null,
    runs bigint not null,
    seconds double precision not null,
    texts bigint not null,
    tokens bigint not null,
    cost double precision not null,
    primary key (scope, outcome)
);
create table if not exists rowvec.failures (
    scope text not null,
    key text not null,
    error text not null,
    attempts integer not null,
    failed_at timestamp with time zone not null,
    next_try timestamp with time zone not null,
    text_hash bytea not null,
    primary key (scope, key)
);
create table if not exists rowvec.offsets (
    scope text not null,
    stream text not null,
    next text not null,
    updated_at timestamp with time zone not null default now(),
    primary key (scope, stream)
);
create table if not exists rowvec.positions (
    scope text not null,
    key text not null,
    position text not null,
    primary key (scope, key)
);
"""


def stored(spec: TableSpec, names: Names) -> TableSpec:
    """The same with the columns as the table calls them; those of a table of the user's own stay as they are.

    Raises:
        ConfigError: see `stored_spec`.
    """
    if names.column is not None:
        return spec
    own = {"embedding", "rowvec_expected", *OWN_COLUMNS, *SYSTEM_COLUMNS}
    return stored_spec(spec, own, names.scope, fit=shortened)


def table_exists(connection: psycopg.Connection[Any], names: Names) -> bool:
    return connection.execute("select to_regclass(%s)", [names.sql.as_string(connection)]).fetchone() != (None,)


def ensure_extension(connection: psycopg.Connection[Any], location: str, *, create: bool) -> str:
    """The version of pgvector, installed in the database first if it is available and `create` says so.

    Raises:
        StoreError: the server lacks pgvector, or the role may not install it; the database knows no characters.
    """
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        raise StoreError(
            f"{location}: the database is in SQL_ASCII, where PostgreSQL does not know which characters its bytes are:"
            " words could not be told apart.",
            hint="Make one in UTF8: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0; or leave store.url out for"
            " rowvec's own.",
        )
    version = use_vectors(connection)
    if version is not None:
        return version
    available = connection.execute("select 1 from pg_available_extensions where name = 'vector'").fetchone()
    if available is None:
        raise StoreError(
            f"{location}: this server has no pgvector, the extension `vector` is not among those that it can install.",
            hint="Install it there (Debian: postgresql-<version>-pgvector), or leave store.url and store.column out for"
            " rowvec's own server.",
        )
    if create:
        try:
            # A search path may name no schema that there is.
            found = connection.execute("select coalesce(current_schema(), 'public')").fetchone()
            assert found is not None
            made = sql.SQL("create extension if not exists vector with schema {}").format(sql.Identifier(found[0]))
            connection.execute(made)
        except psycopg.errors.InsufficientPrivilege:
            create = False
        except psycopg.errors.UniqueViolation:
            pass  # Another process created it at the same moment.
    if not create:
        raise StoreError(
            f"{location} has pgvector, but it is not installed in this database, and this role may not do it.",
            hint="Let a superuser run once: CREATE EXTENSION vector;",
        )
    version = use_vectors(connection)
    assert version is not None
    return version


def check_storage(version: str, storage: str, location: str) -> None:
    """Raises StoreError where pgvector has no vectors of that kind."""
    if storage == "halfvec" and version_tuple(version) < SHORT_VECTORS:
        raise StoreError(
            f'{location}: store.storage = "halfvec" takes pgvector 0.7 or later; this server has {version}.',
            hint='Set store.storage = "vector"; or install a newer pgvector there, then run in this database: ALTER'
            " EXTENSION vector UPDATE;",
        )


def create_table(connection: psycopg.Connection[Any], names: Names, spec: TableSpec, storage: str) -> None:
    key_type = KEY_TYPES[spec.key_type] + (' collate "C"' if spec.key_type is ColumnType.TEXT else "")
    columns = [
        sql.SQL("{} {} primary key").format(sql.Identifier(spec.key), sql.SQL(key_type)),
        sql.SQL("embedding {}").format(sql.SQL(f"{storage}({spec.dimension})")),
        *(sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in OWN_COLUMNS.items()),
        *(sql.SQL("{} {}").format(sql.Identifier(c.name), sql.SQL(SQL_TYPES[c.type])) for c in spec.metadata),
    ]
    if not connection.execute("select 1 from pg_namespace where nspname = %s", [names.schema]).fetchone():
        connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(names.schema)))
    connection.execute(sql.SQL("create table {} ({})").format(names.sql, sql.SQL(", ").join(columns)))
    # Reading the vectors is what makes ANALYZE slow, and no estimate comes from them.
    connection.execute(sql.SQL("alter table {table} alter column {embedding} set statistics 0").format(**names.parts))
    connection.execute(
        sql.SQL("create index {} on {} (text_hash)").format(sql.Identifier(text_index(names)), names.sql)
    )
    index_metadata(connection, names, spec.metadata)


def statistics_are_old(connection: psycopg.Connection[Any], names: Names) -> bool:
    """A tenth of the table has changed since it was analysed, or it never was."""
    changed = connection.execute(
        "select n_mod_since_analyze > 0.1 * n_live_tup or not exists (select from pg_stats"
        " where (schemaname, tablename) = (%s, %s)) from pg_stat_all_tables where relid = %s::regclass",
        [names.schema, names.table, names.sql.as_string(connection)],
    ).fetchone()
    return changed == (True,)


def index_metadata(
    connection: psycopg.Connection[Any], names: Names, columns: Iterable[Column], *, beside: bool = False
) -> None:
    """An index for each metadata column, so that a filter that few rows pass does not read them all.

    Texts get a hash index: equality is what they are filtered by, and a btree refuses long ones.

    Args:
        beside: while others write the table; not for a transaction.
    """
    for column in columns:
        how = FOLDED_INDEX if column.ignores_case else METADATA_INDEXES.get(column.type)
        if how is not None:
            kind = sql.SQL(how).format(sql.Identifier(column.name))
            if beside:
                outside(connection, sql.SQL("create index concurrently on {} using {}").format(names.sql, kind))
            else:
                connection.execute(sql.SQL("create index on {} using {}").format(names.sql, kind))


def is_empty(connection: psycopg.Connection[Any], names: Names) -> bool:
    if not table_exists(connection, names):
        return True
    statement = sql.SQL("select 1 from {table} where {known} limit 1").format(**names.parts)
    return connection.execute(statement).fetchone() is None


def forget_row_hashes(connection: psycopg.Connection[Any], names: Names) -> None:
    """Have the next sync write what stands beside every vector again; nothing is embedded for that."""
    statement = sql.SQL("update {table} set {row_hash} = null where {row_hash} is not null")
    connection.execute(statement.format(**names.parts))


def drop_table(connection: psycopg.Connection[Any], names: Names) -> None:
    brief_lock(connection, [names.sql])
    connection.execute(sql.SQL("drop table if exists {}").format(names.sql))


def rename_table(connection: psycopg.Connection[Any], old: Names, new: Names) -> None:
    """Give a vector table another name; readers wait for the end of the transaction only."""
    connection.execute(sql.SQL("alter table {} rename to {}").format(old.sql, sql.Identifier(new.table)))


def index_adopted(connection: psycopg.Connection[Any], names: Names, spec: TableSpec, added: Collection[str]) -> None:
    """Make the indexes of columns that were added, beside those who write the table. Not for a transaction."""
    if "text_hash" in added:
        statement = sql.SQL("create index concurrently if not exists {} on {} (text_hash)")
        outside(connection, statement.format(sql.Identifier(text_index(names)), names.sql))
    index_metadata(connection, names, [column for column in spec.metadata if column.name in added], beside=True)


def table_columns(connection: psycopg.Connection[Any], names: Names) -> dict[str, str]:
    """Name and type of each column, types as `format_type` gives them."""
    return dict(
        connection.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            [names.sql.as_string(connection)],
        ).fetchall()
    )


def check_shape(
    connection: psycopg.Connection[Any], names: Names, spec: TableSpec, storage: str, location: str
) -> dict[str, str]:
    """The columns of an existing table, after a check that the pipeline can keep its vectors there.

    Raises:
        StoreError: it is another kind of table, or of another shape.
    """
    found = table_columns(connection, names)
    vector_type = found.get("embedding", "").rpartition(".")[2]
    if spec.key not in found or not vector_type.startswith(("vector", "halfvec")):
        raise StoreError(
            f"{location} is not a table of vectors: it has no column {spec.key!r} beside a vector"
            f" column 'embedding' (it has {', '.join(sorted(found)[:8])}).",
            hint="Name another table in store.table; rowvec creates it.",
        )
    if not _may_change_key(connection, names, found[spec.key], spec.key_type):
        check_key(connection, names, spec, location, found)
    kind, _, dimension = vector_type.rstrip(")").partition("(")
    if kind != storage:
        raise StoreError(
            f"{names.scope} holds vectors as {kind}, but store.storage is {storage}.",
            hint=f'Set store.storage = "{kind}", or name another table in store.table.',
        )
    if dimension and int(dimension) != spec.dimension:
        raise StoreError(
            f"{names.scope} holds vectors of {dimension} dimensions, but the model gives {spec.dimension}.",
            hint="Use the model that filled it, or name another table in store.table.",
        )
    return found


def _may_change_key(connection: psycopg.Connection[Any], names: Names, found: str, wanted: ColumnType) -> bool:
    """Keys are of another type, and can become of this one: integers become text, an empty table has none to lose."""
    if fits(found, KEY_TYPES[wanted]):
        return False
    empty = connection.execute(sql.SQL("select from {} limit 1").format(names.sql)).fetchone() is None
    return empty or keeps_values(found, wanted)


def check_key(
    connection: psycopg.Connection[Any], names: Names, spec: TableSpec, location: str, found: Mapping[str, str]
) -> None:
    """Raises StoreError unless the key column is of the source's type and unique."""
    if not fits(found[spec.key], KEY_TYPES[spec.key_type]):
        raise StoreError(
            f"The key {spec.key!r} of {names.scope} is {found[spec.key]}, but the source's key is {spec.key_type}.",
            hint="Name another table in store.table, or correct source.key.",
        )
    if not has_unique_key(connection, names, spec.key):
        raise StoreError(
            f"The key {spec.key!r} of {location} has no unique index.",
            hint=f"Run once: {made_unique(connection, names, spec.key)} Or correct source.key.",
        )


def made_unique(connection: psycopg.Connection[Any], names: Names, key: str) -> str:
    """The statement for a column of unique values, in a table that may have a primary key."""
    statement = sql.SQL("ALTER TABLE {} ADD UNIQUE ({});").format(names.sql, sql.Identifier(key))
    return statement.as_string(connection)


def has_unique_key(connection: psycopg.Connection[Any], names: Names, key: str) -> bool:
    found = connection.execute(
        "select 1 from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]"
        " where i.indrelid = to_regclass(%s) and i.indisunique and i.indnkeyatts = 1 and i.indpred is null"
        " and a.attname = %s",
        [names.sql.as_string(connection), key],
    )
    return found.fetchone() is not None


def other_key(column: sql.Identifier, key_type: ColumnType) -> sql.Composed:
    """The clause of ALTER TABLE that gives keys another type."""
    kind = KEY_TYPES[key_type]
    collation = ' collate "C"' if key_type is ColumnType.TEXT else ""
    return sql.SQL("alter column {key} type {kind}{collation} using {key}::text::{kind}").format(
        key=column, kind=sql.SQL(kind), collation=sql.SQL(collation)
    )


def check_may_create(connection: psycopg.Connection[Any], names: Names, location: str) -> None:
    """Raises StoreError when the role may not create the table."""
    row = connection.execute(
        "select coalesce((select has_schema_privilege(oid, 'create') from pg_namespace where nspname = %s),"
        " has_database_privilege(current_database(), 'create'))",
        [names.schema],
    ).fetchone()
    if row != (True,):
        raise StoreError(
            f"The role may not create {location}.",
            hint=f"Grant it: GRANT CREATE, USAGE ON SCHEMA {names.schema} TO <role>;",
        )


def fits(found: str, wanted: str) -> bool:
    return found.partition("(")[0] in EQUIVALENT.get(wanted, {wanted})


def keeps_values(found: str, wanted: ColumnType) -> bool:
    """A column of the type `found` can become one of the other type with all its values."""
    was = next((kind for kind, name in SQL_TYPES.items() if fits(found, name)), None)
    return was is not None and is_lossless(was, wanted)
