"""rowvec.toml: where rows come from, how a row becomes text, which model embeds it, where the vectors live."""

from rowvec.config.load import NAME, Config, Pipeline, load
from rowvec.config.models import (
    EMBEDDED,
    LibsqlStore,
    LocalEmbedder,
    OpenAIEmbedder,
    PostgresStore,
    SentenceTransformersEmbedder,
    Text,
)
from rowvec.config.sources import DebeziumSource, FilesSource, SqlRows, SqlSource
from rowvec.config.workers import Schedule, Workers

__all__ = [
    "EMBEDDED",
    "NAME",
    "Config",
    "DebeziumSource",
    "FilesSource",
    "LibsqlStore",
    "LocalEmbedder",
    "OpenAIEmbedder",
    "Pipeline",
    "PostgresStore",
    "Schedule",
    "SentenceTransformersEmbedder",
    "SqlRows",
    "SqlSource",
    "Text",
    "Workers",
    "load",
]
