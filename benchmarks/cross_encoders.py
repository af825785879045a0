"""Each kind of cross-encoder that the local reranker runs, held against `CrossEncoder` of sentence-transformers.

    ROWVEC_BENCH_PYTHON=/path/to/python python -m benchmarks.cross_encoders [--keep]

The models have random weights and are made on the spot, so nothing is fetched. ROWVEC_BENCH_PYTHON names an interpreter
that has the library. `--keep` writes its scores for the tests, which then need no such interpreter.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from benchmarks.reference_library import interpreter, keep, references, wants_kept
from tests.support_cross_encoders import CASES, PAIRS, QUERIES, write_cross_encoder

from rowvec.embedders.architectures import FAMILIES, TITLES
from rowvec.embedders.local.cross_encoder import CrossEncoder
from rowvec.types import Vectors

KEPT = Path(__file__).parents[1] / "tests" / "data" / "cross_encoders.json"
SCRIPT = """
import json, sys
from sentence_transformers import CrossEncoder
pairs = [tuple(pair) for pair in json.loads(sys.stdin.read())]
found = [CrossEncoder(path, device="cpu").predict(pairs).tolist() for path in sys.argv[1:]]
print(json.dumps(found))
"""


def scores(folder: Path, engine: str, cache: Path) -> Vectors:
    model = CrossEncoder(str(folder), engine=engine, cache_dir=cache)
    parts = [model.scores(query, [text for asked, text in PAIRS if asked == query]) for query in QUERIES]
    model.close()
    return np.concatenate([part for part in parts if part is not None])


def main(arguments: Sequence[str]) -> None:
    kept = wants_kept(arguments, __doc__)
    if (python := interpreter()) is None:
        return
    with TemporaryDirectory() as scratch:
        root = Path(scratch)
        places = enumerate(CASES.items())
        folders = {name: write_cross_encoder(root / str(place), case) for place, (name, case) in places}
        expected = references(python, SCRIPT, folders, PAIRS)
        print("| model | engine | largest difference of a score |\n|---|---|---|")
        for name, case in CASES.items():
            for engine in FAMILIES[case.kind].engines:
                off = float(np.abs(scores(folders[name], engine, root / "cache") - expected[name]).max())
                print(f"| {name} | {TITLES[engine]} | {off:.1e} |")
    if kept:
        keep(KEPT, {name: np.round(found, 7).tolist() for name, found in expected.items()})


if __name__ == "__main__":
    main(sys.argv[1:])
