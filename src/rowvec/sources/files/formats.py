"""CSV and JSON Lines as rows, each with the line it came from, and the format that a file's name tells.

CSV and JSON Lines say little about types, so the type of a column is told from its values; these stay as they are
written, which keeps the text of a row independent of that. An empty CSV field is null.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from rowvec.errors import ConfigError, SourceError
from rowvec.sources.files.base import Format, Types, repeated
from rowvec.sources.files.parquet import Parquet
from rowvec.sources.files.text_lines import byte_lines, text_lines
from rowvec.sources.json_values import parse_json
from rowvec.sources.storage import File, name_without_packing

FIELD_CHARACTERS = 2**24
"""A longer field of a CSV file is a quotation mark that nobody closed: it would fill the memory."""
DELIMITERS = (";", "\t", "|", ",")
_QUOTES = "A quotation mark inside a quoted field is doubled, and the last quoted field needs its end."
_NO_END = ("unexpected end of data", "field larger than field limit")


class Csv(Format):
    numbers_in_text = True

    def __init__(self, delimiter: str | None = None) -> None:
        self._delimiter = delimiter

    def heading(self, file: File) -> Types:
        with file.open_text() as stream:
            for _, fields in self.records(file, stream):
                return dict.fromkeys(self._checked(file, fields))
        raise SourceError(f"{file.name} is empty.", hint="Its first line names the columns.")

    def rows(self, file: File, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        with file.open_text() as stream:
            records = self.records(file, stream)
            header = self._checked(file, next(records, (1, []))[1])
            for line, fields in records:
                if len(fields) != len(header):
                    raise SourceError(
                        f"{file.name}, line {line}: {len(fields)} fields, but the header has {len(header)}.",
                        hint=self.other_delimiter(file, header)
                        or _lone(header)
                        or "A field with the delimiter or a line break in it goes in double quotes.",
                    )
                yield line, {name: value or None for name, value in zip(header, fields, strict=True)}

    def other_delimiter(self, file: File, header: Sequence[str]) -> str:
        """A hint where the header is one name that another delimiter would take apart; "" where it is not."""
        if len(header) != 1:
            return ""
        ours = self._delimiter_of(file)
        found = next((each for each in DELIMITERS if each != ours and each in header[0]), None)
        if found is None:
            return ""
        written = r"\t" if found == "\t" else found
        return f'Its first line has no {ours!r}, but {found!r}: set source.delimiter = "{written}".'

    def _delimiter_of(self, file: File) -> str:
        return self._delimiter or ("\t" if name_without_packing(file.name).lower().endswith(".tsv") else ",")

    def records(self, file: File, stream: BinaryIO) -> Iterator[tuple[int, list[str]]]:
        # A limit of the whole process.
        csv.field_size_limit(FIELD_CHARACTERS)
        reader = csv.reader(text_lines(file, stream), delimiter=self._delimiter_of(file), strict=True)
        line = 1
        try:
            for fields in reader:
                if fields:
                    yield line, fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise _broken(file, line, error) from error

    @staticmethod
    def _checked(file: File, header: list[str]) -> list[str]:
        header = [name.strip() for name in header]
        if header[0].lower().startswith("sep=") and len(header[0]) <= len("sep=;") and not any(header[1:]):
            raise SourceError(
                f"{file.name}, line 1: {header[0]!r} is a note to Excel, and not the names of the columns.",
                hint='Remove the line, and set source.delimiter to what it says: delimiter = ";".',
            )
        twice = repeated(header)
        if twice is not None or "" in header:
            what = f"has two columns named {twice!r}" if twice else "has a column without a name"
            raise SourceError(
                f"{file.name}, line 1: the header {what}.",
                hint="Is the first line a row already? A CSV file begins with a line that names its columns.",
            )
        return header


def _lone(header: Sequence[str]) -> str:
    """A hint where the first line is the title of a table; "" where it may be its header."""
    if len(header) != 1:
        return ""
    return f"The first line, {header[0][:40]!r}, is taken for the header: remove what stands before the names."


def _broken(file: File, line: int, error: csv.Error) -> SourceError:
    """
    Args:
        line: where the row begins.
    """
    if not str(error).startswith(_NO_END):
        return SourceError(f"{file.name}, line {line}: {error}.", hint=_QUOTES)
    within = "before the end of the file"
    if not str(error).startswith(_NO_END[0]):
        within = f"within {FIELD_CHARACTERS:,} characters"
    return SourceError(
        f"{file.name}, line {line}: a quotation mark opens in this row and is not closed {within}.", hint=_QUOTES
    )


class JsonLines(Format):
    same_columns = False
    numbers_in_text = False

    def heading(self, file: File) -> Types:
        return {}

    def rows(self, file: File, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        with file.open_text() as stream:
            first = True
            for line, raw in enumerate(byte_lines(file, stream), 1):
                if raw.isspace():
                    continue
                if first:
                    _refuse_other_json(file, line, raw)
                first = False
                row = parse_json(raw, f"{file.name}, line {line}")
                if not isinstance(row, dict):
                    raise SourceError(
                        f"{file.name}, line {line}: {_kind(row)} where an object with the row's columns should be.",
                        hint='JSON Lines has one object on each line: {"id": 1, "name": "…"}',
                    )
                yield line, row


def _refuse_other_json(file: File, line: int, raw: bytes) -> None:
    """Raises SourceError where the first line shows that the file is one array, or one object over several lines."""
    start = raw.strip()
    if start in (b"[", b"[{") or start.startswith((b"[{", b"[ {")) or start == b"[]":
        raise SourceError(
            f"{file.name}, line {line}: the file is one JSON array, not JSON Lines.",
            hint='JSON Lines has one object on each line. To make it so: jq -c ".[]" rows.json > rows.jsonl',
        )
    if start == b"{":
        raise SourceError(
            f"{file.name}, line {line}: an object begins that goes over several lines.",
            hint="JSON Lines has one object on each line. To make it so: jq -c . rows.json > rows.jsonl",
        )


def format_of(name: str, declared: str | None, delimiter: str | None = None) -> Format:
    """
    Raises:
        ConfigError: the name does not tell, or there is no such format.
    """
    suffix = name_without_packing(name).rpartition(".")[2].lower()
    kind = declared or {"pq": "parquet", "tsv": "csv", "ndjson": "jsonl"}.get(suffix, suffix)
    if kind == "csv":
        return Csv(delimiter)
    if kind == "jsonl":
        return JsonLines()
    if kind == "parquet":
        return Parquet()
    if declared is not None:
        raise ConfigError(f"source.format: {kind!r}.", hint="source.format is one of parquet, csv and jsonl.")
    if suffix in ("zst", "bz2", "xz", "zip", "lz4"):
        raise ConfigError(
            f"{name}: files packed by {suffix} are not read.", hint="Unpack it, or pack it with gzip: rows.csv.gz"
        )
    hint = "source.format is one of parquet, csv and jsonl."
    if suffix == "json":
        hint = 'If it has one object on each line: source.format = "jsonl". Else: jq -c ".[]" rows.json > rows.jsonl'
    raise ConfigError(f"{name}: the name does not say what kind of file it is.", hint=hint)


def _kind(value: Any) -> str:
    return {list: "a list", str: "a string", type(None): "null"}.get(type(value), "a number")
