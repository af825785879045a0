"""Approximate indexes on the vectors: built beside the table's traffic, swapped, looked up, tuned."""

from __future__ import annotations

import itertools
import logging
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
from rowvec.stores.index import IndexSpec, IndexStatus, Part
from rowvec.stores.postgres import own_indexes
from rowvec.stores.postgres.connect import HNSW, SHORT_VECTORS, is_lent, single, use_vectors, version_tuple
from rowvec.stores.postgres.locks import alone
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.vector_index import centre, partial, repeated
from rowvec.stores.postgres.vector_index.ordering import held_of
from rowvec.support import figures
from rowvec.support.identifiers import clipped
from rowvec.support.interrupts import asked_to_stop
from rowvec.support.memory import memory_bytes
from rowvec.types import Progress

Connection = psycopg.Connection[Any]
logger = logging.getLogger("rowvec.waits")

INDEX_SECONDS = 5.0
"""A new or dropped index is noticed within so long."""
SPARE_SECONDS = 1.0
"""From looking the index up to sending the statement."""
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
NODE_BYTES, LINK_BYTES, GRAPH_MARGIN = 210, 32, 1.05
"""Of a row in the graph of an HNSW index while it is built, beside its vector: of the node, and for each of `m`."""


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


_KIND_OF_INDEX = (
    r"md5(regexp_replace(regexp_replace(regexp_replace({}, ' WHERE .*$', ''), '^.* USING ', ''), '''\[[^]]*\]''', ''))"
)
"""A tuning goes with it: what an index leaves out changes with the rows, and so does the centre of its bits."""


def find(connection: Connection, names: Names) -> list[IndexStatus]:
    """The vector indexes of a table, valid ones first."""
    rows = connection.execute(
        "select c.relname, am.amname, o.opcname, pg_get_indexdef(c.oid), i.indisvalid and i.indisready,"
        " pg_relation_size(c.oid), s.effort, s.recall, s.measured_at, obj_description(c.oid, 'pg_class')"
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
    for name, kind, operator_class, definition, valid, size, effort, recall, measured_at, comment in rows:
        precision, _, operators = operator_class.partition("_")
        first = re.search(r"subvector\(.+?, 1, (\d+)\)", definition)
        dimensions = int(first[1]) if first else None
        part = partial.part_of(comment)
        whole = valid and (part is not None or not partial.is_named(name))
        found.append(
            IndexStatus(
                kind, name, precision, dimensions, operators, definition, whole, size, effort, recall, measured_at, part
            )
        )
    return found


def usable(indexes: Sequence[IndexStatus], names: Names, metric: str) -> IndexStatus | None:
    """The one that a search of all rows by that metric is answered from."""
    fit = (each for each in indexes if each.valid and each.part is None and serves(each, metric))
    return next((each for each in fit if repeated.is_ours(each.definition, names)), None)


def serves(index: IndexStatus, metric: str) -> bool:
    """Searches by that metric can be answered from it, once it is valid."""
    # A user may have made one of other bits.
    return index.operators == OPERATOR_CLASS[metric] or (
        index.operators == HAMMING and "(binary_quantize(" in index.definition
    )


def leaves_out_too_little(connection: Connection, names: Names, index: IndexStatus) -> bool:
    """Texts that an HNSW index of rowvec's own should leave out have come since it was built."""
    if index.kind != "hnsw" or not is_ours(names, index):
        return False
    return repeated.arrived(connection, names, index.definition, spec_of(index).m)


def fitting(spec: IndexSpec, storage: str, dimension: int, version: tuple[int, ...]) -> IndexSpec | None:
    """The same index, of half precision or of bits where pgvector takes vectors of that size no other way.

    Args:
        version: of pgvector. One without halfvec gets an index of whole vectors.

    Returns:
        None where it takes none.
    """
    if spec.dimensions is not None and spec.dimensions >= dimension:
        spec = replace(spec, dimensions=None)
    length = spec.dimensions or dimension
    if version < SHORT_VECTORS:
        fits = length <= LONGEST_VECTOR["vector"] and spec.precision != "bit" and spec.dimensions is None
        known = spec.kind == "ivfflat" or version >= HNSW
        return replace(spec, precision="vector") if fits and known else None
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
    part: Part | None = None,
    left_out: Sequence[bytes] | None = None,
    centred: bool = True,
    later: list[IndexStatus] | None = None,
) -> IndexStatus:
    """Build an index beside whatever exists, then drop the others of the same rows; searches and writes go on.

    `connection` must be in autocommit mode. A build that was cut off leaves an invalid index, which the next one
    drops. Where a search asks the new one in other words than the former, both stay until every process has noticed
    the new one: a statement that no index fits reads the whole table.

    Args:
        part: the rows that it holds; None for all.
        left_out: hashes of texts that it leaves out; None for those that very many rows share.
        centred: bits are relative to the mean of its rows.
        later: gets those that `retire` should drop, for a caller that builds several.

    Raises:
        StoreError: pgvector cannot index vectors of that size like that.
    """
    chosen = _checked(connection, names, spec, storage, dimension)
    tell: Progress = progress or (lambda phase, done, total: None)
    with alone(connection, names.scope):
        held = partial.condition(part)
        tell("counting rows", 0, None)
        count = sql.SQL("select count(*) from {} where {}").format(names.sql, held)
        rows = int(single(connection.execute(count))[0])
        there = [index for index in find(connection, names) if is_ours(names, index)]
        former = [index for index in there if index.part == part or not index.valid]
        name = _free_name(connection, names, INDEX_MARK if part is None else partial.MARK)
        drop_these(connection, names, [index for index in former if not index.valid])
        kind = chosen.precision
        operators = HAMMING if kind == "bit" else OPERATOR_CLASS[metric]
        if left_out is None:
            tell("looking for repeated texts", 0, rows)
            left_out = repeated.find(connection, names, chosen.m) if chosen.kind == "hnsw" else []
        middle, length = "", chosen.dimensions or dimension
        if kind == "bit" and centred:
            middle = centre.measured(connection, names, held, length, len(left_out))
        column = sql.Identifier(names.own("embedding")).as_string(connection)
        column = held_of(column, kind, chosen.dimensions, storage, dimension, middle)
        how = f"{chosen.kind} ({column} {kind}_{operators}) with ({_options(chosen, rows)})"
        conditions = [*([held] if part else []), *repeated.condition(names, left_out)]
        memory = rows * graph_bytes(kind, length * centre.bits_for_each(middle, length), chosen.m)
        with _resources(connection, memory), _watched(connection, progress, watcher):
            if chosen.kind == "hnsw":
                _warn_of_memory(connection, names, memory, of_bits=kind == "bit")
            own_indexes.make(connection, names, name, how, conditions)
        if part is not None:
            partial.mark(connection, names, name, part)
        made = next(index for index in find(connection, names) if index.name == name)
        waiting = _drop_alike(connection, names, [index for index in former if index.valid], made)
        if later is None:
            retire(connection, names, waiting, tell)
        else:
            later += waiting
        return made


