"""`rowvec search`, `rowvec similar`, `rowvec eval` and `rowvec index`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rowvec import assemble
from rowvec.cli import progress, show
from rowvec.errors import ConfigError, SearchError, StoreError
from rowvec.filters import Filter, bind, parse
from rowvec.generations import live_spec
from rowvec.search import Mode, Searcher, SearchResult
from rowvec.stream import Pipeline
from rowvec.types import Key

MODES: tuple[Mode, ...] = ("semantic", "keyword", "hybrid")
BUILD_STOPPED = "Searches go on as before; `rowvec index build` drops what is half built and begins again."
FILL_STOPPED = "Searches go on as before; `rowvec index build` goes on where it stopped."


def search(
    config: Path | None,
    name: str | None,
    query: str,
    *,
    mode: str,
    where: str | None,
    limit: int,
    explain: bool,
    exact: bool,
    as_json: bool,
) -> None:
    with assemble.opened(config, name) as pipeline:
        searcher = Searcher.of(pipeline)
        result = searcher.search(
            query, mode=_mode(mode), limit=limit, where=_condition(pipeline, where), explain=explain, exact=exact
        )
        _print(pipeline, result, explain=explain, as_json=as_json)


def similar(config: Path | None, name: str | None, key: str, *, where: str | None, limit: int, as_json: bool) -> None:
    with assemble.opened(config, name) as pipeline:
        searcher = Searcher.of(pipeline)
        wanted = assemble.parse_key(key, pipeline.spec.key_type)
        result = searcher.similar(wanted, limit=limit, where=_condition(pipeline, where))
        _print(pipeline, result, explain=False, as_json=as_json)


def evaluate(
    config: Path | None,
    name: str | None,
    queries: Path,
    judgements: Path,
    *,
    modes: Sequence[str],
    measures: Sequence[str],
    condensed: bool,
    as_json: bool,
) -> None:
    """
    Raises:
        ConfigError: a file that cannot be read, a measure that does not exist.
    """
    from rowvec.evaluate import evaluate as score
    from rowvec.judgements import read_judgements, read_queries

    asked, judged = read_queries(queries), read_judgements(judgements)
    with assemble.opened(config, name) as pipeline:
        searcher = Searcher.of(pipeline)
        found = {}
        with progress.phases("An evaluation changes nothing.") as tell:
            for mode in modes:
                run = _run(searcher, _mode(mode), tell, len(asked.keys() & judged.keys()))
                found[mode] = score(run, asked, judged, measures, condensed=condensed)
    if as_json:
        show.print_json({mode: evaluation.as_dict() for mode, evaluation in found.items()})
        return
    rows = [(mode, *evaluation.means.values()) for mode, evaluation in found.items()]
    first = next(iter(found.values()))
    show.table(["mode", *first.means], rows, right=range(1, len(first.means) + 1))
    show.note(f"{show.count(first.queries, 'query', 'queries')} judged.")


def _run(searcher: Searcher, mode: Mode, tell: progress.Tell, total: int) -> Callable[[str, int], list[Key]]:
    """A ranking of a query's keys, which tells how many queries it has answered."""
    done = itertools.count()

    def run(query: str, depth: int) -> list[Key]:
        tell(f"{mode} queries", next(done), total)
        return [hit.key for hit in searcher.search(query, mode=mode, limit=depth).hits]

    return run


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
    from rowvec.stores.postgres.index import IndexSpec
    from rowvec.stores.postgres.store import PostgresStore

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
            raise StoreError(f"{store.where} has no vectors yet.", hint="Run `rowvec sync` first.")
        if not isinstance(store, PostgresStore):
            _diskann(store, action, as_json=as_json)
            return
        if action == "build":
            spec = IndexSpec(kind, precision, m, ef_construction, lists)  # type: ignore[arg-type]
            with progress.phases(BUILD_STOPPED) as tell:
                store.indexes.build(spec, tell)
        elif action == "drop":
            show.note(f"{show.count(store.indexes.drop(), 'index', 'indexes')} dropped.")
        elif action == "tune":
            _tune(store, target, queries, as_json=as_json)
            return
        found = store.indexes.find()
    if as_json:
        show.print_json([one.as_dict() for one in found])
        return
    show.table(
        ["index", "kind", "precision", "valid", "size", "effort", "recall@10", "measured"],
        [
            (i.name, i.kind, i.precision, i.valid, f"{i.bytes / 1e6:,.1f} MB", i.effort, i.recall, i.measured_at)
            for i in found
        ],
    )


def _diskann(store: Any, action: str, *, as_json: bool) -> None:
    """The index of libSQL, of which nothing can be chosen."""
    if action == "tune":
        raise StoreError(f"{store.where}: libSQL's index has no effort to tune.", hint="--exact compares every row.")
    if action == "build":
        cost = store.vector_index_cost()
        price = f"about {show.seconds(cost.seconds)} and {cost.bytes / 1e6:,.1f} MB"
        show.note(f"DiskANN over {show.count(cost.vectors, 'different vector')}: {price}.")
        with progress.phases(FILL_STOPPED) as tell:
            store.create_vector_index(lambda done, total: tell("filling the index", done, total))
    elif action == "drop":
        store.drop_vector_index()
    kind = store.status()["index"]
    if as_json:
        show.print_json([{"kind": kind}] if kind else [])
    else:
        show.line(f"Vector index: {kind or 'none, all rows are compared'}.")


def _tune(store: Any, target: float, queries: int, *, as_json: bool) -> None:
    with progress.phases("The index is as it was, and so is its effort.") as tell:
        efforts = store.indexes.tune(target, queries, progress=tell)
    best = max(efforts, key=lambda effort: effort.recall, default=None)
    if as_json:
        show.print_json([{"effort": e.effort, "recall": e.recall, "ms": e.milliseconds} for e in efforts])
        return
    show.table(
        ["effort", "recall@10", "ms"], [(e.effort, e.recall, f"{e.milliseconds:.2f}") for e in efforts], right=[0, 1, 2]
    )
    if best is not None and best.recall < target:
        show.note(f"No effort reaches {target}; the best one is kept. A larger m or ef_construction may.")


def _mode(mode: str) -> Mode:
    for known in MODES:
        if mode == known:
            return known
    raise ConfigError(f"There is no mode {mode!r}.", hint=f"Use one of {', '.join(MODES)}.")


def _condition(pipeline: Pipeline, where: str | None) -> Filter | None:
    """Raises ConfigError: for a command a wrong filter is an option that is wrong."""
    try:
        return bind(parse(where), pipeline.spec.metadata) if where else None
    except SearchError as error:
        raise ConfigError(error.message, hint=error.hint) from None


def _print(pipeline: Pipeline, result: SearchResult, *, explain: bool, as_json: bool) -> None:
    if as_json:
        show.print_json(result.as_dict())
        return
    if not result.hits:
        show.note("No hits.")
    names = [column.name for column in pipeline.spec.metadata]
    parts = ["semantic", "keyword", "static", "decay"] if explain else []
    show.table(
        ["score", *parts, pipeline.spec.key, *names],
        [
            (
                hit.score,
                *((hit.parts or {}).get(part) for part in parts),
                str(hit.key),
                *(show.clip(show.cell(hit.metadata.get(name)), 80) for name in names),
            )
            for hit in result.hits
        ],
        right=range(len(parts) + 1),
    )
    if not result.complete:
        show.note("There may be more rows that match.")
