"""A catalogue of any size, end to end, as examples/products has it: first sync, index, queries, later syncs.

    python -m benchmarks.products --rows 278697 --compute int8 --keep FOLDER
    python -m benchmarks.products growth        the table and the picture, from all results/products-*.json

Rows and vectors are in one embedded PostgreSQL. Every step is printed when it is done and kept in FOLDER: the same
command goes on where an earlier one stopped, and `--again tune,queries` measures those steps once more without
embedding. Without --keep everything is thrown away but results/products-ROWS-COMPUTE.json.

catalogue  generated rows, names in three languages, a third with descriptions
first      `rowvec sync` into an empty table, no vector index meanwhile. Every --pause seconds the process is stopped
           for a moment, and a sample of the same texts is embedded in memory: the rate that is possible. The time of
           these pauses is taken off. A search is sent as soon as the table has a row
index      `rowvec index build`: HNSW over all; what lies on disk, and the same as halfvec (a copy of the table)
tune       `rowvec index tune`: recall@10 against exact search, for both
queries    HTTP through `rowvec serve`, in turns with one embedding and one SQL statement; every query is a new one
noop       `rowvec sync` that finds nothing to do: comparing all rows, and those that a cursor says may have changed
change     the same two after 1 % changed and 0.5 % deleted

MB are 2^20 bytes for what lies on disk, as PostgreSQL says it, and 10^6 for memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from benchmarks import products_growth
from benchmarks.products_rig import (
    CONFIGS,
    STAGING,
    TABLES,
    WITH_CURSOR,
    Bench,
    Figures,
    generate,
    synced,
    two_storages,
)
from benchmarks.rig import AT, ROWVEC, Caller, example, quantile, resource_unit, served

from rowvec import assemble
from rowvec.config.load import STATE
from rowvec.sources.base import Selection
from rowvec.stores.postgres.embedded import stop_embedded
from rowvec.stores.postgres.store import PostgresStore

RESULTS = Path(__file__).parent / "results"
SAMPLE, AT_ONCE = 8_192, 512
QUERIES = 200
SIZES = """
select pg_table_size(%(table)s::regclass), coalesce(sum(pg_relation_size(i.indexrelid)) filter (where m.amname = 'hnsw'), 0),
    coalesce(sum(pg_relation_size(i.indexrelid)) filter (where m.amname <> 'hnsw'), 0)
