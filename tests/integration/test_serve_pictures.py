"""What the status page says in numbers and pictures."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace

import pytest

from rowvec.serve import Service
from rowvec.serve.page import pictures
from rowvec.serve.page.bodies import status_values, templates
from rowvec.stores.index import IndexStatus
from rowvec.stores.runs import Run
from rowvec.support.figures import percent, seconds, size
from tests.integration.serve_rig import product_pipeline

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("fraction", "text"), [(1.0, "100 %"), (0.99999, "99.9 %"), (0.5, "50 %"), (0.1234, "12.3 %"), (0.0, "0 %")]
)
def test_a_share_is_100_percent_only_when_nothing_is_missing(fraction: float, text: str) -> None:
    assert percent(fraction) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (102_000_000, "102 MB"), (3.2e12, "3.2 TB")]
)
def test_sizes_are_read_at_a_glance(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.04, "0.0 s"), (59, "59 s"), (150, "2 min"), (9000, "2.5 h"), (200_000, "2.3 days")]
)
def test_so_are_durations(value: float, text: str) -> None:
    assert seconds(value) == text


def _heights(drawn: str, kind: str) -> list[float]:
    return [float(height) for height in re.findall(rf'class="{kind}"[^>]* height="([\d.]+)"', drawn)]


def test_a_small_run_can_be_seen_beside_a_large_one_and_heights_follow_one_axis() -> None:
    large = Run(1, "p", START, START, "done", {"inserted": 99_999})
    small = Run(2, "p", START, START, "done", {"embedded": 9, "failed": 9})
    drawn = str(pictures.runs([small, large]))
    (tall,) = _heights(drawn, "new")
    assert tall == pytest.approx(pictures.CHART_HEIGHT - 10, abs=0.05)
    # Ten to the first of ten to the fifth, whatever else the run wrote.
    assert _heights(drawn, "changed") == _heights(drawn, "failed") == [pytest.approx(tall / 5, abs=0.1)]
    assert drawn.index("run 1:") < drawn.index("run 2:")
    assert ">10k<" in drawn


def test_runs_stand_on_an_axis_of_time_and_lead_to_their_line() -> None:
    hour = dt.timedelta(hours=1)
    runs = [
        Run(3, "p", START + 10 * hour, START + 10 * hour, "failed", {}),
        Run(2, "p", START + 4 * hour, START + 6 * hour, "done", {"inserted": 10, "cost": 0.25}),
        Run(1, "p", START, START + hour, "done", {"inserted": 10, "cost": 0.5}),
    ]
    drawn = str(pictures.timeline(runs))
    widths = [float(width) for width in re.findall(r'<rect class="new"[^>]* width="([\d.]+)"', drawn)]
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.01), "two hours are twice one hour"
    assert re.findall(r'href="#run-(\d)"', drawn) == ["1", "2", "3"]
    assert "cost so far, up to $0.75" in drawn
    assert "cost so far" not in str(pictures.timeline(runs[:1]))


@pytest.mark.parametrize("seconds", [0, 3, 40_000])
@pytest.mark.parametrize("count", [1, 2])
def test_a_few_runs_close_together_do_not_fill_the_axis_of_time(count: int, seconds: int) -> None:
    took = dt.timedelta(seconds=seconds)
    runs = [Run(each, "p", START + each * took, START + (each + 1) * took, "done", {"inserted": 9}) for each in (2, 1)]
    drawn = str(pictures.timeline(runs[:count]))
    widths = [float(width) for width in re.findall(r'<rect class="new"[^>]* width="([\d.]+)"', drawn)]
    assert len(widths) == count
    assert max(widths) <= pictures.CHART_WIDTH / 12 + 1


def test_a_run_that_wrote_nothing_and_no_run_at_all_are_drawn_too() -> None:
    idle = Run(1, "p", START, None, "lost", {})
    assert "run 1: lost, nothing to do" in str(pictures.runs([idle]))
    assert "<rect" not in str(pictures.runs([]))


def test_what_a_picture_says_is_escaped() -> None:
    assert "<script>" not in str(pictures.ring(0.5, "<script>", '"><script>'))
    assert "<script>" not in str(pictures.stripe([pictures.Part("<script>", 1, "new")], "<script>"))


def test_the_page_shows_the_recall_and_the_size_of_the_index() -> None:
    service = Service(product_pipeline(count=3))
    measured = dt.datetime.now(dt.UTC) - dt.timedelta(days=3)
    found = IndexStatus("hnsw", precision="halfvec", bytes=600, recall=0.9712, measured_at=measured)
    status = replace(service.operations.status(), bytes=1000, index=found)
    text = templates.get_template("status_body.html").render(**status_values(service, status))
    assert "97.1 %" in text
    assert 'class="ring warn"' in text
    assert "hnsw, halfvec, measured 3 days ago" in text
    assert "vector index 600 B" in text


def test_an_index_that_is_only_named_is_shown_by_its_name() -> None:
    service = Service(product_pipeline(count=3))
    template = templates.get_template("status_body.html")
    assert "no index: every row is compared" in template.render(**status_values(service, service.operations.status()))
    status = replace(service.operations.status(), index=IndexStatus("diskann"))
    assert "not measured yet" in template.render(**status_values(service, status))
    measured = replace(status, index=IndexStatus("diskann", recall=0.99))
    assert "<p>diskann</p>" in template.render(**status_values(service, measured))
