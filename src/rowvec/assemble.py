"""From a config to objects: the one place that knows every backend."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import UUID

from rowvec.config import (
    EMBEDDED,
    Config,
    DebeziumSourceConfig,
    FilesSourceConfig,
    LibsqlStoreConfig,
    LocalEmbedderConfig,
    PipelineConfig,
    PostgresStoreConfig,
    SentenceTransformersEmbedderConfig,
    SqlRowsConfig,
    SqlSourceConfig,
    load,
)
from rowvec.documents.text import Documents, build_recipe
from rowvec.embedders.base import Embedder
from rowvec.embedders.pricing import Budget, price_of
from rowvec.errors import ConfigError, SearchError
from rowvec.evaluation.gate import Gate
from rowvec.filters import parse
from rowvec.generations.kept_settings import KeptSettings, kept
from rowvec.pipeline import Pipeline
from rowvec.ranking import Ranking
from rowvec.sources.base import CursorSettings, Source
from rowvec.stores.base import Store, TableSpec
from rowvec.support.suggestions import check_column
from rowvec.types import Column, ColumnType, Key, is_bigint


@contextmanager
def opened(path: Path | None, name: str | None, *, max_cost: float | None = None) -> Iterator[Pipeline]:
    """The pipeline `name` of the config at `path`, ready to use; closed when the block ends."""
    loaded = load(path)
    pipeline = assemble(loaded, loaded.pipeline(name), max_cost=max_cost)
    try:
        yield pipeline
    finally:
        pipeline.close()


def assemble(
    loaded: Config,
    declared: PipelineConfig,
    *,
    max_cost: float | None = None,
    readers: int = 2,
    statement_seconds: float | None = None,
) -> Pipeline:
    """Put one declared pipeline together. The source is asked for its columns; no model is loaded.

    Args:
        max_cost: US dollars that embedding may cost.
        readers: so many threads can search a PostgreSQL store at once.
        statement_seconds: a search of it that takes longer is cancelled.

    Raises:
        ConfigError: a column does not exist, or rows and vectors share a file.
        SourceError, EmbedderError: rows or model cannot be found.
    """
    check_files(declared)
    with ExitStack() as unfinished:
        pipeline = _assembled(loaded, declared, unfinished, max_cost, readers, statement_seconds)
        unfinished.pop_all()
    return pipeline


def _assembled(
    loaded: Config,
    declared: PipelineConfig,
    unfinished: ExitStack,
    max_cost: float | None,
    readers: int,
    statement_seconds: float | None,
) -> Pipeline:
    source = build_source(declared)
    unfinished.callback(source.close)
    text = declared.text
    recipe = build_recipe(
        source.columns, source.key, columns=text.columns, exclude=excluded(source, declared), repeat=text.repeat,
        template=text.template, lines=text.lines,
    )  # fmt: skip
    metadata = tuple(_metadata_column(source, name) for name in declared.store.metadata)
    columns = [*recipe.columns, *declared.store.metadata]
    source.select(columns)
    ranking = Ranking(**declared.search.model_dump())
    ranking.check(declared.store.metadata)
    budget = None if max_cost is None else Budget(max_cost)
    embedder = build_embedder(declared, budget)
    unfinished.callback(embedder.close)
    store = build_store(loaded, declared, readers=readers, statement_seconds=statement_seconds)
    unfinished.callback(store.close)
    # Filters on a table of the user's own read its columns: no copies of them are kept.
    copied = () if _in_place(declared) else metadata
    return Pipeline(
        name=declared.name,
        source=source,
        to_document=Documents(recipe, copied),
        text_columns=recipe.columns,
        embedder=embedder,
        store=store,
        spec=TableSpec(
            pipeline=declared.name,
            key=source.key,
            key_type=source.key_type,
            dimension=embedder.fingerprint.dimension,
            metadata=metadata,
            language=declared.store.language,
            fingerprint=embedder.fingerprint,
            recipe=recipe.fingerprint,
            settings=kept(declared, source, metadata),
        ),
        keep_missing=declared.on_missing == "keep",
        page_size=declared.source.page_size,
        ranking=ranking,
        cursor=_cursor_settings(declared),
        former=KeptSettings(
            declared, source, columns, copied, partial(excluded, source), partial(build_embedder, budget=budget)
        ),
        gate=_gate(declared),
    )


def _gate(declared: PipelineConfig) -> Gate | None:
    chosen = declared.eval
    return None if chosen is None else Gate(chosen.queries, chosen.judgements, chosen.measure, chosen.tolerance)


def _cursor_settings(declared: PipelineConfig) -> CursorSettings:
    chosen = declared.source
    if isinstance(chosen, DebeziumSourceConfig):
        return CursorSettings()
    return CursorSettings(chosen.cursor_lag, chosen.full_every)


def _in_place(declared: PipelineConfig) -> str | None:
    """The column of the user's own table that holds the vectors."""
    return declared.store.column if isinstance(declared.store, PostgresStoreConfig) else None


