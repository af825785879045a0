"""From a config to a pipeline that is searched: with the store alone, where that knows enough."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from rowvec.assemble import (
    as_searched,
    build_embedder,
    build_ranking,
    build_replica,
    build_source,
    build_store,
    excluded,
    table_spec,
)
from rowvec.assemble import assemble as assemble_whole
from rowvec.assemble_checks import check_files
from rowvec.config import Config, PipelineConfig
from rowvec.embedders.base import AbsentEmbedder, Embedder
from rowvec.errors import EmbedderError, MissingExtraError, RowvecError, StoreError
from rowvec.generations.kept_settings import (
    KeptSettings,
    known_columns,
    passage_settings,
    remembered_columns,
    with_passages,
)
from rowvec.pipeline import Pipeline
from rowvec.sources.lazy import LazySource
from rowvec.stores.abilities import LacksParts
from rowvec.stores.away import answer_without
from rowvec.stores.base import Store
from rowvec.stores.ledger import Ledger
from rowvec.types import Column, ColumnType, Document, Row


def assemble(
    loaded: Config, declared: PipelineConfig, *, readers: int = 2, statement_seconds: float | None = None
) -> Pipeline:
    """Put a pipeline together that is searched and makes no vector of a row.

    Where the store tells what was synced last, the source is not opened until its rows are counted, and the model of
    the config may be missing: queries are embedded by that of the live vectors. Else as `rowvec.assemble.assemble`,
    whose arguments and errors it has.
    """
    check_files(declared)
    with ExitStack() as unfinished:
        store = build_store(loaded, declared, readers=readers, statement_seconds=statement_seconds)
        unfinished.callback(store.close)
        replica = build_replica(loaded, declared, readers=readers, statement_seconds=statement_seconds)
        if replica is not None:
            unfinished.callback(replica.close)
        try:
            # What a replica knows is enough, and all that there is while the primary is away.
            ledger = _ledger(replica or store)
            known = known_columns(ledger.settings, declared.source.key, declared.store.metadata)
        except StoreError:
            known = None
        if known is not None:
            pipeline = replace(_searching(loaded, declared, store, ledger, *known), replica=replica)
            unfinished.pop_all()
            return pipeline
    return assemble_whole(loaded, declared, readers=readers, statement_seconds=statement_seconds)


def _ledger(store: Store) -> Ledger:
    """As any part of it knows it."""
    if not isinstance(store, LacksParts):
        return store.ledger()
    return answer_without(store.away, lambda missing: (store.without(missing) if missing else store).ledger())[0]


def _searching(
    loaded: Config,
    declared: PipelineConfig,
    store: Store,
    ledger: Ledger,
    key_type: ColumnType,
    metadata: tuple[Column, ...],
) -> Pipeline:
    source = LazySource(
        declared.source.key, key_type, partial(build_source, declared, remembered_columns(ledger.settings))
    )
    ranking = build_ranking(declared, metadata)
    former = KeptSettings(declared, source, [], metadata, partial(excluded, source), build_embedder)
    embedder = _embedder_for_search(declared, former, ledger)
    passages = passage_settings(declared.text)
    fingerprint = with_passages(embedder.fingerprint, passages)
    spec = table_spec(declared, source.key, key_type, metadata, fingerprint, ledger.recipe, ledger.settings)
    pipeline = Pipeline(
        name=declared.name,
        source=source,
        to_document=_makes_no_text,
        text_columns=(),
        embedder=embedder,
        store=store,
        spec=spec,
        ranking=ranking,
        former=former,
        passages=passages,
    )
    return as_searched(loaded, declared, pipeline)


def _embedder_for_search(declared: PipelineConfig, former: KeptSettings, ledger: Ledger) -> Embedder:
    """That of the config; where it cannot be had, that of the live vectors, or one that says why there is none: words
    and the vectors of rows can be searched all the same."""
    try:
        embedder = build_embedder(declared)
        embedder.fingerprint  # noqa: B018  Of some it is asked for.
        return embedder
    except (EmbedderError, MissingExtraError) as error:
        made = ledger.fingerprint
        if made is None:
            raise
        problem = error if isinstance(error, EmbedderError) else EmbedderError(error.message, hint=error.hint)
    try:
        live = former.embedder(ledger.settings)
        return live if live.fingerprint == made.of_model else AbsentEmbedder(made.of_model, problem)
    except RowvecError:
        return AbsentEmbedder(made.of_model, problem)


def _makes_no_text(row: Row) -> Document:
    raise AssertionError("A pipeline for searches embeds no rows.")
