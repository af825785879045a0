"""What every store promises of metadata, filters and searches."""

from __future__ import annotations

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import numpy as np
import pytest

from rowvec.errors import SearchError
from rowvec.filters import And, Compare, Filter, Not, Op, Or, bind, from_json, matches, parse, to_json
from rowvec.stores.base import Store
from rowvec.stores.typical import SAMPLED
from rowvec.testing.contract.samples import (
    DIMENSION,
    SPEC,
    WHEN,
    Opener,
    document,
    entry,
    hashed,
    rows,
    vector_of,
    write,
)
from rowvec.types import (
    Column,
    ColumnType,
    Entry,
    Vector,
    WriteBatch,
)

# Metadata

ALL_TYPES = (
    Column("stock", ColumnType.INTEGER),
    Column("price", ColumnType.NUMBER),
    Column("cost", ColumnType.DECIMAL),
    Column("active", ColumnType.BOOLEAN),
    Column("label", ColumnType.TEXT),
    Column("day", ColumnType.DATE),
    Column("opens", ColumnType.TIME),
    Column("seen", ColumnType.TIMESTAMP),
    Column("takes", ColumnType.INTERVAL),
    Column("ref", ColumnType.UUID),
    Column("extra", ColumnType.JSON),
    Column("tags", ColumnType.ARRAY),
    Column("blob", ColumnType.BYTES),
)
VALUES = (
    2**40 + 1,
    2.5,
    Decimal("12.50"),
    True,
    "naïve 'quoted' 😀",
    dt.date(2026, 2, 28),
    dt.time(9, 30),
    WHEN,
    "1 year 2 mons -3 days +04:05:06.5",
    UUID(int=77),
    {"size": [1, 2], "ß": None},
    ["red", "blå"],
    b"\x00\xff",
)


def test_metadata_of_every_type_comes_back_as_it_was(opened: Opener) -> None:
    spec = replace(SPEC, metadata=ALL_TYPES)
    store = opened(spec)
    write(store, entry(1, "lamp", *VALUES), entry(2, "chair", *[None] * len(VALUES)), spec=spec)
    names = [column.name for column in ALL_TYPES]
    assert rows(store, spec).metadata([1, 2, 3]) == {
        1: dict(zip(names, VALUES, strict=True)),
        2: dict.fromkeys(names),
    }


FILTERED = {
    1: (5, 9.5, Decimal("0.10"), True, "red lamp", dt.date(2026, 1, 1), ["red", "sale"]),
    2: (0, 20.0, Decimal("10.00"), False, "blue lamp", dt.date(2026, 2, 1), ["blue"]),
    3: (7, 100.25, Decimal("9.90"), True, "Red chair", dt.date(2025, 12, 31), []),
    4: (None, None, None, None, None, None, None),
    5: (2**40, -1.0, Decimal("-3"), False, "100%_off", dt.date(2026, 1, 1), ["sale", "red", "%"]),
}
FILTER_COLUMNS = tuple(
    column for column in ALL_TYPES if column.name in ("stock", "price", "cost", "active", "label", "day", "tags")
)
RED, CHEAP = Compare("label", Op.CONTAINS, "red"), Compare("price", Op.LT, 20)
FILTERS: list[Filter] = [
    Compare("stock", Op.EQ, 0),
    Compare("stock", Op.EQ, 2**40),
    Compare("stock", Op.NE, 5),
    CHEAP,
    Compare("price", Op.LE, 20.0),
    Compare("price", Op.GT, Decimal("9.5")),
    Compare("price", Op.GE, 9.5),
    Compare("cost", Op.GT, 9),
    Compare("cost", Op.BETWEEN, (Decimal("0.1"), 10)),
    Compare("cost", Op.EQ, Decimal("10")),
    Compare("cost", Op.IN, (Decimal("9.9"), -3)),
    Compare("active", Op.EQ, True),
    Compare("active", Op.NE, True),
    Compare("label", Op.EQ, "red lamp"),
    Compare("label", Op.EQ, "' or 1=1 --"),
    Compare("label", Op.IN, ("red lamp", "100%_off", "nothing")),
    Compare("label", Op.IS_NULL),
    RED,
    Compare("label", Op.CONTAINS, "%_"),
    Compare("day", Op.BETWEEN, (dt.date(2026, 1, 1), dt.date(2026, 1, 31))),
    Compare("day", Op.GE, dt.date(2026, 1, 1)),
    Compare("tags", Op.CONTAINS, "sale"),
    Compare("tags", Op.CONTAINS, "%"),
    Not(Compare("tags", Op.CONTAINS, "sale")),
    Not(CHEAP),
    Not(Not(CHEAP)),
    Not(Compare("price", Op.IS_NULL)),
    And((RED, CHEAP)),
    Or((RED, Compare("stock", Op.EQ, 0))),
    And((Or((RED, Compare("active", Op.EQ, False))), Not(Compare("stock", Op.IN, (0, 5))))),
    Not(And((RED, CHEAP))),
    Not(Or((RED, CHEAP))),
]


