"""A server on loopback that ranks texts as the services do that `rowvec.rerankers` knows, with faults and a bill.

with RerankServer(lambda query, text: float(query in text)) as server:
    ServiceReranker("cohere", server.url("cohere"), "a-model", api_key="test-key")
assert server.billed == 1
"""

from __future__ import annotations

import enum
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.servers.loopback import Handler, LoopbackServer

PATHS = {"/v2/rerank": "cohere", "/jina/v1/rerank": "jina", "/voyage/v1/rerank": "voyage", "/rerank": "tei"}
KEY = "test-key-of-the-reranker"
TEI_TEXTS = 32
"""What text-embeddings-inference takes at once."""


class Fault(enum.StrEnum):
    LATE = "the answer comes after ten seconds"
    DRIP = "a byte comes every 50 ms"
    CUT = "the connection breaks after the work"
    ERROR = "500"
    LIMIT = "429"
    WRONG_KEY = "401, and the key in the message"
    HTML = "200 with a web page"
    EMPTY = "200 with nothing"
    HALF = "200 with half of its JSON"
    NO_LIST = "200 with an error object"
    FEWER = "one score is missing"
    MORE = "one score too many"
    BEYOND = "an index that is out of range"
    BELOW = "an index of -1"
    REPEATED = "two scores of one text"
    NO_INDEX = "an index is missing"
    NAN = "a score that is NaN"
    INFINITE = "a score that is infinite"
    NULL = "a score that is null"
    TEXT = "a score that is a text"
    HUGE = "five million bytes"


@dataclass(frozen=True)
class Asked:
    kind: str
    query: str
    texts: tuple[str, ...]
    body: Mapping[str, Any]
    key: str | None
    at: float


class RerankServer(LoopbackServer):
    """
    Args:
        judge: the score of a text for a query.
        script: what happens to the first requests, one item each; None is a good answer.
        always: what happens to all the others.
        usage: answers say what they billed.
    """

    def __init__(
        self,
        judge: Callable[[str, str], float],
        *,
        script: Iterable[Fault | None] = (),
        always: Fault | None = None,
        latency: float = 0.0,
        usage: bool = True,
    ) -> None:
        super().__init__(_Handler)
        self.judge = judge
        self.script = deque(script)
        self.always = always
        self.latency = latency
        self.usage = usage
        self.log: list[Asked] = []
        self.billed = 0
        """Requests whose work was done."""
        self.tokens = 0
        self.lock = threading.Lock()
        self.ending = threading.Event()

    def url(self, kind: str) -> str:
        return f"http://{self.address}{next(path for path, known in PATHS.items() if known == kind)}"

    def __exit__(self, *error: object) -> None:
        self.ending.set()
        super().__exit__(*error)


class _Handler(Handler):
    owner: RerankServer

    def do_POST(self) -> None:
        owner, kind = self.owner, PATHS[self.path]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = body["texts" if kind == "tei" else "documents"]
        scheme, _, sent = self.headers.get("Authorization", "").partition(" ")
        key = sent if scheme == "Bearer" else None
        with owner.lock:
            owner.log.append(Asked(kind, body["query"], tuple(texts), body, key, time.monotonic()))
            fault = owner.script.popleft() if owner.script else owner.always
        problem = _refusal(kind, body, texts, key)
        if problem or fault in _STATUS:
            status, said = problem or _STATUS[fault or Fault.ERROR]
            self._send(status, json.dumps({"message": said.replace("KEY", key or "")}).encode())
            return
        with owner.lock:
            owner.billed += 1
            owner.tokens += (tokens := sum(len(text) // 4 + 1 for text in texts))
        owner.ending.wait(10.0 if fault is Fault.LATE else owner.latency)
        if fault is Fault.CUT:
            self.close_connection = True
            return
        answer = (fault and _PLAIN.get(fault)) or self._answer(kind, body, texts, fault, tokens)
        if fault is Fault.DRIP:
            self._drip(answer)
            return
        self._send(200, answer[: len(answer) // 2] if fault is Fault.HALF else answer)

    def _answer(self, kind: str, body: Mapping[str, Any], texts: list[str], fault: Fault | None, tokens: int) -> bytes:
        score = "score" if kind == "tei" else "relevance_score"
        results = [{"index": index, score: self.owner.judge(body["query"], text)} for index, text in enumerate(texts)]
        results.sort(key=lambda each: -each[score])
        _spoil(results, score, fault)
        if kind == "tei":
            return json.dumps(results).encode()
        answer: dict[str, Any] = {"data" if kind == "voyage" else "results": results}
        if self.owner.usage and kind == "cohere":
            answer["meta"] = {"billed_units": {"search_units": 1.0}}
        elif self.owner.usage:
            answer["usage"] = {"total_tokens": tokens}
        return json.dumps(answer).encode()

    def _drip(self, answer: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        for byte in answer:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.owner.ending.wait(0.05):
                break

    def _send(self, status: int, body: bytes) -> None:
        self.reply(status, body, {"Content-Type": "application/json"})


def _refusal(kind: str, body: Mapping[str, Any], texts: list[str], key: str | None) -> tuple[int, str] | None:
    """What the services themselves refuse."""
    if kind == "tei":
        return (413, f"batch size {len(texts)} > maximum allowed batch size 32") if len(texts) > TEI_TEXTS else None
    if key != KEY:
        return 401, "invalid api token"
    top = body.get("top_k" if kind == "voyage" else "top_n")
    return (422, "top is out of range") if not body.get("model") or top != len(texts) or "" in texts else None


def _spoil(results: list[dict[str, Any]], score: str, fault: Fault | None) -> None:
    last = results[-1]
    if fault is Fault.FEWER:
        results.pop()
    elif fault is Fault.MORE:
        results.append(dict(last))
    elif fault is Fault.BEYOND:
        last["index"] = len(results)
    elif fault is Fault.BELOW:
        last["index"] = -1
    elif fault is Fault.REPEATED:
        last["index"] = results[0]["index"]
    elif fault is Fault.NO_INDEX:
        del last["index"]
    elif fault in _VALUES:
        last[score] = _VALUES[fault]


_VALUES = {Fault.NAN: float("nan"), Fault.INFINITE: float("inf"), Fault.NULL: None, Fault.TEXT: "0.9"}
_STATUS = {
    Fault.ERROR: (500, "internal error"),
    Fault.LIMIT: (429, "too many requests"),
    Fault.WRONG_KEY: (401, "the key KEY is not known"),
}
_PLAIN = {
    Fault.HTML: b"<!doctype html><html><body>Welcome</body></html>",
    Fault.EMPTY: b" ",
    Fault.NO_LIST: b'{"error": {"message": "Provider returned error"}}',
    Fault.HUGE: b'{"results": "' + b"x" * 5_000_000 + b'"}',
}
