"""Rows as Haystack's documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.utils import Secret

from rowvec.adapters.haystack.filters import filter_of, is_haystacks
from rowvec.adapters.rows import Filters, FoundRow, Place, Rows, Settings, Text, both
from rowvec.api.client import Client
from rowvec.filters import Filter, to_json
from rowvec.searcher import Mode


@component
class RowvecRetriever:
    """The best rows of a pipeline.

    Each document has the text of a row, its score, the row's metadata columns in `meta`, and under `meta["rowvec"]` the
    row's key, score, pipeline and passages.

    Args:
        pipeline: one that a project gave, a `rowvec.Client`, or its name; None where there is only one.
        config: where `pipeline` is a name: a rowvec.toml or its folder; by default the nearest one.
        url: in place of `config`: the address of a `rowvec serve`.
        key: of that server, or a search token; a `Secret` of a variable is kept where a
            pipeline is written to YAML; by default that of the variable ROWVEC_API_KEY.
        mode: "semantic", "keyword" or "hybrid".
        limit: maximum number of documents.
        filters: on metadata columns: Haystack's own, or text or JSON as rowvec takes it. One that a run gives has to
            hold too.
        passages: maximum number of passages of each document.
        rerank: False leaves the pipeline's reranker out.
        text: a document's content is the text of the row, or only the passages that answer.
        partial: answer from those parts of the store that answer; by default as `search.partial` says. The log, and
            `meta["rowvec"]`, say which parts an answer is without.

    Raises:
        RowvecError: see `ProjectPipeline.search` and `Client.search`.
    """

    def __init__(
        self,
        pipeline: Place | str | None = None,
        config: Path | str | None = None,
        mode: Mode = "semantic",
        limit: int = 10,
        filters: Filters | None = None,
        passages: int = 1,
        rerank: bool | None = None,
        text: Text = "row",
        url: str | None = None,
        key: Secret | str | None = None,
        partial: bool | None = None,
    ) -> None:
        self._key = Secret.from_token(key) if isinstance(key, str) else key
        self._rows = Rows(pipeline, config, url, self._key.resolve_value() if self._key is not None else None)
        self._settings = Settings(mode, limit, filters, passages, rerank, text, partial)
        _read(filters)

    def warm_up(self) -> None:
        """Open the pipeline, or ask the server for it; a model in this process is loaded by the first query."""
        pipeline = self._rows.pipeline
        _ = pipeline.name if isinstance(pipeline, Client) else pipeline.searchable

    def close(self) -> None:
        """Close what this component opened; a pipeline that was given stays open."""
        self._rows.close()

    def to_dict(self) -> dict[str, Any]:
        asked = self._settings
        filters = to_json(asked.filters) if isinstance(asked.filters, Filter) else asked.filters
        found: dict[str, Any] = default_to_dict(
            self, **self._rows.place, mode=asked.mode, limit=asked.limit, filters=filters, passages=asked.passages,
            rerank=asked.rerank, text=asked.text, partial=asked.partial,
            key=self._key.to_dict() if self._key is not None else None,
        )  # fmt: skip
        return found

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RowvecRetriever:
        found: RowvecRetriever = default_from_dict(cls, data)
        return found

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, filters: dict[str, Any] | str | None = None, limit: int | None = None
    ) -> dict[str, list[Document]]:
        """The documents for a query.

        Args:
            filters: has to hold beside the component's own.
            limit: instead of the component's own.
        """
        return self._documents(self._rows.find(query, self._asked(filters, limit)))

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: dict[str, Any] | str | None = None, limit: int | None = None
    ) -> dict[str, list[Document]]:
        """As `run`, from a coroutine."""
        return self._documents(await self._rows.find.aio(query, self._asked(filters, limit)))

    def _asked(self, filters: Filters | None, limit: int | None) -> Settings:
        where = both(_read(self._settings.filters), _read(filters))
        return self._settings.changed(filters=where, limit=limit)

    def _documents(self, rows: list[FoundRow]) -> dict[str, list[Document]]:
        name = self._rows.pipeline.name
        found = [Document(row.id(name), row.text, meta=row.described(name), score=row.score) for row in rows]
        return {"documents": found}


def _read(filters: Filters | None) -> Filters | None:
    return filter_of(filters) if is_haystacks(filters) else filters
