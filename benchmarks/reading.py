"""Reading a view that the database sorts: in pages, each by a statement of its own, and ahead, by one statement.

    python -m benchmarks reading
    python -m benchmarks.reading --rows 20000 40000 80000 --rounds 3

The view joins products with the average of their reviews, so that no index gives its rows in the order of their keys.
The table of those products, which is read in pages along its primary key, is there to compare with. The three are read
in turns in the embedded PostgreSQL; times are medians. "held" is how long the source's transaction was open. Peak
memory is that of the process after all sizes. What is kept is in results/reading.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from benchmarks.rig import timed

from rowvec.config.load import STATE
from rowvec.sources.sql import SqlSource
from rowvec.stores.postgres.embedded import embedded_url, stop_embedded

RESULTS = Path(__file__).parent / "results" / "reading.json"
PAGE = 2000
TABLES = """
create table product (id bigint primary key, name text, price float);
create table review (product bigint, stars int);
insert into product select n, 'product ' || n || repeat(' with words of its description', 5), n * 1.5
    from generate_series(1, {rows}) n;
insert into review select 1 + n % {rows}, n % 6 from generate_series(1, 2 * {rows}) n;
analyze;
"""
VIEW = """
create or replace view rated as select p.id, p.name, avg(r.stars) as stars
from product p left join review r on r.product = p.id where p.id <= {rows} group by p.id
"""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 40_000, 80_000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    found: list[dict[str, Any]] = []
    with database() as url:
        run(url, TABLES.format(rows=max(options.rows)))
        for rows in options.rows:
            run(url, VIEW.format(rows=rows))
            found.append({"rows": rows, **measured(url, rows, options.rounds)})
            print("  ".join(f"{name} {value:,.4g}" for name, value in found[-1].items()), flush=True)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {memory:,.0f} MB")
    RESULTS.write_text(
        json.dumps({"cores": os.cpu_count(), "peak memory, MB": memory, "sizes": found}, indent=2) + "\n"
    )


@contextmanager
def database() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="rowvec-bench-", ignore_cleanup_errors=True) as made:
        try:
            yield embedded_url(Path(made) / STATE)
        finally:
            stop_embedded(Path(made) / STATE)


def measured(url: str, rows: int, rounds: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {}
    with (
        closing(SqlSource(url, key="id", table="rated")) as view,
        closing(SqlSource(url, key="id", table="product", where=f"id <= {rows}")) as table,
    ):

        def ahead() -> None:
            began = time.perf_counter()
            pages = view.read_ahead(PAGE, stop=threading.Event())
            taken.setdefault("held, s", []).append(time.perf_counter() - began)
            assert pages is not None
            assert sum(map(len, pages)) == rows

        def paged(source: SqlSource) -> None:
            assert sum(map(len, source.pages(PAGE))) == rows

        tasks: dict[str, Callable[[], object]] = {
            "view in pages, s": lambda: paged(view), "view ahead, s": ahead, "table in pages, s": lambda: paged(table),
        }  # fmt: skip
        for turn in range(rounds):
            for name in list(tasks)[:: -1 if turn % 2 else 1]:
                taken.setdefault(name, []).append(timed(tasks[name]))
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def run(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
