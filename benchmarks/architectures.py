"""Each architecture that the local embedder runs, held against the sentence-transformers library.

    ROWVEC_BENCH_PYTHON=/path/to/python python -m benchmarks.architectures [--keep]

The models have random weights and are made on the spot, so nothing is fetched. ROWVEC_BENCH_PYTHON names an interpreter
that has the library. `--keep` writes its vectors for the tests, which then need no such interpreter.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from benchmarks.reference_library import interpreter, keep, references, wants_kept
from tests.support_architectures import CASES, TEXTS, write

from rowvec.embedders.architectures import FAMILIES, TITLES
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.errors import MissingExtraError
from rowvec.types import Vectors

RESULTS = Path(__file__).parent / "results"
KEPT = Path(__file__).parents[1] / "tests" / "data" / "architectures.json"
SCRIPT = """
import json, sys
from sentence_transformers import SentenceTransformer
texts = json.loads(sys.stdin.read())
found = [SentenceTransformer(path, device="cpu").encode(texts, prompt="").tolist() for path in sys.argv[1:]]
print(json.dumps(found))
"""


def lowest_cosine(folder: Path, engine: str, expected: Vectors, cache: Path) -> float:
    embedder = LocalEmbedder(str(folder), engine=engine, cache_dir=cache)
    found, wanted = embedder.embed(TEXTS).vectors, expected
    embedder.close()
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    return float(((found * wanted).sum(axis=1) / lengths).min())


def measure(expected: Mapping[str, Vectors], folders: Mapping[str, Path], cache: Path) -> list[dict[str, Any]]:
    """A row for each architecture and engine: its poolings, and the lowest cosine of all its models and texts."""
    cosines: dict[tuple[str, str], list[float]] = defaultdict(list)
    poolings: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name, case in CASES.items():
        for engine in FAMILIES[case.kind].engines:
            try:
                cosine = lowest_cosine(folders[name], engine, expected[name], cache)
            except MissingExtraError as error:
                print(f"{name}: {error.message}", file=sys.stderr)
                continue
            cosines[case.kind, engine].append(cosine)
            poolings[case.kind, engine].add(case.pooling + (" + Dense" if case.dense else ""))
    return [
        {"model_type": kind, "engine": TITLES[engine], "pooling": sorted(poolings[kind, engine]),
         "cosine": round(min(found), 7)}
        for (kind, engine), found in cosines.items()
    ]  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    kept = wants_kept(arguments, __doc__)
    if (python := interpreter()) is None:
        return
    with TemporaryDirectory() as scratch:
        root = Path(scratch)
        folders = {name: write(root / str(place), case) for place, (name, case) in enumerate(CASES.items())}
        found = references(python, SCRIPT, folders, TEXTS)
        expected = {name: np.array(vectors) for name, vectors in found.items()}
        rows = measure(expected, folders, root / "cache")
    if kept:
        keep(KEPT, {name: np.round(vectors, 6).tolist() for name, vectors in expected.items()})
    print("| `model_type` | engine | pooling | lowest cosine |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['model_type']} | {row['engine']} | {', '.join(row['pooling'])} | {row['cosine']:.6f} |")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "architectures.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