def excluded(source: Source, declared: PipelineConfig) -> list[str]:
    """Columns that are left out of the text: what a row says is not its own vector."""
    left_out = list(declared.text.exclude)
    column = _in_place(declared)
    if column is not None and declared.text.columns == "*":
        from rowvec.stores.postgres.generations.columns import is_ours

        left_out += [each.name for each in source.columns if is_ours(each.name, column)]
    return left_out


def build_source(declared: PipelineConfig) -> Source:
    """
    Raises:
        ConfigError: a column does not exist; a library for this kind of source is not installed.
        SourceError: the database, the storage or the broker does not answer; the table or the file is not there.
    """
    chosen = declared.source
    if isinstance(chosen, SqlSourceConfig):
        return _table(chosen, chosen.cursor)
    try:
        return _files(chosen) if isinstance(chosen, FilesSourceConfig) else _events(chosen)
    except SearchError as error:
        raise ConfigError(f"Pipeline {declared.name!r}, source.where: {error.message}", hint=error.hint) from error


def _table(chosen: SqlRowsConfig, cursor: str | None = None) -> Source:
    from rowvec.sources.sql import SqlSource

    return SqlSource(
        chosen.url.get_secret_value(), table=chosen.table, query=chosen.query, key=chosen.key, where=chosen.where,
        cursor=cursor,
    )  # fmt: skip


def _files(chosen: FilesSourceConfig) -> Source:
    from rowvec.sources.files.source import FilesSource

    return FilesSource(
        chosen.paths, key=chosen.key, format=chosen.format, where=parse(chosen.where) if chosen.where else None,
        columns=chosen.columns, types=_column_types(chosen.types), cursor=chosen.cursor, delimiter=chosen.delimiter,
    )  # fmt: skip


def _events(chosen: DebeziumSourceConfig) -> Source:
    from rowvec.sources.events.stream import EventSettings

    told = EventSettings(
        chosen.key,
        key_type=ColumnType(chosen.key_type) if chosen.key_type else None,
        table=chosen.table,
        columns=_column_types(chosen.columns) if chosen.columns else None,
        types=chosen.types,
        where=parse(chosen.where) if chosen.where else None,
        skip_bad=chosen.skip_bad,
    )
    if chosen.placeholder:
        told = replace(told, placeholder=chosen.placeholder)
    rows = _table(chosen.rows) if chosen.rows else None
    if chosen.paths:
        from rowvec.sources.events.files import EventFiles

        return EventFiles(chosen.paths, told, rows=rows)
    from rowvec.sources.events.kafka import KafkaEvents

    options = {name: value.get_secret_value() for name, value in chosen.options.items()}
    return KafkaEvents(chosen.brokers or "", chosen.topics or (), told, rows=rows, options=options)


def _column_types(words: Mapping[str, str]) -> dict[str, ColumnType]:
    return {name: ColumnType(word) for name, word in words.items()}


