"""How a search goes about it: its halves, its ends, and what it reads."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from rowvec.errors import SearchError, StoreUnavailable
from rowvec.filters import Filter, parse
from rowvec.ranking import Ranking, fuse_convex, normalised
from rowvec.searcher import DEPTH, Refine, Searcher
from rowvec.searcher import live as module
from rowvec.searcher.candidates import Block, blocks_of, fused, hits_of, score_of
from rowvec.searcher.query import LEAST
from rowvec.stores.base import GenerationHandle
from rowvec.types import Key, Ranked, Vector
from tests.integration.serve_rig import product_pipeline

ROWS = 1000
QUERY = "brake pads oil filter 7"


def searcher_of(rows: int = ROWS, ranking: Ranking | None = None) -> Searcher:
    pipeline = product_pipeline(count=rows)
    return Searcher(pipeline.store, pipeline.embedder, pipeline.spec, ranking or Ranking())


@pytest.fixture
def rows_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets a test take part in what the searched generation is asked."""
    from rowvec.testing.generation import MemoryGeneration

    def change(name: str, change: Any) -> None:
        original = getattr(MemoryGeneration, name)
        monkeypatch.setattr(MemoryGeneration, name, lambda self, *given, **more: change(original, self, *given, **more))

    return change


@pytest.mark.parametrize("limit", ["3", 3.0, True, np.int64(3)])
def test_a_limit_that_is_not_an_int_is_refused(limit: Any) -> None:
    with pytest.raises(SearchError, match="which is not a whole number"):
        searcher_of().search(QUERY, limit=limit)


def test_the_halves_of_a_hybrid_search_run_side_by_side(rows_of: Any) -> None:
    met = threading.Barrier(2, timeout=20)

    def nearest(original: Any, self: GenerationHandle, *given: Any, **more: Any) -> Ranked:
        met.wait()
        return original(self, *given, **more)

    rows_of("nearest", nearest)
    rows_of("keyword", nearest)
    assert len(searcher_of().search(QUERY, mode="hybrid").hits) == 10


def test_the_words_are_searched_while_the_query_is_embedded(monkeypatch: pytest.MonkeyPatch, rows_of: Any) -> None:
    begun = threading.Event()
    found = searcher_of()
    embed = found.embedder.embed_query

    def keyword(original: Any, self: GenerationHandle, *given: Any) -> Ranked:
        begun.set()
        return original(self, *given)

    def embed_query(text: str) -> Vector:
        assert begun.wait(20)
        return embed(text)

    rows_of("keyword", keyword)
    monkeypatch.setattr(found.embedder, "embed_query", embed_query)
    assert len(found.search(QUERY, mode="hybrid").hits) == 10


@pytest.mark.parametrize("broken", ["nearest", "keyword"])
def test_nothing_of_a_search_works_on_after_its_error(rows_of: Any, broken: str) -> None:
    failing, ended = threading.Event(), threading.Event()

    def fails(original: Any, self: GenerationHandle, *given: Any, **more: Any) -> Ranked:
        failing.set()
        raise StoreUnavailable("Gone.")

    def slow(original: Any, self: GenerationHandle, *given: Any, **more: Any) -> Ranked:
        assert failing.wait(20)
        threading.Event().wait(0.2)
        ended.set()
        return original(self, *given, **more)

    rows_of(broken, fails)
    rows_of({"nearest": "keyword", "keyword": "nearest"}[broken], slow)
    with pytest.raises(StoreUnavailable, match="Gone"):
        searcher_of().search(QUERY, mode="hybrid")
    assert ended.is_set()


def test_a_search_is_answered_where_no_thread_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BESIDE", 1)
    found = searcher_of()
    expected = found.search(QUERY, mode="hybrid").hits
    free = threading.Event()
    busy = found._known.beside.submit(free.wait, 60)
    try:
        assert found.search(QUERY, mode="hybrid").hits == expected
        assert not busy.done()
    finally:
        free.set()


