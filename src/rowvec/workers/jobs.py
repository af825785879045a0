"""What the tasks do, without Celery."""

from __future__ import annotations

import itertools
from typing import Any

from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Selection
from rowvec.stores.runs import OnReport, Report
from rowvec.syncing.pages import events_of
from rowvec.syncing.preview import documents_to_embed
from rowvec.syncing.run import sync as carry_out

LATEST_RUNS = 100


def generate_embeddings(
    pipeline: Pipeline, batch_size: int, after_run: int | None = None, *, progress: OnReport | None = None
) -> dict[str, Any]:
    """Embed up to `batch_size` of the rows that need it; rows that do not are only compared.

    Of change events all that are there are carried out: they are read in their order or not at all.

    Args:
        after_run: the newest run when this was asked for (see `newest_run`); a later one that left out no row that
            needed a vector has done the work.

    Raises:
        Locked: another sync of the pipeline is at work.
    """
    answered = _answered(pipeline, after_run)
    if answered is not None:
        return answered
    if events_of(pipeline, Options()) is not None:
        return _outcome(carry_out(pipeline, progress=progress))

    def choose() -> Options:
        keys = [document.key for document in itertools.islice(documents_to_embed(pipeline), batch_size)]
        return Options(Selection(keys=tuple(keys)), exhaustive=len(keys) < batch_size)

    return _outcome(carry_out(pipeline, Options(Selection()), choose=choose, progress=progress))


def newest_run(pipeline: Pipeline) -> int:
    """The number of the newest run, 0 before the first. Runs are numbered by the store: no clock is compared."""
    runs = pipeline.store.runs(1) if pipeline.store.ledger().exists else []
    return runs[0].id if runs else 0


def sync(
    pipeline: Pipeline, options: Options, after_run: int | None = None, *, progress: OnReport | None = None
) -> dict[str, Any]:
    """
    Args:
        after_run: as of `generate_embeddings`.

    Raises:
        Locked: another sync of the pipeline is at work.
    """
    answered = _answered(pipeline, after_run)
    if answered is not None:
        return answered
    report = carry_out(pipeline, options, progress=progress)
    return {**report.as_dict(), **_outcome(report)}


def _outcome(report: Report) -> dict[str, Any]:
    return {"processed": report.inserted + report.embedded, "failed": report.failed}


def _answered(pipeline: Pipeline, after: int | None) -> dict[str, Any] | None:
    """The result of a task that a run has answered: it began after `after`, has ended well, and left nothing out."""
    if after is None or not pipeline.store.ledger().exists:
        return None
    later = (run for run in pipeline.store.runs(LATEST_RUNS) if run.id > after)
    since = next((run.id for run in later if run.outcome == "done" and run.report.get("whole")), None)
    if since is None:
        return None
    return {"processed": 0, "failed": 0, "skipped": f"Run {since} began after this task was requested."}
