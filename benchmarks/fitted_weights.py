"""What weights fitted to judgements gain on queries by which none was chosen: `rowvec eval --fit` in five folds.

    python -m benchmarks.fitted_weights [vaswani icecat] [--state FOLDER] [--precision int8]

It searches the vectors of `benchmarks.relevance`, and makes them where there are none.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.relevance import COLLECTIONS, RESULTS, measured, pipeline_of

from rowvec.ranking import Ranking
from rowvec.searcher import Searcher
from rowvec.searcher.fitting import fit
from rowvec.syncing.run import sync

STARTS = {"the defaults": Ranking(), "words almost alone": Ranking(semantic_weight=0.05)}
"""Settings that somebody may have now."""


def measure(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    collection = COLLECTIONS[name]()
    pipeline = pipeline_of(name, collection, options.state, options.precision, options.model)
    sync(pipeline)
    searcher, found = Searcher.of(pipeline), []
    for label, ranking in STARTS.items():
        began = time.perf_counter()
        started = replace(searcher, ranking=ranking)
        fitted = fit(started, collection.queries, collection.judgements, condensed=collection.condensed)
        seconds = round(time.perf_counter() - began, 1)
        found.append({"collection": name, "from": label, "seconds": seconds, **fitted.as_dict()})
    pipeline.close()
    return found


def main(arguments: Sequence[str]) -> None:
    found = measured(arguments, __doc__, measure)
    print(
        "| collection | from | now | on queries left out | gain | proposed | seconds |\n|---|---|---|---|---|---|---|"
    )
    for row in found:
        low, high = row["interval"]
        print(
            f"| {row['collection']} | {row['from']} | {row['before']:.4f} | {row['held_out']:.4f}"
            f" | {row['gain']:+.4f} [{low:+.4f}, {high:+.4f}] | {row['proposed'] or 'the same'} | {row['seconds']} |"
        )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "fitted_weights.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
