"""Texts a second on a GPU: rowvec's local embedder beside sentence-transformers, and what the GPU does to the vectors.

    bash tools/gpu_check.sh                      five minutes at most on a machine with an NVIDIA GPU
    python -m benchmarks gpu                     the same, with the libraries found where they are
    python -m benchmarks.gpu --device cpu --texts 300 --rounds 1

Every contestant is a process of its own and stays loaded; they take turns within a round, and the order changes from
round to round. Figures are medians. rowvec gets the texts as a sync hands them over: in pages, sorted by length into
chunks, as many at once as the embedder asks for. sentence-transformers gets all of them in one call. Both tokenize
within the time that counts. Memory is the most that the card held beyond what it held before, while the contestant
went through all texts once, alone.

Vectors are held against those of rowvec in float32 on the CPU of the same machine. Where they are further away than
LEAST allows, the command fails.

CTranslate2 4.x looks for libcublas.so.12. Where only CUDA 13's is installed, its functions of the same names are
offered under that name, for this command alone.

Texts are products and descriptions of data sets from ROWVEC_TEST_DATA, or windows of this project's own documentation
where that folder is missing, or the lines of the file that --from names.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gzip
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import MINILM, find
from rowvec.syncing.batches import of_like_length

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("ROWVEC_TEST_DATA", ROOT / ".." / "shared" / "data"))
RESULTS = Path(__file__).parent / "results"
PAGE = 2_000
"""Texts that are sorted by length together."""
LEAST = {"float32": 0.9999, "float16": 0.999, "int8": 0.99}
"""The least cosine to float32 on the CPU."""
REFERENCE = "sentence-transformers float16"
CONTESTANTS: dict[str, dict[str, dict[str, Any]]] = {
    "cuda": {
        "rowvec float32": {"precision": "float32"},
        "rowvec float16": {"precision": "float16"},
        "sentence-transformers float32": {"library": True, "precision": "float32", "batch": 32},
        REFERENCE: {"library": True, "precision": "float16", "batch": 32},
        "sentence-transformers float16, 256 at once": {"library": True, "precision": "float16", "batch": 256},
        "sentence-transformers float16, 1,024 at once": {"library": True, "precision": "float16", "batch": 1_024},
    },
    "cpu": {
        "rowvec float32": {"precision": "float32"},
        "rowvec int8": {"precision": "int8"},
        "sentence-transformers float32": {"library": True, "precision": "float32", "batch": 32},
    },
}

Array = np.ndarray[Any, np.dtype[np.float32]]
Embed = Callable[[Sequence[str]], Array]


# The contestants, each a process


def contestant(settings: str, model: str, texts: str, compared: str, vectors: str) -> None:
    """Says what it runs and how long it took to start, then embeds everything for each line that it reads."""
    say, sys.stdout = sys.stdout, sys.stderr
    everything, chosen = json.loads(Path(texts).read_text()), json.loads(settings)
    started = time.perf_counter()
    try:
        embed, versions = (the_library if chosen.get("library") else rowvec)(model, **chosen)
        embed(everything[:64])
    # CUDA, two libraries and what they are missing fail with errors of no common kind.
    except Exception as error:
        print(json.dumps({"missing": f"{type(error).__name__}: {error}".partition("\n")[0]}), file=say, flush=True)
        return
    start = time.perf_counter() - started
    print(json.dumps({"versions": versions, "start_seconds": round(start, 1)}), file=say, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        found = embed(everything)
        seconds = time.perf_counter() - started
        np.save(vectors, found[: int(compared)])
        print(json.dumps({"seconds": seconds}), file=say, flush=True)


def rowvec(model: str, *, device: str, precision: str) -> tuple[Embed, dict[str, str]]:
    import ctranslate2

    embedder = LocalEmbedder(model, device=device, precision=precision)
    return lambda texts: as_a_sync(embedder, texts), {"ctranslate2": ctranslate2.__version__}


def as_a_sync(embedder: LocalEmbedder, texts: Sequence[str]) -> Array:
    """All the vectors, asked for in the chunks and from the threads of a sync."""
    found = np.empty((len(texts), embedder.fingerprint.dimension), np.float32)

    def one(places: list[int]) -> None:
        found[places] = embedder.embed([texts[place] for place in places]).vectors

    pages = [range(start, min(start + PAGE, len(texts))) for start in range(0, len(texts), PAGE)]
    chunks = [chunk for page in pages for chunk in of_like_length(embedder, page, texts.__getitem__)]
    with ThreadPoolExecutor(embedder.concurrency) as pool:
        list(pool.map(one, chunks))
    return found


def the_library(model: str, *, device: str, precision: str, batch: int, library: bool) -> tuple[Embed, dict[str, str]]:
    import sentence_transformers
    import torch

    loaded = sentence_transformers.SentenceTransformer(str(find(model).folder), device=device)
    loaded = loaded.half() if precision == "float16" else loaded.float()
    versions = {"sentence-transformers": sentence_transformers.__version__, "torch": torch.__version__}

    def embed(texts: Sequence[str]) -> Array:
        found = loaded.encode(list(texts), batch_size=batch, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(found, np.float32)

    return embed, versions


class Contestant:
    """One of the processes, asked over its standard input.

    Raises:
        LookupError: it did not start; the reason is the message.
    """

    def __init__(
        self, settings: dict[str, Any], model: str, texts: Path, compared: int, environment: dict[str, str]
    ) -> None:
        self.settings = settings
        self.vectors = texts.with_name(f"{'-'.join(map(str, settings.values()))}.npy")
        python = os.environ.get("ROWVEC_BENCH_PYTHON", sys.executable) if "library" in settings else sys.executable
        self.log = texts.with_name(f"{self.vectors.stem}.log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [python, "-m", "benchmarks.gpu", "--contestant",
                 json.dumps(settings), model, texts, str(compared), self.vectors],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=ROOT,
            )  # fmt: skip
        self.said = self._line()

    def seconds(self) -> float:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self._line()["seconds"])

    def close(self) -> None:
        self.process.communicate()

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            last = self.log.read_text().strip().splitlines()[-1:] or ["it ended without a word"]
            raise LookupError(last[0])
        answer: dict[str, Any] = json.loads(line)
        if "missing" in answer:
            self.close()
            raise LookupError(answer["missing"])
        return answer


# The machine


def card() -> dict[str, str] | None:
    """The name, memory and driver of the first GPU; None where there is none."""
    asked = ("name", "memory.total", "driver_version")
    try:
        line = subprocess.check_output(
            ["nvidia-smi", f"--query-gpu={','.join(asked)}", "--format=csv,noheader"],
            text=True, stderr=subprocess.DEVNULL,
        ).splitlines()[0]  # fmt: skip
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None
    return dict(zip(asked, map(str.strip, line.split(",")), strict=True))


class Watch:
    """The card's memory in use and how busy it is, read ten times a second; nothing where there is no card."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Watch:
        with contextlib.suppress(OSError):
            self.process = subprocess.Popen(
                ["nvidia-smi", "--query-gpu=memory.used,utilization.gpu", "--format=csv,noheader,nounits",
                 "--loop-ms=100"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            threading.Thread(target=self._read, args=[self.process], daemon=True).start()
            time.sleep(0.5)
        return self

    def __exit__(self, *error: object) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait()

    def mark(self) -> int:
        return len(self.seen)

    def since(self, mark: int) -> tuple[float, float] | None:
        """The most memory in MB, and the mean share of the time in which the card worked, in percent."""
        seen = self.seen[mark:]
        return (max(used for used, _ in seen), statistics.fmean(busy for _, busy in seen)) if seen else None

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            with contextlib.suppress(ValueError):  # "[N/A]" on cards that do not say
                used, busy = map(float, line.splitlines()[0].split(","))
                self.seen.append((used, busy))


@contextlib.contextmanager
def with_cublas() -> Iterator[tuple[dict[str, str], str]]:
    """The environment in which CTranslate2 finds a cuBLAS, and where that one comes from."""
    environment = {
        **os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH")])),
    }  # fmt: skip
    with contextlib.suppress(OSError):
        ctypes.CDLL("libcublas.so.12")
        yield environment, "libcublas.so.12 of the system"
        return
    places = [Path(folder) for folder in sys.path if folder] + [Path("/usr/local/cuda/lib64")]
    for name in ("libcublas.so.12", "libcublas.so.13"):
        files = [file for place in places for file in sorted([*place.glob(f"nvidia/*/lib/{name}"), *place.glob(name)])]
        if not files:
            continue
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "libcublas.so.12").symlink_to(files[0].resolve())
            paths = [folder, str(files[0].parent), os.environ.get("LD_LIBRARY_PATH")]
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
            yield environment, f"{name} of a Python package" if "nvidia" in files[0].parts else f"{name} of CUDA"
        return
    yield environment, "none found: install nvidia-cublas-cu12, or CUDA 12"


# The texts


def texts_of(source: Path | None, count: int) -> tuple[list[str], str]:
    """That many texts, and what they are."""
    if source is not None:
        lines = [line for line in source.read_text(encoding="utf-8").splitlines() if line.strip()]
        return (lines * -(-count // len(lines)))[:count], "lines of a file"
    draw = random.Random(7)
    if not (DATA / "icecat").is_dir():
        words = " ".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/**/*.md"))).split()
        spans = [(draw.randrange(len(words)), int(draw.triangular(3, 160, 40))) for _ in range(count)]
        return [" ".join(words[start : start + length]) for start, length in spans], "windows of the documentation"
    with gzip.open(DATA / "icecat" / "products.jsonl.gz", "rt") as lines_of_products:
        products = [json.loads(line) for line in lines_of_products]
    with gzip.open(DATA / "registry" / "events.jsonl.gz", "rt") as lines_of_events:
        entries = [json.loads(line)["after"] or {} for line in lines_of_events]
    found = [f"{product['title']}. {product.get('short_description') or ''}" for product in products]
    found += dict.fromkeys(entry["description"] for entry in entries if entry.get("description"))
    draw.shuffle(found)
    return (found * -(-count // len(found)))[:count], "products and descriptions of data sets"


# The race


def race(
    options: argparse.Namespace, texts: list[str], environment: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What each contestant reached, and why others are missing."""
    reached: dict[str, Any] = {}
    missing: dict[str, str] = {}
    contestants: dict[str, Contestant] = {}
    with tempfile.TemporaryDirectory() as scratch, Watch() as watch:
        path = Path(scratch) / "texts.json"
        path.write_text(json.dumps(texts))
        for name, settings in CONTESTANTS[options.device].items():
            mark = watch.mark()
            try:
                started = Contestant(
                    {"device": options.device, **settings}, options.model, path, options.compared, environment
                )
                started.seconds()
            except LookupError as error:
                missing[name] = str(error)
                continue
            contestants[name] = started
            reached[name] = dict(started.said)
            if mark and (after := watch.since(mark)):
                reached[name]["gpu_megabytes"] = round(after[0] - watch.seen[mark - 1][0])
        take_turns(contestants, reached, options.rounds, watch, len(texts))
        compare(contestants, reached, options.model, texts[: options.compared])
        for started in contestants.values():
            started.close()
    return reached, missing


def take_turns(
    contestants: dict[str, Contestant], reached: dict[str, Any], rounds: int, watch: Watch, count: int
) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    busy: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    for number in range(rounds):
        turn = number % max(1, len(order))
        for name in order[turn:] + order[:turn]:
            mark = watch.mark()
            seconds[name].append(contestants[name].seconds())
            if seen := watch.since(mark):
                busy[name].append(seen[1])
    for name, taken in seconds.items():
        reached[name]["seconds"] = [round(value, 2) for value in taken]
        reached[name]["rows_per_second"] = round(count / statistics.median(taken))
        if busy[name]:
            reached[name]["gpu_busy_percent"] = round(statistics.median(busy[name]))
        if REFERENCE in seconds:
            ratios = [reference / own for reference, own in zip(seconds[REFERENCE], taken, strict=True)]
            reached[name]["times_reference"] = round(statistics.median(ratios), 2)


def compare(contestants: dict[str, Contestant], reached: dict[str, Any], model: str, texts: list[str]) -> None:
    """The cosines to float32 on the CPU. A length of its own is divided out, so that a model need not normalise."""
    reference = unit(as_a_sync(LocalEmbedder(model, device="cpu"), texts))
    for name, started in contestants.items():
        cosines = (unit(np.load(started.vectors)) * reference).sum(axis=1)
        reached[name]["cosine_mean"] = round(float(cosines.mean()), 6)
        reached[name]["cosine_min"] = round(float(cosines.min()), 6)


def unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def too_far(reached: dict[str, Any], device: str) -> list[str]:
    """rowvec's contestants whose vectors are not near enough to the CPU's; NaN is never near."""
    return [
        f"{name}: the least cosine to the CPU is {row['cosine_min']}, and should be {LEAST[precision]} at least"
        for name, row in reached.items()
        if name.startswith("rowvec")
        and not row["cosine_min"] >= LEAST[precision := CONTESTANTS[device][name]["precision"]]
    ]


def show(reached: dict[str, Any], missing: dict[str, str]) -> None:
    columns = ("rows_per_second", "times_reference", "gpu_megabytes", "gpu_busy_percent", "start_seconds",
               "cosine_mean", "cosine_min")  # fmt: skip
    heads = ("rows/s", "times", "GPU MB", "busy %", "start s", "cosine mean", "min")
    print(f"{'':44}" + "".join(f"{head:>12}" for head in heads))
    for name, row in reached.items():
        print(f"{name:44}" + "".join(f"{row.get(column, '-'):>12}" for column in columns))
    for name, reason in missing.items():
        print(f"{name}: left out, {reason}")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=sorted(CONTESTANTS), default="cuda")
    parser.add_argument("--model", default=MINILM, help="a folder, or a name on the hub")
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--compared", type=int, default=2_000, help="texts that the CPU embeds, too")
    parser.add_argument("--from", type=Path, dest="source", help="a file with a text in each line")
    options = parser.parse_args(arguments)
    graphics = card() if options.device == "cuda" else {}
    if graphics is None:
        print("Left out: nvidia-smi names no NVIDIA GPU here. --device cpu runs the same on the processor.")
        return
    texts, kind = texts_of(options.source, options.texts)
    with with_cublas() as (environment, cublas):
        machine = {**graphics, "cublas": cublas, "processor": platform.machine(), "cores": len(os.sched_getaffinity(0))}
        print(", ".join(f"{name} {value}" for name, value in machine.items()))
        print(f"{len(texts):,} texts ({kind}), {options.rounds} rounds", flush=True)
        reached, missing = race(options, texts, environment)
    show(reached, missing)
    kept = RESULTS / ("gpu.json" if options.device == "cuda" else "local/gpu-on-the-cpu.json")
    kept.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "texts": len(texts),
        "compared": min(options.compared, len(texts)),
        "kind": kind,
        "machine": machine,
        "contestants": reached,
        "missing": missing,
    }
    kept.write_text(json.dumps(result, indent=2) + "\n")
    if failed := too_far(reached, options.device):
        sys.exit("\n".join(failed))
    if not any(name.startswith("rowvec") for name in reached):
        sys.exit("rowvec's embedder did not run on this device.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--contestant"]:
        contestant(*sys.argv[2:])
    else:
        main(sys.argv[1:])
