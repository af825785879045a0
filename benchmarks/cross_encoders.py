"""Each kind of cross-encoder that the local reranker runs, held against `CrossEncoder` of sentence-transformers.

    ROWVEC_BENCH_PYTHON=/path/to/python python -m benchmarks.cross_encoders [--keep]

The models have random weights and are made on the spot, so nothing is fetched. ROWVEC_BENCH_PYTHON names an interpreter
that has the library. `--keep` writes its scores for the tests, which then need no such interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
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


def references(folders: Mapping[str, Path], python: str) -> dict[str, list[float]]:
    """The scores of PAIRS by the library, for each model."""
    done = subprocess.run(
        [python, "-c", SCRIPT, *map(str, folders.values())], input=json.dumps(PAIRS), capture_output=True, text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"The sentence-transformers library failed: {done.stderr[-1500:]}")
    return dict(zip(folders, json.loads(done.stdout.splitlines()[-1]), strict=True))


def scores(folder: Path, engine: str, cache: Path) -> Vectors:
    model = CrossEncoder(str(folder), engine=engine, cache_dir=cache)
    parts = [model.scores(query, [text for asked, text in PAIRS if asked == query]) for query in QUERIES]
    model.close()
    return np.concatenate([part for part in parts if part is not None])


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="write the library's scores for the tests")
    keep = parser.parse_args(arguments).keep
    python = os.environ.get("ROWVEC_BENCH_PYTHON", sys.executable)
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('sentence_transformers') is None)"
    if subprocess.run([python, "-c", probe], check=False).returncode:
        print("skipped: ROWVEC_BENCH_PYTHON names no interpreter with the sentence-transformers library")
        return
    with TemporaryDirectory() as scratch:
        root = Path(scratch)
        places = enumerate(CASES.items())
        folders = {name: write_cross_encoder(root / str(place), case) for place, (name, case) in places}
        expected = references(folders, python)
        print("| model | engine | largest difference of a score |\n|---|---|---|")
        for name, case in CASES.items():
            for engine in FAMILIES[case.kind].engines:
                off = float(np.abs(scores(folders[name], engine, root / "cache") - expected[name]).max())
                print(f"| {name} | {TITLES[engine]} | {off:.1e} |")
    if keep:
        lines = [f"{json.dumps(name)}: {json.dumps(np.round(each, 7).tolist())}" for name, each in expected.items()]
        KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
