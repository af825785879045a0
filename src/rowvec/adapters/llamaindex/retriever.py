"""Rows as LlamaIndex's nodes."""

from __future__ import annotations

from pathlib import Path

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores import MetadataFilters

from rowvec.adapters.llamaindex.filters import filter_of
from rowvec.adapters.rows import Filters, FoundRow, Place, Rows, Settings, Text
from rowvec.searcher import Mode

OURS = ["rowvec"]
"""What is not for a language model: it would read the row's key, its score and its passages once more."""


class RowvecRetriever(BaseRetriever):
    """The best rows of a pipeline.

    Each node has the text of a row, the row's metadata columns, and under `rowvec` its key, score, pipeline and
    passages, which no prompt and no embedding sees.

    Args:
        pipeline: one that a project gave, a `rowvec.Client`, or its name; None where there is only one.
        config: where `pipeline` is a name: a rowvec.toml or its folder; by default the nearest one.
        url: in place of `config`: the address of a `rowvec serve`.
        key: of that server, or a search token; by default the first one of ROWVEC_API_KEY.
        mode: "semantic", "keyword" or "hybrid".
        limit: maximum number of nodes.
        filters: on metadata columns: LlamaIndex's own, or text or JSON as rowvec takes it.
        passages: maximum number of passages of each node.
        rerank: False leaves the pipeline's reranker out.
        text: a node's text is that of the row, or only the passages that answer.
        partial: answer from those parts of the store that answer; by default as `search.partial` says. The log, and
            `metadata["rowvec"]`, say which parts an answer is without.

    Raises:
        RowvecError: see `ProjectPipeline.search` and `Client.search`.
    """

    def __init__(
        self,
        pipeline: Place | str | None = None,
        config: Path | str | None = None,
        *,
        url: str | None = None,
        key: str | None = None,
        mode: Mode = "semantic",
        limit: int = 10,
        filters: MetadataFilters | Filters | None = None,
        passages: int = 1,
        rerank: bool | None = None,
        text: Text = "row",
        partial: bool | None = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(callback_manager=callback_manager, verbose=verbose)
        where = filter_of(filters) if isinstance(filters, MetadataFilters) else filters
        self._rows = Rows(pipeline, config, url, key)
        self._settings = Settings(mode, limit, where, passages, rerank, text, partial)

    def close(self) -> None:
        """Close what this retriever opened; a pipeline that was given stays open."""
        self._rows.close()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._nodes(self._rows.find(query_bundle.query_str, self._settings))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._nodes(await self._rows.find.aio(query_bundle.query_str, self._settings))

    def _nodes(self, rows: list[FoundRow]) -> list[NodeWithScore]:
        name = self._rows.pipeline.name
        return [
            NodeWithScore(
                node=TextNode(
                    id_=row.id(name),
                    text=row.text,
                    metadata=row.described(name),
                    excluded_llm_metadata_keys=OURS,
                    excluded_embed_metadata_keys=OURS,
                ),
                score=row.score,
            )
            for row in rows
        ]