from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam
where i.indrelid = %(table)s::regclass
"""  # noqa: E501
KEYWORDS = """
select coalesce(sum(pg_total_relation_size(oid)), 0) from pg_class
where relkind = 'r' and relnamespace = %s::regnamespace and oid <> %s::regclass
"""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.products", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", nargs="?", choices=["measure", "growth"], default="measure")
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--compute", choices=["int8", "float32"], default="int8")
    parser.add_argument("--pause", type=float, default=60.0, help="seconds of syncing between two samples")
    parser.add_argument("--keep", type=Path, help="a folder in which database and figures stay")
    parser.add_argument("--again", default="", metavar="STEP,…", help="measure these steps once more")
    options = parser.parse_args(arguments)
    if options.action == "growth":
        products_growth.write(RESULTS)
        return
    name = f"products-{options.rows}-{options.compute}"
    with kept(options.keep, name) as folder:
        bench = Bench(folder, options, two_storages)
        try:
            for step in (catalogue, first, index, tune, queries, noop, change):
                if step.__name__ in options.again.split(",") or step.__name__ not in bench.figures:
                    bench.carry_out(step)
        finally:
            stop_embedded(folder / STATE)
        RESULTS.mkdir(exist_ok=True)
        whole = {"rows": options.rows, "compute": options.compute, "cores": os.cpu_count(), **bench.figures}
        (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=2) + "\n")
        print(f"\nbenchmarks/results/{name}.json is written.")


@contextmanager
def kept(folder: Path | None, name: str) -> Iterator[Path]:
    if folder is not None:
        (folder / name).mkdir(parents=True, exist_ok=True)
        yield (folder / name).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="rowvec-bench-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def catalogue(bench: Bench) -> Figures:
    began = time.perf_counter()
    generate(bench, "--rows", str(bench.options.rows))
    return {"rows": bench.options.rows, "s": time.perf_counter() - began}


# The first sync


def first(bench: Bench) -> Figures:
    possible = Possible(bench)
    possible.measure()
    began = time.perf_counter()
    with (bench.folder / "report.json").open("w") as report:
        process = subprocess.Popen(
            [*ROWVEC, "sync", "--json"], cwd=bench.folder, stdout=report, stderr=bench.log, text=True
        )
    hit: Figures = {}
    paused, last = 0.0, began
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        time.sleep(0.1)
        if not hit:
            hit = first_hit(bench, began)
        elif time.perf_counter() - last > bench.options.pause:
            paused += possible.during(process.pid)
            last = time.perf_counter()
            progress(bench, began, paused)
    seconds = time.perf_counter() - began - paused
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    assert process.returncode == 0, (bench.folder / "log.txt").read_text()[-2000:]
    possible.measure()
    found = json.loads((bench.folder / "report.json").read_text())
    rate = found["inserted"] / seconds
    return {
        "rows": found["inserted"], "texts": found["texts"], "tokens": found["tokens"],
        "truncated": found["truncated"], "s": seconds, "rows/s": rate,
        "embedder alone, rows/s": possible.rate, "samples of it": len(possible.rates),
        "sync / embedder": rate / possible.rate, "peak memory, MB": ended[2].ru_maxrss * resource_unit() / 1e6,
        **(hit or first_hit(bench, began)), "store, MB": bench.rowvec("status")["bytes"] / 2**20,
    }  # fmt: skip


class Possible:
    """The embedder's own rate, on samples of the texts that the sync embeds."""

    def __init__(self, bench: Bench) -> None:
        with psycopg.connect(bench.url) as connection:
            statement = f"select product_id from {STAGING} where not deleted order by md5(product_id::text) limit %s"
            keys = tuple(key for (key,) in connection.execute(statement, [SAMPLE]))
        with assemble.opened(bench.folder / "rowvec.toml", None) as pipeline:
            pages = pipeline.source.pages(2_000, selection=Selection(keys=keys))
            texts = {row.key: pipeline.to_document(row).text for page in pages for row in page}
            self._embedder = pipeline.embedder
        self._texts = [texts[key] for key in keys]
        self._embedder.embed(self._texts[:64])
        self._from = 0
        self.rates: list[float] = []

    @property
    def rate(self) -> float:
        """Of the slices one after another, in texts a second."""
        return statistics.harmonic_mean(self.rates)

    def measure(self) -> None:
        texts = self._texts[self._from : self._from + AT_ONCE]
        self._from = (self._from + AT_ONCE) % len(self._texts)
        began = time.perf_counter()
        self._embedder.embed(texts)
        self.rates.append(len(texts) / (time.perf_counter() - began))

    def during(self, process: int) -> float:
        """Measure while `process` stands still; returns the seconds that it did."""
        began = time.perf_counter()
        os.kill(process, signal.SIGSTOP)
        try:
            self.measure()
        finally:
            os.kill(process, signal.SIGCONT)
        return time.perf_counter() - began


def first_hit(bench: Bench, began: float) -> Figures:
    """When a search of a new process had an answer, and the coverage that `rowvec status` showed then."""
    if bench.value("select to_regclass(%s)", TABLES["vector"]) is None:
        return {}
    if not bench.value(f"select exists (select from {TABLES['vector']})"):
        return {}
    if not bench.rowvec("search", "тормозные колодки Volvo")["results"]:
        return {}
    seconds = time.perf_counter() - began
    return {"first hit after, s": seconds, "coverage shown then": bench.rowvec("status")["coverage"]}


def progress(bench: Bench, began: float, paused: float) -> None:
    rows, seconds = bench.value(f"select count(*) from {TABLES['vector']}"), time.perf_counter() - began - paused
    print(f"  {rows:,} rows after {seconds:,.0f} s, {rows / seconds:,.0f} rows/s", flush=True)


# The index


def index(bench: Bench) -> Figures:
    bench.run(f"vacuum analyze {TABLES['vector']}")
    copy_as_halfvec(bench)
    found: Figures = {}
    for storage, table in TABLES.items():
        began = time.perf_counter()
        bench.rowvec("index", "build", config=CONFIGS[storage])
        found[f"{storage}: HNSW build, s"] = time.perf_counter() - began
        found |= sizes(bench, storage, table)
    schema = TABLES["vector"].partition(".")[0]
    found["keyword index, MB"] = float(bench.value(KEYWORDS, schema, TABLES["vector"])) / 2**20
    return found


def copy_as_halfvec(bench: Bench) -> None:
    """The same vectors in a table as rowvec makes it with storage = "halfvec", without embedding them again."""
    with assemble.opened(bench.folder / CONFIGS["halfvec"], None) as pipeline:
        assert isinstance(pipeline.store, PostgresStore)
        pipeline.store.prepare(pipeline.spec)
        bench.run(f"truncate {TABLES['halfvec']}")
        bench.run(f"insert into {TABLES['halfvec']} select * from {TABLES['vector']} order by product_id")
        pipeline.store.activate(pipeline.spec)
    bench.run(f"vacuum analyze {TABLES['halfvec']}")


