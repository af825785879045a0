"""What the status page says in numbers and pictures."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace

import pytest

from rowvec.serve import Service
from rowvec.serve.page import pictures
from rowvec.serve.page.page import body_values, duration, percent, size, templates
from rowvec.stores.index import IndexStatus
from rowvec.types import Run
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
    ("seconds", "text"), [(0.04, "0.0 s"), (59, "59 s"), (150, "2 min"), (9000, "2 h"), (200_000, "2 days")]
)
def test_so_are_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def _heights(drawn: str, kind: str) -> list[float]:
    return [float(height) for height in re.findall(rf'class="{kind}"[^>]* height="([\d.]+)"', drawn)]


def test_a_small_run_can_be_seen_beside_a_large_one() -> None:
    large = Run(1, "p", START, START, "done", {"inserted": 100_000})
    small = Run(2, "p", START, START, "done", {"embedded": 3, "failed": 1})
    drawn = str(pictures.runs([small, large]))
    assert _heights(drawn, "new") == [pytest.approx(pictures.CHART_HEIGHT, abs=0.01)]
    assert 10 < _heights(drawn, "changed")[0] < pictures.CHART_HEIGHT / 2
    assert _heights(drawn, "changed")[0] == pytest.approx(3 * _heights(drawn, "failed")[0], rel=0.01)
    assert drawn.index("run 1:") < drawn.index("run 2:")


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
    status = replace(service.status(), bytes=1000, index=found)
    text = templates.get_template("status_body.html").render(**body_values(service, status))
    assert "97.1 %" in text
    assert 'class="ring warn"' in text
    assert "hnsw, halfvec, measured 3 days ago" in text
    assert "vector index 600 B" in text


def test_an_index_that_is_only_named_is_shown_by_its_name() -> None:
    service = Service(product_pipeline(count=3))
    template = templates.get_template("status_body.html")
    assert "no index: every row is compared" in template.render(**body_values(service, service.status()))
    status = replace(service.status(), index=IndexStatus("diskann"))
    assert "not measured yet" in template.render(**body_values(service, status))
    measured = replace(status, index=IndexStatus("diskann", recall=0.99))
    assert "<p>diskann</p>" in template.render(**body_values(service, measured))
