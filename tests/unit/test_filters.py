"""What a filter may say, what it means, and what it answers to one that is wrong."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from rowvec.errors import SearchError
from rowvec.filters import And, Compare, Filter, Not, Op, Or, bind, from_json, matches, parse, render, to_json
from rowvec.types import Column, ColumnType

COLUMNS = [Column(kind.value, kind) for kind in ColumnType] + [
    Column("price", ColumnType.INTEGER),
    Column("supplier", ColumnType.TEXT),
    Column("discontinued", ColumnType.BOOLEAN),
    Column("and", ColumnType.INTEGER),
    Column("list price", ColumnType.NUMBER),
]
CHEAP = Compare("price", Op.LT, 100)
HP = Compare("supplier", Op.EQ, "HP")

SAME = [
    ("price < 100", {"price": {"<": 100}}, CHEAP),
    ("price < 100 and supplier = 'HP'", {"price": {"<": 100}, "supplier": "HP"}, And((CHEAP, HP))),
    ("price < 100 or supplier = 'HP'", {"or": [{"price": {"lt": 100}}, {"supplier": {"eq": "HP"}}]}, Or((CHEAP, HP))),
    ("not (price < 100 or supplier = 'HP')", {"not": {"or": [{"price": {"<": 100}}, {"supplier": "HP"}]}},
     Not(Or((CHEAP, HP)))),
    ("supplier in ('HP', 'Canon')", {"supplier": ["HP", "Canon"]}, Compare("supplier", Op.IN, ("HP", "Canon"))),
    ("supplier in ()", {"supplier": []}, Compare("supplier", Op.IN, ())),
    ("supplier not in ('HP')", {"not": {"supplier": {"in": ["HP"]}}}, Not(Compare("supplier", Op.IN, ("HP",)))),
    ("price between 1 and 9", {"price": {"between": [1, 9]}}, Compare("price", Op.BETWEEN, (1, 9))),
    ("price >= 1 and price < 100", {"price": {"gte": 1, "<": 100}}, And((Compare("price", Op.GE, 1), CHEAP))),
    ("supplier is null", {"supplier": None}, Compare("supplier", Op.IS_NULL)),
    ("supplier = null", {"supplier": {"is_null": True}}, Compare("supplier", Op.IS_NULL)),
    ("supplier is not null", {"supplier": {"is null": False}}, Not(Compare("supplier", Op.IS_NULL))),
    ("supplier != null", {"supplier": {"ne": None}}, Not(Compare("supplier", Op.IS_NULL))),
    ("supplier contains 'ano'", {"supplier": {"contains": "ano"}}, Compare("supplier", Op.CONTAINS, "ano")),
    ("discontinued", {"discontinued": True}, Compare("discontinued", Op.EQ, True)),
    ("NOT discontinued", {"not": {"discontinued": True}}, Not(Compare("discontinued", Op.EQ, True))),
    ("price <> -1.5e3", {"price": {"!=": -1500.0}}, Compare("price", Op.NE, -1500.0)),
    ("supplier = 'it''s'", {"supplier": "it's"}, Compare("supplier", Op.EQ, "it's")),
    ('"and" = 3', {'"and"': 3}, Compare("and", Op.EQ, 3)),
    ('"list price" < 2.5', {"list price": {"<": 2.5}}, Compare("list price", Op.LT, 2.5)),
    ("true", {}, And(())),
    ("false", {"or": []}, Or(())),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "json", "tree"), SAME, ids=[expression for expression, _, _ in SAME])
def test_an_expression_and_its_json_are_the_same_filter(expression: str, json: Any, tree: Filter) -> None:
    assert parse(expression) == tree
    assert from_json(json) == tree
    assert parse(render(tree)) == tree
    assert from_json(to_json(tree)) == tree


def test_and_binds_tighter_than_or_and_not_tightest() -> None:
    assert parse("not a and b or c") == Or((And((Not(parse("a")), parse("b"))), parse("c")))
    assert parse("not (a and (b or c))") == Not(And((parse("a"), Or((parse("b"), parse("c"))))))


@pytest.mark.parametrize("name", ["and", "or", "not", "in", "lt", "is_null", '"', 'a "b"', "", "<", "price%", '"x"'])
def test_a_column_may_have_any_name(name: str) -> None:
    where = Compare(name, Op.EQ, 1)
    assert parse(render(where)) == where
    assert from_json(to_json(where)) == where


@pytest.mark.parametrize(
    ("expression", "caret_under", "said"),
    [
        ("price << 100", "< 100", "expected a value"),
        ("price < ", "", "the filter ends here"),
        ("price < 100 supplier", "supplier", "expected `and`, `or` or the end"),
        ("price similar 'x'", "similar", "expected an operator"),
        ("(price < 100", "", "expected `)`"),
        ("price in 100", "100", "expected `(`"),
        ("price in (1 2)", "2)", "expected `,` or `)`"),
        ("price between 1, 2", ", 2", "expected `and`"),
        ("price = 'HP", "'HP", "never closed"),
        ("price = 1; drop table x", "; drop", "unexpected ';'"),
        ("price == 1", "= 1", "Equality has one sign"),
        ("price > 1 && price < 3", "&&", "joined by `and`"),
        ("price > 1 || price < 3", "||", "joined by `or`"),
        ("!(price > 1)", "!(", "negated by `not`"),
        ("and = 3", "and", "expected a column"),
        ("100 > price", "100", "expected a column"),
        ("supplier = HP", "HP", "Text is written 'HP'"),
        ('supplier = "HP"', '"HP"', "Text is written 'HP'"),
        ("date = 2024-05-01", "2024", "write '2024-05-01'"),
        ("supplier = 006R90321", "006R", "write '006R90321'"),
        ("x = 1 and " * 30 + "price << 100", "< 100", "..."),
    ],
)
def test_an_expression_that_cannot_be_read_shows_the_place(expression: str, caret_under: str, said: str) -> None:
    with pytest.raises(SearchError) as caught:
        parse(expression)
    shown, caret = caught.value.message.splitlines()[1:3]
    assert shown[caret.index("^") :].startswith(caret_under)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "expected an object, found a list"),
        (None, "expected an object, found null"),
        ("price < 3", "expected an object, found the text 'price < 3'"),
        ({"price": {}}, "at price: there is no operator"),
        ({"price": {"<<": 3}}, "there is no operator '<<'"),
        ({"price": {"<": [3]}}, "at price.<: expected one value"),
        ({"price": {"in": 3}}, "at price.in: expected a list"),
        ({"price": {"between": [1]}}, "has 1 values"),
        ({"price": {"is_null": 1}}, "expected true or false"),
        ({"price": [1, None]}, "null"),
        ({"price": [[1]]}, "a list where one value belongs"),
        ({"and": {"price": 3}}, "expected a list of filters"),
        ({"or": [{"price": 3}, 4]}, r"at or\[1\]: expected an object"),
        ({3: 4}, "expected the name of a column"),
        ({"price": float("nan")}, "NaN"),
        ({"price": float("inf")}, "infinite"),
        ({"price": 10**400}, "too large"),
        ({"supplier": "a\0b"}, "NUL"),
        ({"supplier": "\ud800"}, "surrogate"),
        ({"supplier": "x" * 10_001}, "10,001 characters"),
        ({"supplier": ["x"] * 1_001}, "1,001 values"),
        ({"or": [{"supplier": ["x"] * 1_000}] * 11}, "10,000 values in all"),
        ({"and": [{"price": 1}] * 201}, "200 conditions"),
        ({"and": [{}] * 201}, "200 conditions"),
    ],
)
def test_json_that_is_no_filter_is_refused_with_its_place(value: Any, said: str) -> None:
    with pytest.raises(SearchError, match=said):
        from_json(value)


@pytest.mark.parametrize("depth", [21, 5_000])
def test_a_filter_that_is_nested_too_deep_is_refused_and_overflows_nothing(depth: int) -> None:
    nested: Any = {"price": 1}
    tree: Filter = CHEAP
    for _ in range(depth):
        nested, tree = {"not": nested}, Not(tree)
    for attempt in (
        lambda: from_json(nested),
        lambda: bind(tree, COLUMNS),
        lambda: parse("not " * depth + "price = 1"),
        lambda: parse("(" * depth + "price = 1" + ")" * depth),
    ):
        with pytest.raises(SearchError, match="nested more than 20 deep"):
            attempt()


def test_twenty_levels_are_allowed() -> None:
    tree: Filter = CHEAP
    for _ in range(10):
        tree = Not(And((HP, tree)))
    assert parse(render(tree)) == tree
    assert from_json(to_json(tree)) == tree
    assert matches(bind(tree, COLUMNS), {"price": 5, "supplier": "HP"}) is True


# Binding


@pytest.mark.parametrize(
    ("column", "given", "bound"),
    [
        ("integer", 5, 5),
        ("integer", 5.0, 5),
        ("number", 5, 5.0),
        ("number", Decimal("0.1"), 0.1),
        ("decimal", 0.1, Decimal("0.1")),
        ("decimal", "12345678901234567.89", Decimal("12345678901234567.89")),
        ("boolean", True, True),
        ("text", "5", "5"),
        ("date", "2024-05-01", dt.date(2024, 5, 1)),
        ("time", "12:30", dt.time(12, 30)),
        ("timestamp", "2024-05-01", dt.datetime(2024, 5, 1, tzinfo=dt.UTC)),
        ("timestamp", "2024-05-01T12:00:00+02:00", dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC)),
        ("timestamp", dt.date(2024, 5, 1), dt.datetime(2024, 5, 1, tzinfo=dt.UTC)),
        ("uuid", "6F1C2F0E-8A55-4A53-9D0C-0D1F4A3B2C1D", UUID("6f1c2f0e-8a55-4a53-9d0c-0d1f4a3b2c1d")),
    ],
)
def test_a_value_becomes_one_of_the_columns_type(column: str, given: Any, bound: Any) -> None:
    once = bind(Compare(column, Op.EQ, given), COLUMNS)
    assert isinstance(once, Compare)
    assert once.value == bound
    assert type(once.value) is type(bound)
    assert once.type == column
    assert bind(once, COLUMNS) == once
    assert bind(from_json(json.loads(json.dumps(to_json(Compare(column, Op.EQ, given))))), COLUMNS) == once


@pytest.mark.parametrize(
    ("column", "given", "said"),
    [
        ("integer", "12", "holds integer values; the text '12' is not one"),
        ("integer", True, "the boolean true"),
        ("integer", 1.5, "a fraction, which no integer equals"),
        ("integer", 2**63, "more than 64 bits"),
        ("number", "cheap", "holds number values; the text 'cheap' is not one"),
        ("decimal", "cheap", "holds decimal values"),
        ("decimal", Decimal("1e999999"), "more than 300 digits"),
        ("integer", Decimal("1e999999"), "more than 300 digits"),
        ("decimal", "NaN", "not a finite number"),
        ("decimal", "1_0", "not written as a number"),
        ("decimal", "\u0665", "not written as a number"),
        ("timestamp", "2024-05-01x12:00", "not written as a date or time"),
        ("uuid", "6f1c2f0e-8a55-4a53-9d0c-0d1f4a3b2c_d", "not written as a UUID"),
        ("boolean", 1, "Write true or false"),
        ("boolean", "true", "Write true or false"),
        ("text", 5, "holds text values; the integer 5 is not one"),
        ("date", "2024-13-01", "month must be in 1..12"),
        ("date", "2024-05-01T10:00", "holds date values"),
        ("date", dt.datetime(2024, 5, 1, tzinfo=dt.UTC), "the timestamp 2024-05-01"),
        ("time", "12:30+02:00", "offset"),
        ("timestamp", "yesterday", "such as '2024-05-01'"),
        ("timestamp", 1714521600, "the integer 1714521600"),
        ("timestamp", "0001-01-01T00:00:00+10:00", "is not one"),
        ("uuid", "123", "holds uuid values"),
    ],
)
def test_a_value_of_another_type_is_refused_with_both_named(column: str, given: Any, said: str) -> None:
    with pytest.raises(SearchError) as caught:
        bind(Compare(column, Op.EQ, given), COLUMNS)
    assert said in str(caught.value)
    assert column in str(caught.value)


def test_a_fraction_may_bound_an_integer() -> None:
    assert matches(bind(parse("price < 99.5"), COLUMNS), {"price": 99})
    assert not matches(bind(parse("price < 99.5"), COLUMNS), {"price": 100})


@pytest.mark.parametrize(
    "expression",
    [
        "boolean < true",
        "uuid > 'x'",
        "json = 'x'",
        "array in ('x')",
        "bytes = 'x'",
        "number contains 1",
        "date contains '2'",
    ],
)
def test_an_operator_that_does_not_suit_the_type_is_refused_with_those_that_do(expression: str) -> None:
    with pytest.raises(SearchError, match="does not suit") as caught:
        bind(parse(expression), COLUMNS)
    assert "is null" in str(caught.value.hint)


@pytest.mark.parametrize(("name", "nearest"), [("prise", "price"), ("PRICE", "price"), ("suplier", "supplier")])
def test_an_unknown_column_is_answered_with_the_nearest_name(name: str, nearest: str) -> None:
    with pytest.raises(SearchError, match=f"no metadata column '{name}'") as caught:
        bind(Not(Compare(name, Op.IS_NULL)), COLUMNS)
    assert caught.value.hint == f"Did you mean {nearest!r}?"


def test_without_a_near_name_all_columns_are_named() -> None:
    with pytest.raises(SearchError, match="no metadata column 'zzz'") as caught:
        bind(parse("zzz = 1"), COLUMNS)
    assert "supplier" in str(caught.value.hint)
    assert "It cannot be the key: let source.query give it under another name" in str(caught.value.hint)


@pytest.mark.parametrize("where", ["id = 5", "price < 9 and not (id in (1, 2) or id is null)"])
def test_the_key_is_no_column_to_filter_by_and_its_near_names_are_not_offered(where: str) -> None:
    columns = [*COLUMNS, Column("ids", ColumnType.INTEGER)]
    with pytest.raises(SearchError, match="A filter cannot use the key 'id'") as caught:
        bind(parse(where), columns, "id")
    assert "under another name" in str(caught.value.hint)
    assert bind(parse("ids = 5"), columns, "id")
    # A column of that name is a column.
    assert bind(parse("id = 5"), [*columns, Column("id", ColumnType.INTEGER)], "id")


def test_a_long_substring_is_refused_and_a_long_array_member_is_not() -> None:
    with pytest.raises(SearchError, match="1,001 characters; the maximum is 1,000"):
        bind(Compare("text", Op.CONTAINS, "x" * 1_001), COLUMNS)
    bind(Compare("array", Op.CONTAINS, "x" * 1_001), COLUMNS)


def test_a_message_stays_short_however_long_the_input() -> None:
    for expression in (
        "x" * 9_000 + " = 1",
        f"price = '{'x' * 9_000}'",
        f"date = '{'x' * 9_000}'",
        "price " + "x" * 9_000,
    ):
        with pytest.raises(SearchError) as caught:
            bind(parse(expression), [Column("price", ColumnType.INTEGER), Column("date", ColumnType.DATE)])
        assert len(str(caught.value)) < 500


def test_a_message_can_be_printed_whatever_the_input() -> None:
    wild = "a\ud800\nb\x1b[31m"
    attempts = [
        lambda: parse(f"price = 1 '{wild}'"),
        lambda: parse(f'price = "{wild}"'),
        lambda: parse(f'"{wild}" in (null)'),
        lambda: from_json({"and": [{wild: {}}]}),
        lambda: from_json({wild: {wild: 1}}),
        lambda: bind(from_json({wild: 1}), COLUMNS),
        lambda: bind(from_json({"date": "a\nb\x1b"}), COLUMNS),
    ]
    for attempt in attempts:
        with pytest.raises(SearchError) as caught:
            attempt()
        assert str(caught.value).replace("\n  ", "").isprintable(), repr(caught.value)


# Meaning


@pytest.mark.parametrize(
    "expression",
    ["price = 5", "price != 5", "not price = 5", "price in (5)", "price not in (5)", "price between 1 and 9",
     "not price < 9 and true", "supplier contains 'x'", "not array contains 1"],
)  # fmt: skip
def test_a_null_is_found_by_no_comparison_nor_its_negation(expression: str) -> None:
    assert not matches(bind(parse(expression), COLUMNS), {"price": None, "supplier": None, "array": None})


@pytest.mark.parametrize(
    "expression",
    ["price is null", "price = null", "price != 5 or price is null", "not false", "not (price = 5 and false)",
     "price = 5 or true", "price not in ()"],
)  # fmt: skip
def test_a_null_is_found_by_what_does_not_depend_on_it(expression: str) -> None:
    assert matches(bind(parse(expression), COLUMNS), {"price": None})


@pytest.mark.parametrize(
    ("expression", "values", "found"),
    [
        ("text contains 'HOME'", {"text": "At home"}, True),
        ("text contains 'привет'", {"text": "ПРИВЕТ, мир"}, True),
        ("text contains '%'", {"text": "full"}, False),
        ("text contains '.'", {"text": "full"}, False),
        ("text contains '[a]'", {"text": "x[A]y"}, True),
        ("text contains ''", {"text": ""}, True),
        ("text = 'HP'", {"text": "hp"}, False),
        ("text < 'a'", {"text": "Z"}, True),
        ("array contains 'red'", {"array": ["red", "blue"]}, True),
        ("array contains 'Red'", {"array": ["red", "blue"]}, False),
        ("array contains 1", {"array": [True]}, False),
        ("array contains true", {"array": [1]}, False),
        ("array contains 1", {"array": [1.0]}, True),
        ("json contains 'a'", {"json": {"a": "a"}}, False),
        ("json contains 'a'", {"json": "a"}, False),
        ("json contains 'a'", {"json": ["a"]}, True),
        ("not json contains 'a'", {"json": "a"}, True),
        ("timestamp = '2024-05-01T10:00Z'", {"timestamp": dt.datetime(2024, 5, 1, 10)}, True),
        ("number > 0", {"number": float("nan")}, False),
        ("number is null", {"number": float("nan")}, True),
    ],
)
def test_what_a_filter_finds(expression: str, values: dict[str, Any], found: bool) -> None:
    assert matches(bind(parse(expression), COLUMNS), values) is found


def test_a_filter_that_is_not_bound_has_no_meaning() -> None:
    with pytest.raises(TypeError, match="bind"):
        matches(CHEAP, {"price": 5})


@pytest.mark.parametrize("text", ['{"price": {"<": 10}, "price": {">": 5}}', '{"and": [{"price": {"<": 10, "<": 9}}]}'])
def test_a_filter_in_json_that_has_a_name_twice_is_refused(text: str) -> None:
    """The last one would count, and rows that the first one excludes would be hits."""
    with pytest.raises(SearchError, match="twice in one object"):
        parse(text)


@pytest.mark.parametrize("text", ["12345678901234567890.5", "0.1234567890123456789", "9007199254740993.0"])
def test_a_decimal_keeps_every_digit_of_a_number_in_a_filter(text: str) -> None:
    for written in (f"decimal = {text}", f'{{"decimal": {text}}}'):
        bound = bind(parse(written), COLUMNS)
        assert matches(bound, {"decimal": Decimal(text)})
        assert not matches(bound, {"decimal": Decimal(repr(float(text)))})
        assert bind(parse(render(bound)), COLUMNS) == bound
        assert bind(parse(render(parse(written))), COLUMNS) == bound
    assert matches(bind(parse(f"number = {text}"), COLUMNS), {"number": float(text)})
    inside = bind(parse(f"json.inside = {text}"), COLUMNS)
    assert matches(inside, {"json": {"inside": Decimal(text)}})
    assert matches(bind(parse(render(inside)), COLUMNS), {"json": {"inside": Decimal(text)}})
    assert matches(bind(parse(f"array contains {text}"), COLUMNS), {"array": ["one", Decimal(text)]})
    assert matches(bind(parse("integer = 9007199254740993.0"), COLUMNS), {"integer": 9007199254740993})


@pytest.mark.parametrize(
    "text", ["1234567890123456789", "1234567890123456768", "9007199254740993", "-9223372036854775807"]
)
def test_a_whole_number_inside_json_is_compared_to_its_last_digit(text: str) -> None:
    number = int(text)
    for column in ("json.id = {}", "json.id in (5, {})", "json.id between {0} and {0}", "not json.id != {}"):
        bound = bind(parse(column.format(text)), COLUMNS)
        assert matches(bound, {"json": {"id": number}})
        assert not matches(bound, {"json": {"id": number + 1}})
        assert not matches(bound, {"json": {"id": number - 1}})
        assert bind(parse(render(bound)), COLUMNS) == bound
