"""LangChain: `RowvecRetriever` finds rows, and `RowvecReranker` puts documents of any retriever into order.

from rowvec.adapters.langchain import RowvecRetriever

retriever = RowvecRetriever(pipeline="products", config="rowvec.toml", limit=5)
documents = retriever.invoke("quiet office chair")
"""

from __future__ import annotations

from rowvec.errors import MissingExtraError

try:
    import langchain_core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name is not None and error.name.partition(".")[0] != "langchain_core":
        raise
    raise MissingExtraError("rowvec.adapters.langchain", "langchain") from error

from rowvec.adapters.langchain.reranker import RowvecReranker
from rowvec.adapters.langchain.retriever import RowvecRetriever

__all__ = ["RowvecReranker", "RowvecRetriever"]