@pytest.mark.parametrize("where", FILTERS, ids=str)
def test_a_filter_passes_the_rows_that_sql_would(opened: Opener, where: Filter) -> None:
    spec = replace(SPEC, metadata=FILTER_COLUMNS)
    store = opened(spec)
    write(store, *(entry(key, f"thing {key}", *values) for key, values in FILTERED.items()), spec=spec)
    names = [column.name for column in FILTER_COLUMNS]
    bound = bind(where, FILTER_COLUMNS)
    expected = {key for key, values in FILTERED.items() if matches(bound, dict(zip(names, values, strict=True)))}
    ranked = rows(store, spec).nearest(vector_of("query"), 10, bound)
    assert set(ranked.keys) == expected
    assert ranked.complete
    assert set(rows(store, spec).keyword("thing", 10, bound).keys) == expected


SPANS = {1: "2 days", 2: "26:00:00", 3: "10 days", 4: None, 5: "1 mon", 6: "30 days", 7: "-1 days +02:00:00"}
TAKES = (Column("takes", ColumnType.INTERVAL),)
LONGER: list[tuple[Compare, set[int]]] = [
    (Compare("takes", Op.GT, "2 days"), {3, 5, 6}),
    (Compare("takes", Op.BETWEEN, ("1 hour", "2 days")), {1, 2}),
    (Compare("takes", Op.EQ, "P30D"), {5, 6}),
    (Compare("takes", Op.IN, ("1 day 2 hours", dt.timedelta(days=10))), {2, 3}),
    (Compare("takes", Op.NE, "1 month"), {1, 2, 3, 7}),
    (Compare("takes", Op.LT, "0 s"), {7}),
    (Compare("takes", Op.IS_NULL), {4}),
]


@pytest.mark.parametrize(("where", "found"), LONGER, ids=str)
def test_durations_are_compared_by_how_long_they_are(opened: Opener, where: Compare, found: set[int]) -> None:
    spec = replace(SPEC, metadata=TAKES)
    store = opened(spec)
    write(store, *(entry(key, f"thing {key}", span) for key, span in SPANS.items()), spec=spec)
    bound = bind(where, TAKES)
    assert {key for key, span in SPANS.items() if matches(bound, {"takes": span})} == found
    assert set(rows(store, spec).nearest(vector_of("query"), 10, bound).keys) == found
    assert rows(store, spec).metadata([5])[5] == {"takes": "1 mon"}


