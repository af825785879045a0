"""`rowvec index`: build, drop and tune the vector index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rowvec import assemble
from rowvec.cli import output, progress
from rowvec.errors import ConfigError, StoreError
from rowvec.generations.lifecycle import live_spec

BUILD_STOPPED = "Searches go on as before; `rowvec index build` drops what is half built and begins again."
FILL_STOPPED = "Searches go on as before; `rowvec index build` goes on where it stopped."


def index(
    action: str,
    config: Path | None,
    name: str | None,
    *,
    kind: str,
    precision: str,
    m: int,
    ef_construction: int,
    lists: int | None,
    target: float,
    queries: int,
    as_json: bool,
) -> None:
    """
    Raises:
        ConfigError: no such action or kind. StoreError: there are no vectors, or the store refuses.
    """
    from rowvec.stores.postgres.store import PostgresStore
    from rowvec.stores.postgres.vector_index.index import IndexSpec

    if action not in ("build", "drop", "status", "tune"):
        raise ConfigError(f"There is no `rowvec index {action}`.", hint="build, drop, status or tune")
    if kind not in ("hnsw", "ivfflat") or precision not in ("halfvec", "vector"):
        raise ConfigError(
            f"There is no index {kind} of {precision}.", hint="--kind hnsw|ivfflat --precision halfvec|vector"
        )
    if action == "build" and kind == "hnsw" and ef_construction < 2 * m:
        # Said here because pgvector says it late: an invalid index would stay behind.
        raise ConfigError(
            f"--ef-construction {ef_construction} is less than twice --m.", hint=f"Write {2 * m} or more."
        )
    with assemble.opened(config, name) as pipeline:
        store = pipeline.store
        if not store.attach(live_spec(pipeline.spec, store.ledger())):
            raise StoreError(f"{store.location} has no vectors yet.", hint="Run `rowvec sync` first.")
        if not isinstance(store, PostgresStore):
            _diskann(store, action, as_json=as_json)
            return
        if action == "build":
            spec = IndexSpec(kind, precision, m, ef_construction, lists)  # type: ignore[arg-type]
            with progress.phases(BUILD_STOPPED) as tell:
                store.indexes.build(spec, tell)
        elif action == "drop":
            output.note(f"{output.count(store.indexes.drop(), 'index', 'indexes')} dropped.")
        elif action == "tune":
            _tune(store, target, queries, as_json=as_json)
            return
        found = store.indexes.find()
    if as_json:
        output.print_json([one.as_dict() for one in found])
        return
    output.table(
        ["index", "kind", "precision", "valid", "size", "effort", "recall@10", "measured"],
        [
            (i.name, i.kind, i.precision, i.valid, f"{i.bytes / 1e6:,.1f} MB", i.effort, i.recall, i.measured_at)
            for i in found
        ],
    )


def _diskann(store: Any, action: str, *, as_json: bool) -> None:
    """The index of libSQL, of which nothing can be chosen."""
    if action == "tune":
        raise StoreError(f"{store.location}: libSQL's index has no effort to tune.", hint="--exact compares every row.")
    if action == "build":
        cost = store.vector_index_cost()
        price = f"about {output.seconds(cost.seconds)} and {cost.bytes / 1e6:,.1f} MB"
        output.note(f"DiskANN over {output.count(cost.vectors, 'different vector')}: {price}.")
        with progress.phases(FILL_STOPPED) as tell:
            store.create_vector_index(tell)
    elif action == "drop":
        store.drop_vector_index()
    kind = store.status()["index"]
    if as_json:
        output.print_json([{"kind": kind}] if kind else [])
    else:
        output.line(f"Vector index: {kind or 'none, all rows are compared'}.")


def _tune(store: Any, target: float, queries: int, *, as_json: bool) -> None:
    with progress.phases("The index is as it was, and so is its effort.") as tell:
        efforts = store.indexes.tune(target, queries, progress=tell)
    best = max(efforts, key=lambda effort: effort.recall, default=None)
    if as_json:
        output.print_json([{"effort": e.effort, "recall": e.recall, "ms": e.milliseconds} for e in efforts])
        return
    output.table(
        ["effort", "recall@10", "ms"], [(e.effort, e.recall, f"{e.milliseconds:.2f}") for e in efforts], right=[0, 1, 2]
    )
    if best is not None and best.recall < target:
        output.note(f"No effort reaches {target}; the best one is kept. A larger m or ef_construction may.")
