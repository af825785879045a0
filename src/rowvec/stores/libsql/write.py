"""One batch as SQL statements.

Rows travel many to a statement: one row each would be a round trip each where the database is far away, and is slower
in a file too.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from rowvec.stores.base import TableSpec
from rowvec.stores.libsql.clock import NOW
from rowvec.stores.libsql.database import Statement
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.values import key_in, quoted, row_in
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.stretches import stretches
from rowvec.types import Document, Entry, Failure, Key, Vector
from rowvec.words import PLAIN, analyzer

ROWS = 100
"""Rows in one statement: many enough to be fast."""
NARROW_ROWS = 500
"""The same of rows that are three values each: the engine parses each statement."""
CHARACTERS = 2**19
"""Of text in one statement: over HTTP it has to fit into one request."""
PARAMETERS = 30_000
"""In one statement; SQLite takes 32,766."""


class Filled(NamedTuple):
    """Which lists beside the rows may hold something that a batch has to take out of them."""

    failures: bool = True
    unfit: bool = True
    passages: bool = True


def _wide(items: Sequence[Any], spec: TableSpec) -> Iterator[Sequence[Any]]:
    """Parts of rows whose metadata goes along, each for one statement."""
    # Beside the metadata: key, three hashes, the vector, a flag.
    return chunks(items, max(1, min(ROWS, PARAMETERS // (len(spec.metadata) + 7))))


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def narrow(items: Sequence[Any], document: Callable[[Any], Document]) -> Iterator[Sequence[Any]]:
    """Parts of rows whose text goes along, each for one statement."""
    for part in chunks(items, NARROW_ROWS):
        sizes = [len(document(each).text) for each in part]
        if sum(sizes) <= CHARACTERS:
            yield part
        else:
            yield from (part[stretch] for stretch in stretches(sizes, NARROW_ROWS, CHARACTERS))


def marks(count: int) -> str:
    return ", ".join("?" * count)


def moment(value: dt.datetime) -> str:
    return value.astimezone(dt.UTC).isoformat(timespec="microseconds")


def entries(tables: Tables, spec: TableSpec, batch: WriteBatch) -> list[Statement]:
    """The statements whose changed rows are the entries written."""
    return [_upsert(tables, spec, part) for part in _wide(batch.entries, spec)]


def others(tables: Tables, spec: TableSpec, batch: WriteBatch, filled: Filled) -> list[Statement]:
    """Everything else of a batch, to be carried out after the entries."""
    statements = []
    written = [entry.document for entry in batch.entries] + batch.updates
    statements += [_update(tables, spec, part) for part in _wide(batch.updates, spec)]
    for part in narrow(written, lambda row: row):
        if spec.language is not None:
            statements.append(_index_words(tables, spec, part))
        if filled.failures:
            statements.append(_clear_failures(tables, spec, part))
    for part in chunks(batch.deletes, ROWS):
        delete = f"delete from {tables.vectors} where {quoted(spec.key)} in ({marks(len(part))})"
        statements.append(Statement(delete, keys_in(part)))
    for part in chunks([*batch.deletes, *batch.recovered] if filled.failures else [], ROWS):
        statements.append(
            Statement(f'delete from {tables.failures} where "key" in ({marks(len(part))})', keys_in(part))
        )
    statements += _unfit(tables, spec, batch, listed=filled.unfit)
    return statements + [_failed(tables, part) for part in chunks(batch.failures, ROWS)]


def _rows(names: Sequence[str], count: int) -> str:
    """`new`, a table of bound rows, for the head of a statement."""
    row = f"({marks(len(names))})"
    return f"with new ({', '.join(names)}) as (values {', '.join([row] * count)})"


def bound(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> tuple[str, tuple[Any, ...]]:
    """The head of a statement over `new`, a table of those rows, and their values."""
    return _rows(names, len(rows)), _flat(rows)


def _flat(rows: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(chain.from_iterable(rows))


def _upsert(tables: Tables, spec: TableSpec, part: Sequence[Entry]) -> Statement:
    key = quoted(spec.key)
    metadata = [quoted(column.name) for column in spec.metadata]
    columns = ["text_hash", "row_hash", "truncated", "vector_hash", *metadata, "embedding"]
    names = [key, "rowvec_expected", *columns]
    sql = f"""{_rows(names, len(part))}
        insert into {tables.vectors} ({key}, {", ".join(columns)}, created_at, updated_at)
        select new.{key}, {", ".join(f"new.{name}" for name in columns)}, {NOW}, {NOW}
        from new left join {tables.vectors} as old on old.{key} = new.{key}
        where iif(old.embedding is null, null, old.text_hash) is new.rowvec_expected or old.text_hash = new.text_hash
        on conflict ({key}) do update set {", ".join(f"{name} = excluded.{name}" for name in columns)},
            updated_at = excluded.updated_at"""
    return Statement(sql, _flat(_entry(spec, entry) for entry in part))


def _entry(spec: TableSpec, entry: Entry) -> tuple[Any, ...]:
    document = entry.document
    vector = vector_in(entry.vector)
    return (
        key_in(document.key),
        entry.expected,
        document.text_hash,
        document.row_hash,
        int(entry.truncated),
        vector_hash(vector),
        *row_in(document.metadata, spec.metadata, document.key),
        vector,
    )


def vector_in(vector: Vector) -> bytes:
    """Little-endian float32, as libSQL's F32_BLOB."""
    return np.ascontiguousarray(vector, "<f4").tobytes()


