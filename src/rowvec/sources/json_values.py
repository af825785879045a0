"""JSON of files and of messages, read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rowvec.errors import SourceError
from rowvec.support.decimals import loads
from rowvec.support.json_objects import RepeatedName, once

MOST_LEVELS = 200


def value_of(raw: bytes, made: Callable[[list[tuple[str, Any]]], Any] | None = once) -> Any:
    """
    Args:
        made: see `support.decimals.loads`.

    Raises:
        ValueError: it is not JSON, or a number has too many digits; RepeatedName, an object has a name twice.
        RecursionError: it is nested too deep to be written as text, kept and compared wherever that is done.
    """
    value = loads(raw.decode(json.detect_encoding(raw), "surrogatepass"), made)
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MOST_LEVELS):
        members = [member for each in level for member in (each.values() if isinstance(each, dict) else each)]
        level = [member for member in members if isinstance(member, dict | list)]
        if not level:
            return value
    raise RecursionError


def value_or_text(text: str | bytes) -> Any:
    """JSON of a column. What Python cannot read stays text: nested too deep, or a number of more than 4,300 digits.
    Of a name that is twice in an object the last value counts, as in PostgreSQL's jsonb."""
    raw = text.encode() if isinstance(text, str) else text
    try:
        return value_of(raw, None)
    except (ValueError, RecursionError):
        return raw.decode()


def parse_json(raw: bytes, where: str, *, in_file: bool = True) -> Any:
    """
    Args:
        in_file: it is a line of a file, which may have been cut off, and no message of its own.

    Raises:
        SourceError: it is not JSON, or has a name twice in one object; the message says where, and never a value.
    """
    try:
        return value_of(raw)
    except UnicodeDecodeError as error:
        hint = "Write the file as UTF-8." if in_file else "JSON is UTF-8: does the topic hold another format?"
        raise SourceError(f"{where}: byte {error.start + 1} is not UTF-8.", hint=hint) from error
    except RepeatedName as error:
        raise SourceError(f"{where}: {error}.", hint="Leave one of the two out.") from None
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "")
        if not reason:
            what = "nested too deep" if isinstance(error, RecursionError) else "a number has too many digits"
            raise SourceError(f"{where}: no JSON that can be read: {what}.", hint="Correct the row.") from error
        ended = getattr(error, "pos", 0) >= len(raw.rstrip()) or reason.startswith("Unterminated")
        if in_file and ended and not raw.endswith(b"\n"):
            raise SourceError(
                f"{where}: the file ends in the middle of a line.", hint="It was cut off: copy or write it again."
            ) from error
        hint = 'JSON Lines has one object on each line, without a comma behind it: {"id": 1, "name": "…"}'
        raise SourceError(
            f"{where}: no valid JSON: {reason}, column {getattr(error, 'pos', 0) + 1}.", hint=hint if in_file else None
        ) from error
