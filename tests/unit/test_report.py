"""The record of a run that an error ended."""

from __future__ import annotations

import pytest

from rowvec.errors import EmbedderError, StoreUnavailable
from rowvec.syncing.report import save_failed
from rowvec.testing import MemoryStore
from rowvec.types import Report
from tests.support import simple_pipeline


class Unreachable(MemoryStore):
    def save_run(self, run: int, report: Report, outcome: str, error: str | None = None) -> None:
        raise StoreUnavailable("The database is away.")


@pytest.mark.parametrize(
    ("error", "recorded"),
    [
        (EmbedderError("The key is wrong.", hint="Mend it."), ("failed", "The key is wrong.")),
        (ValueError("password=sesame"), ("failed", "ValueError")),
        (KeyboardInterrupt(), ("interrupted", "KeyboardInterrupt")),
    ],
)
def test_it_says_what_ended_the_run_and_of_a_foreign_error_its_kind_only(
    error: BaseException, recorded: tuple[str, str]
) -> None:
    pipeline = simple_pipeline(store=MemoryStore(), rows={})
    pipeline.store.prepare(pipeline.spec)
    save_failed(pipeline.store, pipeline.store.begin_run(), Report(), error)
    (run,) = pipeline.store.runs()
    assert (run.outcome, run.error) == recorded


def test_a_record_that_cannot_be_written_is_a_note_of_the_error_that_ended_the_run() -> None:
    error = EmbedderError("The key is wrong.", hint="Mend it.")
    save_failed(Unreachable(), 1, Report(), error)
    assert error.__notes__ == ["The record of the run could not be written: The database is away."]
