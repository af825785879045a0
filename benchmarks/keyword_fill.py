"""A first fill of the keyword index: processor time of a row by the size of segments, on the client and on the server.

    python -m benchmarks keyword_fill
    python -m benchmarks.keyword_fill --rows 30000 --segments 1000 10000
    python -m benchmarks.keyword_fill --texts invented      those of benchmarks.million, most of them Russian

words      the words of a text, on the client
postings   the rest of the client's work: counting, packing, sending
server     the process of the connection; what writes the log and the data files later is not in it
rate       rows for each second of processor time, of client and server together; and by the clock

Processor time, unlike the clock, hardly depends on what else the machine does. Segments are as large as a write; a sync
writes up to 10,000 rows at once where they come that fast. What is kept is in results/keyword_fill.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from benchmarks.gpu import texts_of
from benchmarks.processor import of_process
from benchmarks.rig import example

from rowvec.config.load import STATE
from rowvec.stores.postgres.embedded import embedded_url, stop_embedded
from rowvec.stores.postgres.keyword_index.index import KeywordIndex
from rowvec.words import Analyzer
from rowvec.words.analysis import analyzer

RESULTS = Path(__file__).parent / "results" / "keyword_fill.json"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--segments", type=int, nargs="+", default=[1_000, 2_000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", choices=["real", "invented"], default="real")
    options = parser.parse_args(arguments)
    texts, kind = texts_of(None, options.rows) if options.texts == "real" else invented(options.rows)
    language = "english" if options.texts == "real" else "russian"
    print(f"{len(texts):,} rows ({kind}), {statistics.mean(map(len, texts)):.0f} characters a text")
    taken: dict[int, list[dict[str, float]]] = {size: [] for size in options.segments}
    with tempfile.TemporaryDirectory(prefix="rowvec-bench-", ignore_cleanup_errors=True) as made:
        folder = Path(made) / STATE
        try:
            url = embedded_url(folder)
            for turn in range(options.rounds):
                for size in options.segments[:: -1 if turn % 2 else 1]:
                    taken[size].append(filled(url, texts, size, language))
        finally:
            stop_embedded(folder)
    found = [{"segment": size, **middle(each)} for size, each in taken.items()]
    for line in found:
        print("  ".join(f"{name} {value:,.0f}" for name, value in line.items()))
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    whole = kept | {
        options.texts: {
            "rows": len(texts), "kind": kind, "rounds": options.rounds, "cores": os.cpu_count(), "fills": found,
        }
    }  # fmt: skip
    RESULTS.write_text(json.dumps(whole, indent=2) + "\n")


def invented(count: int) -> tuple[list[str], str]:
    products = example("products", "catalogue").products
    texts = ["\n".join(filter(None, row[1:6])) for row in products(count, 278)]
    return texts, "invented products in three languages"


def filled(url: str, texts: Sequence[str], size: int, language: str) -> dict[str, float]:
    words = words_alone(texts, language)
    analyzer.cache_clear()
    with closing(psycopg.connect(url)) as connection:
        connection.execute("create table filled (id bigint primary key)")
        index = KeywordIndex(("public", "filled"), "id", "bigint", language)
        index.create(connection)
        connection.commit()
        client, server = time.process_time(), of_process(connection.info.backend_pid)
        began = time.perf_counter()
        for start in range(0, len(texts), size):
            part = texts[start : start + size]
            index.upsert(connection, list(range(start, start + len(part))), part)
            connection.commit()
        clock = time.perf_counter() - began
        client, server = time.process_time() - client, of_process(connection.info.backend_pid) - server
        index.drop(connection)
        connection.execute("drop table filled")
        connection.commit()
    parts = {"words, us": words, "postings, us": client - words, "server, us": server}
    rows = len(texts)
    return {name: 1e6 * seconds / rows for name, seconds in parts.items()} | {
        "rate": rows / (client + server), "rate by the clock": rows / clock,
    }  # fmt: skip


def words_alone(texts: Sequence[str], language: str) -> float:
    began, words = time.process_time(), Analyzer(language)
    for text in texts:
        words.terms(text)
    return time.process_time() - began


def middle(rounds: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


if __name__ == "__main__":
    main(sys.argv[1:])