def _drop_alike(
    connection: Connection, names: Names, former: Sequence[IndexStatus], made: IndexStatus
) -> list[IndexStatus]:
    """Drop those that searches ask in the same words as the new one, and return the others."""
    others = [index for index in former if _asked_as(index) != _asked_as(made)]
    drop_these(connection, names, [index for index in former if index not in others])
    return others


def retire(connection: Connection, names: Names, former: Sequence[IndexStatus], tell: Progress) -> None:
    """Drop those that other ones have taken the place of, when every process has noticed it. A wish to stop ends the
    wait, not what it is for."""
    try:
        if former:
            tell("having other processes notice it", 0, None)
            asked_to_stop(wait=INDEX_SECONDS + SPARE_SECONDS)
    finally:
        drop_these(connection, names, former)


def _asked_as(index: IndexStatus) -> str:
    """What a statement must say to be answered from it: what the index holds, and of which rows."""
    asked = index.definition.partition(" USING ")[2].partition(" ")[2]
    return re.sub(r" WITH \([^)]*\)( WHERE |$)", r"\1", asked, count=1)


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
    version = use_vectors(connection) or "0"
    chosen = fitting(spec, storage, dimension, version_tuple(version))
    if chosen is None and version_tuple(version) < SHORT_VECTORS:
        needs = "0.5" if spec.precision != "bit" and version_tuple(version) < HNSW else "0.7"
        raise StoreError(
            f"Such an index of vectors of {dimension:,} dimensions takes pgvector {needs} or later; this server has"
            f" {version}. Until then searches compare every row.",
            hint="Install a newer pgvector there, then run in this database: ALTER EXTENSION vector UPDATE;",
        )
    if chosen is None:
        raise StoreError(
            f"{names.scope} holds vectors of {dimension:,} dimensions; IVFFlat takes"
            f" {LONGEST_VECTOR['halfvec']:,} at most.",
            hint="Build --kind hnsw-bit, or compare every row without an index.",
        )
    return chosen


