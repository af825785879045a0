"""How good a ranking is: nDCG, recall, MRR and precision from queries and judgements; recall of an index.

The measures are those of trec_eval, computed by the ir_measures library. A document without a judgement counts as not
relevant; where the judged pools are shallow, `condensed` drops such documents from the ranking first (Sakai,
"Alternatives to Bpref", SIGIR 2007). Ratings are gains for nDCG; the other measures take 1 and above as relevant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from rowvec.errors import ConfigError, MissingExtraError, SearchError
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
"""What a user may call a measure -> what it is called here, and by the library."""


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
    """

    per_query: Mapping[str, Mapping[str, float]]
    unjudged: tuple[str, ...]
    unasked: tuple[str, ...]
    irrelevant: tuple[str, ...]
    judged: float
    depth: int
    condensed: bool

    @property
    def means(self) -> dict[str, float]:
        return {measure: math.fsum(values.values()) / len(values) for measure, values in self.per_query.items()}

    @property
    def queries(self) -> int:
        return len(next(iter(self.per_query.values())))

    def as_dict(self) -> dict[str, Any]:
        return {
            "means": self.means,
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
    seen = judged = 0
    for query, text in queries.items():
        if query not in judgements:
            continue
        ranking = _ranking(run, query, text, depth)
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


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better the second of two runs is in one measure.

    Attributes:
        low, high: ends of the confidence interval of `mean`.
        better, worse: queries that gained and lost.
    """

    measure: str
    first: float
    second: float
    mean: float
    low: float
    high: float
    better: int
    worse: int
    queries: int
    confidence: float = field(default=0.95)

    @property
    def significant(self) -> bool:
        """The interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def compare(
    first: Evaluation, second: Evaluation, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> dict[str, Difference]:
    """The mean difference `second - first` of every measure both have, with a paired bootstrap percentile interval.

    Queries are drawn with replacement, each with its two values (Sakai, "Evaluating evaluation metrics based on the
    bootstrap", SIGIR 2006). The same seed gives the same interval.

    Raises:
        ConfigError: the two are over different queries or share no measure; a confidence outside (0, 1).
    """
    if not 0 < confidence < 1 or resamples < 1:
        raise ConfigError("A confidence lies between 0 and 1, and there is at least one resample.")
    shared = [measure for measure in first.per_query if measure in second.per_query]
    if not shared or any(first.per_query[name].keys() != second.per_query[name].keys() for name in shared):
        raise ConfigError("Only evaluations with the same queries and measures can be compared.")
    return {measure: _difference(measure, first, second, confidence, resamples, seed) for measure in shared}


def _difference(
    measure: str, first: Evaluation, second: Evaluation, confidence: float, resamples: int, seed: int
) -> Difference:
    one, two = first.per_query[measure], second.per_query[measure]
    gains = np.array([two[query] - one[query] for query in one])
    rng = np.random.default_rng(seed)
    # In slices, so that a thousand queries do not make a matrix of ten million draws.
    slices = np.array_split(np.arange(resamples), max(1, resamples * len(gains) // 1_000_000))
    means = np.concatenate(
        [gains[rng.integers(len(gains), size=(len(part), len(gains)))].mean(axis=1) for part in slices]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Difference(
        measure=measure,
        first=first.means[measure],
        second=second.means[measure],
        mean=float(gains.mean()),
        low=float(low),
        high=float(high),
        better=int((gains > 0).sum()),
        worse=int((gains < 0).sum()),
        queries=len(gains),
        confidence=confidence,
    )


def recall_against_exact(
    approximate: Sequence[Sequence[Key]],
    exact: Sequence[Sequence[Key]],
    *,
    approximate_scores: Sequence[Sequence[float]] | None = None,
    exact_scores: Sequence[Sequence[float]] | None = None,
    tolerance: float = 1e-6,
) -> float:
    """The mean share of the exact top k that an index found, k being the length of each exact answer.

    With scores (greater is better), a key that scores at least as much as the exact k-th one is a hit whoever it is:
    of rows that tie, exact search names any. `tolerance` is what rounding may take from such a score. Queries whose
    exact answer is empty are left out; the recall of none is 1.

    Raises:
        ValueError: not as many answers, or scores, as queries.
    """
    scored = approximate_scores is not None and exact_scores is not None
    found = approximate_scores if scored and approximate_scores else [()] * len(approximate)
    wanted = exact_scores if scored and exact_scores else [()] * len(exact)
    recalls = []
    for keys, best, scores, best_scores in zip(approximate, exact, found, wanted, strict=True):
        if not best:
            continue
        enough = min(best_scores, default=math.inf) - tolerance
        ties = {key for key, score in zip(keys, scores, strict=False) if score >= enough}
        recalls.append(len((ties | set(best)) & set(keys[: len(best)])) / len(best))
    return math.fsum(recalls) / len(recalls) if recalls else 1.0