NAMES = {
    1: "Müller",
    2: "MÜLLER",
    3: "müller@A.de",
    4: None,
    5: "straße",
    6: "STRASSE",
    7: "hp_1",
    8: "HP_1",
    9: "hpx1",
}
OWNER = (Column("owner", ColumnType.TEXT, ignores_case=True),)
ANY_CASE: list[tuple[Filter, set[int]]] = [
    (Compare("owner", Op.EQ, "mÜller"), {1, 2}),
    (Compare("owner", Op.EQ, "Hp_1"), {7, 8}),
    (Compare("owner", Op.NE, "HP_1"), {1, 2, 3, 5, 6, 9}),
    (Not(Compare("owner", Op.EQ, "MÜLLER")), {3, 5, 6, 7, 8, 9}),
    (Compare("owner", Op.IN, ("MÜLLER@a.DE", "Hp_1", "STRAßE")), {3, 5, 7, 8}),
    (Not(Compare("owner", Op.IN, ("ÄÖ", "straSSe"))), {1, 2, 3, 5, 7, 8, 9}),
    (Compare("owner", Op.BETWEEN, ("H", "i")), {7, 8, 9}),
    (Compare("owner", Op.LT, "HP_1"), set()),
    (Compare("owner", Op.GE, "S"), {5, 6}),
    (Compare("owner", Op.LIKE, "mü%"), {1, 2, 3}),
    (Compare("owner", Op.CONTAINS, "P_"), {7, 8}),
    (Compare("owner", Op.IS_NULL), {4}),
]


@pytest.mark.parametrize(("where", "found"), ANY_CASE, ids=str)
def test_a_column_that_ignores_case_is_filtered_without_it(opened: Opener, where: Filter, found: set[int]) -> None:
    spec = replace(SPEC, metadata=OWNER)
    store = opened(spec)
    write(store, *(entry(key, f"thing {key}", name) for key, name in NAMES.items()), spec=spec)
    bound = bind(where, OWNER)
    assert {key for key, name in NAMES.items() if matches(bound, {"owner": name})} == found
    assert set(rows(store, spec).nearest(vector_of("query"), 10, bound).keys) == found
    assert rows(store, spec).metadata([2])[2] == {"owner": "MÜLLER"}


ATTRS = (Column("attrs", ColumnType.JSON), Column("label", ColumnType.TEXT))
INSIDE: dict[int, tuple[object, str | None]] = {
    1: ({"color": "red", "size": 5, "a.b": {"2024": True}, 'q"uote': "x", "tags": ["red", 1]}, "HP"),
    2: ({"color": "RED", "size": "5", "größe 😀": 1.5, "back\\slash": {"new\nline": "y"}}, "hp"),
    3: ({"color": None, "size": 7, "tags": "red", "a": {"b": 1}}, "Straße"),
    4: (None, None),
    5: ([{"color": "red"}], "STRASSE"),
    6: ("red", "Ärzte"),
    7: ({"$": 0, "[0]": 1, "-1": 2, "color": {"red": "red"}, "": 3}, "ÄRZTE"),
}
PATHS: list[tuple[str, set[int]]] = [
    ("attrs.color = 'red'", {1}),
    ("attrs.color ~= 'Red'", {1, 2}),
    ("not attrs.color ~= 'Red'", set()),
    ("attrs.color != 'blue'", {1, 2}),
    ("attrs.size > 4", {1, 3}),
    ("attrs.size = '5'", {2}),
    ("attrs.size = 5", {1}),
    ("attrs.size is null", {4, 5, 6, 7}),
    ("attrs.color is null", {3, 4, 5, 6}),
    ('attrs."a.b".2024', {1}),
    ('attrs."a.b"."2024" = true', {1}),
    ("attrs.a.b = 1", {3}),
    ('attrs."q""uote" = \'x\'', {1}),
    ('attrs."größe 😀" between 1 and 2', {2}),
    ("attrs.\"back\\slash\".\"new\nline\" in ('y', 'z')", {2}),
    ("attrs.tags contains 'red'", {1}),
    ("attrs.tags contains 1", {1}),
    ("attrs.tags contains true", set()),
    ('attrs."$" = 0 and attrs."[0]" = 1 and attrs."-1" = 2', {7}),
    ("attrs.0 is not null", set()),
    ("attrs.color.red like 'R%'", {7}),
    ("label ~= 'hP'", {1, 2}),
    ("label ~= 'ärzte'", {6, 7}),
    ("label ~= 'STRAßE'", {3}),
    ("not label ~= 'HP'", {3, 5, 6, 7}),
    ("label ~= 'h_' or label ~= '%'", set()),
]


