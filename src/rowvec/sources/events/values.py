"""Values of Kafka Connect's JSON converter as Python's own, by the schema that comes with an event.

What a type means is Debezium's documentation ("Data type mappings" of each connector) and Kafka Connect's
`org.apache.kafka.connect.data`. The results are those that a database driver gives, so that a row has the same text
whichever way it came. A time that Python has not (in the year 20000, say) is text; what else a type cannot say stays as
it was sent.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np

from rowvec.errors import ConfigError
from rowvec.sources.json_values import value_or_text
from rowvec.support.intervals import interval_of
from rowvec.support.suggestions import suggestion
from rowvec.types import ColumnType

Decode: TypeAlias = Callable[[Any], Any]
Schema: TypeAlias = Mapping[str, Any]

_EPOCH = dt.datetime(1970, 1, 1)
_DAY = dt.timedelta(days=1)
_BAD_VALUE = (ValueError, TypeError, ArithmeticError, KeyError, AttributeError)
_FRACTION = re.compile(r"(\.\d{6})\d+")


def column_type(schema: Schema) -> ColumnType:
    """What a column of this schema holds."""
    name = _short_name(schema)
    if name in _LOGICAL:
        return _LOGICAL[name][0]
    return _PLAIN.get(str(schema.get("type")), ColumnType.TEXT)


def decoder(schema: Schema) -> Decode | None:
    """The function from a value as JSON has it, never null, to Python's; None where they are the same."""
    plain = _decoder(schema)
    if plain is None:
        return None

    def decode(value: Any) -> Any:
        try:
            return plain(value)
        except _BAD_VALUE:
            return value

    return decode


def declared_schema(column: str, name: str) -> Schema:
    """The schema of a column whose events carry none, from how a user writes it: `MicroTimestamp` or `Decimal(2)`.

    Raises:
        ConfigError: it is not such a name.
    """
    match = re.fullmatch(r"([A-Za-z.0-9]+)(?:\((\d+)\))?", name.strip())
    word = match[1].rpartition(".")[2] if match else ""
    if match and word in _LOGICAL and (word == "Decimal") == (match[2] is not None):
        return {"type": "", "name": _FULL_NAMES.get(word, word), "parameters": {"scale": match[2]}}
    if match and word.lower() in _PLAIN and match[2] is None:
        return {"type": word.lower()}
    known = [*(f"{each}(2)" if each == "Decimal" else each for each in _LOGICAL), *_PLAIN]
    raise ConfigError(
        f"source.types: {column} = {name!r} is not a type of an event.", hint=suggestion(name, known, limit=40)
    )


def _short_name(schema: Schema) -> str:
    """`Date` is two things: Debezium's and Connect's, with one meaning; `Time` and `Timestamp` too, in milliseconds."""
    name = schema.get("name")
    return name.rpartition(".")[2] if isinstance(name, str) and name.startswith(_NAMESPACES) else ""


def _decoder(schema: Schema) -> Decode | None:
    name = _short_name(schema)
    if name == "Decimal":
        scale = int((schema.get("parameters") or {}).get("scale") or 0)
        return lambda value: _decimal(value, scale)
    if name in _LOGICAL:
        return _LOGICAL[name][1]
    kind = schema.get("type")
    if kind == "bytes":
        return _base64
    if kind == "array":
        inner = decoder(schema.get("items") or {})
        return None if inner is None else lambda value: [None if each is None else inner(each) for each in value]
    if kind == "struct":
        fields = struct_decoders(schema)
        return (lambda value: decode_struct(value, fields)) if fields else None
    return None


def struct_decoders(schema: Schema) -> dict[str, Decode]:
    """The fields of a struct whose values are not what JSON shows."""
    found = {}
    for field in schema.get("fields") or ():
        decode = decoder(field)
        if decode is not None:
            found[field["field"]] = decode
    return found


def decode_struct(value: Mapping[str, Any], decoders: Mapping[str, Decode]) -> dict[str, Any]:
    decoded = dict(value)
    for name, decode in decoders.items():
        if decoded.get(name) is not None:
            decoded[name] = decode(decoded[name])
    return decoded


