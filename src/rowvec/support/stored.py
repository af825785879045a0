"""Reading what an older or a newer rowvec has kept: what is not known is left out, what is missing has its default."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, TypeVar, cast, get_type_hints

T = TypeVar("T")
_EMPTY: dict[Any, Any] = {str: "", int: 0, float: 0.0, bool: False, dict: {}}


def from_json(kind: type[T], said: Any) -> T:
    """A dataclass from a JSON object, or from the text of one.

    A field that the class does not know is left out. One that is missing, or of another type than the class declares,
    has its default; where it has none, an empty value of its type.

    Raises:
        ValueError: it is not an object.
    """
    values = json.loads(said) if isinstance(said, str | bytes) else said
    if not isinstance(values, Mapping):
        raise ValueError(f"a JSON object was expected, not {type(values).__name__}")
    chosen = {}
    for name, hint, needed in _shape(cast(Any, kind)):
        if name in values and _fits(values[name], hint):
            chosen[name] = values[name]
        elif needed:
            chosen[name] = _EMPTY.get(hint)
    return kind(**chosen)


@cache
def _shape(kind: Any) -> list[tuple[str, Any, bool]]:
    """Name and type of each field, and whether it has no default. To read types out of annotations takes long."""
    hints = get_type_hints(kind)
    return [
        (field.name, hints[field.name], field.default is MISSING and field.default_factory is MISSING)
        for field in fields(kind)
    ]


def _fits(value: Any, hint: Any) -> bool:
    allowed = getattr(hint, "__args__", (hint,)) if not hasattr(hint, "__origin__") else (hint.__origin__,)
    if isinstance(value, bool) and bool not in allowed:
        return False
    if isinstance(value, int) and float in allowed:
        return True
    return any(isinstance(value, each) for each in allowed if isinstance(each, type))


def json_object(text: Any) -> dict[str, Any]:
    """The JSON object in a text, or given as such; an empty one where it is none."""
    try:
        found = json.loads(text) if isinstance(text, str | bytes) else text
    except ValueError:
        return {}
    return dict(found) if isinstance(found, Mapping) else {}


def moment(text: Any) -> dt.datetime | None:
    """The time that a text in ISO 8601 names, in UTC where it names no zone; None if it is none."""
    try:
        found = dt.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def with_format(text: str, number: int) -> str:
    """A word that is kept, with the number of the format of what it speaks of."""
    return f"{text}, format {number}"


def format_of(text: str) -> tuple[str, int]:
    """The word and the number of `with_format`; the first format where there is none."""
    word, comma, number = text.rpartition(", format ")
    return (word, int(number)) if comma and number.isdecimal() else (text, 1)
