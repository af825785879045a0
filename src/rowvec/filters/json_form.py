"""Filters as JSON: `{"price": {"<": 100}, "supplier": ["HP", "Canon"], "discontinued": false}`.

| JSON | means |
|---|---|
| `{"a": 1, "b": 2}` | both; `{}` is every row |
| `{"a": 1}`, `{"a": [1, 2]}`, `{"a": null}` | equal, one of, is null |
| `{"a": {">=": 1, "<": 9}}` | each of these; an operator as a sign or as a word: `gte`, `lt` |
| `{"a": {"between": [1, 9]}}`, `{"a": {"contains": "x"}}` | lowest and highest included; see `rowvec.filters` |
| `{"a": {"~=": "x"}}`, `{"a": {"ieq": "x"}}` | equal but for the case of letters |
| `{"a": {"is_null": false}}` | is not null |
| `{"a.b": 1}`, `{"a.\\"b.c\\".5": 1}` | inside the JSON column `a`: see `rowvec.filters.paths` |
| `{"and": [...]}`, `{"or": [...]}`, `{"not": {...}}` | of filters |

Operators stand only inside a column's object, so that a column may have any name; those named `and`, `or` and `not` are
written as in an expression, in double quotes of their own: `{"\\"and\\"": 1}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rowvec.errors import SearchError
from rowvec.filters.paths import quoted, reference
from rowvec.filters.tree import And, Compare, Filter, Not, Op, Or, check, check_depth, comparison
from rowvec.filters.values import clipped, described, printable

_LOGIC = ("and", "or", "not")
_WORDS: dict[str, Op] = {
    **{op.value: op for op in Op},
    "eq": Op.EQ,
    "ieq": Op.SAME,
    "ne": Op.NE,
    "lt": Op.LT,
    "lte": Op.LE,
    "gt": Op.GT,
    "gte": Op.GE,
    "is_null": Op.IS_NULL,
}


def from_json(value: Any) -> Filter:
    """The filter that parsed JSON says. Bind it before it is used.

    Raises:
        SearchError: it is not a filter (the message says where), or it exceeds the limits.
    """
    where = _filter(value, "", 0)
    check(where)
    return where


def _fail(path: str, message: str, hint: str | None = None) -> SearchError:
    return SearchError(
        f"The filter cannot be read{f' at {printable(path, 200)}' if path else ''}: {message}", hint=hint
    )


def _filter(value: Any, path: str, depth: int) -> Filter:
    check_depth(depth)
    if not isinstance(value, Mapping):
        raise _fail(path, f"expected an object, found {described(value)}.", 'Write {"column": value}.')
    parts = tuple(_entry(key, inner, f"{path}.{key}".lstrip("."), depth) for key, inner in value.items())
    return parts[0] if len(parts) == 1 else And(parts)


def _entry(key: Any, value: Any, path: str, depth: int) -> Filter:
    if not isinstance(key, str):
        raise _fail(path, f"expected the name of a column, found {described(key)}.")
    if key == "not":
        return Not(_filter(value, path, depth + 1))
    if key in ("and", "or"):
        if not isinstance(value, list | tuple):
            hint = f'A column of this name is written "\\"{key}\\"".'
            raise _fail(path, f"expected a list of filters, found {described(value)}.", hint)
        parts = tuple(_filter(part, f"{path}[{at}]", depth + 1) for at, part in enumerate(value))
        if len(parts) == 1:
            return parts[0]
        return And(parts) if key == "and" else Or(parts)
    return _column(reference(key), value, path)


def _column(column: str, value: Any, path: str) -> Filter:
    if isinstance(value, list | tuple):
        return _comparison(column, Op.IN, value, path)
    if not isinstance(value, Mapping):
        return _comparison(column, Op.EQ, value, path)
    if not value:
        raise _fail(path, "there is no operator in the object.", f"Operators are: {', '.join(_WORDS)}.")
    parts = []
    for word, operand in value.items():
        if word not in _WORDS:
            raise _fail(path, f"there is no operator {clipped(word)}.", f"Operators are: {', '.join(_WORDS)}.")
        parts.append(_comparison(column, _WORDS[word], operand, f"{path}.{word}"))
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _comparison(column: str, op: Op, value: Any, path: str) -> Filter:
    if op is Op.IS_NULL:
        if not isinstance(value, bool):
            raise _fail(path, f"expected true or false, found {described(value)}.")
        return Compare(column, op) if value else Not(Compare(column, op))
    listed = isinstance(value, list | tuple)
    if op in (Op.IN, Op.BETWEEN):
        if not listed:
            raise _fail(path, f"expected a list of values, found {described(value)}.")
        value = tuple(value)
    elif listed or isinstance(value, Mapping):
        raise _fail(path, f"expected one value, found {described(value)}.")
    return comparison(column, op, value)


def to_json(where: Filter) -> dict[str, Any]:
    """The JSON that `from_json` reads as this filter. Dates, UUIDs and decimals with more digits than a float
    has are text in it, until bound again."""
    match where:
        case And(()):
            return {}
        case And((part,)) | Or((part,)):
            return to_json(part)
        case And(parts):
            return {"and": [to_json(part) for part in parts]}
        case Or(parts):
            return {"or": [to_json(part) for part in parts]}
        case Not(Compare(op=Op.IS_NULL) as part):
            return {_key(part.name): {"is_null": False}}
        case Not(part):
            return {"not": to_json(part)}
        case Compare(op=Op.IS_NULL):
            return {_key(where.name): None}
        case Compare(op=Op.IN | Op.BETWEEN as op):
            return {_key(where.name): {op.value: [_scalar(value, where) for value in where.value]}}
        case Compare(op=op):
            return {_key(where.name): {op.value: _scalar(where.value, where)}}


def _key(column: str) -> str:
    return column if column not in _LOGIC and reference(column) == column else quoted(column)


def _scalar(value: Any, where: Compare) -> str | int | float | bool:
    if isinstance(value, Decimal) and value.is_finite():
        # A column of floats takes no text. One of decimals takes both, and only a text has more digits than a float.
        number = float(value)
        if Decimal(repr(number)) == value:
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
        if where.path:
            # Inside JSON a text is compared with texts.
            return number
    return value if isinstance(value, str | int | float) else str(value)
