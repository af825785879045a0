"""Vectors that are shorter than the model's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.matryoshka import trained_to_shorten
from rowvec.errors import ConfigError
from tests.support_tiny_models import WIDTH, module, tiny_model

LONG = "the cat sat on a red mat and runs in green under blue " * 4
TEXTS = ["the cat", "a dog runs", LONG]


def local(folder: Path, **options: Any) -> LocalEmbedder:
    return LocalEmbedder(str(folder), cache_dir=folder.parent / "cache", **options)


def test_the_first_numbers_count_and_have_length_1_again(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    whole, short = local(folder, overflow="mean"), local(folder, overflow="mean", dimensions=8)
    cut = whole.embed(TEXTS).vectors[:, :8]
    expected = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    np.testing.assert_allclose(short.embed(TEXTS).vectors, expected, atol=1e-6)
    np.testing.assert_allclose(short.embed_query("the cat"), expected[0], atol=1e-6)
    assert short.embed([]).vectors.shape == (0, 8)
    assert short.fingerprint.dimension == 8 and short.fingerprint != whole.fingerprint
    assert "the first 8 of 32 numbers, which the model was not trained for" in short.how
    assert local(folder, dimensions=WIDTH).fingerprint == local(folder).fingerprint


def test_vectors_that_are_not_normalised_keep_their_lengths(tmp_path: Path) -> None:
    plain = [module("Transformer", ""), module("Pooling", "1_Pooling")]
    folder = tiny_model(tmp_path / "tiny", modules=plain, prompts={"similarity_fn_name": "dot"})
    whole, short = local(folder), local(folder, dimensions=8)
    np.testing.assert_allclose(short.embed(TEXTS).vectors, whole.embed(TEXTS).vectors[:, :8], atol=1e-6)


@pytest.mark.parametrize("dimensions", [0, -1, WIDTH + 1])
def test_a_dimension_that_the_model_does_not_give_is_refused(tmp_path: Path, dimensions: int) -> None:
    folder = tiny_model(tmp_path / "tiny")
    with pytest.raises(ConfigError, match=f"dimensions is {dimensions}") as caught:
        local(folder, dimensions=dimensions)
    assert f"1 to {WIDTH}" in str(caught.value)


def test_a_models_own_files_may_cut_its_vectors(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny", prompts={"truncate_dim": 16})
    assert local(folder).fingerprint.dimension == 16
    assert local(folder, dimensions=8).fingerprint.dimension == 8


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("mixedbread-ai/mxbai-embed-large-v1", {}, True),
        ("nomic-ai/nomic-embed-text-v1.5", {}, True),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", {}, True),
        ("sentence-transformers/all-MiniLM-L6-v2", {}, False),
        ("intfloat/multilingual-e5-small", {}, False),
        ("", {"matryoshka_dimensions": [64, 128]}, True),
        ("", {"is_matryoshka": True}, True),
        ("", {"is_matryoshka": False}, False),
    ],
)
def test_what_a_model_was_trained_for_is_known(name: str, config: dict[str, Any], expected: bool) -> None:
    assert trained_to_shorten(name, config) is expected
