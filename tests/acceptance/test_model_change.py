"""A model is changed while others search: nobody notices but by better hits."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.stores.postgres.generation import PostgresGeneration
from rowvec.support import killpoints
from rowvec.support.killpoints import Step
from rowvec.syncing import run, writer
from rowvec.types import Embedded
from tests.acceptance.killed import KILLED, kill_at
from tests.acceptance.shop import ROWVEC, Finished, Shop, wait_until
from tests.support_tiny_models import tiny_model

CLIENTS = 4
ROWS = 400
STABLE = "price < 1000"
"""The rows that are edited on the way cost more."""
IN_FLIGHT = 3 * 20
"""Three calls of the embedder, two at work and one in line."""
STORE = 'kind = "postgres", url = "${STORE_URL}", table = "products_vectors", metadata = ["price"]'
LETTERS = "abcdefghij"


def name(number: int) -> str:
    """A text of its own for each row, in the letters that the tiny models know."""
    return "the " + " ".join(LETTERS[int(digit)] for digit in f"{number:04}") + (" cat" if number % 2 else " dog")


class Rig(Shop):
    def use(self, model: str, **parts: str) -> None:
        embedder = f'kind = "local", model = "./{model}", workers = 1, cache_dir = "./cache"'
        text = 'columns = ["name"]'
        self.declare(**{"embedder": embedder, "text": text, "store": STORE, **parts})

    def done(self, *arguments: str) -> Finished:
        finished = self.run(*arguments)
        assert finished.code == 0, finished.err
        return finished

    def generations(self) -> dict[str, Any]:
        return {each["state"]: each for each in json.loads(self.done("generations", "--json").out)}

    def model(self, state: str = "live") -> str:
        return str(self.generations()[state]["fingerprint"]["model"])


@pytest.fixture
def rig(tmp_path: Path, postgres_url: str) -> Rig:
    """A shop of 400 things, synced with the model `old`; `new` is of the same size, so that nothing but the scores
    tells one's vectors from the other's."""
    for seed, model in enumerate(["old", "new"]):
        tiny_model(tmp_path / model, seed=seed)
    rig = Rig(tmp_path, {"STORE_URL": postgres_url})
    rig.sql("create table products (id integer primary key, name text, description text, price real)")
    rig.sql("insert into products values (?, ?, null, ?)", *((n, name(n), n / 2) for n in range(1, ROWS + 1)))
    rig.sql("insert into products values (?, ?, null, ?)", *((n, name(n), n) for n in range(2000, 2020)))
    rig.use("old")
    rig.done("sync")
    return rig


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Processes that are forked from now on embed slowly, commit often and write down what they embed.

    They wait as long as there is a file `hold`, and are slower still as long as there is a file `slower`.
    """
    bill, hold, slower = tmp_path / "bill", tmp_path / "hold", tmp_path / "slower"
    embed = LocalEmbedder.embed

    def slowly(self: LocalEmbedder, texts: Sequence[str]) -> Embedded:
        threading.Event().wait(1.5 if slower.exists() else 0.15)
        while hold.exists():
            threading.Event().wait(0.02)
        answer = embed(self, texts)
        with open(bill, "a", encoding="utf-8") as file:
            file.write("".join(f"{self.fingerprint.model}: {text}\n" for text in texts))
        return answer

    monkeypatch.setattr(LocalEmbedder, "embed", slowly)
    monkeypatch.setattr(LocalEmbedder, "chunk_texts", 20)
    monkeypatch.setattr(writer, "COMMIT_ROWS", 20)
    monkeypatch.setattr(PostgresGeneration, "rows_at_once", 20)
    monkeypatch.setattr(run, "SLICE_SECONDS", 0.5)
    return bill


@contextmanager
def served(rig: Rig) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*ROWVEC, "serve", "--port", str(port), "--rate", "100000"],
        cwd=rig.folder, env=rig.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, "the server ended"
        try:
            return httpx.get(f"{url}/health").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(ready, "the server answers")
        yield url
    finally:
        process.terminate()
        process.wait(30)


