"""What is said of a filter that finds nothing, where it is about missing values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rowvec.errors import SearchError
from rowvec.filters import advice, bind, from_json, parse
from rowvec.searcher import SearchResult
from rowvec.searcher.result import advised, without_parts
from rowvec.types import Column, ColumnType

COLUMNS = [Column("name", ColumnType.TEXT), Column("price", ColumnType.NUMBER), Column("a b", ColumnType.TEXT)]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("name = 'null'", "write `name is null`"),
        ("price > 3 and name = 'None'", "write `name is null`"),
        ("name in ('NULL', 'x')", "write `name is null`"),
        ("\"a b\" = 'nil'", 'write `"a b" is null`'),
        ("name is null", "write `name = ''`"),
        ("name = null", "write `name = ''`"),
    ],
)
def test_who_asks_for_missing_values_in_another_way_is_told_the_way(where: str, said: str) -> None:
    assert said in str(advice(bind(parse(where), COLUMNS)))


def test_so_is_who_asks_in_json() -> None:
    assert "write `name is null`" in str(advice(bind(from_json({"name": "null"}), COLUMNS)))


@pytest.mark.parametrize(
    "where",
    [
        "name = 'x'",
        "price is null",
        "name contains 'null'",
        "name != 'null'",
        "name is not null",
        "not name is null",
        "not name = 'null'",
        "price > 5 and not (name = 'null' and price < 7)",
        "name = 'null' or price > 5",
        "name is null or price > 5",
        "price > 5 and (name = 'null' or price < 7)",
    ],
)
def test_other_filters_get_no_advice(where: str) -> None:
    assert advice(bind(parse(where), COLUMNS)) is None
    assert advice(None) is None


def test_advice_claims_nothing_of_rows_that_another_condition_or_a_query_may_exclude() -> None:
    said = str(advice(bind(parse("name is null and price > 5"), COLUMNS)))
    assert "Rows may have one" in said
    assert "No row" not in said


def test_no_advice_where_rows_pass_the_filter_or_parts_of_the_store_are_missing() -> None:
    where = bind(parse("name = 'null'"), COLUMNS)
    nothing = SearchResult([], exact=True, complete=True)
    assert advised(nothing, where).advice is not None
    for result in (without_parts(nothing, [2]), replace(nothing, total=3)):
        assert advised(result, where).advice is None


def test_every_advice_is_a_filter_that_can_be_read() -> None:
    for where in ("name = 'null'", '"a b" is null'):
        said = str(advice(bind(parse(where), COLUMNS)))
        bind(parse(said.rsplit("write `", 1)[1].partition("`")[0]), COLUMNS)


@pytest.mark.parametrize("where", ["name = none", "name = nil", "name = None", "name = undefined", "name is none"])
def test_names_of_null_that_cannot_be_read_say_how_it_is_written(where: str) -> None:
    with pytest.raises(SearchError) as caught:
        parse(where)
    assert "is null`" in str(caught.value.hint)
