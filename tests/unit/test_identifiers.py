"""Names that PostgreSQL would cut after 63 bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rowvec.support.identifiers import LONGEST, clipped, shortened


@given(st.text(min_size=1, max_size=80), st.sampled_from(["", "__postings", "__documents"]))
def test_a_name_fits_and_keeps_its_suffix(name: str, suffix: str) -> None:
    made = shortened(name, suffix)
    assert len(made.encode()) <= LONGEST
    assert made.endswith(suffix)
    if len((name + suffix).encode()) <= LONGEST:
        assert made == name + suffix


@given(st.text(alphabet="aя", min_size=60, max_size=70), st.text(alphabet="aя", min_size=60, max_size=70))
def test_two_names_that_begin_alike_stay_two(one: str, other: str) -> None:
    if one != other:
        assert shortened("a" * 60 + one) != shortened("a" * 60 + other)


def test_names_that_stores_hold_already_are_made_as_before() -> None:
    assert shortened("я" * 40) == "яяяяяяяяяяяяяяяяяяяяяяяяяяя_1fcf8730"
    assert shortened("orders_" * 9, "__postings") == "orders_orders_orders_orders_orders_orders_or_1271e23d__postings"


def test_a_name_is_cut_between_two_characters() -> None:
    assert clipped("aя", 2) == "a"
    assert clipped("aя", 3) == "aя"