class Clients:
    """Search without a pause, each for the text of one row after the other, and keep every answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[tuple[int, int, Any]] = []
        """Number of the row, status, body."""
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._search, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(30)

    def _search(self, client: int) -> None:
        number = client
        mode = ("semantic", "hybrid", "semantic", "semantic")[client]
        with httpx.Client(base_url=self.url, timeout=30) as http:
            while not self._done.is_set():
                number = number % ROWS + 1
                asked = {"query": "name: " + name(number), "limit": "5", "where": STABLE, "mode": mode}
                try:
                    reply = http.get("/search", params={**asked, "explain": "true"})
                    self.answers.append((number, reply.status_code, reply.json()))
                except httpx.TransportError as error:
                    self.answers.append((number, 0, repr(error)))
                number += CLIENTS

    def go_on(self, answers: int = 60) -> None:
        """Wait until this many more have come."""
        wanted = len(self.answers) + answers
        wait_until(lambda: len(self.answers) >= wanted, "the clients get answers")


def expected(folder: Path, model: str) -> Callable[[int], Any]:
    """Cosine similarity of every stable row to the text of one of them, by a model of its own."""
    embedder = LocalEmbedder(str(folder / model), workers=1, cache_dir=folder / "cache")
    texts = ["name: " + name(number) for number in range(1, ROWS + 1)]
    vectors = embedder.embed(texts).vectors
    embedder.close()
    return lambda number: vectors @ vectors[number - 1]


def generation_of(answer: tuple[int, int, Any], models: dict[str, Callable[[int], Any]]) -> str:
    """Whose scores an answer shows: `old`, `new`, or what is wrong with it."""
    number, status, body = answer
    if status != 200:
        return f"failed: {status} {body}"
    hits = body["results"]
    by_meaning = all(hit["explain"]["keyword"] is None for hit in hits)
    if len(hits) != 5 or (by_meaning and hits[0]["id"] != number):
        return f"wrong hits: {body}"
    meant = {hit["id"]: hit["explain"]["semantic"] for hit in hits if hit["explain"]["semantic"] is not None}
    for model, scores in models.items():
        wanted = scores(number)
        if all(abs(wanted[id - 1] - score) < 1e-4 for id, score in meant.items()):
            return model
    return f"mixed: {body}"


@pytest.mark.slow
def test_a_model_change_under_four_search_clients(rig: Rig, slow: Path) -> None:
    marks: dict[str, int] = {}
    with served(rig) as url, Clients(url) as clients:

        def mark(moment: str) -> None:
            clients.go_on()
            marks[moment] = len(clients.answers)

        mark("before")
        rig.use("new")
        kill_at(Step.WRITE_AFTER_COMMIT, 4)
        killed = rig.start("sync")
        killpoints.observer = None
        assert killed.finish().code == KILLED
        found = rig.generations()
        assert found["live"]["rows"] == ROWS + 20
        assert 0 < found["building"]["rows"] < ROWS
        mark("killed")

        rig.sql("delete from products where id = 2000")
        rig.sql(f"update products set name = '{name(7777)}' where id = 2001")
        rig.sql(f"insert into products values (3000, '{name(3000)}', null, 3000)")
        slower = slow.with_name("slower")
        slower.touch()
        resumed = rig.start("sync")
        wait_until(lambda: _dear(url, name(7777)) == 2001, "the live generation is kept in step")
        assert _dear(url, name(3000)) == 3000
        assert rig.model("live") == "old", "still, while the new one is filled"
        slower.unlink()
        finished = resumed.finish()
        assert finished.code == 0, finished.err
        mark("swapped")
        assert rig.model("live") == "new"
        assert _dear(url, name(7777)) == 2001

        rig.done("rollback")
        mark("rolled back")
        assert rig.model("live") == "old"
        rig.done("rollback")
        mark("forward again")

    bill = Counter(line for line in slow.read_text(encoding="utf-8").splitlines() if line.startswith("new: "))
    models = {model: expected(rig.folder, model) for model in ("old", "new")}
    seen = [generation_of(answer, models) for answer in clients.answers]
    counted = Counter(seen)
    print(f"\n{len(seen)} searches by {CLIENTS} clients: {dict(counted)}; up to each moment: {marks}")
    assert counted.keys() == {"old", "new"}, [each for each in seen if each not in models][:3]
    before = seen[: marks["killed"]]
    assert set(before) == {"old"}
    assert seen[marks["swapped"] - 1] == "new"
    assert seen[marks["rolled back"] - 1] == "old"
    assert seen[marks["forward again"] - 1] == "new"

    paid_again = sum(count - 1 for count in bill.values())
    print(f"{len(bill)} texts embedded by the new model, {paid_again} of them again after the kill")
    assert paid_again <= IN_FLIGHT


def _dear(url: str, text: str) -> int:
    """The row that a search among the dear ones finds first."""
    asked = {"query": "name: " + text, "limit": "1", "where": "price >= 1000"}
    return int(httpx.get(f"{url}/search", params=asked).json()["results"][0]["id"])


def test_the_plan_tells_of_the_change_and_the_commands_of_the_generations(rig: Rig) -> None:
    shown = rig.done("generations").out
    assert "live" in shown
    assert "old (32 dimensions, float32)" in shown
    rig.use("new")
    planned = rig.done("plan").out
    assert "The model changes from old (32 dimensions" in planned
    assert "model changed" in planned
    assert "420 texts to embed" in planned
    assert json.loads(rig.done("plan", "--json").out)["generation"].startswith("The model changes")
    synced = rig.done("sync")
    assert "The new generation is live." in synced.err
    assert json.loads(rig.done("search", "name: " + name(7), "--json").out)["results"][0]["id"] == 7
    back = rig.done("rollback")
    assert "Live is the generation of old" in back.err
    found = rig.generations()
    assert found["previous"]["undone"] is True
    again = rig.done("sync")
    assert "was rolled back on" in again.err
    assert "0 texts embedded" in again.out
    assert json.loads(rig.done("search", "name: " + name(7), "--json").out)["results"][0]["score"] > 0.9999
    rig.done("sync", "--accept")
    assert rig.model() == "new"
    rig.done("generations", "--drop", "previous")
    assert rig.generations().keys() == {"live"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("rollback",), 1, "no previous generation"),
        (("generations", "--drop", "previous"), 1, "no previous generation"),
        (("generations", "--drop", "live"), 1, "is what searches see"),
        (("generations", "--drop", "all"), 2, "There is no generation 'all'"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason(
    rig: Rig, arguments: tuple[str, ...], code: int, said: str
) -> None:
    refused = rig.run(*arguments)
    assert (refused.code, said in refused.err) == (code, True), refused.err
    assert rig.generations()["live"]["rows"] == ROWS + 20


def test_a_model_that_is_gone_is_told_and_nothing_is_lost(rig: Rig) -> None:
    rig.use("new")
    rig.done("sync")
    (rig.folder / "old").rename(rig.folder / "elsewhere")
    refused = rig.run("rollback")
    assert refused.code == 1
    assert "cannot be loaded" in refused.err
    assert rig.model() == "new"
    (rig.folder / "elsewhere").rename(rig.folder / "old")
    rig.done("rollback")
    (rig.folder / "old").rename(rig.folder / "elsewhere")
    rig.sql("delete from products where id = 5")
    synced = rig.done("sync")
    assert "its model cannot be loaded" in synced.err
    assert "1 deleted" in synced.out
    assert "cannot be loaded" in rig.run("search", name(5)).err


def test_two_model_changes_at_once_are_one(rig: Rig, slow: Path) -> None:
    rig.use("new")
    first = rig.start("sync")
    wait_until(lambda: "building" in rig.generations(), "the first has begun")
    hold = slow.with_name("hold")
    hold.touch()
    second = rig.run("sync")
    assert (second.code, "Another sync" in second.err) == (1, True)
    assert rig.run("rollback").code == rig.run("generations", "--drop", "building").code == 1
    hold.unlink()
    assert first.finish().code == 0
    assert rig.model() == "new"


def test_the_gate_of_the_config_holds_a_worse_model(rig: Rig) -> None:
    queries = rig.folder / "queries.csv"
    queries.write_text("id,query\n" + "".join(f"{n},name: {name(n)}\n" for n in range(1, 21)))
    (rig.folder / "judgements.csv").write_text(
        "query_id,docid,rating\n" + "".join(f"{n},{n},1\n" for n in range(1, 21))
    )
    store = STORE + ' }\neval = { queries = "queries.csv", judgements = "judgements.csv"'
    rig.use("new", store=store)
    synced = rig.done("sync")
    assert "nDCG@10 1.0000, the live generation 1.0000, tolerance 0.01" in synced.err
    # A model that sees the first word only takes every thing for the same one.
    tiny_model(rig.folder / "blind", seed=3, settings={"max_seq_length": 4})
    blind = 'kind = "local", model = "./blind", workers = 1, cache_dir = "./cache", overflow = "truncate"'
    rig.use("blind", store=store, embedder=blind)
    held = rig.run("sync")
    assert held.code == 1
    assert "worse than the live one and was not put live: nDCG@10 0." in held.err
    assert rig.model() == "new"
    assert rig.model("building") == "blind"
    rig.done("sync", "--accept")
    assert rig.model() == "blind"
    assert np.isfinite(json.loads(rig.done("search", "name: " + name(3), "--json").out)["results"][0]["score"])
