"""What SQLite reads out of the two values of a statement is what the rows hold, to the last bit."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Any

import libsql
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rowvec.stores.libsql import new_rows
from rowvec.stores.libsql.new_rows import LeftOut, NewRows

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False)
VALUES = st.one_of(st.none(), INTEGERS, TEXTS, FLOATS)


def read(new: NewRows, columns: str) -> list[tuple[Any, ...]]:
    connection = libsql.connect(":memory:", isolation_level=None)
    rows: list[tuple[Any, ...]] = []
    for sql, values in new.statements(f"select {columns} from new"):
        rows += connection.execute(sql, values).fetchall()
    connection.close()
    return rows


def exact(values: Iterable[Any]) -> list[Any]:
    """Values as they are compared: 1 is not 1.0."""
    return [struct.pack("<d", value + 0.0) if isinstance(value, float) else value for value in values]


@given(st.lists(st.tuples(VALUES, VALUES, st.one_of(st.none(), st.binary(max_size=5))), min_size=1, max_size=8))
@example([(0.1, 2**53 + 1, b""), (9.99, -(2**63), None), (5e-324, 'a "b" \\ \u2028\x01\x7f', b"\0")])
@example([(1e-5, 2**63 - 1, None), (1.7976931348623157e308, "", None), (-math.inf, "null", None)])
def test_every_value_comes_as_it_is(rows: list[tuple[Any, ...]]) -> None:
    new = NewRows(["a", "b", "c"], rows)
    told = {(place, name): value for place, name, value in new.left_out}
    wanted = [
        [None if (place, name) in told else value for name, value in zip("abc", row, strict=True)]
        for place, row in enumerate(rows)
    ]
    assert [exact(row) for row in read(new, "a, b, c")] == [exact(row) for row in wanted]
    assert all(value == rows[place]["abc".index(name)] for (place, name), value in told.items())


@given(st.floats(min_value=1e-20, max_value=4e18) | st.floats(min_value=-4e18, max_value=-1e-20))
def test_usual_floats_are_not_left_out(value: float) -> None:
    new = NewRows(["a"], [(value,)])
    assert new.left_out == []
    assert read(new, "a") == [(value,)]


def test_what_is_left_out_is_named() -> None:
    assert NewRows(["a"], [(1.5,), (1e300,), (1e-40,)]).left_out == [LeftOut(1, "a", 1e300), LeftOut(2, "a", 1e-40)]


def test_packed_columns_belong_to_their_rows() -> None:
    data = [part for row in range(1200) for part in (row.to_bytes(2, "big"), row.to_bytes(3, "big"))]
    new = NewRows(["k"], [(row,) for row in range(1200)], {"one": 2, "two": 3}, data)
    assert read(new, "k, one, two") == [(r, r.to_bytes(2, "big"), r.to_bytes(3, "big")) for r in range(1200)]


def test_long_rows_are_parted_so_that_each_fits_into_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_rows, "BYTES", 1000)
    rows = [(number, "x" * 400) for number in range(9)] + [(9, "x" * 5000)]
    new = NewRows(["k", "t"], rows, {"h": 1}, [bytes([number]) for number in range(10)])
    sizes = [len(told) + len(data) for _, (told, data) in new.statements("select 1")]
    assert max(sizes[:-1]) <= 1000
    assert read(new, "k, t, h") == [(*row, bytes([row[0]])) for row in rows]


def test_a_value_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="another length"):
        NewRows(["k"], [(1,), (2,)], {"h": 16}, [bytes(16), bytes(15)]).statements("select 1")
