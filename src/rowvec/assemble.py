"""From a config to objects: a pipeline and its parts, of whatever kinds the config names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

from rowvec import backends
from rowvec.assemble_checks import check_files, check_metric, check_partial_index
from rowvec.config import Config, PipelineConfig, kinds, load
from rowvec.config.card import PLACEHOLDER
from rowvec.config.kinds import Building
from rowvec.documents.passages import Cutter, PassageSettings
from rowvec.documents.text import Recipe, build_context, build_recipe
from rowvec.embedders.base import Embedder
from rowvec.embedders.pricing import Budget
from rowvec.embedders.separate_queries import SeparateQueries
from rowvec.errors import ConfigError, SearchError, StoreError
from rowvec.evaluation.gate import Gate
from rowvec.generations.kept_settings import (
    KeptSettings,
    documents_of,
    kept,
    passage_settings,
    remembered_columns,
    with_passages,
)
from rowvec.pipeline import Card, Pipeline
from rowvec.ranking import Ranking
from rowvec.rerankers.base import Reranker
from rowvec.sources.base import Source
from rowvec.stores.base import Store, TableSpec
from rowvec.support import keys
from rowvec.support.suggestions import check_column
from rowvec.types import Column, ColumnType, Fingerprint, Key


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
        readers: this many threads can search a PostgreSQL store at once.
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
    store, replica = _stores(loaded, declared, unfinished, readers, statement_seconds)
    budget = None if max_cost is None else Budget(max_cost)
    pipeline = _put_together(declared, store, replica, None, unfinished, budget)
    return as_searched(loaded, declared, pipeline)


def _renewed(declared: PipelineConfig, budget: Budget | None, old: Pipeline) -> Pipeline:
    """See `Pipeline.renew`."""
    with ExitStack() as unfinished:
        made = _put_together(declared, old.store, old.replica, old.embedder, unfinished, budget)
        unfinished.pop_all()
    return replace(
        old, source=made.source, to_document=made.to_document, text_columns=made.text_columns, spec=made.spec,
        ranking=made.ranking, former=made.former,
    )  # fmt: skip


def _put_together(
    declared: PipelineConfig,
    store: Store,
    replica: Store | None,
    embedder: Embedder | None,
    unfinished: ExitStack,
    budget: Budget | None,
) -> Pipeline:
    """
    Args:
        embedder: None where it is not there yet: what needs no model is looked at first.
        unfinished: closes what is opened here.
    """
    source = build_source(declared, _remembered(store))
    unfinished.callback(source.close)
    recipe, passages = _text_settings(declared, source)
    metadata = tuple(_metadata_column(source, name) for name in declared.store.metadata)
    check_partial_index(declared, metadata)
    ranking = build_ranking(declared, metadata)
    if embedder is None:
        embedder = build_embedder(declared, budget)
        unfinished.callback(embedder.close)
    fingerprint = _fingerprint(declared, embedder, passages)
    # Filters on a table of the user's own read its columns: no copies of them are kept.
    copied = () if declared.store.own_column else metadata
    to_document, text_columns = documents_of(source, recipe, passages, copied, fingerprint)
    columns = [*text_columns, *declared.store.metadata]
    source.select(columns)
    spec = table_spec(
        declared, source.key, source.key_type, metadata, fingerprint, recipe.fingerprint,
        kept(declared, source, metadata),
    )  # fmt: skip
    return Pipeline(
        name=declared.name,
        source=source,
        to_document=to_document,
        text_columns=text_columns,
        embedder=embedder,
        store=store,
        spec=spec,
        keep_missing=declared.on_missing == "keep",
        page_size=declared.source.page_size,
        ranking=ranking,
        cursor=declared.source.cursor_settings,
        former=KeptSettings(
            declared, source, columns, copied, partial(excluded, source), partial(build_embedder, budget=budget)
        ),
        passages=passages,
        replica=replica,
        renew=partial(_renewed, declared, budget),
    )


def as_searched(loaded: Config, declared: PipelineConfig, pipeline: Pipeline) -> Pipeline:
    """With what only searches, and the comparison of a new generation by them, need."""
    return replace(
        pipeline,
        gate=build_gate(declared),
        reranker=build_reranker(declared, pipeline.store),
        query_embedder=build_query_embedder(loaded, declared, pipeline.embedder),
        card=build_card(declared),
        typos=declared.search.typos,
        prefix=declared.search.prefix,
        partial=declared.search.partial,
    )


def _stores(
    loaded: Config, declared: PipelineConfig, unfinished: ExitStack, readers: int, statement_seconds: float | None
) -> tuple[Store, Store | None]:
    """The store, and its replica where searches ask one."""
    store = build_store(loaded, declared, readers=readers, statement_seconds=statement_seconds)
    unfinished.callback(store.close)
    replica = build_replica(loaded, declared, readers=readers, statement_seconds=statement_seconds)
    if replica is not None:
        unfinished.callback(replica.close)
    return store, replica


def _text_settings(declared: PipelineConfig, source: Source) -> tuple[Recipe, PassageSettings | None]:
    """How a row of the source becomes a text, and how a long one is cut; no model is needed to find a wrong column."""
    text = declared.text
    recipe = build_recipe(
        source.columns, source.key, columns=text.columns, exclude=excluded(source, declared), repeat=text.repeat,
        template=text.template, lines=text.lines,
    )  # fmt: skip
    passages = passage_settings(text)
    if passages is not None and passages.context:
        build_context(source.columns, passages.context)
    return recipe, passages


def _fingerprint(declared: PipelineConfig, embedder: Embedder, passages: PassageSettings | None) -> Fingerprint:
    """Of the vectors that the model makes with these settings, which suit it."""
    check_metric(declared, embedder)
    if passages is not None:
        Cutter(passages, embedder)
    return with_passages(embedder.fingerprint, passages)


def table_spec(
    declared: PipelineConfig,
    key: str,
    key_type: ColumnType,
    metadata: tuple[Column, ...],
    fingerprint: Fingerprint,
    recipe: str,
    settings: str,
) -> TableSpec:
    """What the store holds of a pipeline.

    Args:
        fingerprint: that of the model, with the settings of passages.
        recipe: hash of the settings that turn a row into text.
        settings: JSON, as the ledger keeps it.
    """
    return TableSpec(
        pipeline=declared.name,
        key=key,
        key_type=key_type,
        dimension=fingerprint.dimension,
        metadata=metadata,
        language=declared.store.language,
        fingerprint=fingerprint,
        recipe=recipe,
        settings=settings,
        keeps_texts=declared.store.texts,
        keeps_words=declared.search.keeps_words,
    )


def build_gate(declared: PipelineConfig) -> Gate | None:
    """What a new generation has to pass; None where nothing is asked of it."""
    chosen = declared.eval
    return None if chosen is None else Gate(chosen.queries, chosen.judgements, chosen.measure, chosen.tolerance)


def excluded(source: Source, declared: PipelineConfig) -> list[str]:
    """Columns that are left out of the text: what a row says is not its own vector."""
    left_out = list(declared.text.exclude)
    if declared.text.columns == "*":
        store = kinds.get("store", declared.store.kind)
        left_out += [each.name for each in source.columns if store.owns(declared.store, each.name)]
    return left_out


def _remembered(store: Store) -> list[Column]:
    """None where the store cannot say: whoever reads or writes it is told why."""
    try:
        return remembered_columns(store.ledger().settings)
    except StoreError:
        return []


def build_source(declared: PipelineConfig, remembered: Sequence[Column] = ()) -> Source:
    """
    Args:
        remembered: its columns as they were at the last sync.

    Raises:
        ConfigError: a column does not exist; a library for this kind of source is not installed.
        SourceError: the database, the storage or the broker does not answer; the table or the file is not there.
    """
    kind = kinds.get("source", declared.source.kind)
    try:
        return cast(Source, kind.build(declared.source, Building(declared.name, remembered=remembered)))
    except SearchError as error:
        raise ConfigError(f"Pipeline {declared.name!r}, source.where: {error.message}", hint=error.hint) from error


def build_embedder(declared: PipelineConfig, budget: Budget | None = None) -> Embedder:
    """Raises EmbedderError when the model cannot be found, MissingExtraError when its library is not installed."""
    kind = kinds.get("embedder", declared.embedder.kind)
    return cast(Embedder, kind.build(declared.embedder, Building(declared.name, budget=budget)))


def build_query_embedder(loaded: Config, declared: PipelineConfig, embedder: Embedder) -> SeparateQueries | None:
    """None where rows and queries have one embedder. Raises as `build_embedder`, and where dimensions differ."""
    if declared.query_embedder is None:
        return None
    queries = build_embedder(replace(declared, embedder=declared.query_embedder))
    tables = (declared.embedder, declared.query_embedder)
    settings = [{name: value for name, value in table if name.startswith("query_")} for table in tables]
    return SeparateQueries(embedder, queries, loaded.state / f"{declared.name}.query_embedder.json", repr(settings))


def build_ranking(declared: PipelineConfig, metadata: Sequence[Column]) -> Ranking:
    """Raises ConfigError when it names a column that is not metadata, or words of rows that have no keyword index."""
    if declared.search.keeps_words and declared.store.language is None:
        setting = "typos" if declared.search.typos else "prefix"
        raise ConfigError(
            f"Pipeline {declared.name!r}, search.{setting}: the store has no keyword index, which says what rows hold.",
            hint='Set store.language, such as "english" or "simple", or leave the setting out.',
        )
    ranking = Ranking(**declared.search.model_dump(exclude={"rerank", "card", "typos", "prefix", "partial"}))
    ranking.check(metadata)
    return ranking


def build_card(declared: PipelineConfig) -> Card:
    """Raises ConfigError when it names a column that is not metadata."""
    chosen, columns = declared.search.card, declared.store.metadata
    if chosen is None:
        return Card()
    card = Card(**chosen.model_dump())
    used = {"title": card.title, "image": card.image, "snippet": card.snippet}
    for role, name in used.items():
        if name is not None:
            check_column(name, columns, f"search.card.{role}")
    for name in card.fields:
        check_column(name, columns, "search.card.fields")
    placeholders = PLACEHOLDER.findall(card.url or "")
    for name in placeholders or ([card.url] if card.url else []):
        check_column(name, [*columns, declared.source.key, "id"], "search.card.url")
    return card


def build_reranker(declared: PipelineConfig, store: Store | None = None) -> Reranker | None:
    """None where searches keep their own order. No model is loaded.

    Args:
        store: keeps what searches spend.

    Raises:
        ConfigError: a key or a proxy that cannot work.
    """
    chosen = declared.search.rerank
    return None if chosen is None else backends.reranker(chosen, store)


def build_store(
    loaded: Config,
    declared: PipelineConfig,
    *,
    readers: int = 2,
    statement_seconds: float | None = None,
) -> Store:
    """The store, not yet connected; the embedded server is started when it is the one."""
    kind = kinds.get("store", declared.store.kind)
    to = Building(declared.name, loaded.state, readers=readers, statement_seconds=statement_seconds)
    return cast(Store, kind.build(declared.store, to))


def build_replica(
    loaded: Config,
    declared: PipelineConfig,
    *,
    readers: int = 2,
    statement_seconds: float | None = None,
) -> Store | None:
    """What searches ask instead of the store, not yet connected; None where they ask that."""
    chosen = declared.store.replica
    if chosen is None:
        return None
    kind = kinds.get("store", chosen.kind)
    to = Building(declared.name, loaded.state, readers=readers, statement_seconds=statement_seconds, replica=True)
    return cast(Store, kind.build(chosen, to))


def parse_key(text: str, kind: ColumnType) -> Key:
    """A key as a user writes it.

    Raises:
        ConfigError: it is not a key of that kind.
    """
    try:
        return keys.parse_key(text, kind)
    except OverflowError:
        raise ConfigError(f"{text!r} is not a valid integer key.", hint="A key has at most 64 bits.") from None
    except ValueError:
        raise ConfigError(
            f"{text!r} is not a valid {kind} key.", hint=f"The keys of this pipeline are {kind}s."
        ) from None


def _metadata_column(source: Source, name: str) -> Column:
    check_column(name, [column.name for column in source.columns], "store.metadata")
    return next(column for column in source.columns if column.name == name)
