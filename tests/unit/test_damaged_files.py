"""Whatever the bytes of a file are, it is read or refused by a sentence that names it."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowvec.errors import RowvecError
from rowvec.sources.files import text_lines
from rowvec.sources.files.formats import FIELD_CHARACTERS, format_of
from rowvec.sources.files.source import FilesSource
from rowvec.sources.sql import SqlSource
from rowvec.sources.storage import find
from tests.support import in_child

ROWS = [{"id": n, "name": f"name {n} é", "price": n / 4, "tags": ["a", f"t{n}"]} for n in range(40)]


def csv(path: Path) -> None:
    path.write_text("id,name,price\n" + "".join(f'{r["id"]},"{r["name"]}",{r["price"]}\n' for r in ROWS))


def packed(path: Path) -> None:
    csv(path)
    path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))


def lines(path: Path) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS))


def parquet(path: Path, codec: str = "snappy") -> None:
    table = pa.Table.from_pylist([{**row, "at": dt.datetime(2026, 1, 1)} for row in ROWS])
    pq.write_table(table, path, compression=codec, row_group_size=15)


def parquet_zstd(path: Path) -> None:
    parquet(path, "zstd")


def sqlite(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("create table t (id integer primary key, name text, price real)")
    database.executemany("insert into t values (?, ?, ?)", [(r["id"], r["name"], r["price"]) for r in ROWS])
    database.commit()
    database.close()


FORMS: dict[str, Callable[[Path], None]] = {
    "a.csv": csv,
    "a.csv.gz": packed,
    "a.jsonl": lines,
    "a.parquet": parquet,
    "zstd.parquet": parquet_zstd,
    "a.db": sqlite,
}


def read_or_refused(path: Path) -> bool:
    """True where it was read. Any other error than rowvec's own is the test's failure."""
    refused: RowvecError | None = None
    try:
        _read(path)
    except RowvecError as error:
        refused = error
    if refused is None:
        return True
    assert path.name in refused.message or "source." in refused.message or "key" in refused.message
    assert "\n" not in refused.message
    return False


def _read(path: Path) -> None:
    source: FilesSource | SqlSource
    if path.suffix == ".db":
        source = SqlSource(f"sqlite:///{path}", key="id", table="t")
    else:
        source = FilesSource([str(path)], key="id")
    try:
        for page in source.pages(100):
            assert page
    finally:
        source.close()


@pytest.mark.parametrize("name", FORMS)
def test_a_file_that_was_cut_off_is_read_or_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    FORMS[name](path)
    assert read_or_refused(path)
    whole = path.read_bytes()
    cuts = range(0, len(whole), max(1, len(whole) // 60))
    read = {cut for cut in cuts if read_or_refused(_with(path, whole[:cut]))}
    assert 0 not in read


@pytest.mark.parametrize("name", FORMS)
def test_a_file_with_flipped_bytes_is_read_or_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    FORMS[name](path)
    whole, chance = path.read_bytes(), random.Random(7)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3, 20))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        read_or_refused(_with(path, bytes(damaged)))


@pytest.mark.parametrize("name", FORMS)
def test_bytes_of_any_kind_are_refused(name: str, tmp_path: Path) -> None:
    chance = random.Random(3)
    for _ in range(40):
        read_or_refused(_with(tmp_path / name, chance.randbytes(chance.randrange(400))))


def _with(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_quotation_mark_that_nobody_closes_is_named_by_its_line_and_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w") as file:
        file.write('id,n\n1,ok\n2,"open\n')
        for _ in range(FIELD_CHARACTERS // 1_000 + 10):
            file.write("x" * 999 + "\n")
        file.write("3,end\n")
    with pytest.raises(
        RowvecError, match=r"a\.csv, line 3: a quotation mark opens in this row and is not closed within"
    ):
        FilesSource([str(path)], key="id")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_what_an_open_quotation_mark_takes_of_memory_does_not_follow_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w") as file:
        file.write('id,n\n1,ok\n2,"open\n')
        for _ in range(170):
            file.write(f"{'x' * 99}\n" * 10_000)

    def peak() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    def read() -> None:
        before = peak()
        with pytest.raises(RowvecError, match="is not closed within"):
            FilesSource([str(path)], key="id")
        assert peak() - before < 120 * 2**10, "of 170 MB"

    assert in_child(read) == 0
    path.unlink()


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_line_without_end_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "LINE_BYTES", 1_000)
    path = _with(tmp_path / name, b"id,n\n1," + b"x" * 5_000 if name == "a.csv" else b'{"id": "' + b"x" * 5_000)
    with pytest.raises(RowvecError, match=r"is longer than|csv|line"):
        FilesSource([str(path)], key="id")


def test_every_small_case_is_read_or_refused(data: Path) -> None:
    cases = [
        path for path in (data / "cases").iterdir() if path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".parquet")
    ]
    assert len(cases) > 10
    read = {path.name for path in cases if read_or_refused(path)}
    assert {"int96_9999.parquet", "float32.parquet", "cr_only.csv", "UPPER.TSV", "long_header.csv"} <= read
    assert not {"latin1_in_string.parquet", "unclosed_quote.csv"} & read


@pytest.mark.parametrize("package", ["pyarrow", "numpy", "sklearn"])
def test_the_files_that_other_packages_test_with_are_read_or_refused(package: str, tmp_path: Path) -> None:
    """By their first column as the key, which most of them have twice."""
    folder = Path(str(pytest.importorskip(package).__file__)).parent
    files = [path for suffix in ("csv", "csv.gz", "parquet", "jsonl") for path in folder.rglob(f"*.{suffix}")]
    if not files:
        pytest.skip(f"{package} is installed without its test files")
    for path in files:
        found = find([str(path)], tmp_path)[0]
        try:
            key = next(iter(format_of(path.name, None).heading(found)))
            source = FilesSource([str(path)], key=key)
            assert source.count() > 0
            source.close()
        except RowvecError as error:
            refused = str(error)
        else:
            refused = ""
        assert "Traceback" not in refused
