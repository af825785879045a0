"""Very many rows on one machine: load, keyword index, kinds of vector index, searches of every kind, later syncs.

    python -m benchmarks.million --rows 1000000 --keep FOLDER
    python -m benchmarks.million growth        the table and the picture of docs/scale.md, from results/million-*.json

Rows are the invented products of examples/products. Vectors are blends of three real ones (see benchmarks.blended), so
that what counts is everything but embedding; queries are embedded by the model. Rows and vectors (storage = "halfvec")
are in one embedded PostgreSQL. The same command goes on where an earlier one stopped, and `--again filters,http`
measures those steps once more. Without --keep everything is thrown away but results/million-ROWS.json.

catalogue  generated rows
real       --texts texts of such products, embedded by the model
load       a first sync into an empty table, with a keyword index and without a vector index
noop       `rowvec sync` that finds nothing to do, comparing all rows
ivfflat    `rowvec index build` and `tune`; size, recall@10 of other queries, time of a search in the process
bits       the same of hnsw-bit
hnsw       the same of HNSW
denser     the same of HNSW with more links (m = 24) and more effort to build (ef_construction = 128)
http       through `rowvec serve`, every query a new one: semantic, keyword, hybrid; the modes in turns
filters    semantic searches with filters that 0.01 % to 50 % of the rows pass
change     a sync after 1 % of the rows changed and 0.5 % were deleted, with keyword index and HNSW in place
others     status, audit and map of all rows

MB are 2^20 bytes on disk, and 10^6 of memory. "processor" is time of the processor, which other work on the machine
hardly changes, of client and server together.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import mean

import numpy as np
from benchmarks import million_growth
from benchmarks.processor import of_server, of_tree
from benchmarks.products import kept, texts
from benchmarks.products_rig import STAGING, Bench, Figures, generate, measured, synced
from benchmarks.rig import ROWVEC, Caller, example, quantile, served, timed

from rowvec import assemble
from rowvec.config.load import STATE
from rowvec.evaluation.recall import recall
from rowvec.filters import Filter, bind, parse
from rowvec.stores.abilities import ComparesMany
from rowvec.stores.base import GenerationHandle, existing
from rowvec.stores.postgres.embedded import stop_embedded
from rowvec.types import Vectors

RESULTS = Path(__file__).parent / "results"
TABLE = "million.vectors"
SLOTS = 10_000
SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5)
QUERIES, TUNED, FILTERED, WARM, ROUNDS, TURNS, IN_A_TURN = 60, 140, 20, 10, 3, 5, 40
MODES = ("semantic", "keyword", "hybrid")
CONFIG = """
[pipelines.products]
source = {{ kind = "sql", url = "{url}", table = "{staging}", key = "product_id", where = "not deleted" }}
text = {{ columns = ["name", "polish_name", "vendor_code", "description", "polish_description"] }}
embedder = {{ kind = "local", precision = "int8" }}

