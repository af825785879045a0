"""Kept texts and passages: two tables beside a vector table, of the same generation.

Both know a row by its rowid, as the keyword index does, so that they stay as they are when the key or a column gets
another type. Triggers delete with the row, whoever deletes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rowvec.errors import StoreError
from rowvec.stores.base import TEXT_KEPT, TableSpec
from rowvec.stores.libsql.database import Database, Statement, Values
from rowvec.stores.libsql.new_rows import NewRows
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.search import distance, scores
from rowvec.stores.libsql.values import key_in, quoted
from rowvec.stores.libsql.write import KEY, Filled, chunks, held, keys_in, marks, of_texts, storable, vector_hash
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.hashes import HASH_BYTES
from rowvec.support.keys import key_of
from rowvec.types import Document, Entry, Key, ScoredPassage, StoredText, Vector

_KEYS = 1000
"""Keys in one query."""


def statements(tables: Tables, spec: TableSpec, batch: WriteBatch, filled: Filled) -> list[Statement]:
    """What a batch changes here, to be carried out after its entries and its updates."""
    made = []
    if spec.keeps_texts and batch.entries:
        shown = [_shown(spec, each) for each in batch.entries]
        made += _keep(tables, spec, [each.document for each in batch.entries], shown, "replace")
    if spec.keeps_texts and batch.updates:
        made += _keep(tables, spec, batch.updates, [_whole(spec, each.text) for each in batch.updates], "ignore")
    if spec.has_passages and filled.passages and batch.entries:
        made += _forget(tables, spec, [each.document for each in batch.entries])
    return made + (_insert(tables, spec, batch.entries) if spec.has_passages else [])


def _whole(spec: TableSpec, text: str) -> str:
    # How far the passages of a row reach is not known where only its metadata changes.
    return text if spec.has_passages else text[:TEXT_KEPT]


def _shown(spec: TableSpec, entry: Entry) -> str:
    text = entry.document.text
    return text if len(text) <= TEXT_KEPT else text[: max([TEXT_KEPT, *(each.end for each in entry.passages)])]


def _keep(
    tables: Tables, spec: TableSpec, documents: Sequence[Document], shown: Sequence[str], otherwise: str
) -> list[Statement]:
    new = of_texts(documents, ["rowvec_text"], list(map(storable, shown)))
    return new.statements(f"""insert or {otherwise} into {tables.kept_texts} (id, text)
        select t.rowid, new.rowvec_text from {held(tables, spec)}""")


def _forget(tables: Tables, spec: TableSpec, documents: Sequence[Document]) -> list[Statement]:
    return of_texts(documents).statements(f"""delete from {tables.passages}
        where "row" in (select t.rowid from {held(tables, spec)})""")


def _insert(tables: Tables, spec: TableSpec, entries: Sequence[Entry]) -> list[Statement]:
    columns = ["n", "start", '"end"', "vector_hash", "tokens"]
    packed = {"text_hash": HASH_BYTES, "passage_hash": HASH_BYTES, "embedding": 4 * spec.dimension}
    values: list[tuple[Any, ...]] = []
    data: list[Any] = []
    for entry in entries:
        for n, (start, end, text_hash, vector, tokens) in enumerate(entry.passages):
            held_vector = np.ascontiguousarray(vector, "<f4")
            values.append((key_in(entry.document.key), n, start, end, vector_hash(held_vector), tokens))
            data += (entry.document.text_hash, text_hash, held_vector)
    if not values:
        return []
    # A batch whose answer got lost is sent again, and may have found the table empty when it was made.
    insert = f"""insert or ignore into {tables.passages} ("row", {", ".join(columns)}, text_hash, embedding)
        select t.rowid, {", ".join(f"new.{name}" for name in columns)}, new.passage_hash, new.embedding
        from {held(tables, spec)}"""
    return NewRows([KEY, *columns], values, packed, data).statements(insert)


def texts(
    database: Database,
    tables: Tables,
    spec: TableSpec,
    metric: str,
    keys: Sequence[Key],
    vector: Vector | None,
    where: tuple[str, Values],
) -> dict[Key, StoredText]:
    """The kept texts of those rows, each with its passages.

    Args:
        where: see `search.condition`.
    """
    found: dict[Key, StoredText] = {}
    for part in chunks(keys, _KEYS) if spec.keeps_texts else ():
        passages = _passages(database, tables, spec, metric, part, vector) if spec.has_passages else {}
        for key, text_hash, text in _kept(database, tables, spec, part, where):
            # Where the row was written between the two reads, its former passages are not of this text.
            found[key] = StoredText(text, tuple(passages.get((key, text_hash), ())))
    return found


def _kept(
    database: Database, tables: Tables, spec: TableSpec, keys: Sequence[Key], where: tuple[str, Values]
) -> list[Values]:
    key = f"t.{quoted(spec.key)}"
    sql = f"""select {key}, t.text_hash, x.text
        from {tables.vectors} as t join {tables.kept_texts} as x on x.id = t.rowid
        where {key} in ({marks(len(keys))}){where[0]}"""
    try:
        rows = database.query(sql, (*keys_in(keys), *where[1]))
    except StoreError as error:
        if error.transient or database.query(
            "select 1 from sqlite_master where name = ?", (tables.plain("kept_texts"),)
        ):
            raise
        # No sync of this version has prepared the store yet, or one that keeps no texts has.
        return []
    return [(key_of(each, spec.key_type), text_hash, text) for each, text_hash, text in rows]


def _passages(
    database: Database, tables: Tables, spec: TableSpec, metric: str, keys: Sequence[Key], vector: Vector | None
) -> dict[tuple[Key, bytes], list[ScoredPassage]]:
    """By the key of their row and its text hash."""
    value, values = ("null", ()) if vector is None else distance(metric, vector, "p")
    key = f"t.{quoted(spec.key)}"
    rows = database.query(
        f"""select {key}, t.text_hash, p.start, p."end", {value} from {tables.vectors} as t
            join {tables.passages} as p on p."row" = t.rowid
            where {key} in ({marks(len(keys))}) order by 1, p.n""",
        (*values, *keys_in(keys)),
    )
    scored = [None] * len(rows) if vector is None else scores([row[4] for row in rows], metric, vector)
    found: dict[tuple[Key, bytes], list[ScoredPassage]] = {}
    for (each, text_hash, start, end, _), score in zip(rows, scored, strict=True):
        found.setdefault((key_of(each, spec.key_type), text_hash), []).append(ScoredPassage(start, end, score))
    return found
