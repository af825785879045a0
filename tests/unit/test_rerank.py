"""A reranker behind a real connection: what it is asked, what it costs, and what a search does when it fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rowvec.embedders.pricing import Budget
from rowvec.errors import SearchError
from rowvec.evaluation.measures import evaluate
from rowvec.pipeline import Pipeline
from rowvec.ranking import Ranking
from rowvec.rerankers import guarded, service
from rowvec.rerankers.pricing import RerankPrice
from rowvec.rerankers.service import ServiceReranker
from rowvec.rerankers.wire import SHAPES
from rowvec.searcher import Mode, Searcher, SearchResult
from rowvec.types import StoredText
from tests.integration.serve_rig import product_pipeline
from tests.servers.rerank import KEY, TEI_TEXTS, Fault, RerankServer

QUERY = "brake pads oil filter 7"
QUERIES = {str(number): f"{words} {number}" for number, words in enumerate(["brake pads", "oil filter", "disc rotor"])}
MODES: tuple[Mode, ...] = ("semantic", "keyword", "hybrid")
KINDS = sorted(SHAPES)


@pytest.fixture(scope="module")
def products() -> Pipeline:
    return product_pipeline(count=120)


@pytest.fixture
def reranker() -> Iterator[Callable[..., ServiceReranker]]:
    made: list[ServiceReranker] = []

    def make(server: RerankServer, kind: str = "cohere", **options: Any) -> ServiceReranker:
        options = {"api_key": None if kind == "tei" else KEY, "timeout": 5.0, **options}
        made.append(ServiceReranker(kind, server.url(kind), "a-model", **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def searcher(products: Pipeline, reranker: ServiceReranker | None, ranking: Ranking | None = None) -> Searcher:
    return Searcher(products.store, products.embedder, products.spec, ranking or Ranking(), reranker=reranker)


def number(text: str) -> float:
    """A judge that every search disagrees with: the number at the end of a product's name."""
    return float(text.split()[-1])


def keys(found: SearchResult) -> list[Any]:
    return [hit.key for hit in found.hits]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_the_top_comes_in_the_order_of_the_service_and_the_rest_behind_it(
    products: Pipeline, reranker: Any, kind: str, mode: Mode
) -> None:
    with RerankServer(lambda query, text: number(text)) as server:
        found = searcher(products, reranker(server, kind, top=40))
        plain = found.search(QUERY, mode=mode, limit=60, rerank=False)
        better = found.search(QUERY, mode=mode, limit=60)
        few = found.search(QUERY, mode=mode, limit=5)
    assert plain.reranked is None and better.reranked is True
    assert keys(better) == sorted(keys(plain)[:40], reverse=True) + keys(plain)[40:]
    assert keys(few) == keys(better)[:5]
    scores = [hit.score for hit in better.hits if hit.score is not None]
    assert len(scores) == len(better.hits) and scores == sorted(scores, reverse=True)
    assert {(asked.kind, asked.query) for asked in server.log} == {(kind, QUERY)}
    sent = [text for asked in server.log for text in asked.texts][:40]
    assert sorted(sent) == sorted(hit.metadata["name"] for hit in plain.hits[:40])
    assert all(len(asked.texts) <= TEI_TEXTS for asked in server.log if kind == "tei")