@pytest.mark.parametrize("mode", ["semantic", "keyword", "hybrid"])
@pytest.mark.parametrize(
    "ranking",
    [Ranking(), Ranking(fusion="rrf"), Ranking(static="price / 750", static_weight=2.0)],
    ids=["convex", "rrf", "static"],
)
def test_who_asks_for_a_thousand_sees_the_same_rows_first(mode: Any, ranking: Ranking) -> None:
    found = searcher_of(ranking=ranking)
    few = [hit.key for hit in found.search(QUERY, mode=mode, limit=10).hits]
    hits = found.search(QUERY, mode=mode, limit=1000).hits
    many, scores = [hit.key for hit in hits], [score_of(hit) for hit in hits]
    assert many[:10] == few
    assert len(set(many)) == len(many) > DEPTH
    assert scores == sorted(scores, reverse=True)


class Random:
    """Rows whose similarities and words are drawn by chance, some of them equal; some have no vector."""

    def __init__(self, seed: int, rows: int = 400) -> None:
        chance = random.Random(seed)
        near = {key: round(chance.uniform(-0.1, 0.9), 2) for key in range(rows) if key % 50}
        words = {key: float(chance.randint(1, 30)) for key in chance.sample(range(rows), rows // 2)}
        self.near, self.words = (
            dict[Key, float](sorted(each.items(), key=lambda at: (-at[1], at[0]))) for each in (near, words)
        )
        self.zero = chance.choice([0.0, 0.2, 0.8])

    def similarities(self, vector: Vector, keys: Sequence[Key]) -> dict[Key, float]:
        return {key: self.near[key] for key in keys if key in self.near}

    def typical(self, vector: Vector) -> float:
        return self.zero

    def metadata(self, keys: Sequence[Key]) -> dict[Key, Mapping[str, Any]]:
        return {key: {} for key in keys}

    def best(self, blocks: Sequence[Block], limit: int) -> list[tuple[Key, float]]:
        semantic, keyword = (
            Ranked(list(each)[:most], list(each.values())[:most], exact=False, complete=True)
            for each, most in ((self.near, blocks[-1].semantic), (self.words, blocks[-1].keyword))
        )
        found = fused(self, np.zeros(1, np.float32), semantic, keyword, blocks, Ranking())
        return [(hit.key, score_of(hit)) for hit in hits_of(self, found, limit, Ranking(), False)]


@pytest.mark.parametrize("limit", [1, 7, 40])
def test_few_rows_by_meaning_decide_a_first_page(limit: int) -> None:
    for seed in range(50):
        rows, whole = Random(seed), blocks_of(DEPTH)
        expected = rows.best(whole, 150)
        assert rows.best([Block(limit, DEPTH)], limit) == expected[:limit]
        # The others are ranked behind it as they were.
        assert rows.best([Block(limit, DEPTH, limit), *whole], 150) == expected


@pytest.mark.parametrize(
    ("ranking", "asked", "looked_at"),
    [
        (Ranking(), {}, [LEAST]),
        (Ranking(), {"refine": Refine(offset=10)}, [DEPTH, LEAST]),
        (Ranking(), {"explain": True}, [DEPTH, LEAST]),
        (Ranking(), {"limit": 60}, [120]),
        (Ranking(), {"where": parse("stock < 9")}, [27]),
        (Ranking(), {"limit": 100}, [DEPTH]),
        (Ranking(), {"exact": True}, [DEPTH]),
        (Ranking(), {"refine": Refine(distinct="stock")}, [DEPTH]),
        (Ranking(fusion="rrf"), {}, [DEPTH]),
        (Ranking(static="price / 750", static_weight=2.0), {}, [DEPTH]),
    ],
)
def test_a_first_page_asks_for_more_by_meaning_where_others_may_come_before(
    rows_of: Any, ranking: Ranking, asked: dict[str, Any], looked_at: list[int]
) -> None:
    limits: list[int] = []

    def nearest(original: Any, self: GenerationHandle, vector: Vector, limit: int, *given: Any, **more: Any) -> Ranked:
        limits.append(limit)
        found: Ranked = original(self, vector, limit, *given, **more)
        return found._replace(exact=False)

    rows_of("nearest", nearest)
    assert len(searcher_of(ranking=ranking).search(QUERY, mode="hybrid", **asked).hits) == asked.get("limit", 10)
    assert limits[: len(looked_at)] == looked_at
    assert (LEAST in limits) is (LEAST in looked_at)


def test_where_no_row_is_nearer_than_rows_are_on_average_all_candidates_count(rows_of: Any) -> None:
    limits: list[int] = []

    def nearest(original: Any, self: GenerationHandle, vector: Vector, limit: int, *given: Any, **more: Any) -> Ranked:
        limits.append(limit)
        found: Ranked = original(self, vector, limit, *given, **more)
        return found

    rows_of("nearest", nearest)
    rows_of("typical", lambda original, self, vector: 1.0)
    searcher_of().search(QUERY, mode="hybrid")
    assert limits == [LEAST, DEPTH]


def test_only_values_that_are_shown_are_read(rows_of: Any) -> None:
    read: list[int] = []

    def metadata(original: Any, self: GenerationHandle, keys: Sequence[Key]) -> dict[Key, Mapping[str, Any]]:
        read.append(len(keys))
        return original(self, keys)

    rows_of("metadata", metadata)
    searcher_of().search(QUERY, mode="hybrid", limit=7)
    assert read == [7]


def test_rows_that_were_deleted_meanwhile_make_room_for_others(rows_of: Any) -> None:
    found = searcher_of()
    best = [hit.key for hit in found.search(QUERY, mode="hybrid", limit=12).hits]

    def metadata(original: Any, self: GenerationHandle, keys: Sequence[Key]) -> dict[Key, Mapping[str, Any]]:
        return {key: values for key, values in original(self, keys).items() if key not in best[:2]}

    rows_of("metadata", metadata)
    assert [hit.key for hit in found.search(QUERY, mode="hybrid", limit=10).hits] == best[2:]


def test_a_filter_holds_in_both_halves(rows_of: Any) -> None:
    asked: list[Filter | None] = []

    def keyword(original: Any, self: GenerationHandle, query: str, limit: int, where: Filter | None) -> Ranked:
        asked.append(where)
        return original(self, query, limit, where)

    rows_of("keyword", keyword)
    from rowvec.filters import bind

    found = searcher_of()
    where = bind(parse("stock = 3"), found.spec.metadata)
    hits = found.search(QUERY, mode="hybrid", limit=100, where=where).hits
    assert asked == [where]
    assert hits and all(hit.metadata["stock"] == 3 for hit in hits)


def test_the_mean_similarity_of_rows_counts_as_none_at_all() -> None:
    """Cosines of e5 crowd: unrelated rows have 0.76 to 0.85, right ones 0.80 to 0.91."""
    semantic: dict[Key, float] = {1: 0.89, 2: 0.82, 3: 0.78}
    keyword: dict[Key, float] = {2: 5.0, 3: 4.0}
    plain = fuse_convex(semantic, keyword, 0.6).scores
    fused = fuse_convex(semantic, keyword, 0.6, typical=0.8).scores
    assert fused == pytest.approx({1: 0.6, 2: 0.6 * 0.02 / 0.09 + 0.4, 3: 0.4 * 0.8})
    assert max(plain, key=lambda key: plain[key]) == 2
    assert max(fused, key=lambda key: fused[key]) == 1


@pytest.mark.parametrize("typical", [0.89, 0.95, None])
def test_where_no_hit_is_nearer_than_rows_are_on_average_scores_count_from_zero(typical: float | None) -> None:
    assert normalised({1: 0.89, 2: 0.445}, typical) == pytest.approx({1: 1.0, 2: 0.5})
    assert normalised({1: -1.0, 2: -3.0}, typical) == {1: 1.0, 2: 0.0}


def test_no_scores_and_equal_scores_are_scaled_too() -> None:
    assert normalised({}, 0.5) == {}
    assert normalised({1: 0.0, 2: 0.0}) == {1: 1.0, 2: 1.0}
