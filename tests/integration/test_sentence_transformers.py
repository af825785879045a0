"""The embedder on the sentence-transformers library, in an interpreter that has it.

The library brings torch, so it is usually not installed beside rowvec: ROWVEC_BENCH_PYTHON names an interpreter
that has it, or else it is looked for in this one.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import huggingface_hub.constants
import numpy as np
import pytest

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.sentence_transformers import SentenceTransformersEmbedder, _folder_revision, _hub_revision
from rowvec.errors import MissingExtraError
from tests.support_tiny_models import tiny_model, tiny_tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PYTHON = os.environ.get("ROWVEC_BENCH_PYTHON", sys.executable)
SOURCE = Path(__file__).parents[2] / "src"
TEXTS = ["the cat", "", "a dog runs", "the cat sat on a red mat and runs " * 6, "a\ud800 cat", "red\0mat"]
SCRIPT = """
import json, sys
from rowvec.embedders.sentence_transformers import SentenceTransformersEmbedder
from rowvec.errors import EmbedderError
texts = json.loads(sys.stdin.read())
subject = SentenceTransformersEmbedder(sys.argv[1], device="cpu")
answer = subject.embed(texts)
try:
    SentenceTransformersEmbedder(sys.argv[1] + "-not-there", device="cpu")
except EmbedderError as error:
    refusal = str(error)
print(json.dumps({
    "vectors": answer.vectors.tolist(), "tokens": answer.tokens, "truncated": list(answer.truncated),
    "query": subject.embed_query("the cat").tolist(), "counts": subject.count_tokens(texts),
    "none": list(subject.embed([]).vectors.shape), "fingerprint": subject.fingerprint.as_dict(), "refusal": refusal,
}))
"""


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prompts = {"prompts": {"query": "red ", "document": "in "}}
    folder = tiny_model(tmp_path_factory.mktemp("models") / "tiny", prompts=prompts)
    # What transformers reads to know which tokens are the special ones.
    names = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 24, **names})
    )
    return folder


@pytest.fixture(scope="module")
def answer(prompted: Path) -> dict[str, Any]:
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('sentence_transformers') is None)"
    if subprocess.run([PYTHON, "-c", probe], check=False).returncode:
        pytest.skip("the sentence-transformers library is not installed (ROWVEC_BENCH_PYTHON)")
    environment = {
        **os.environ, "PYTHONPATH": str(SOURCE), "HF_HUB_OFFLINE": "1", "ROWVEC_CACHE": str(prompted.parent / "cache"),
    }  # fmt: skip
    done = subprocess.run(
        [PYTHON, "-c", SCRIPT, str(prompted)],
        input=json.dumps(TEXTS), capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_its_vectors_are_those_of_the_local_embedder(prompted: Path, answer: dict[str, Any]) -> None:
    local = LocalEmbedder(str(prompted), cache_dir=prompted.parent / "cache")
    np.testing.assert_allclose(answer["vectors"], local.embed(TEXTS).vectors, atol=2e-5)
    np.testing.assert_allclose(answer["query"], local.embed_query("the cat"), atol=2e-5)


def test_it_counts_tokens_and_truncated_texts_as_the_local_embedder_does(
    prompted: Path, answer: dict[str, Any]
) -> None:
    local = LocalEmbedder(str(prompted), cache_dir=prompted.parent / "cache")
    expected = local.embed(TEXTS)
    assert (answer["tokens"], answer["truncated"]) == (expected.tokens, list(expected.truncated))
    assert answer["counts"] == local.count_tokens(TEXTS)


def test_no_texts_give_no_vectors(answer: dict[str, Any]) -> None:
    assert answer["none"] == [0, 32]


def test_its_fingerprint_says_what_decides_the_vectors(answer: dict[str, Any]) -> None:
    found = answer["fingerprint"]
    assert (found["kind"], found["model"], found["dimension"]) == ("sentence-transformers", "tiny", 32)
    assert (found["prompt"], found["max_tokens"], found["normalized"]) == ("in ", 24, True)
    assert len(found["revision"]) == 16


def test_a_model_that_is_not_there_is_named(answer: dict[str, Any]) -> None:
    assert "tiny-not-there" in answer["refusal"]


class StaticModel(list[Any]):
    """A model whose first module is a StaticEmbedding, as the library presents it: no window, a bare tokenizer."""

    prompts: ClassVar[dict[str, str]] = {}
    default_prompt_name = None
    max_seq_length = math.inf
    dtype = "torch.float32"
    tokenizer: Any = tiny_tokenizer()
    tokenizer.no_padding()
    tokenizer.no_truncation()

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()

    def get_embedding_dimension(self) -> int:
        return 4

    def encode_document(self, texts: list[str], **options: Any) -> np.ndarray:
        return np.ones((len(texts), 4), np.float32)


def test_a_static_model_has_no_window_and_counts_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("sentence_transformers")
    library.__dict__["SentenceTransformer"] = StaticModel
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    subject = SentenceTransformersEmbedder("some/static")
    assert subject.fingerprint.max_tokens is None
    assert subject.count_tokens(["the cat", ""]) == [2, 0]
    answer = subject.embed(["the cat sat", "a dog"])
    assert (answer.tokens, list(answer.truncated)) == (5, [])


class Exclusive(StaticModel):
    """A model that finds fault with two threads at its tokenizer."""

    at_work = threading.Lock()
    max_seq_length = 8

    def tokenizer(self, texts: list[str], **options: Any) -> dict[str, Any]:
        self.work()
        return {"input_ids": [[1, 2, 3]] * len(texts)}

    def encode_document(self, texts: list[str], **options: Any) -> np.ndarray:
        self.work()
        return super().encode_document(texts)

    def work(self) -> None:
        assert self.at_work.acquire(blocking=False)
        time.sleep(0.005)
        self.at_work.release()


def test_counting_and_embedding_take_turns_at_the_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps the length to truncate at as a state, which each of the two sets."""
    library = ModuleType("sentence_transformers")
    library.__dict__["SentenceTransformer"] = Exclusive
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    subject = SentenceTransformersEmbedder("some/model")
    with ThreadPoolExecutor(4) as pool:
        assert [answer.tokens for answer in pool.map(subject.embed, [["the cat"]] * 8)] == [3] * 8


@pytest.mark.parametrize("file", ["model.safetensors", "1_Pooling/config.json", "tokenizer.json", "modules.json"])
def test_the_revision_of_a_folder_changes_with_every_file_that_decides_its_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.setenv("ROWVEC_CACHE", str(tmp_path / "cache"))
    folder = tiny_model(tmp_path / "tiny")
    before = _folder_revision(folder)
    assert before == _folder_revision(folder)
    with (folder / file).open("a") as content:
        content.write(" ")
    assert _folder_revision(folder) != before


@pytest.mark.parametrize("place", ["the hub's own", "the library's"])
def test_the_revision_of_a_model_of_modules_is_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    cache = tmp_path / "hub"
    if place == "the library's":
        monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(cache))
    else:
        monkeypatch.delenv("SENTENCE_TRANSFORMERS_HOME", raising=False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    folder = cache / "models--some--static"
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "snapshots" / COMMIT / "modules.json").write_text("[]")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    assert _hub_revision("some/static", None) == COMMIT


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"rowvec\[sentence-transformers\]"):
        SentenceTransformersEmbedder("any")
