"""Every kind of cross-encoder on every engine, against scores of sentence-transformers (tests/data).

`python -m benchmarks.cross_encoders --keep` makes those scores, of the same models of random weights.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rowvec.embedders.cross_encoder_files import HEADS, find_cross_encoder
from rowvec.embedders.local.cross_encoder import CrossEncoder
from rowvec.errors import EmbedderError
from rowvec.types import Vectors
from tests.support import runs
from tests.support_architectures import CASES as ENCODERS
from tests.support_architectures import write
from tests.support_cross_encoders import CASES, PAIRS, QUERIES, CrossCase, write_cross_encoder
from tests.unit.test_model_damage import bfloat16, change, sharded

EXPECTED = json.loads((Path(__file__).parents[1] / "data" / "cross_encoders.json").read_text("utf-8"))
RUNS = runs({name: case.kind for name, case in CASES.items()})
MINILM = CASES["ms-marco-MiniLM"]


def scores(folder: Path, engine: str = "auto", precision: str = "float32") -> Vectors:
    model = CrossEncoder(str(folder), engine=engine, precision=precision, cache_dir=folder.parent / "cache")
    parts = [model.scores(query, [text for asked, text in PAIRS if asked == query]) for query in QUERIES]
    model.close()
    return np.concatenate([part for part in parts if part is not None])


@pytest.mark.parametrize(("name", "engine"), RUNS)
def test_scores_are_those_of_sentence_transformers(tmp_path: Path, name: str, engine: str) -> None:
    found = scores(write_cross_encoder(tmp_path / "model", CASES[name]), engine)
    np.testing.assert_allclose(found, EXPECTED[name], atol=1e-4)


def test_every_head_has_a_case_and_no_case_gives_the_same_to_all_pairs() -> None:
    assert {case.kind for case in CASES.values()} == set(HEADS)
    assert min(np.ptp(found) for found in EXPECTED.values()) > 0.1


def test_which_text_a_token_is_of_counts(tmp_path: Path) -> None:
    told, untold = CASES["ms-marco-MiniLM"], CASES["BERT without kinds"]
    same = CrossCase(untold.kind, untold.tokenizer, untold.said, told.settings)
    found = [scores(write_cross_encoder(tmp_path / name, case)) for name, case in (("a", told), ("b", same))]
    assert np.abs(found[0] - found[1]).max() > 0.1


def test_half_precision_int8_and_several_files_are_read(tmp_path: Path) -> None:
    plain = write_cross_encoder(tmp_path / "plain", MINILM)
    for name, off, change_files in (("several", 1e-5, sharded), ("brain", 0.3, bfloat16)):
        shutil.copytree(plain, tmp_path / name)
        change_files(tmp_path / name)
        np.testing.assert_allclose(scores(tmp_path / name), EXPECTED["ms-marco-MiniLM"], atol=off)
    rounded = scores(plain, precision="int8")
    assert 0 < np.abs(rounded - EXPECTED["ms-marco-MiniLM"]).max() < 1.5


def test_what_nobody_waits_for_is_not_computed(tmp_path: Path) -> None:
    model = CrossEncoder(str(write_cross_encoder(tmp_path / "model", MINILM)), cache_dir=tmp_path)
    assert model.scores("cat", ["the cat"] * 50, lambda: True) is None
    asked: list[int] = []
    assert model.scores("cat", ["the cat"] * 500, lambda: bool(asked) or bool(asked.append(1))) is None
    assert len(asked) == 1
    assert model.scores("cat", []) is not None
    model.close()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"model_type": "deberta-v2"}, "its architecture is 'deberta-v2', but cross-encoders are run of bert"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.GELU"}}, "activation of its score"),
        ({"sentence_transformers": 3}, "sentence_transformers is 3, not an object"),
        ({"hidden_act": "mish"}, "its activation is 'mish'"),
        ({"is_decoder": True}, "it is a decoder"),
    ],
)
def test_a_model_that_cannot_be_run_is_refused(tmp_path: Path, said: dict[str, Any], reason: str) -> None:
    folder = write_cross_encoder(tmp_path / "model", MINILM)
    change(folder, "config.json", **said)
    with pytest.raises(EmbedderError, match=reason) as refused:
        find_cross_encoder(str(folder), tmp_path)
    assert "embedder = {" not in (refused.value.hint or "")


def test_several_labels_a_plain_encoder_and_missing_files_are_named(tmp_path: Path) -> None:
    labels = write_cross_encoder(tmp_path / "labels", CrossCase("bert", "word pieces", labels=3))
    plain = write(tmp_path / "plain", ENCODERS["BERT, max"])
    bare, wordless, shapeless = (write_cross_encoder(tmp_path / name, MINILM) for name in "abc")
    (bare / "model.safetensors").unlink()
    (wordless / "tokenizer.json").unlink()
    weights = load_file(shapeless / "model.safetensors")
    save_file({**weights, "bert.pooler.dense.bias": np.zeros(3, np.float32)}, shapeless / "model.safetensors")
    for folder, reason in (
        (labels, "it has 3 labels, and a reranker has one"),
        (plain, "not a cross-encoder: its weights hold no 'classifier.weight'"),
        (bare, "has no model.safetensors"),
        (wordless, "has no tokenizer.json"),
        (shapeless, r"'bert.pooler.dense.bias' has the shape \[3\] instead of \[32\]"),
        (tmp_path / "nowhere", "nowhere"),
    ):
        with pytest.raises(EmbedderError, match=reason):
            find_cross_encoder(str(folder), tmp_path)


def test_a_tokenizer_without_a_form_for_two_texts_is_refused(tmp_path: Path) -> None:
    folder = write_cross_encoder(tmp_path / "model", MINILM)
    said = json.loads((folder / "tokenizer.json").read_text())
    said["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(said))
    with pytest.raises(EmbedderError, match="puts 0 special tokens about two texts"):
        CrossEncoder(str(folder), cache_dir=tmp_path)


def test_a_whole_name_is_looked_up_on_the_hub_and_a_bare_one_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rowvec.embedders import model_files

    asked: list[tuple[str, bool]] = []

    def no_hub(name: str, modules: bool) -> Path:
        asked.append((name, modules))
        raise EmbedderError(f"no {name}")

    monkeypatch.setattr(model_files, "_from_hub", no_hub)
    with pytest.raises(EmbedderError, match="no cross-encoder/ms"):
        find_cross_encoder("cross-encoder/ms-marco-MiniLM-L6-v2", tmp_path)
    with pytest.raises(EmbedderError, match="There is no folder 'ms-marco'"):
        find_cross_encoder("ms-marco", tmp_path)
    assert asked == [("cross-encoder/ms-marco-MiniLM-L6-v2", False)]
