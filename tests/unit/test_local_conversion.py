"""Every family of models, converted and run, against the same computation written out in numpy."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rowvec.embedders.local.convert import convert
from rowvec.embedders.local.ctranslate2_engine import CTranslate2Engine
from rowvec.embedders.model_files import find
from rowvec.embedders.model_recipe import ModelRecipe
from rowvec.errors import EmbedderError
from tests.support_tiny_models import POSITIONS, tiny_model, token_vectors

FAMILIES = ("bert", "distilbert", "roberta", "xlm-roberta", "camembert")
IDS = [[2, 7, 9, 11, 3], [2, 3], [2, *range(5, 5 + 19), 3], [2, *([8, 6] * ((POSITIONS - 2) // 2)), 3]]


def run(folder: Path, cache: Path, windows: list[list[int]], *, pooling: str = "mean") -> np.ndarray:
    recipe = ModelRecipe(pooling=pooling, limit=POSITIONS)
    files = find(str(folder), cache)
    options = {"device": "cpu", "precision": "float32", "words": files.config["vocab_size"], "workers": 1}
    engine = CTranslate2Engine(convert(files, cache), recipe, **options)
    vectors = engine.vectors(windows)
    engine.close()
    return vectors


def rewrite(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_converted_model_computes_what_its_architecture_says(tmp_path: Path, kind: str, pooling: str) -> None:
    folder = tiny_model(tmp_path / kind, kind)
    config = json.loads((folder / "config.json").read_text())
    hidden = [token_vectors(config, load_file(folder / "model.safetensors"), ids) for ids in IDS]
    expected = [tokens[0] if pooling == "cls" else tokens.mean(axis=0) for tokens in hidden]
    np.testing.assert_allclose(run(folder, tmp_path, IDS, pooling=pooling), expected, atol=2e-5)


def test_weights_may_lie_under_a_prefix_and_norms_under_their_old_names(tmp_path: Path) -> None:
    plain = tiny_model(tmp_path / "plain", "bert")
    other = tiny_model(tmp_path / "other", "bert", prefix="bert.")
    old = {}
    for name, array in load_file(other / "model.safetensors").items():
        is_norm = "LayerNorm" in name
        old[name.replace("weight", "gamma").replace("bias", "beta") if is_norm else name] = array
    save_file({**old, "cls.predictions.bias": np.zeros(3, np.float32)}, other / "model.safetensors")
    np.testing.assert_array_equal(run(other, tmp_path, IDS), run(plain, tmp_path, IDS))


def test_half_precision_weights_are_read_as_float32(tmp_path: Path) -> None:
    plain = tiny_model(tmp_path / "plain", "roberta")
    half = tiny_model(tmp_path / "half", "roberta")
    weights = load_file(half / "model.safetensors")
    save_file({name: array.astype(np.float16) for name, array in weights.items()}, half / "model.safetensors")
    np.testing.assert_allclose(run(half, tmp_path, IDS), run(plain, tmp_path, IDS), atol=5e-3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "t5"}, "'t5'"),
        ({"position_embedding_type": "relative_key"}, "'relative_key'"),
        ({"hidden_act": "mish"}, "'mish'"),
        ({"is_decoder": True}, "decoder"),
    ],
)
def test_what_is_not_run_here_is_refused_with_the_way_to_run_it(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    folder = tiny_model(tmp_path / "model")
    rewrite(folder, **changes)
    with pytest.raises(EmbedderError) as caught:
        find(str(folder), tmp_path)
    assert reason in caught.value.message
    assert "rowvec[sentence-transformers]" in str(caught.value)
    assert 'kind = "sentence-transformers"' in str(caught.value)


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.bias"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(EmbedderError, match=r"encoder\.layer\.1\.output\.dense\.bias"):
        convert(find(str(folder), tmp_path), tmp_path)


def test_a_table_of_another_size_than_the_settings_say_is_refused(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    rewrite(folder, vocab_size=1000)
    with pytest.raises(EmbedderError, match="and says 1000"):
        convert(find(str(folder), tmp_path), tmp_path)


def test_a_half_downloaded_weights_file_says_so(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EmbedderError, match="half downloaded"):
        convert(find(str(folder), tmp_path), tmp_path)
    assert not list(tmp_path.glob("converted/*"))


def test_a_model_is_converted_once_and_again_when_its_weights_change(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    first = convert(find(str(folder), tmp_path), tmp_path)
    written = (first / "model.bin").stat().st_mtime_ns
    assert convert(find(str(folder), tmp_path), tmp_path) == first
    assert (first / "model.bin").stat().st_mtime_ns == written
    tiny_model(folder, seed=1)
    assert convert(find(str(folder), tmp_path), tmp_path) != first


def _convert(folder: str, cache: Path, start: Any, results: Any) -> None:
    start.wait()
    results.put(convert(find(folder, cache), cache))


def test_processes_that_start_together_share_one_whole_conversion(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(3), context.Queue()
    processes = [context.Process(target=_convert, args=(str(folder), tmp_path, start, results)) for _ in range(3)]
    for process in processes:
        process.start()
    found = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert list((tmp_path / "converted").iterdir()) == list(found)
    assert np.isfinite(run(folder, tmp_path, IDS)).all()


def test_a_conversion_that_comes_second_takes_the_one_that_is_there(tmp_path: Path) -> None:
    from rowvec.embedders.local import convert as module

    target = tmp_path / "converted" / "key"
    target.mkdir(parents=True)
    (target / "model.bin").write_bytes(b"the first one's")
    scratch = tmp_path / "converted" / ".making"
    scratch.mkdir()
    (scratch / "model.bin").write_bytes(b"the second one's")
    module._rename(scratch, target)
    assert (target / "model.bin").read_bytes() == b"the first one's"


def test_what_a_killed_conversion_left_is_cleared_away_when_it_is_old(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    left, at_work = (tmp_path / "converted" / f".making-{name}" for name in ("left", "at-work"))
    for scratch in (left, at_work):
        scratch.mkdir(parents=True)
        (scratch / "model.bin").write_bytes(b"half")
    os.utime(left, (0, time.time() - 7200))
    made = convert(find(str(folder), tmp_path), tmp_path)
    assert set((tmp_path / "converted").iterdir()) == {made, at_work}


def test_a_cache_that_cannot_be_written_names_the_setting(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(EmbedderError, match="ROWVEC_CACHE"):
        find(str(folder), tmp_path / "cache")
