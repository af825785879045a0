"""Any service that speaks OpenAI's embeddings API: OpenAI, OpenRouter, Ollama, vLLM, text-embeddings-inference.

Requests go through httpx2 directly. Measured against the `openai` client with the same requests of 100 texts at 1,536
dimensions: 5.6 ms of processor time for an answer in base64 against 11, 74 ms in floats against 420, and 19 MB less
memory; its retries would stay unused, since a 429 is waiting here, not failing.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rowvec.embedders.base import PROBE
from rowvec.embedders.openai import wire
from rowvec.embedders.openai.apis import APIS
from rowvec.embedders.openai.call import Bill, Call
from rowvec.embedders.openai.limits import Limiter
from rowvec.embedders.openai.tokens import counter_for
from rowvec.embedders.params import identity, problem_of
from rowvec.embedders.pricing import Budget, Price, bare_model
from rowvec.errors import ConfigError, EmbedderError, TextRefused
from rowvec.support.services import checked_key, http_client
from rowvec.support.stretches import stretches
from rowvec.types import Embedded, Fingerprint, Vector, Vectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

OPENAI = "https://api.openai.com/v1"
MAX_TOKENS = 300_000
"""OpenAI's limit for one request, all its texts together."""
CONTEXT = 8192


class OpenAIEmbedder:
    """An `Embedder` over HTTP. Safe to call from `concurrency` threads at once, which share limits and budget.

    A try fails when the service does (5xx), the connection breaks or times out, or the answer breaks the contract;
    after `max_tries` of them the error goes to the caller. A 429 does not count as a try: every thread waits as long as
    the service says, then the same request goes out again, for at most `max_wait` seconds.

    Args:
        base_url: up to the API's version, without a key.
        api_key: sent as a bearer token; None sends none, as local servers like it.
        key_env: the environment variable that the key came from, for error messages.
        dimensions: asked for when set; else the model's own.
        batch_size: texts in one request, up to what the API allows: 2,048 of OpenAI.
        timeout: seconds for one request.
        price: None if it is not known; then `cost` is zero unless the service states it.
        budget: counts the money, and may stop it; one of its own without a limit by default.
        tokenizer: the model's own, or the path of its tokenizer.json; else tokens are estimated, see `tokens`.
        backoff: seconds before the second try at most, doubled for each further one.
        passage_params: more fields of a request for texts of rows, such as Voyage's `input_type`.
        query_params: likewise, for queries.
        api: its form, a key of `apis.APIS`.

    Raises:
        ConfigError: an argument that cannot work, before anything is sent.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str = OPENAI,
        api_key: str | None = None,
        key_env: str = "OPENAI_API_KEY",
        dimensions: int | None = None,
        batch_size: int = 100,
        concurrency: int = 4,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        timeout: float = 60.0,
        max_tries: int = 3,
        max_wait: float = 1800.0,
        backoff: float = 1.0,
        price: Price | None = None,
        budget: Budget | None = None,
        query_prompt: str = "",
        passage_prompt: str = "",
        tokenizer: str | Path | Tokenizer | None = None,
        query_params: Mapping[str, Any] | None = None,
        passage_params: Mapping[str, Any] | None = None,
        api: str = "openai",
    ) -> None:
        self.model = model
        self.concurrency = concurrency
        self._api = APIS[api]
        self.chunk_texts = min(batch_size, self._api.most_texts)
        # Half of the limit leaves room for an estimate that is off.
        self.chunk_tokens = int(min(MAX_TOKENS // 2, tokens_per_minute or MAX_TOKENS))
        self.price = price
        self.billed = price is None or price.per_million > 0
        self.budget = budget or Budget()
        self._known = wire.MODELS.get(bare_model(model))
        asked = wire.checked_dimensions(model, dimensions)
        self._check_price()
        self._endpoint = wire.Endpoint(model, wire.checked_url(base_url), key_env, checked_key(api_key, key_env), asked)
        self._dimension = dimensions or (self._known.dimension if self._known else None)
        self._tokens = counter_for(bare_model(model), tokenizer)
        self._limiter = Limiter(requests_per_minute, tokens_per_minute)
        self._max_tries, self._max_wait, self._backoff = max_tries, max_wait, backoff
        self._timeout = timeout
        self._query_prompt, self._passage_prompt = query_prompt, passage_prompt
        self._query_params = self._params("query_params", self._api.query, query_params or {})
        self._passage_params = self._params("passage_params", self._api.passage, passage_params or {})
        self._base64: bool | None = None if self._api.packs else False
        """Whether vectors are asked for in base64; None until that has worked, or floats have where that had not."""
        self._spoils = False
        """It gives certain texts no vector that can be used, however often it is asked."""
        self._proven = False
        self._latency = 0.5
        self._http = http_client(
            self._endpoint.base_url, self._endpoint.key, timeout, concurrency, key_header=self._api.key_header
        )
        self._lock = threading.Lock()
        # Held by the one thread that finds out what kind of service this is; its calls come back to it.
        self._first = threading.RLock()

    def _check_price(self) -> None:
        if self.budget.limit is not None and self.price is None:
            raise ConfigError(
                f"--max-cost needs a price, but the price of {self.model!r} is not known.",
                hint="Set embedder.price_per_million, in US dollars.",
            )

    def __repr__(self) -> str:
        return f"OpenAIEmbedder({self.model!r}, base_url={self._endpoint.base_url!r})"

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Asks the service for one vector when nothing else gives the dimension, which is billed as any other text."""
        with self._first:
            if self._dimension is None:
                self._embed([self._passage_prompt + PROBE])
        assert self._dimension is not None
        return Fingerprint(
            kind="openai",
            # The same vectors come from OpenAI and through OpenRouter: moving house must not embed it all again.
            model=bare_model(self.model) if self._known else self.model,
            revision="",
            dimension=self._dimension,
            normalized=self._known is not None,
            prompt=self._passage_prompt,
            max_tokens=CONTEXT if self._known else None,
            overflow="refuse",
            params=identity(self._passage_params),
        )

    @property
    def exact_tokens(self) -> bool:
        """`count_tokens` counts with the model's own tokenizer."""
        return self._tokens.exact

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens that each text will be billed as, its prompt included. Sends nothing."""
        return self._tokens.count([self._passage_prompt + text for text in texts])

    def token_error(self, texts: Sequence[str]) -> float:
        """How far off the sum of `count_tokens` may be for texts like these, as a share of it."""
        return self._tokens.error(texts)

    def expected_seconds(self, texts: int, tokens: int) -> float:
        """How long this many texts take: what latency and concurrency allow, or a limit per minute when that is less.

        The latency is that of the answers so far, half a second before the first.
        """
        requests = max(-(-texts // self.chunk_texts), -(-tokens // self.chunk_tokens))
        rounds = -(-requests // max(1, self.concurrency))
        return max(rounds * self._latency, self._limiter.least_seconds(requests, tokens))

    def embed(self, texts: Sequence[str]) -> Embedded:
        return self._embed([self._passage_prompt + text for text in texts])

    def embed_once(self, texts: Sequence[str]) -> Embedded:
        """See `rowvec.embedders.base.TriesAgain`."""
        return self._embed([self._passage_prompt + text for text in texts], tries=1)

    def embed_query(self, text: str) -> Vector:
        vector: Vector = self._embed([self._query_prompt + text], self._query_params).vectors[0]
        return vector

    def close(self) -> None:
        """Ends every wait and closes the connections."""
        self._limiter.close()
        self._http.close()

    def _params(self, name: str, usual: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
        problem = problem_of(given, self._endpoint.key)
        if problem is not None:
            raise ConfigError(f"{name} of the embedder {problem[0]}.", hint=problem[1])
        return {**usual, **self._api.named(given)}

    def _embed(self, texts: list[str], params: Mapping[str, Any] | None = None, tries: int | None = None) -> Embedded:
        params = self._passage_params if params is None else params
        try:
            "".join(texts).encode()
        except UnicodeEncodeError as error:
            raise TextRefused(f"A text holds half a character, which UTF-8 cannot carry: {error.reason}.") from error
        counts = self._tokens.count(texts)
        parts = list(stretches(counts, self._api.most_texts, MAX_TOKENS))
        bill = Bill()
        found: list[Vectors] = []
        problems: dict[int, Exception] = {}
        with self.budget.hold(sum(self._most(texts[part], counts[part]) for part in parts)) as hold:
            for part in parts:
                call = Call(self, texts[part], counts[part], hold, bill, params, tries)
                found.append(call.vectors())
                problems |= {part.start + place: problem for place, problem in call.problems.items()}
        vectors = np.concatenate(found) if found else np.empty((0, self._dimension or 0), np.float32)
        return Embedded(vectors, bill.tokens, cost=bill.cost, estimated=bill.estimated, problems=problems)

    def _most(self, texts: Sequence[str], counts: Sequence[int]) -> float:
        """US dollars that a request can cost at most."""
        return self.price.cost(self._tokens.bound(texts, counts)) if self.price else 0.0

    def _check_dimension(self, vectors: Vectors) -> None:
        """
        Raises:
            EmbedderError: not the dimension that was asked for, or that earlier answers had.
        """
        found = vectors.shape[1]
        with self._lock:
            self._proven = True
            if self._dimension is None:
                self._dimension = found
        if found == self._dimension:
            return
        if self._endpoint.dimensions is not None:
            raise EmbedderError(
                f"{self._endpoint.location} was asked for {self._endpoint.dimensions} dimensions but gives {found}.",
                hint=f"Set `dimensions = {found}`, or leave it out.",
            )
        raise EmbedderError(
            f"{self._endpoint.location} gives {found} dimensions instead of {self._dimension}.",
            hint="The service has changed the model behind this name, or another model has the same name.",
        )
