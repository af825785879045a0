"""How good a ranking is: nDCG, recall, MRR and precision from queries and judgements.

The measures are those of trec_eval, computed by the ir_measures library. A document without a judgement counts as not
relevant; where the judged pools are shallow, `condensed` drops such documents from the ranking first (Sakai,
"Alternatives to Bpref", SIGIR 2007). Ratings are gains for nDCG; the other measures take 1 and above as relevant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from rowvec.errors import ConfigError, MissingExtraError, SearchError
from rowvec.evaluation.bootstrap import Interval, interval
from rowvec.types import Key

if TYPE_CHECKING:
    import ir_measures

Queries: TypeAlias = Mapping[str, str]
"""Text of each query by its id."""
Judgements: TypeAlias = Mapping[str, Mapping[str, int]]
"""Rating by query id and key of a document, as text."""
Ranker: TypeAlias = Callable[[str, int], Sequence[Key]]
"""Text of a query and a limit -> keys, best first."""

MEASURES = ("nDCG@10", "recall@100", "MRR@10", "precision@10")
CONDENSED_DEPTH = 1_000
DEPTH = 100
_NAMES = {
    "ndcg": ("nDCG", "nDCG"),
    "recall": ("recall", "R"),
    "r": ("recall", "R"),
    "mrr": ("MRR", "RR"),
    "rr": ("MRR", "RR"),
    "precision": ("precision", "P"),
    "p": ("precision", "P"),
    "map": ("MAP", "AP"),
    "ap": ("MAP", "AP"),
}
"""A user's name of a measure -> its name here, and in the library."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one run scored.

    Attributes:
        per_query: measure -> query id -> value between 0 and 1, for every query that has judgements.
        unjudged: ids of queries without judgements: they were not run and count in no mean.
        unasked: ids of queries that are judged but not among the queries.
        irrelevant: ids of queries without one relevant document. They count as 0, as in trec_eval.
        judged: share of the returned documents, to the largest cutoff, that have a judgement. Before condensing.
        depth: documents asked for per query.
        rankings: query id -> keys, best first, as they were returned.
    """

    per_query: Mapping[str, Mapping[str, float]]
    unjudged: tuple[str, ...]
    unasked: tuple[str, ...]
    irrelevant: tuple[str, ...]
    judged: float
    depth: int
    condensed: bool
    rankings: Mapping[str, Sequence[str]]

    @property
    def means(self) -> dict[str, float]:
        return {measure: math.fsum(values.values()) / len(values) for measure, values in self.per_query.items()}

    @property
    def intervals(self) -> dict[str, Interval]:
        """In which the means of other such queries would lie in 95 of 100 cases."""
        return {measure: interval(list(values.values())) for measure, values in self.per_query.items()}

    def worst(self, most: int) -> list[tuple[str, float]]:
        """Up to `most` queries with the lowest values of the first measure, the lowest first."""
        values = next(iter(self.per_query.values()))
        return sorted(values.items(), key=lambda item: item[1])[:most]

    @property
    def queries(self) -> int:
        return len(next(iter(self.per_query.values())))

    def as_dict(self) -> dict[str, Any]:
        return {
            "means": self.means,
            "intervals": {measure: list(found) for measure, found in self.intervals.items()},
            "queries": self.queries,
            "unjudged": list(self.unjudged),
            "unasked": list(self.unasked),
            "irrelevant": list(self.irrelevant),
            "judged": self.judged,
            "depth": self.depth,
            "condensed": self.condensed,
            "per_query": {measure: dict(values) for measure, values in self.per_query.items()},
        }


class _Measure(NamedTuple):
    """`label` is how results name it, `name` and `cutoff` how the library does."""

    label: str
    name: str
    cutoff: int | None

    @classmethod
    def parse(cls, text: str) -> _Measure:
        found = re.fullmatch(r"([a-z]+)(?:@([1-9]\d{0,5}))?", text.strip(), re.IGNORECASE | re.ASCII)
        label, name = _NAMES.get(found[1].lower(), ("", "")) if found else ("", "")
        cutoff = int(found[2]) if found and found[2] else None
        if not name or (cutoff is None and name in ("R", "P")):
            raise ConfigError(
                f"There is no measure {text!r}.",
                hint="Measures are nDCG, recall, MRR, precision and MAP with a cutoff, such as nDCG@10.",
            )
        return cls(f"{label}@{cutoff}" if cutoff else label, name, cutoff)


def evaluate(
    run: Ranker,
    queries: Queries,
    judgements: Judgements,
    measures: Sequence[str] = MEASURES,
    *,
    depth: int | None = None,
    condensed: bool = False,
) -> Evaluation:
    """Run every judged query and score the rankings.

    Args:
        measures: such as "nDCG@10", "recall@100", "MRR@10", "precision@5", "MAP".
        depth: keys to ask for; the largest cutoff (100 without any) where it is None, 1,000 for condensed lists, which
            lose most of them.

    Raises:
        ConfigError: no such measure; a cutoff beyond the depth; no query has a judgement.
        SearchError: a ranking holds a key twice.
        MissingExtraError: ir_measures is not installed.
    """
    wanted = [_Measure.parse(label) for label in measures]
    cutoff = max((measure.cutoff or DEPTH for measure in wanted), default=0)
    depth = depth or (max(cutoff, CONDENSED_DEPTH) if condensed else cutoff)
    _check_arguments(wanted, depth, queries, judgements)
    built = _built(wanted)
    rankings: dict[str, list[str]] = {}
    whole: dict[str, list[str]] = {}
    seen = judged = 0
    for query, text in queries.items():
        if query not in judgements:
            continue
        ranking = whole[query] = _ranking(run, query, text, depth)
        seen += len(ranking[:cutoff])
        judged += sum(key in judgements[query] for key in ranking[:cutoff])
        rankings[query] = [key for key in ranking if key in judgements[query]] if condensed else ranking
    return Evaluation(
        per_query=_scores(built, judgements, rankings),
        unjudged=tuple(query for query in queries if query not in judgements),
        unasked=tuple(query for query in judgements if query not in queries),
        irrelevant=tuple(query for query in rankings if max(judgements[query].values(), default=0) < 1),
        judged=judged / seen if seen else 0.0,
        depth=depth,
        condensed=condensed,
        rankings=whole,
    )


def _check_arguments(wanted: Sequence[_Measure], depth: int, queries: Queries, judgements: Judgements) -> None:
    if not wanted:
        raise ConfigError("There is no measure to compute.", hint=f"The usual ones are {', '.join(MEASURES)}.")
    for measure in wanted:
        if measure.cutoff is not None and measure.cutoff > depth:
            raise ConfigError(f"{measure.label} needs {measure.cutoff} documents a query; only {depth} are asked for.")
    if not queries.keys() & judgements.keys():
        examples = [", ".join(repr(query) for query in list(ids)[:3]) or "none" for ids in (queries, judgements)]
        raise ConfigError(
            f"No query has a judgement: queries are named {examples[0]}, judgements are of {examples[1]}.",
            hint="Give both files the same query ids; where judgements name queries by their text, give no queries.",
        )


def _ranking(run: Ranker, query: str, text: str, depth: int) -> list[str]:
    ranking = [str(key) for key in run(text, depth)][:depth]
    if len(set(ranking)) < len(ranking):
        twice = next(key for at, key in enumerate(ranking) if key in ranking[:at])
        raise SearchError(f"The ranking of query {query!r} holds the key {twice} twice.")
    return ranking


def _built(wanted: Sequence[_Measure]) -> dict[ir_measures.Measure, str]:
    """The library's measures, each with its label."""
    try:
        import ir_measures
    except ImportError:
        raise MissingExtraError("Evaluating a search", "eval") from None
    names = {measure.label: getattr(ir_measures, measure.name) for measure in wanted}
    return {names[label] @ cutoff if cutoff else names[label]: label for label, _, cutoff in wanted}


def _scores(
    measures: Mapping[ir_measures.Measure, str], judgements: Judgements, rankings: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    import ir_measures

    # The library sorts by score: falling ones keep the order, without ties that it would break by key.
    run = {query: {key: float(-rank) for rank, key in enumerate(ranking)} for query, ranking in rankings.items()}
    qrels = {query: dict(judgements[query]) for query in rankings}
    found: dict[str, dict[str, float]] = {label: dict.fromkeys(rankings, 0.0) for label in measures.values()}
    for metric in ir_measures.iter_calc(list(measures), qrels, run):
        found[measures[metric.measure]][metric.query_id] = float(metric.value)
    return found