def sizes(bench: Bench, storage: str, table: str) -> Figures:
    with psycopg.connect(bench.url) as connection:
        row = connection.execute(SIZES, {"table": table}).fetchone()
    assert row is not None
    data, vectors, others = (float(size) / 2**20 for size in row)
    return {
        f"{storage}: table, MB": data, f"{storage}: HNSW, MB": vectors, f"{storage}: table + HNSW, MB": data + vectors,
        f"{storage}: other indexes, MB": others,
    }  # fmt: skip


def tune(bench: Bench) -> Figures:
    found: Figures = {}
    for storage, config in CONFIGS.items():
        best = bench.rowvec("index", "tune", config=config)[-1]
        found |= {f"{storage}: recall@10": best["recall"], f"{storage}: effort": best["effort"],
                  f"{storage}: search, ms": best["ms"]}  # fmt: skip
    return found


# Queries


def queries(bench: Bench) -> Figures:
    times: dict[str, list[float]] = {name: [] for name in ("embed", "sql", "semantic", "keyword", "hybrid")}
    asked = texts()
    with (
        assemble.opened(bench.folder / "rowvec.toml", None) as pipeline,
        served(bench.folder, "--rate", "1e6", log=bench.log) as port,
        psycopg.connect(bench.url, autocommit=True) as connection,
    ):
        connection.execute(f"set hnsw.ef_search = {bench.figures['tune']['vector: effort']}")
        client = Caller(port)
        for turn in range(-20, QUERIES):
            took = dict(zip(("embed", "sql"), bare(pipeline.embedder, connection, next(asked)), strict=True))
            for mode in ("semantic", "keyword", "hybrid"):
                took[mode] = client.search(next(asked), mode)
            for name, seconds in took.items() if turn >= 0 else ():
                times[name].append(1000 * seconds)
    times["embed + sql"] = [one + other for one, other in zip(times["embed"], times["sql"], strict=True)]
    return {f"{name}, {at} ms": quantile(times[name], share) for name in times for at, share in AT.items()}


def texts() -> Iterator[str]:
    """What a user may type: a part and what it is for, in one of the languages; none of them twice."""
    for_sale = example("products", "catalogue")
    dice, seen = random.Random(8), set()
    while True:
        part = dice.choice(dice.choice(for_sale.PARTS_FOR_SALE).name)
        query = f"{part} {dice.choice(for_sale.VEHICLES)}"
        query += f" {dice.choice(for_sale.BRANDS)}" if dice.random() < 0.5 else ""
        if query not in seen:
            seen.add(query)
            yield query


def bare(embedder: Any, connection: psycopg.Connection[Any], query: str) -> tuple[float, float]:
    """Seconds of one embedding, and of one statement along the index."""
    began = time.perf_counter()
    vector = embedder.embed_query(query)
    embedded = time.perf_counter()
    literal = "[" + ",".join(map(str, np.round(vector.astype(float), 6))) + "]"
    statement = (
        f"select product_id, name, price, vendor_code from {TABLES['vector']}"
        f" order by embedding::halfvec({len(vector)}) <=> %s::halfvec({len(vector)}) limit 10"
    )
    assert len(connection.execute(statement, [literal]).fetchall()) == 10
    return embedded - began, time.perf_counter() - embedded


# Later syncs


def noop(bench: Bench) -> Figures:
    runs = [synced(bench) for _ in range(3)]
    synced(bench, WITH_CURSOR)  # Compares all rows and remembers how far the cursor is.
    recent = [synced(bench, WITH_CURSOR) for _ in range(3)]
    assert not any(run["report"]["texts"] for run in [*runs, *recent])
    seconds = statistics.median(run["s"] for run in runs)
    return {
        "s": seconds, "rows/s": runs[0]["report"]["read"] / seconds, "peak memory, MB": max(run["MB"] for run in runs),
        "with a cursor, s": statistics.median(run["s"] for run in recent),
        "with a cursor, rows read": recent[-1]["report"]["read"],
    }  # fmt: skip


def change(bench: Bench) -> Figures:
    found: Figures = {}
    for words, config, idle in ("", "rowvec.toml", "s"), ("with a cursor: ", WITH_CURSOR, "with a cursor, s"):
        generate(
            bench, "--change", "1%", "--delete", "0.5%", "--seed", str(bench.value("select max(id) from rowvec.runs"))
        )
        run = synced(bench, config)
        report, rest = run["report"], run["s"] - bench.figures["noop"][idle]
        found |= {
            f"{words}changed": report["embedded"], f"{words}deleted": report["deleted"], f"{words}s": run["s"],
            f"{words}more than noop, s": rest, f"{words}peak memory, MB": run["MB"],
        }  # fmt: skip
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
