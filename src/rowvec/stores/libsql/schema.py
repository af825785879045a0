"""The tables of one pipeline in a libSQL database, and the check that those which exist are what they should be.

The vector table has the key, the hashes and the metadata before the embedding, which comes last: a vector of more than
about 900 dimensions is kept on overflow pages, and whatever stands behind it could only be read through them.

`rowid` identifies a row to the keyword index. With integer keys it is the key; else it is a column of its own,
because an implicit rowid may change when the file is vacuumed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rowvec.errors import StoreError
from rowvec.stores.base import Ledger, TableSpec
from rowvec.stores.libsql.database import Database, Statement, Values
from rowvec.stores.libsql.values import DECLARED, quoted
from rowvec.types import Column, ColumnType, Fingerprint

HASHES = ("text_hash", "row_hash")
OWN = (*HASHES, "truncated", "vector_hash", "created_at", "updated_at", "embedding")
_RESERVED = {*OWN, "rowid", "oid", "_rowid_", "rowvec_id"}
_TOKENIZERS = {"english": "porter unicode61 remove_diacritics 2", "simple": "unicode61 remove_diacritics 2"}

BOOKKEEPING = (
    """create table if not exists rowvec_tables (
        target text primary key, pipeline text not null, "key" text not null, key_type text not null,
        dimension integer not null, metric text not null, metadata text not null, language text,
        fingerprint text, recipe text not null, vector_index text
    )""",
    """create table if not exists rowvec_runs (
        id integer primary key, token text not null unique, target text not null, pipeline text not null, lease text,
        started_at text not null, ended_at text, outcome text not null, report text not null, error text
    )""",
    """create table if not exists rowvec_locks (
        target text primary key, token text not null, place text not null, pid integer not null,
        holder text not null, since text not null, beat real not null
    )""",
)


@dataclass(frozen=True, slots=True)
class Tables:
    """Names, quoted and ready for SQL, of what belongs to one vector table."""

    target: str

    @property
    def vectors(self) -> str:
        return quoted(self.target)

    @property
    def keywords(self) -> str:
        return quoted(f"rowvec_keywords_{self.target}")

    @property
    def failures(self) -> str:
        return quoted(f"rowvec_failures_{self.target}")

    def named(self, what: str) -> str:
        """An index or trigger of this table, or a table beside it."""
        return quoted(f"rowvec_{what}_{self.target}")


def creation(tables: Tables, spec: TableSpec) -> list[Statement]:
    """Every table, index and trigger of a pipeline, each made only where it is missing."""
    integer = spec.key_type is ColumnType.INTEGER
    key = quoted(spec.key)
    key_column = f"{key} integer primary key" if integer else f"rowvec_id integer primary key, {key} text not null unique"
    metadata = "".join(f"{quoted(c.name)} {DECLARED.get(c.type, 'TEXT')}, " for c in spec.metadata)
    made = [
        *BOOKKEEPING,
        f"""create table if not exists {tables.vectors} (
            {key_column}, text_hash blob not null, row_hash blob not null, truncated integer not null,
            vector_hash integer not null, created_at text not null, updated_at text not null,
            {metadata}embedding f32_blob({spec.dimension})
        )""",
        f"create index if not exists {tables.named('texts')} on {tables.vectors} (text_hash)",
        f"""create table if not exists {tables.failures} (
            "key" {"integer" if integer else "text"} not null primary key, error text not null, attempts integer not null,
            failed_at text not null, next_try text not null, text_hash blob not null
        )""",
    ]
    if spec.language is not None:
        # Without content: the words alone are kept, and a row can still be deleted or replaced.
        made += [
            f"""create virtual table if not exists {tables.keywords} using fts5(
                text, content='', contentless_delete=1, tokenize='{tokenizer(spec.language)}'
            )""",
            f"""create trigger if not exists {tables.named("forget")} after delete on {tables.vectors}
                begin delete from {tables.keywords} where rowid = old.rowid; end""",
        ]
    return [Statement(sql) for sql in made]


def tokenizer(language: str) -> str:
    """FTS5 stems English only; diacritics carry meaning in most other alphabets and stay."""
    return _TOKENIZERS.get(language, "unicode61 remove_diacritics 0")


def registration(tables: Tables, spec: TableSpec, metric: str) -> Statement:
    columns = json.dumps([[column.name, str(column.type)] for column in spec.metadata])
    fingerprint = json.dumps(spec.fingerprint.as_dict()) if spec.fingerprint else None
    return Statement(
        """insert into rowvec_tables
               (target, pipeline, "key", key_type, dimension, metric, metadata, language, fingerprint, recipe)
           values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
           on conflict (target) do update set pipeline = excluded.pipeline, metadata = excluded.metadata,
               language = excluded.language, fingerprint = excluded.fingerprint, recipe = excluded.recipe""",
        (
            tables.target,
            spec.pipeline,
            spec.key,
            str(spec.key_type),
            spec.dimension,
            metric,
            columns,
            spec.language,
            fingerprint,
            spec.recipe,
        ),
    )


def ledger(database: Database, tables: Tables) -> Ledger:
    if not database.exists() or not _columns(database, tables.target):
        return Ledger(exists=False)
    rows = int(database.query(f"select count(*) from {tables.vectors}")[0][0])
    known = recorded(database, tables.target, "fingerprint, recipe")
    if known is None:
        return Ledger(True, rows)
    fingerprint = Fingerprint(**json.loads(known[0])) if known[0] else None
    return Ledger(True, rows, fingerprint, known[1])


def recorded(database: Database, target: str, columns: str) -> Values | None:
    """What is written down about a table; None where nothing is."""
    if not _columns(database, "rowvec_tables"):
        return None
    found = database.query(f"select {columns} from rowvec_tables where target = ?", (target,))
    return found[0] if found else None


def _columns(database: Database, table: str) -> dict[str, str]:
    """Declared types by column name; empty where there is no such table."""
    return dict(database.query("select name, type from pragma_table_info(?)", (table,)))  # type: ignore[arg-type]


def repairs(database: Database, tables: Tables, spec: TableSpec, metric: str) -> list[Statement]:
    """Check what exists against what is needed; the statements that add the metadata columns still missing.

    Raises:
        StoreError: the table is not one of ours, or has another dimension, key, metric or type.
    """
    taken = sorted(_RESERVED & {column.name for column in spec.metadata} | ({spec.key} & _RESERVED))
    where = f"{database.where}, table {tables.target}"
    if taken:
        raise StoreError(
            f"{where}: {', '.join(taken)} cannot be a key or metadata column: rowvec keeps its own under that name.",
            hint="Rename the column in a source query: select … as other_name.",
        )
    columns = _columns(database, tables.target)
    if not columns:
        return []
    _check_ours(columns, spec, where)
    known = recorded(database, tables.target, "key_type, metric, metadata, language")
    if known:
        _check_record(known, spec, metric, where)
    return [
        Statement(f"alter table {tables.vectors} add column {quoted(column.name)} {DECLARED.get(column.type, 'TEXT')}")
        for column in spec.metadata
        if column.name not in columns
    ]


def _check_ours(columns: dict[str, str], spec: TableSpec, where: str) -> None:
    missing = [name for name in OWN if name not in columns]
    if missing:
        raise StoreError(
            f"{where} is there and was not made by rowvec: it has no column {', '.join(missing)}.",
            hint="Give the store another table name.",
        )
    if spec.key not in columns:
        raise StoreError(
            f"{where} holds the vectors of another key: it has no column {spec.key!r}.",
            hint="Name the key that it was made for, or give the store another table name.",
        )
    found = re.fullmatch(r"f32_blob\((\d+)\)", columns["embedding"].lower())
    if not found or int(found[1]) != spec.dimension:
        held = f"vectors of {found[1]} dimensions" if found else f"a column of type {columns['embedding']}"
        raise StoreError(
            f"{where} holds {held}, the embedder gives {spec.dimension}.",
            hint="Give the store another table name, or use the model that the table was made with.",
        )
    keys_are_integers = columns[spec.key].lower() == "integer"
    if keys_are_integers != (spec.key_type is ColumnType.INTEGER):
        raise StoreError(
            f"{where} has a key of type {columns[spec.key].lower()}, the source one of type {spec.key_type}.",
            hint="Give the store another table name.",
        )


def _check_record(known: Values, spec: TableSpec, metric: str, where: str) -> None:
    key_type, old_metric, metadata, language = known
    before: dict[str, Any] = dict(json.loads(metadata))
    differing = [("key type", key_type, str(spec.key_type)), ("metric", old_metric, metric)]
    differing += [
        (f"type of {column.name!r}", before.get(column.name, str(column.type)), str(column.type))
        for column in spec.metadata
    ]
    if language is not None and spec.language is not None:
        differing.append(("language", language, spec.language))
    for what, old, new in differing:
        if old != new:
            raise StoreError(
                f"{where}: its {what} is {old}, the pipeline asks for {new}.",
                hint="Give the store another table name, or change the setting back.",
            )


