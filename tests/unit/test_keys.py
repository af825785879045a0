"""Keys from text: what rowvec wrote itself, and what a user writes."""

from __future__ import annotations

from uuid import UUID

import pytest

from rowvec.cli.sync import selection
from rowvec.sources.base import Selection
from rowvec.support.keys import key_of, parse_key
from rowvec.types import ColumnType, Key

ONE = UUID("9d0e4f52-8a7c-4e61-b1c5-2f6a7c3d9e10")


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (ColumnType.INTEGER, -(2**63)),
        (ColumnType.INTEGER, 2**63 - 1),
        (ColumnType.UUID, ONE),
        (ColumnType.TEXT, " 7 "),
        (ColumnType.TEXT, ""),
    ],
)
def test_a_key_comes_back_from_its_text(kind: ColumnType, key: Key) -> None:
    assert key_of(str(key), kind) == key
    assert parse_key(str(key), kind) == key


def test_an_integer_that_a_database_gives_is_one_already() -> None:
    assert key_of(7, ColumnType.INTEGER) == 7


@pytest.mark.parametrize("text", ["", " 7", "+7", "7.0", "1_000", "٣", "0x10", "seven", "--7"])
def test_what_is_not_an_integer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an integer"):
        parse_key(text, ColumnType.INTEGER)


@pytest.mark.parametrize("text", [str(2**63), "-" + "9" * 31, "1" * 10_000])
def test_an_integer_of_more_than_64_bits_is_told_apart(text: str) -> None:
    with pytest.raises(OverflowError):
        parse_key(text, ColumnType.INTEGER)


WHOLE = "6f1c2f0e-8a55-4a53-9d0c-0d1f4a3b2c1d"


@pytest.mark.parametrize(
    "text",
    ["7", WHOLE.replace("f1c", "_1c"), f" {WHOLE[1:]}", f"+{WHOLE[1:]}", WHOLE[:-1] + "\u0663", "0x" + WHOLE[2:]],
)
def test_what_is_not_a_uuid_is_refused(text: str) -> None:
    """Python's own parser takes an underscore, a blank and a sign for a missing digit, and so for another key."""
    with pytest.raises(ValueError, match="not written as a UUID"):
        parse_key(text, ColumnType.UUID)


@pytest.mark.parametrize("text", [WHOLE, WHOLE.upper(), WHOLE.replace("-", ""), f"{{{WHOLE}}}", f"urn:uuid:{WHOLE}"])
def test_every_form_of_a_uuid_is_read(text: str) -> None:
    assert parse_key(text, ColumnType.UUID) == UUID(WHOLE)


@pytest.mark.parametrize(
    ("written", "keys"),
    [
        ("a, b,,c", ("a", "b", "c")),
        ('"a,b", c', ("a,b", "c")),
        ('5" pipe,"say ""hi"""', ('5" pipe', 'say "hi"')),
        ("a\nb\n", ("a", "b")),
    ],
)
def test_keys_are_written_as_in_csv(written: str, keys: tuple[str, ...]) -> None:
    assert selection(written, ColumnType.TEXT) == Selection(keys)
