"""One batch as SQL statements, each of many rows."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from rowvec.stores.base import TableSpec
from rowvec.stores.libsql.clock import NOW
from rowvec.stores.libsql.database import Statement
from rowvec.stores.libsql.new_rows import NewRows
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.values import key_in, quoted, row_in
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.hashes import HASH_BYTES
from rowvec.types import Document, Failure, Key, Vector
from rowvec.words import PLAIN, analyzer

KEY = "rowvec_key"
"""The key of a row beside columns of another table, which may have the name of the key's own column."""
KEYS = 100
"""Keys, and rows that are listed as failed, in one statement."""


class Filled(NamedTuple):
    """Which lists beside the rows may hold something that a batch has to take out of them."""

    failures: bool = True
    unfit: bool = True
    passages: bool = True


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def marks(count: int) -> str:
    return ", ".join("?" * count)


def moment(value: dt.datetime) -> str:
    return value.astimezone(dt.UTC).isoformat(timespec="microseconds")


def entries(tables: Tables, spec: TableSpec, batch: WriteBatch) -> tuple[list[Statement], list[Statement]]:
    """The statements whose changed rows are the entries written, and what is to be carried out after them."""
    if not batch.entries:
        return [], []
    columns = ["truncated", "vector_hash", *_metadata(spec)]
    packed = {"text_hash": HASH_BYTES, "row_hash": HASH_BYTES, "embedding": 4 * spec.dimension}
    values: list[tuple[Any, ...]] = []
    data: list[Any] = []
    for entry in batch.entries:
        document = entry.document
        vector = np.ascontiguousarray(entry.vector, "<f4")
        metadata = row_in(document.metadata, spec.metadata, document.key)
        values.append((key_in(document.key), entry.expected, int(entry.truncated), vector_hash(vector), *metadata))
        data += (document.text_hash, document.row_hash, vector)
    new = NewRows([quoted(spec.key), "rowvec_expected", *columns], values, packed, data)
    fresh = all(entry.expected is None for entry in batch.entries)
    statements = new.statements(_upsert(tables, spec, [*columns, *packed], fresh=fresh))
    return statements, _left_out(tables, spec, [entry.document for entry in batch.entries], new)


def others(tables: Tables, spec: TableSpec, batch: WriteBatch, filled: Filled) -> list[Statement]:
    """Everything else of a batch, to be carried out after the entries."""
    written = [entry.document for entry in batch.entries] + batch.updates
    statements = _updates(tables, spec, batch.updates)
    if written and spec.language is not None:
        statements += _index_words(tables, spec, written)
    if written and filled.failures:
        statements += _clear_failures(tables, spec, written)
    for part in chunks(batch.deletes, KEYS):
        delete = f"delete from {tables.vectors} where {quoted(spec.key)} in ({marks(len(part))})"
        statements.append(Statement(delete, keys_in(part)))
    for part in chunks([*batch.deletes, *batch.recovered] if filled.failures else [], KEYS):
        statements.append(
            Statement(f'delete from {tables.failures} where "key" in ({marks(len(part))})', keys_in(part))
        )
    statements += _unfit(tables, spec, batch, written, listed=filled.unfit)
    return statements + [_failed(tables, part) for part in chunks(batch.failures, KEYS)]


def _metadata(spec: TableSpec) -> list[str]:
    return [quoted(column.name) for column in spec.metadata]


def _upsert(tables: Tables, spec: TableSpec, columns: Sequence[str], *, fresh: bool) -> str:
    """
    Args:
        fresh: no row is expected to have a vector. Each is looked for once then, and not twice.
    """
    key = quoted(spec.key)
    replaced = ", ".join(f"{name} = excluded.{name}" for name in columns)
    if fresh:
        rows = "where true"
        held = f" where {tables.vectors}.embedding is null or {tables.vectors}.text_hash = excluded.text_hash"
    else:
        rows = f"""left join {tables.vectors} as old on old.{key} = new.{key} where old.text_hash = new.text_hash
            or iif(old.embedding is null, null, old.text_hash) is new.rowvec_expected"""
        held = ""
    # In a query of its own the time is read once and not for each row.
    return f"""insert into {tables.vectors} ({key}, {", ".join(columns)}, created_at, updated_at)
        select new.{key}, {", ".join(f"new.{name}" for name in columns)}, (select {NOW}), (select {NOW})
        from new {rows} on conflict ({key}) do update set {replaced}, updated_at = excluded.updated_at{held}"""


def vector_in(vector: Vector) -> bytes:
    """Little-endian float32, as libSQL's F32_BLOB."""
    return np.ascontiguousarray(vector, "<f4").tobytes()


def vector_hash(vector: Any) -> int:
    """Of the bytes of a vector. The same for equal vectors: by it the vector index finds all rows of one vector."""
    return int.from_bytes(hashlib.blake2b(vector, digest_size=8).digest(), "big", signed=True)


def held(tables: Tables, spec: TableSpec) -> str:
    """`new` joined with the rows that hold the text they say: the others were written by somebody else meanwhile."""
    key = quoted(spec.key)
    # A cross join keeps its order: for some hundred new rows the planner would rather read the whole table.
    return f"new cross join {tables.vectors} as t on t.{key} = new.{KEY} and t.text_hash = new.text_hash"


