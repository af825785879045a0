"""Files and event files in S3, over HTTP with a server that answers as S3 does."""

from __future__ import annotations

import gzip
import io
import json
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowvec.cli.init import init
from rowvec.config import FilesSourceConfig, load
from rowvec.errors import ConfigError, SourceError, SourceUnavailable
from rowvec.sources.events.files import EventFiles
from rowvec.sources.events.stream import EventSettings
from rowvec.sources.files.source import FilesSource
from rowvec.stores.runs import Report
from rowvec.support.redaction import HIDDEN, redact
from rowvec.syncing.run import sync
from rowvec.types import Key, Row
from tests.servers.s3 import SECRET_KEY, S3Server
from tests.support import rows_of, simple_pipeline, vectors_match_rows


@pytest.fixture
def s3() -> Iterator[S3Server]:
    table = io.BytesIO()
    pq.write_table(pa.table({"id": [3, 1], "name": ["three", "one"]}), table)
    objects = {
        "shop/rows/b.parquet": table.getvalue(),
        "shop/csv/a.csv": b"id,name\n2,two\n1,one\n",
        "shop/csv/deep/er/c.csv.gz": gzip.compress(b"id,name\n4,four\n"),
        "shop/csv/readme.txt": b"nothing",
        "shop/events/1.jsonl": event("c", 1, "one", 10) + event("c", 2, "two", 11),
    }
    with S3Server(objects) as server:
        yield server


def event(op: str, key: int, name: str, lsn: int) -> bytes:
    after = None if op == "d" else {"id": key, "name": name, "price": 1}
    source = {"connector": "postgresql", "name": "shop", "lsn": lsn, "ts_ms": lsn}
    return json.dumps({"op": op, "before": {"id": key}, "after": after, "source": source}).encode() + b"\n"


def names(source: FilesSource) -> dict[Key, str]:
    rows: list[Row] = [row for page in source.pages(2) for row in page]
    return {row.key: row.values["name"] for row in rows}


def test_parquet_is_read_in_key_order(s3: S3Server) -> None:
    source = FilesSource([s3.url("shop/rows/*.parquet")], key="id")
    assert list(names(source).items()) == [(1, "one"), (3, "three")]


def test_a_star_stays_in_its_folder_and_two_go_below(s3: S3Server) -> None:
    assert names(FilesSource([s3.url("shop/csv/*.csv")], key="id")) == {1: "one", 2: "two"}
    assert names(FilesSource([s3.url("shop/csv/**/*.csv*")], key="id")) == {1: "one", 2: "two", 4: "four"}
    assert names(FilesSource([s3.url("shop/csv/**.csv*")], key="id")) == {1: "one", 2: "two", 4: "four"}


def test_a_changed_object_is_read_again(s3: S3Server) -> None:
    source = FilesSource([s3.url("shop/csv/a.csv")], key="id")
    assert source.count() == 2
    s3.put("shop/csv/a.csv", b"id,name\n2,two\n1,uno\n", modified=7)
    assert names(source) == {1: "uno", 2: "two"}


@pytest.mark.parametrize("path", ["shop/rows/none.parquet", "shop/nothing/*.csv"])
def test_an_object_that_is_not_there_is_named(s3: S3Server, path: str) -> None:
    with pytest.raises(SourceError, match=f"there is no file s3://{path.replace('*', '[*]')}"):
        FilesSource([s3.url(path)], key="id")


def test_a_refused_key_is_told_without_the_secret(s3: S3Server) -> None:
    with pytest.raises(SourceError, match="may not be read") as caught:
        FilesSource([s3.url("shop/csv/a.csv", access_key="SOMEONE")], key="id")
    assert SECRET_KEY not in str(caught.value)
    assert SECRET_KEY not in repr(FilesSource([s3.url("shop/csv/a.csv")], key="id").location)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://AKIDTEST:hush/hush@shop/a.csv?region=x", r"s3://\*\*\*@shop/a\.csv is not an S3 URL"),
        ("s3://AKIDTEST:hush#hush?@shop/a.csv", r"s3://\*\*\*@shop/a\.csv is not an S3 URL"),
        ("s3://AKIDTEST:hu[sh@shop/a.csv", r"s3://\*\*\*@shop/a\.csv is not an S3 URL"),
        ("s3://AKIDTEST:hush", r"s3://\*\*\* is not an S3 URL"),
        ("s3://AKIDTEST:hush%zz@shop/a.csv", r"s3://\*\*\*@shop/a\.csv is not an S3 URL"),
        ("s3://AKIDTEST:hush@shop/a.csv?bogus=1", r"s3://shop/a\.csv: Unexpected query parameter .*'bogus'"),
        ("s3://AKIDTEST:hush@shop/b//a.csv?region=x", r"s3://shop/b//a\.csv: Empty path component"),
    ],
)
def test_a_url_that_is_none_is_refused_without_the_secret(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=f"source.paths: {told}") as caught:
        FilesSource([url], key="id")
    shown = "".join(traceback.format_exception_only(caught.value)) + (caught.value.hint or "")
    assert "hush" not in shown
    assert "AKIDTEST" not in shown
    assert caught.value.__suppress_context__ or caught.value.__context__ is None, "what Arrow says shows the URL"


