"""The kinds that rowvec brings: what rowvec.toml may say of each, and what is made of that.

The one module that names every backend. Each is imported when it is built, so that a config can be read without its
drivers. Found through the entry points in pyproject.toml, as those of other packages are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rowvec.config.kinds import Building, Kind
from rowvec.config.models import LocalEmbedderConfig, SentenceTransformersEmbedderConfig
from rowvec.config.rerank import RerankConfig
from rowvec.config.services import OpenAIEmbedderConfig
from rowvec.config.sources import DebeziumSourceConfig, FilesSourceConfig, SqlRowsConfig, SqlSourceConfig
from rowvec.config.stores import EMBEDDED, LibsqlStoreConfig, PostgresStoreConfig
from rowvec.embedders.base import Embedder
from rowvec.embedders.pricing import Budget, price_of
from rowvec.errors import StoreError
from rowvec.filters import parse
from rowvec.sources.base import Source
from rowvec.stores.base import Store
from rowvec.support.parts import table_of
from rowvec.types import Column, ColumnType

if TYPE_CHECKING:
    from pydantic import SecretStr

    from rowvec.rerankers.base import Reranker
    from rowvec.rerankers.local import ScoresPairs
    from rowvec.stores.part import PartStore


def _sql(chosen: SqlSourceConfig, to: Building) -> Source:
    return _table(chosen, to.remembered, chosen.cursor)


def _table(chosen: SqlRowsConfig, remembered: Sequence[Column], cursor: str | None = None) -> Source:
    from rowvec.sources.sql import SqlSource

    return SqlSource(
        chosen.url.get_secret_value(), table=chosen.table, query=chosen.query, key=chosen.key, where=chosen.where,
        cursor=cursor, remembered=remembered,
    )  # fmt: skip


def _files(chosen: FilesSourceConfig, to: Building) -> Source:
    from rowvec.sources.files.source import FilesSource

    return FilesSource(
        chosen.paths, key=chosen.key, format=chosen.format, where=parse(chosen.where) if chosen.where else None,
        columns=chosen.columns, types=_column_types(chosen.types), cursor=chosen.cursor, delimiter=chosen.delimiter,
        remembered=to.remembered,
    )  # fmt: skip


def _events(chosen: DebeziumSourceConfig, to: Building) -> Source:
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
    rows = _table(chosen.rows, to.remembered) if chosen.rows else None
    if chosen.paths:
        from rowvec.sources.events.files import EventFiles

        return EventFiles(chosen.paths, told, rows=rows, remembered=to.remembered)
    from rowvec.sources.events.kafka import KafkaEvents

    options = {name: value.get_secret_value() for name, value in chosen.options.items()}
    return KafkaEvents(
        chosen.brokers or "", chosen.topics or (), told, rows=rows, options=options, remembered=to.remembered
    )


def _column_types(words: Mapping[str, str]) -> dict[str, ColumnType]:
    return {name: ColumnType(word) for name, word in words.items()}


def _local(chosen: LocalEmbedderConfig, to: Building) -> Embedder:
    from rowvec.embedders.local.embedder import LocalEmbedder

    return LocalEmbedder(
        chosen.model, precision=chosen.precision,
        query_precision=chosen.query_precision, engine=chosen.engine, device=chosen.device, overflow=chosen.overflow,
        dimensions=chosen.dimensions,
        max_tokens=chosen.max_tokens, query_prompt=chosen.query_prompt, passage_prompt=chosen.passage_prompt,
        query_centre=chosen.query_centre, workers=chosen.workers, batch_size=chosen.batch_size,
        cache_dir=chosen.cache_dir,
    )  # fmt: skip


def _sentence_transformers(chosen: SentenceTransformersEmbedderConfig, to: Building) -> Embedder:
    from rowvec.embedders.sentence_transformers import SentenceTransformersEmbedder

    return SentenceTransformersEmbedder(
        chosen.model, device=chosen.device, batch_size=chosen.batch_size, query_prompt=chosen.query_prompt,
        passage_prompt=chosen.passage_prompt, revision=chosen.revision, dimensions=chosen.dimensions,
        trust_remote_code=chosen.trust_remote_code,
    )  # fmt: skip


def _openai(chosen: OpenAIEmbedderConfig, to: Building) -> Embedder:
    from rowvec.embedders.openai.client import OpenAIEmbedder
    from rowvec.embedders.openai.wire import KEY_SETTING

    return OpenAIEmbedder(
        chosen.model, base_url=chosen.base_url, api_key=chosen.api_key.get_secret_value() if chosen.api_key else None,
        key_env=chosen.key_variable or KEY_SETTING, dimensions=chosen.dimensions,
        batch_size=chosen.batch_size, concurrency=chosen.concurrency, timeout=chosen.timeout,
        requests_per_minute=chosen.requests_per_minute, tokens_per_minute=chosen.tokens_per_minute,
        max_tries=chosen.max_tries, api=chosen.api, query_params=chosen.query_params,
        passage_params=chosen.passage_params,
        query_prompt=chosen.query_prompt or "", passage_prompt=chosen.passage_prompt or "",
        price=price_of(chosen.model, chosen.base_url, chosen.price_per_million), tokenizer=chosen.tokenizer,
        budget=to.budget or Budget(chosen.max_cost),
    )  # fmt: skip


def _postgres(chosen: PostgresStoreConfig, to: Building) -> Store:
    from rowvec.stores.index import DEFAULT, KINDS
    from rowvec.stores.postgres.store import PostgresStore

    url = chosen.url.get_secret_value()
    if url == EMBEDDED:
        from rowvec.stores.postgres.embedded import embedded_url

        assert to.state is not None
        url = embedded_url(to.state)

    def opened(url: str, table: str) -> PostgresStore:
        return PostgresStore(
            url, table, pipeline=to.pipeline, metric=chosen.metric, storage=chosen.storage, column=chosen.column,
            create_extension=chosen.create_extension, readers=to.readers, statement_seconds=to.statement_seconds,
            silent_seconds=chosen.timeout, index=None if chosen.index == "none" else KINDS.get(chosen.index, DEFAULT),
            partial=chosen.partial_index, alone=chosen.partitions is None, replica=to.replica,
        )  # fmt: skip

    return _split(opened, url, chosen.table, chosen.partitions, chosen.drain)


def _split(
    opened: Callable[[str, str], PartStore], url: str, table: str, partitions: int | tuple[SecretStr, ...] | None,
    drain: tuple[SecretStr, ...] | None, *, apart: bool = True,
) -> Store:  # fmt: skip
    """The store of a table, or of all its parts where it is split."""
    if partitions is None:
        return opened(url, table)
    from rowvec.stores.partitioned import PartitionedStore

    if isinstance(partitions, int):
        return PartitionedStore(lambda part: opened(url, table_of(table, part)), partitions, apart=apart)
    urls = (*partitions, *(drain or ()))

    def part_of_list(part: int) -> PartStore:
        if part >= len(urls):
            raise StoreError(
                f"The rows of {table} are in more parts than store.partitions names: it names {len(partitions)}.",
                hint="Name every server that holds a part, in the order in which they were added. To take the last one"
                " away, name it in store.drain.",
            )
        return opened(urls[part].get_secret_value(), table)

    return PartitionedStore(part_of_list, len(partitions))


def _owned_by_postgres(chosen: PostgresStoreConfig, column: str) -> bool:
    from rowvec.stores.postgres.generations.columns import is_ours

    return chosen.column is not None and is_ours(column, chosen.column)


def _libsql(chosen: LibsqlStoreConfig, to: Building) -> Store:
    from rowvec.stores.libsql import LibsqlStore

    token = chosen.token.get_secret_value() if chosen.token else None

    def opened(url: str, table: str) -> LibsqlStore:
        return LibsqlStore(
            url, token=token, table=table, metric=chosen.metric, alone=chosen.partitions is None,
            silent_seconds=chosen.timeout,
        )  # fmt: skip

    # One database has one writer at a time.
    return _split(opened, chosen.url.get_secret_value(), chosen.table, chosen.partitions, chosen.drain, apart=False)


SQL = Kind(SqlSourceConfig, _sql)
FILES = Kind(FilesSourceConfig, _files)
DEBEZIUM = Kind(DebeziumSourceConfig, _events)
LOCAL = Kind(LocalEmbedderConfig, _local)
SENTENCE_TRANSFORMERS = Kind(SentenceTransformersEmbedderConfig, _sentence_transformers)
OPENAI = Kind(OpenAIEmbedderConfig, _openai)
POSTGRES = Kind(PostgresStoreConfig, _postgres, _owned_by_postgres)
LIBSQL = Kind(LibsqlStoreConfig, _libsql)


def reranker(chosen: RerankConfig, store: Store | None = None) -> Reranker:
    """What puts the best hits of searches into a better order; no model is loaded, and nobody is asked.

    Args:
        store: keeps what searches spend on a service that has a price.

    Raises:
        ConfigError: a key or a proxy that cannot work.
    """
    if chosen.kind == "local":
        from rowvec.rerankers.local import LocalReranker

        assert chosen.model is not None
        load = partial(_cross_encoder, chosen.model, chosen.precision or "float32")
        return LocalReranker(load, chosen.model, top=chosen.top, weight=chosen.weight, timeout=chosen.timeout)
    from rowvec.rerankers.keeping import KeptSpending
    from rowvec.rerankers.pricing import RerankPrice
    from rowvec.rerankers.service import ServiceReranker

    assert chosen.url is not None
    price = RerankPrice(chosen.price_per_million or 0.0, chosen.price_per_search or 0.0)
    made = ServiceReranker(
        chosen.kind, chosen.url, chosen.model,
        api_key=chosen.api_key.get_secret_value() if chosen.api_key else None,
        key_env=chosen.key_variable or "search.rerank.api_key", needs_key=chosen.key_variable is not None,
        top=chosen.top, weight=chosen.weight, timeout=chosen.timeout, price=price, budget=Budget(chosen.max_cost),
    )  # fmt: skip
    return made if store is None or price == RerankPrice() else KeptSpending(made, store.spend)


def _cross_encoder(model: str, precision: str) -> ScoresPairs:
    from rowvec.embedders.local.cross_encoder import CrossEncoder

    return CrossEncoder(model, precision=precision)
