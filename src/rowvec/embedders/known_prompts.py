"""What well-known models want before queries and texts of rows, by their names on the hub.

Many models were published before their files could say so: their model cards do. Where a model's own files name a
prompt, they count and this does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from rowvec.embedders.model_recipe import PASSAGE, QUERY, ModelRecipe


class Prompts(NamedTuple):
    query: str
    passage: str


_PASSAGES = "Represent this sentence for searching relevant passages: "
_TASK = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
KNOWN: Mapping[str, Prompts] = {
    r"intfloat/(multilingual-)?e5-\w+-instruct|intfloat/e5-mistral-7b-instruct": Prompts(_TASK, ""),
    r"intfloat/(multilingual-)?e5-(small|base|large)(-v2|-unsupervised)?": Prompts("query: ", "passage: "),
    r"BAAI/bge-(small|base|large)-en(-v1\.5)?": Prompts(_PASSAGES, ""),
    r"BAAI/bge-(small|base|large)-zh(-v1\.5)?": Prompts("为这个句子生成表示以用于检索相关文章：", ""),
    r"BAAI/bge-m3|thenlper/gte-.*|Alibaba-NLP/gte-(base|large|multilingual-base)\S*": Prompts("", ""),
    r"Alibaba-NLP/gte-Qwen.*-instruct": Prompts(_TASK, ""),
    r"nomic-ai/nomic-embed-text-.*": Prompts("search_query: ", "search_document: "),
    r"Snowflake/snowflake-arctic-embed-\w+-v2\.0": Prompts("query: ", ""),
    r"Snowflake/snowflake-arctic-embed-.*": Prompts(_PASSAGES, ""),
    r"mixedbread-ai/mxbai-embed-.*|WhereIsAI/UAE-Large-V1": Prompts(_PASSAGES, ""),
    r"jinaai/jina-embeddings-v2-.*": Prompts("", ""),
    r"jinaai/jina-embeddings-v3": Prompts(
        "Represent the query for retrieving evidence documents: ", "Represent the document for retrieval: "
    ),
    r"google/embeddinggemma-.*": Prompts("task: search result | query: ", "title: none | text: "),
    r"Qwen/Qwen3-Embedding-.*": Prompts(_TASK.removesuffix(" "), ""),
}
"""From the model cards; the first expression that fits a whole name counts."""


class Chosen(NamedTuple):
    """What goes before texts, and on whose word."""

    query: str
    passage: str
    note: str
    """For `rowvec check`; "" where nothing goes before anything."""


def known_as(name: str, config: Mapping[str, Any], *, on_hub: bool) -> str:
    """The name on the hub by which a model is known. A folder may have any name: there it is what config.json says."""
    said = config.get("_name_or_path")
    return name if on_hub else said if isinstance(said, str) else ""


def choose(known_name: str, recipe: ModelRecipe, query: str | None, passage: str | None) -> Chosen:
    """The prompts of a model.

    Args:
        known_name: see `known_as`.
        recipe: what its files say.
        query, passage: what the config says; None where it does not.
    """
    found = next((said for pattern, said in KNOWN.items() if re.fullmatch(pattern, known_name, re.IGNORECASE)), None)
    own = Prompts(recipe.prompt(*QUERY), recipe.prompt(*PASSAGE))
    named = any(recipe.prompts.values())
    usual = own if named or found is None else found
    chosen = Prompts(usual.query if query is None else query, usual.passage if passage is None else passage)
    if query is not None or passage is not None:
        source = "set in the config" if None not in (query, passage) or not any(usual) else "in part set in the config"
    elif named:
        differs = found is not None and found != own
        source = "from the model's files" + (f", where others put {_shown(found)}" if differs and found else "")
    else:
        source = f"known for {known_name}"
    return Chosen(*chosen, f"{_shown(chosen)}, {source}" if any(chosen) or (named and found not in (None, own)) else "")


def _shown(prompts: Prompts) -> str:
    return f"query prompt {prompts.query!r}, passage prompt {prompts.passage!r}"
