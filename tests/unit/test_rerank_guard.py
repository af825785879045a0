"""A reranker that fails again and again is left alone for a while; one on this machine is loaded once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rowvec.assemble import build_reranker
from rowvec.cli.status import _facts
from rowvec.cli.sync import _print_plan
from rowvec.embedders.local.cross_encoder import CrossEncoder
from rowvec.errors import EmbedderError, StoreError
from rowvec.pipeline import Pipeline
from rowvec.pipeline_status import status
from rowvec.rerankers import breaker, keeping
from rowvec.rerankers.base import Reranker
from rowvec.rerankers.breaker import FAILURES, Breaker
from rowvec.rerankers.guarded import Guarded
from rowvec.rerankers.keeping import KeptSpending
from rowvec.rerankers.local import LocalReranker
from rowvec.rerankers.pricing import RerankPrice
from rowvec.rerankers.service import ServiceReranker
from rowvec.searcher import Searcher, SearchResult
from rowvec.syncing.preview import preview
from tests.integration.serve_rig import product_pipeline
from tests.servers.rerank import KEY, Fault, RerankServer
from tests.support_cross_encoders import CASES, write_cross_encoder
from tests.unit.configs import pipeline

QUERY = "brake pads"


@pytest.fixture(scope="module")
def products() -> Pipeline:
    return product_pipeline(count=40)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Numbers:
    """A model that scores by the number at the end of a text.

    Attributes:
        held: a score waits for this.
    """

    def __init__(self, score: Callable[[str], float] = lambda text: float(text.split()[-1].replace("up", "0"))) -> None:
        self.score = score
        self.held: threading.Event | None = None
        self.abandoned = threading.Event()
        self.closed = 0

    def scores(self, query: str, texts: Sequence[str], abandoned: Callable[[], bool]) -> Any:
        while self.held is not None and not self.held.wait(0.01):
            if abandoned():
                self.abandoned.set()
                return None
        return [self.score(text) for text in texts]

    def close(self) -> None:
        self.closed += 1


def searched(products: Pipeline, reranker: Reranker, query: str = QUERY) -> SearchResult:
    return Searcher(products.store, products.embedder, products.spec, products.ranking, reranker=reranker).search(query)


def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_probe_through() -> None:
    clock = Clock()
    found = Breaker(clock)
    for _ in range(FAILURES - 1):
        found.failed()
    found.succeeded()
    for _ in range(FAILURES):
        assert found.admits()
        found.failed()
    assert not found.admits() and found.left == breaker.REST
    clock.now += breaker.REST
    assert [found.admits() for _ in range(3)] == [True, False, False]
    found.failed()
    clock.now += breaker.REST - 1
    assert not found.admits()
    clock.now += 1
    assert found.admits()
    found.succeeded()
    assert [found.admits() for _ in range(3)] == [True] * 3


@pytest.mark.parametrize("kind", ["service", "local"])
def test_searches_wait_for_what_hangs_a_few_times_and_then_no_more(
    products: Pipeline, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, model = Clock(), Numbers()
    with RerankServer(lambda query, text: float(text.split()[-1]), always=Fault.LATE) as server:
        made: Guarded
        if kind == "local":
            made = LocalReranker(lambda: model, "m", timeout=0.2)
            model.held = threading.Event()
        else:
            made = ServiceReranker("cohere", server.url("cohere"), "m", api_key=KEY, timeout=0.2)
        made.breaker = Breaker(clock)
        answers = [searched(products, made) for _ in range(FAILURES)]
        assert {answer.rerank_problem for answer in answers} == {"The reranker did not answer within 200 ms."}
        began = time.monotonic()
        resting = [searched(products, made) for _ in range(5)]
        assert time.monotonic() - began < 1.0 < 5 * 0.2 + 0.5
        server.always = None
        if model.held:
            assert model.abandoned.wait(5)
            model.held.set()
        clock.now += breaker.REST
        again = searched(products, made, "another question")
        server.ending.set()
        made.close()
    for answer in resting:
        said = answer.as_dict()
        assert said["reranked"] is False and len(said["results"]) == 10
        assert said["rerank_problem"] == (
            f"The reranker is not asked for another {breaker.REST:.0f} s, after {FAILURES} failures in a row."
            " The last time, it did not answer within 200 ms."
        )
        assert answer.rerank_ms < 200
    assert again.reranked is True and again.rerank_problem == ""
    assert "rerank_problem" not in again.as_dict()


def test_an_answer_that_is_kept_serves_a_search_during_a_rest(products: Pipeline) -> None:
    with RerankServer(lambda query, text: float(text.split()[-1])) as server:
        made = ServiceReranker("cohere", server.url("cohere"), "m", api_key=KEY, timeout=5.0)
        assert searched(products, made).reranked is True
        for _ in range(FAILURES):
            made.breaker.failed()
        assert searched(products, made).reranked is True
        assert len(server.log) == 1
        made.close()


def test_what_was_never_asked_is_no_failure(products: Pipeline) -> None:
    made = ServiceReranker("cohere", "https://far.example/rerank", "m", key_env="COHERE_API_KEY", needs_key=True)
    for _ in range(FAILURES + 1):
        assert searched(products, made).rerank_problem == "The reranker needs a key, but COHERE_API_KEY is not set."
    made.close()


def test_a_local_reranker_is_loaded_once_and_given_back(products: Pipeline) -> None:
    model, loads = Numbers(), []

    def load() -> Numbers:
        loads.append(1)
        time.sleep(0.2)
        return model

    made = LocalReranker(load, "m", timeout=5.0)
    assert loads == []
    clients = [threading.Thread(target=made.warm) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert [hit.key for hit in searched(products, made).hits] == list(range(40, 30, -1))
    assert loads == [1] and made.spent == 0
    made.close()
    made.close()
    assert model.closed == 1


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_scores_that_are_not_numbers_change_no_order(products: Pipeline, wrong: float) -> None:
    found = searched(products, LocalReranker(lambda: Numbers(lambda text: wrong), "m"))
    assert found.rerank_problem == "The reranker gave a score that is not a number."
    assert found.hits == searched(products, LocalReranker(lambda: Numbers(lambda text: wrong), "m")).hits


def test_a_model_that_cannot_be_loaded_says_why_and_costs_no_hits(products: Pipeline, caplog: Any) -> None:
    def load() -> Numbers:
        raise EmbedderError("The local reranker cannot run the model 'm': it has 3 labels.")

    made = LocalReranker(load, "m")
    made.warm()
    found = searched(products, made)
    assert len(found.hits) == 10
    assert found.rerank_problem == "The reranker failed: The local reranker cannot run the model 'm': it has 3 labels."
    assert "it has 3 labels" in caplog.text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROWVEC_CACHE", str(tmp_path / "cache"))
    return write_cross_encoder(tmp_path / "reranker", CASES["ms-marco-MiniLM"])


def test_the_config_names_a_folder_and_searches_come_in_its_order(products: Pipeline, folder: Path) -> None:
    table = 'search = { rerank = { kind = "local", model = "reranker", top = 20, timeout = "20s" } }'
    declared = pipeline(folder.parent, table)
    assert declared.search.rerank is not None and declared.search.rerank.model == str(folder)
    made = build_reranker(declared)
    assert isinstance(made, LocalReranker)
    found = searched(products, made)
    plain = Searcher(products.store, products.embedder, products.spec, products.ranking).search(QUERY, limit=20)
    model = CrossEncoder(str(folder))
    given = model.scores(QUERY, [hit.metadata["name"] for hit in plain.hits])
    assert given is not None and found.reranked is True
    order = sorted(zip([-float(score) for score in given], range(20), strict=True))
    assert [hit.key for hit in found.hits] == [plain.hits[place].key for _, place in order][:10]
    model.close()
    made.close()


def test_a_name_on_the_hub_is_no_path(tmp_path: Path) -> None:
    table = 'search = { rerank = { kind = "local", model = "cross-encoder/ms-marco-MiniLM-L6-v2" } }'
    chosen = pipeline(tmp_path, table).search.rerank
    assert chosen is not None
    assert (chosen.model, chosen.timeout) == ("cross-encoder/ms-marco-MiniLM-L6-v2", 2.0)


def test_weights_that_give_nan_are_told_and_check_says_so(products: Pipeline, folder: Path) -> None:
    from rowvec.cli.check import _reranker

    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] = np.full(1, np.nan, np.float32)
    save_file(weights, folder / "model.safetensors")
    declared = pipeline(folder.parent, 'search = { rerank = { kind = "local", model = "reranker", timeout = "20s" } }')
    made = build_reranker(declared)
    assert made is not None
    assert searched(products, made).rerank_problem == "The reranker gave a score that is not a number."
    (line,) = _reranker(declared, made)
    assert not line.ok and "not a number" in line.detail
    made.close()


def test_check_names_the_model_or_what_is_wrong_with_it(folder: Path) -> None:
    from rowvec.cli.check import _reranker

    declared = pipeline(folder.parent, 'search = { rerank = { kind = "local", model = "reranker", timeout = "20s" } }')
    made = build_reranker(declared)
    (line,) = _reranker(declared, made)
    assert line.ok and "local, reranker (BERT, pairs of 180 tokens), the first 50 hits" in line.detail
    assert made is not None
    made.close()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "t5"}))
    (line,) = _reranker(declared, build_reranker(declared))
    assert not line.ok and "its architecture is 't5'" in line.detail and "text-embeddings-inference" in str(line.fix)


def priced(server: RerankServer) -> ServiceReranker:
    return ServiceReranker(
        "cohere", server.url("cohere"), "m", api_key=KEY, timeout=5.0, price=RerankPrice(per_search=0.002)
    )


def test_spending_is_kept_in_the_store_by_the_end_and_meanwhile_without_a_write_for_each_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    products, writes = product_pipeline(count=40), []

    def spend(cost: float) -> None:
        products.store.spend(cost)
        writes.append(cost)

    with RerankServer(lambda query, text: float(text.split()[-1])) as server:
        monkeypatch.setattr(keeping, "EVERY", 0.3)
        made = KeptSpending(priced(server), spend)
        for number in range(5):
            assert searched(products, made, f"pads {number}").reranked is True
        deadline = time.monotonic() + 20
        while products.store.totals().rerank_cost != pytest.approx(0.01):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        before = len(writes)
        monkeypatch.setattr(keeping, "EVERY", 600.0)
        searched(products, made, "oil")
        searched(products, made, "oil")
        assert len(writes) == before <= 5
        made.close()
        made.close()
        assert products.store.totals().rerank_cost == pytest.approx(made.spent) == pytest.approx(0.012)
        assert len(writes) == before + 1


def test_a_store_that_cannot_keep_it_costs_no_search_and_is_told_once(products: Pipeline, caplog: Any) -> None:
    def refuse(cost: float) -> None:
        raise StoreError("permission denied for table spending")

    with RerankServer(lambda query, text: 1.0) as server:
        made = KeptSpending(priced(server), refuse)
        assert searched(products, made).reranked is True
        made._write()
        made.close()
        assert made.spent == pytest.approx(0.002)
    assert caplog.text.count("permission denied for table spending") == 1


def test_only_what_has_a_price_writes(tmp_path: Path, products: Pipeline) -> None:
    def built(more: str) -> Reranker | None:
        table = f'search = {{ rerank = {{ kind = "tei", url = "http://127.0.0.1:8080/rerank"{more} }} }}'
        return build_reranker(pipeline(tmp_path, table), products.store)

    assert isinstance(built(""), ServiceReranker)
    assert isinstance(built(", price_per_search = 0.1"), KeptSpending)


def test_status_and_plan_say_what_searches_spent(capsys: pytest.CaptureFixture[str]) -> None:
    products = product_pipeline(count=5)
    assert "rerank cost" not in dict(_facts(status(products)))
    products.store.spend(0.25)
    found = status(products)
    assert dict(_facts(found))["rerank cost"] == "$0.2500 for searches"
    assert found.as_dict()["totals"]["rerank_cost"] == 0.25
    planned = preview(products)
    assert planned.as_dict()["rerank_cost"] == 0.25
    _print_plan(products, planned)
    assert "Searches have spent $0.2500 on the reranker so far" in capsys.readouterr().out
