"""rowvec.toml: where rows come from, how a row becomes text, which model embeds it, where the vectors live."""

from rowvec.config.load import NAME, Config, PipelineConfig, load
from rowvec.config.models import LocalEmbedderConfig, SentenceTransformersEmbedderConfig, TextConfig
from rowvec.config.services import OpenAIEmbedderConfig
from rowvec.config.sources import DebeziumSourceConfig, FilesSourceConfig, SqlRowsConfig, SqlSourceConfig
from rowvec.config.stores import EMBEDDED, LibsqlStoreConfig, PostgresStoreConfig
from rowvec.config.workers import ScheduleConfig, WorkersConfig

__all__ = [
    "EMBEDDED",
    "NAME",
    "Config",
    "DebeziumSourceConfig",
    "FilesSourceConfig",
    "LibsqlStoreConfig",
    "LocalEmbedderConfig",
    "OpenAIEmbedderConfig",
    "PipelineConfig",
    "PostgresStoreConfig",
    "ScheduleConfig",
    "SentenceTransformersEmbedderConfig",
    "SqlRowsConfig",
    "SqlSourceConfig",
    "TextConfig",
    "WorkersConfig",
    "load",
]
