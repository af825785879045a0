"""What each part adds to a score, and other rankings for one search."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any

import pytest

from rowvec.errors import SearchError
from rowvec.ranking import Ranking
from rowvec.rerankers.base import Scored
from rowvec.searcher import Searcher
from rowvec.types import Hit
from tests.integration.serve_rig import COLUMNS, product_pipeline

QUERY = "brake pads oil filter 7"
PARTS = ("semantic_part", "keyword_part", "static_part", "title_part", "rerank_part", "capped_part")
RANKINGS = (
    Ranking(),
    Ranking(fusion="rrf"),
    Ranking(semantic_weight=1.0),
    Ranking(static="price / 100", static_weight=0.3, decay="added", half_life_days=400),
    Ranking(title="name", title_weight=0.5, decay="added", half_life_days=400),
)


class Reversing:
    """A reranker that prefers the texts that it gets last."""

    top, weight, spent = 5, 0.7, 0.0

    def scores(self, query: str, texts: Sequence[str]) -> Scored:
        return Scored([float(place) for place in range(len(texts))])

    def close(self) -> None: ...


def added(hit: Hit) -> float:
    assert hit.parts is not None
    return math.fsum(hit.parts.get(name) or 0.0 for name in PARTS)


@pytest.mark.parametrize("reranker", [None, Reversing()])
@pytest.mark.parametrize("mode", ["semantic", "keyword", "hybrid"])
@pytest.mark.parametrize("ranking", RANKINGS)
def test_the_parts_of_a_score_add_up_to_it(ranking: Ranking, mode: Any, reranker: Any) -> None:
    pipeline = product_pipeline(count=300)
    searcher = Searcher(pipeline.store, pipeline.embedder, pipeline.spec, ranking, reranker=reranker)
    hits = searcher.search(QUERY, mode=mode, limit=290, explain=True).hits
    assert hits
    assert [added(hit) for hit in hits] == pytest.approx([hit.score for hit in hits])


def test_a_hit_says_its_place_in_each_half() -> None:
    pipeline = product_pipeline()
    searcher = Searcher(pipeline.store, pipeline.embedder, pipeline.spec)
    halves = {mode: searcher.search(QUERY, mode=mode, limit=60).hits for mode in ("semantic", "keyword")}
    for hit in searcher.search(QUERY, mode="hybrid", limit=60, explain=True).hits:
        assert hit.parts is not None
        for mode, found in halves.items():
            place = next((number for number, each in enumerate(found, 1) if each.key == hit.key), None)
            assert hit.parts[f"{mode}_rank"] == place


def test_other_values_take_the_place_of_those_of_the_config() -> None:
    ranking = Ranking(static="price / 100", static_weight=0.2, decay="added", half_life_days=30)
    found = ranking.changed({"fusion": "rrf", "semantic_weight": 0.9, "decay": None}, COLUMNS)
    assert (found.fusion, found.semantic_weight, found.decay) == ("rrf", 0.9, None)
    assert (found.static, found.static_weight) == ("price / 100", 0.2)
    assert ranking.changed({"static": "log(1 + stock) - (2 * price) / 3.5"}, COLUMNS).static_score(
        {"stock": 0, "price": 7}
    ) == pytest.approx(-4.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"semantic_wieght": 0.5}, "no setting 'semantic_wieght'"),
        ({"fusion": "mean"}, "must be one of convex, rrf"),
        ({"fusion": None}, "must be one of convex, rrf"),
        ({"semantic_weight": 1.5}, "between 0 and 1"),
        ({"semantic_weight": True}, "between 0 and 1"),
        ({"semantic_weight": math.nan}, "between 0 and 1"),
        ({"static_weight": math.inf}, "between 0 and"),
        ({"half_life_days": 0}, "above 0"),
        ({"decay": "adde"}, "adde"),
        ({"decay": "price"}, "ranking.decay: the column 'price' holds number values"),
        ({"title": "added"}, "ranking.title: the column 'added' holds timestamp values"),
        ({"static": "pirce * 2"}, "pirce"),
        ({"static": ""}, "must be an expression"),
        ({"static": "price *"}, "is not an expression"),
        ({"static": "1, 2)("}, "is not an expression"),
        ({"static": "9 ** 9 ** 9"}, "may hold numbers"),
        ({"static": "price.__class__"}, "may hold numbers"),
        ({"static": "name|length"}, "may hold numbers"),
        ({"static": "'x' * 999999999"}, "may hold numbers"),
        ({"static": "[price]"}, "may hold numbers"),
        ({"static": "(" * 21 + "1" + ")" * 21}, "may hold numbers"),
        ({"static": "1+" * 100 + "1"}, "longer than 200"),
    ],
)
def test_what_a_ranking_cannot_have_is_said(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SearchError, match=said.replace("*", r"\*")):
        Ranking().changed(changes, COLUMNS)


def test_a_title_that_says_more_of_the_query_comes_first() -> None:
    pipeline = product_pipeline()
    searcher = Searcher(pipeline.store, pipeline.embedder, pipeline.spec)
    ranking = Ranking().changed({"title": "name", "title_weight": 10}, COLUMNS)
    for mode in ("semantic", "keyword", "hybrid"):
        hits = searcher.search("new brake pad", mode=mode, limit=20, ranking=ranking, explain=True).hits
        shares = [(hit.parts or {})["title"] for hit in hits]
        # "pads" is the plural of "pad"; no title is new.
        assert all(share == pytest.approx(2 / 3 if "brake pads" in hit.metadata["name"] else 0)
                   for hit, share in zip(hits, shares, strict=True))  # fmt: skip
        assert "brake pads" in hits[0].metadata["name"] and shares == sorted(shares, key=lambda share: -(share or 0))


@pytest.mark.parametrize(
    ("changes", "said"), [({"title": "nmae"}, "nmae"), ({"title": "name", "title_weight": -1}, "between 0 and")]
)
def test_a_title_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SearchError, match=said):
        Ranking().changed(changes, COLUMNS)


def test_a_changed_ranking_orders_the_hits() -> None:
    pipeline = product_pipeline()
    searcher = Searcher(pipeline.store, pipeline.embedder, pipeline.spec)
    ranking = Ranking().changed({"static": "price", "static_weight": 100}, COLUMNS)
    hits = searcher.search(QUERY, mode="hybrid", limit=10, ranking=ranking).hits
    prices = [hit.metadata["price"] for hit in hits]
    assert prices == sorted(prices, reverse=True)
    assert hits[0].score is not None and hits[0].score > 1000


def test_a_row_without_a_date_does_not_age() -> None:
    ranking = Ranking().changed({"decay": "added", "half_life_days": 10}, COLUMNS)
    now = dt.datetime(2024, 1, 11, tzinfo=dt.UTC)
    assert ranking.decay_factor({"added": None}, now) == 1.0
    assert ranking.decay_factor({"added": dt.datetime(2024, 1, 1, tzinfo=dt.UTC)}, now) == pytest.approx(0.5)
