"""How scores are put together: fusion of two lists, a static score, decay with age."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import jinja2
from jinja2 import meta
from jinja2.sandbox import SandboxedEnvironment

from rowvec.errors import ConfigError
from rowvec.support.suggestions import check_column
from rowvec.types import Key

Fusion = Literal["convex", "rrf"]

RRF_K = 60
FUNCTIONS: dict[str, Callable[..., float]] = {
    "abs": abs, "exp": math.exp, "log": math.log, "log10": math.log10, "max": max, "min": min, "sqrt": math.sqrt,
}  # fmt: skip


@dataclass(frozen=True)
class Ranking:
    """The way from a row's scores to its place.

    final = (fused + static_weight * static) * 0.5 ** (age / half-life)

    Attributes:
        fusion: "convex" adds normalised scores, weighted; "rrf" adds reciprocal ranks.
        semantic_weight: weight of the semantic score in a convex fusion; the keyword score has the rest.
        static: an expression over metadata columns, such as `log(1 + downloads) / 20`; 0 to 1 makes most sense,
            because that is the range of a fused score.
        decay: a date or timestamp column.
        half_life_days: the age at which a row counts half; None for no decay.
    """

    fusion: Fusion = "convex"
    semantic_weight: float = 0.6
    static: str | None = None
    static_weight: float = 0.0
    decay: str | None = None
    half_life_days: float | None = None

    @property
    def reorders(self) -> bool:
        """The order of the store's answer is not the final one."""
        return bool(self.static and self.static_weight) or bool(self.decay and self.half_life_days)

    def check(self, columns: Sequence[str]) -> None:
        """
        Raises:
            ConfigError: an expression that does not parse, or a name that is not a metadata column.
        """
        if self.static is not None:
            try:
                names = meta.find_undeclared_variables(_environment().parse(f"{{{{ {self.static} }}}}"))
            except jinja2.TemplateSyntaxError as error:
                raise ConfigError(f"search.static {self.static!r} is not an expression: {error.message}.") from None
            for name in sorted(names - FUNCTIONS.keys()):
                check_column(name, columns, "search.static")
        if self.decay is not None:
            check_column(self.decay, columns, "search.decay")

    def static_score(self, values: Mapping[str, Any]) -> float | None:
        """None without an expression; 0 for a row whose values it cannot be computed from."""
        if self._expression is None:
            return None
        try:
            score = float(self._expression(**{name: _number(value) for name, value in values.items()}))
        except (TypeError, ValueError, ArithmeticError, jinja2.TemplateError):
            return 0.0
        return score if math.isfinite(score) else 0.0

    def decay_factor(self, values: Mapping[str, Any], now: dt.datetime) -> float | None:
        """None without a decay; 1 for a row without a date, or with one in the future."""
        if self.decay is None or not self.half_life_days:
            return None
        value = values.get(self.decay)
        if not isinstance(value, dt.date):
            return 1.0
        if not isinstance(value, dt.datetime):
            value = dt.datetime(value.year, value.month, value.day)
        moment = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        age_days = max(0.0, (now - moment).total_seconds() / 86400)
        return float(0.5 ** (age_days / self.half_life_days))

    def final(self, relevance: float, static: float | None, decay: float | None) -> float:
        """The score that a row is placed by."""
        return (relevance + self.static_weight * (static or 0.0)) * (1.0 if decay is None else decay)

    @cached_property
    def _expression(self) -> Callable[..., Any] | None:
        return None if self.static is None else _environment().compile_expression(self.static, undefined_to_none=False)


def fuse_convex(
    semantic: Mapping[Key, float],
    keyword: Mapping[Key, float],
    semantic_weight: float,
    typical: float | None = None,
) -> dict[Key, float]:
    """Weighted sum of normalised scores; a row that one side did not find has nothing from it.

    Each side is divided by its best score, so that zero stays zero; where scores are negative, as distances are, it is
    scaled by its worst as well. A convex combination beats reciprocal rank fusion in Bruch, Gai and Ingber,
    "An Analysis of Fusion Functions for Hybrid Retrieval" (2023).

    Args:
        typical: the semantic score that rows have on average, which counts as zero then. Models whose cosines crowd,
            such as e5's between 0.75 and 0.9, would give all rows nearly the same.
    """
    a, b = normalised(semantic, typical), normalised(keyword)
    return {
        key: semantic_weight * a.get(key, 0.0) + (1 - semantic_weight) * b.get(key, 0.0)
        for key in dict.fromkeys([*a, *b])
    }


def fuse_rrf(semantic: Mapping[Key, float], keyword: Mapping[Key, float], k: int = RRF_K) -> dict[Key, float]:
    """Reciprocal rank fusion: the sum of 1 / (k + rank) over the lists.

    Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
    Methods" (2009), with their k = 60.
    """
    fused: dict[Key, float] = {}
    for ranked in (semantic, keyword):
        for rank, key in enumerate(ranked, start=1):
            fused[key] = fused.get(key, 0.0) + 1 / (k + rank)
    return fused


def normalised(scores: Mapping[Key, float], zero: float | None = None) -> dict[Key, float]:
    """From 0 to 1, which the best one has.

    Args:
        zero: the score that counts as 0, as all below it do. Where none is above it, it does not count.
    """
    if not scores:
        return {}
    high = max(scores.values())
    low = zero if zero is not None and zero < high else min(0.0, *scores.values())
    span = high - low
    return {key: max(0.0, score - low) / span if span else 1.0 for key, score in scores.items()}


def _number(value: Any) -> Any:
    """Decimals do not mix with floats, and a missing number counts as zero."""
    if value is None:
        return 0
    return float(value) if not isinstance(value, bool | int | float | str) and hasattr(value, "__float__") else value


def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined)
    environment.globals.clear()
    environment.globals.update(FUNCTIONS)
    return environment
