"""From a query to hits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rowvec.errors import SearchError
from rowvec.stream import Pipeline
from rowvec.types import Hit


@dataclass(frozen=True, slots=True)
class SearchResult:
    hits: Sequence[Hit]
    exact: bool
    """Every row was compared."""
    complete: bool
    """There are as many hits as were asked for, or as there are rows."""
    embed_ms: float
    search_ms: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "results": [{"id": hit.key, "score": hit.score, "metadata": dict(hit.metadata)} for hit in self.hits],
            "exact": self.exact, "complete": self.complete,
            "execution_time_ms": round(self.embed_ms + self.search_ms, 3),
            "embed_ms": round(self.embed_ms, 3), "search_ms": round(self.search_ms, 3),
        }  # fmt: skip


def semantic(pipeline: Pipeline, query: str, limit: int) -> SearchResult:
    """The rows whose text is nearest to `query` in meaning.

    Raises:
        SearchError: the query is empty, or the vectors were made by another model.
    """
    if not query.strip():
        raise SearchError("The query is empty.", hint="Say in a few words what you look for.")
    ready_to_search(pipeline)
    began = time.perf_counter()
    vector = pipeline.embedder.embed_query(query)
    embedded = time.perf_counter()
    found = pipeline.store.nearest(vector, limit)
    metadata = pipeline.store.metadata(found.keys)
    hits = [Hit(key, score, metadata.get(key, {})) for key, score in zip(found.keys, found.scores, strict=True)]
    done = time.perf_counter()
    return SearchResult(hits, found.exact, found.complete, 1000 * (embedded - began), 1000 * (done - embedded))


def ready_to_search(pipeline: Pipeline) -> None:
    """Raises SearchError unless there are vectors, made by the model that will embed the query."""
    ledger = pipeline.store.ledger()
    if not ledger.exists:
        raise SearchError(f"{pipeline.store.where} does not exist yet.", hint="Run `rowvec sync` first.")
    if ledger.fingerprint not in (None, pipeline.embedder.fingerprint):
        raise SearchError(
            f"The vectors in {pipeline.store.where} were made by {ledger.fingerprint.model}, not by the configured"
            f" {pipeline.embedder.fingerprint.model}: comparing them would mean nothing.",
            hint="Run `rowvec sync` to embed the rows with the new model, or set the old one in rowvec.toml.",
        )
    pipeline.store.attach(pipeline.spec)
