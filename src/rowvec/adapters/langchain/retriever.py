"""Rows as LangChain's documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import PrivateAttr, SecretStr, model_validator

from rowvec.adapters.langchain.names import check_names
from rowvec.adapters.rows import Filters, FoundRow, Place, Rows, Settings, Text, both
from rowvec.searcher import Mode


class RowvecRetriever(BaseRetriever):
    """The best rows of a pipeline. `invoke` and `ainvoke` take `mode`, `limit`, `filters` and `rerank` too.

    Each document has the text of a row, the row's metadata columns, and under `rowvec` its key, score, pipeline and
    passages.

    Args:
        pipeline: one that a project gave, a `rowvec.Client`, or its name; None where there is only one.
        config: where `pipeline` is a name: a rowvec.toml or its folder; by default the nearest one.
        url: in place of `config`: the address of a `rowvec serve`.
        key: of that server, or a search token; by default the first one of ROWVEC_API_KEY.
        mode: "semantic", "keyword" or "hybrid".
        limit: maximum number of documents.
        filters: on metadata columns, as text or as JSON. One that a call gives has to hold too.
        passages: maximum number of passages of each document.
        rerank: False leaves the pipeline's reranker out.
        text: a document's text is that of the row, or only the passages that answer.
        partial: answer from those parts of the store that answer; by default as `search.partial` says. The log, and
            `metadata["rowvec"]`, say which parts an answer is without.

    Raises:
        ConfigError: there is no argument of that name.
        RowvecError: see `ProjectPipeline.search` and `Client.search`.
    """

    pipeline: Place | str | None = None
    config: Path | str | None = None
    url: str | None = None
    key: SecretStr | None = None
    mode: Mode = "semantic"
    limit: int = 10
    filters: Any = None
    passages: int = 1
    rerank: bool | None = None
    text: Text = "row"
    partial: bool | None = None
    _rows: Rows = PrivateAttr()
    _settings: Settings = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        return check_names(cls.__name__, given, cls.model_fields)

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        key = self.key.get_secret_value() if self.key is not None else None
        self._rows = Rows(self.pipeline, self.config, self.url, key)
        self._settings = Settings(
            self.mode, self.limit, self.filters, self.passages, self.rerank, self.text, self.partial
        )

    def close(self) -> None:
        """Close what this retriever opened; a pipeline that was given stays open."""
        self._rows.close()

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        mode: Mode | None = None,
        limit: int | None = None,
        filters: Filters | None = None,
        rerank: bool | None = None,
    ) -> list[Document]:
        return self._documents(self._rows.find(query, self._asked(mode, limit, filters, rerank)))

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        mode: Mode | None = None,
        limit: int | None = None,
        filters: Filters | None = None,
        rerank: bool | None = None,
    ) -> list[Document]:
        return self._documents(await self._rows.find.aio(query, self._asked(mode, limit, filters, rerank)))

    def _asked(self, mode: Mode | None, limit: int | None, filters: Filters | None, rerank: bool | None) -> Settings:
        narrowed = both(self._settings.filters, filters)
        return self._settings.changed(mode=mode, limit=limit, filters=narrowed, rerank=rerank)

    def _documents(self, rows: list[FoundRow]) -> list[Document]:
        name = self._rows.pipeline.name
        return [Document(id=row.id(name), page_content=row.text, metadata=row.described(name)) for row in rows]
