"""Approximate indexes on the vectors: built beside the table's traffic, swapped, looked up, tuned."""

from __future__ import annotations

import itertools
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Literal

import psycopg
from psycopg import sql

from rowvec.errors import StoreError
from rowvec.stores.index import IndexSpec, IndexStatus
from rowvec.stores.postgres.connect import single, use_vectors, version_tuple
from rowvec.stores.postgres.locks import alone
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.vector_index import repeated
from rowvec.stores.postgres.vector_index.ordering import held_of
from rowvec.support.identifiers import clipped
from rowvec.types import Progress

Connection = psycopg.Connection[Any]

SHORT_VECTORS = (0, 7, 0)
"""The version of pgvector that brought halfvec, bits and sub-vectors."""
AUTO_ROWS = 10_000
"""Below this an exact scan answers within milliseconds and an index is not worth its upkeep."""
INDEX_MARK = "_vectors_"
LONGEST_FAMILY = 48
"""Bytes."""
OPERATOR_CLASS = {"cosine": "cosine_ops", "l2": "l2_ops", "ip": "ip_ops"}
HAMMING = "hamming_ops"
"""Of bits, whatever the metric is."""
LONGEST_VECTOR = {"vector": 2_000, "halfvec": 4_000, "bit": 64_000}
"""Dimensions that pgvector can index."""
GRAPH_BYTES = 600
"""Of a row in the graph of an HNSW index while it is built, beside its vector."""


def spec_of(index: IndexStatus) -> IndexSpec:
    """What to ask for to get another one like it."""
    options = re.findall(
        r"(m|ef_construction|lists)='?(\d+)'?", index.definition.partition(" WHERE ")[0].rpartition(" WITH ")[2]
    )
    chosen: dict[str, Any] = {name: int(value) for name, value in options}
    kind: Literal["hnsw", "ivfflat"] = "ivfflat" if index.kind == "ivfflat" else "hnsw"
    precision: Literal["halfvec", "vector", "bit"] = "vector"
    if index.precision in ("halfvec", "bit"):
        precision = index.precision  # type: ignore[assignment]
    return IndexSpec(kind, precision, index.dimensions, **chosen)


def _options(spec: IndexSpec, rows: int) -> str:
    if spec.kind == "hnsw":
        return f"m = {spec.m}, ef_construction = {spec.ef_construction}"
    return f"lists = {spec.lists or default_lists(rows)}"


