"""How scores are put together: fusion of two lists, a static score, decay with age."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rowvec.errors import ConfigError, SearchError
from rowvec.support.suggestions import check_column, suggestion
from rowvec.types import Column, ColumnType, Key

if TYPE_CHECKING:
    from rowvec.support.expressions import Expression

Fusion = Literal["convex", "rrf"]
FUSIONS: tuple[Fusion, ...] = ("convex", "rrf")

RRF_K = 60
MOST_WEIGHT = 1_000_000
MOST_DAYS = 1_000_000
LONGEST_EXPRESSION = 200
DEEPEST = 20
PLAIN_EXPRESSION = re.compile(r"(?:[^\W\d]\w*|\d+(?:\.\d+)?|[\s+\-*/(),])*")
"""No text, no attribute and no filter of a template, whose work or size could grow without a bound."""
SUITS = {"title": (ColumnType.TEXT,), "decay": (ColumnType.DATE, ColumnType.TIMESTAMP)}
"""Types of the columns that settings name."""


class Own(NamedTuple):
    """What a row itself adds to its score; None where the ranking does not ask for it."""

    static: float | None = None
    title: float | None = None
    """How much of the query its title says, 0 to 1."""
    decay: float | None = None

    @property
    def kept(self) -> float:
        """The share of its score that its age leaves it."""
        return 1.0 if self.decay is None else self.decay


@dataclass(frozen=True)
class Ranking:
    """The way from a row's scores to its place.

    final = (fused + static_weight * static + title_weight * title) * 0.5 ** (age / half-life)

    Attributes:
        fusion: "convex" adds normalised scores, weighted; "rrf" adds reciprocal ranks.
        semantic_weight: weight of the semantic score in a convex fusion; the keyword score has the rest.
        static: an expression over metadata columns, such as `log(1 + downloads) / 20`; 0 to 1 makes most sense,
            because that is the range of a fused score.
        title: a metadata column that says what a row is called: the more of the query's words stand in it, the better.
        decay: a date or timestamp column.
        half_life_days: the age at which a row counts half; None for no decay.
    """

    fusion: Fusion = "convex"
    semantic_weight: float = 0.6
    static: str | None = None
    static_weight: float = 0.0
    title: str | None = None
    title_weight: float = 0.0
    decay: str | None = None
    half_life_days: float | None = None

    @property
    def reorders(self) -> bool:
        """The order of the store's answer is not the final one."""
        pairs = (self.static, self.static_weight), (self.title, self.title_weight), (self.decay, self.half_life_days)
        return any(name and weight for name, weight in pairs)

    def check(self, columns: Sequence[Column]) -> None:
        """
        Args:
            columns: of the metadata.

        Raises:
            ConfigError: an expression that does not parse, a name that is not a metadata column, or a column whose
                values do not suit.
        """
        kinds = {column.name: column.type for column in columns}
        if self.static is not None:
            try:
                names = self._expression.names
            except ValueError as error:
                raise ConfigError(f"search.static {self.static!r} is not an expression: {error}.") from None
            for name in sorted(names):
                check_column(name, kinds, "search.static")
        for setting, chosen in (("title", self.title), ("decay", self.decay)):
            if chosen is not None:
                check_column(chosen, kinds, f"search.{setting}")
                if kinds[chosen] not in SUITS[setting]:
                    raise ConfigError(
                        f"search.{setting}: the column {chosen!r} holds {kinds[chosen]} values.",
                        hint=f"It takes a column of type {' or '.join(SUITS[setting])}. For files that do not say one,"
                        " or hold no values yet, set source.types.",
                    )

    def static_score(self, values: Mapping[str, Any]) -> float | None:
        """None without an expression; 0 for a row whose values it cannot be computed from."""
        return None if self.static is None else self._expression(values)

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

    def final(self, relevance: float, own: Own) -> float:
        """The score that a row is placed by."""
        extra = self.static_weight * (own.static or 0.0) + self.title_weight * (own.title or 0.0)
        return (relevance + extra) * own.kept

    def changed(self, changes: Mapping[str, Any], columns: Sequence[Column]) -> Ranking:
        """This ranking with other values for some of its attributes, for one search.

        Args:
            changes: attribute -> value; None switches `static`, `title`, `decay` or `half_life_days` off.
            columns: of the metadata.

        Raises:
            SearchError: an attribute that does not exist, or a value that it cannot have. An expression of a search
                may compute with numbers, columns and functions only: whoever searches need not be trusted.
        """
        names = [each.name for each in fields(self)]
        for name, value in changes.items():
            if name not in names:
                raise SearchError(f"There is no setting {name!r} of the ranking.", hint=suggestion(name, names))
            problem = _problem(name, value)
            if problem:
                raise SearchError(f"ranking.{name} {problem}.")
        found = replace(self, **changes)
        try:
            found.check(columns)
        except ConfigError as error:
            raise SearchError(error.message.replace("search.", "ranking.", 1), hint=error.hint) from None
        return found

    @cached_property
    def _expression(self) -> Expression:
        # Jinja takes a fiftieth of what a command imports, and most pipelines have no expression.
        from rowvec.support.expressions import Expression

        assert self.static is not None
        return Expression(self.static)


