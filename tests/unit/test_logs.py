"""JSON log lines."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from rowvec.support.logs import JsonLines, about, note
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource
from rowvec.types import Embedded, Row
from tests.support import simple_pipeline


@pytest.fixture
def lines() -> Iterator[list[dict[str, object]]]:
    written: list[dict[str, object]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(json.loads(self.format(record)))

    handler = Keep()
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield written
    logger.removeHandler(handler)


logger = logging.getLogger("rowvec.test_logs")


def test_a_line_says_what_it_is_about(lines: list[dict[str, object]]) -> None:
    with about(pipeline="products", task="t1"):
        logger.info("before")
        note(run=7)
        logger.info("after %d rows", 3)
    logger.info("outside")
    assert [(line.get("pipeline"), line.get("task"), line.get("run")) for line in lines] == [
        ("products", "t1", None), ("products", "t1", 7), (None, None, None),
    ]  # fmt: skip
    assert lines[1]["message"] == "after 3 rows"
    assert (lines[1]["level"], lines[1]["logger"]) == ("info", "rowvec.test_logs")


class Speaking(HashEmbedder):
    def embed(self, texts: Sequence[str]) -> Embedded:
        logger.info("embedding")
        return super().embed(texts)


class Read(MemorySource):
    def pages(self, size: int, **which: Any) -> Iterator[list[Row]]:
        logger.info("reading")
        return super().pages(size, **which)


def test_the_threads_of_a_sync_know_it_whatever_else_is_going_on(lines: list[dict[str, object]]) -> None:
    def work(task: str) -> None:
        with about(pipeline="products", task=task):
            sync(simple_pipeline(Read({n: {"name": f"{task} {n}", "price": 1} for n in range(5)}), embedder=Speaking()))

    threads = [threading.Thread(target=work, args=(task,)) for task in ("t1", "t2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = {(line["message"], line.get("task"), line.get("pipeline"), line.get("run")) for line in lines}
    assert said == {(what, task, "products", 1) for what in ("reading", "embedding") for task in ("t1", "t2")}


def test_a_thread_of_somebody_else_is_about_nothing(lines: list[dict[str, object]]) -> None:
    with about(pipeline="products", task="t1"):
        thread = threading.Thread(target=lambda: logger.info("from a thread"))
        thread.start()
        thread.join()
    assert lines[0].get("task") is None


def test_note_without_anything_begun_does_nothing(lines: list[dict[str, object]]) -> None:
    note(run=1)
    logger.info("plain")
    assert "run" not in lines[0]


def test_an_error_is_in_the_line_and_passwords_in_addresses_are_not(lines: list[dict[str, object]]) -> None:
    try:
        raise ValueError("cannot reach postgresql://anna:sesame@host/db or redis://:sesame@host/0")
    except ValueError:
        logger.exception("Failed at amqp://guest:sesame@host//")
    assert "sesame" not in json.dumps(lines)
    assert "ValueError: cannot reach postgresql://anna:***@host/db" in str(lines[0]["error"])
    assert lines[0]["message"] == "Failed at amqp://guest:***@host//"


def test_a_password_with_an_at_sign_is_left_out_whole(lines: list[dict[str, object]]) -> None:
    logger.info("Failed at redis://:open@sesame@host/0, as anna@example.com said")
    assert lines[0]["message"] == "Failed at redis://:***@host/0, as anna@example.com said"


def test_what_is_no_json_is_written_as_text(lines: list[dict[str, object]]) -> None:
    with about(pipeline=object):
        logger.info("line one\nline two — ü")
    assert lines[0]["message"] == "line one\nline two — ü"
