"""tokenizer_config.json decides as in the transformers library, whose token numbers are in tests/data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer, normalizers

from rowvec.embedders import tokenizer_settings
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import find
from rowvec.errors import EmbedderError
from rowvec.types import Vectors
from tests.support_tiny_models import tiny_model, token_vectors
from tests.support_tokenizers import CASES, TEXTS, word_pieces

EXPECTED = json.loads((Path(__file__).parents[1] / "data" / "tokenizer_settings.json").read_text("utf-8"))
PYTHON = os.environ.get("ROWVEC_BENCH_PYTHON", sys.executable)
SCRIPT = """
import json, sys
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
print(json.dumps([model.encode_document(text).tolist() for text in json.loads(sys.stdin.read())]))
"""


def cosines(one: Vectors, other: Vectors) -> Vectors:
    found: Vectors = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    return found


@pytest.mark.parametrize("case", CASES)
def test_vectors_are_those_of_the_tokens_that_transformers_gives(tmp_path: Path, case: str) -> None:
    folder = CASES[case](tmp_path / "model")
    config, weights = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    expected = np.array([token_vectors(config, weights, ids).mean(axis=0) for ids in EXPECTED[case]])
    found = LocalEmbedder(str(folder), cache_dir=tmp_path / "cache").embed(TEXTS).vectors
    assert cosines(found, expected).min() >= 0.9999


@pytest.mark.parametrize("case", ["capitals are kept", "the end is kept", "sentence pieces, no space before the first"])
def test_vectors_are_those_of_sentence_transformers(tmp_path: Path, case: str) -> None:
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('sentence_transformers') is None)"
    if subprocess.run([PYTHON, "-c", probe], check=False).returncode:
        pytest.skip("the sentence-transformers library is not installed (ROWVEC_BENCH_PYTHON)")
    folder = CASES[case](tmp_path / "model")
    done = subprocess.run(
        [PYTHON, "-c", SCRIPT, str(folder)], input=json.dumps(TEXTS), capture_output=True, text=True, check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = LocalEmbedder(str(folder), cache_dir=tmp_path / "cache").embed(TEXTS).vectors
    assert cosines(found, np.array(json.loads(done.stdout))).min() >= 0.9999


def test_what_changes_the_tokens_changes_the_fingerprint_and_nothing_else_does(tmp_path: Path) -> None:
    plain = tiny_model(tmp_path / "plain")
    revision = find(str(plain), tmp_path).revision
    assert len(revision) == 16 + 1 + 8
    said = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 24, "padding_side": "left"}
    (plain / "tokenizer_config.json").write_text(json.dumps(said))
    tokenizer = Tokenizer.from_file(str(plain / "tokenizer.json"))
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]"}
    assert special <= set(tokenizer.get_vocab())
    assert find(str(plain), tmp_path).revision.startswith(revision)
    others: list[dict[str, Any]] = [{"do_lower_case": False}, {"strip_accents": False}, {"truncation_side": "left"}]
    revisions = {find(str(word_pieces(tmp_path / str(n), one)), tmp_path).revision for n, one in enumerate(others)}
    assert len(revisions) == 3


@pytest.mark.parametrize("steps", [normalizers.Replace("a", "a" * 5000), [normalizers.Replace("a", "aa")] * 20,
                                   [normalizers.Lowercase()] * 100])  # fmt: skip
def test_a_normalizer_that_would_fill_the_memory_is_refused(tmp_path: Path, steps: object) -> None:
    bomb = normalizers.Sequence(steps) if isinstance(steps, list) else steps
    folder = word_pieces(tmp_path / "model", {}, normalizer=bomb)
    with pytest.raises(EmbedderError, match="its normalizer has"):
        find(str(folder), tmp_path)


@pytest.mark.parametrize(
    "said", [{"truncation_side": "middle"}, {"do_lower_case": "no"}, {"strip_accents": 1}, {"tokenizer_class": []}]
)
def test_a_value_that_cannot_be_is_named_with_its_file(tmp_path: Path, said: dict[str, object]) -> None:
    folder = word_pieces(tmp_path / "model", said)
    with pytest.raises(EmbedderError, match=rf"tokenizer_config\.json cannot be read: {next(iter(said))} is"):
        find(str(folder), tmp_path)


def test_a_vocabulary_is_read_once_for_each_content_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    whole = tokenizer_settings.read_tokenizer_settings

    def counted(folder: Path, tokenizer: Path, config: Any) -> Any:
        read.append(tokenizer)
        return whole(folder, tokenizer, config)

    monkeypatch.setattr(tokenizer_settings, "read_tokenizer_settings", counted)
    for number, case in enumerate(CASES):
        folder, cache = CASES[case](tmp_path / f"model {number}"), tmp_path / f"cache {number}"
        read.clear()
        first = find(str(folder), cache).tokenizer_settings
        assert find(str(folder), cache).tokenizer_settings == first
        assert find(str(folder), cache).tokenizer_settings.digest == first.digest
        assert len(read) == 1
    said = folder / "tokenizer_config.json"
    said.write_text(json.dumps({**json.loads(said.read_text()), "truncation_side": "left"}))
    assert find(str(folder), cache).tokenizer_settings.side == "left"
    assert len(read) == 2


@pytest.mark.parametrize("kept", ["", "{", "[]", "7", '{"colour": 1}', '{"special": 7}'])
def test_what_the_cache_has_lost_is_read_again(tmp_path: Path, kept: str) -> None:
    folder, cache = CASES["capitals are kept"](tmp_path / "model"), tmp_path / "cache"
    first = find(str(folder), cache).tokenizer_settings
    (note,) = (cache / "tokenizers").iterdir()
    note.write_text(kept)
    assert find(str(folder), cache).tokenizer_settings == first
