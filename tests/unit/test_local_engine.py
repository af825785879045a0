"""Windows computed in batches, on several workers, in any order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowvec.embedders.local.convert import convert
from rowvec.embedders.local.ctranslate2_engine import CTranslate2Engine, means
from rowvec.embedders.local.engine import Engine, batches, padded
from rowvec.embedders.local.engines import load_engine
from rowvec.embedders.model_files import find
from rowvec.errors import ConfigError, EmbedderError
from tests.support_tiny_models import POSITIONS, tiny_model

Make = Callable[..., Engine]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(
            precision: str = "float32", workers: int = 2, device: str = "cpu", engine: str = "ctranslate2"
        ) -> Engine:
            files = find(str(tiny_model(tmp_path / "model")), tmp_path)
            made = load_engine(files, tmp_path, engine=engine, device=device, precision=precision, workers=workers)
            stack.callback(made.close)
            return made

        yield make


def some_windows(count: int) -> list[list[int]]:
    draw = random.Random(5)
    return [[2, *draw.choices(range(4, 40), k=draw.randrange(0, POSITIONS - 2)), 3] for _ in range(count)]


@given(st.lists(st.integers(1, 600), max_size=60), st.integers(1, 1024), st.none() | st.integers(1, 8))
def test_every_window_is_in_one_group_of_its_own_length_within_the_budget(
    lengths: list[int], budget: int, most: int | None
) -> None:
    groups = batches(lengths, budget, most)
    assert all(len(group) <= (most or len(lengths)) for group in groups)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        (length,) = {lengths[index] for index in group}
        assert len(group) * length <= max(budget, length)
    assert [lengths[group[0]] for group in groups] == sorted((lengths[group[0]] for group in groups), reverse=True)


@given(st.integers(1, 512), st.integers(1, 512))
def test_a_padded_length_depends_on_the_length_alone_and_stays_within_the_positions(length: int, limit: int) -> None:
    length = min(length, limit)
    assert length <= padded(length, limit) <= min(limit, length + 15)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_window_alone_and_in_any_batch_gets_the_same_vector(engine: Make, precision: str) -> None:
    subject = engine(precision)
    windows = some_windows(300)
    together = subject.vectors(windows)
    order = random.Random(1).sample(range(300), 300)
    shuffled = subject.vectors([windows[index] for index in order])
    np.testing.assert_allclose(shuffled, together[order], atol=1e-6)
    for index in range(0, 300, 7):
        np.testing.assert_allclose(subject.vectors([windows[index]])[0], together[index], atol=1e-6)


def test_calls_from_many_threads_do_not_mix(engine: Make) -> None:
    subject = engine()
    windows = some_windows(40)
    expected = subject.vectors(windows)
    with ThreadPoolExecutor(8) as threads:
        for found in threads.map(lambda _: subject.vectors(windows), range(24)):
            np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(engine: Make, workers: int) -> None:
    windows = some_windows(30)
    np.testing.assert_allclose(engine(workers=workers).vectors(windows), engine().vectors(windows), atol=1e-6)


def test_vectors_are_of_length_one_where_the_model_normalises(engine: Make) -> None:
    vectors = engine().vectors(some_windows(20))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors.dtype == np.float32


def test_a_precision_that_the_machine_lacks_is_refused(engine: Make) -> None:
    with pytest.raises(ConfigError, match="cannot compute in float16"):
        engine("float16")


def test_cuda_without_a_device_is_refused(engine: Make) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2")
    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ConfigError, match="no CUDA device"):
        engine(device="cuda")


def test_a_damaged_conversion_says_what_to_delete(tmp_path: Path) -> None:
    files = find(str(tiny_model(tmp_path / "model")), tmp_path)
    folder = convert(files, tmp_path)
    (folder / "model.bin").write_bytes(b"damaged")
    with pytest.raises(EmbedderError, match="Delete that folder"):
        CTranslate2Engine(folder, files.recipe, words=60, device="cpu", precision="float32", workers=1)


def test_a_token_that_the_model_does_not_have_is_an_error_of_the_embedder(engine: Make) -> None:
    with pytest.raises(EmbedderError, match="token 100000, but the model has"):
        engine().vectors([[2, 100_000, 3]])


def test_means_of_many_windows_at_once_are_those_of_each_alone() -> None:
    hidden = np.random.default_rng(3).standard_normal((9, 32, 12)).astype(np.float32)
    lengths = np.array([1, 2, 5, 16, 17, 31, 32, 3, 32], np.int32)
    alone = [window[:length].mean(axis=0) for window, length in zip(hidden, lengths, strict=True)]
    np.testing.assert_allclose(means(hidden, lengths), alone, rtol=1e-4, atol=1e-6)
    assert means(hidden, lengths).dtype == np.float32
