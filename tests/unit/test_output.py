"""What the commands print."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import pytest
from rich.text import Text

from rowvec.cli import output
from rowvec.cli.hits import marked
from rowvec.serve.replies import json_reply, numbers
from rowvec.types import FoundPassage


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def test_what_json_does_not_know_is_said_so_that_it_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    values = {
        "nan": math.nan,
        "far": [math.inf, -math.inf],
        "day": dt.date(2026, 2, 3),
        "price": Decimal("1.5"),
        "b": b"\x01",
    }
    output.print_json(values)
    said = json.loads(capsys.readouterr().out, parse_constant=_refused)
    assert said == {"nan": None, "far": [None, None], "day": "2026-02-03", "price": 1.5, "b": "01"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("12345678901234567890.123456789", "12345678901234567890.123456789"),
        ("-0.1234567890123456789", "-0.1234567890123456789"),
        ("19.99", 19.99),
        ("5.500000000", 5.5),
        ("9007199254740993", "9007199254740993"),
        ("1E+400", "1E+400"),
        ("NaN", None),
    ],
)
def test_a_decimal_is_never_rounded(value: str, said: Any, capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"price": Decimal(value)})
    assert json.loads(capsys.readouterr().out, parse_constant=_refused) == {"price": said}
    assert json.loads(bytes(json_reply(numbers({"price": Decimal(value)})).body)) == {"price": said}


NASTY = "\x1b]0;title\x07red\x9b31m\nsecond line"


def test_a_value_does_not_steer_the_terminal_nor_break_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["id", "name"], [(1, NASTY), (2, Text(NASTY)), (3, output.clip(NASTY, 80))])
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 4
    assert all(letter.isprintable() for letter in said.replace("\n", ""))


def test_the_marks_of_a_passage_stay_where_they_are_beside_control_characters() -> None:
    mark = (len(NASTY) + 1, len(NASTY) + 5)
    shown = marked(FoundPassage(f"{NASTY} word", 0, mark[1], None, (mark,)), 320)
    assert all(letter.isprintable() for letter in shown.plain)
    assert [shown.plain[span.start : span.end] for span in shown.spans if span.style] == ["word"]
