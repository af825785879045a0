"""What a value says as text, whichever database it comes from:

| value | text |
|---|---|
| null, NaN, an empty list or object | nothing |
| string | itself, without the white space at its ends |
| boolean | `yes` or `no` |
| integer | its digits |
| decimal | its digits as the database keeps them, never an exponent: `1250.00` |
| float | the shortest digits that give the same float of its own size: `2.5`, and `19.99` for a 32-bit float |
| infinite number | `infinity`, `-infinity` |
| date, time | ISO 8601: `2024-05-01`, `12:30:00` |
| timestamp | both with a space between, and its UTC offset if it has one: `2024-05-01 12:30:00+00:00` |
| interval | `1 day 02:03:04`, `-00:30:00`; with months as PostgreSQL writes it: `1 year 2 mons` |
| UUID | lower case with hyphens |
| JSON object, list with lists or objects in it | JSON, compact, keys sorted, letters not escaped |
| list, set | its values with `, ` between; a set in sorted order |
| bytes | the UTF-8 text they are; nothing where they are not, or hold a NUL |
| anything else | `str(value)` |

A string that the database hands over is text, even where it holds JSON or a date.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np

RENDERING = 5
"""The number of these rules. Whoever changes what text a value gives raises it: the plan of every pipeline then says
"rendering rules changed", and what that costs, where it would say "text changed"."""
_NUL = "\\u0000"


def clean(text: str) -> str:
    """`text` as every database takes it: NUL characters removed, lone surrogates replaced by U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # By way of UTF-16, so that two surrogates which make up a character become that character.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def shown(value: Any) -> str:
    """The text of a value by the rule above, "" where it says nothing. Not cleaned yet."""
    return SHOWERS[type(value)](value)


def shortest(value: np.floating[Any]) -> float:
    """The float whose digits are the fewest that give `value` again in its own precision: 19.99, not 19.98999977."""
    return float(str(value))


def without_nul(value: Any) -> Any:
    """The same value without NUL characters, in lists and objects too."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, Mapping):
        return {without_nul(name): without_nul(member) for name, member in value.items()}
    return type(value)(map(without_nul, value)) if type(value) in (list, tuple, set, frozenset) else value


def as_json(value: Any) -> str:
    text = _dumped(value)
    return _dumped(without_nul(value)) if _NUL in text else text


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=shown)


def _other(value: Any) -> str:
    return str(value).strip()


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _float(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "" if value != value else "infinity" if value > 0 else "-infinity"


def _decimal(value: Decimal) -> str:
    return format(value, "f") if value.is_finite() else _float(float(value)) if value.is_infinite() else ""


def _interval(value: dt.timedelta) -> str:
    if value < dt.timedelta():
        return "-" + _interval(-value)
    clock = (dt.datetime.min + dt.timedelta(0, value.seconds, value.microseconds)).time().isoformat()
    return f"{value.days} day{'s' * (value.days != 1)} {clock}" if value.days else clock


def _bytes(value: bytes | bytearray | memoryview) -> str:
    raw = bytes(value)
    if b"\0" in raw:
        return ""
    try:
        return raw.decode().strip()
    except UnicodeDecodeError:
        return ""


def _object(value: Mapping[str, Any]) -> str:
    return as_json(value) if value else ""


def _listed(values: list[Any] | tuple[Any, ...]) -> str:
    if any(isinstance(value, dict | list | tuple) for value in values):
        return as_json(values)
    return ", ".join(filter(None, map(shown, values)))


def _set(values: AbstractSet[Any]) -> str:
    return ", ".join(filter(None, sorted(map(shown, values))))


class _Showers(dict[type, Callable[[Any], str]]):
    """A class that is not listed is shown as the first listed one it is derived from."""

    def __missing__(self, kind: type) -> Callable[[Any], str]:
        self[kind] = show = next((show for base, show in list(self.items()) if issubclass(kind, base)), _other)
        return show


# A class stands before the class it is derived from: bool before int, datetime before date.
SHOWERS = _Showers(
    {
        str: str.strip,
        type(None): lambda value: "",
        bool: _yes_no,
        int: str,
        float: _float,
        np.floating: lambda value: _float(shortest(value)),
        np.bool_: lambda value: _yes_no(bool(value)),
        Decimal: _decimal,
        dt.datetime: lambda value: value.isoformat(" "),
        dt.date: dt.date.isoformat,
        dt.time: dt.time.isoformat,
        dt.timedelta: _interval,
        UUID: str,
        dict: _object,
        list: _listed,
        tuple: _listed,
        set: _set,
        frozenset: _set,
        bytes: _bytes,
        bytearray: _bytes,
        memoryview: _bytes,
    }
)
