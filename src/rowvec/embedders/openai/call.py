"""One request for embeddings, from its first try to its answer: what is asked for again, and what is believed."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from rowvec.embedders.base import PROBE
from rowvec.embedders.openai import refusals, wire
from rowvec.embedders.openai.apis import Request
from rowvec.embedders.openai.limits import pause
from rowvec.embedders.pricing import Hold
from rowvec.errors import EmbedderError, EmbedderUnavailable, RateLimited, TextRefused
from rowvec.support.services import Answer, EndlessAnswer, exchanged
from rowvec.support.tracing import Value, service, span
from rowvec.types import Vectors

if TYPE_CHECKING:
    from rowvec.embedders.openai.client import OpenAIEmbedder

LATE = 10
"""A request may take this many times as long as its service may be silent."""


@dataclass(slots=True)
class Bill:
    """What one `embed` call was billed, tries without a usable answer included."""

    tokens: int = 0
    cost: float = 0.0
    estimated: bool = False


class Call:
    """One request, from its first try to its answer."""

    def __init__(
        self,
        owner: OpenAIEmbedder,
        texts: list[str],
        counts: list[int],
        hold: Hold,
        bill: Bill,
        params: Mapping[str, Any],
        tries: int | None = None,
    ) -> None:
        self._owner = owner
        self._endpoint = owner._endpoint
        self._texts = texts
        self._counts = counts
        self._counted = sum(counts)
        self._hold = hold
        self._bill = bill
        self._params = params
        self._most = 0.0
        """US dollars that this try can cost at most."""
        self._tries = tries or owner._max_tries
        self._floats = False
        """The next try asks for floats, since base64 has not worked yet."""
        self._spoiled: list[Collection[int]] = []
        """Positions of the bad vectors in each answer that had some."""
        self.problems: dict[int, Exception] = {}
        """By position, why a text got no vector that can be used."""

    def vectors(self) -> Vectors:
        """Shape (texts, dimension), tried up to `max_tries` times."""
        before = self._bill.tokens
        with span(f"embeddings {self._owner.model}", self._about(), kind="CLIENT") as traced:
            try:
                return self._tried()
            finally:
                traced.note({"gen_ai.usage.input_tokens": self._bill.tokens - before})

    def _about(self) -> dict[str, Value | None]:
        return {
            "gen_ai.operation.name": "embeddings", "gen_ai.provider.name": wire.provider(self._endpoint.base_url),
            "gen_ai.request.model": self._owner.model, "gen_ai.embeddings.dimension.count": self._owner._dimension,
            "rowvec.texts": len(self._texts), **service(self._endpoint.base_url),
        }  # fmt: skip

    def _tried(self) -> Vectors:
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        owner = self._owner
        retrying = Retrying(
            stop=stop_after_attempt(self._tries if owner._base64 is not None else max(2, self._tries)),
            wait=wait_random_exponential(multiplier=owner._backoff, max=30),
            retry=retry_if_exception(self._worth_another_try),
            sleep=owner._limiter.sleep,
            reraise=True,
        )
        try:
            return retrying(self._try)
        except wire.SpoiledAnswer as answer:
            if not owner._spoils and self._spoiled != [answer.bad.keys()] * max(self._tries, len(self._spoiled)):
                raise  # It may pass: another time something else was wrong.
            return self._repaired(answer)

    def _worth_another_try(self, error: BaseException) -> bool:
        if isinstance(error, wire.SpoiledAnswer):
            self._spoiled.append(error.bad.keys())
            if self._owner._spoils:
                return False
        return isinstance(error, EmbedderUnavailable) and not isinstance(error, RateLimited)

    def _repaired(self, answer: wire.SpoiledAnswer) -> Vectors:
        """The vectors of an answer, with those that could not be used asked for again, each text alone."""
        owner = self._owner
        for place, problem in answer.bad.items():
            again = Call(owner, [self._texts[place]], [self._counts[place]], self._hold, self._bill, self._params, 1)
            try:
                answer.vectors[place] = again.vectors()[0]
            except (wire.BrokenAnswer, TextRefused):
                owner._spoils = True
                said = f"{self._endpoint.location} answers this text with {problem}, alone too."
                self.problems[place] = EmbedderError(said)
        return answer.vectors

    def _try(self) -> Vectors:
        """One try, which waits through any number of 429s."""
        owner, waited, refusals = self._owner, 0.0, 0
        while True:
            owner._limiter.acquire(self._counted)
            with_base64 = owner._base64 is not False and not self._floats
            try:
                vectors = self._read(self._send(with_base64))
                if owner._base64 is None:
                    owner._base64 = with_base64
                return vectors
            except RateLimited as error:
                refusals += 1
                seconds = pause(error.retry_after, refusals)
                waited += seconds
                if waited > owner._max_wait:
                    raise RateLimited(
                        f"{error.message} It asks for {seconds:.0f} seconds more, but a request waits "
                        f"at most {owner._max_wait:.0f}.",
                        retry_after=error.retry_after,
                    ) from error
                owner._limiter.shut(seconds)
            except TextRefused as error:
                if with_base64 and any(word in error.message for word in ("encoding_format", "base64")):
                    owner._base64 = False
                    continue
                self._doubt(error)
            except wire.SpoiledAnswer:
                # The form was right; single vectors were not.
                owner._base64 = with_base64 if owner._base64 is None else owner._base64
                raise
            except EmbedderUnavailable:
                # A service that knows no base64 may fail over it, or answer nothing: floats are the other try.
                self._floats = owner._base64 is None and not self._floats
                raise

    def _send(self, with_base64: bool) -> Answer:
        """
        Raises:
            EmbedderError: the service wants a key, and there is none.
            EmbedderUnavailable: no answer came.
            BudgetExceeded: earlier tries have used up what was held for this request.
        """
        import httpx2

        if self._endpoint.lacks_key:
            raise refusals.missing_key(self._endpoint)
        owner = self._owner
        api = owner._api
        body = api.body(Request(owner.model, self._texts, self._endpoint.dimensions, with_base64, self._params))
        self._most = owner._most(self._texts, self._counts)
        self._hold.require(self._most)
        started = time.monotonic()
        try:
            answer = exchanged(
                owner._http, "POST", self._endpoint.base_url + api.path(owner.model), json=body,
                most_bytes=wire.most_bytes(len(self._texts), owner._dimension), seconds=LATE * owner._timeout,
            )  # fmt: skip
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            unreached = EmbedderUnavailable(f"{self._endpoint.base_url} cannot be reached: {error}.")
            unreached.hint = "Check base_url, the network and the proxy."
            raise unreached from error
        except httpx2.RequestError as error:
            # The request may have arrived and been billed: nobody knows.
            self._hold.lose(self._most)
            what = self._endpoint.quote(str(error)) or type(error).__name__
            raise EmbedderUnavailable(f"The connection to {self._endpoint.base_url} broke: {what}") from error
        except EndlessAnswer as error:
            self._hold.lose(self._most)
            raise EmbedderUnavailable(f"{self._endpoint.location} {error}.") from error
        owner._latency += (time.monotonic() - started - owner._latency) / 8
        return answer

    def _read(self, given: Answer) -> Vectors:
        status, headers, content = given
        if not 200 <= status < 300:
            raise refusals.error_of(self._endpoint, status, headers, content)
        try:
            body = wire.parse(self._endpoint, content)
        except wire.BrokenAnswer:
            self._hold.lose(self._most)
            raise
        if "error" in body and "data" not in body:
            raise refusals.error_of(self._endpoint, status, headers, content)
        answer = self._owner._api.answer(body)
        self._settle(wire.usage_of(answer))
        owner = self._owner
        known = owner._dimension if owner._proven else None
        try:
            vectors = wire.vectors_of(self._endpoint, answer, len(self._texts), known)
        except wire.SpoiledAnswer as spoiled:
            self._check_dimension(spoiled.vectors)
            raise
        self._check_dimension(vectors)
        return vectors

    def _check_dimension(self, vectors: Vectors) -> None:
        """
        Raises:
            EmbedderError: the service does not give the dimension that it should.
            BrokenAnswer: it does, and not for these texts.
        """
        owner, found = self._owner, vectors.shape[1]
        word = [owner._passage_prompt + PROBE]
        if owner._dimension is not None and found < owner._dimension and self._texts != word:
            Call(owner, word, owner._tokens.count(word), self._hold, self._bill, owner._passage_params, 1).vectors()
            raise wire.BrokenAnswer(
                f"{self._endpoint.location} answered with vectors of {found} dimensions instead of {owner._dimension}."
            )
        owner._check_dimension(vectors)

    def _settle(self, usage: wire.Usage) -> None:
        """Books what an answer billed, usable or not."""
        owner, price = self._owner, self._owner.price
        tokens = self._counted if usage.tokens is None else usage.tokens
        cost = usage.cost
        if cost is None:
            cost = price.cost(tokens) if price else 0.0
        self._bill.tokens += tokens
        self._bill.cost += cost
        self._bill.estimated |= usage.tokens is None
        self._hold.pay(cost, tokens)
        if usage.tokens is None:
            # The bill may be higher than this estimate, and nobody will ever know: the budget allows for it.
            self._hold.lose(max(0.0, self._most - cost))
            return
        owner._limiter.correct(tokens - self._counted)
        # A router may charge more than the table says: in the bound, money counts, not tokens.
        charged = cost / price.per_million * 1e6 if price and price.per_million else 0.0
        owner._tokens.learn(self._counted, max(tokens, charged))

    def _doubt(self, error: TextRefused) -> NoReturn:
        """A service that has answered nothing yet may refuse every text, whatever it says; a plain word shows it.

        Without this, a wrong setting would look like a fault of every row.
        """
        owner = self._owner
        with owner._first:
            if not owner._proven:
                word = [owner._passage_prompt + PROBE]
                if self._texts == word:
                    raise EmbedderError(
                        f"{error.message} It refuses a plain word, so it will refuse every text.",
                        hint="Check model, dimensions, base_url and the key.",
                    ) from error
                Call(owner, word, owner._tokens.count(word), self._hold, self._bill, owner._passage_params).vectors()
        raise error
