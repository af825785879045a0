"""The contract of embedders."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rowvec.embedders.base import Embedder

TEXTS = [
    "a quiet office chair", "ein ruhiger Bürostuhl", "тихий офисный стул", "静かな椅子", "🪑", "a", "1,234.5 kg",
    "a quiet office chair with arms " * 40,
]  # fmt: skip


class EmbedderContract:
    """Give a fixture `embedder`. Set `cosine` to what the vector of a text may differ by from batch to batch."""

    cosine = 0.99999

    @pytest.fixture
    def embedder(self) -> Embedder:
        raise NotImplementedError("The test class must have a fixture `embedder` of its own.")

    def test_there_is_one_finite_vector_for_each_text(self, embedder: Embedder) -> None:
        answer = embedder.embed(TEXTS)
        vectors = np.asarray(answer.vectors)
        assert vectors.shape == (len(TEXTS), embedder.fingerprint.dimension)
        assert vectors.dtype == np.float32
        assert np.isfinite(vectors).all()
        assert (np.linalg.norm(vectors, axis=1) > 0).all()

    def test_vectors_have_the_length_that_the_fingerprint_says(self, embedder: Embedder) -> None:
        if embedder.fingerprint.normalized:
            lengths = np.linalg.norm(np.asarray(embedder.embed(TEXTS).vectors), axis=1)
            assert np.allclose(lengths, 1.0, atol=1e-3)

    def test_the_vector_of_a_text_does_not_depend_on_its_batch(self, embedder: Embedder) -> None:
        together = np.asarray(embedder.embed(TEXTS).vectors)
        turned = np.asarray(embedder.embed(TEXTS[::-1]).vectors)[::-1]
        alone = np.concatenate([np.asarray(embedder.embed([text]).vectors) for text in TEXTS])
        for other in (turned, alone):
            cosines = (together * other).sum(1) / np.linalg.norm(together, axis=1) / np.linalg.norm(other, axis=1)
            assert cosines.min() >= self.cosine

    def test_different_texts_have_different_vectors(self, embedder: Embedder) -> None:
        vectors = np.asarray(embedder.embed(["a quiet office chair", "a loud hammer drill"]).vectors)
        assert not np.allclose(vectors[0], vectors[1])

    def test_a_query_has_a_vector_of_the_same_kind(self, embedder: Embedder) -> None:
        vector = np.asarray(embedder.embed_query("quiet chair"))
        assert vector.shape == (embedder.fingerprint.dimension,)
        assert np.isfinite(vector).all()

    def test_tokens_are_counted_for_each_text(self, embedder: Embedder) -> None:
        counts = embedder.count_tokens(TEXTS)
        assert len(counts) == len(TEXTS)
        assert all(isinstance(count, int) and count >= 0 for count in counts)
        assert embedder.count_tokens([]) == []

    def test_it_answers_several_threads_at_once(self, embedder: Embedder) -> None:
        expected = np.asarray(embedder.embed(TEXTS).vectors)
        with ThreadPoolExecutor(max(2, embedder.concurrency)) as pool:
            answers = list(pool.map(lambda _: np.asarray(embedder.embed(TEXTS).vectors), range(4)))
        for answer in answers:
            assert np.allclose(answer, expected, atol=1e-4)

    def test_the_fingerprint_is_known_and_stays(self, embedder: Embedder) -> None:
        before = embedder.fingerprint
        embedder.embed(TEXTS[:1])
        assert embedder.fingerprint == before
        assert before.dimension > 0
        assert before.kind
        assert before.model
