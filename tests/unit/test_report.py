"""The record of a run that an error ended."""

from __future__ import annotations

import pytest

from rowvec.errors import EmbedderError, StoreUnavailable
from rowvec.stores.runs import Report
from rowvec.syncing.report import save_failed
from rowvec.testing import MemoryStore
from tests.support import simple_pipeline


class Unreachable(MemoryStore):
    def save_run(self, run: int, report: Report, outcome: str, error: str | None = None) -> bool:
        raise StoreUnavailable("The database is away.")


@pytest.mark.parametrize(
    ("error", "recorded"),
    [
        (EmbedderError("The key is wrong.", hint="Replace it."), ("failed", "The key is wrong.")),
        (ValueError("password=sesame"), ("failed", "ValueError")),
        (KeyboardInterrupt(), ("interrupted", "KeyboardInterrupt")),
    ],
)
def test_it_says_what_ended_the_run_and_of_a_foreign_error_its_kind_only(
    error: BaseException, recorded: tuple[str, str]
) -> None:
    pipeline = simple_pipeline(store=MemoryStore(), rows={})
    pipeline.store.prepare(pipeline.spec)
    save_failed(pipeline.store, pipeline.store.begin_run("things"), Report(), error)
    (run,) = pipeline.store.runs()
    assert (run.outcome, run.error) == recorded


def test_a_record_that_cannot_be_written_is_a_note_of_the_error_that_ended_the_run() -> None:
    error = EmbedderError("The key is wrong.", hint="Replace it.")
    save_failed(Unreachable(), 1, Report(), error)
    assert error.__notes__ == ["The record of the run could not be written: The database is away."]


def test_reports_add_up_with_their_reasons() -> None:
    total = Report(read=1, cost=0.5, comparison="all rows", reasons={"new row": 1})
    total.add(
        Report(read=2, deleted=3, cost=0.25, cost_estimated=True, to_compare=9, reasons={"new row": 2, "forced": 1})
    )
    assert (total.read, total.deleted, total.cost, total.cost_estimated) == (3, 3, 0.75, True)
    assert total.reasons == {"new row": 3, "forced": 1}
    assert (total.comparison, total.to_compare) == ("all rows", None)
    total.add_cost(Report(read=7, texts=2, cost=1.0))
    assert (total.read, total.texts, total.cost) == (3, 2, 1.75)