def test_a_service_that_knows_the_judgements_gives_what_an_oracle_of_the_top_would(
    products: Pipeline, reranker: Any
) -> None:
    judged = {query: {str(key): (key * 7 + int(query)) % 4 for key in range(1, 121)} for query in QUERIES}
    ids = {text: query for query, text in QUERIES.items()}
    with RerankServer(lambda query, text: judged[ids[query]][text.split()[-1]]) as server:
        found = searcher(products, reranker(server, top=50))

        def oracle(query: str, depth: int) -> list[Any]:
            best = keys(found.search(query, mode="hybrid", limit=50, rerank=False))
            return sorted(best, key=lambda key: -judged[ids[query]][str(key)])[:depth]

        def ranked(rerank: bool) -> Callable[[str, int], list[Any]]:
            return lambda query, depth: keys(found.search(query, mode="hybrid", limit=depth, rerank=rerank))

        scored = [evaluate(run, QUERIES, judged, ["nDCG@10"]).per_query for run in (oracle, ranked(True))]
        plain = evaluate(ranked(False), QUERIES, judged, ["nDCG@10"])
    assert scored[0] == scored[1]
    assert plain.means["nDCG@10"] < 0.9 < min(scored[0]["nDCG@10"].values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", list(Fault))
def test_whatever_goes_wrong_the_search_keeps_its_order(
    products: Pipeline, reranker: Any, caplog: Any, kind: str, fault: Fault
) -> None:
    with RerankServer(lambda query, text: number(text), always=fault) as server:
        slow = fault in (Fault.LATE, Fault.DRIP)
        made = reranker(server, kind, timeout=0.15 if slow else 5.0)
        found = searcher(products, made)
        plain = found.search(QUERY, mode="semantic", explain=True, passages=1, rerank=False)
        began = time.monotonic()
        answers = [found.search(QUERY, mode="semantic", explain=True, passages=1) for _ in range(2)]
        assert time.monotonic() - began < 5.0
        server.ending.set()
    for answer in answers:
        assert answer.hits == plain.hits
        assert (answer.reranked, answer.as_dict()["reranked"]) == (False, False)
    said = [record.getMessage() for record in caplog.records if record.name == "rowvec.rerank"]
    assert len(said) == 1 and "keeps the order it had" in said[0]
    assert KEY not in caplog.text


def test_a_service_that_is_not_there_costs_nothing(products: Pipeline, reranker: Any, caplog: Any) -> None:
    with RerankServer(lambda query, text: 1.0) as server:
        made = reranker(server, price=RerankPrice(per_search=0.002))
    answer = searcher(products, made).search(QUERY)
    assert answer.reranked is False and len(answer.hits) == 10
    assert made.spent == 0
    assert "cannot be reached" in caplog.text


def test_failures_are_said_once_a_minute(
    products: Pipeline, reranker: Any, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RerankServer(lambda query, text: 1.0, always=Fault.ERROR) as server:
        found = searcher(products, reranker(server))
        for _ in range(3):
            found.search(QUERY)
        monkeypatch.setattr(guarded, "SAID_EVERY", 0.0)
        found.search(QUERY)
    first, second = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert "refused with status 500: internal error" in first
    assert second.endswith("2 searches before this one kept theirs too.")


def test_a_key_that_is_not_set_is_named_and_nothing_is_sent(products: Pipeline, reranker: Any, caplog: Any) -> None:
    with RerankServer(lambda query, text: 1.0) as server:
        made = reranker(server, api_key=None, key_env="COHERE_API_KEY", needs_key=True)
        assert searcher(products, made).search(QUERY).reranked is False
        assert server.log == []
        assert KEY not in repr(reranker(server))
    assert "COHERE_API_KEY is not set" in caplog.text


def test_the_same_question_is_paid_once_whoever_asks(products: Pipeline, reranker: Any) -> None:
    with RerankServer(lambda query, text: number(text), latency=0.2) as server:
        found = searcher(products, reranker(server, price=RerankPrice(per_search=0.002)))
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda limit: found.search(QUERY, limit=limit), range(1, 9)))
        assert all(answer.reranked for answer in answers)
        assert server.billed == 1
        assert found.reranker is not None and found.reranker.spent == pytest.approx(0.002)


def test_an_answer_that_came_too_late_is_there_for_the_next_search(
    products: Pipeline, reranker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LATE", 100)
    with RerankServer(lambda query, text: number(text), latency=0.3) as server:
        found = searcher(products, reranker(server, timeout=0.2))
        assert found.search(QUERY).reranked is False
        deadline = time.monotonic() + 10
        while not found.search(QUERY).reranked:
            assert time.monotonic() < deadline
        assert server.billed == 1


def test_a_swap_of_generations_during_a_search_pays_once(
    products: Pipeline, reranker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = iter(["another", *["same"] * 20])
    with RerankServer(lambda query, text: number(text)) as server:
        found = searcher(products, reranker(server))
        found.check()
        monkeypatch.setattr(type(products.store), "live_version", lambda self: next(versions))
        monkeypatch.setattr(Searcher, "_look_again", lambda self, seen: _same(self))
        assert found.search(QUERY).reranked is True
        assert server.billed == 1


def _same(found: Searcher) -> Any:
    from dataclasses import replace

    assert found._known.live is not None
    return replace(found._known.live, version="same")


@pytest.mark.parametrize(
    ("kind", "price", "cost"),
    [
        ("cohere", RerankPrice(per_search=0.002), lambda server: 0.002 * server.billed),
        ("voyage", RerankPrice(per_million=0.05), lambda server: 0.05e-6 * server.tokens),
        ("jina", RerankPrice(per_million=0.02), lambda server: 0.02e-6 * server.tokens),
    ],
)
def test_what_an_answer_says_it_billed_is_counted(
    products: Pipeline, reranker: Any, kind: str, price: RerankPrice, cost: Callable[[RerankServer], float]
) -> None:
    with RerankServer(lambda query, text: number(text)) as server:
        made = reranker(server, kind, price=price)
        found = searcher(products, made)
        for query in QUERIES.values():
            assert found.search(query).reranked is True
        assert made.spent == pytest.approx(cost(server)) and made.spent > 0


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.HTML, Fault.HALF])
def test_what_may_have_been_billed_counts_as_spent(products: Pipeline, reranker: Any, fault: Fault) -> None:
    with RerankServer(lambda query, text: 1.0, always=fault) as server:
        made = reranker(server, "voyage", price=RerankPrice(per_million=0.05))
        assert searcher(products, made).search(QUERY).reranked is False
        assert made.spent >= 0.05e-6 * server.tokens > 0


