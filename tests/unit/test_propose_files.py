"""What `rowvec init --from` finds in files, and the config that it writes."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowvec.cli.init import init
from rowvec.config import FilesSourceConfig, SqlSourceConfig, load
from rowvec.errors import ConfigError, RowvecError, SourceError
from rowvec.sources.files.source import FilesSource
from rowvec.sources.propose import Files, Proposal, propose_files
from rowvec.sources.propose.places import name_of
from rowvec.types import ColumnType, Row

PRODUCTS = """\
sku,name,description,brand,price,ean,in_stock,released,deleted
A-1,Aeron,An office chair with a mesh back,Miller,1190.00,4012345678901,true,2024-05-01,false
A-2,Lull,A rocking chair of beech,Oakham,240.50,4012345678902,true,2024-05-02,false
A-3,Beam,"A desk lamp, it can be dimmed",Lumen,59,0012345678903,false,,true
"""


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return name


def files_of(proposal: Proposal) -> Files:
    assert proposal.files is not None
    return proposal.files


def read_by(folder: Path) -> tuple[FilesSourceConfig, FilesSource, list[Row]]:
    """The config in a folder, the source that it declares, and what that reads."""
    config = load(folder).pipeline().source
    assert isinstance(config, FilesSourceConfig)
    types = {name: ColumnType(word) for name, word in config.types.items()}
    source = FilesSource(config.paths, key=config.key, format=config.format, types=types, delimiter=config.delimiter)
    return config, source, [row for page in source.pages(100) for row in page]


def test_a_file_gets_what_a_table_gets(tmp_path: Path) -> None:
    found = propose_files(written(tmp_path, "products.csv", PRODUCTS), tmp_path)
    assert (found.table, found.rows, found.key) == ("products", 3, "sku")
    assert found.key_note == "unique and never null in all 3 rows"
    assert found.text == ("name", "description", "brand")
    assert found.metadata == ("name", "brand", "price", "in_stock", "released")
    assert found.where == "not deleted"
    assert files_of(found).types == {
        "price": ColumnType.DECIMAL, "ean": ColumnType.TEXT, "released": ColumnType.DATE,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["products.csv.gz", "products.tsv", "products.jsonl", "products.ndjson.gz"])
def test_each_format_gives_the_same(tmp_path: Path, name: str) -> None:
    lines = ["sku,name,price,seen", "A-1,A chair with a back,1190.50,2024-05-01", "A-2,A lamp of oak,5,2024-05-02"]
    if ".tsv" in name:
        lines = [line.replace(",", "\t") for line in lines]
    if "json" in name:
        rows = [line.split(",") for line in lines[1:]]
        lines = [json.dumps({"sku": s, "name": n, "price": float(p), "seen": d}) for s, n, p, d in rows]
    found = propose_files(written(tmp_path, name, "\n".join(lines)), tmp_path)
    assert (found.table, found.key, found.text, found.metadata) == (
        "products", "sku", ("name",), ("name", "price", "seen"),
    )  # fmt: skip
    assert files_of(found).types == {"price": ColumnType.DECIMAL, "seen": ColumnType.DATE}


def test_a_parquet_file_declares_its_types(tmp_path: Path) -> None:
    table = {
        "vector": [[0.5, 1.5]] * 2, "product_id": [7, 8], "headline": ["a lamp of oak", "a quiet chair"],
        "price": [Decimal("5.00"), Decimal("5.50")], "day": [dt.date(2024, 1, 1)] * 2, "archived": [False, True],
    }  # fmt: skip
    pq.write_table(pa.table(table), tmp_path / "items.parquet")
    found = propose_files("items.parquet", tmp_path)
    assert (found.key, found.text, found.metadata) == ("product_id", ("headline",), ("headline", "price", "day"))
    assert (found.where, files_of(found).types) == ("not archived", {})


@pytest.mark.parametrize(
    ("header", "rows", "key"),
    [
        ("title,id", ["a,1", "b,2"], "id"),
        ("customer_id,item_id,title", ["7,1,a lamp", "8,2,a chair"], "item_id"),
        ("customer_id,number,title", ["7,1,a lamp", "7,2,a chair"], "number"),
        ("productId,title", ["7,a lamp", "8,a chair"], "productId"),
        ("_id,uuid", ["1,a", "2,b"], "_id"),
        ("price,mark,title", ["1,a-1,a lamp", "2,a-2,a chair"], "mark"),
        ("id,sku,title", ["1,x1,a lamp", "2,x2,a chair", ",x3,a desk"], "sku"),
    ],
)
def test_the_key_is_unique_never_null_and_like_an_id(tmp_path: Path, header: str, rows: list[str], key: str) -> None:
    found = propose_files(written(tmp_path, "items.csv", "\n".join([header, *rows])), tmp_path)
    assert (found.key, files_of(found).named_key) == (key, True)


def test_a_title_that_has_to_be_the_key_is_still_text(tmp_path: Path) -> None:
    found = propose_files(written(tmp_path, "items.csv", "title,price\na lamp,1\na chair,2\n"), tmp_path)
    assert (found.key, found.text, files_of(found).named_key) == ("title", ("title",), False)
    assert found.metadata == ("price",)


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("code", ["4012", "0071"], ColumnType.TEXT),
        ("mark", ["4012", "0071"], ColumnType.TEXT),
        ("zip", ["10115", "80331"], ColumnType.TEXT),
        ("price", ["5", "7"], ColumnType.DECIMAL),
        ("share", ["5.50", "7.25"], ColumnType.DECIMAL),
        ("share", ["5", "7.25"], ColumnType.NUMBER),
        ("weight", ["12345678901234567890.5", "1"], ColumnType.DECIMAL),
        ("seen", ["2024-05-01", "2024-05-02"], ColumnType.DATE),
        ("seen", ["2024-05-01", "2024-05-02 10:00"], ColumnType.TIMESTAMP),
        ("size", ["5", "large"], ColumnType.TEXT),
        ("count", ["5", "7"], None),
        ("share", ["5.5", "7.25"], None),
        ("note", ["some words", "other words"], None),
        ("open", ["true", "false"], None),
    ],
)
def test_a_type_is_declared_where_it_would_depend_on_the_rows(
    tmp_path: Path, name: str, values: Sequence[str], kind: ColumnType | None
) -> None:
    rows = [f"{number},{value}" for number, value in enumerate(values)]
    found = propose_files(written(tmp_path, "items.csv", "\n".join([f"id,{name}", *rows])), tmp_path)
    assert files_of(found).types.get(name) is kind


def test_a_declared_type_stays_when_only_the_first_rows_are_left(tmp_path: Path) -> None:
    rows = [(f"{number}", f"40{number}") for number in range(1, 40)] + [("40", "0071")]
    lines = ["id,mark,title", *(f"{key},{mark},a lamp of oak" for key, mark in rows)]
    written(tmp_path, "items.csv", "\n".join(lines))
    init(str(tmp_path / "items.csv"), tmp_path / "rowvec.toml", force=False)
    written(tmp_path, "items.csv", "\n".join(lines[:10]))
    _, source, _ = read_by(tmp_path)
    assert {column.name: column.type for column in source.columns}["mark"] is ColumnType.TEXT


def test_late_rows_count_as_the_first_ones_do(tmp_path: Path) -> None:
    rows = [f"{number},{number},words of row {number},open" for number in range(3_000)]
    rows[2_500] = "2500,77,words of row 2500,closed"
    found = propose_files(written(tmp_path, "items.csv", "\n".join(["pk,number,title,phase", *rows])), tmp_path)
    assert (found.key, found.rows) == ("pk", 3_000)
    rows[2_500] = "7,2500,words,open"
    found = propose_files(written(tmp_path, "items.csv", "\n".join(["pk,number,title,phase", *rows])), tmp_path)
    assert found.key == "number"


def test_a_column_that_late_objects_have_is_not_the_key(tmp_path: Path) -> None:
    rows: list[Mapping[str, Any]] = [{"sku": "a-1"}, {"sku": "a-2", "id": 7}]
    found = propose_files(written(tmp_path, "x.jsonl", "\n".join(map(json.dumps, rows))), tmp_path)
    assert found.key == "sku"


@pytest.mark.parametrize(
    ("source", "paths", "table"),
    [
        ("rows", ("rows/*.csv",), "rows"),
        ("rows/", ("rows/*.csv",), "rows"),
        ("rows/items-*.csv", ("rows/items-*.csv",), "items"),
        ("deep", ("deep/**/*.csv", "deep/**/*.csv.gz"), "deep"),
        (".", ("**/*.csv", "**/*.csv.gz"), "shop"),
    ],
)
def test_a_folder_and_a_pattern_are_one_table(tmp_path: Path, source: str, paths: tuple[str, ...], table: str) -> None:
    for number, name in enumerate(["rows/items-1.csv", "rows/items-2.csv", "deep/a/1.csv", "deep/b/c/2.csv.gz"]):
        written(tmp_path / "shop", name, f"id,title\n{number},a lamp of oak\n")
    written(tmp_path / "shop", "rows/readme.md", "not rows")
    found = propose_files(source, tmp_path / "shop")
    assert (files_of(found).paths, found.table, found.rows) == (paths, table, 4 if source == "." else 2)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("exports/products-*.csv.gz", "products"), ("exports/*.csv", "exports"), ("a.b/2024-*.csv", "a.b"),
        ("s3://key:sec@bucket/*.csv?region=x", "bucket"), ("*.csv", "rows"), ("/data/Shop Items.jsonl", "Shop Items"),
    ],
)  # fmt: skip
def test_the_pipeline_is_called_as_the_files_are(source: str, name: str) -> None:
    assert name_of(source) == name


@pytest.mark.parametrize(
    ("files", "source", "says", "hint"),
    [
        ({"a.csv": ""}, "a.csv", "a.csv is empty", "first line names the columns"),
        ({"a.csv": "id,name\n"}, "a.csv", "a.csv has no rows", "add some rows"),
        ({"a.jsonl": "\n"}, "a.jsonl", "a.jsonl has no rows", "add some rows"),
        ({"a.csv": "1,a lamp,5\n2,a chair,6\n"}, "a.csv", "looks like a row: 1, a lamp, 5", "names of the columns"),
        ({"a.csv": ",name\n1,a\n"}, "a.csv", "a column without a name", "first line a row"),
        ({"a.csv": "id,name\n1,a\n1,b\n"}, "a.csv", "id is '1' in line 2 and in line 3", "add a column"),
        ({"a.csv": "id,brand\n1,a\n,a\n"}, "a.csv", "id is null in 1 of 2 rows", "add a column"),
        ({"d/a.csv": "id,x\n1,a\n", "d/b.csv": "id,y\n2,b\n"}, "d", "b.csv has other columns than", "same columns"),
        ({"d/a.csv": "id\n1\n", "d/b.csv": "id\n1\n"}, "d", "b.csv, line 2", "add a column"),
        ({"d/a.csv": "id\n1\n", "d/b.jsonl": "{}"}, "d", "formats: 1 csv, 1 jsonl", "--from 'd/*.csv'"),
        ({"d/a.md": "hello"}, "d", "no file that rowvec reads", ".csv"),
        ({"a.txt": "hello"}, "a.txt", "not a file that rowvec reads", ".csv"),
        ({"a.xlsx": "PK"}, "a.xlsx", "not a file that rowvec reads", "save it as CSV"),
        ({"a.csv.zip": "PK"}, "a.csv.zip", "packed by zip", "Unpack it"),
        ({"a.json": '[{"id": 1}]'}, "a.json", "one JSON array", "jq"),
        ({"items.csv": "id\n1\n"}, "itms.csv", "no file or folder itms.csv", "'items.csv'"),
        ({"items.csv": "id\n1\n"}, "x*.csv", "no file x*.csv", "items.csv"),
        ({}, "no/where.csv", "no file or folder no/where.csv", "no folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_proposed_is_said_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], source: str, says: str, hint: str
) -> None:
    for name, text in files.items():
        written(tmp_path, name, text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RowvecError) as caught:
        init(source, Path("rowvec.toml"), force=False)
    assert isinstance(caught.value, ConfigError | SourceError)
    assert says in caught.value.message
    assert hint in (caught.value.hint or "")
    assert not (tmp_path / "rowvec.toml").exists()


@pytest.mark.parametrize("delimiter", [";", "|", "\t"])
def test_another_delimiter_is_found_and_written(tmp_path: Path, delimiter: str) -> None:
    text = "id,title\n1,a lamp of oak\n".replace(",", delimiter)
    written(tmp_path, "items.csv", text)
    init(str(tmp_path / "items.csv"), tmp_path / "rowvec.toml", force=False)
    config, _, rows = read_by(tmp_path)
    assert config.delimiter == delimiter
    assert [row.values["title"] for row in rows] == ["a lamp of oak"]


def test_years_and_counted_columns_are_names(tmp_path: Path) -> None:
    assert propose_files(written(tmp_path, "a.csv", "id,2023,2024\n1,5,6\n2,6,7\n"), tmp_path).key == "id"
    assert propose_files(written(tmp_path, "b.csv", "0,1\n1,a lamp\n2,a chair\n"), tmp_path).key == "0"


ODD = """\
{"Größe in cm": 5, "id": 1, "na\\"me": "words to embed", "a.b": "2024-05-01", "preço": "words again", "${HOME}": "0071"}
{"Größe in cm": 5.5, "id": 2, "na\\"me": "other words here", "a.b": "2024-05-02", "${HOME}": "12"}
"""


@pytest.mark.parametrize(
    ("name", "text"), [("products.csv", PRODUCTS), ("odd ${name}.jsonl", ODD), ("rows.json", '{"id": 1, "t": "a b"}')]
)
def test_what_init_writes_is_what_its_own_source_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    written(tmp_path, f"in/{name}", text)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    init(f"../in/{name}", tmp_path / "rowvec.toml", force=False)
    config, source, rows = read_by(tmp_path)
    assert str(tmp_path) not in (tmp_path / "rowvec.toml").read_text(encoding="utf-8")
    assert len(rows) == len(text.strip().splitlines()) - name.endswith(".csv")
    declared = load(tmp_path).pipeline()
    there = {column.name for column in source.columns}
    assert there.issuperset([*declared.store.metadata, *config.types, config.key, *(declared.text.columns or ())])


def test_the_language_and_the_model_are_those_of_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["Тормозные колодки для автомобилей", "Масло и фильтры для двигателя", "Лампа для стола и дома"] * 5
    lines = ["id,title", *(f"{number},{text}" for number, text in enumerate(texts))]
    written(tmp_path, "parts.csv", "\n".join(lines))
    init(str(tmp_path / "parts.csv"), tmp_path / "rowvec.toml", force=False)
    text = (tmp_path / "rowvec.toml").read_text(encoding="utf-8")
    assert 'language = "russian"' in text
    assert 'model = "intfloat/multilingual-e5-small"' in text
    assert "knows a hundred languages" in capsys.readouterr().out


def test_a_variable_may_hold_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "rows/a.csv", "id,title\n1,a lamp of oak\n")
    monkeypatch.setenv("ROWS", "rows/*.csv")
    init("${ROWS}", tmp_path / "rowvec.toml", force=False)
    assert 'paths = "${ROWS}"' in (tmp_path / "rowvec.toml").read_text(encoding="utf-8")
    monkeypatch.setenv("ROWS", "rows")
    init("${ROWS}", tmp_path / "rowvec.toml", force=True)
    assert 'paths = "rows/*.csv"' in (tmp_path / "rowvec.toml").read_text(encoding="utf-8")


def test_a_file_of_sqlite_is_still_a_database(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "shop.csv")) as database, database:
        database.execute("create table items (id integer primary key, title text)")
    init(str(tmp_path / "shop.csv"), tmp_path / "rowvec.toml", force=False)
    assert isinstance(load(tmp_path).pipeline().source, SqlSourceConfig)


def test_a_table_cannot_be_chosen_from_files(tmp_path: Path) -> None:
    source = str(tmp_path / written(tmp_path, "a.csv", "id\n1\n"))
    with pytest.raises(ConfigError, match="--table needs a database"):
        init(source, tmp_path / "rowvec.toml", table="a", force=False)
