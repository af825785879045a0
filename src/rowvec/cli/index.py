"""`rowvec index`: build, drop and tune the vector index."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rowvec.api.project import opened
from rowvec.api.project_pipeline import ProjectPipeline
from rowvec.cli import output, progress
from rowvec.cli.complete import INDEX_ACTIONS, PRECISIONS
from rowvec.errors import ConfigError
from rowvec.evaluation.files import read_queries
from rowvec.evaluation.recall import queries_needed
from rowvec.stores.index import KINDS, IndexSpec, IndexStatus, VectorIndex
from rowvec.support.figures import size
from rowvec.types import Vectors

BUILD_STOPPED = "Searches go on as before; `rowvec index build` drops what is half built and begins again."
FILL_STOPPED = "Searches go on as before; `rowvec index build` goes on where it stopped."
ROWS, LEAST_LOGGED, MOST_LOGGED = 200, 100, 400
"""Queries that tuning takes where no number is given."""
COLUMNS = ("index", "rows", "kind", "precision", "valid", "size", "effort", "recall@10", "measured")


def index(
    action: str,
    config: Path | None,
    name: str | None,
    *,
    kind: str | None,
    precision: str | None,
    dimensions: int | None,
    m: int | None,
    ef_construction: int | None,
    lists: int | None,
    target: float,
    queries: int | None,
    queries_from: Path | None,
    as_json: bool,
) -> None:
    """
    Raises:
        ConfigError: no such action or kind, or the file of queries cannot be read.
        StoreError: there are no vectors, or the store refuses.
    """
    if action not in INDEX_ACTIONS:
        raise ConfigError(f"There is no `rowvec index {action}`.", hint="Write build, drop, status or tune.")
    if queries is not None and queries_from is not None:
        raise ConfigError("--queries and --queries-from contradict each other.", hint="Leave one of them out.")
    spec = _spec(kind, precision=precision, dimensions=dimensions, m=m, ef_construction=ef_construction, lists=lists)
    with opened(config, name) as pipeline:
        found = pipeline.vector_index
        if action == "build":
            _build(found, spec)
        elif action == "drop":
            output.note(f"{output.count(found.drop(), 'index', 'indexes')} dropped.")
        elif action == "tune":
            _tune(found, target, _asked(pipeline, target, queries, queries_from), as_json=as_json)
            return
        _print(found.status(), as_json=as_json)


def _spec(kind: str | None, **chosen: Any) -> IndexSpec | None:
    """What was asked for; None for what the config says."""
    named = {name: value for name, value in chosen.items() if value is not None}
    if kind is None and not named:
        return None
    for option, value, known in (("kind", kind, list(KINDS)), ("precision", chosen["precision"], PRECISIONS)):
        if value is not None and value not in known:
            raise ConfigError(f"There is no index of the {option} {value!r}.", hint=f"--{option} {'|'.join(known)}")
    spec = replace(KINDS[kind or "hnsw"], **named)
    others = ("m", "ef_construction") if spec.kind == "ivfflat" else ("lists",)
    for name in named:
        if name in others:
            raise ConfigError(
                f"--{name.replace('_', '-')} is of another kind of index than {spec.kind}.",
                hint="--m and --ef-construction go with --kind hnsw, --lists with --kind ivfflat.",
            )
    if spec.kind == "hnsw" and spec.ef_construction < 2 * spec.m:
        # Said here because pgvector says it late: an invalid index would stay behind.
        raise ConfigError(
            f"--ef-construction {spec.ef_construction} is less than twice --m.", hint=f"Write {2 * spec.m} or more."
        )
    return spec


def _build(index: VectorIndex, spec: IndexSpec | None) -> None:
    cost = index.cost()
    if cost is not None:
        price = f"about {output.seconds(cost.seconds)} and {size(cost.bytes)}"
        output.note(f"{cost.kind} over {output.count(cost.vectors, 'different vector')}: {price}.")
    with progress.phases(FILL_STOPPED if index.resumes else BUILD_STOPPED) as tell:
        index.build(spec, tell)


def _print(found: Sequence[IndexStatus], *, as_json: bool) -> None:
    if as_json:
        output.print_json([one.as_dict() for one in found])
    elif all(not one.name for one in found):
        kinds = ", ".join(one.kind for one in found)
        output.line(f"Vector index: {kinds or 'none, all rows are compared'}.")
    else:
        output.table(COLUMNS, [_row(one) for one in found])


def _row(index: IndexStatus) -> tuple[Any, ...]:
    bytes_ = None if index.bytes is None else size(index.bytes)
    rows = "all" if index.part is None else str(index.part)
    return (
        index.name,
        rows,
        index.kind,
        index.held,
        index.valid,
        bytes_,
        index.effort,
        index.recall,
        index.measured_at,
    )


def _asked(pipeline: ProjectPipeline, target: float, rows: int | None, file: Path | None) -> int | Vectors:
    """The queries of a file, or those that people asked where enough were logged, or a number of rows."""
    if file is not None:
        return pipeline.query_vectors(list(read_queries(file).values()))
    texts: list[str] = []
    if rows is None:
        # There may be no log.
        with suppress(ConfigError):
            texts = [each.query for each in pipeline.queries("top", limit=MOST_LOGGED)]
    if len(texts) < max(LEAST_LOGGED, queries_needed(target)):
        return rows or ROWS
    output.note(f"Tuning by {len(texts)} queries of the log; `--queries {ROWS}` does it by rows.")
    return pipeline.query_vectors(texts)


def _tune(index: VectorIndex, target: float, queries: int | Vectors, *, as_json: bool) -> None:
    with progress.phases("The index is as it was, and so is its effort.") as tell:
        efforts = index.tune(target, queries, progress=tell)
    if not efforts and not as_json:
        output.note("There is nothing to tune: no row has a vector.")
        return
    both = any(each.passages is not None for each in efforts)
    if as_json:
        output.print_json(
            [
                {
                    "effort": e.effort,
                    **({"passages": e.passages} if both else {}),
                    "recall": e.recall,
                    "at_least": e.least,
                    "ms": e.milliseconds,
                }
                for e in efforts
            ]
        )
        return
    effort = "oversampling" if any(each.is_coarse for each in index.status()) else "effort"
    titles = [f"{effort}, rows", f"{effort}, passages"] if both else [effort]
    output.table(
        [*titles, "recall@10", "at least", "ms"],
        [(e.effort, *([e.passages] if both else []), e.recall, e.least, f"{e.milliseconds:.2f}") for e in efforts],
        right=range(len(titles) + 3),
    )
    kept, needed = efforts[-1], queries_needed(target)
    if kept.recall < target:
        output.note(f"No effort reaches {target}; the best one is kept. A larger m or ef_construction may.")
    elif kept.least < target and not isinstance(queries, int) and len(queries) < needed:
        output.note(f"{len(queries)} queries are too few to be sure of {target}: give {needed} or more.")
    elif kept.least < target:
        output.note(f"Other queries may find less than {target}; the best effort is kept.")