def test_an_answer_that_does_not_say_what_it_billed_counts_as_the_most(products: Pipeline, reranker: Any) -> None:
    with RerankServer(lambda query, text: 1.0, usage=False) as server:
        made = reranker(server, "voyage", price=RerankPrice(per_million=0.05))
        assert searcher(products, made).search(QUERY).reranked is True
        assert made.spent >= 0.05e-6 * server.tokens


def test_the_budget_holds_for_however_many_at_once(products: Pipeline, reranker: Any, caplog: Any) -> None:
    price = RerankPrice(per_search=0.01)
    with RerankServer(lambda query, text: number(text), latency=0.02) as server:
        made = reranker(server, price=price, budget=Budget(0.035))
        found = searcher(products, made)
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda n: found.search(f"brake pads {n}", limit=3), range(12)))
    assert 1 <= server.billed <= 3 and made.spent <= 0.035
    assert sum(bool(answer.reranked) for answer in answers) == server.billed
    assert all(len(answer.hits) == 3 for answer in answers)
    assert "left of the budget of $0.0350" in caplog.text


def test_the_weight_leaves_a_part_to_the_search_and_explain_shows_it(products: Pipeline, reranker: Any) -> None:
    with RerankServer(lambda query, text: number(text)) as server:
        found = searcher(products, reranker(server, weight=0.0))
        plain = found.search(QUERY, mode="hybrid", limit=20, rerank=False)
        assert keys(found.search(QUERY, mode="hybrid", limit=20)) == keys(plain)
        explained = searcher(products, reranker(server)).search(QUERY, mode="hybrid", limit=60, explain=True).hits
    for hit in explained[:50]:
        assert hit.parts is not None and hit.parts["rerank"] == number(hit.metadata["name"])
        assert hit.parts["final"] == hit.score
    assert all(hit.parts is not None and hit.parts["rerank"] is None for hit in explained[50:])


def test_a_static_score_counts_as_before(products: Pipeline, reranker: Any) -> None:
    ranking = Ranking(static="stock", static_weight=10.0)
    with RerankServer(lambda query, text: number(text)) as server:
        found = searcher(products, reranker(server, top=1000), ranking)
        hits = found.search(QUERY, mode="keyword", limit=50).hits
    assert [(hit.metadata["stock"], hit.key) for hit in hits] == sorted(
        ((hit.metadata["stock"], hit.key) for hit in hits), reverse=True
    )


def test_the_best_passage_is_sent_and_metadata_where_no_text_is_kept(
    products: Pipeline, reranker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rowvec.testing.generation import MemoryGeneration
    from rowvec.types import ScoredPassage

    divided = (ScoredPassage(0, 5, 0.1), ScoredPassage(6, 12, 0.9))
    kept = {7: StoredText("first second", divided)}
    monkeypatch.setattr(MemoryGeneration, "texts", lambda self, keys, vector=None: kept)
    with RerankServer(lambda query, text: 1.0) as server:
        hits = searcher(products, reranker(server, top=120)).search("brake pads", limit=120).hits
    sent = set(server.log[0].texts)
    assert "second" in sent and "first second" not in sent
    assert sent - {"second"} == {hit.metadata["name"] for hit in hits if hit.key != 7}


def test_a_search_that_does_not_want_it_asks_nobody(products: Pipeline, reranker: Any) -> None:
    with RerankServer(lambda query, text: 1.0) as server:
        found = searcher(products, reranker(server))
        assert (
            found.search(QUERY, rerank=False).as_dict().keys()
            == searcher(products, None).search(QUERY).as_dict().keys()
        )
        found.similar(7)
        assert server.log == []
    with pytest.raises(SearchError, match="has no reranker"):
        searcher(products, None).search(QUERY, rerank=True)


def test_requests_beyond_those_at_once_are_dropped_where_nobody_waits(
    products: Pipeline, reranker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "AT_ONCE", 1)
    with RerankServer(lambda query, text: 1.0, latency=0.6) as server:
        found = searcher(products, reranker(server, timeout=0.1))
        asked = [threading.Thread(target=found.search, args=(f"brake {n}",)) for n in range(5)]
        for each in asked:
            each.start()
        for each in asked:
            each.join()
        server.ending.wait(0.3)
        assert len(server.log) == 1
