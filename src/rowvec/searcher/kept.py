"""Keeping the result of an evaluation in the store whose hits were measured."""

from __future__ import annotations

from collections.abc import Mapping

from rowvec.evaluation.measures import Evaluation
from rowvec.evaluation.record import record
from rowvec.pipeline import Pipeline


def keep_evaluation(pipeline: Pipeline, found: Mapping[str, Evaluation], queries: Mapping[str, str]) -> None:
    """
    Args:
        found: by mode.
        queries: texts by query id.

    Raises:
        StoreError: the store does not answer, its role may not write, or an older rowvec made it.
    """
    store = pipeline.store
    ledger = store.ledger()
    model = ledger.fingerprint.model if ledger.fingerprint else ""
    store.save_evaluation(record(found, queries, model=model, version=ledger.version))
