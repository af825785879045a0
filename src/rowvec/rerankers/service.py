"""A reranker behind HTTP: Cohere, Jina, Voyage, text-embeddings-inference, and whatever speaks as they do.

A request runs in a thread of its own, and the search waits for it no longer than `timeout`: the timeouts of an HTTP
client are of single reads, and a server that sends a byte now and then would hold a search for minutes. No process
waits for such a thread at its end, as it would for those of an executor. Nothing is sent twice. An answer is kept for
the same question, also one that came too late for the search that asked.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from contextvars import copy_context
from typing import TYPE_CHECKING

from rowvec.embedders.pricing import Budget, Hold
from rowvec.errors import BudgetExceeded
from rowvec.rerankers import wire
from rowvec.rerankers.base import NotAsked, Unusable
from rowvec.rerankers.guarded import Guarded
from rowvec.rerankers.pricing import RerankPrice
from rowvec.rerankers.wire import SHAPES
from rowvec.support.services import Answer, EndlessAnswer, checked_key, exchanged, http_client, quoted
from rowvec.support.tracing import service, span

if TYPE_CHECKING:
    import httpx2

AT_ONCE = 16
"""Requests; further ones wait, and are not sent once nobody waits for them."""
LATE = 5
"""A request may take this many times as long as a search waits: its answer is paid, and of use to the next search."""
KEPT = 256
"""Answers."""
MOST_BYTES = 4_000_000
"""Of an answer."""


class ServiceReranker(Guarded):
    """A `Reranker` over HTTP.

    Args:
        kind: a key of `wire.SHAPES`.
        url: the whole address that requests go to.
        model: None where the service has only one.
        key_env: the variable that the key comes from, for messages.
        needs_key: the service is known to answer nobody without one.
        timeout: seconds that a search waits.
        budget: counts the money, and may stop it.

    Raises:
        ConfigError: a key that no request can carry.
    """

    def __init__(
        self,
        kind: str,
        url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        key_env: str = "search.rerank.api_key",
        needs_key: bool = False,
        top: int = 50,
        weight: float = 1.0,
        timeout: float = 0.3,
        price: RerankPrice = RerankPrice(),
        budget: Budget | None = None,
    ) -> None:
        super().__init__(f"at {url}", top=top, weight=weight, timeout=timeout)
        self.price, self.budget = price, budget or Budget()
        self._shape, self._url, self._model = SHAPES[kind], url, model
        self._key = checked_key(api_key, key_env)
        self._missing = key_env if needs_key and self._key is None else None
        self._http: httpx2.Client | None = None
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._answers: OrderedDict[bytes, Future[list[float]]] = OrderedDict()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"ServiceReranker({self._url!r}, model={self._model!r})"

    @property
    def spent(self) -> float:
        return self.budget.spent + self.budget.lost

    def warm(self) -> None:
        self._client()

    def _ask(self, query: str, texts: Sequence[str]) -> list[float]:
        if self._missing is not None:
            raise NotAsked(f"needs a key, but {self._missing} is not set")
        client, deadline = self._client(), time.monotonic() + self.timeout
        asked = [self._asked(client, query, part) for part in self._parts(texts)]
        return [score for each in asked for score in self._awaited(each, deadline)]

    def _kept(self, query: str, texts: Sequence[str]) -> list[float] | None:
        with self._lock:
            known = [self._answers.get(self._question(query, part)[1]) for part in self._parts(texts)]
        answers = [each for each in known if each is not None and _answered(each)]
        return [score for each in answers for score in each.result()] if len(answers) == len(known) else None

    def _parts(self, texts: Sequence[str]) -> list[Sequence[str]]:
        most = self._shape.most
        return [texts[start : start + most] for start in range(0, len(texts), most)]

    def _question(self, query: str, texts: Sequence[str]) -> tuple[bytes, bytes]:
        """The body of a request, and what its answer is kept under."""
        body = wire.request(self._shape, self._model, query, texts)
        return body, hashlib.sha256(body).digest()

    def close(self) -> None:
        with self._lock:
            if self._http is not None:
                self._http.close()

    def _client(self) -> httpx2.Client:
        """Made by the first search, before its time runs: certificates take a while to load, and a sync needs none."""
        with self._lock:
            if self._http is None:
                self._http = http_client(self._url, self._key, LATE * self.timeout, AT_ONCE)
            return self._http

    def _asked(self, client: httpx2.Client, query: str, texts: Sequence[str]) -> Future[list[float]]:
        """The answer to this question, asked now unless it has been."""
        body, question = self._question(query, texts)
        with self._lock:
            known = self._answers.get(question)
            if known is not None:
                self._answers.move_to_end(question)
                return known
            asked: Future[list[float]] = Future()
            self._answers[question] = asked
            if len(self._answers) > KEPT:
                self._answers.popitem(last=False)
        asked.add_done_callback(lambda done: self._forget_failed(question, done))
        work = (self._answered, asked, client, body, query, texts)
        threading.Thread(target=copy_context().run, args=work, name="rowvec-rerank", daemon=True).start()
        return asked

    def _answered(
        self, asked: Future[list[float]], client: httpx2.Client, body: bytes, query: str, texts: Sequence[str]
    ) -> None:
        with self._slots:
            if not asked.set_running_or_notify_cancel():
                return
            try:
                asked.set_result(self._send(client, body, query, texts))
            except Exception as error:
                asked.set_exception(error)

    def _forget_failed(self, question: bytes, done: Future[list[float]]) -> None:
        if done.cancelled() or done.exception() is not None:
            with self._lock:
                if self._answers.get(question) is done:
                    del self._answers[question]

    def _awaited(self, asked: Future[list[float]], deadline: float) -> list[float]:
        try:
            return asked.result(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, CancelledError):
            asked.cancel()
            raise self._late() from None

    def _send(self, client: httpx2.Client, body: bytes, query: str, texts: Sequence[str]) -> list[float]:
        most = self.price.most(query, texts)
        about = {"gen_ai.request.model": self._model, "rowvec.texts": len(texts), **service(self._url)}
        try:
            with span("rerank", about, kind="CLIENT"), self.budget.hold(most) as hold:
                answer = self._answer(client, body, hold, most)
                hold.pay(self.price.billed(wire.usage_of(answer), most), wire.usage_of(answer).tokens or 0)
        except BudgetExceeded as error:
            raise NotAsked(f"was not asked. {error.message.removesuffix('.')}") from None
        return wire.scores_of(self._shape, answer, len(texts))

    def _answer(self, client: httpx2.Client, body: bytes, hold: Hold, most: float) -> object:
        """
        Raises:
            Unusable: no JSON came with a status of success. What it may have cost is booked.
        """
        import httpx2

        try:
            status, _, content = self._exchanged(client, body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise Unusable("cannot be reached") from None
        except (httpx2.HTTPError, EndlessAnswer) as error:
            # The request may have arrived and been billed: nobody knows.
            hold.lose(most)
            raise Unusable(self._broken(error)) from None
        if not 200 <= status < 300:
            said = quoted(wire.refusal(content), self._key)
            raise Unusable(f"refused with status {status}{': ' * bool(said)}{said}")
        try:
            return wire.parse(content)
        except Unusable:
            hold.lose(most)
            raise

    def _exchanged(self, client: httpx2.Client, body: bytes) -> Answer:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        late = LATE * self.timeout
        return exchanged(client, "POST", self._url, most_bytes=MOST_BYTES, seconds=late, content=body, headers=headers)

    def _broken(self, error: httpx2.HTTPError | EndlessAnswer) -> str:
        if isinstance(error, EndlessAnswer):
            return str(error)
        said = quoted(str(error), self._key)
        return f"broke the connection{': ' * bool(said)}{said}"


def _answered(asked: Future[list[float]]) -> bool:
    return asked.done() and not asked.cancelled() and asked.exception() is None
