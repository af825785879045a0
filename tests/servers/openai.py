"""A server on loopback that answers `POST /v1/embeddings` as OpenAI does, with faults and its own bill.

    with EmbeddingServer(latency=0.25, chances={Fault.ERROR: 0.1}) as server:
        OpenAIEmbedder("text-embedding-3-small", base_url=server.url, ...)
    assert server.billed_tokens < 50_000

The vector of a text follows from the text alone (`vector_of`), so that a test can tell whose vector it got.
`python -m tests.servers.openai --latency 0.25` runs it as a process, which prints its URL; `GET /stats` gives the bill.
"""

from __future__ import annotations

import argparse
import base64
import enum
import hashlib
import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.servers.loopback import Handler, LoopbackServer


class Fault(enum.StrEnum):
    """What goes wrong with one request. Those after NAN leave the answer usable, or say no before any work."""

    CUT_BEFORE = "the connection breaks before the work is done"
    CUT_AFTER = "the connection breaks after the work is billed"
    ERROR = "500"
    RATE_LIMIT = "429 with Retry-After"
    BUSY = "503 with Retry-After"
    WRONG_COUNT = "one vector is missing"
    WRONG_DIMENSION = "one vector is too short"
    REPEATED_INDEX = "two vectors claim the same text"
    NAN = "one vector holds NaN"
    ZERO = "one vector is all zeros"
    NOT_JSON = "200 with a body that stops half-way"
    HTML = "200 with a web page"
    ERROR_IN_200 = "200 with an error object"
    SHUFFLED = "the vectors come in another order, with their index"
    NO_USAGE = "usage is left out"
    WRONG_KEY = "401"
    NO_MONEY = "402"
    NO_QUOTA = "429 insufficient_quota"


LOST = frozenset(
    {
        Fault.CUT_AFTER,
        Fault.WRONG_COUNT,
        Fault.WRONG_DIMENSION,
        Fault.REPEATED_INDEX,
        Fault.NAN,
        Fault.ZERO,
        Fault.NOT_JSON,
    }
)
"""The faults that bill the request and leave the client without a usable answer."""


