"""What embedding costs: a price before, a budget during.

Prices are US dollars per million tokens. The table holds what the providers published on `AS_OF`; a price in the
configuration overrides it, since prices change and contracts differ.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from rowvec.errors import BudgetExceeded, ConfigError

AS_OF = dt.date(2026, 5, 1)

PRICES: Mapping[str, float] = {
    "text-embedding-3-small": 0.02,
    "text-embedding-3-large": 0.13,
    "text-embedding-ada-002": 0.10,
    "gemini-embedding-001": 0.15,
    "mistral-embed": 0.10,
    "voyage-3.5": 0.06,
    "voyage-3-large": 0.18,
}

WITH_KEY = frozenset(
    {"api.openai.com", "openrouter.ai", "api.cohere.com", "generativelanguage.googleapis.com", "api.jina.ai",
     "api.voyageai.com"}
)  # fmt: skip
"""Services that answer nobody without a key; one on this machine or in this house may."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def bare_model(model: str) -> str:
    """The model's name without its vendor: OpenRouter's `openai/text-embedding-3-small` is the model that
    OpenAI sells as `text-embedding-3-small`, at the same price and with the same vectors."""
    return model.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens, and where the figure comes from."""

    per_million: float
    source: str

    def cost(self, tokens: int) -> float:
        """US dollars for this many tokens."""
        return tokens * self.per_million / 1_000_000


def price_of(model: str, base_url: str = "", override: float | None = None) -> Price | None:
    """The price of `model`, or None if nobody can know it.

    A known model has its price at any address, since a proxy passes the bill on. An unknown model on this very
    machine (Ollama, vLLM ...) is free.

    Args:
        override: US dollars per million tokens, from the configuration.
    """
    if override is not None:
        if not 0 <= override < float("inf"):
            raise ConfigError(
                f"The price of a million tokens is {override} dollars; it must be at least 0.", hint="Correct it."
            )
        return Price(override, "configuration")
    if (known := PRICES.get(bare_model(model))) is not None:
        return Price(known, f"price table of {AS_OF.isoformat()}")
    if urlsplit(base_url).hostname in LOOPBACK:
        return Price(0.0, "runs on this machine")
    return None


def dollars(amount: float) -> str:
    """`$12.50`, `$0.0078`, `$0.0000032`, `$0`: four decimals below a dollar, more where two digits would not show."""
    if not amount:
        return "$0"
    decimals = 2 if amount >= 1 else 4
    while 0 < amount < 10 ** (1 - decimals) and decimals < 10:
        decimals += 1
    return f"${amount:,.{decimals}f}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a sync is expected to take."""

    rows: int
    tokens: int
    cost: float | None
    """US dollars; None if the model's price is not known."""
    cost_per_row: float | None
    seconds: float
    exact_tokens: bool
    """Counted by the model's own tokenizer."""
    error: float
    """How far off `tokens` may be, as a share of it: 0.15 is 15 %."""

    @classmethod
    def of(
        cls, rows: int, tokens: int, price: Price | None, *, seconds: float, exact_tokens: bool, error: float
    ) -> Self:
        cost = price.cost(tokens) if price else None
        per_row = None if cost is None else cost / rows if rows else 0.0
        return cls(rows, tokens, cost, per_row, seconds, exact_tokens, error)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Budget:
    """Counts what a run spends, and stops it before the request that could pass `limit`. Safe across threads.

    Each request first holds back the most it can cost. Money held back counts as spent until the answer says what
    was really billed, so that any number of requests in flight together stay within the limit.

    Attributes:
        limit: US dollars, None for no limit.
        spent: US dollars, for the answers that came, usable or not.
        lost: US dollars at most, for requests whose answer never came and which may have been billed.
        tokens: billed tokens, of the answers that came.
    """

    def __init__(self, limit: float | None = None) -> None:
        if limit is not None and not limit > 0:
            raise ConfigError(f"--max-cost is {limit}; it must be more than 0.", hint="Give an amount in US dollars.")
        self.limit = limit
        self.spent = 0.0
        self.lost = 0.0
        self.tokens = 0
        self._held = 0.0
        self._holds = 0
        self._changed = threading.Condition()

    def hold(self, amount: float) -> Hold:
        """Holds `amount` dollars back; waits while money held by requests in flight may yet come free.

        Raises:
            BudgetExceeded: `amount` would pass the limit, whatever the requests in flight turn out to cost.
        """
        with self._changed:
            while not self._fits(self._held + amount):
                if self._holds == 0 or not self._fits(amount):
                    raise self._exceeded(amount)
                self._changed.wait()
            self._held += amount
            self._holds += 1
        return Hold(self, amount)

    def _fits(self, amount: float) -> bool:
        return self.limit is None or self.spent + self.lost + amount <= self.limit

    def _exceeded(self, amount: float) -> BudgetExceeded:
        used = f"{dollars(self.spent)} spent" + (f", up to {dollars(self.lost)} lost" if self.lost else "")
        return BudgetExceeded(
            f"The next request may cost {dollars(amount)}, more than is left of the budget of "
            f"{dollars(self.limit or 0.0)} ({used}).",
            hint="What was embedded is kept. Continue with a higher --max-cost or embedder.max_cost.",
        )


class Hold:
    """Money held back for one call; as a context manager it gives back what was not spent."""

    def __init__(self, budget: Budget, amount: float) -> None:
        self._budget = budget
        self._left = amount

    def require(self, amount: float) -> None:
        """Sees to it that `amount` is held for the next request.

        It never waits: the caller holds money that others may be waiting for.

        Raises:
            BudgetExceeded: earlier tries used up what was held, and the limit allows no more.
        """
        budget = self._budget
        with budget._changed:
            more = amount - self._left
            if more <= 0:
                return
            if not budget._fits(budget._held + more):
                raise budget._exceeded(amount)
            budget._held += more
            self._left += more

    def pay(self, cost: float, tokens: int) -> None:
        """An answer came, and this is what it billed."""
        with self._budget._changed:
            self._budget.spent += cost
            self._budget.tokens += tokens
            self._take(cost)

    def lose(self, cost: float) -> None:
        """No answer came, and the service may have billed up to `cost`."""
        with self._budget._changed:
            self._budget.lost += cost
            self._take(cost)

    def _take(self, cost: float) -> None:
        taken = min(cost, self._left)
        self._left -= taken
        self._budget._held -= taken

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        budget = self._budget
        with budget._changed:
            budget._holds -= 1
            # With nothing in flight nothing is held: rounding errors must not add up over a long run.
            budget._held = budget._held - self._left if budget._holds else 0.0
            self._left = 0.0
            budget._changed.notify_all()