def default_lists(rows: int) -> int:
    """pgvector's own advice for IVFFlat."""
    return max(1, rows // 1000) if rows <= 1_000_000 else int(rows**0.5)


_KIND_OF_INDEX = "md5(regexp_replace(regexp_replace({}, '^.* USING ', ''), ' WHERE .*$', ''))"
"""A tuning goes with it: what an index leaves out changes with the rows."""


def find(connection: Connection, names: Names) -> list[IndexStatus]:
    """The vector indexes of a table, valid ones first."""
    rows = connection.execute(
        "select c.relname, am.amname, o.opcname, pg_get_indexdef(c.oid), i.indisvalid and i.indisready,"
        " pg_relation_size(c.oid), s.effort, s.recall, s.measured_at"
        " from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am am on am.oid = c.relam"
        " join pg_opclass o on o.oid = i.indclass[0]"
        " left join rowvec.tunings s on s.scope = %s"
        f" and s.definition = {_KIND_OF_INDEX.format('pg_get_indexdef(c.oid)')}"
        " where i.indrelid = to_regclass(%s) and am.amname in ('hnsw', 'ivfflat') and exists (select from pg_depend d"
        " join pg_attribute a on (a.attrelid, a.attnum) = (d.refobjid, d.refobjsubid) where d.objid = c.oid"
        " and d.classid = 'pg_class'::regclass and a.attrelid = i.indrelid and a.attname = %s)"
        " order by 5 desc, c.oid desc",
        [names.scope, names.sql.as_string(connection), names.own("embedding")],
    ).fetchall()
    found = []
    for name, kind, operator_class, definition, *rest in rows:
        precision, _, operators = operator_class.partition("_")
        first = re.search(r"subvector\(.+?, 1, (\d+)\)", definition)
        dimensions = int(first[1]) if first else None
        found.append(IndexStatus(kind, name, precision, dimensions, operators, definition, *rest))
    return found


def usable(indexes: Sequence[IndexStatus], names: Names, metric: str) -> IndexStatus | None:
    """The one that a search by that metric is answered from."""
    fit = (each for each in indexes if each.valid and serves(each, metric))
    return next((each for each in fit if repeated.is_ours(each.definition, names)), None)


def serves(index: IndexStatus, metric: str) -> bool:
    """Searches by that metric can be answered from it, once it is valid."""
    # A user may have made one of other bits.
    return index.operators == OPERATOR_CLASS[metric] or (
        index.operators == HAMMING and "(binary_quantize(" in index.definition
    )


def leaves_out_too_little(connection: Connection, names: Names, index: IndexStatus) -> bool:
    """Texts that an HNSW index of rowvec's own should leave out have come since it was built."""
    if index.kind != "hnsw" or not _is_ours(names, index):
        return False
    return repeated.arrived(connection, names, index.definition, spec_of(index).m)


def fitting(spec: IndexSpec, storage: str, dimension: int) -> IndexSpec | None:
    """The same index, of half precision or of bits where pgvector takes vectors of that size no other way.

    None where it takes none.
    """
    if spec.dimensions is not None and spec.dimensions >= dimension:
        spec = replace(spec, dimensions=None)
    length = spec.dimensions or dimension
    if length > LONGEST_VECTOR["halfvec"]:
        return None if spec.kind == "ivfflat" else replace(spec, precision="bit")
    half = storage == "halfvec" or length > LONGEST_VECTOR[spec.precision]
    return replace(spec, precision="halfvec") if half and spec.precision == "vector" else spec


def build(
    connection: Connection,
    names: Names,
    spec: IndexSpec,
    *,
    metric: str,
    storage: str,
    dimension: int,
    progress: Progress | None = None,
    watcher: Callable[[], Connection] | None = None,
) -> IndexStatus:
    """Build an index beside whatever exists, then drop the others; searches and writes go on meanwhile.

    `connection` must be in autocommit mode. A build that was cut off leaves an invalid index, which the next one
    drops.

    Raises:
        StoreError: pgvector cannot index vectors of that size like that.
    """
    chosen = _checked(connection, names, spec, storage, dimension)
    with alone(connection, names.scope):
        rows = int(single(connection.execute(sql.SQL("select count(*) from {}").format(names.sql)))[0])
        former = [index for index in find(connection, names) if _is_ours(names, index)]
        name = _free_name(connection, names)
        _drop(connection, names, [index for index in former if not index.valid])
        kind = chosen.precision
        column = sql.Identifier(names.own("embedding")).as_string(connection)
        column = held_of(column, kind, chosen.dimensions, storage, dimension)
        operators = HAMMING if kind == "bit" else OPERATOR_CLASS[metric]
        left_out = repeated.find(connection, names, chosen.m) if chosen.kind == "hnsw" else []
        statement = sql.SQL("create index concurrently {name} on {table} using {how}{but}").format(
            name=sql.Identifier(name),
            table=names.sql,
            but=repeated.condition(names, left_out),
            how=sql.SQL(f"{chosen.kind} ({column} {kind}_{operators}) with ({_options(chosen, rows)})"),
        )
        memory = rows * _bytes_of(kind, chosen.dimensions or dimension)
        with _resources(connection, memory), _watched(connection, progress, watcher):
            connection.execute(statement)
        _drop(connection, names, [index for index in former if index.valid])
        return next(index for index in find(connection, names) if index.name == name)


def _checked(connection: Connection, names: Names, spec: IndexSpec, storage: str, dimension: int) -> IndexSpec:
    """As it is built.

    Raises:
        StoreError: pgvector has no such index, or none for vectors of that size.
    """
    if spec.kind == "ivfflat" and (spec.precision == "bit" or spec.dimensions is not None):
        raise StoreError("An IVFFlat index holds whole vectors.", hint="Bits and first numbers take --kind hnsw.")
    if spec.dimensions is not None and not 0 < spec.dimensions < dimension:
        raise StoreError(
            f"{names.scope} holds vectors of {dimension:,} dimensions; an index of the first {spec.dimensions:,} is"
            " not a part of them.",
            hint=f"Write a number from 1 to {dimension - 1:,}, or leave --dimensions out.",
        )
    chosen = fitting(spec, storage, dimension)
    if chosen is None:
        raise StoreError(
            f"{names.scope} holds vectors of {dimension:,} dimensions; IVFFlat takes"
            f" {LONGEST_VECTOR['halfvec']:,} at most.",
            hint="Build --kind hnsw-bit, or compare every row without an index.",
        )
    version = use_vectors(connection) or "0"
    if chosen.precision != "vector" and version_tuple(version) < SHORT_VECTORS:
        raise StoreError(
            f"An index of {chosen.precision} takes pgvector 0.7 or later; this server has {version}.",
            hint="Install a newer pgvector there, then run in this database: ALTER EXTENSION vector UPDATE;",
        )
    return chosen


def _bytes_of(precision: str, length: int) -> float:
    """Memory of a row while an HNSW index is built."""
    if precision == "bit":
        return length / 8 + GRAPH_BYTES
    return (length * (2 if precision == "halfvec" else 4) + 8) * 1.3


def drop(connection: Connection, names: Names) -> int:
    """Drop every vector index without blocking, but for those a user made in a table of their own; return how many."""
    with alone(connection, names.scope):
        found = [index for index in find(connection, names) if _is_ours(names, index)]
        _drop(connection, names, found)
    return len(found)


def save_tuning(connection: Connection, names: Names, index: IndexStatus, effort: int, recall: float) -> None:
    connection.execute(
        "insert into rowvec.tunings (scope, definition, effort, recall)"
        f" values (%s, {_KIND_OF_INDEX.format('%s')}, %s, %s)"
        " on conflict (scope, definition) do update"
        " set effort = excluded.effort, recall = excluded.recall, measured_at = now()",
        [names.scope, index.definition, effort, recall],
    )


def _drop(connection: Connection, names: Names, indexes: Sequence[IndexStatus]) -> None:
    for index in indexes:
        connection.execute(
            sql.SQL("drop index concurrently if exists {}").format(sql.Identifier(names.schema, index.name))
        )


def _is_ours(names: Names, index: IndexStatus) -> bool:
    return names.column is None or INDEX_MARK in index.name


def _free_name(connection: Connection, names: Names) -> str:
    for number in itertools.count(1):
        name = f"{clipped(names.family, LONGEST_FAMILY)}{INDEX_MARK}{number}"
        found = "select to_regclass(%s)"
        if connection.execute(found, [sql.Identifier(names.schema, name).as_string(connection)]).fetchone() == (None,):
            return name
    raise AssertionError


@contextmanager
def _resources(connection: Connection, graph: float) -> Iterator[None]:
    """Memory for the whole graph where the machine has it, and a worker for each core.

    A build that outgrows maintenance_work_mem goes on many times slower. A server elsewhere keeps its administrator's
    settings.

    Args:
        graph: bytes of an HNSW index while it is built.
    """
    local = str(connection.info.host or "").startswith(("/", "localhost", "127."))
    settings: dict[str, str] = {}
    if local:
        needed = graph + 2**26
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        settings["maintenance_work_mem"] = f"{int(max(2**26, min(needed, memory / 4)) / 1024)}kB"
        settings["max_parallel_maintenance_workers"] = str(max(0, (os.cpu_count() or 1) - 1))
    for name, value in settings.items():
        connection.execute("select set_config(%s, %s, false)", [name, value])
    try:
        yield
    finally:
        if not connection.closed:
            for name in settings:
                connection.execute(sql.SQL("reset {}").format(sql.Identifier(name)))


@contextmanager
def _watched(
    connection: Connection, progress: Progress | None, watcher: Callable[[], Connection] | None
) -> Iterator[None]:
    """Report the build's progress from a second connection, twice a second."""
    if progress is None or watcher is None:
        yield
        return
    done = threading.Event()
    builder = connection.info.backend_pid

    def watch() -> None:
        # The build goes on without: there may be no connection left for who only looks.
        with suppress(StoreError, psycopg.Error), watcher() as second:
            while not done.wait(0.5):
                row = second.execute(
                    "select phase, coalesce(nullif(tuples_done, 0), blocks_done),"
                    " coalesce(nullif(tuples_total, 0), blocks_total)"
                    " from pg_stat_progress_create_index where pid = %s",
                    [builder],
                ).fetchone()
                if row is not None:
                    progress(*row)

    thread = threading.Thread(target=watch, name="rowvec-index-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
