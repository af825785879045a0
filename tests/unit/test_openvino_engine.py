"""The engine for bf16: every architecture, held against the same computation written out in numpy."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from rowvec.embedders.local import openvino_engine
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.local.engine import Engine
from rowvec.embedders.local.engines import chosen, load_engine
from rowvec.embedders.local.openvino_engine import has_bf16
from rowvec.embedders.model_files import find
from rowvec.errors import ConfigError, EmbedderError
from tests.support_tiny_models import tiny_model, token_vectors
from tests.unit.test_local_conversion import FAMILIES, IDS
from tests.unit.test_local_engine import some_windows

pytest.importorskip("openvino", reason="the extra openvino is not installed")
BF16 = pytest.mark.skipif(not has_bf16(), reason="this processor has no bf16 units")


def engine_of(folder: Path, cache: Path, **options: Any) -> Engine:
    settings = {"engine": "openvino", "precision": "float32", "device": "cpu", "workers": 2, **options}
    return load_engine(find(str(folder), cache), cache, **settings)


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_graph_computes_what_the_architecture_says(tmp_path: Path, kind: str) -> None:
    folder = tiny_model(tmp_path / kind, kind)
    config = json.loads((folder / "config.json").read_text())
    expected = [token_vectors(config, load_file(folder / "model.safetensors"), ids).mean(axis=0) for ids in IDS]
    engine = engine_of(folder, tmp_path)
    found = engine.vectors(IDS)
    engine.close()
    norms = np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected / norms if engine._recipe.normalize else expected, atol=2e-5)


@BF16
@pytest.mark.parametrize("kind", FAMILIES)
def test_bf16_is_close_to_float32(tmp_path: Path, kind: str) -> None:
    folder = tiny_model(tmp_path / kind, kind)
    found = []
    for precision in ("float32", "bfloat16"):
        engine = engine_of(folder, tmp_path, precision=precision)
        vectors = engine.vectors(some_windows(100))
        engine.close()
        found.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    assert (found[0] * found[1]).sum(axis=1).min() > 0.999


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=BF16)])
def test_a_window_alone_and_in_any_batch_gets_the_same_vector(tmp_path: Path, precision: str) -> None:
    engine = engine_of(tiny_model(tmp_path / "model"), tmp_path, precision=precision)
    windows = some_windows(300)
    together = engine.vectors(windows)
    order = random.Random(1).sample(range(300), 300)
    np.testing.assert_allclose(engine.vectors([windows[index] for index in order]), together[order], atol=1e-6)
    alone = np.concatenate([engine.vectors([window]) for window in windows[:40]])
    np.testing.assert_allclose(alone, together[:40], atol=1e-6)
    engine.close()


@pytest.mark.parametrize("small", [0, openvino_engine.SMALL], ids=["large", "small"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_query_has_the_vector_of_the_same_row_at_every_length(
    tmp_path: Path, kind: str, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_engine, "SMALL", small)
    engine = engine_of(tiny_model(tmp_path / kind, kind), tmp_path)
    assert isinstance(engine, openvino_engine.OpenVinoEngine)
    windows = sorted(some_windows(60), key=len)[::2]
    assert len(windows[0]) < 8 < 16 < len(windows[-1])
    alone = np.concatenate([engine.query(window) for window in windows])
    assert (8 in engine._requests) is bool(small)
    np.testing.assert_allclose(alone, engine.vectors(windows), atol=2e-6)
    engine.close()


@BF16
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_query_in_int8_is_close_to_float32(tmp_path: Path, kind: str) -> None:
    folder = tiny_model(tmp_path / kind, kind)
    found = []
    for precision in ("float32", "int8"):
        engine = engine_of(folder, tmp_path, precision=precision, queries=True)
        vectors = np.concatenate([engine.query(window) for window in some_windows(20)])
        engine.close()
        found.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    agreement = (found[0] * found[1]).sum(axis=1)
    assert 0.99 < agreement.min() < 0.999999


def test_threads_share_an_engine(tmp_path: Path) -> None:
    engine = engine_of(tiny_model(tmp_path / "model"), tmp_path)
    windows = some_windows(60)
    expected = engine.vectors(windows)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: engine.vectors(windows), range(24)):
            np.testing.assert_allclose(found, expected, atol=1e-6)
        alone = list(pool.map(lambda window: engine.query(window)[0], windows * 4))
    np.testing.assert_allclose(alone, np.concatenate([expected] * 4), atol=2e-6)
    engine.close()


@pytest.mark.parametrize("small", [0, openvino_engine.SMALL], ids=["large", "small"])
def test_a_closed_engine_makes_no_network_again(tmp_path: Path, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_engine, "SMALL", small)
    engine = engine_of(tiny_model(tmp_path / "model"), tmp_path)
    assert isinstance(engine, openvino_engine.OpenVinoEngine)
    engine.query([1, 2, 3])
    engine.close()
    with pytest.raises(EmbedderError, match="was closed"):
        engine.query([1, 2, 3])


def test_the_engine_is_chosen_by_precision() -> None:
    assert chosen("auto", "float32", "cpu") == "ctranslate2"
    assert chosen("auto", "int8", "cpu") == "ctranslate2"
    assert chosen("auto", "bfloat16", "cpu") == "openvino"
    assert chosen("openvino", "float32", "cpu") == "openvino"
    assert chosen("auto", "int8", "cpu", queries=True) == ("openvino" if has_bf16() else "ctranslate2")
    assert chosen("openvino", "int8", "cpu", queries=True) == "openvino"
    for precision, device in (("int8", "cpu"), ("float16", "cpu"), ("float32", "cuda")):
        with pytest.raises(ConfigError, match="OpenVINO does not go with"):
            chosen("openvino", precision, device)


@BF16
def test_vectors_of_bf16_are_never_mixed_with_others(tmp_path: Path) -> None:
    folder = str(tiny_model(tmp_path / "model"))
    made = [LocalEmbedder(folder, precision=precision, cache_dir=tmp_path) for precision in ("float32", "bfloat16")]
    assert made[0].fingerprint != made[1].fingerprint
    same = LocalEmbedder(folder, engine="openvino", cache_dir=tmp_path)
    assert same.fingerprint == made[0].fingerprint
