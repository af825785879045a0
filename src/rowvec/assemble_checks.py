"""Settings of a pipeline that do not go together, found before a row is read or written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rowvec.config import LibsqlStoreConfig, PipelineConfig
from rowvec.embedders.base import Embedder, similarity_of
from rowvec.errors import ConfigError
from rowvec.stores.index import PART_TYPES
from rowvec.support.suggestions import check_column
from rowvec.types import Column

METRICS = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}
"""Of a store, by what a model was trained to be compared by."""


def check_metric(declared: PipelineConfig, embedder: Embedder) -> None:
    """
    Raises:
        ConfigError: the lengths of the model's vectors count, and the store would leave them out unasked.
    """
    store, wanted = declared.store, similarity_of(embedder)
    if wanted == "cosine" or "metric" in store.model_fields_set or not hasattr(store, "metric"):
        return
    fitting = METRICS.get(wanted)
    hint = f'Write metric = "{fitting}" in the store' if fitting else "No store compares by that: write another metric"
    raise ConfigError(
        f"Pipeline {declared.name!r}, store.metric: the model {embedder.fingerprint.model} was trained for the"
        f" similarity {wanted!r}, and does not normalise its vectors. The default metric, cosine, ranks otherwise.",
        hint=f'{hint}, or metric = "cosine" to compare directions only.',
    )


def check_partial_index(declared: PipelineConfig, metadata: Sequence[Column]) -> None:
    """
    Raises:
        ConfigError: store.partial_index names no metadata column, or one whose values do not divide a table.
    """
    name: str | None = getattr(declared.store, "partial_index", None)
    if name is None:
        return
    check_column(name, declared.store.metadata, "store.partial_index")
    column = next(each for each in metadata if each.name == name)
    setting = f"Pipeline {declared.name!r}, store.partial_index"
    if column.type not in PART_TYPES or column.ignores_case:
        raise ConfigError(
            f"{setting}: {name!r} holds {column.type} values{' of any case' if column.ignores_case else ''}.",
            hint="Name a column of whole numbers, texts or UUIDs, such as the id of a tenant.",
        )
    if declared.text.passages is not None:
        raise ConfigError(
            f"{setting}: searches that count on passages do not use such an index.",
            hint="Leave partial_index out, or text.passages.",
        )


def check_files(declared: PipelineConfig) -> None:
    """Python's sqlite3 and libSQL must not have one file open in one process: POSIX takes off all locks of a process
    when any of its handles is closed, so each would lose its locks to the other, and then the file.

    Raises:
        ConfigError: source and store are the same file, under whatever name.
    """
    if not isinstance(declared.store, LibsqlStoreConfig):
        return
    rows, vectors = declared.source.rows_url or "", declared.store.url.get_secret_value()
    if not re.match(r"sqlite(\+\w+)?:///.", rows) or ("://" in vectors and not vectors.startswith("file:")):
        return
    from rowvec.sources.databases.sqlite import file_of as file_of_rows
    from rowvec.stores.libsql.local import file_of

    one, other = file_of_rows(rows, Path()), file_of(vectors)
    if one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other)):
        raise ConfigError(
            f"Pipeline {declared.name!r}: store.url is {other}, which holds the rows and cannot hold the vectors too:"
            " two SQLite libraries in one process would damage it.",
            hint='Give the store a file of its own, such as url = "embeddings.db".',
        )
