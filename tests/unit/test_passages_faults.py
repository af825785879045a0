"""Large texts among rows of several passages."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from rowvec.sources import page_size
from rowvec.syncing import engine
from rowvec.syncing.run import sync
from tests.unit.test_passages_sync import SETTINGS, cutting, long_text


def test_large_texts_whose_passages_are_all_known_do_not_hold_up_the_rows_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "WINDOW_BYTES", 2**18)
    monkeypatch.setattr(page_size, "PAGE_BYTES", 2**18)
    head = long_text("pumps", 3) + "\n\n"
    # The first page is of 50 rows, the second one of as many as fill it if they are like those.
    rows = {n: head + "tail " * (1_000 if n < 50 else 2_000) for n in range(95)}
    pipeline = cutting(rows, replace(SETTINGS, max_passages=2))
    sync(pipeline)
    for n in rows:
        pipeline.source.rows[n]["name"] += f" more {n}"
    stop = threading.Event()
    late = threading.Timer(10, stop.set)
    late.start()
    report = sync(pipeline, stop=stop)
    late.cancel()
    assert not stop.is_set(), "it waited for ever"
    assert (report.embedded, report.texts) == (95, 0)