def build_embedder(declared: PipelineConfig, budget: Budget | None = None) -> Embedder:
    """Raises EmbedderError when the model cannot be found, MissingExtraError when its library is not installed."""
    chosen = declared.embedder
    if isinstance(chosen, LocalEmbedderConfig):
        from rowvec.embedders.local.embedder import LocalEmbedder

        return LocalEmbedder(
            chosen.model, precision=chosen.precision, device=chosen.device, overflow=chosen.overflow,
            max_tokens=chosen.max_tokens, query_prompt=chosen.query_prompt, passage_prompt=chosen.passage_prompt,
            workers=chosen.workers, batch_size=chosen.batch_size, cache_dir=chosen.cache_dir,
        )  # fmt: skip
    if isinstance(chosen, SentenceTransformersEmbedderConfig):
        from rowvec.embedders.sentence_transformers import SentenceTransformersEmbedder

        return SentenceTransformersEmbedder(
            chosen.model, device=chosen.device, batch_size=chosen.batch_size, query_prompt=chosen.query_prompt,
            passage_prompt=chosen.passage_prompt, revision=chosen.revision, trust_remote_code=chosen.trust_remote_code,
        )  # fmt: skip
    from rowvec.embedders.openai.client import OpenAIEmbedder
    from rowvec.embedders.openai.wire import KEY_SETTING

    return OpenAIEmbedder(
        chosen.model, base_url=chosen.base_url, api_key=chosen.api_key.get_secret_value() if chosen.api_key else None,
        key_env=chosen.key_variable or KEY_SETTING, dimensions=chosen.dimensions,
        batch_size=chosen.batch_size, concurrency=chosen.concurrency, timeout=chosen.timeout,
        requests_per_minute=chosen.requests_per_minute, tokens_per_minute=chosen.tokens_per_minute,
        max_tries=chosen.max_tries, query_prompt=chosen.query_prompt or "", passage_prompt=chosen.passage_prompt or "",
        price=price_of(chosen.model, chosen.base_url, chosen.price_per_million), tokenizer=chosen.tokenizer,
        budget=budget or Budget(chosen.max_cost),
    )  # fmt: skip


def build_store(
    loaded: Config,
    declared: PipelineConfig,
    *,
    readers: int = 2,
    statement_seconds: float | None = None,
) -> Store:
    """The store, not yet connected; the embedded server is started when it is the one."""
    chosen = declared.store
    if isinstance(chosen, LibsqlStoreConfig):
        from rowvec.stores.libsql import LibsqlStore

        return LibsqlStore(
            chosen.url.get_secret_value(),
            token=chosen.token.get_secret_value() if chosen.token else None,
            table=chosen.table,
            metric=chosen.metric,
        )
    from rowvec.stores.postgres.store import PostgresStore
    from rowvec.stores.postgres.vector_index.index import IndexSpec

    url = chosen.url.get_secret_value()
    if url == EMBEDDED:
        from rowvec.stores.postgres.embedded import embedded_url

        url = embedded_url(loaded.state)
    return PostgresStore(
        url, chosen.table, pipeline=declared.name, metric=chosen.metric, storage=chosen.storage, column=chosen.column,
        create_extension=chosen.create_extension, readers=readers, statement_seconds=statement_seconds,
        index=None if chosen.index == "none" else IndexSpec("ivfflat" if chosen.index == "ivfflat" else "hnsw"),
    )  # fmt: skip


def check_files(declared: PipelineConfig) -> None:
    """Python's sqlite3 and libSQL must not have one file open in one process: POSIX takes off all locks of a process
    when any of its handles is closed, so each would lose its locks to the other, and then the file.

    Raises:
        ConfigError: source and store are the same file, under whatever name.
    """
    if not isinstance(declared.store, LibsqlStoreConfig):
        return
    table = declared.source.rows if isinstance(declared.source, DebeziumSourceConfig) else declared.source
    if not isinstance(table, SqlRowsConfig):
        return
    rows = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+).*", table.url.get_secret_value(), re.DOTALL)
    vectors = declared.store.url.get_secret_value()
    if rows is None or ("://" in vectors and not vectors.startswith("file:")):
        return
    one, other = Path(rows[1]), Path(vectors.removeprefix("file:").partition("?")[0])
    if one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other)):
        raise ConfigError(
            f"Pipeline {declared.name!r}: {other} holds the rows and cannot hold the vectors too:"
            " two SQLite libraries in one process would damage it.",
            hint='Give the store a file of its own, such as url = "embeddings.db".',
        )


def parse_key(text: str, kind: ColumnType) -> Key:
    """A key as a user writes it.

    Raises:
        ConfigError: it is none of the pipeline's kind.
    """
    if kind is ColumnType.TEXT:
        return text
    try:
        key = int(text) if kind is ColumnType.INTEGER else UUID(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no {kind} key.", hint=f"The keys of this pipeline are {kind}s.") from None
    if isinstance(key, int) and not is_bigint(key):
        raise ConfigError(f"{text!r} is no integer key.", hint="A key has at most 64 bits.")
    return key


def _metadata_column(source: Source, name: str) -> Column:
    check_column(name, [column.name for column in source.columns], "store.metadata")
    return next(column for column in source.columns if column.name == name)
