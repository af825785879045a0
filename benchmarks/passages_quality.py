"""Long texts: how well rows are found when texts are cut, averaged, or kept as passages.

    python -m benchmarks.passages_quality [--cards 7433] [--queries 300] [--state FOLDER] [--precision int8]

The rows are dataset cards of Hugging Face. Three sets of queries, each drawn with a fixed seed:

name    the name of a dataset, its words apart: finds its card
last    the last sentence of a card that is longer than the model's window: finds its card
middle  a sentence from the middle of such a card
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.relevance_data import data_folder
from rich.console import Console
from rich.table import Table

import rowvec
from rowvec.evaluation.measures import evaluate

RESULTS = Path(__file__).parent / "results" / "passages_quality.json"
MEASURES = ("nDCG@10", "recall@10")
WAYS = {
    "cut": "truncate",
    "mean": "mean",
    "passages": "mean",
}
LEAST, MOST = 40, 300
"""Characters of a sentence that is asked for."""
COMMON = 25
"""Sentences that begin with the same characters are taken for one that cards share."""


def cards(most: int) -> list[dict[str, Any]]:
    with gzip.open(data_folder() / "hf_datasets/cards.jsonl.gz", "rt") as lines:
        found = [json.loads(line) for line in lines]
    bodies: dict[str, dict[str, Any]] = {}
    for card in found:
        # Cards that were copied answer each other's queries.
        bodies.setdefault(card["body"], {"name": card["dataset_name"], "body": card["body"], "task": card["task"]})
    return list(bodies.values())[:most]


def sentences(body: str) -> list[str]:
    # An address says nothing to a model, and cards share the sentences around it.
    parts = (part for part in re.split(r"(?<=[.!?])\s+|\n{2,}", body) if "http" not in part)
    return [
        " ".join(part.split()) for part in parts if LEAST <= len(part) <= MOST and re.search(r"[a-z]{3} [a-z]", part)
    ]


def queries(rows: Sequence[Mapping[str, Any]], most: int) -> dict[str, dict[str, tuple[str, str]]]:
    """By set: id -> (query, the name of the card that it finds)."""
    dice = random.Random(7)
    often: dict[str, int] = {}
    for row in rows:
        for start in {sentence[:COMMON] for sentence in sentences(row["body"])}:
            often[start] = often.get(start, 0) + 1
    found: dict[str, list[tuple[str, str]]] = {"name": [], "last": [], "middle": []}
    for row in rows:
        found["name"].append((re.sub(r"[^A-Za-z0-9]+", " ", row["name"].rpartition("/")[2]).strip(), row["name"]))
        own = [each for each in sentences(row["body"]) if often[each[:COMMON]] == 1]
        # Four characters a token: these texts go on far behind the window.
        behind = [each for each in own if row["body"].find(each[:30]) > 1400]
        if behind:
            found["last"].append((behind[-1], row["name"]))
            found["middle"].append((behind[len(behind) // 2], row["name"]))
    return {
        kind: {f"{kind}-{n}": pair for n, pair in enumerate(dice.sample(pairs, min(most, len(pairs))))}
        for kind, pairs in found.items()
    }


def config(way: str, state: Path, precision: str) -> Path:
    folder = state / way
    folder.mkdir(parents=True, exist_ok=True)
    passages = ', passages = { tokens = 200, overlap = 20, context = "{{ name }}" }' if way == "passages" else ""
    (folder / "rowvec.toml").write_text(f"""
[pipelines.cards]
source = {{ kind = "files", paths = "{(state / "cards.jsonl").resolve()}", key = "name" }}
text = {{ template = "{{{{ name }}}}\\n\\n{{{{ body }}}}"{passages} }}
[pipelines.cards.embedder]
kind = "local"
model = "sentence-transformers/all-MiniLM-L6-v2"
precision = "{precision}"
overflow = "{WAYS[way]}"
[pipelines.cards.store]
kind = "postgres"
table = "cards"
""")
    return folder / "rowvec.toml"


def measure(way: str, asked: Mapping[str, Mapping[str, tuple[str, str]]], path: Path) -> list[dict[str, Any]]:
    found = []
    with rowvec.open(path) as project:
        pipeline = project.pipeline("cards")
        began = time.perf_counter()
        report = pipeline.sync()
        seconds = time.perf_counter() - began
        for kind, pairs in asked.items():
            texts = {name: query for name, (query, _) in pairs.items()}
            judged = {name: {key: 1} for name, (_, key) in pairs.items()}
            for mode in ("semantic", "keyword", "hybrid"):

                def run(query: str, depth: int, mode: Any = mode) -> Sequence[object]:
                    return [
                        hit.key for hit in pipeline.search(query, mode=mode, limit=min(depth, 1000), passages=0).hits
                    ]

                means = evaluate(run, texts, judged, MEASURES).means
                found.append({"way": way, "queries": kind, "mode": mode, **{m: round(v, 4) for m, v in means.items()}})
        found[0] |= {"seconds": round(seconds, 1), "texts": report.texts}
    return found


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", type=int, default=7433)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--state", type=Path, default=Path(".rowvec/passages"))
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--ways", nargs="*", default=list(WAYS))
    chosen = parser.parse_args(arguments)
    rows = cards(chosen.cards)
    chosen.state.mkdir(parents=True, exist_ok=True)
    (chosen.state / "cards.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = queries(rows, chosen.queries)
    found = [row for way in chosen.ways for row in measure(way, asked, config(way, chosen.state, chosen.precision))]
    table = Table("way", "queries", "mode", *MEASURES)
    for row in found:
        table.add_row(*(str(row[name]) for name in ("way", "queries", "mode", *MEASURES)))
    Console().print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    counts = {kind: len(pairs) for kind, pairs in asked.items()}
    RESULTS.write_text(json.dumps({"cards": len(rows), "queries": counts, "found": found}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
