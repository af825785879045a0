"""rowvec.toml: where rows come from, how a row becomes text, which model embeds it, where the vectors live."""

from rowvec.config.load import NAME, Config, Pipeline, load
from rowvec.config.models import (
    EMBEDDED,
    LibsqlStore,
    LocalEmbedder,
    OpenAIEmbedder,
    PostgresStore,
    SentenceTransformersEmbedder,
    SqlSource,
    Text,
)

__all__ = [
    "EMBEDDED",
    "NAME",
    "Config",
    "LibsqlStore",
    "LocalEmbedder",
    "OpenAIEmbedder",
    "Pipeline",
    "PostgresStore",
    "SentenceTransformersEmbedder",
    "SqlSource",
    "Text",
    "load",
]