def test_a_filter_reaches_into_json_and_ignores_case_where_it_is_asked_to(opened: Opener) -> None:
    spec = replace(SPEC, metadata=ATTRS)
    store = opened(spec)
    write(store, *(entry(key, f"thing {key}", *values) for key, values in INSIDE.items()), spec=spec)
    names = [column.name for column in ATTRS]
    held = {key: dict(zip(names, values, strict=True)) for key, values in INSIDE.items()}
    for text, found in PATHS:
        for where in (parse(text), from_json(to_json(parse(text)))):
            bound = bind(where, ATTRS)
            assert {key for key, values in held.items() if matches(bound, values)} == found, text
            assert set(rows(store, spec).nearest(vector_of("query"), 10, bound).keys) == found, text
            assert set(rows(store, spec).keyword("thing", 10, bound).keys) == found, text


# Searching


def similarity(metric: str, one: Vector, two: Vector) -> float:
    one, two = one.astype(np.float64), two.astype(np.float64)
    if metric == "l2":
        return -float(np.linalg.norm(one - two))
    return float(one @ two / (np.linalg.norm(one) * np.linalg.norm(two) if metric == "cosine" else 1.0))


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_the_nearest_rows_come_in_the_order_of_the_metric(opened: Opener, metric: str) -> None:
    store = opened(SPEC, metric)
    rng = np.random.default_rng(3)
    vectors = (rng.standard_normal((50, DIMENSION)) * rng.uniform(0.2, 5.0, (50, 1))).astype(np.float32)
    rows(store).write(WriteBatch([Entry(document(key, f"item {key}"), vectors[key], None) for key in range(50)]))
    query = rng.standard_normal(DIMENSION).astype(np.float32)
    scores = {key: similarity(metric, vectors[key], query) for key in range(50)}
    best = sorted(scores, key=lambda key: -scores[key])[:10]
    ranked = rows(store).nearest(query, 10, exact=True)
    assert list(ranked.keys) == best
    assert ranked.scores == pytest.approx([scores[key] for key in best], abs=1e-4)
    assert (ranked.exact, ranked.complete) == (True, True)


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_rows_can_be_asked_for_the_scores_that_a_search_gives_them(opened: Opener, metric: str) -> None:
    store = opened(SPEC, metric)
    write(store, *(entry(number, f"thing {number}") for number in range(1, 6)))
    query = vector_of("a thing")
    found = rows(store).nearest(query, 5)
    expected = dict(zip(found.keys, found.scores, strict=True))
    assert rows(store).similarities(query, [2, 4, 99]) == pytest.approx({key: expected[key] for key in (2, 4)})
    assert rows(store).similarities(query, []) == {}


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_a_typical_row_is_as_near_as_different_texts_are_on_average(opened: Opener, metric: str) -> None:
    store = opened(SPEC, metric)
    rng = np.random.default_rng(5)
    query = rng.standard_normal(DIMENSION).astype(np.float32)
    early = rows(store)
    assert early.typical(query) is None
    vectors = (rng.standard_normal((SAMPLED, DIMENSION)) * rng.uniform(0.2, 5.0, (SAMPLED, 1)) + 1).astype(np.float32)
    rows(store).write(WriteBatch([Entry(document(key, f"item {key}"), vectors[key], None) for key in range(SAMPLED)]))
    mean = np.mean([similarity(metric, vector, query) for vector in vectors])
    assert rows(store).typical(query) == pytest.approx(mean, rel=1e-4)
    assert early.typical(query) == pytest.approx(mean, rel=1e-4)
    # Copies of one text, however many, count once.
    copies = [Entry(document(key, "item 7"), vectors[7], None) for key in range(SAMPLED, 4 * SAMPLED)]
    rows(store).write(WriteBatch(copies))
    assert rows(store).typical(query) == pytest.approx(mean, rel=1e-4)