@dataclass(frozen=True, slots=True)
class Fused:
    """Two lists put together: what each half adds to the score of a row, nothing where it did not find the row."""

    first: Mapping[Key, float]
    second: Mapping[Key, float]

    @property
    def scores(self) -> dict[Key, float]:
        """The sums, in the order of the first list; those of the second list alone follow."""
        found = dict(self.first)
        for key, score in self.second.items():
            found[key] = found.get(key, 0.0) + score
        return found


def fuse_convex(
    semantic: Mapping[Key, float],
    keyword: Mapping[Key, float],
    semantic_weight: float,
    typical: float | None = None,
) -> Fused:
    """Weighted sum of normalised scores; a row that one side did not find has nothing from it.

    Each side is divided by its best score, so that zero stays zero; where scores are negative, as distances are, it is
    scaled by its worst as well. A convex combination beats reciprocal rank fusion in Bruch, Gai and Ingber,
    "An Analysis of Fusion Functions for Hybrid Retrieval" (2023).

    Args:
        typical: the semantic score that rows have on average, which counts as zero then. Models whose cosines crowd,
            such as e5's between 0.75 and 0.9, would give all rows nearly the same.
    """
    return Fused(normalised(semantic, typical, semantic_weight), normalised(keyword, weight=1 - semantic_weight))


def fuse_rrf(semantic: Mapping[Key, float], keyword: Mapping[Key, float], k: int = RRF_K) -> Fused:
    """Reciprocal rank fusion: the sum of 1 / (k + rank) over the lists.

    Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
    Methods" (2009), with their k = 60.
    """
    first, second = (
        {key: 1 / (k + rank) for rank, key in enumerate(ranked, start=1)} for ranked in (semantic, keyword)
    )
    return Fused(first, second)


def normalised(scores: Mapping[Key, float], zero: float | None = None, weight: float = 1.0) -> dict[Key, float]:
    """From 0 to `weight`, which the best one has.

    Args:
        zero: the score that counts as 0, as all below it do. Where none is above it, it does not count.
    """
    if not scores:
        return {}
    high = max(scores.values())
    low = zero if zero is not None and zero < high else min(0.0, *scores.values())
    span = high - low
    if not span:
        return dict.fromkeys(scores, weight)
    return {key: weight * ((score - low) / span) if score > low else 0.0 for key, score in scores.items()}


def _problem(name: str, value: Any) -> str | None:
    """What is wrong with a value that a search gives; None where nothing is."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    match name:
        case "fusion":
            return None if value in FUSIONS else f"must be one of {', '.join(FUSIONS)}"
        case "semantic_weight":
            return None if number is not None and 0 <= number <= 1 else "must be a number between 0 and 1"
        case "static_weight" | "title_weight":
            fits = number is not None and 0 <= number <= MOST_WEIGHT
            return None if fits else f"must be a number between 0 and {MOST_WEIGHT:,}"
        case "half_life_days":
            fits = value is None or (number is not None and 0 < number <= MOST_DAYS)
            return None if fits else f"must be a number of days above 0, up to {MOST_DAYS:,}"
        case "static":
            return _unsafe(value) if value is not None else None
        case _:
            return None if value is None or isinstance(value, str) else "must be the name of a column"


def _unsafe(expression: Any) -> str | None:
    if not isinstance(expression, str) or not expression.strip():
        return "must be an expression such as log(1 + downloads) / 20"
    if len(expression) > LONGEST_EXPRESSION:
        return f"is longer than {LONGEST_EXPRESSION} characters"
    depths = itertools.accumulate((sign == "(") - (sign == ")") for sign in expression)
    if max(depths) > DEEPEST or not PLAIN_EXPRESSION.fullmatch(expression) or "**" in expression:
        return "may hold numbers, columns, functions, + - * / and up to 20 brackets within each other"
    return None
