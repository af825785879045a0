"""Texts a second with the same MiniLM weights: rowvec's local embedder against other ways to run the model.

    python benchmarks/embedding.py --texts 600 --rounds 3

The texts are titles and descriptions of products and descriptions of data sets, 5 to over 256 tokens, shuffled. All
contestants stay loaded and take turns within a round, and the order changes from round to round, so that a noisy
machine is noisy for all; the figures are medians, the ratios medians of the ratios within a round.

Contestants that need torch or ONNX Runtime run in the interpreter that ROWVEC_BENCH_PYTHON names, or in this one; one
whose library is missing there is left out of the table.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.metadata
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import MINILM, find
from rowvec.errors import ConfigError

DATA = Path(os.environ.get("ROWVEC_TEST_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
RESULTS = Path(__file__).parent / "results" / "embedding.json"
REFERENCE = "sentence-transformers, torch"
HERE = {
    "rowvec float32": ("float32", "ctranslate2"),
    "rowvec float32, OpenVINO": ("float32", "openvino"),
    "rowvec bfloat16, OpenVINO": ("bfloat16", "openvino"),
    "rowvec int8": ("int8", "ctranslate2"),
}
QUERY = "a quiet chair for the office"
QUERIES = 40
"""Of one round, one after the other."""


def sample(count: int, seed: int = 7) -> list[str]:
    """Half products (every other one with its description), half descriptions of data sets."""
    with gzip.open(DATA / "icecat" / "products.jsonl.gz", "rt") as lines:
        products = [json.loads(line) for line in lines]
    with gzip.open(DATA / "registry" / "events.jsonl.gz", "rt") as lines:
        entries = [json.loads(line)["after"] or {} for line in lines]
    descriptions = list(dict.fromkeys(entry["description"] for entry in entries if entry.get("description")))
    draw = random.Random(seed)
    texts = draw.sample(descriptions, count // 2)
    for number, product in enumerate(draw.sample(products, count - len(texts))):
        description = product.get("short_description") or ""
        texts.append(f"{product['title']}. {description}" if number % 2 else product["title"])
    draw.shuffle(texts)
    return texts


class Elsewhere:
    """A contestant in a process of its own, asked over its standard input."""

    def __init__(self, name: str, folder: Path, texts: Path) -> None:
        python = os.environ.get("ROWVEC_BENCH_PYTHON", sys.executable)
        self.vectors = texts.with_name(f"{name}.npy")
        command = [python, __file__, "--contestant", name, str(folder), str(texts), str(self.vectors)]
        quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet
        )
        self.versions = self._line()

    def seconds(self) -> float:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self._line()["seconds"])

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise LookupError("it did not start")
        answer: dict[str, Any] = json.loads(line)
        if "missing" in answer:
            raise LookupError(answer["missing"])
        return answer

    def close(self) -> None:
        self.process.communicate()


class Here:
    """One precision and engine of the local embedder.

    Raises:
        LookupError: this machine has not got them.
    """

    def __init__(self, precision: str, engine: str, texts: list[str]) -> None:
        self.embedder = LocalEmbedder(MINILM, precision=precision, engine=engine)
        self.texts = texts
        self.query_seconds: list[float] = []
        try:
            self.embedder.embed(texts[:64])
        except ConfigError as error:
            raise LookupError(error.message) from error
        self.versions = {engine: importlib.metadata.version(engine)}

    def seconds(self) -> float:
        started = time.perf_counter()
        self.result = self.embedder.embed(self.texts)
        seconds = time.perf_counter() - started
        for _ in range(QUERIES):
            asked = time.perf_counter()
            self.embedder.embed_query(QUERY)
            self.query_seconds.append(time.perf_counter() - asked)
        return seconds

    def close(self) -> None:
        self.embedder.close()


def contestant(name: str, folder: str, texts: str, vectors: str) -> None:
    """The other process: says what it runs, then embeds everything for each line that it reads."""
    say, sys.stdout = sys.stdout, sys.stderr
    everything = json.loads(Path(texts).read_text())
    try:
        embed, versions = {"sente": sentence_transformers, "ONNX ": onnx_runtime, "faste": fastembed}[name[:5]](
            name, folder
        )
    # The libraries wrap a missing part of theirs in errors of several kinds.
    except Exception as error:
        say.write(json.dumps({"missing": f"{type(error).__name__}: {error}".partition("\n")[0]}) + "\n")
        return
    embed(everything[:64])
    say.write(json.dumps(versions) + "\n")
    say.flush()
    for _ in sys.stdin:
        started = time.perf_counter()
        found = embed(everything)
        seconds = time.perf_counter() - started
        np.save(vectors, found)
        say.write(json.dumps({"seconds": seconds}) + "\n")
        say.flush()


def sentence_transformers(name: str, folder: str) -> Any:
    import sentence_transformers as library
    import torch

    if name == REFERENCE:
        model = library.SentenceTransformer(folder, device="cpu")
        return model.encode, {"sentence-transformers": library.__version__, "torch": torch.__version__}
    import onnxruntime

    with tempfile.TemporaryDirectory() as scratch:
        export(folder, Path(scratch) / "model.onnx")
        copied = Path(scratch) / "model"
        copied.mkdir()
        for path in Path(folder).rglob("*.json"):
            target = copied / path.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
        (Path(scratch) / "model.onnx").rename(copied / "model.onnx")
        model = library.SentenceTransformer(
            str(copied),
            device="cpu",
            backend="onnx",
            model_kwargs={"file_name": "model.onnx", "provider": "CPUExecutionProvider", "export": False},
        )
    return model.encode, {"sentence-transformers": library.__version__, "onnxruntime": onnxruntime.__version__}


def onnx_runtime(name: str, folder: str) -> Any:
    """The runtime itself, used as well as its plain interface allows: 32 neighbours in length at a time."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    with tempfile.TemporaryDirectory() as scratch:
        export(folder, Path(scratch) / "model.onnx")
        session = onnxruntime.InferenceSession(f"{scratch}/model.onnx", providers=["CPUExecutionProvider"])

    def embed(texts: list[str]) -> Any:
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        vectors = np.empty((len(texts), 384), np.float32)
        for start in range(0, len(texts), 32):
            chosen = order[start : start + 32]
            encodings = tokenizer.encode_batch([texts[index] for index in chosen])
            ids = np.array([encoding.ids for encoding in encodings])
            mask = np.array([encoding.attention_mask for encoding in encodings])
            feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            hidden = session.run(None, feed)[0]
            vectors[chosen] = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return vectors

    return embed, {"onnxruntime": onnxruntime.__version__}


