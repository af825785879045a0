"""rowvec's rerankers for LangChain: a document compressor over the reranker of a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, PrivateAttr, SecretStr, model_validator

from rowvec.adapters.langchain.names import check_names
from rowvec.adapters.rows import Place, Rows


class RowvecReranker(BaseDocumentCompressor):
    """Puts documents into the order that the reranker of a pipeline gives, the best first.

    Each gets a `relevance_score` in its metadata. Where the reranker gives no answer in time that can be used, the
    documents keep their order and get no score; the log says why.

    Args:
        pipeline: one that a project gave, a `rowvec.Client`, or its name; it needs `search.rerank`.
        config: where `pipeline` is a name: a rowvec.toml or its folder.
        url: in place of `config`: the address of a `rowvec serve`.
        key: of that server; by default the first one of ROWVEC_API_KEY. A search token does not open this.
        top_n: maximum number of documents that are kept; None keeps all.

    Raises:
        ConfigError: there is no argument of that name.
        SearchError: the pipeline has no reranker.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    pipeline: Place | str | None = None
    config: Path | str | None = None
    url: str | None = None
    key: SecretStr | None = None
    top_n: int | None = None
    _rows: Rows = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        return check_names(cls.__name__, given, cls.model_fields)

    def model_post_init(self, context: Any, /) -> None:
        key = self.key.get_secret_value() if self.key is not None else None
        self._rows = Rows(self.pipeline, self.config, self.url, key)

    def close(self) -> None:
        """Close what was opened here; a pipeline that was given stays open."""
        self._rows.close()

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        scored = self._rows.pipeline.rerank(query, [each.page_content for each in documents])
        return self._ordered(documents, scored.scores)

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        scored = await self._rows.pipeline.rerank.aio(query, [each.page_content for each in documents])
        return self._ordered(documents, scored.scores)

    def _ordered(self, documents: Sequence[Document], scores: Sequence[float] | None) -> Sequence[Document]:
        if scores is None:
            return list(documents)[: self.top_n]
        scored = [
            each.model_copy(update={"metadata": {**each.metadata, "relevance_score": score}})
            for each, score in zip(documents, scores, strict=True)
        ]
        return sorted(scored, key=lambda each: -each.metadata["relevance_score"])[: self.top_n]
