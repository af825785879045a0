"""What the tasks do, without Celery."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Selection
from rowvec.syncing.events import events_of
from rowvec.syncing.preview import documents_to_embed
from rowvec.syncing.report import OnReport
from rowvec.syncing.run import sync as carry_out
from rowvec.types import Report


def generate_embeddings(
    pipeline: Pipeline, batch_size: int, asked_at: float | None = None, *, progress: OnReport | None = None
) -> dict[str, Any]:
    """Embed up to `batch_size` of the rows that need it; rows that do not are only compared.

    Of change events all that are there are carried out: they are read in their order or not at all.

    Raises:
        Locked: another sync of the pipeline is at work.
    """
    since = _run_since(pipeline, asked_at)
    if since is not None:
        return {"processed": 0, "failed": 0, "skipped": f"Run {since} began after this was asked for."}
    if events_of(pipeline, Options()) is not None:
        return _outcome(carry_out(pipeline, progress=progress))
    keys = [document.key for document in itertools.islice(documents_to_embed(pipeline), batch_size)]
    if not keys:
        return {"processed": 0, "failed": 0}
    return _outcome(carry_out(pipeline, Options(Selection(keys=tuple(keys))), progress=progress))


def sync(pipeline: Pipeline, options: Options, *, progress: OnReport | None = None) -> dict[str, Any]:
    """Raises Locked when another sync of the pipeline is at work."""
    report = carry_out(pipeline, options, progress=progress)
    return {**report.as_dict(), **_outcome(report)}


def _outcome(report: Report) -> dict[str, Any]:
    return {"processed": report.inserted + report.embedded, "failed": report.failed}


def _run_since(pipeline: Pipeline, asked_at: float | None) -> int | None:
    if asked_at is None or not pipeline.store.ledger().exists:
        return None
    asked = dt.datetime.fromtimestamp(asked_at, dt.UTC)
    runs = pipeline.store.runs(1)
    return runs[0].id if runs and runs[0].started_at > asked and runs[0].outcome in ("running", "done") else None