[pipelines.products.store]
kind = "postgres"
table = "{table}"
storage = "halfvec"
metadata = ["name", "price", "vendor_code", "slot"]
language = "{language}"
index = "none"
"""
SLOT = "alter table {} add column slot integer generated always as (abs(hashint8(product_id) % {})) stored"
SIZES = {
    "table, MB": "select pg_table_size('million.vectors')",
    "vector index, MB": """select sum(pg_relation_size(i.indexrelid)) from pg_index i
        join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam
        where i.indrelid = 'million.vectors'::regclass and m.amname in ('hnsw', 'ivfflat')""",
    "other indexes, MB": """select sum(pg_relation_size(i.indexrelid)) from pg_index i
        join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam
        where i.indrelid = 'million.vectors'::regclass and m.amname not in ('hnsw', 'ivfflat')""",
    "texts, MB": "select pg_total_relation_size(to_regclass('million.vectors__texts'))",
    "keyword index, MB": """select sum(pg_total_relation_size(oid)) from pg_class where relkind = 'r'
        and relname in ('vectors__documents', 'vectors__segments', 'vectors__postings', 'vectors__words')""",
}


def main(arguments: Sequence[str]) -> None:
    parser = parser_of("python -m benchmarks.million", __doc__ or "")
    parser.add_argument("action", nargs="?", choices=["measure", "growth"], default="measure")
    parser.add_argument("--language", default="russian", help='of the keyword index; "" leaves it out')
    options = parser.parse_args(arguments)
    if options.action == "growth":
        million_growth.write(RESULTS)
        return
    measure("million", options, configs, STEPS)


def parser_of(program: str, about: str) -> argparse.ArgumentParser:
    """With the options of every benchmark that goes step by step."""
    parser = argparse.ArgumentParser(
        prog=program, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--texts", type=int, default=4_000, help="that are embedded for the blends")
    parser.add_argument("--target", type=float, default=0.98, help="recall@10 that the indexes are tuned to")
    parser.add_argument("--keep", type=Path, help="a folder in which database and figures stay")
    parser.add_argument("--again", default="", metavar="STEP,…", help="measure these steps once more")
    parser.add_argument("--only", default="", metavar="STEP,…", help="these steps, in their usual order")
    return parser


def measure(
    name: str,
    options: argparse.Namespace,
    configs: Callable[[str, argparse.Namespace], dict[str, str]],
    steps: Sequence[Callable[[Bench], Figures]],
) -> None:
    """The steps that are wanted and not measured yet; the figures are kept after each, the next may take hours."""
    with kept(options.keep, f"{name}-{options.rows}") as folder:
        bench = Bench(folder, options, configs)
        try:
            for step in steps:
                wanted = not options.only or step.__name__ in options.only.split(",")
                if step.__name__ in options.again.split(",") or (wanted and step.__name__ not in bench.figures):
                    bench.carry_out(step)
                    write(name, bench)
        finally:
            if options.keep is None:
                # Otherwise it stops with the last process that uses it.
                stop_embedded(folder / STATE)


def write(name: str, bench: Bench) -> None:
    rows, target = bench.options.rows, bench.options.target
    whole = {"rows": rows, "target": target, "cores": os.cpu_count(), **bench.figures}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}-{rows}.json").write_text(json.dumps(whole, indent=2) + "\n")


def configs(url: str, options: argparse.Namespace) -> dict[str, str]:
    return {"rowvec.toml": CONFIG.format(url=url, staging=STAGING, table=TABLE, language=options.language)}


# Loading


def catalogue(bench: Bench) -> Figures:
    seconds = timed(lambda: generate(bench, "--rows", str(bench.options.rows)))
    bench.run(SLOT.format(STAGING, SLOTS))
    return {"rows": bench.options.rows, "s": seconds}


def real(bench: Bench) -> Figures:
    """Products of another seed, so that a row's own text is not among them."""
    products = example("products", "catalogue").products
    names = [" ".join(filter(None, (row[1], row[4]))) for row in products(bench.options.texts, 5)]
    if vectors(bench).exists():
        return {"texts": len(names), "from an earlier run": 1}
    with assemble.opened(bench.folder / "rowvec.toml", None) as pipeline:
        began = time.perf_counter()
        parts = [pipeline.embedder.embed(names[start : start + 256]).vectors for start in range(0, len(names), 256)]
        seconds = time.perf_counter() - began
    np.save(vectors(bench), np.concatenate(parts))
    return {"texts": len(names), "s": seconds, "rows/s": len(names) / seconds}


def vectors(bench: Bench) -> Path:
    """Kept for catalogues of every size."""
    return (bench.options.keep or bench.folder).resolve() / f"real-{bench.options.texts}.npy"


def load(bench: Bench) -> Figures:
    run = blended_sync(bench)
    assert run["report"]["inserted"] == bench.options.rows
    bench.run(f"vacuum analyze {TABLE}")
    return rates(run, "inserted") | sizes(bench)


