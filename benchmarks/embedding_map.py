"""The map of 100,000 rows: how long drawing and serving it take, and how many neighbours stay neighbours.

    python -m benchmarks.embedding_map [--rows 100000] [--state FOLDER]

The table is the one of `benchmarks.search`: run that first, with the same rows. Kept neighbours: of the 10 nearest
vectors of a row, the share among its 10, and its 100, nearest points; chance would give 10 / rows and 100 / rows.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import MINILM
from rowvec.maps.draw import EmbeddingMap, draw, map_file
from rowvec.serve.page.colours import colour
from rowvec.stores.base import GenerationHandle, TableSpec, existing
from rowvec.stores.postgres.embedded import embedded_url
from rowvec.stores.postgres.store import PostgresStore
from rowvec.types import Column, ColumnType

RESULTS = Path(__file__).parent / "results"
SLOT = Column("slot", ColumnType.INTEGER)
ASKED = 300
PAGE = 5_000


def kept(live: GenerationHandle, made: EmbeddingMap, near: int) -> float:
    chosen = np.random.default_rng(3).choice(len(made.keys), ASKED, replace=False)
    places = made.places.astype(np.float32)
    shares = []
    for number in chosen:
        key = made.keys[number]
        vector = live.vector(key)
        assert vector is not None
        nearest = {other for other in live.nearest(vector, 11, exact=True).keys if other != key}
        around = points_around(places, int(number), near)
        shares.append(len(nearest & {made.keys[each] for each in around}) / len(nearest))
    return float(np.mean(shares))


def points_around(places: npt.NDArray[np.float32], number: int, count: int) -> npt.NDArray[np.int64]:
    distances = np.square(places - places[number]).sum(axis=1)
    distances[number] = np.inf
    return np.argpartition(distances, count)[:count]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--state", type=Path, default=Path(".rowvec/search"))
    chosen = parser.parse_args(arguments)
    embedder = LocalEmbedder(MINILM)
    spec = TableSpec("search", "id", ColumnType.INTEGER, 384, (SLOT,), "english", embedder.fingerprint)
    store = PostgresStore(embedded_url(chosen.state), f"search_{chosen.rows}", pipeline="search")
    if not store.ledger().exists:
        sys.exit(f"There is no table of {chosen.rows:,} rows: python -m benchmarks.search --rows {chosen.rows}")
    found: dict[str, float] = {"rows": chosen.rows}
    phases: dict[str, float] = {}
    began = time.perf_counter()
    made = draw(store, spec, progress=lambda phase, done, total: phases.setdefault(phase, time.perf_counter()) and None)
    ended = time.perf_counter()
    starts = [*phases.values(), ended]
    found |= {f"{phase}, s": round(starts[n + 1] - starts[n], 1) for n, phase in enumerate(phases)}
    found |= {"whole, s": round(ended - began, 1)}
    found["peak memory, MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    with TemporaryDirectory() as folder:
        path = map_file(Path(folder), "search")
        made.save(path)
        found["file, kB"] = round(path.stat().st_size / 1000)
    began = time.perf_counter()
    values = []
    live = existing(store, spec)
    for start in range(0, len(made.keys), PAGE):
        rows = live.metadata(made.keys[start : start + PAGE])
        values += [rows[key]["slot"] for key in made.keys[start : start + PAGE]]
    colour(values, np.ones(len(values), bool), SLOT)
    found["colours, s"] = round(time.perf_counter() - began, 2)
    found |= {f"neighbours kept among {near}": round(kept(live, made, near), 3) for near in (10, 100)}
    print(json.dumps(found, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "embedding_map.json").write_text(json.dumps(found, indent=1) + "\n")
    store.close()


if __name__ == "__main__":
    main(sys.argv[1:])
