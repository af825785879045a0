"""From a config to objects: the one place that knows every backend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from rowvec import config as settings
from rowvec.embedders.base import Embedder
from rowvec.errors import ConfigError, EmbedderError
from rowvec.sources.base import Source
from rowvec.stores.base import Store, TableSpec
from rowvec.stream import Pipeline
from rowvec.text import Documents, build_recipe
from rowvec.types import ColumnType, Key


@contextmanager
def opened(path: Path | None, name: str | None) -> Iterator[Pipeline]:
    """The pipeline `name` of the config at `path`, ready to use; closed when the block ends."""
    loaded = settings.load(path)
    pipeline = assemble(loaded, loaded.pipeline(name))
    try:
        yield pipeline
    finally:
        pipeline.embedder.close()
        pipeline.store.close()
        pipeline.source.close()


def assemble(loaded: settings.Config, declared: settings.Pipeline) -> Pipeline:
    """Put one declared pipeline together. Databases are asked for columns; no model is loaded.

    Raises:
        ConfigError: a column or model does not exist. SourceError: the source does not answer.
    """
    source = build_source(loaded, declared)
    recipe = build_recipe(declared.text, source.columns, source.key)
    metadata = tuple(_column(source, name) for name in declared.store.metadata)
    embedder = build_embedder(loaded, declared)
    return Pipeline(
        name=declared.name,
        source=source.select([*recipe.columns, *(column.name for column in metadata)]),
        to_document=Documents(recipe, metadata),
        text_columns=tuple(recipe.columns),
        embedder=embedder,
        store=build_store(loaded, declared),
        spec=TableSpec(
            pipeline=declared.name,
            key=source.key,
            key_type=source.key_type,
            dimension=embedder.fingerprint.dimension,
            metadata=metadata,
            language=declared.store.language,
            fingerprint=embedder.fingerprint,
            recipe=recipe.fingerprint,
        ),
        keep_missing=declared.on_missing == "keep",
        page_size=declared.source.page_size,
    )