def graph_bytes(precision: str, length: int, m: int) -> float:
    """Memory of a row while an HNSW index is built."""
    vector = {"vector": 4 * length, "halfvec": 2 * length, "bit": length / 8}[precision]
    return GRAPH_MARGIN * (vector + NODE_BYTES + LINK_BYTES * m)


def drop(connection: Connection, names: Names) -> int:
    """Drop every vector index without blocking, but for those a user made in a table of their own; return how many."""
    with alone(connection, names.scope):
        found = [index for index in find(connection, names) if is_ours(names, index)]
        drop_these(connection, names, found)
    return len(found)


def save_tuning(connection: Connection, names: Names, index: IndexStatus, effort: int, recall: float) -> None:
    connection.execute(
        "insert into rowvec.tunings (scope, definition, effort, recall)"
        f" values (%s, {_KIND_OF_INDEX.format('%s')}, %s, %s)"
        " on conflict (scope, definition) do update"
        " set effort = excluded.effort, recall = excluded.recall, measured_at = now()",
        [names.scope, index.definition, effort, recall],
    )


def drop_these(connection: Connection, names: Names, indexes: Sequence[IndexStatus]) -> None:
    for index in indexes:
        own_indexes.drop(connection, names, index.name)


def is_ours(names: Names, index: IndexStatus) -> bool:
    """Not one that a user made in a table of their own."""
    return names.column is None or INDEX_MARK in index.name


def _free_name(connection: Connection, names: Names, mark: str) -> str:
    for number in itertools.count(1):
        name = f"{clipped(names.family, LONGEST_FAMILY)}{mark}{number}"
        found = "select to_regclass(%s)"
        if connection.execute(found, [sql.Identifier(names.schema, name).as_string(connection)]).fetchone() == (None,):
            return name
    raise AssertionError


@contextmanager
def _resources(connection: Connection, graph: float) -> Iterator[None]:
    """Memory for the whole graph where the machine has it, and a worker for each core.

    A build that outgrows maintenance_work_mem goes on many times slower. A server elsewhere keeps its administrator's
    settings, and so does a session that a pooler lends to others.

    Args:
        graph: bytes of an HNSW index while it is built.
    """
    local = str(connection.info.host or "").startswith(("/", "localhost", "127.")) and not is_lent(connection)
    settings: dict[str, str] = {}
    if local:
        needed = graph + 2**26
        settings["maintenance_work_mem"] = f"{int(max(2**26, min(needed, memory_bytes() / 3)) / 1024)}kB"
        settings["max_parallel_maintenance_workers"] = str(max(0, (os.cpu_count() or 1) - 1))
    for name, value in settings.items():
        connection.execute("select set_config(%s, %s, false)", [name, value])
    try:
        yield
    finally:
        if not connection.closed:
            for name in settings:
                connection.execute(sql.SQL("reset {}").format(sql.Identifier(name)))


def _warn_of_memory(connection: Connection, names: Names, graph: float, *, of_bits: bool) -> None:
    given = int(single(connection.execute("select pg_size_bytes(current_setting('maintenance_work_mem'))"))[0])
    if graph > given:
        logger.warning(
            "The index of %s takes about %s of memory to build and has %s: beyond that, a build takes many times as"
            " long. A lower --m%s takes less, --kind ivfflat next to nothing; or raise maintenance_work_mem there.",
            names.scope, figures.size(graph), figures.size(given), "" if of_bits else " or --kind hnsw-bit",
        )  # fmt: skip


@contextmanager
def _watched(
    connection: Connection, progress: Progress | None, watcher: Callable[[], Connection] | None
) -> Iterator[None]:
    """Report the build's progress from a second connection, twice a second."""
    if progress is None or watcher is None or is_lent(connection):
        yield
        return
    done = threading.Event()
    builder = connection.info.backend_pid

    def watch() -> None:
        # The build goes on without: there may be no connection left for who only looks.
        with suppress(StoreError, psycopg.Error), watcher() as second:
            while not done.wait(0.5):
                row = second.execute(
                    # HNSW counts tuples and does not say how many there will be.
                    "select phase, case when tuples_total > 0 then tuples_done else blocks_done end,"
                    " case when tuples_total > 0 then tuples_total else blocks_total end"
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