def noop(bench: Bench) -> Figures:
    run = with_server(bench, lambda: synced(bench))
    assert run["report"]["unchanged"] == run["report"]["read"], run["report"]
    return rates(run, "unchanged")


def change(bench: Bench) -> Figures:
    seed = str(bench.value("select max(id) from rowvec.runs"))
    generate(bench, "--change", "1%", "--delete", "0.5%", "--seed", seed)
    run = blended_sync(bench)
    idle = bench.figures["noop"]["s"]
    report = run["report"]
    return rates(run, "embedded") | {"deleted": report["deleted"], "more than noop, s": run["s"] - idle}


def blended_sync(bench: Bench) -> Figures:
    command = [sys.executable, "-m", "benchmarks.blended", "sync", str(vectors(bench)), "rowvec.toml"]
    return with_server(bench, lambda: measured(bench, command))


def with_server(bench: Bench, work: Callable[[], Figures]) -> Figures:
    before = of_server(bench.url)
    return work() | {"server, s": of_server(bench.url) - before}


def rates(run: Figures, count: str) -> Figures:
    rows, processor = run["report"][count], run["processor, s"] + run["server, s"]
    return {
        count: rows, "s": run["s"], "rows/s": rows / run["s"], "processor, client, s": run["processor, s"],
        "processor, server, s": run["server, s"], "processor, s": processor,
        "rows/s of the processor": rows / processor,
        "peak memory, MB": run["MB"],
    }  # fmt: skip


def sizes(bench: Bench) -> Figures:
    return {name: float(bench.value(statement) or 0) / 2**20 for name, statement in SIZES.items()}


# Searching


def hnsw(bench: Bench) -> Figures:
    return index(bench, "hnsw")


def bits(bench: Bench) -> Figures:
    return index(bench, "hnsw-bit")


def ivfflat(bench: Bench) -> Figures:
    return index(bench, "ivfflat")


def denser(bench: Bench) -> Figures:
    return index(bench, "hnsw", "--m", "24", "--ef-construction", "128")


def index(bench: Bench, kind: str, *options: str) -> Figures:
    """Built, tuned, and searched with real queries."""
    spent = of_server(bench.url)
    built = timed(lambda: bench.rowvec("index", "build", "--kind", kind, *options))
    spent = of_server(bench.url) - spent
    began = time.perf_counter()
    efforts = bench.rowvec(
        "index", "tune", "--target", str(bench.options.target), "--queries-from", asked_before(bench)
    )
    tuned = time.perf_counter() - began
    tuning = next(each for each in bench.rowvec("index", "status") if each["effort"] is not None)
    with opened(bench) as (live, asked):
        searches, processor = timed_searches(bench, live, asked, None)
        found = accuracy(live, asked, None)
    return {
        "build, s": built, "build, processor, s": spent, "MB": sizes(bench)["vector index, MB"], "tune, s": tuned,
        "effort": tuning["effort"], "recall@10, tuned": tuning["recall"], "recall@10": found,
        **spread(searches), "processor, ms": processor,
        **{f"tried, effort {each['effort']}: {name}": each[name] for each in efforts for name in ("recall", "ms")},
    }  # fmt: skip


def asked_before(bench: Bench) -> str:
    """A file of queries to tune by; none of them is among those that are measured."""
    path = bench.folder / "queries.csv"
    path.write_text("\n".join(["query", *islice(texts(), QUERIES, QUERIES + TUNED)]), encoding="utf-8")
    return str(path)


def filters(bench: Bench) -> Figures:
    found: Figures = {}
    with opened(bench, FILTERED) as (live, asked):
        for share in SHARES:
            name = f"{100 * share:g} %"
            searches, processor = timed_searches(bench, live, asked, share)
            found |= {f"{name}: {at}": value for at, value in spread(searches).items()}
            found |= {f"{name}: processor, ms": processor, f"{name}: recall@10": accuracy(live, asked, share)}
    return found


