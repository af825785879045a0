"""What the commands print: data on stdout, everything else on stderr."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rowvec.errors import RowvecError
from rowvec.support import decimals
from rowvec.support.figures import count as count
from rowvec.support.figures import seconds as seconds

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


LEAST = 20
"""Columns below which no line is broken between words."""
KEY = 60
"""Characters of a key that are shown."""
WIDEST = 80
"""Characters that a column of a table in a pipe is filled up to: what is longer stands out of its own line alone."""
_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")
_collecting: ContextVar[list[Any] | None] = ContextVar("_collecting", default=None)


@contextmanager
def collected(wanted: bool = True) -> Iterator[list[Any]]:
    """What is printed as JSON meanwhile goes into the list instead, for a document of several parts."""
    documents: list[Any] = []
    token = _collecting.set(documents if wanted else None)
    try:
        yield documents
    finally:
        _collecting.reset(token)


def print_json(value: Any) -> None:
    documents = _collecting.get()
    if documents is not None:
        documents.append(value)
        return
    # NaN and Infinity are not JSON; null is what the HTTP API says.
    said = json.loads(json.dumps(value, default=plain), parse_constant=lambda name: None)
    out.file.write(json.dumps(said, ensure_ascii=out.encoding != "utf-8", indent=2) + "\n")


def plain(value: Any) -> Any:
    """A JSON value for what json does not know."""
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return decimals.as_json(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def error(told: RowvecError, *, of: str = "") -> None:
    """An error as every command says it, on stderr.

    Args:
        of: the pipeline, where there are several.
    """
    out.file.flush()
    _told(err, Text.assemble(("Error:", "bold red"), f" {of}: {told}" if of else f" {told}"))
    for remark in getattr(told, "__notes__", ()):
        note(f"  {remark}")
    if told.page:
        note(f"  Why: rowvec help {told.page}")
    if os.environ.get("ROWVEC_VERBOSE"):
        err.file.write("".join(traceback.format_exception(told)))


def line(text: str = "") -> None:
    _told(out, Text(text))


def say(text: Text) -> None:
    """A line with colours of its own: on a terminal, unless NO_COLOR is set."""
    _told(out, text)


def note(text: str, style: str = "") -> None:
    _told(err, Text(text, style))


def _told(console: Console, text: Text) -> None:
    """Further lines are indented as the first is."""
    for each in text.split(allow_blank=True):
        indent = len(each.plain) - len(each.plain.lstrip(" "))
        for part in _broken(console, each[indent:], console.width - indent):
            console.print(Text.assemble(" " * indent, part), soft_wrap=True)


def hanging(head: Text, body: str) -> None:
    """A label and what it says, whose further lines begin below its first."""
    for part in _broken(out, Text(body), out.width - head.cell_len):
        out.print(Text.assemble(head, part), soft_wrap=True)
        head = Text(" " * head.cell_len)


def _broken(console: Console, text: Text, width: int) -> Iterator[Text]:
    """On a terminal lines of that width, broken between words. In a pipe, and where a word is too long, such as a token
    that somebody copies, it is one line."""
    if not console.is_terminal or width < LEAST or not 0 < max(map(len, text.plain.split()), default=0) <= width:
        yield text
        return
    for part in text.wrap(console, width):
        part.rstrip()
        yield part


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[int] = ()) -> None:
    """A plain table; the columns numbered in `right` are aligned to the right. In a pipe no line is broken."""
    if not out.is_terminal:
        _piped_table(headers, [[cell(value) for value in row] for row in rows], right)
        return
    out.print(grid(headers, rows, right), markup=False)


def grid(headers: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[int] = ()) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, show_header=any(headers))
    for index, header in enumerate(headers):
        drawn.add_column(header, justify="right" if index in right else "left", overflow="fold", no_wrap=index in right)
    for row in rows:
        drawn.add_row(*(value if isinstance(value, Text) else Text(cell(value)) for value in row))
    return drawn


def _piped_table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> None:
    lines = [headers, *rows] if any(headers) else rows
    widths = [min(WIDEST, max(map(len, column))) for column in zip(*lines, strict=True)]
    for columns in lines:
        cells = [
            text.rjust(width) if index in right else text.ljust(width)
            for index, (text, width) in enumerate(zip(columns, widths, strict=True))
        ]
        out.file.write("  ".join(cells).rstrip() + "\n")


def without_controls(text: str) -> str:
    """A blank for each control character: what a row holds does not steer the terminal, nor break a line of a table."""
    return text.translate(_CONTROLS)


def cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Text):
        return without_controls(value.plain)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, dt.datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
    return without_controls(str(value))


def value(found: Any) -> str:
    """A value of a row as people read it: no zeros after a fraction, and a year without a comma. In a pipe as programs
    read it, without any."""
    if isinstance(found, bool) or not isinstance(found, int | float | Decimal):
        return cell(found)
    if isinstance(found, int):
        return f"{found:,}" if out.is_terminal and abs(found) >= 10_000 else str(found)
    large = abs(float(found))
    if not large:
        return "0"
    if not math.isfinite(large) or not 1e-4 <= large < 1e15:
        return f"{found:.6g}" if isinstance(found, float) else str(found)
    digits = f"{found:,f}" if out.is_terminal and large >= 10_000 else f"{found:f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def key(found: object) -> str:
    """A key among other words. `--json` has all of it."""
    return clip(str(found), KEY)


def clip(text: str, width: int) -> str:
    text = " ".join(without_controls(text).split())
    return text if len(text) <= width else text[: width - 1] + "…"
