"""Pages of one ranking, one hit a value, browsing, and the cursors between."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest

from rowvec.errors import SearchError
from rowvec.filters import Filter, Order, bind, parse
from rowvec.ranking import Ranking
from rowvec.rerankers.base import Reranker
from rowvec.rerankers.local import LocalReranker
from rowvec.searcher import DEPTH, Refine, Searcher, SearchResult
from rowvec.searcher.paging import Cursor
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing.generation import MemoryGeneration
from rowvec.types import Column, ColumnType, Hit, Key, Ranked, Vector
from tests.integration.serve_rig import product_pipeline, rows

QUERY = "brake pads oil filter 7"
MODES = ["semantic", "keyword", "hybrid"]


@pytest.fixture(scope="module")
def found() -> Searcher:
    return searcher_of()


def searcher_of(count: int = 400, ranking: Ranking | None = None, reranker: Reranker | None = None) -> Searcher:
    pipeline = product_pipeline(count=count)
    return Searcher(pipeline.store, pipeline.embedder, pipeline.spec, ranking or pipeline.ranking, reranker=reranker)


def where(found: Searcher, text: str) -> Filter:
    return bind(parse(text), found.spec.metadata)


def keys(result: SearchResult) -> list[Key]:
    return [hit.key for hit in result.hits]


def pages(found: Searcher, query: str | None, limit: int, **asked: Any) -> Iterator[list[Hit]]:
    """All of them, by the cursor of each."""
    refine = asked.pop("refine", {})
    result = found.search(query, limit=limit, refine=Refine(**refine), **asked)
    yield list(result.hits)
    while result.next:
        result = found.search(query, limit=limit, refine=Refine(**refine, after=result.next), **asked)
        yield list(result.hits)


RANKINGS = {
    "convex": Ranking(),
    "rrf": Ranking(fusion="rrf"),
    "static": Ranking(static="price / 750", static_weight=2.0),
    "decay": Ranking(decay="added", half_life_days=100),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ranking", RANKINGS.values(), ids=RANKINGS)
def test_pages_are_parts_of_one_ranking(mode: Any, ranking: Ranking) -> None:
    found = searcher_of(ranking=ranking)
    whole = found.search(QUERY, mode=mode, limit=60).hits
    for limit in (1, 7, 30):
        by_cursor = list(itertools.islice(pages(found, QUERY, limit, mode=mode), 60 // limit))
        assert [hit.key for page in by_cursor for hit in page] == [hit.key for hit in whole[: 60 // limit * limit]]
        for start in range(0, 60 - limit, limit):
            part = found.search(QUERY, mode=mode, limit=limit, refine=Refine(offset=start))
            assert keys(part) == [hit.key for hit in whole[start : start + limit]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ranking", RANKINGS.values(), ids=RANKINGS)
def test_pages_far_down_are_parts_of_one_ranking(mode: Any, ranking: Ranking) -> None:
    """Where more candidates are looked at than for the first page."""
    found = searcher_of(4 * DEPTH, ranking=ranking)
    whole = keys(found.search(QUERY, mode=mode, limit=1000))
    assert len(whole) > DEPTH
    assert [hit.key for page in pages(found, QUERY, 90, mode=mode) for hit in page] == whole
    for start in range(0, len(whole), 90):
        part = found.search(QUERY, mode=mode, limit=90, refine=Refine(offset=start))
        assert keys(part) == whole[start : start + 90]


def test_the_last_page_has_no_cursor_and_an_offset_beyond_it_no_hits(found: Searcher) -> None:
    asked = where(found, "stock < 25")
    all_ = list(pages(found, QUERY, 10, where=asked))
    assert len(all_[-1]) <= 10
    assert len({hit.key for page in all_ for hit in page}) == found.search(None, where=asked).total
    beyond = found.search(QUERY, where=asked, refine=Refine(offset=9_000))
    assert (beyond.hits, beyond.next) == ([], None)
    assert found.search(None, refine=Refine(offset=2**31 - 1)).hits == []


def test_a_page_that_no_query_reaches_is_refused(found: Searcher) -> None:
    with pytest.raises(SearchError, match="The page ends at hit 10,001; 10,000 are the most"):
        found.search(QUERY, limit=10, refine=Refine(offset=9_991))


def test_a_page_goes_on_where_the_last_one_ended_though_rows_come_and_go() -> None:
    found = searcher_of(60)
    whole = keys(found.search(QUERY, limit=40))
    first = found.search(QUERY, limit=10)
    found.rows.write(WriteBatch(deletes=[whole[2], whole[9], whole[12]]))
    second = found.search(QUERY, limit=10, refine=Refine(after=first.next))
    assert keys(second) == [key for key in whole[10:] if key != whole[12]][:10]


@pytest.mark.parametrize("mode", MODES)
def test_one_hit_a_value_is_the_best_of_it(found: Searcher, mode: Any) -> None:
    column = "new"
    whole = found.search(QUERY, mode=mode, limit=400).hits
    expected: dict[Any, Key] = {}
    for hit in whole:
        expected.setdefault(hit.metadata[column], hit.key)
    result = found.search(QUERY, mode=mode, limit=10, refine=Refine(distinct=column))
    assert keys(result) == list(expected.values())
    assert result.next is None


@pytest.mark.parametrize("column", ["stock", "new"])
def test_where_every_value_has_its_hit_the_other_rows_are_not_looked_at(
    column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, depths = searcher_of(8 * DEPTH), set[int]()
    nearest = MemoryGeneration.nearest

    def looking(rows: MemoryGeneration, vector: Vector, limit: int, *rest: Any, **more: Any) -> Ranked:
        depths.add(limit)
        return nearest(rows, vector, limit, *rest, **more)

    monkeypatch.setattr(MemoryGeneration, "nearest", looking)
    hits = found.search(QUERY, limit=50, refine=Refine(distinct=column)).hits
    assert {hit.metadata[column] for hit in hits} == {values[column] for values in rows(8 * DEPTH).values()}
    assert depths == {DEPTH}


def test_hits_of_distinct_values_go_on_over_pages(found: Searcher) -> None:
    whole = keys(found.search(QUERY, limit=400, refine=Refine(distinct="stock")))
    values = [hit.metadata["stock"] for hit in found.search(QUERY, limit=400, refine=Refine(distinct="stock")).hits]
    assert len(values) == len(set(values)) == 10
    listed = [hit.key for page in pages(found, QUERY, 4, refine={"distinct": "stock"}) for hit in page]
    assert listed == whole


class ByDigits:
    """A model for which the texts with the highest last digits are the best."""

    def scores(self, query: str, texts: Sequence[str], abandoned: Callable[[], bool]) -> list[float]:
        return [float(text.rstrip(" .")[-1:] or 0) if text.rstrip(" .")[-1:].isdigit() else 0.0 for text in texts]

    def close(self) -> None: ...


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("distinct", [None, "price"])
def test_pages_of_a_reranker_are_parts_of_one_ranking(mode: Any, distinct: str | None) -> None:
    # Three rows of each price.
    data = {number: values | {"price": number // 3} for number, values in rows(400).items()}
    pipeline = product_pipeline(data=data)
    reranker = LocalReranker(ByDigits, "digits", top=50, timeout=60)
    found = Searcher(pipeline.store, pipeline.embedder, pipeline.spec, reranker=reranker)
    refine = {"distinct": distinct}
    result = found.search(QUERY, mode=mode, limit=90, refine=Refine(distinct=distinct))
    plain = found.search(QUERY, mode=mode, limit=90, rerank=False, refine=Refine(distinct=distinct))
    assert len(result.hits) == 90
    assert keys(result) != keys(plain)
    for limit in (7, 10, 30):
        by_cursor = itertools.islice(pages(found, QUERY, limit, mode=mode, refine=refine), 90 // limit)
        assert [hit.key for page in by_cursor for hit in page] == keys(result)[: 90 // limit * limit]


def test_a_page_of_a_reranker_takes_one_search(monkeypatch: pytest.MonkeyPatch) -> None:
    found = searcher_of(reranker=LocalReranker(ByDigits, "digits", top=50, timeout=60))
    first = found.search(QUERY, limit=10)
    asked: list[int] = []
    nearest = MemoryGeneration.nearest

    def counting(self: MemoryGeneration, vector: Vector, limit: int, *given: Any, **more: Any) -> Ranked:
        asked.append(limit)
        return nearest(self, vector, limit, *given, **more)

    monkeypatch.setattr(MemoryGeneration, "nearest", counting)
    assert len(found.search(QUERY, limit=10, refine=Refine(after=first.next)).hits) == 10
    assert asked == [60]


def test_rows_without_a_value_are_each_their_own() -> None:
    found = searcher_of(30)
    without = [hit for hit in found.search(QUERY, limit=30).hits if hit.metadata["price"] is None]
    result = found.search(QUERY, limit=30, refine=Refine(distinct="price"))
    assert [hit for hit in result.hits if hit.metadata["price"] is None] == without


def test_rows_are_browsed_with_exact_counts(found: Searcher) -> None:
    asked = where(found, "price >= 20")
    result = found.search(None, limit=7, where=asked, refine=Refine(order="price desc", facets=("new",)))
    total = result.total
    assert total == result.facets.rows if result.facets else None
    prices = [hit.metadata["price"] for hit in result.hits]
    assert prices == sorted(prices, reverse=True)
    assert {hit.score for hit in result.hits} == {None}
    browsed = [hit for page in pages(found, None, 7, where=asked, refine={"order": "price desc"}) for hit in page]
    assert len(browsed) == len({hit.key for hit in browsed}) == total
    ordered = [(-hit.metadata["price"], hit.key) for hit in browsed]
    assert ordered == sorted(ordered)
    assert keys(found.search(None, limit=400)) == sorted(keys(found.search(None, limit=400)))


def test_facets_count_beyond_the_hits(found: Searcher) -> None:
    asked = where(found, "new")
    result = found.search(QUERY, limit=3, where=asked, refine=Refine(facets=("stock", "name"), facet_limit=2))
    said = result.as_dict()["facets"]
    assert said["scope"] == "filtered rows"
    assert said["rows"] == result.total == found.search(None, where=asked).total
    assert said["columns"]["name"]["other"] == said["rows"] - sum(v["count"] for v in said["columns"]["name"]["values"])
    assert sum(each["count"] for each in said["columns"]["stock"]["bins"]) == said["rows"]
    assert found.search(QUERY, refine=Refine(facets=("new",))).as_dict()["facets"]["scope"] == "all rows"


MISTAKES: list[tuple[str | None, dict[str, Any], str]] = [
    (QUERY, {"facets": ["nmae"]}, "no metadata column 'nmae'"),
    (QUERY, {"facets": ["new"], "facet_limit": 0}, "facet_limit is 0"),
    (QUERY, {"facets": [f"c{n}" for n in range(21)]}, "There are 21 facets"),
    (QUERY, {"distinct": "colour"}, "no metadata column 'colour'"),
    (QUERY, {"order": "price"}, "ordered by their score"),
    (QUERY, {"offset": -1}, "offset is -1"),
    (QUERY, {"offset": 3, "after": "x"}, "both an offset and a cursor"),
    (None, {"distinct": "new"}, "needs a query"),
    (None, {"order": "colour"}, "no metadata column 'colour'"),
    (None, {"order": "price up"}, "cannot be read"),
    (None, {"order": "price desc, stock"}, "cannot be read"),
    (None, {"order": ""}, "cannot be read"),
]


@pytest.mark.parametrize(("query", "asked", "said"), MISTAKES, ids=str)
def test_what_cannot_be_is_said(found: Searcher, query: str | None, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(SearchError, match=said):
        found.search(query, refine=Refine(**asked))


def test_a_typo_gets_a_suggestion_and_a_stranger_the_names(found: Searcher) -> None:
    with pytest.raises(SearchError) as typo:
        found.search(QUERY, refine=Refine(facets=("Stock",)))
    assert typo.value.hint == "Did you mean 'stock'?"
    with pytest.raises(SearchError) as stranger:
        found.search(QUERY, refine=Refine(facets=("zzzz",)))
    assert "The metadata columns are: name, price, stock, new, added." in str(stranger.value.hint)


@pytest.mark.parametrize(
    "asked", [{"facets": ("attrs.color",)}, {"distinct": 'attrs."unit price"'}, {"order": "attrs.a"}]
)
def test_what_is_inside_json_is_for_filters_alone(asked: dict[str, Any]) -> None:
    columns = (Column("attrs", ColumnType.JSON),)
    with pytest.raises(SearchError, match="inside the JSON column 'attrs', where only filters look") as refused:
        Refine(**asked).bound(columns, ColumnType.INTEGER, browses="order" in asked)
    assert "a column of its own" in str(refused.value.hint)


# Cursors


def cursor(found: Searcher, query: str | None = QUERY, **asked: Any) -> str:
    text = found.search(query, limit=5, **asked).next
    assert text is not None
    return text


def test_a_cursor_that_was_cut_or_changed_is_no_cursor(found: Searcher) -> None:
    whole = cursor(found)
    wrong = [whole[:-1], whole[1:], whole + "AAAA", whole[:10] + "é" + whole[10:], "", "x", "%%%", "a" * 200_000]
    raw = bytearray(base64.urlsafe_b64decode(whole + "=" * (-len(whole) % 4)))
    for place in range(len(raw)):
        changed = bytes(raw[:place]) + bytes([raw[place] ^ 1]) + bytes(raw[place + 1 :])
        wrong.append(base64.urlsafe_b64encode(changed).decode().rstrip("="))
    for text in wrong:
        with pytest.raises(SearchError, match="is not a cursor, or not a whole one"):
            found.search(QUERY, refine=Refine(after=text))


def rewritten(text: str, **changes: Any) -> str:
    """A cursor with other values, as anybody can make one."""
    names = ["version", "pipeline", "missing", "generation", "query", "where", "position", "first", "key", "value"]
    body = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))[:-6]
    said = dict(zip(names, json.loads(body), strict=True)) | changes
    body = json.dumps([value for value in said.values() if value is not ...]).encode()
    return base64.urlsafe_b64encode(body + hashlib.blake2b(body, digest_size=6).digest()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 1, "first": ...}, "another version of rowvec"),
        ({"position": float("inf")}, "not a cursor"),
        ({"position": "1_0"}, "not a cursor"),
        ({"first": "\u0665"}, "not a cursor"),
        ({"key": "1_0"}, "not a cursor"),
        ({"where": ...}, "not a cursor"),
        ({"key": [1]}, "not a cursor"),
        ({"key": -1, "value": "high"}, "not a cursor"),
    ],
    ids=str,
)
def test_a_cursor_that_somebody_made_is_refused(found: Searcher, changes: dict[str, Any], said: str) -> None:
    whole = cursor(found)
    assert rewritten(whole) != "" and found.search(QUERY, refine=Refine(after=rewritten(whole))).hits
    with pytest.raises(SearchError, match=said):
        found.search(QUERY, refine=Refine(after=rewritten(whole, **changes)))


@pytest.mark.parametrize(
    ("order", "value"), [("price desc", "dear"), ("name", "NUL \0"), ("name", "half a surrogate pair \ud800")]
)
def test_a_made_cursor_of_rows_that_are_browsed_is_refused(found: Searcher, order: str, value: str) -> None:
    whole = cursor(found, None, refine=Refine(order=order))
    with pytest.raises(SearchError, match="not a cursor"):
        found.search(None, refine=Refine(order=order, after=rewritten(whole, value=value)))


def test_a_made_cursor_holds_no_number_that_no_column_holds() -> None:
    order = Order(Column("price", ColumnType.DECIMAL))
    for value in ("1e999999", "NaN", "sNaN", "dear", "1_0"):
        with pytest.raises(SearchError, match="not a cursor"):
            Cursor([], 1, 0, 1, value).place(order)
    with pytest.raises(SearchError, match="not a cursor"):
        Cursor([], 1, 0, 1, 2**63).place(Order(Column("year", ColumnType.INTEGER)))
    assert Cursor([], 1, 0, 1, "-Infinity").place(order).value == Decimal("-Infinity")


def test_a_cursor_belongs_to_what_gave_it(found: Searcher) -> None:
    mine, filtered, browsing = cursor(found), cursor(found, where=where(found, "stock > 1")), cursor(found, None)
    others: list[tuple[str, str | None, dict[str, Any]]] = [
        ("another query", "oil", {"refine": Refine(after=mine)}),
        ("another query", QUERY, {"mode": "keyword", "refine": Refine(after=mine)}),
        ("another query", QUERY, {"refine": Refine(after=mine, distinct="new")}),
        ("another query", None, {"refine": Refine(after=mine)}),
        ("another query", QUERY, {"refine": Refine(after=browsing)}),
        ("another query", None, {"refine": Refine(after=browsing, order="price")}),
        ("another filter", QUERY, {"where": where(found, "stock > 1"), "refine": Refine(after=mine)}),
        ("another filter", QUERY, {"where": where(found, "stock > 2"), "refine": Refine(after=filtered)}),
        ("another filter", QUERY, {"refine": Refine(after=filtered)}),
    ]
    for said, query, asked in others:
        with pytest.raises(SearchError, match=f"belongs to {said}"):
            found.search(query, **asked)
    # Another size of the page, and what does not change the order, are the same search.
    assert found.search(QUERY, limit=3, explain=True, passages=2, refine=Refine(after=mine, facets=("new",))).hits


def test_a_cursor_of_another_pipeline_or_generation_is_told_so(found: Searcher) -> None:
    other = searcher_of(50)
    other.spec = other.spec.__class__(
        **{n: getattr(other.spec, n) for n in other.spec.__slots__} | {"pipeline": "other"}
    )
    with pytest.raises(SearchError, match="another pipeline"):
        other.search(QUERY, refine=Refine(after=cursor(found)))
    changing = searcher_of(50)
    text = cursor(changing)
    changing.store.tables.swaps += 1
    with pytest.raises(SearchError, match="another generation: the vectors were replaced since"):
        changing.search(QUERY, refine=Refine(after=text))