def fastembed(name: str, folder: str) -> Any:
    import fastembed as library
    import onnxruntime
    from fastembed.common.model_description import ModelSource, PoolingType

    scratch = Path(tempfile.mkdtemp())
    for path in Path(folder).glob("*.json"):
        (scratch / path.name).write_bytes(path.read_bytes())
    export(folder, scratch / "model.onnx")
    library.TextEmbedding.add_custom_model(
        model="local/minilm",
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf="local/minilm"),
        dim=384,
        model_file="model.onnx",
    )
    model = library.TextEmbedding("local/minilm", specific_model_path=str(scratch))
    versions = {"fastembed": library.__version__, "onnxruntime": onnxruntime.__version__}
    return lambda texts: np.stack(list(model.embed(texts))), versions


ELSEWHERE: dict[str, Callable[[str, str], Any]] = {
    REFERENCE: sentence_transformers,
    "sentence-transformers, ONNX": sentence_transformers,
    "ONNX Runtime, sorted": onnx_runtime,
    "fastembed, custom ONNX": fastembed,
}


def export(folder: str, path: Path) -> None:
    """The encoder of the model as ONNX, batch and length left open."""
    import torch
    from transformers import AutoModel

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(folder, attn_implementation="eager")

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.model(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state

    names = ("input_ids", "attention_mask", "token_type_ids")
    ids = torch.ones(2, 8, dtype=torch.long)
    axes = {0: "batch", 1: "length"}
    torch.onnx.export(
        Encoder().eval(),
        (ids, ids, ids * 0),
        str(path),
        input_names=list(names),
        output_names=["last_hidden_state"],
        dynamic_axes=dict.fromkeys((*names, "last_hidden_state"), axes),
        dynamo=False,
    )


def race(texts: list[str], rounds: int) -> dict[str, Any]:
    contestants: dict[str, Here | Elsewhere] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "texts.json"
        path.write_text(json.dumps(texts))
        for name in ELSEWHERE:
            try:
                contestants[name] = Elsewhere(name, find(MINILM).folder, path)
            except LookupError as error:
                missing[name] = str(error)
        for name, (precision, engine) in HERE.items():
            try:
                contestants[name] = Here(precision, engine, texts)
            except LookupError as error:
                missing[name] = str(error)
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        order = list(contestants)
        for number in range(rounds):
            for name in order[number % len(order) :] + order[: number % len(order)]:
                seconds[name].append(contestants[name].seconds())
        vectors = {name: found(entry) for name, entry in contestants.items()}
        for entry in contestants.values():
            entry.close()
    rows = {}
    for name, taken in seconds.items():
        rows[name] = {
            "texts_per_second": round(len(texts) / statistics.median(taken), 1),
            "seconds": [round(value, 2) for value in taken],
            "versions": contestants[name].versions,
        }
        entry = contestants[name]
        if isinstance(entry, Here):
            rows[name]["query_ms"] = round(1000 * statistics.median(entry.query_seconds), 2)
        if REFERENCE in seconds:
            ratios = [reference / own for reference, own in zip(seconds[REFERENCE], taken, strict=True)]
            cosines = (vectors[name] * vectors[REFERENCE]).sum(axis=1)
            rows[name]["times_reference"] = round(statistics.median(ratios), 2)
            rows[name]["cosine_mean"] = round(float(cosines.mean()), 5)
            rows[name]["cosine_min"] = round(float(cosines.min()), 5)
    return {"contestants": rows, "missing": missing}


def found(entry: Here | Elsewhere) -> np.ndarray[Any, np.dtype[np.float32]]:
    vectors = entry.result.vectors if isinstance(entry, Here) else np.load(entry.vectors)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    texts = sample(options.texts)
    result = race(texts, options.rounds)
    print(f"{'':30} {'texts/s':>8} {'times':>6} {'cosine mean':>12} {'min':>8} {'query ms':>9}")
    for name, row in result["contestants"].items():
        cells = [row.get(each, "-") for each in ("times_reference", "cosine_mean", "cosine_min", "query_ms")]
        print(f"{name:30} {row['texts_per_second']:>8} {cells[0]:>6} {cells[1]:>12} {cells[2]:>8} {cells[3]:>9}")
    for name, reason in result["missing"].items():
        print(f"{name}: left out, {reason}")
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"texts": len(texts), "machine": machine, **result}, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--contestant"]:
        contestant(*sys.argv[2:])
    else:
        main(sys.argv[1:])
