"""Files of queries and judgements: CSV or TSV, JSON lines, and TREC's two formats, recognised by their content.

| | queries | judgements |
|---|---|---|
| CSV, TSV, with a header | `id,query`, or `query` alone | `query,docid,rating` |
| JSON lines | `{"id": "1", "query": "..."}` | `{"query": "1", "docid": "7", "rating": 3}` |
| TREC | `<top> <num>1</num> <title>...</title> </top>` | `1 0 7 3`: query, anything, document, rating |
| TREC in XML | `<topic number="1"> <query>...</query> </topic>` | |

Other usual names of columns are known too. Ids and keys are compared as text.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rowvec.errors import ConfigError
from rowvec.support.json_objects import RepeatedName, once

_QUERY_IDS = ("id", "query_id", "qid", "_id", "num")
_QUERY_TEXTS = ("query", "text", "title", "question")
_JUDGED_QUERIES = ("query_id", "query-id", "qid", "query", "id")
_JUDGED_KEYS = ("docid", "doc_id", "document_id", "corpus-id", "document", "doc", "key", "pid")
_RATINGS = ("rating", "relevance", "rel", "score", "grade", "label")

_TOPIC = re.compile(
    r"<top(?:ic)?(?:\s([^>]*))?>(.*?)(?:</top(?:ic)?>|(?=<top(?:ic)?[\s>])|\Z)", re.DOTALL | re.IGNORECASE
)
_NUMBER = re.compile(r"""\b(?:number|num|id)\s*=\s*["']\s*([^"']+?)\s*["']""", re.IGNORECASE)
_NUM = re.compile(r"<num>\s*(?:Number:\s*)?([^\s<]+)", re.IGNORECASE)
_TITLE = re.compile(r"<(?:title|query)>\s*(?:Topic:\s*)?([^<]*)", re.IGNORECASE)
_NO_TOPIC = re.compile(r"<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>]*>", re.DOTALL | re.IGNORECASE)
"""What XML may have before and between topics."""
_QREL = re.compile(r"\S+\s+\S+\s+\S+\s+[-+]?\d+(\.0+)?")
_COLUMNS = re.compile(r"[^\s,;{\"]+(?:[ \t]+[^\s,;{\"]+)+")
"""Of a line that no header begins like: words divided by spaces, or by tabs with a number among them."""


class _Record(NamedTuple):
    line: int
    values: Mapping[str, Any]


class _File:
    """A file's text, and how to say where in it something is wrong.

    Args:
        what: it holds: "queries" or "judgements".
    """

    def __init__(self, path: str | Path, what: str) -> None:
        self.path = Path(path)
        self.hint = f"How a file of {what} is written: rowvec help evaluating#the-two-files"
        try:
            self.text = self.path.read_text("utf-8-sig")
        except OSError as error:
            raise ConfigError(
                f"{self.path} cannot be read: {error.strerror}.",
                hint=f"Check its name and its permissions. {self.hint}",
            ) from None
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{self.path} is not UTF-8: byte {error.start} is {error.object[error.start]:#x}.",
                hint="Save it as UTF-8.",
            ) from None
        if not self.text.strip():
            raise ConfigError(f"{self.path} is empty.", hint=self.hint)

    @property
    def first(self) -> str:
        return next(line for line in self.text.splitlines() if line.strip()).strip()

    def error(self, line: int, message: str, hint: str | None = None) -> ConfigError:
        return ConfigError(f"{self.path}, line {line}: {message}", hint=hint or self.hint)

    def records(self) -> Iterator[_Record]:
        return self._json_lines() if self.first.startswith("{") else self._delimited()

    def _json_lines(self) -> Iterator[_Record]:
        for line, text in enumerate(self.text.split("\n"), 1):
            if not text.strip():
                continue
            try:
                values = json.loads(text, object_pairs_hook=once)
            except RepeatedName as error:
                raise self.error(line, f"{error}.", "Leave one of the two out.") from None
            except ValueError as error:
                raise self.error(line, f"this is not JSON: {error}.") from None
            if not isinstance(values, dict):
                raise self.error(line, "expected an object.")
            yield _Record(line, values)

    def _delimited(self) -> Iterator[_Record]:
        delimiter = max(",\t;", key=self.first.count)
        reader = csv.reader(io.StringIO(self.text, newline=""), delimiter=delimiter, strict=True)
        header: list[str] = []
        try:
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if not header:
                    header = [cell.strip().lower() for cell in cells]
                    continue
                if len(cells) != len(header):
                    raise self.error(reader.line_num, f"there are {len(cells)} values for {len(header)} columns.")
                yield _Record(reader.line_num, dict(zip(header, cells, strict=True)))
        except csv.Error as error:
            raise self.error(reader.line_num, f"this is not CSV: {error}.") from None

    def pick(self, record: _Record, names: tuple[str, ...], what: str) -> str:
        """The value of the first of these columns that there is, as text."""
        for name in names:
            if name in record.values:
                value = record.values[name]
                if not isinstance(value, str | int | float) or isinstance(value, bool) or not str(value).strip():
                    raise self.error(record.line, f"{name!r} holds no {what}.")
                return str(value).strip()
        found = ", ".join(map(repr, record.values))
        raise self.error(record.line, f"there is no {what}, only {found}.", f"Name it one of: {', '.join(names)}.")


def read_queries(path: str | Path) -> dict[str, str]:
    """The text of each query by its id, in the file's order. Without a column of ids, the text is the id.

    Raises:
        ConfigError: the file cannot be read; says which line and what is wrong.
    """
    file = _File(path, "queries")
    queries: dict[str, str] = {}
    for line, query, text in _topics(file) if file.first.startswith("<") else _listed_queries(file):
        if queries.setdefault(query, text) != text:
            raise file.error(line, f"the query {query!r} is here a second time, with another text.")
    if not queries:
        raise ConfigError(f"{file.path} holds no query.", hint=file.hint)
    return queries


def _topics(file: _File) -> Iterator[tuple[int, str, str]]:
    # Replaced by as many lines, so that numbers of lines stay right.
    said = _NO_TOPIC.sub(lambda found: "\n" * found[0].count("\n"), file.text)
    is_xml = said != file.text
    for topic in _TOPIC.finditer(said):
        line = said.count("\n", 0, topic.start()) + 1
        number, title = _NUMBER.search(topic[1] or "") or _NUM.search(topic[2]), _TITLE.search(topic[2])
        text = " ".join((html.unescape(title[1]) if is_xml else title[1]).split()) if title else ""
        if number is None or not text:
            raise file.error(line, f"this topic has no {'<num>' if number is None else '<title>'}.")
        yield line, number[1], text


def _listed_queries(file: _File) -> Iterator[tuple[int, str, str]]:
    for record in file.records():
        text = file.pick(record, _QUERY_TEXTS, "text of the query")
        named = any(name in record.values for name in _QUERY_IDS)
        yield record.line, file.pick(record, _QUERY_IDS, "id of the query") if named else text, text


def read_judgements(path: str | Path) -> dict[str, dict[str, int]]:
    """The rating of each judged document, by query id and key.

    Raises:
        ConfigError: the file cannot be read, a rating is not a whole number, or two ratings of one document disagree;
            says which line.
    """
    file = _File(path, "judgements")
    judgements: dict[str, dict[str, int]] = {}
    for line, query, key, rating in _qrels(file) if _is_qrels(file.first) else _listed_judgements(file):
        number = _whole(rating)
        if number is None:
            raise file.error(line, f"the rating {rating!r} is not a whole number.")
        if judgements.setdefault(query, {}).setdefault(key, number) != number:
            raise file.error(
                line, f"the document {key!r} of query {query!r} is here a second time, with another rating."
            )
    if not judgements:
        raise ConfigError(f"{file.path} holds no judgement.", hint=file.hint)
    return judgements


def _whole(rating: str) -> int | None:
    found = re.fullmatch(r"([-+]?\d{1,9})(\.0+)?", rating)
    return int(found[1]) if found else None


def _is_qrels(line: str) -> bool:
    """Also where columns are missing or too many: then the message is about qrels, and not about a header."""
    if _QREL.fullmatch(line):
        return True
    cells = line.split()
    return bool(_COLUMNS.fullmatch(line)) and any(re.fullmatch(r"[-+]?\d+", cell) for cell in cells[1:])


def _qrels(file: _File) -> Iterator[tuple[int, str, str, str]]:
    for line, text in enumerate(file.text.split("\n"), 1):
        cells = text.split()
        if not cells:
            continue
        if len(cells) != 4:
            raise file.error(line, f"there are {len(cells)} values where query, iteration, document and rating belong.")
        query, _, key, rating = cells
        yield line, query, key, rating


def _listed_judgements(file: _File) -> Iterator[tuple[int, str, str, str]]:
    for record in file.records():
        if not {*_JUDGED_KEYS, *_RATINGS} & {*record.values}:
            raise file.error(
                record.line, "there is neither a document nor a rating, as in a file of queries.",
                "The queries come first, and the judgements second.",
            )  # fmt: skip
        query = file.pick(record, _JUDGED_QUERIES, "query")
        key = file.pick(record, _JUDGED_KEYS, "document")
        yield record.line, query, key, file.pick(record, _RATINGS, "rating")


def queries_of(judgements: Mapping[str, Any]) -> dict[str, str]:
    """The queries of judgements that name them by their text."""
    return {query: query for query in judgements}
