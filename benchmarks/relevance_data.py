"""Real rows, queries and judgements for benchmarks and tests, read from the folder that ROWVEC_TEST_DATA names.

Every loader gives rows as dicts in the file's order and adds nothing of its own.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rowvec.evaluation.files import queries_of, read_judgements, read_queries

ROOT = Path(__file__).parents[1]
Row = dict[str, Any]

_DOCUMENT = re.compile(r"<DOC>\s*<DOCNO>(\d+)</DOCNO>(.*?)</DOC>", re.DOTALL)


class Collection(NamedTuple):
    """Rows with queries and judgements over them; `key` and `text` name the columns."""

    rows: list[Row]
    key: str
    text: tuple[str, ...]
    queries: dict[str, str]
    judgements: dict[str, dict[str, int]]
    condensed: bool
    """Its judged pools are shallow: drop unjudged documents before scoring."""


def data_folder() -> Path:
    """The folder of real data.

    Raises:
        FileNotFoundError: it is not there.
    """
    folder = Path(os.environ.get("ROWVEC_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        raise FileNotFoundError(f"the test data is not at {folder}; set ROWVEC_TEST_DATA")
    return folder


def vaswani() -> Collection:
    """11,429 abstracts on electronics, 93 queries, binary judgements."""
    folder = data_folder() / "vaswani"
    documents = _DOCUMENT.finditer((folder / "doc-text.trec").read_text())
    rows = [{"id": int(found[1]), "text": " ".join(found[2].split())} for found in documents]
    queries = {query: text.lower() for query, text in read_queries(folder / "query-text.trec").items()}
    return Collection(rows, "id", ("text",), queries, read_judgements(folder / "qrels"), condensed=False)


def icecat() -> Collection:
    """19,406 products, 63 queries, ratings 0 to 3 of shallow pools. `date_released` is made a date or None."""
    folder = data_folder() / "icecat"
    rows = list(_json_lines(folder / "products.jsonl.gz"))
    for row in rows:
        row["date_released"] = dt.date.fromisoformat(row["date_released"][:10]) if row.get("date_released") else None
    judgements = read_judgements(folder / "judgements.csv")
    text = ("title", "short_description", "supplier")
    return Collection(rows, "id", text, queries_of(judgements), judgements, condensed=True)


def hf_datasets() -> list[Row]:
    """7,433 dataset cards with author's text, downloads and `creation_time` as a timestamp."""
    rows = list(_json_lines(data_folder() / "hf_datasets" / "cards.jsonl.gz"))
    for row in rows:
        row["creation_time"] = dt.datetime.strptime(row["creation_time"], "%a %b %d %H:%M:%S %Y %z")
    return rows


def cpv() -> list[Row]:
    """9,454 kinds of goods and services: code, parent, type, and their names in en, pl, ru, uk, de."""
    with (data_folder() / "cpv" / "cpv_aligned.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _json_lines(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)
