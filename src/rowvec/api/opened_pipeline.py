"""One pipeline of a project, put together when it is first needed and kept from one call to the next."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rowvec import assemble, assemble_search
from rowvec.config import Config
from rowvec.errors import ConfigError, StoreError
from rowvec.filters import Filter, bind, parse
from rowvec.generations.lifecycle import as_live, live_rows
from rowvec.pipeline import Pipeline
from rowvec.stores.index import VectorIndex
from rowvec.support.forks import begins_again, leave_to_parent
from rowvec.types import Vectors

if TYPE_CHECKING:
    from rowvec.searcher import Searcher


class Opened(Protocol):
    """The project that a pipeline belongs to; `rowvec.Project` is one."""

    config: Config
    readers: int
    statement_seconds: float | None


class OpenedPipeline:
    """What `ProjectPipeline` holds: the connections and the model of one pipeline."""

    def __init__(self, project: Opened, name: str, max_cost: float | None) -> None:
        self.name = name
        self._project = project
        self._max_cost = max_cost
        self._begin()
        begins_again(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._assembled: Pipeline | None = None
        self._searchable: Pipeline | None = None
        self._searcher: Searcher | None = None

    def begin_again(self) -> None:
        """In a forked process: it connects and loads the model itself."""
        leave_to_parent(self._assembled, self._searchable, self._searcher)
        self._begin()

    def __repr__(self) -> str:
        return f"<rowvec pipeline {self.name!r}>"

    @property
    def config(self) -> Path:
        """The rowvec.toml that declares it."""
        return self._project.config.path

    @property
    def assembled(self) -> Pipeline:
        """Source, text, embedder and store, put together at the first use."""
        with self._lock:
            if self._assembled is None:
                project = self._project
                self._assembled = assemble.assemble(
                    project.config, project.config.pipeline(self.name), max_cost=self._max_cost,
                    readers=project.readers, statement_seconds=project.statement_seconds,
                )  # fmt: skip
            return self._assembled

    @property
    def current(self) -> Pipeline:
        """`assembled`, with the columns that the source has now: a type may have changed since the first use."""
        looked = self._assembled is None
        pipeline = self.assembled
        now = pipeline if looked else pipeline.current()
        if now is pipeline:
            return pipeline
        with self._lock:
            taken = self._assembled is pipeline
            if taken:
                self._assembled = now
                if self._searchable is pipeline:
                    self._searchable, self._searcher = now, None
        # Where another call was faster, or all was closed meanwhile, the next one looks again.
        (pipeline if taken else now).leave()
        return now if taken else self.assembled

    @property
    def searchable(self) -> Pipeline:
        """What searches need, put together at the first use: the source is not opened, and may be away."""
        with self._lock:
            if self._searchable is None:
                project = self._project
                self._searchable = self._assembled or assemble_search.assemble(
                    project.config, project.config.pipeline(self.name),
                    readers=project.readers, statement_seconds=project.statement_seconds,
                )  # fmt: skip
            return self._searchable

    @property
    def vector_index(self) -> VectorIndex:
        """The vector index of the live generation.

        Raises:
            StoreError: there are no vectors yet, or the store has no vector index.
        """
        pipeline = self.assembled
        _, live = live_rows(pipeline.store, pipeline.spec)
        if live.index is None:
            raise StoreError(f"{pipeline.store.location} has no vector index: every search compares every row.")
        return live.index

    def query_vectors(self, texts: Sequence[str]) -> Vectors:
        """As searches of the live generation embed them; shape (texts, dimension).

        Raises:
            ConfigError: there is no text.
            EmbedderError: the model that made the live vectors is gone.
        """
        if not texts:
            raise ConfigError("There is no query to tune the index by.")
        ledger, _ = live_rows(self.assembled.store, self.assembled.spec)
        same = ledger.fingerprint in (None, self.assembled.spec.fingerprint)
        live = self.assembled if same else as_live(self.assembled, ledger)
        return np.stack([live.searching.embed_query(text) for text in texts])

    def close(self) -> None:
        """Disconnect and unload the model. The next call connects again."""
        with self._lock:
            parts = [self._assembled] if self._searchable is self._assembled else [self._assembled, self._searchable]
            self._assembled = self._searchable = self._searcher = None
        for each in parts:
            if each is not None:
                each.close()

    def _ready(self, partial: bool | None = None) -> Searcher:
        pipeline = self.searchable
        with self._lock:
            if self._searcher is None:
                from rowvec.searcher import Searcher

                self._searcher = Searcher.of(pipeline, partial)
            return self._searcher

    def _condition(self, where: str | Filter | None) -> Filter | None:
        if where is None:
            return None
        spec = self.searchable.spec
        return bind(parse(where) if isinstance(where, str) else where, spec.metadata, spec.key)
