"""Lines such as `Mood: {mood}, {second_mood}`, and which text comes and goes with which column.

A pair of braces holds the name of a column, whatever it is, and after a colon a format of Python's
(`{energy:.2f}`, `{released:%Y-%m}`). Attributes and items cannot be reached. Where some columns of a
line are empty:

- what stands before the first column is the line's label and stays;
- a bracket or quotation mark on both sides of a column belongs to it;
- the first comma, semicolon, slash, bar, bullet or dash between two columns is the mark between them: what
  is left of it belongs to the left column, what is right of it to the right one. Without a mark, all that
  is between them is the mark;
- what follows the last column belongs to it;
- a mark shows between two columns that show.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from rowvec.documents.conversion import CONVERSION_ERRORS, converter, truth
from rowvec.documents.values import shown
from rowvec.errors import ConfigError
from rowvec.support.suggestions import check_column
from rowvec.types import Column, ColumnType

_MARK = re.compile(r"\s*[,;/|·•]\s*|\s*[–—]\s*|\s+-\s+|\s*\n\s*")
_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">", '"': '"', "'": "'", "«": "»", "“": "”", "„": "“"}
_EXAMPLES: dict[ColumnType, Any] = {
    ColumnType.INTEGER: 1,
    ColumnType.NUMBER: 1.5,
    ColumnType.DECIMAL: Decimal(1),
    ColumnType.TEXT: "1",
    ColumnType.BOOLEAN: True,
    ColumnType.DATE: "2024-05-01",
    ColumnType.TIME: "12:30:00",
    ColumnType.TIMESTAMP: "2024-05-01 12:30:00",
}


@dataclass(slots=True)
class Field:
    """A column in a line, with the text that comes and goes with it."""

    name: str
    show: Callable[[Any], str]
    mark: str = ""
    before: str = ""
    after: str = ""


class Line(NamedTuple):
    label: str
    fields: list[Field]


def parse_line(line: str, available: Sequence[Column]) -> Line:
    """
    Raises:
        ConfigError: braces that hold no column, an unknown column, or a format its type does not take.
    """
    where = f"text.lines, {line!r}"
    try:
        pieces = list(string.Formatter().parse(line))
    except ValueError as error:
        raise ConfigError(f"{where}: {error}.", hint="A brace of the text itself is written {{ or }}.") from error
    columns = {column.name: column for column in available}
    fields: list[Field] = []
    literals = [""]
    for literal, name, spec, conversion in pieces:
        literals[-1] += literal
        if name is None:
            continue
        if not name or conversion or "{" in (spec or ""):
            raise ConfigError(
                f"{where}: a pair of braces does not hold a plain column.",
                hint="Write {column}, or {column:format} as in {price:.2f}.",
            )
        check_column(name, list(columns), where)
        fields.append(Field(name, _shower(where, columns[name], spec or "")))
        literals.append("")
    if not fields:
        raise ConfigError(f"{where}: it holds no column.", hint="A column is written {name}.")
    return Line(_share_out(literals, fields), fields)


def _share_out(literals: list[str], fields: list[Field]) -> str:
    """Give each field the text that belongs to it; return the label. literals[i] stands before fields[i]."""
    for index, field in enumerate(fields):
        head, tail = literals[index], literals[index + 1]
        if head and tail and _CLOSING.get(head[-1]) == tail[0]:
            field.before, field.after = head[-1], tail[0]
            literals[index], literals[index + 1] = head[:-1], tail[1:]
    for left, right, between in zip(fields, fields[1:], literals[1:-1], strict=False):
        mark = _MARK.search(between)
        if mark is None:
            right.mark = between
        else:
            left.after += between[: mark.start()]
            right.mark = mark[0]
            right.before = between[mark.end() :] + right.before
    fields[-1].after += literals[-1]
    return literals[0]


def _shower(where: str, column: Column, spec: str) -> Callable[[Any], str]:
    """How a column of this type is shown with a format, which is tried on an example first."""
    if not spec:
        return (lambda value: shown(truth(value))) if column.yes_no else shown
    name, kind = column.name, column.type
    convert = converter(kind)
    numeric = spec[-1] in "eEfFgGn%" and not spec.startswith("%")

    def show(value: Any) -> str:
        if not shown(value):
            return ""
        # SQLite keeps what it is given: a number may stand in a column of text.
        typed = Decimal(value.strip()) if numeric and isinstance(value, str) else convert(value)
        # A date that Python has not, such as infinity, is said as the source writes it.
        return shown(value) if typed is None else format(typed, spec).strip()

    try:
        show(_EXAMPLES.get(kind))
    except CONVERSION_ERRORS as error:
        raise ConfigError(
            f"{where}: the {kind} column {name!r} does not take the format {spec!r}: {error}.",
            hint="Write for example {price:.2f} for a number, {released:%Y-%m} for a date.",
        ) from error
    return show