def _base64(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error


def _decimal(value: Any, scale: int) -> Decimal:
    """Unscaled number in two's complement, big-endian; a converter may be set to send a plain number instead."""
    if isinstance(value, int | float):
        return Decimal(repr(value))
    unscaled = int.from_bytes(_base64(value), "big", signed=True)
    # Built of digits: arithmetic would round to the context's 28.
    return Decimal((unscaled < 0, tuple(map(int, str(abs(unscaled)))), -scale))


def _variable_decimal(value: Mapping[str, Any]) -> Decimal:
    return _decimal(value["value"], int(value["scale"]))


def _moment(unit: int) -> Decode:
    """Units of time in a second -> a time without a zone."""

    def decode(value: int) -> Any:
        try:
            return _EPOCH + dt.timedelta(microseconds=value * 1_000_000 // unit)
        except OverflowError:
            return _far(value, _NUMPY_UNITS[unit])

    return decode


def _far(value: int, unit: str) -> str:
    """A time that Python has not, as its text: the number would be taken for one of another unit.

    Raises:
        OverflowError: NumPy has it not either.
    """
    moment = np.datetime64(value, unit)  # type: ignore[call-overload]
    if np.isnat(moment):
        raise OverflowError
    return str(moment).replace("T", " ")


def _time_of_day(unit: int) -> Decode:
    def decode(value: int) -> Any:
        span = dt.timedelta(microseconds=value * 1_000_000 // unit)
        # MySQL's TIME is a span of up to 838 hours, and may be negative.
        return (_EPOCH + span).time() if dt.timedelta() <= span < _DAY else span

    return decode


def _date(value: int) -> Any:
    try:
        return (_EPOCH + dt.timedelta(days=value)).date()
    except OverflowError:
        return _far(value, "D")


def _iso(value: str) -> str:
    return _FRACTION.sub(r"\1", value)


def _zoned(value: str) -> dt.datetime:
    return dt.datetime.fromisoformat(_iso(value)).astimezone(dt.UTC)


def _iso_date(value: str) -> dt.date:
    return dt.date.fromisoformat(value.removesuffix("Z"))


def _iso_moment(value: str) -> dt.datetime:
    return dt.datetime.fromisoformat(_iso(value)).replace(tzinfo=None)


def _iso_time(value: str) -> dt.time:
    return dt.time.fromisoformat(_iso(value)).replace(tzinfo=None)


def _span(value: int) -> dt.timedelta:
    return dt.timedelta(microseconds=value)


def _interval(value: str) -> Any:
    """A driver gives one without months as a duration, and one with months as its text."""
    found = interval_of(value)
    return str(found) if found.months else found.span


def _same(value: Any) -> Any:
    return value


_NAMESPACES = ("io.debezium.", "org.apache.kafka.connect.data.")
_MILLI, _MICRO, _NANO = 1_000, 1_000_000, 1_000_000_000
_NUMPY_UNITS = {_MILLI: "ms", _MICRO: "us", _NANO: "ns"}

_LOGICAL: dict[str, tuple[ColumnType, Decode]] = {
    "Decimal": (ColumnType.DECIMAL, _same),
    "VariableScaleDecimal": (ColumnType.DECIMAL, _variable_decimal),
    "Date": (ColumnType.DATE, _date),
    "IsoDate": (ColumnType.DATE, _iso_date),
    "Time": (ColumnType.TIME, _time_of_day(_MILLI)),
    "MicroTime": (ColumnType.TIME, _time_of_day(_MICRO)),
    "NanoTime": (ColumnType.TIME, _time_of_day(_NANO)),
    "IsoTime": (ColumnType.TIME, _iso_time),
    "ZonedTime": (ColumnType.TEXT, _same),
    "Timestamp": (ColumnType.TIMESTAMP, _moment(_MILLI)),
    "MicroTimestamp": (ColumnType.TIMESTAMP, _moment(_MICRO)),
    "NanoTimestamp": (ColumnType.TIMESTAMP, _moment(_NANO)),
    "IsoTimestamp": (ColumnType.TIMESTAMP, _iso_moment),
    "ZonedTimestamp": (ColumnType.TIMESTAMP, _zoned),
    "MicroDuration": (ColumnType.INTERVAL, _span),
    "Interval": (ColumnType.INTERVAL, _interval),
    "Year": (ColumnType.INTEGER, _same),
    "Uuid": (ColumnType.UUID, UUID),
    "Json": (ColumnType.JSON, value_or_text),
    "Enum": (ColumnType.TEXT, _same),
    "EnumSet": (ColumnType.TEXT, _same),
    "Xml": (ColumnType.TEXT, _same),
    "Ltree": (ColumnType.TEXT, _same),
    "Bits": (ColumnType.BYTES, _base64),
}
_FULL_NAMES = {name: f"io.debezium.{name}" for name in _LOGICAL}
_PLAIN = {
    "int8": ColumnType.INTEGER,
    "int16": ColumnType.INTEGER,
    "int32": ColumnType.INTEGER,
    "int64": ColumnType.INTEGER,
    "float": ColumnType.NUMBER,
    "float32": ColumnType.NUMBER,
    "float64": ColumnType.NUMBER,
    "double": ColumnType.NUMBER,
    "boolean": ColumnType.BOOLEAN,
    "string": ColumnType.TEXT,
    "bytes": ColumnType.BYTES,
    "array": ColumnType.ARRAY,
    "map": ColumnType.JSON,
    "struct": ColumnType.JSON,
}