def vector_of(text: str, dimension: int) -> npt.NDArray[np.float32]:
    """The vector this server gives a text: unit length, shape (dimension,)."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return vector / np.float32(np.linalg.norm(vector))


def four_characters_a_token(texts: Sequence[str]) -> list[int]:
    return [len(text) // 4 + 1 for text in texts]


@dataclass(frozen=True)
class Request:
    """What the server saw of one request, and what it did with it."""

    texts: tuple[str, ...]
    fault: Fault | None
    status: int
    billed: int
    """Tokens."""
    body: Mapping[str, Any] = field(repr=False)
    at: float
    """Seconds on the monotonic clock, when it arrived."""


class EmbeddingServer(LoopbackServer):
    """Starts on entering, on a free port. Every attribute may be changed while it runs.

    Args:
        script: what happens to the first requests, one item each; None is a good answer.
        chances: for the requests after those, how likely each fault is; drawn from `seed`.
        refuse: a text for which the whole request is refused with 400, as for one that is too long.
        fall: a text for which the whole request gets 500, each time.
        spoil: a text whose vector is bad each time, and in what way: "nan", "null", "zero" or "short".
        dead: once true, every request is refused with 400, as where a budget is used up.
        latency: seconds from a request to its answer, the work included.
        retry_after: headers of a 429 or 503 that a fault made.
        rate: a number of requests in a number of seconds; more get a 429 that says exactly how long to wait.
        packing: what base64 is of, in numpy's words.
        fields: what the server understands besides model and input; a field left out is an error ("base64": 400
            for that encoding) except "dimensions", which is ignored in silence, as some servers do.
    """

    def __init__(
        self,
        *,
        dimension: int = 64,
        models: Iterable[str] = ("text-embedding-3-small",),
        api_key: str | None = "test-key",
        latency: float = 0.0,
        count_tokens: Callable[[Sequence[str]], list[int]] = four_characters_a_token,
        script: Iterable[Fault | None] = (),
        chances: Mapping[Fault, float] | None = None,
        seed: int = 0,
        refuse: Callable[[str], bool] = lambda text: False,
        fall: Callable[[str], bool] = lambda text: False,
        spoil: Callable[[str], str | None] = lambda text: None,
        fields: frozenset[str] = frozenset({"base64", "dimensions", "usage"}),
        retry_after: Mapping[str, str] | None = None,
        rate: tuple[int, float] | None = None,
        max_texts: int = 2048,
        max_tokens: int = 300_000,
        cost_per_token: float | None = None,
        packing: str = "<f4",
    ) -> None:
        super().__init__(_Handler)
        self.dimension = dimension
        self.models = frozenset(models)
        self.api_key = api_key
        self.latency = latency
        self.count_tokens = count_tokens
        self.script = deque(script)
        self.chances = dict(chances or {})
        self.refuse = refuse
        self.fall = fall
        self.spoil = spoil
        self.dead = False
        self.fields = fields
        self.retry_after = dict(retry_after or {"Retry-After": "0"})
        self.rate = rate
        self.max_texts = max_texts
        self.max_tokens = max_tokens
        self.cost_per_token = cost_per_token
        self.packing = packing
        self.log: list[Request] = []
        self.most_at_once = 0
        self._at_once = 0
        self._window: deque[float] = deque()
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://{self.address}/v1"

    @property
    def requests(self) -> int:
        return len(self.log)

    @property
    def billed_tokens(self) -> int:
        return sum(request.billed for request in self.log)

    @property
    def billed_texts(self) -> Counter[str]:
        """How often each text was billed."""
        return Counter(text for request in self.log if request.billed for text in request.texts)

    @property
    def lost_texts(self) -> Counter[str]:
        """How often each text was billed in a request whose answer was of no use to the client."""
        return Counter(text for request in self.log if request.fault in LOST for text in request.texts)

    def answer(self, body: dict[str, Any], key: str | None) -> _Answer:
        """Decides, works and bills, and answers when the latency is over."""
        arrived = time.monotonic()
        texts = body["input"] if isinstance(body.get("input"), list) else [str(body.get("input"))]
        tokens = sum(self.count_tokens(texts))
        with self._lock:
            fault = self._next_fault()
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            answer = (
                self._refusal(body, texts, tokens, key, arrived)
                or _FAULTS.get(fault or "")
                or self._work(body, texts, tokens, fault)
            )
            if answer.status in (200, 500):
                time.sleep(max(0.0, arrived + self.latency - time.monotonic()))
        finally:
            with self._lock:
                self._at_once -= 1
        if answer.status in (429, 503) and fault in (Fault.RATE_LIMIT, Fault.BUSY):
            answer = replace(answer, headers=self.retry_after)
        with self._lock:
            self.log.append(Request(tuple(texts), fault, answer.status, answer.billed, body, arrived))
        return answer

    def _next_fault(self) -> Fault | None:
        if self.script:
            return self.script.popleft()
        draw = self._random.random()
        for fault, chance in self.chances.items():
            draw -= chance
            if draw < 0:
                return fault
        return None

    def _refusal(
        self, body: dict[str, Any], texts: Sequence[str], tokens: int, key: str | None, now: float
    ) -> _Answer | None:
        if self.api_key is not None and key != self.api_key:
            return _error(401, f"Incorrect API key provided: {key}.", code="invalid_api_key")
        if self.dead:
            return _error(400, "Budget has been exceeded! Current cost: 10.2, Max budget: 10.0", code="400")
        if body.get("model") not in self.models:
            return _error(404, f"The model '{body.get('model')}' does not exist.", code="model_not_found")
        if body.get("encoding_format") == "base64" and "base64" not in self.fields:
            return _error(400, "encoding_format: 'base64' is not supported", param="encoding_format")
        if body.get("dimensions", 1) > self.dimension and "dimensions" in self.fields:
            return _error(400, f"dimensions must be at most {self.dimension}", param="dimensions")
        if len(texts) > self.max_texts or tokens > self.max_tokens:
            return _error(400, "max_tokens_per_request: the request is too large")
        if any(text == "" or self.refuse(text) for text in texts):
            return _error(400, "This model's maximum context length is 8192 tokens, please reduce your prompt")
        if any(map(self.fall, texts)):
            return _error(500, "llama runner process no longer running: EOF")
        if self.rate is not None and (wait := self._too_early(*self.rate, now)) > 0:
            return replace(_FAULTS[Fault.RATE_LIMIT], headers={"Retry-After": f"{wait:.3f}"})
        return None

    def _too_early(self, requests: int, seconds: float, now: float) -> float:
        """Seconds until one more request fits into the window; a request that fits is entered."""
        with self._lock:
            while self._window and self._window[0] <= now - seconds:
                self._window.popleft()
            if len(self._window) >= requests:
                return self._window[0] + seconds - now
            self._window.append(now)
        return 0.0

    def _work(self, body: dict[str, Any], texts: Sequence[str], tokens: int, fault: Fault | None) -> _Answer:
        dimension = body.get("dimensions", self.dimension) if "dimensions" in self.fields else self.dimension
        vectors = [vector_of(text, dimension) for text in texts]
        _spoil(vectors, fault)
        packed = body.get("encoding_format") == "base64"
        data: list[dict[str, Any]] = [
            {
                "object": "embedding",
                "index": 0 if fault is Fault.REPEATED_INDEX else index,
                "embedding": base64.b64encode(vector.astype(self.packing).tobytes()).decode()
                if packed
                else vector.tolist(),
            }
            for index, vector in enumerate(vectors)
        ]
        if fault is Fault.SHUFFLED:
            data.reverse()
        for item, text in zip(data, texts, strict=False):
            how = self.spoil(text)
            if how is not None:
                item["embedding"] = _SPOILED[how](dimension)
        answer: dict[str, Any] = {"object": "list", "data": data, "model": body["model"]}
        if "usage" in self.fields and fault is not Fault.NO_USAGE:
            answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
            if self.cost_per_token is not None:
                answer["usage"]["cost"] = tokens * self.cost_per_token
        # JSON has no NaN, but Python's parser takes it, and so do the servers that send it.
        sent = json.dumps(answer).encode()
        if fault is Fault.NOT_JSON:
            sent = sent[: len(sent) // 2]
        return _Answer(200, sent, billed=tokens, cut=fault is Fault.CUT_AFTER)


_SPOILED: Mapping[str, Callable[[int], Any]] = {
    "nan": lambda dimension: [float("nan")] * dimension,
    "null": lambda dimension: None,
    "zero": lambda dimension: [0.0] * dimension,
    "short": lambda dimension: [1.0] * (dimension - 1),
}


def _spoil(vectors: list[npt.NDArray[np.float32]], fault: Fault | None) -> None:
    if fault is Fault.WRONG_COUNT:
        vectors.pop()
    elif fault is Fault.WRONG_DIMENSION:
        vectors[-1] = vectors[-1][:-1]
    elif fault is Fault.NAN:
        vectors[-1] = np.full_like(vectors[-1], np.nan)
    elif fault is Fault.ZERO:
        vectors[-1] = np.zeros_like(vectors[-1])


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes = field(repr=False)
    billed: int = 0
    cut: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    type: str = "application/json"


def _error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> _Answer:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return _Answer(status, json.dumps({"error": error}).encode())


_FAULTS: Mapping[str, _Answer] = {
    Fault.CUT_BEFORE: _Answer(500, b"", cut=True),
    Fault.ERROR: _error(500, "The server had an error while processing your request."),
    Fault.RATE_LIMIT: _error(429, "Rate limit reached.", code="rate_limit_exceeded"),
    Fault.BUSY: _error(503, "The model is being loaded."),
    Fault.HTML: _Answer(200, b"<!doctype html><html><body>Welcome</body></html>", type="text/html"),
    Fault.ERROR_IN_200: _Answer(200, b'{"error": {"message": "Provider returned error", "code": 502}}'),
    Fault.WRONG_KEY: _error(401, "Incorrect API key provided.", code="invalid_api_key"),
    Fault.NO_MONEY: _error(402, "Insufficient credits."),
    Fault.NO_QUOTA: _error(429, "You exceeded your current quota.", code="insufficient_quota"),
}


class _Handler(Handler):
    owner: EmbeddingServer

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        received = self.rfile.read(length)
        if len(received) < length:
            # The client died while it sent.
            self.close_connection = True
            return
        if self.path != "/v1/embeddings":
            self._send(_Answer(404, b"<html>no such page</html>", type="text/html"))
            return
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        answer = self.owner.answer(json.loads(received), key if scheme == "Bearer" else None)
        if answer.cut:
            self.close_connection = True
            return
        self._send(answer)

    def do_GET(self) -> None:
        owner = self.owner
        stats = {
            "requests": owner.requests,
            "billed_tokens": owner.billed_tokens,
            "billed_texts": owner.billed_texts.total(),
            "lost_texts": owner.lost_texts.total(),
            "most_at_once": owner.most_at_once,
        }
        self._send(_Answer(200, json.dumps(stats).encode()))

    def _send(self, answer: _Answer) -> None:
        self.reply(answer.status, answer.body, {**answer.headers, "Content-Type": answer.type})


def tokenizer_count(path: str) -> Callable[[Sequence[str]], list[int]]:
    """Bills by a Hugging Face tokenizer.json, special tokens included."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return lambda texts: [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--dimension", type=int, default=1536)
    parser.add_argument("--tokenizer", help="path of a tokenizer.json to bill by")
    options = parser.parse_args()
    count = tokenizer_count(options.tokenizer) if options.tokenizer else four_characters_a_token
    with EmbeddingServer(dimension=options.dimension, latency=options.latency, count_tokens=count) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
