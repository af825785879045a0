"""How the figures of benchmarks.million and benchmarks.many_vectors grow with the rows, for docs/scale.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.products_growth import DOCS, Column, Run, picture, put, table

PAGE, PICTURE = DOCS / "scale.md", DOCS / "scale-growth.svg"


ROWS = Column("rows", lambda run: run["rows"], ",.0f")
ALONE = "alone"
"""Of a run, the figures of benchmarks.many_vectors with as many rows."""


def column(title: str, step: str, name: str, form: str = ",.0f") -> Column:
    return Column(title, lambda run: run[step][name], form)


def alone(of_vectors: Column) -> Column:
    """The same figure of vectors alone, in a run that has both."""
    return Column(of_vectors.title, lambda run: of_vectors.value(run[ALONE]), of_vectors.form)


def named(step: str, *names: str) -> tuple[Column, ...]:
    """Figures whose title is their name."""
    return tuple(column(name, step, name) for name in names)


def index(title: str, step: str, *settings: str) -> tuple[Column, ...]:
    return (
        *(column(f"{title}: `{name}`", step, name) for name in settings),
        column(f"{title}: build, s", step, "build, s"),
        column(f"{title}: build, s of the processor", step, "build, processor, s"),
        column(f"{title}: size, MB", step, "MB"),
        column(f"{title}: effort", step, "effort"),
        column(f"{title}: recall@10 of the queries tuned by", step, "recall@10, tuned", ".3f"),
        column(f"{title}: recall@10 of other queries", step, "recall@10", ".3f"),
        column(f"{title}: search p50, ms", step, "p50, ms", ",.1f"),
        column(f"{title}: search p95, ms", step, "p95, ms", ",.1f"),
        column(f"{title}: search, ms of the processor", step, "processor, ms", ",.1f"),
    )


def over_http(*modes: str) -> tuple[Column, ...]:
    return tuple(
        column(f"HTTP, {mode}: {title}", "http", f"{mode}: {name}", ",.1f")
        for mode in modes
        for title, name in (("p50, ms", "p50, ms"), ("p95, ms", "p95, ms"), ("ms of the processor", "processor, ms"))
    )


def commands(*chosen: str, step: str = "others") -> tuple[Column, ...]:
    return tuple(
        column(f"`rowvec {command}`{unit}", step, f"{command}{unit}")
        for command in chosen
        for unit in (", s", ", peak memory, MB")
    )


LOADING = (
    column("first sync, embedding costs nothing, s", "load", "s"),
    column("its rows a second", "load", "rows/s"),
    column("its rows a second of the processor", "load", "rows/s of the processor"),
    column("its peak memory, MB", "load", "peak memory, MB"),
    *named("load", "table, MB", "other indexes, MB"),
)
NO_OP = (
    column("no-op sync, s", "noop", "s"),
    column("its rows a second of the processor", "noop", "rows/s of the processor"),
    column("its peak memory, MB", "noop", "peak memory, MB"),
)
TEXTS = named("load", "texts, MB", "keyword index, MB")
CHANGE = (column("1 % changed, 0.5 % deleted, s", "change", "s"),)
INDEXES = (
    *index("HNSW", "hnsw"),
    *index("HNSW, `m` 24, `ef_construction` 128", "denser"),
    *index("`hnsw-bit`", "bits"),
    *index("IVFFlat", "ivfflat"),
)
FILTERED = tuple(
    column(f"filter {share}: {name}", "filters", f"{share}: {name}", form)
    for share in ("0.01 %", "0.1 %", "1 %", "10 %", "50 %")
    for name, form in (("p50, ms", ",.1f"), ("processor, ms", ",.1f"), ("recall@10", ".3f"))
)
KIND = column("vector index", "http", "index", "s")
TABLES = {
    "Loading and syncing": (*LOADING, *TEXTS, *NO_OP, *CHANGE),
    "Kinds of index": INDEXES,
    "Searching": (KIND, *FILTERED, *over_http("semantic", "keyword", "hybrid")),
    "Commands": commands("status", "audit", "map"),
}
VECTORS = (
    column("texts that vectors are blended of", "real", "texts"),
    *LOADING,
    *NO_OP,
    *index("`hnsw-bit`", "bits", "m", "ef_construction"),
    column("Python library, query embedded: p50, ms", "api", "p50, ms", ",.1f"),
    column("Python library, query embedded: p95, ms", "api", "p95, ms", ",.1f"),
    *over_http("semantic"),
    *index("IVFFlat", "ivfflat"),
    column("facet of all rows, s", "facets", "in the process, again, s", ",.2f"),
    column("`GET /health`, s", "facets", "GET /health, s", ",.2f"),
    column("`GET /status`, s", "facets", "GET /status, s", ",.1f"),
    *commands("status", "audit", "quality"),
    *commands("map", step="drawn"),
)

LOADED = (
    column("load, s of the processor", "load", "processor, s"),
    column("no-op sync, s of the processor", "noop", "processor, s"),
)
BITS_BUILT = column("build of hnsw-bit, s of the processor", "bits", "build, processor, s")
BITS_SEARCHED = column("search by hnsw-bit, ms of the processor", "bits", "processor, ms")
PANELS = {
    "seconds of the processor": (
        *LOADED,
        column("build of IVFFlat, s of the processor", "ivfflat", "build, processor, s"),
        BITS_BUILT,
    ),
    "milliseconds of the processor": (
        column("search by IVFFlat, ms", "ivfflat", "processor, ms"),
        BITS_SEARCHED,
        column("keyword search over HTTP, ms", "http", "keyword: processor, ms"),
        column("hybrid search over HTTP, ms", "http", "hybrid: processor, ms"),
    ),
}
PANELS_ALONE = {
    "vectors alone: seconds of the processor": tuple(map(alone, (*LOADED, BITS_BUILT))),
    "vectors alone: milliseconds": (
        alone(column("search by hnsw-bit, vector given, p50, ms", "bits", "p50, ms")),
        alone(column("search by hnsw-bit, vector given, p95, ms", "bits", "p95, ms")),
        alone(BITS_SEARCHED),
        alone(column("HTTP, query embedded, p95, ms", "http", "semantic: p95, ms")),
    ),
}


def write(results: Path) -> None:
    whole, vectors = by_rows(results, "million"), by_rows(results, "many-vectors")
    if not whole:
        sys.exit(f"There is no million-*.json in {results}: run `python -m benchmarks million` first.")
    runs = [{"rows": rows, **whole.get(rows, {}), ALONE: vectors.get(rows, {})} for rows in sorted({*whole, *vectors})]
    drawn = {**PANELS, **(PANELS_ALONE if vectors else {})}
    PICTURE.write_text(picture(runs, drawn), encoding="utf-8")
    tables = [titled(title, whole, columns) for title, columns in TABLES.items()]
    if vectors:
        tables.append(titled("Vectors alone, searched as bits", vectors, VECTORS))
    text = "\n".join([*tables, f"![Time by the number of rows, both axes logarithmic]({PICTURE.name})\n"])
    print(text)
    put(text, PAGE)


def titled(title: str, runs: Mapping[int, Run], columns: Sequence[Column]) -> str:
    return f"{title}:\n\n{table([runs[rows] for rows in sorted(runs)], (ROWS, *columns))}\n"


def by_rows(results: Path, name: str) -> dict[int, Run]:
    found = [json.loads(path.read_text()) for path in results.glob(f"{name}-*.json")]
    return {int(run["rows"]): run for run in found}
