"""What a progress bar says, and what of it fits."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from rowvec.cli import output, progress
from rowvec.cli.status import bar, sparkline
from rowvec.stores.runs import Report


def drawn(monkeypatch: pytest.MonkeyPatch, width: int, *reports: Report) -> list[str]:
    """The frames of a bar on a terminal of that width, without colours."""
    written = io.StringIO()
    console = Console(force_terminal=True, width=width, file=written, color_system=None)
    monkeypatch.setattr(output, "err", console)
    with progress.shown() as show:
        for report in reports:
            show(report)
            time.sleep(0.15)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue())
    return [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]


REPORT = Report(
    phase="embedding",
    to_compare=12_345,
    inserted=1_095,
    per_second=50.0,
    tokens=1_234_567,
    cost=0.25,
    budget=2.0,
    failed=3,
)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_names_the_phase_and_the_time_left_at_every_width(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    frames = drawn(monkeypatch, width, REPORT)
    assert all(len(frame) <= width for frame in frames)
    last = frames[-1]
    assert last.startswith("embedding ")
    assert "1,098 of 12,345 rows, 4 min left" in last
    if width >= 120:
        assert "50 rows/s, $0.2500 of $2.00, 3 failed" in last


def test_the_first_frame_comes_before_the_first_report(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, 80)[0].startswith(progress.STARTING)


def test_before_a_pace_is_known_it_says_so() -> None:
    pace = progress._Pace(None)
    assert pace.parts(Report(to_compare=10))[:2] == ["0 of 10 rows", "time left: measuring"]
    assert pace.parts(Report(to_compare=10, unchanged=10)) == ["10 of 10 rows"]


def test_what_is_soon_done_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    late = progress.late(lambda phase, done, total: told.append(done))
    late("comparing rows", 1, None)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    late("comparing rows", 2, None)
    assert told == [2]


def test_what_matters_most_is_kept() -> None:
    parts = ["1 of 9 rows", "8 s left", "1 rows/s"]
    assert progress.fitted(parts, 100) == "1 of 9 rows, 8 s left, 1 rows/s"
    assert progress.fitted(parts, 22) == "1 of 9 rows, 8 s left"
    assert progress.fitted(parts, 3) == "1 of 9 rows"


def test_a_line_of_paces_and_a_bar() -> None:
    assert sparkline([0, 50, 100]) == "▁▅█"
    assert sparkline([]) == ""
    assert (bar(0).count("━"), bar(0.5).count("━"), bar(2).count("━")) == (0, 12, 24)