def of_texts(documents: Sequence[Document], names: Sequence[str] = (), *more: Sequence[Any]) -> NewRows:
    """Key and text hash of documents, and further values of each, by name of their columns."""
    values = list(zip([key_in(each.key) for each in documents], *more, strict=True))
    hashes = [each.text_hash for each in documents]
    return NewRows([KEY, *names], values, {"text_hash": HASH_BYTES}, hashes)


def _index_words(tables: Tables, spec: TableSpec, documents: Sequence[Document]) -> list[Statement]:
    terms = analyzer(spec.language or PLAIN).terms
    new = of_texts(documents, ["rowvec_text"], [" ".join(terms(each.text)) for each in documents])
    return new.statements(f"""insert or replace into {tables.keywords} (rowid, text)
        select t.rowid, new.rowvec_text from {held(tables, spec)}""")


def storable(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", " ").encode("utf-8", "replace").decode()


def _clear_failures(tables: Tables, spec: TableSpec, documents: Sequence[Document]) -> list[Statement]:
    return of_texts(documents).statements(f"""delete from {tables.failures}
        where "key" in (select t.{quoted(spec.key)} from {held(tables, spec)})""")


def _updates(tables: Tables, spec: TableSpec, documents: Sequence[Document]) -> list[Statement]:
    if not documents:
        return []
    key, columns = quoted(spec.key), ["row_hash", *_metadata(spec)]
    values = [(key_in(each.key), *row_in(each.metadata, spec.metadata, each.key)) for each in documents]
    hashes = [part for each in documents for part in (each.text_hash, each.row_hash)]
    new = NewRows([key, *columns[1:]], values, {"text_hash": HASH_BYTES, "row_hash": HASH_BYTES}, hashes)
    update = f"""update {tables.vectors} as t set {", ".join(f"{name} = new.{name}" for name in columns)},
        updated_at = (select {NOW}) from new where t.{key} = new.{key} and t.text_hash = new.text_hash"""
    return new.statements(update) + _left_out(tables, spec, documents, new)


def _left_out(tables: Tables, spec: TableSpec, documents: Sequence[Document], new: NewRows) -> list[Statement]:
    """The statements that write what the rows could not bring along."""
    statements = []
    for row, column, value in new.left_out:
        update = f"""update {tables.vectors} set {column} = ?
            where {quoted(spec.key)} = ? and text_hash = ? and row_hash = ?"""
        document = documents[row]
        statements.append(Statement(update, (value, key_in(document.key), document.text_hash, document.row_hash)))
    return statements


def _unfit(
    tables: Tables, spec: TableSpec, batch: WriteBatch, written: Sequence[Document], *, listed: bool
) -> list[Statement]:
    """The statements that bring the list of unfit metadata in step; only of rows that this batch has written."""
    statements = []
    hashes = {"text_hash": HASH_BYTES, "row_hash": HASH_BYTES}
    current = f"""new cross join {tables.vectors} as t on t.{quoted(spec.key)} = new.k and t.text_hash = new.text_hash
        and t.row_hash = new.row_hash"""
    if listed and written:
        values = [(key_in(each.key), str(each.key)) for each in written]
        data = [part for each in written for part in (each.text_hash, each.row_hash)]
        delete = f"""delete from rowvec_unfit where target = ? and "key" in (select new.named from {current})"""
        statements += NewRows(["k", "named"], values, hashes, data).statements(delete, tables.owner)
    for keys in chunks(batch.deletes if listed else [], KEYS):
        delete = f'delete from rowvec_unfit where target = ? and "key" in ({marks(len(keys))})'
        statements.append(Statement(delete, (tables.owner, *map(str, keys))))
    misfits = [(each, unfit) for each in written if each.unfit for unfit in each.unfit]
    if misfits:
        named = [(key_in(each.key), str(each.key), unfit.column, storable(unfit.reason)) for each, unfit in misfits]
        data = [part for each, _ in misfits for part in (each.text_hash, each.row_hash)]
        insert = f"""insert or replace into rowvec_unfit (target, "key", "column", reason)
            select ?, new.named, new.c, new.r from {current}"""
        statements += NewRows(["k", "named", "c", "r"], named, hashes, data).statements(insert, tables.owner)
    return statements


def _failed(tables: Tables, part: Sequence[Failure]) -> Statement:
    columns = ("error", "attempts", "failed_at", "next_try", "text_hash")
    sql = f"""insert into {tables.failures} ("key", {", ".join(columns)})
        values {", ".join([f"({marks(6)})"] * len(part))}
        on conflict ("key") do update set {", ".join(f"{name} = excluded.{name}" for name in columns)}"""
    values: list[Any] = []
    for each in part:
        values += (key_in(each.key), storable(each.error), each.attempts, moment(each.failed_at))
        values += (moment(each.next_try), each.text_hash)
    return Statement(sql, tuple(values))


def keys_in(keys: Iterable[Key]) -> tuple[int | str, ...]:
    return tuple(map(key_in, keys))