def vector_hash(vector: bytes) -> int:
    """The same for equal vectors: by it the vector index finds all rows of one vector."""
    return int.from_bytes(hashlib.blake2b(vector, digest_size=8).digest(), "big", signed=True)


def held(tables: Tables, spec: TableSpec) -> str:
    """`new` joined with the rows that hold the text they say: the others were written by somebody else meanwhile."""
    key = quoted(spec.key)
    # A cross join keeps its order: for some hundred new rows the planner would rather read the whole table.
    return f"new cross join {tables.vectors} as t on t.{key} = new.{key} and t.text_hash = new.text_hash"


def _index_words(tables: Tables, spec: TableSpec, part: Sequence[Document]) -> Statement:
    sql = f"""{_rows([quoted(spec.key), "text_hash", "rowvec_text"], len(part))}
        insert or replace into {tables.keywords} (rowid, text)
        select t.rowid, new.rowvec_text from {held(tables, spec)}"""
    terms = analyzer(spec.language or PLAIN).terms
    return Statement(sql, _flat([(key_in(row.key), row.text_hash, " ".join(terms(row.text))) for row in part]))


def storable(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", " ").encode("utf-8", "replace").decode()


def _clear_failures(tables: Tables, spec: TableSpec, part: Sequence[Document]) -> Statement:
    sql = f"""{_rows([quoted(spec.key), "text_hash"], len(part))}
        delete from {tables.failures} where "key" in (select t.{quoted(spec.key)} from {held(tables, spec)})"""
    return Statement(sql, _flat((key_in(row.key), row.text_hash) for row in part))


def _update(tables: Tables, spec: TableSpec, part: Sequence[Document]) -> Statement:
    key = quoted(spec.key)
    columns = ["row_hash", *(quoted(column.name) for column in spec.metadata)]
    sql = f"""{_rows([key, "text_hash", *columns], len(part))}
        update {tables.vectors} as t set {", ".join(f"{name} = new.{name}" for name in columns)}, updated_at = {NOW}
        from new where t.{key} = new.{key} and t.text_hash = new.text_hash"""
    values = _flat(
        (key_in(row.key), row.text_hash, row.row_hash, *row_in(row.metadata, spec.metadata, row.key)) for row in part
    )
    return Statement(sql, values)


def _unfit(tables: Tables, spec: TableSpec, batch: WriteBatch, *, listed: bool) -> list[Statement]:
    """The statements that bring the list of unfit metadata in step; only of rows that this batch has written."""
    statements = []
    columns = ["k", "text_hash", "row_hash", "named"]
    written = f"""new cross join {tables.vectors} as t on t.{quoted(spec.key)} = new.k and t.text_hash = new.text_hash
        and t.row_hash = new.row_hash"""
    documents = [entry.document for entry in batch.entries] + batch.updates
    for part in chunks(documents if listed else [], ROWS):
        sql = f"""{_rows(columns, len(part))} delete from rowvec_unfit
            where target = ? and "key" in (select new.named from {written})"""
        values = ((key_in(each.key), each.text_hash, each.row_hash, str(each.key)) for each in part)
        statements.append(Statement(sql, (*_flat(values), tables.owner)))
    for keys in chunks(batch.deletes if listed else [], ROWS):
        delete = f'delete from rowvec_unfit where target = ? and "key" in ({marks(len(keys))})'
        statements.append(Statement(delete, (tables.owner, *map(str, keys))))
    for misfits in chunks([(document, unfit) for document in documents for unfit in document.unfit], ROWS):
        sql = f"""{_rows([*columns, "c", "r"], len(misfits))}
            insert or replace into rowvec_unfit (target, "key", "column", reason)
            select ?, new.named, new.c, new.r from {written}"""
        named = (
            (key_in(each.key), each.text_hash, each.row_hash, str(each.key), unfit.column, storable(unfit.reason))
            for each, unfit in misfits
        )
        statements.append(Statement(sql, (*_flat(named), tables.owner)))
    return statements


def _failed(tables: Tables, part: Sequence[Failure]) -> Statement:
    columns = ("error", "attempts", "failed_at", "next_try", "text_hash")
    sql = f"""insert into {tables.failures} ("key", {", ".join(columns)})
        values {", ".join([f"({marks(6)})"] * len(part))}
        on conflict ("key") do update set {", ".join(f"{name} = excluded.{name}" for name in columns)}"""
    return Statement(
        sql,
        _flat(
            (key_in(f.key), storable(f.error), f.attempts, moment(f.failed_at), moment(f.next_try), f.text_hash)
            for f in part
        ),
    )


def keys_in(keys: Iterable[Key]) -> tuple[int | str, ...]:
    return tuple(map(key_in, keys))