def timed_searches(
    bench: Bench, live: GenerationHandle, asked: Vectors, share: float | None
) -> tuple[list[float], float]:
    """Milliseconds of each search by the clock, and those of the processor on average."""
    where = condition(live, share)
    for query in asked[:WARM]:
        live.nearest(query, 10, where)
    processor = time.process_time() + of_server(bench.url, builds=False)
    took = [1000 * timed(lambda query=query: live.nearest(query, 10, where)) for query in np.tile(asked, (ROUNDS, 1))]
    return took, 1000 * (time.process_time() + of_server(bench.url, builds=False) - processor) / len(took)


@contextmanager
def opened(bench: Bench, queries: int = QUERIES) -> Iterator[tuple[GenerationHandle, Vectors]]:
    """The rows, and the vectors of that many queries, shape (queries, dimension)."""
    asked = texts()
    with assemble.opened(bench.folder / "rowvec.toml", None) as pipeline:
        vectors = np.stack([pipeline.embedder.embed_query(next(asked)) for _ in range(queries)])
        yield existing(pipeline.store, pipeline.spec), vectors


def condition(live: GenerationHandle, share: float | None) -> Filter | None:
    columns = [column for column in live.spec.metadata if column.name == "slot"]
    return None if share is None else bind(parse(f"slot < {round(share * SLOTS)}"), columns)


def accuracy(live: GenerationHandle, asked: Vectors, share: float | None) -> float:
    where = condition(live, share)
    if where is None:
        assert isinstance(live, ComparesMany)
        best = live.compared(asked, 10)
    else:
        best = [live.nearest(query, 10, where, exact=True) for query in asked]
    found = [live.nearest(query, 10, where) for query in asked]
    return mean(recall(one.scores, other.scores) for one, other in zip(found, best, strict=True))


def spread(milliseconds: Sequence[float]) -> Figures:
    return {"p50, ms": quantile(milliseconds, 0.5), "p95, ms": quantile(milliseconds, 0.95)}


# Through HTTP


def http(bench: Bench) -> Figures:
    return over_http(bench, MODES)


def over_http(bench: Bench, modes: Sequence[str]) -> Figures:
    """The modes in turns; what both servers take is counted by turn, since the clock of a process is coarse."""
    asked = texts()
    found: dict[str, list[float]] = {mode: [] for mode in modes}
    spent = dict.fromkeys(modes, 0.0)
    with served(bench.folder, "--rate", "1e6", log=bench.log) as port:
        client = Caller(port)
        for turn in range(-1, TURNS):
            for mode in modes:
                before = of_both(bench)
                took = [1000 * client.search(next(asked), mode) for _ in range(IN_A_TURN)]
                if turn >= 0:
                    found[mode] += took
                    spent[mode] += 1000 * (of_both(bench) - before)
    figures: Figures = {f"{mode}: {at}": value for mode in modes for at, value in spread(found[mode]).items()}
    figures |= {f"{mode}: processor, ms": spent[mode] / len(found[mode]) for mode in modes}
    return figures | {"index": bench.rowvec("index", "status")[0]["kind"]}


def of_both(bench: Bench) -> float:
    return of_server(bench.url, builds=False) + of_tree(os.getpid()) - time.process_time()


def others(bench: Bench) -> Figures:
    """Commands that look at all rows."""
    found: Figures = {}
    # None is embedded again: the vectors are not of their texts.
    for command in (["status"], ["audit", "--sample", "0"], ["map"]):
        run = measured(bench, [*ROWVEC, *command, "--json"])
        found |= {f"{command[0]}, s": run["s"], f"{command[0]}, peak memory, MB": run["MB"]}
    return found


STEPS = (catalogue, real, load, noop, ivfflat, bits, hnsw, denser, http, filters, change, others)

if __name__ == "__main__":
    main(sys.argv[1:])
