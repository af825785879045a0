"""Each architecture that the local embedder runs, held against the sentence-transformers library.

    ROWVEC_BENCH_PYTHON=/path/to/python python -m benchmarks.architectures [--keep]

The models have random weights and are made on the spot, so nothing is fetched. ROWVEC_BENCH_PYTHON names an interpreter
that has the library. `--keep` writes its vectors for the tests, which then need no such interpreter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tests.support_architectures import CASES, TEXTS, write

from rowvec.embedders.architectures import FAMILIES, TITLES
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.errors import EmbedderError

KEPT = Path(__file__).parents[1] / "tests" / "data" / "architectures.json"
SCRIPT = """
import json, sys
from sentence_transformers import SentenceTransformer
texts = json.loads(sys.stdin.read())
found = [SentenceTransformer(path, device="cpu").encode(texts, prompt="").tolist() for path in sys.argv[1:]]
print(json.dumps(found))
"""


def references(folders: Mapping[str, Path], python: str) -> dict[str, list[list[float]]]:
    """The vectors of TEXTS by the library, for each model."""
    done = subprocess.run(
        [python, "-c", SCRIPT, *map(str, folders.values())], input=json.dumps(TEXTS), capture_output=True, text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"ROWVEC_BENCH_PYTHON names no interpreter with sentence-transformers: {done.stderr[-500:]}")
    return dict(zip(folders, json.loads(done.stdout.splitlines()[-1]), strict=True))


def lowest_cosine(folder: Path, engine: str, expected: list[list[float]], cache: Path) -> float:
    embedder = LocalEmbedder(str(folder), engine=engine, cache_dir=cache)
    found, wanted = embedder.embed(TEXTS).vectors, np.array(expected)
    embedder.close()
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    return float(((found * wanted).sum(axis=1) / lengths).min())


def main() -> None:
    rows: dict[tuple[str, str], list[float]] = defaultdict(list)
    poolings: dict[tuple[str, str], set[str]] = defaultdict(set)
    with TemporaryDirectory() as scratch:
        root = Path(scratch)
        folders = {name: write(root / str(place), case) for place, (name, case) in enumerate(CASES.items())}
        expected = references(folders, os.environ.get("ROWVEC_BENCH_PYTHON", sys.executable))
        for name, case in CASES.items():
            for engine in FAMILIES[case.kind].engines:
                try:
                    cosine = lowest_cosine(folders[name], engine, expected[name], root / "cache")
                except EmbedderError as error:
                    print(f"{name} on {TITLES[engine]}: {error.message}", file=sys.stderr)
                    continue
                rows[case.kind, engine].append(cosine)
                poolings[case.kind, engine].add(case.pooling + (" + Dense" if case.dense else ""))
    if "--keep" in sys.argv:
        kept = {name: np.round(vectors, 6).tolist() for name, vectors in expected.items()}
        lines = [f"{json.dumps(name)}: {json.dumps(vectors)}" for name, vectors in kept.items()]
        KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    print("| `model_type` | engine | pooling | lowest cosine |\n|---|---|---|---|")
    for (kind, engine), cosines in rows.items():
        print(f"| {kind} | {TITLES[engine]} | {', '.join(sorted(poolings[kind, engine]))} | {min(cosines):.6f} |")


if __name__ == "__main__":
    main()
