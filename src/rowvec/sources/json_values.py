"""Values as JSON and text have them, of files and of messages: read, and their types told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from rowvec.errors import SourceError
from rowvec.sources.column_types import inferred
from rowvec.types import ColumnType

_TEXT_TYPES = (
    (ColumnType.BOOLEAN, re.compile(r"true|false|True|False|TRUE|FALSE")),
    (ColumnType.INTEGER, re.compile(r"-?(0|[1-9]\d{0,17})")),
    (ColumnType.NUMBER, re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")),
)
_DATES = (
    (ColumnType.DATE, re.compile(r"\d{4}-\d\d-\d\d")),
    (ColumnType.TIMESTAMP, re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[-+]\d\d:?\d\d)?")),
)


def parse_json(raw: bytes, where: str, *, in_file: bool = True) -> Any:
    """
    Args:
        in_file: it is a line of a file, which may have been cut off, and no message of its own.

    Raises:
        SourceError: it is not JSON; the message says where, and never what stands there.
    """
    try:
        return json.loads(raw)
    except UnicodeDecodeError as error:
        hint = "Write the file as UTF-8." if in_file else "JSON is UTF-8: does the topic hold another format?"
        raise SourceError(f"{where}: byte {error.start + 1} is not UTF-8.", hint=hint) from error
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "nested too deep")
        ended = getattr(error, "pos", 0) >= len(raw.rstrip()) or reason.startswith("Unterminated")
        if in_file and ended and not raw.endswith(b"\n"):
            raise SourceError(
                f"{where}: the file ends in the middle of a line.", hint="It was cut off: copy or write it again."
            ) from error
        raise SourceError(f"{where}: no valid JSON: {reason}, column {getattr(error, 'pos', 0) + 1}.") from error


def text_type(values: Iterable[Any], *, numbers: bool) -> ColumnType | None:
    """The type of a column from some of its values; strings count as dates, and with `numbers` as numbers too."""
    present = [value for value in values if value is not None]
    if not present:
        return None
    if all(isinstance(value, str) for value in present):
        patterns: Sequence[tuple[ColumnType, re.Pattern[str]]] = (*_TEXT_TYPES, *_DATES) if numbers else _DATES
        for kind, pattern in patterns:
            if all(pattern.fullmatch(value) for value in present):
                return kind
        return ColumnType.TEXT
    return inferred(present)


def merged(first: ColumnType | None, second: ColumnType | None) -> ColumnType | None:
    """The type of a column that is of one type in one file and of another in the next."""
    if first is None or second is None or first is second:
        return first or second
    return ColumnType.NUMBER if {first, second} == {ColumnType.INTEGER, ColumnType.NUMBER} else ColumnType.TEXT
