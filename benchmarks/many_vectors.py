"""Ten million rows and more for semantic search alone: no keyword index, no texts kept, vectors searched as bits.

    python -m benchmarks.many_vectors --rows 5000000 --texts 20000 --keep FOLDER

As benchmarks.million, with less around each vector: a row is a number and a short name, which one statement makes, and
one metadata column of integers. So what is measured is the way of the vectors: read, compared, written by COPY, indexed
and searched. `--texts` should grow with the rows: all vectors are blends of that many real ones, and with too few of
them a row has more near neighbours than rows of real texts have. Figures go to results/many-vectors-ROWS.json, and from
there into docs/scale.md by `python -m benchmarks.million growth`.

catalogue  rows, made by the server
real       --texts texts, embedded by the model
load       a first sync into an empty table
noop       `rowvec sync` that finds nothing to do, comparing all rows
bits       `rowvec index build --kind hnsw-bit` and `tune`; size, recall@10 of other queries against an exact search,
           time of a search with its vector given, in the process
api        searches of the Python library, the query embedded
http       the same through `rowvec serve`
filters    searches with filters that 0.01 % to 50 % of the rows pass
facets     the values of the metadata column over all rows, counted in the process and through HTTP
denser     the same with m = 16 and ef_construction = 64
ivfflat    build, tuning and searches of IVFFlat, which then is in the place of hnsw-bit
others     status, quality, and audit without a sample
drawn      map
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from collections.abc import Sequence
from functools import partial
from itertools import islice

from benchmarks import million
from benchmarks.million import IN_A_TURN, SLOTS, TABLE, TURNS, WARM, filters, ivfflat, load, noop, real, spread
from benchmarks.products import texts
from benchmarks.products_rig import Bench, Figures, measured
from benchmarks.rig import ROWVEC, served, timed

import rowvec

NAMES = "catalogue.names"
CONFIG = """
[pipelines.products]
source = {{ kind = "sql", url = "{url}", table = "{names}", key = "id" }}
text = {{ columns = ["name"] }}
embedder = {{ kind = "local", precision = "int8" }}

[pipelines.products.store]
kind = "postgres"
table = "{table}"
storage = "halfvec"
metadata = ["slot"]
language = ""
texts = false
index = "none"
"""
MAKE = """
create schema if not exists catalogue;
drop table if exists {names};
create table {names} as
    select id::bigint, 'part ' || id || ' of series ' || id % 4999 as name, (hashint8(id) & 1048575) % {slots} as slot
    from generate_series(1, {rows}) id;
alter table {names} add primary key (id);
analyze {names};
"""


def main(arguments: Sequence[str]) -> None:
    parser = million.parser_of("python -m benchmarks.many_vectors", __doc__ or "")
    parser.add_argument("--m", type=int, default=16, help="of the graph of the index")
    parser.add_argument("--ef-construction", type=int, default=64, help="of the graph of the index")
    options = parser.parse_args(arguments)
    million.measure("many-vectors", options, configs, STEPS)


def configs(url: str, options: argparse.Namespace) -> dict[str, str]:
    return {"rowvec.toml": CONFIG.format(url=url, names=NAMES, table=TABLE)}


def catalogue(bench: Bench) -> Figures:
    rows = bench.options.rows
    return {"rows": rows, "s": timed(lambda: bench.run(MAKE.format(names=NAMES, slots=SLOTS, rows=rows)))}


def bits(bench: Bench) -> Figures:
    m, effort = bench.options.m, bench.options.ef_construction
    built = million.index(bench, "hnsw-bit", "--m", str(m), "--ef-construction", str(effort))
    return {"m": m, "ef_construction": effort, **built}


def denser(bench: Bench) -> Figures:
    return million.index(bench, "hnsw-bit")


def api(bench: Bench) -> Figures:
    """No query is asked twice, so none is known."""
    asked = list(islice(texts(), 1_000, 1_000 + WARM + TURNS * IN_A_TURN))
    with rowvec.Project(bench.folder / "rowvec.toml") as project:
        pipeline = project.pipeline()
        for query in asked[:WARM]:
            pipeline.search(query)
        took = [1000 * timed(partial(pipeline.search, query)) for query in asked[WARM:]]
    return spread(took)


def http_(bench: Bench) -> Figures:
    return million.over_http(bench, ["semantic"])


http_.__name__ = "http"


def facets(bench: Bench) -> Figures:
    found: Figures = {}
    with rowvec.Project(bench.folder / "rowvec.toml") as project:
        pipeline = project.pipeline()
        for turn in ("first", "again"):
            found[f"in the process, {turn}, s"] = timed(lambda: pipeline.search(facets=["slot"], limit=1))
    with served(bench.folder, "--rate", "1e6", log=bench.log) as port:
        for path in ("/health", "/status", "/metrics"):
            found[f"GET {path}, s"] = timed(partial(ask, port, "GET", path))
        body = {"limit": 1, "facets": ["slot"]}
        found["POST /search/browse with a facet, s"] = timed(partial(ask, port, "POST", "/search/browse", body))
    return found


def ask(port: int, method: str, path: str, body: Figures | None = None) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    content = reply.read()
    assert reply.status == 200, content[:500]


def others(bench: Bench) -> Figures:
    # No row of a sample is right: the vectors are not of their texts.
    return commands(bench, ["status"], ["audit", "--sample", "0"], ["quality"])


def drawn(bench: Bench) -> Figures:
    return commands(bench, ["map"])


def commands(bench: Bench, *chosen: Sequence[str]) -> Figures:
    """Those that look at all rows; time of the processor is that of the client."""
    found: Figures = {}
    for command in chosen:
        run, name = measured(bench, [*ROWVEC, *command, "--json"]), command[0]
        found |= {
            f"{name}, s": run["s"], f"{name}, processor, s": run["processor, s"], f"{name}, peak memory, MB": run["MB"],
        }  # fmt: skip
    return found


STEPS = (catalogue, real, load, noop, bits, api, http_, filters, facets, denser, ivfflat, others, drawn)

if __name__ == "__main__":
    main(sys.argv[1:])
