"""Vectors with fewer numbers than the model gives: the first ones, scaled to length 1 again.

Of a model that was trained for it (Matryoshka) the first numbers are a good vector of their own. Of any other model
they are a worse one: `rowvec eval` says by how much.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rowvec.errors import ConfigError

TRAINED = (
    r"mixedbread-ai/mxbai-embed-(2d-)?large-v1",
    r"nomic-ai/(nomic-embed-text-v1\.5|nomic-embed-text-v2-moe|modernbert-embed-\w+)",
    r"Snowflake/snowflake-arctic-embed-(m-v1\.5|[ml]-v2\.0)",
    r"Alibaba-NLP/gte-multilingual-base",
    r"jinaai/jina-embeddings-v[345]\S*",
    r"google/embeddinggemma-\S+",
    r"Qwen/Qwen3-Embedding-\S+",
    r"sentence-transformers/static-(retrieval|similarity)-mrl-\S+",
)
"""From the model cards, by the names on the hub."""


def trained_to_shorten(known_name: str, config: Mapping[str, Any]) -> bool:
    """
    Args:
        known_name: see `known_prompts.known_as`.
        config: the model's config.json, where some say it themselves.
    """
    said = config.get("is_matryoshka") or config.get("matryoshka_dimensions")
    return bool(said) or any(re.fullmatch(pattern, known_name, re.IGNORECASE) for pattern in TRAINED)


def checked_dimensions(model: str, asked: int | None, own: int) -> int:
    """The dimension of the vectors: the one that is asked for, or the model's own.

    Raises:
        ConfigError: the model gives fewer numbers, or it is less than one.
    """
    if asked is None:
        return own
    if not 1 <= asked <= own:
        raise ConfigError(
            f"dimensions is {asked}, but {model!r} gives vectors of {own} numbers.",
            hint=f"Write 1 to {own}, or leave it out.",
        )
    return asked
