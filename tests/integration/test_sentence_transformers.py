"""The embedder on the sentence-transformers library, in an interpreter that has it.

The library brings torch, so it is usually not installed beside rowvec: ROWVEC_BENCH_PYTHON names an interpreter
that has it, or else it is looked for in this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rowvec.embedders.local import LocalEmbedder
from rowvec.embedders.sentence_transformers import SentenceTransformersEmbedder
from rowvec.errors import MissingExtraError
from tests.support_tiny_models import tiny_model

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


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"rowvec\[sentence-transformers\]"):
        SentenceTransformersEmbedder("any")
