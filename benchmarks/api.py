"""The openai embedder against a server with a given latency: wall time, memory, and the estimate beside the bill.

    python -m benchmarks.api --latency 0.25 --concurrency 4 8

The server is a process of its own and bills by a real tokenizer. Ideal is what latency and concurrency allow: as many
rounds of requests as there have to be, each of one latency.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import sys
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.rig import embedding_service

from rowvec.embedders.model_files import MINILM, find
from rowvec.embedders.openai.client import OpenAIEmbedder
from rowvec.embedders.pricing import Price, dollars

MODEL = "text-embedding-3-small"
PRICE = Price(0.02, "benchmark")


def samples(count: int) -> list[str]:
    """Texts in the form of a sample library: labelled lines, about 80 tokens each."""
    draw = random.Random(11)
    moods = ["dark", "bright", "hypnotic", "tense", "warm", "dreamy", "aggressive", "playful", "uplifting"]
    things = ["kick", "snare", "pad", "bassline", "arpeggio", "vocal", "chop", "riser", "texture", "lead", "piano"]
    lines = (
        "dusty analog tape saturated wide layered filtered crisp rolling distant granular reversed pitched looped",
        "recorded through an old console with a slow attack and long tail for late night sets",
    )
    words = [word for line in lines for word in line.split()]
    return [
        f"Title: {draw.choice(moods).title()} {draw.choice(things).title()} {number}\n"
        f"Genre: {draw.choice(['Deep House', 'Drum & Bass', 'Ambient', 'Hip Hop', 'Techno'])}\n"
        f"BPM: {draw.randint(70, 175)}\nKey: {draw.choice('ABCDEFG')}{draw.choice(['', '#', 'b'])} minor\n"
        f"Mood: {draw.choice(moods)}, {draw.choice(moods)}\nEnergy: {draw.random():.2f}\n"
        f"Tags: {', '.join(draw.sample(words, 4))}\nDescription: A {' '.join(draw.choices(words, k=30))}."
        for number in range(count)
    ]


def bill(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url.removesuffix('/v1')}/stats") as reply:
        stats: dict[str, Any] = json.load(reply)
    return stats


def measure(texts: list[str], url: str, latency: float, concurrency: int, tokenizer: Path) -> dict[str, Any]:
    embedder = OpenAIEmbedder(MODEL, base_url=url, api_key="test-key", concurrency=concurrency, price=PRICE)
    exact = OpenAIEmbedder(MODEL, base_url=url, tokenizer=tokenizer)
    chunks = [texts[start : start + embedder.chunk_texts] for start in range(0, len(texts), embedder.chunk_texts)]
    before = bill(url)["billed_tokens"]
    started = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        for answer in pool.map(embedder.embed, chunks):
            assert answer.vectors.shape[1] == 1536
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    embedder.close()
    billed = bill(url)["billed_tokens"] - before
    ideal = math.ceil(len(chunks) / concurrency) * latency
    return {
        "concurrency": concurrency,
        "requests": len(chunks),
        "seconds": round(seconds, 2),
        "ideal": round(ideal, 2),
        "ratio": round(seconds / ideal, 2),
        "memory_mb": round(memory),
        "billed_tokens": billed,
        "cost": dollars(PRICE.cost(billed)),
        "estimate_off": f"{sum(embedder.count_tokens(texts)) / billed - 1:+.1%}",
        "exact_off": f"{sum(exact.count_tokens(texts)) / billed - 1:+.1%}",
    }


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=2437)
    parser.add_argument("--latency", type=float, default=0.25, help="seconds from a request to its answer")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 8])
    by_default = find(MINILM).folder / "tokenizer.json"
    parser.add_argument("--tokenizer", type=Path, default=by_default, help="by which the server bills")
    options = parser.parse_args(arguments)
    texts = samples(options.texts)
    with embedding_service(options.latency, "--tokenizer", str(options.tokenizer)) as url:
        for concurrency in options.concurrency:
            print(json.dumps(measure(texts, url, options.latency, concurrency, options.tokenizer)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
