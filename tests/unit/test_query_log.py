"""The log of queries: what is kept, what is dropped, what is read back."""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rowvec.errors import ConfigError
from rowvec.evaluation import query_log
from rowvec.evaluation.asked import asked, export
from rowvec.evaluation.files import read_judgements, read_queries
from rowvec.evaluation.query_log import QueryLog

MONTH = dt.timedelta(days=30)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "queries.db"


@pytest.fixture
def log(path: Path) -> Iterator[QueryLog]:
    made = QueryLog(path, MONTH)
    yield made
    made.close()


def fill(path: Path) -> dict[str, str]:
    """Five queries of two pipelines; the id of each by its words."""
    log, ids = QueryLog(path, MONTH), {}
    for pipeline, mode, query, keys, ms in (
        ("shop", "hybrid", "desk", [3, 4], 5.0),
        ("shop", "semantic", "no such", [], 7.0),
        ("shop", "hybrid", "desk", [4, 3, 5], 90.0),
        ("notes", "keyword", "desk", ["a"], 1.0),
        ("shop", "similar", "3", [4], 2.0),
    ):
        number = log.record(pipeline, mode, query, {"price": {"<": 9}} if ms == 90.0 else None, keys, ms)
        assert number is not None
        ids[f"{query} {ms:.0f}"] = number
        time.sleep(0.002)
    assert log.event(ids["desk 5"], 3, "click", 1) and log.event(ids["desk 5"], 3, "click", 1)
    assert log.event(ids["desk 90"], 4, "conversion", 1) and log.event(ids["desk 90"], 4, "click", 1)
    assert log.event(ids["similar 2" if "similar 2" in ids else "3 2"], 4, "click", 1)
    log.close()
    assert (log.written, log.dropped) == (10, 0)
    return ids


def test_the_latest_come_first_with_what_was_done(path: Path) -> None:
    fill(path)
    found = asked(path, "shop", "latest", None, 10)
    assert [each.query for each in found] == ["3", "desk", "no such", "desk"]
    assert [(each.hits, each.clicks, each.conversions) for each in found] == [
        (1, 1, 0),
        (3, 1, 1),
        (0, 0, 0),
        (2, 1, 0),
    ]
    assert found[1].filter == '{"price": {"<": 9}}' and found[0].filter is None
    assert dt.datetime.now(dt.UTC) - found[0].at < dt.timedelta(minutes=1)
    assert len(asked(path, "shop", "latest", None, 2)) == 2


def test_the_slowest_the_most_frequent_and_those_without_a_hit(path: Path) -> None:
    fill(path)
    assert [each.milliseconds for each in asked(path, "shop", "slow", None, 2)] == [90.0, 7.0]
    (top, other) = asked(path, "shop", "top", None, 10)
    assert (top.query, top.times, top.hits, top.milliseconds, top.clicks, top.conversions) == ("desk", 2, 3, 90.0, 2, 1)
    assert other.query == "no such"
    assert [each.query for each in asked(path, "shop", "no-hits", None, 10)] == ["no such"]
    assert asked(path, "nothing", "top", None, 10) == []


def test_only_what_is_new_enough_is_read_and_kept(path: Path) -> None:
    ids = fill(path)
    with sqlite3.connect(path) as database:
        database.execute("update queries set at = at - 86400 * 8 where id = ?", [ids["desk 5"]])
        database.execute("update queries set at = at - 86400 * 31 where id = ?", [ids["desk 90"]])
    database.close()
    assert [each.times for each in asked(path, "shop", "top", dt.timedelta(days=9), 10)] == [1, 1]
    log = QueryLog(path, MONTH)
    assert log.record("shop", "hybrid", "lamp", None, [1], 1.0)
    log.close()
    with sqlite3.connect(path) as database:
        left = {number for (number,) in database.execute("select id from queries")}
        events = {number for (number,) in database.execute("select query_id from events")}
    database.close()
    assert ids["desk 5"] in left and ids["desk 90"] not in left | events


def test_events_become_the_files_that_an_evaluation_reads(path: Path, tmp_path: Path) -> None:
    fill(path)
    queries, judgements = tmp_path / "q.csv", tmp_path / "j.csv"
    assert export(path, "shop", None, queries, judgements) == (1, 2)
    (number,) = read_queries(queries)
    assert read_queries(queries) == {number: "desk"}
    assert read_judgements(judgements) == {number: {"4": 2, "3": 1}}
    with pytest.raises(ConfigError, match="is there already"):
        export(path, "shop", None, queries, judgements)
    assert export(path, "shop", None, queries, judgements, force=True) == (1, 2)
    with pytest.raises(ConfigError, match="no click or conversion of 'notes'"):
        export(path, "notes", None, queries, judgements, force=True)
    with pytest.raises(ConfigError, match="cannot be written"):
        export(path, "shop", None, tmp_path / "none" / "q.csv", judgements, force=True)
    with pytest.raises(ConfigError, match="cannot hold both"):
        export(path, "shop", None, queries, queries, force=True)


