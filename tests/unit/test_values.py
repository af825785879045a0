"""What a value says as text."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from rowvec.documents.conversion import CONVERSION_ERRORS, converter, key_converter
from rowvec.documents.values import clean, shown, without_nul
from rowvec.support.decimals import dumps, loads
from rowvec.types import ColumnType


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("1250.00"), "1250.00"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-7"), "0.0000001"),
        (Decimal("-Infinity"), "-infinity"),
        (2.5, "2.5"),
        (0.1, "0.1"),
        (float("inf"), "infinity"),
        (True, "yes"),
        (-3, "-3"),
        (dt.date(2024, 5, 1), "2024-05-01"),
        (dt.datetime(2024, 5, 1, 12, 30), "2024-05-01 12:30:00"),
        (dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2024-05-01 12:30:00+02:00"),
        (dt.time(12, 30), "12:30:00"),
        (dt.timedelta(days=1, hours=2, minutes=3, seconds=4), "1 day 02:03:04"),
        (dt.timedelta(minutes=-30), "-00:30:00"),
        (dt.timedelta(days=3), "3 days 00:00:00"),
        (UUID("ABCDEF00-0000-0000-0000-000000000001"), "abcdef00-0000-0000-0000-000000000001"),
        ({"b": 1, "a": ["é", Decimal("1.50")]}, '{"a":["é","1.50"],"b":1}'),
        (["x", None, 2.5, True], "x, 2.5, yes"),
        ([["x"], {"y": 1}], '[["x"],{"y":1}]'),
        ({"b", "a"}, "a, b"),
        (b" caf\xc3\xa9 ", "café"),
        (b"\xff\xfe", ""),
        (b"a\0b", ""),
        (memoryview(b"abc"), "abc"),
        ("  x ", "x"),
    ],
)
def test_each_kind_of_value_has_one_text(value: Any, text: str) -> None:
    assert shown(value) == text


def test_text_is_what_every_database_takes() -> None:
    assert clean("a\0b") == "ab"
    assert clean("x\ud800y") == "x\ufffdy"
    assert clean("\ud83d\ude00") == "😀"
    assert clean("\ufeffé") == "\ufeffé"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(19.99), "19.99"),
        (np.float16(0.1), "0.1"),
        (np.float32("nan"), ""),
        (np.float32("inf"), "infinity"),
        (["a\0b", "c"], "a\0b, c"),
        ({"a": ["x\0y"]}, '{"a":["xy"]}'),
    ],
)
def test_small_floats_have_their_own_digits_and_json_has_no_nul(value: object, text: str) -> None:
    assert shown(value) == text


def test_without_nul_reaches_into_lists_and_objects() -> None:
    assert without_nul({"a\0": ["b\0", ("c\0", 1)]}) == {"a": ["b", ("c", 1)]}


@pytest.mark.parametrize("value", ["1_0", "007", "+5", "٣", True, 5.5])
def test_an_integer_key_is_written_as_the_integer_it_is(value: object) -> None:
    with pytest.raises(CONVERSION_ERRORS):
        key_converter(ColumnType.INTEGER)(value)


@pytest.mark.parametrize("kind", [ColumnType.INTEGER, ColumnType.NUMBER, ColumnType.DECIMAL])
def test_what_only_python_writes_as_a_number_is_none(kind: ColumnType) -> None:
    with pytest.raises(CONVERSION_ERRORS):
        converter(kind)("1_0")


def test_json_keeps_every_digit() -> None:
    convert = converter(ColumnType.JSON)
    assert convert({"n": 2**70, "d": Decimal("0.5")}) == {"d": 0.5, "n": 2**70}
    assert convert('{"average": 4.333333333333333}') == {"average": 4.333333333333333}
    assert convert([Decimal("0.5"), Decimal("4.000")]) == [0.5, 4.0]
    for text in (
        "4.3333333333333333",
        "0.33333333333333333333",
        "1e-400",
        "12345678901234567890.5",
        "12345678901234567.5",
    ):
        for value in (Decimal(text), f'{{"n": [{text}]}}'):
            found = convert(value)
            (number,) = found["n"] if isinstance(found, dict) else [found]
            assert (type(number), number) == (Decimal, Decimal(text))
            assert loads(dumps(found)) == found
    assert convert(Decimal(2**70 + 1)) == 2**70 + 1


@pytest.mark.parametrize("text", ['"', "\\", "\\u0000", '"\\u0000"', '\\"\\u0000\\"', "ü 🙂", '", "\\u0000'])
def test_a_number_of_json_takes_the_place_of_no_text(text: str) -> None:
    value = {text: [text, Decimal("0.12345678901234567891"), text], "n": Decimal("12345678901234567890.5")}
    assert loads(dumps(value)) == value
    assert json.loads(dumps(value))[text][1] == 0.12345678901234568


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (2460432.5, dt.datetime(2024, 5, 2, tzinfo=dt.UTC)),
        (2460431.916666667, dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC)),
        (2440587.5, dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
        (1721425.5, dt.datetime(1, 1, 1, tzinfo=dt.UTC)),
        (5373484.499999, dt.datetime(9999, 12, 31, 23, 59, 59, 914000, tzinfo=dt.UTC)),
        (2678400, dt.datetime(1970, 2, 1, tzinfo=dt.UTC)),
        (1714557600.5, dt.datetime(2024, 5, 1, 10, 0, 0, 500000, tzinfo=dt.UTC)),
        (1714557600123, dt.datetime(2024, 5, 1, 10, 0, 0, 123000, tzinfo=dt.UTC)),
        (0.0, dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
    ],
)
def test_a_number_for_a_time_is_unix_time_or_a_julian_day(value: float, moment: dt.datetime) -> None:
    """As SQLite keeps times: julianday() gives a REAL, unixepoch() an INTEGER."""
    assert converter(ColumnType.TIMESTAMP)(value) == moment
    assert converter(ColumnType.DATE)(value) == moment.date()