def test_a_search_gives_every_row_where_there_are_fewer_than_asked_for(store: Store) -> None:
    write(store, entry(1, "lamp"), entry(2, "chair"))
    ranked = rows(store).nearest(vector_of("lamp"), 100)
    assert (len(ranked.keys), ranked.complete) == (2, True)


def test_deleting_one_of_two_rows_with_equal_vectors_leaves_the_other_to_be_found(store: Store) -> None:
    write(store, *(entry(key, "same text") for key in (1, 2, 3)), entry(4, "another"))
    assert sorted(rows(store).nearest(vector_of("same text"), 3).keys) == [1, 2, 3]
    rows(store).write(WriteBatch(deletes=[2]))
    assert sorted(rows(store).nearest(vector_of("same text"), 2).keys) == [1, 3]
    write(store, entry(1, "changed", expected=hashed("same text")))
    assert rows(store).nearest(vector_of("same text"), 1).keys == [3]


def test_keyword_search_finds_rows_by_their_words_the_rarest_counting_most(store: Store) -> None:
    texts = ["red lamp", "green lamp", "blue lamp", "red red chair", "SABO520067C brake pad", "006R90321 toner"]
    write(store, *(entry(key, text) for key, text in enumerate(texts)))
    assert rows(store).keyword("chair", 5).keys == [3]
    assert rows(store).keyword("SABO520067C", 5).keys == [4]
    assert rows(store).keyword("sabo520067c", 5).keys == [4]
    assert rows(store).keyword("006R90321", 5).keys == [5]
    both = rows(store).keyword("blue lamp", 5)
    assert both.keys[0] == 2
    assert set(both.keys) == {0, 1, 2}
    assert list(both.scores) == sorted(both.scores, reverse=True)


@pytest.mark.parametrize(
    "query", ["", "   ", "nowhere", '"', "AND OR NOT", "lamp*", "name:lamp", "(", "'; drop table x"]
)
def test_a_keyword_query_is_words_and_never_syntax(store: Store, query: str) -> None:
    write(store, entry(1, "plain chair"))
    assert rows(store).keyword(query, 5).keys == []


def test_keywords_follow_the_text_when_it_changes(store: Store) -> None:
    write(store, entry(1, "lamp"))
    write(store, entry(1, "chair", expected=hashed("lamp")))
    assert rows(store).keyword("lamp", 5).keys == []
    assert rows(store).keyword("chair", 5).keys == [1]


def test_metadata_changes_leave_the_keywords(store: Store) -> None:
    write(store, entry(1, "lamp", "a"))
    rows(store).write(WriteBatch(updates=[document(1, "lamp", "b")]))
    assert rows(store).keyword("lamp", 5).keys == [1]


def test_words_of_any_language_are_found(opened: Opener) -> None:
    spec = replace(SPEC, language="simple")
    store = opened(spec)
    write(store, entry(1, "Тормозные колодки"), entry(2, "Zażółć gęślą jaźń"), entry(3, "plain"), spec=spec)
    assert rows(store, spec).keyword("колодки", 5).keys == [1]
    assert rows(store, spec).keyword("GĘŚLĄ", 5).keys == [2]


def test_without_a_language_there_is_no_keyword_search(opened: Opener) -> None:
    spec = replace(SPEC, language=None)
    store = opened(spec)
    write(store, entry(1, "lamp"), spec=spec)
    with pytest.raises(SearchError):
        rows(store, spec).keyword("lamp", 5)


