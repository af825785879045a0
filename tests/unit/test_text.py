"""How a row becomes text and a document."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from rowvec.documents.text import Documents, Recipe, build_recipe, metadata_hash
from rowvec.errors import ConfigError, SourceError
from rowvec.types import Column, ColumnType, Document, Row

PRODUCT = [
    Column("product_id", ColumnType.INTEGER),
    Column("name", ColumnType.TEXT),
    Column("vendor_code", ColumnType.TEXT),
    Column("weight", ColumnType.NUMBER),
    Column("length", ColumnType.INTEGER),
    Column("price", ColumnType.DECIMAL),
    Column("is_active", ColumnType.BOOLEAN),
    Column("updated_at", ColumnType.TIMESTAMP),
]
PRODUCT_ROW = {
    "product_id": 7807552,
    "name": "Пневмоподушка (с мет стаканом)",
    "vendor_code": "SABO520067C",
    "weight": 2.5,
    "length": 150,
    "price": Decimal("1250.00"),
    "is_active": True,
    "updated_at": dt.datetime(2024, 5, 1, 12, 30),
}
SAMPLE = [
    Column("id", ColumnType.INTEGER),
    Column("title", ColumnType.TEXT),
    Column("bpm", ColumnType.INTEGER),
    Column("mood", ColumnType.TEXT),
    Column("second_mood", ColumnType.TEXT),
    Column("energy", ColumnType.NUMBER),
    Column("released", ColumnType.DATE),
    Column("loop", ColumnType.BOOLEAN),
]


def product(**changed: Any) -> Row:
    return Row(7807552, {**PRODUCT_ROW, **changed})


def sample(**values: Any) -> Row:
    return Row(1, {**dict.fromkeys(column.name for column in SAMPLE), "id": 1, **values})


def lines(*given: str) -> Recipe:
    return build_recipe(SAMPLE, "id", lines=given)


# --- columns ---


def test_every_column_but_the_key_and_the_excluded_ones_is_said_by_name() -> None:
    recipe = build_recipe(PRODUCT, "product_id", columns="*", exclude=["updated_at"])
    assert recipe.render(product()) == (
        "name: Пневмоподушка (с мет стаканом). vendor_code: SABO520067C. weight: 2.5. length: 150."
        " price: 1250.00. is_active: yes"
    )
    assert recipe.columns == ("name", "vendor_code", "weight", "length", "price", "is_active")


def test_the_key_is_said_when_it_is_named_and_columns_keep_the_order_given() -> None:
    recipe = build_recipe(PRODUCT, "product_id", columns=["vendor_code", "product_id"])
    assert recipe.render(product()) == "vendor_code: SABO520067C. product_id: 7807552"


def test_a_repeated_column_is_said_that_many_times() -> None:
    recipe = build_recipe(PRODUCT, "product_id", columns=["name", "length"], repeat={"name": 3})
    assert recipe.render(product(name="A")) == "name: A. name: A. name: A. length: 150"


@pytest.mark.parametrize("nothing", [None, "", "  \n", "\0", float("nan"), Decimal("nan"), [], {}, [None, ""]])
def test_a_value_that_says_nothing_is_left_out(nothing: Any) -> None:
    recipe = build_recipe(PRODUCT, "product_id", columns=["name", "length"])
    assert recipe.render(product(name=nothing)) == "length: 150"


def test_a_row_of_nothing_has_the_empty_text() -> None:
    recipe = build_recipe(PRODUCT, "product_id", columns=["name", "length"])
    assert recipe.render(product(name=" ", length=None)) == ""


@pytest.mark.parametrize(
    ("kept", "said"), [(1, "yes"), (0, "no"), ("t", "yes"), ("False", "no"), (b"\1", "yes"), (7, "7")]
)
def test_a_boolean_column_says_yes_or_no_however_the_database_keeps_it(kept: Any, said: str) -> None:
    recipe = build_recipe(PRODUCT, "product_id", columns=["is_active"])
    assert recipe.render(product(is_active=kept)) == f"is_active: {said}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": ["nmae"]}, "Did you mean 'name'"),
        ({"columns": "*", "exclude": ["deletd"]}, "no column 'deletd'"),
        ({"columns": ["name"], "repeat": {"price": 2}}, "no column 'price'"),
        ({"columns": ["name"], "repeat": {"name": 0}}, "1 or more"),
        ({"columns": ["name", "name"]}, "twice"),
        ({"columns": "name"}, r'\["name"\]'),
        ({"columns": []}, "leaves no column"),
        ({}, "exactly one of"),
        ({"columns": "*", "template": "{{ name }}"}, "exactly one of"),
        ({"template": "{{ name }}", "exclude": ["price"]}, "go with text.columns"),
    ],
)
def test_wrong_column_settings_say_what_to_do(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_recipe(PRODUCT, "product_id", **settings)


# --- template ---


def test_a_template_weights_by_repeating_and_reads_only_what_it_uses() -> None:
    recipe = build_recipe(
        PRODUCT, "product_id", template="{{ name }} {{ name }} {{ price }}{% if is_active %} new{% endif %}"
    )
    assert recipe.columns == ("name", "price", "is_active")
    assert recipe.render(product(name="A", is_active=1)) == "A A 1250.00 new"


def test_values_in_a_template_follow_the_rule_of_all_values() -> None:
    recipe = build_recipe(PRODUCT, "product_id", template="{{ is_active }}|{{ updated_at }}|{{ weight }}|{{ length }}")
    assert recipe.render(product(is_active=0, weight=None)) == "no|2024-05-01 12:30:00||150"


def test_null_in_a_template_is_empty_in_filters_too_and_still_none() -> None:
    template = "{{ name|upper }}{{ name ~ '' }}{{ name|truncate(3) }}{% if name is none %}none{% endif %}"
    recipe = build_recipe(PRODUCT, "product_id", template=template)
    assert recipe.render(product(name=None)) == "none"
    assert recipe.render(product(name="")) == ""


def test_a_column_may_bear_the_name_of_a_function_of_jinja() -> None:
    recipe = build_recipe(
        [Column("id", ColumnType.INTEGER), Column("range", ColumnType.TEXT)], "id", template="{{ range }}"
    )
    assert recipe.render(Row(1, {"id": 1, "range": "5 km"})) == "5 km"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ nmae }}", "Did you mean 'name'"),
        ("{{ name ", "line 1"),
        ("{{ name|uper }}", "uper"),
        ("{% include 'other' %}{{ name }}", "another template"),
        ("no column", "uses no column"),
    ],
)
def test_a_wrong_template_is_refused_before_any_row_is_read(template: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_recipe(PRODUCT, "product_id", template=template)


def test_a_template_that_fails_on_a_row_names_the_row_and_not_the_value() -> None:
    recipe = build_recipe(PRODUCT, "product_id", template="{{ name.__class__.__mro__ }}{{ name + 1 }}")
    with pytest.raises(SourceError, match="Row 7807552") as caught:
        recipe.render(product(name="hush"))
    assert "hush" not in str(caught.value)


# --- lines ---


def test_labelled_lines_disappear_with_their_values() -> None:
    recipe = lines("Title: {title}", "BPM: {bpm}", "Mood: {mood}, {second_mood}", "Energy: {energy:.2f}")
    assert recipe.render(sample(title="rotary", bpm=103, mood="chill", energy=0.7)) == (
        "Title: rotary\nBPM: 103\nMood: chill\nEnergy: 0.70"
    )
    assert recipe.render(sample(mood="chill", second_mood="dark", energy=" ")) == "Mood: chill, dark"
    assert recipe.render(sample()) == ""


@pytest.mark.parametrize(
    ("line", "both", "first", "second"),
    [
        ("M: {mood}, {second_mood}", "M: a, b", "M: a", "M: b"),
        ("{mood} ({second_mood})", "a (b)", "a", "(b)"),
        ("M: {mood} (or {second_mood})", "M: a (or b)", "M: a", "M: b)"),
        ("M: {mood} kg, {second_mood} cm", "M: a kg, b cm", "M: a kg", "M: b cm"),
        ("{mood} / also {second_mood}", "a / also b", "a", "also b"),
        ("«{mood}» {second_mood}", "«a» b", "«a»", "b"),
        ("{mood}{second_mood}", "ab", "a", "b"),
        ("{{x}} {mood}, {second_mood}", "{x} a, b", "{x} a", "{x} b"),
        ("{mood}-{second_mood}", "a-b", "a", "b"),
    ],
)
def test_what_belongs_to_an_empty_column_goes_with_it(line: str, both: str, first: str, second: str) -> None:
    recipe = lines(line)
    assert recipe.render(sample(mood="a", second_mood="b")) == both
    assert recipe.render(sample(mood="a")) == first
    assert recipe.render(sample(second_mood="b")) == second


def test_the_middle_one_of_three_leaves_no_gap() -> None:
    recipe = lines("{title}, {mood}, {second_mood}")
    assert recipe.render(sample(title="t", second_mood="b")) == "t, b"


@pytest.mark.parametrize(
    ("line", "value", "text"),
    [
        ("{energy:.2f}", "0.7", "0.70"),
        ("{energy:.2f}", 1, "1.00"),
        ("{energy:.1%}", 0.256, "25.6%"),
        ("{title:.1f}", "2.25", "2.2"),
        ("{released:%Y}", "2024-05-01", "2024"),
        ("{released:%d.%m.}", dt.date(2024, 5, 1), "01.05."),
        ("{bpm:,}", 12345, "12,345"),
        ("{loop}", 0, "no"),
    ],
)
def test_a_format_applies_to_the_value_as_its_column_declares_it(line: str, value: Any, text: str) -> None:
    name = line.strip("{}").partition(":")[0]
    assert lines(line).render(sample(**{name: value})) == text


def test_a_value_that_a_format_does_not_take_fails_that_row_without_showing_it() -> None:
    with pytest.raises(SourceError, match="Row 1: column 'energy'") as caught:
        lines("Energy: {energy:.2f}").render(sample(energy="loud"))
    assert "loud" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Title: {titel}", "Did you mean 'title'"),
        ("Title: {title.upper}", "no column"),
        ("Title: {title[0]}", "no column"),
        ("Title: {title!r}", "does not hold a plain column"),
        ("Title: {}", "does not hold a plain column"),
        ("Title: {title:{bpm}}", "does not hold a plain column"),
        ("Title: {title", "expected '}'"),
        ("Title", "it holds no column"),
        ("Energy: {energy:.2q}", "does not take"),
        ("BPM: {bpm:%Y}", "does not take"),
    ],
)
def test_a_wrong_line_is_refused_before_any_row_is_read(line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lines(line)


# --- documents ---


def document(kind: ColumnType, value: Any) -> Document:
    available = [Column("id", ColumnType.INTEGER), Column("name", ColumnType.TEXT), Column("m", kind)]
    documents = Documents(build_recipe(available, "id", columns=["name"]), available[2:])
    return documents(Row(5, {"id": 5, "name": "x", "m": value}))


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        (ColumnType.INTEGER, "12", 12),
        (ColumnType.INTEGER, Decimal("12"), 12),
        (ColumnType.INTEGER, True, 1),
        (ColumnType.NUMBER, Decimal("1.5"), 1.5),
        (ColumnType.DECIMAL, 12.1, Decimal("12.1")),
        (ColumnType.BOOLEAN, 0, False),
        (ColumnType.BOOLEAN, "yes", True),
        (ColumnType.TEXT, "a\0\ud800", "a\ufffd"),
        (ColumnType.TEXT, 12, "12"),
        (ColumnType.TEXT, b"caf\xc3\xa9", "café"),
        (ColumnType.DATE, "2009-12-10T00:00:00Z", dt.date(2009, 12, 10)),
        (ColumnType.DATE, "infinity", None),
        (ColumnType.DATE, "0000-00-00", None),
        (ColumnType.DATE, "0044-03-15 BC", None),
        (ColumnType.DATE, "-5877641-06-23", None),
        (ColumnType.DATE, "", None),
        (ColumnType.TIMESTAMP, "2009-12-10 01:02:03", dt.datetime(2009, 12, 10, 1, 2, 3)),
        (ColumnType.TIMESTAMP, 86400, dt.datetime(1970, 1, 2, tzinfo=dt.UTC)),
        (ColumnType.TIMESTAMP, 1714521600000, dt.datetime(2024, 5, 1, tzinfo=dt.UTC)),
        (ColumnType.TIMESTAMP, "2024-05-01T02:00:00+02:00", dt.datetime(2024, 5, 1, tzinfo=dt.UTC)),
        (ColumnType.TIME, dt.timedelta(hours=12, minutes=30), dt.time(12, 30)),
        (ColumnType.TIME, "12:30", dt.time(12, 30)),
        (ColumnType.UUID, "ABCDEF00000000000000000000000001", UUID("abcdef00-0000-0000-0000-000000000001")),
        (ColumnType.JSON, '{"b":1,"a":[1.5]}', {"a": [1.5], "b": 1}),
        (ColumnType.JSON, {"x": "a\0", "n": Decimal("1.5"), "i": float("nan")}, {"i": None, "n": 1.5, "x": "a"}),
        (ColumnType.JSON, "plain", "plain"),
        (ColumnType.JSON, '{"far": [1e400, -1E+400], "no": NaN}', {"far": [10**400, -(10**400)], "no": None}),
        (ColumnType.JSON, {"far": Decimal("1e400")}, {"far": 10**400}),
        (ColumnType.ARRAY, "[1e400, 1.5]", [10**400, 1.5]),
        (ColumnType.ARRAY, [Decimal("1e5000"), Decimal("1e9999999")], ["1E+5000", "1E+9999999"]),
        (ColumnType.ARRAY, [Decimal("1.5"), dt.date(2024, 5, 1)], [1.5, "2024-05-01"]),
        (ColumnType.ARRAY, "[1,2]", [1, 2]),
        (ColumnType.BYTES, memoryview(b"\xff"), b"\xff"),
        (ColumnType.INTEGER, None, None),
    ],
)
def test_metadata_is_made_what_its_column_declares(kind: ColumnType, value: Any, stored: Any) -> None:
    (found,) = document(kind, value).metadata
    assert found == stored
    assert type(found) is type(stored)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (ColumnType.INTEGER, "hush"),
        (ColumnType.INTEGER, 1.5),
        (ColumnType.INTEGER, 2**63),
        (ColumnType.DECIMAL, "hush"),
        (ColumnType.BOOLEAN, 2),
        (ColumnType.DATE, "hush"),
        (ColumnType.TIMESTAMP, [1]),
        (ColumnType.TIMESTAMP, 1e30),
        (ColumnType.TIME, dt.timedelta(days=2)),
        (ColumnType.UUID, "hush"),
        (ColumnType.UUID, 5),
        (ColumnType.ARRAY, {"hush": 1}),
        (ColumnType.TEXT, b"\xff"),
        (ColumnType.BYTES, 1.5),
    ],
)
def test_metadata_that_is_not_of_its_type_is_null_and_said_without_showing_itself(kind: ColumnType, value: Any) -> None:
    made = document(kind, value)
    assert (made.text, made.metadata) == ("name: x", (None,))
    (unfit,) = made.unfit
    assert unfit.column == "m"
    assert type(value).__name__ in unfit.reason
    assert "hush" not in unfit.reason


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (ColumnType.DATE, "infinity", "outside the years 1 to 9999"),
        (ColumnType.DATE, "0000-00-00", "outside the years 1 to 9999"),
        (ColumnType.TIMESTAMP, "-221-03-15 00:00:00.000", "outside the years 1 to 9999"),
        (ColumnType.TIMESTAMP, "0044-03-15 00:00:00 BC", "outside the years 1 to 9999"),
        (ColumnType.TIMESTAMP, "9999-12-31T23:59:59-05:00", "outside the years 1 to 9999 in UTC"),
        (ColumnType.DATE, "2024-00-10", "not a value of type date"),
        (ColumnType.INTEGER, 2**64 - 1, "more than 64 bits"),
        (ColumnType.TIME, dt.timedelta(hours=26, minutes=30), "not a time of day"),
        (ColumnType.DECIMAL, Decimal("1e200000"), "more digits than a decimal has"),
        (ColumnType.TEXT, b"\xc8", "bytes that are not UTF-8"),
    ],
)
def test_what_a_database_has_and_its_column_has_not_is_null_with_its_reason(
    kind: ColumnType, value: Any, reason: str
) -> None:
    made = document(kind, value)
    assert made.metadata == (None,)
    assert made.unfit[0].reason.startswith(reason)
    assert made.row_hash != document(kind, None).row_hash, (
        "so that the list follows when the value is corrected to null"
    )


def test_metadata_that_fits_has_the_hash_that_it_always_had() -> None:
    assert document(ColumnType.INTEGER, 1).row_hash == metadata_hash([1])
    assert document(ColumnType.DATE, "").unfit == document(ColumnType.JSON, "null").unfit == ()


def test_the_row_hash_covers_the_metadata_and_the_text_hash_the_text() -> None:
    one, other = document(ColumnType.INTEGER, 1), document(ColumnType.INTEGER, 2)
    assert one.text_hash == other.text_hash
    assert one.row_hash != other.row_hash
    assert len(one.text_hash) == len(one.row_hash) == 16


def test_one_moment_has_one_hash_in_whatever_time_zone_it_is_shown() -> None:
    east = dt.datetime(2024, 5, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert (
        document(ColumnType.TIMESTAMP, east).row_hash
        == document(ColumnType.TIMESTAMP, east.astimezone(dt.UTC)).row_hash
    )


def test_hashes_are_the_same_in_every_version() -> None:
    # Stored beside every vector: another value here means that a whole table is embedded again.
    available = [Column("id", ColumnType.INTEGER), Column("name", ColumnType.TEXT)]
    made = Documents(build_recipe(available, "id", columns=["name"]), available)(Row(1, {"id": 1, "name": "Ключ"}))
    assert made.text_hash.hex() == "cdb3c85e48912df1292aad4b262de91b"
    assert made.row_hash.hex() == "a2dddcc57265ad4133c25bba8419cc45"


def test_the_fingerprint_is_that_of_the_settings() -> None:
    def columns(**settings: Any) -> str:
        return build_recipe(PRODUCT, "product_id", columns=["name", "price"], **settings).fingerprint

    assert columns() == columns()
    others = {
        columns(repeat={"name": 2}),
        columns(exclude=["price"]),
        build_recipe(PRODUCT, "product_id", columns=["price", "name"]).fingerprint,
        build_recipe(PRODUCT, "product_id", template="{{ name }}").fingerprint,
        build_recipe(PRODUCT, "product_id", lines=["{name}"]).fingerprint,
    }
    assert len(others | {columns()}) == 6


@pytest.mark.parametrize("value", ["infinity", "-infinity", "0044-03-15 BC"])
def test_a_date_outside_the_calendar_is_said_as_it_is_written_whatever_the_format(value: str) -> None:
    recipe = build_recipe([Column("id", ColumnType.INTEGER), Column("d", ColumnType.DATE)], "id", lines=["{d:%Y-%m}"])
    assert recipe.render(Row(1, {"d": value})) == value


def test_a_nul_within_a_list_reaches_no_text() -> None:
    recipe = build_recipe([Column("id", ColumnType.INTEGER), Column("t", ColumnType.ARRAY)], "id", columns="*")
    assert recipe.render(Row(1, {"t": ["a\0b", "c"]})) == "t: ab, c"