def test_odd_words_come_back_as_they_were(path: Path, tmp_path: Path) -> None:
    log = QueryLog(path, MONTH)
    words = 'a "quoted", line\nwith\tthings; 😀 \u2028'
    number = log.record("shop", "hybrid", words, None, ["a,b"], 1.0)
    assert number and log.event(number, "a,b", "click", 1)
    log.close()
    assert asked(path, "shop", "latest", None, 1)[0].query == words
    export(path, "shop", None, tmp_path / "q.csv", tmp_path / "j.csv")
    (text,) = read_queries(tmp_path / "q.csv").values()
    assert text == " ".join(words.split())
    assert list(read_judgements(tmp_path / "j.csv").values()) == [{"a,b": 1}]


def test_a_query_is_known_before_and_after_it_is_written(log: QueryLog) -> None:
    number = log.record("shop", "hybrid", "desk", None, [3, "x"], 1.0)
    assert number is not None and log.asked(number) == ("shop", [3, "x"])
    until = time.monotonic() + 10
    while log.written < 1 and time.monotonic() < until:
        time.sleep(0.01)
    assert log.asked(number) == ("shop", [3, "x"])
    assert log.asked("0" * 32) is None


def test_one_record_that_cannot_be_written_does_not_end_the_log(path: Path) -> None:
    log = QueryLog(path, MONTH)
    assert log.record("shop", "hybrid", "half a pair: \ud800", None, [1], 1.0)
    until = time.monotonic() + 10
    while not log.dropped and time.monotonic() < until:
        time.sleep(0.01)
    assert log.record("shop", "hybrid", "desk", None, [1], 1.0)
    log.close()
    assert (log.written, log.dropped) == (1, 1)


def test_a_log_that_was_deleted_is_not_made_again_for_everybody_to_read(path: Path) -> None:
    log = QueryLog(path, MONTH)
    path.unlink()
    assert log.record("shop", "hybrid", "desk", None, [1], 1.0)
    log.close()
    assert (log.dropped, path.exists()) == (1, False)
    with pytest.raises(ConfigError, match="cannot be read"):
        log.asked("0" * 32)


def test_a_log_that_is_behind_drops_and_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_log, "WAITING", 5)
    log = QueryLog(path, MONTH)
    with query_log.opened(path) as database:
        database.execute("begin immediate")
        began = time.perf_counter()
        found = [log.record("shop", "hybrid", str(n), None, [], 1.0) for n in range(200)]
        assert time.perf_counter() - began < 2.0, "nobody waits for the log"
        database.rollback()
    log.close()
    assert None in found and log.dropped == found.count(None)
    assert log.written == 200 - log.dropped == len(asked(path, "shop", "latest", None, 500))


def test_a_disk_that_refuses_costs_the_records_alone(
    log: QueryLog, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite3.connect(path) as database:
        database.execute("drop table events")
        database.execute("drop table queries")
    database.close()
    assert log.record("shop", "hybrid", "a secret wish", None, [], 1.0)
    log.close()
    assert (log.written, log.dropped) == (0, 1)
    assert "cannot be written" in caplog.text and "secret" not in caplog.text


def test_several_processes_write_one_file(path: Path) -> None:
    logs = [QueryLog(path, MONTH) for _ in range(3)]
    threads = [
        threading.Thread(target=lambda log=log: [log.record("shop", "hybrid", "x", None, [], 1.0) for _ in range(100)])
        for log in logs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for log in logs:
        log.close()
    assert asked(path, "shop", "top", None, 1)[0].times == 300 == sum(log.written for log in logs)


def test_nobody_else_may_read_it(log: QueryLog, path: Path) -> None:
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def test_what_is_not_a_log_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but some text that somebody wants to keep " * 50)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("create table things (id)")
    database.close()
    newer = tmp_path / "newer.db"
    QueryLog(newer, MONTH).close()
    with sqlite3.connect(newer) as database:
        database.execute("pragma user_version = 9")
    database.close()
    for file, words in (
        (text, "cannot be written"),
        (other, "is not a log"),
        (newer, "is not a log"),
        (tmp_path, "cannot be written"),
    ):
        before = file.read_bytes() if file.is_file() else b""
        with pytest.raises(ConfigError, match=words):
            QueryLog(file, MONTH)
        assert not file.is_file() or file.read_bytes() == before
    with pytest.raises(ConfigError, match="There is no log"):
        asked(tmp_path / "none.db", "shop", "latest", None, 1)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(ConfigError, match="cannot be read"):
        asked(text, "shop", "latest", None, 1)
    assert os.listdir(tmp_path)
