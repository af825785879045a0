"""How the figures of benchmarks.million and benchmarks.many_vectors grow with the rows, for docs/scale.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.products_growth import DOCS, Column, picture, put, table

PAGE, PICTURE = DOCS / "scale.md", DOCS / "scale-growth.svg"


def column(title: str, step: str, name: str, form: str = ",.0f") -> Column:
    return Column(title, lambda run: run[step][name], form)


LOADING = (
    Column("rows", lambda run: run["rows"], ",.0f"),
    column("first sync, embedding costs nothing, s", "load", "s"),
    column("its rows a second", "load", "rows/s"),
    column("its rows a second of the processor", "load", "rows/s of the processor"),
    column("its peak memory, MB", "load", "peak memory, MB"),
    column("table, MB", "load", "table, MB"),
    column("other indexes, MB", "load", "other indexes, MB"),
    column("texts, MB", "load", "texts, MB"),
    column("keyword index, MB", "load", "keyword index, MB"),
    column("no-op sync, s", "noop", "s"),
    column("its rows a second of the processor", "noop", "rows/s of the processor"),
    column("its peak memory, MB", "noop", "peak memory, MB"),
    column("1 % changed, 0.5 % deleted, s", "change", "s"),
)
KINDS = {"hnsw": "HNSW", "denser": "HNSW, `m` 24, `ef_construction` 128", "bits": "`hnsw-bit`", "ivfflat": "IVFFlat"}
INDEXES = tuple(
    column(f"{title}: {name}", step, figure, form)
    for step, title in KINDS.items()
    for name, figure, form in (
        ("build, s", "build, s", ",.0f"),
        ("build, s of the processor", "build, processor, s", ",.0f"),
        ("size, MB", "MB", ",.0f"),
        ("effort", "effort", ",.0f"),
        ("recall@10 of the queries tuned by", "recall@10, tuned", ".3f"),
        ("recall@10 of other queries", "recall@10", ".3f"),
        ("search p50, ms", "p50, ms", ",.1f"),
        ("search p95, ms", "p95, ms", ",.1f"),
        ("search, ms of the processor", "processor, ms", ",.1f"),
    )
)
SHARES = ("0.01 %", "0.1 %", "1 %", "10 %", "50 %")
SEARCHES = (
    column("vector index", "http", "index", "s"),
    *(column(f"filter {share}: {name}", "filters", f"{share}: {name}", form)
      for share in SHARES for name, form in (("p50, ms", ",.1f"), ("processor, ms", ",.1f"), ("recall@10", ".3f"))),
    *(column(f"HTTP, {mode}: {name}", "http", f"{mode}: {figure}", ",.1f")
      for mode in ("semantic", "keyword", "hybrid")
      for name, figure in (("p50, ms", "p50, ms"), ("p95, ms", "p95, ms"), ("ms of the processor", "processor, ms"))),
)  # fmt: skip
OTHERS = tuple(
    column(f"`rowvec {command}`{unit}", "others", f"{command}{unit}")
    for command in ("status", "audit", "map")
    for unit in (", s", ", peak memory, MB")
)
TABLES = {"Loading and syncing": LOADING, "Kinds of index": INDEXES, "Searching": SEARCHES, "Commands": OTHERS}
ALONE = "alone"
"""Of a run, the figures of benchmarks.many_vectors with as many rows."""


DRAWN = (
    column("load, s of the processor", "load", "processor, s"),
    column("no-op sync, s of the processor", "noop", "processor, s"),
    column("build of IVFFlat, s of the processor", "ivfflat", "build, processor, s"),
    column("build of hnsw-bit, s of the processor", "bits", "build, processor, s"),
    column("search by IVFFlat, ms", "ivfflat", "processor, ms"),
    column("search by hnsw-bit, ms", "bits", "processor, ms"),
    column("keyword search over HTTP, ms", "http", "keyword: processor, ms"),
    column("hybrid search over HTTP, ms", "http", "hybrid: processor, ms"),
)
PANELS = {
    "seconds of the processor": range(4),
    "milliseconds of the processor": range(4, 8),
    "vectors alone: seconds of the processor": range(8, 11),
    "vectors alone: milliseconds": range(11, 15),
}


def alone(title: str, step: str, name: str, form: str = ",.0f") -> Column:
    return Column(title, lambda run: run[ALONE][step][name], form)


VECTORS = (
    alone("texts that vectors are blended of", "real", "texts"),
    alone("first sync, embedding costs nothing, s", "load", "s"),
    alone("its rows a second", "load", "rows/s"),
    alone("its rows a second of the processor", "load", "rows/s of the processor"),
    alone("table, MB", "load", "table, MB"),
    alone("other indexes, MB", "load", "other indexes, MB"),
    alone("no-op sync, s", "noop", "s"),
    alone("its rows a second of the processor", "noop", "rows/s of the processor"),
    alone("its peak memory, MB", "noop", "peak memory, MB"),
    alone("`hnsw-bit`: `m`", "bits", "m"),
    alone("`hnsw-bit`: `ef_construction`", "bits", "ef_construction"),
    alone("`hnsw-bit`: build, s", "bits", "build, s"),
    alone("`hnsw-bit`: build, s of the processor", "bits", "build, processor, s"),
    alone("`hnsw-bit`: size, MB", "bits", "MB"),
    alone("tuning, s", "bits", "tune, s"),
    alone("oversampling", "bits", "effort"),
    alone("recall@10 of the queries tuned by", "bits", "recall@10, tuned", ".3f"),
    alone("recall@10 of other queries", "bits", "recall@10", ".3f"),
    alone("search, vector given: p50, ms", "bits", "p50, ms", ",.1f"),
    alone("search, vector given: p95, ms", "bits", "p95, ms", ",.1f"),
    alone("search, vector given: ms of the processor", "bits", "processor, ms", ",.1f"),
    alone("Python library, query embedded: p50, ms", "api", "p50, ms", ",.1f"),
    alone("Python library, query embedded: p95, ms", "api", "p95, ms", ",.1f"),
    alone("HTTP, query embedded: p50, ms", "http", "semantic: p50, ms", ",.1f"),
    alone("HTTP, query embedded: p95, ms", "http", "semantic: p95, ms", ",.1f"),
    alone("HTTP, query embedded: ms of the processor", "http", "semantic: processor, ms", ",.1f"),
    alone("IVFFlat: build, s", "ivfflat", "build, s"),
    alone("IVFFlat: build, s of the processor", "ivfflat", "build, processor, s"),
    alone("IVFFlat: size, MB", "ivfflat", "MB"),
    alone("IVFFlat: effort", "ivfflat", "effort"),
    alone("IVFFlat: recall@10 of the queries tuned by", "ivfflat", "recall@10, tuned", ".3f"),
    alone("IVFFlat: recall@10 of other queries", "ivfflat", "recall@10", ".3f"),
    alone("IVFFlat: search, vector given: p50, ms", "ivfflat", "p50, ms", ",.1f"),
    alone("IVFFlat: search, vector given: p95, ms", "ivfflat", "p95, ms", ",.1f"),
    alone("IVFFlat: search, vector given: ms of the processor", "ivfflat", "processor, ms", ",.1f"),
    alone("facet of all rows, s", "facets", "in the process, again, s", ",.2f"),
    alone("`GET /health`, s", "facets", "GET /health, s", ",.2f"),
    alone("`GET /status`, s", "facets", "GET /status, s", ",.1f"),
    *(alone(f"`rowvec {command}`{unit}", step, f"{command}{unit}")
      for step, command in (("others", "status"), ("others", "audit"), ("others", "quality"), ("drawn", "map"))
      for unit in (", s", ", peak memory, MB")),
)  # fmt: skip
MORE_DRAWN = (
    alone("load, s of the processor", "load", "processor, s"),
    alone("no-op sync, s of the processor", "noop", "processor, s"),
    alone("build of hnsw-bit, s of the processor", "bits", "build, processor, s"),
    alone("search by hnsw-bit, vector given, p50, ms", "bits", "p50, ms"),
    alone("search by hnsw-bit, vector given, p95, ms", "bits", "p95, ms"),
    alone("search by hnsw-bit, of the processor, ms", "bits", "processor, ms"),
    alone("HTTP, query embedded, p95, ms", "http", "semantic: p95, ms"),
)


def write(results: Path) -> None:
    whole, vectors = by_rows(results, "million"), by_rows(results, "many-vectors")
    if not whole:
        sys.exit(f"There is no million-*.json in {results}: run `python -m benchmarks million` first.")
    sizes = sorted({*whole, *vectors})
    runs = [{"rows": rows, **whole.get(rows, {}), ALONE: vectors.get(rows, {})} for rows in sizes]
    panels = PANELS if vectors else {unit: PANELS[unit] for unit in list(PANELS)[:2]}
    PICTURE.write_text(picture(runs, (*DRAWN, *MORE_DRAWN), panels), encoding="utf-8")
    of_whole = [whole[rows] for rows in sizes if rows in whole]
    tables = [f"{title}:\n\n{table(of_whole, (LOADING[0], *columns[title == 'Loading and syncing':]))}\n"
              for title, columns in TABLES.items()]  # fmt: skip
    of_vectors = [run for run in runs if run[ALONE]]
    if of_vectors:
        tables.append(f"Vectors alone, searched as bits:\n\n{table(of_vectors, (LOADING[0], *VECTORS))}\n")
    text = "\n".join([*tables, f"![Time by the number of rows, both axes logarithmic]({PICTURE.name})\n"])
    print(text)
    put(text, PAGE)


def by_rows(results: Path, name: str) -> dict[int, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in results.glob(f"{name}-*.json")]
    return {int(run["rows"]): run for run in found}
