"""What the commands print."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

import pytest
from rich.console import Console
from rich.text import Text

from rowvec.cli import output
from rowvec.cli.hits import marked
from rowvec.serve.replies import json_reply, numbers
from rowvec.types import FoundPassage

Screen: TypeAlias = Callable[..., list[str]]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """What is printed, as lines of a terminal without colours."""

    def shown(printing: Callable[[], None], width: int, *, terminal: bool = True) -> list[str]:
        file = io.StringIO()
        console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
        monkeypatch.setattr(output, "out", console)
        printing()
        return file.getvalue().splitlines()

    return shown


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


@pytest.mark.parametrize(
    ("value", "piped", "seen"),
    [
        (40.95, "40.95", "40.95"),
        (Decimal("1190.0000"), "1190", "1190"),
        (Decimal("1190"), "1190", "1190"),
        (Decimal("250000"), "250000", "250,000"),
        (Decimal("0"), "0", "0"),
        (2024, "2024", "2024"),
        (-1234567.25, "-1234567.25", "-1,234,567.25"),
        (100.0, "100", "100"),
        (0.0000012, "1.2e-06", "1.2e-06"),
        (-0.0, "0", "0"),
        (Decimal("1E+400"), "1E+400", "1E+400"),
        (math.nan, "nan", "nan"),
        (True, "yes", "yes"),
        (None, "-", "-"),
    ],
)
def test_a_value_of_a_row_is_as_people_write_it(
    value: Any, piped: str, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for terminal, said in ((False, piped), (True, seen)):
        monkeypatch.setattr(output, "out", Console(force_terminal=terminal))
        assert output.value(value) == said


SENTENCE = "  Set embedder.model to another model, which knows the language that these rows are in."
TOKEN = "eyJ" + "a" * 90


@pytest.mark.parametrize(("width", "lines"), [(60, 2), (40, 3), (120, 1)])
def test_a_sentence_is_broken_between_words_on_a_terminal(width: int, lines: int, screen: Screen) -> None:
    said = screen(lambda: output.line(SENTENCE), width)
    assert len(said) == lines
    assert all(len(each) <= width and each.startswith("  ") for each in said)
    assert " ".join(" ".join(said).split()) == SENTENCE.strip()


def test_what_somebody_copies_and_what_a_pipe_gets_is_one_line(screen: Screen) -> None:
    assert screen(lambda: output.line(TOKEN), 60) == [TOKEN]
    assert screen(lambda: output.hanging(Text("OK  "), TOKEN), 60) == [f"OK  {TOKEN}"]
    assert screen(lambda: output.line(SENTENCE), 40, terminal=False) == [SENTENCE]


def test_a_line_of_check_goes_on_below_its_beginning(screen: Screen) -> None:
    said = screen(lambda: output.hanging(Text("OK     model     "), SENTENCE.strip()), 60)
    assert said[0].startswith("OK     model     Set embedder.model")
    assert len(said) == 2
    assert all(each.startswith(" " * 17) and len(each) <= 60 for each in said[1:])


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