def test_a_keyword_index_that_was_given_up_for_a_while_does_not_find_what_was_then(opened: Opener) -> None:
    write(opened(SPEC), entry(1, "lamp"), entry(2, "chair"))
    spec = replace(SPEC, language=None)
    without = opened(spec)
    write(without, entry(1, "table", expected=hashed("lamp")), entry(3, "shelf"), spec=spec)
    store = opened(SPEC)
    documents, known = [document(1, "table"), document(2, "chair"), document(3, "shelf")], rows(store).lookup([1, 2, 3])
    rows(store).write(WriteBatch(updates=[row for row in documents if known[row.key].row_hash != row.row_hash]))
    assert rows(store).keyword("lamp", 5).keys == []
    assert [rows(store).keyword(word, 5).keys for word in ("table", "chair", "shelf")] == [[1], [2], [3]]


def test_a_search_for_nothing_at_all_finds_nothing(store: Store) -> None:
    assert rows(store).keyword("lamp", 5).keys == []
    assert rows(store).nearest(vector_of("lamp"), 5).complete


def test_vectors_are_read_in_pages_in_the_order_of_keys(store: Store) -> None:
    texts = {key: f"row {key}" for key in (5, 1, 9, 3, 7)}
    write(store, *(entry(key, text) for key, text in texts.items()))
    pages, after = [], None
    while page := rows(store).vectors(after, 2):
        pages.append([key for key, _ in page])
        after = page[-1][0]
        for key, vector in page:
            np.testing.assert_allclose(vector, vector_of(texts[int(str(key))]), atol=1e-6)
    assert pages == [[1, 3], [5, 7], [9]]


def test_a_look_from_another_thread_changes_nothing_that_a_search_sees(store: Store) -> None:
    """A status request, or a plan of a config that was edited, looks at the same store while searches run."""
    write(store, entry(1, "lamp"), entry(2, "chair"))
    live, done = rows(store), threading.Event()
    narrower = replace(SPEC, metadata=(), language=None)

    def look() -> None:
        while not done.is_set():
            found = rows(store, narrower)
            assert found.count() == 2
            assert found.status().rows == 2

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            for _ in range(50):
                assert live.nearest(vector_of("chair"), 1).keys == [2]
                assert live.keyword("lamp", 5).keys == [1]
                assert live.metadata([1]) == {1: {"name": "lamp"}}
        finally:
            done.set()
        looking.result()


def test_every_reading_of_rows_passes_a_filter(opened: Opener) -> None:
    """What `where` does not find is not there, whichever way it is asked for: see `stores.base.RowsHandle`."""
    store = opened(SPEC)
    write(store, entry(1, "red lamp", "mine"), entry(2, "red lamp", "yours"), entry(3, "red chair", None))
    live, mine = rows(store), bind(Compare("name", Op.EQ, "mine"), SPEC.metadata)
    query, every = vector_of("red lamp"), [1, 2, 3]
    assert live.nearest(query, 9, mine).keys == [1]
    assert live.nearest(query, 9, mine, exact=True).keys == [1]
    assert live.keyword("red", 9, mine).keys == [1]
    assert live.similarities(query, every, mine) == pytest.approx({1: 1.0}, abs=1e-5)
    assert live.similarities(query, [2], mine) == {}
    assert live.metadata(every, mine) == {1: {"name": "mine"}}
    assert live.texts(every, None, mine) == {1: live.texts([1])[1]}
    assert live.texts(every, query, mine) == {1: live.texts([1], query)[1]}
    assert [key for key, _ in live.vectors(None, 9, mine)] == [1]
    assert live.vectors(1, 9, mine) == []
    assert live.vector(2, mine) is None
    found, whole = live.vector(1, mine), live.vector(1)
    assert found is not None
    assert whole is not None
    assert np.array_equal(found, whole)
    write(store, entry(1, "red lamp", "yours"))
    assert live.vector(1, mine) is None
    assert live.metadata([1], mine) == {} == live.texts([1], None, mine)