def test_a_busy_moment_is_waited_for(s3: S3Server) -> None:
    s3.broken = 1
    assert names(FilesSource([s3.url("shop/csv/a.csv")], key="id")) == {1: "one", 2: "two"}


@pytest.mark.slow
def test_a_storage_that_never_answers_is_unavailable(s3: S3Server) -> None:
    s3.broken = 1000
    with pytest.raises(SourceUnavailable):
        FilesSource([s3.url("shop/csv/a.csv")], key="id")


def test_events_are_read_on_from_the_byte_they_were_left_at(s3: S3Server) -> None:
    events = EventFiles([s3.url("shop/events/*.jsonl")], EventSettings("id"))
    pipeline = simple_pipeline(events)
    sync(pipeline)
    vectors_match_rows(pipeline, {1: "one", 2: "two"})
    grown = s3.objects["shop/events/1.jsonl"] + event("u", 1, "uno", 12) + event("d", 2, "", 13)
    s3.put("shop/events/1.jsonl", grown, modified=5)
    report = sync(pipeline)
    assert report.read == 2
    vectors_match_rows(pipeline, {1: "uno"})
    assert next(iter(rows_of(pipeline).offsets())) == "s3://shop/events/1.jsonl", "a stream's name holds no secret"


def test_following_sees_an_object_that_comes_later(s3: S3Server) -> None:
    events = EventFiles([s3.url("shop/events/*.jsonl")], EventSettings("id"))
    pipeline = simple_pipeline(events)
    stop = threading.Event()
    s3.put("shop/events/2.jsonl", event("u", 1, "uno", 12), modified=5)

    def stop_after_three(report: Report) -> None:
        if report.read >= 3:
            stop.set()

    sync(pipeline, follow=True, stop=stop, progress=stop_after_three)
    vectors_match_rows(pipeline, {1: "uno", 2: "two"})


@pytest.mark.parametrize(
    ("path", "patterns", "rows"),
    [
        ("shop/rows/b.parquet", ["shop/rows/b.parquet"], 2),
        ("shop/rows/", ["shop/rows/*.parquet"], 2),
        ("shop/csv", ["shop/csv/*.csv"], 2),
        ("shop/csv/deep", ["shop/csv/deep/**/*.csv.gz"], 1),
        ("shop/csv/**.csv*", ["shop/csv/**.csv*"], 3),
    ],
)
def test_init_proposes_for_s3_and_keeps_the_secret_out(
    s3: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str, patterns: list[str], rows: int
) -> None:
    init(s3.url(path), tmp_path / "rowvec.toml", force=False)
    said, text = capsys.readouterr().out, (tmp_path / "rowvec.toml").read_text(encoding="utf-8")
    assert SECRET_KEY not in said + text
    assert 'paths = "${ROWVEC_SOURCE_URL}"' in text
    asked = [line.strip() for line in said.splitlines() if "ROWVEC_SOURCE_URL=" in line]
    assert asked == [f"ROWVEC_SOURCE_URL={redact(s3.url(pattern))}" for pattern in patterns]
    (tmp_path / ".env").write_text(asked[0].replace(HIDDEN, SECRET_KEY), encoding="utf-8")
    declared = load(tmp_path).pipeline().source
    assert isinstance(declared, FilesSourceConfig)
    assert FilesSource(declared.paths, key=declared.key).count() == rows
    assert declared.key == "id"


def test_init_says_what_is_not_in_s3(s3: S3Server, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no file s3://shop/none/") as caught:
        init(s3.url("shop/none/"), tmp_path / "rowvec.toml", force=False)
    assert SECRET_KEY not in str(caught.value)
