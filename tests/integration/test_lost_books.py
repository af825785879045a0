"""Vectors whose model nobody knows any more, or that are not of the model that the books name: made again."""

from __future__ import annotations

from typing import Any

import psycopg

from rowvec.auditing.audit import audit
from rowvec.auditing.repair import repair
from rowvec.stores.auditor import Drift
from rowvec.stores.base import Store
from rowvec.stores.libsql import LibsqlStore, migrations
from rowvec.stores.libsql.database import Statement
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from rowvec.types import Vectors
from tests.integration.stores_rig import Open
from tests.support import simple_pipeline, vectors_match_rows

ROWS: dict[Any, str] = {key: f"row {key}" for key in range(60)}


def lose_books(store: Store) -> None:
    """As where only the schema `public` was dumped and restored."""
    if isinstance(store, PostgresStore):
        with psycopg.connect(store._url, autocommit=True) as connection:
            connection.execute("drop schema rowvec cascade")
        return
    assert isinstance(store, LibsqlStore)
    own = {table for table, _ in migrations.declared()} | {"rowvec_meta", "rowvec_identity"}
    store._database.transact([Statement(f"drop table {name}") for name in own])


def test_without_the_books_vectors_of_another_model_are_made_again(
    opened: Open,
) -> None:
    first = HashEmbedder(model="first")
    sync(simple_pipeline(store=opened(), rows=ROWS, embedder=first))
    lose_books(opened())
    first.texts.clear()
    kept = simple_pipeline(store=opened(), rows=ROWS, embedder=first)
    sync(kept)
    assert first.texts == [], "those of the same model are kept"
    vectors_match_rows(kept, ROWS)
    lose_books(opened())
    other = simple_pipeline(store=opened(), rows=ROWS, embedder=HashEmbedder(model="other"))
    sync(other)
    vectors_match_rows(other, ROWS)
    assert sync(other).unchanged == len(ROWS)
    assert audit(other, settle=0).findings == {}


def test_one_wrong_vector_of_a_sample_has_all_wrong_ones_repaired(opened: Open) -> None:
    embedder, other = HashEmbedder(model="first"), HashEmbedder(model="other")

    def of_another_model(vectors: Vectors) -> Vectors:
        return other.embed(embedder.texts[-len(vectors) :]).vectors

    embedder.spoil = of_another_model
    pipeline = simple_pipeline(store=opened(), rows=ROWS, embedder=embedder)
    sync(pipeline)
    embedder.spoil = None
    found = audit(pipeline, sample=5, settle=0)
    assert found.findings.keys() == {Drift.WRONG_VECTOR}
    done = repair(pipeline, found)
    assert (done.left, done.wrong) == ([], len(ROWS))
    vectors_match_rows(pipeline, ROWS)
