"""Weights of a search from a user's own judgements.

Coordinate ascent (Metzler and Croft, "Linear feature-based models for information retrieval", 2007): one weight after
the other takes the value with the best mean over the queries, until none changes. Every value is tried in the formula
that searches use, over what the queries found once. What the weights are worth is measured on queries by which none was
chosen: those of each fold, with the weights of all other folds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rowvec.answers import Fit, Mode, Setting
from rowvec.embedders.base import Embedder
from rowvec.errors import ConfigError, SearchError
from rowvec.evaluation.bootstrap import gain
from rowvec.evaluation.measures import Evaluation, Judgements, Queries, evaluate
from rowvec.ranking import Ranking
from rowvec.rerankers.base import Reranker, Scored
from rowvec.searcher.candidates import Candidates, blocks_of, ends, fused, hits_of
from rowvec.searcher.reranked import reranked
from rowvec.searcher.search import Searcher
from rowvec.searcher.snippets import Asked
from rowvec.stores.base import RowsHandle
from rowvec.types import Key, Progress, Ranked, StoredText, Vector

FOLDS = 5
LEAST_QUERIES = 2
ROUNDS = 10
"""Of the ascent; it ends earlier when no weight changes."""
LEAST = 1e-4
"""By which a mean must rise at least for a weight to change."""
SEED = 1
SEMANTIC_WEIGHTS = tuple(step / 20 for step in range(21))
STATIC_WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)
HALF_LIVES = (None, 7.0, 30.0, 90.0, 180.0, 365.0, 730.0, 1825.0, 3650.0)
"""Days."""

RERANK_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


Axis = Callable[[Setting], Iterator[Setting]]
"""A setting -> the same with each value that one of its parts may have."""


def fit(
    searcher: Searcher,
    queries: Queries,
    judgements: Judgements,
    *,
    mode: Mode = "hybrid",
    measure: str = "nDCG@10",
    folds: int = FOLDS,
    condensed: bool = False,
    rerank: bool = False,
    tell: Progress = lambda *_: None,
) -> Fit:
    """Propose weights for the pipeline's ranking. Nothing is written.

    Args:
        rerank: ask the pipeline's reranker, and fit its weight too. It reads each text of a query once.
        folds: parts into which the queries are divided; as many as there are queries where these are fewer.
        condensed: leave unjudged rows out of the rankings.

    Raises:
        ConfigError: fewer than two queries have judgements; nothing has a weight in this mode; no such measure.
        SearchError, EmbedderError, StoreError: the queries cannot be searched, or the reranker gives no answer.
    """
    judged = {query: text for query, text in queries.items() if query in judgements}
    reranker = searcher.asked_reranker(rerank)
    current = Setting(searcher.ranking, None if reranker is None else reranker.weight)
    axes, not_fitted = _axes(current, mode)
    if len(judged) == 1:
        raise ConfigError(
            "Only one query has judgements: weights cannot be chosen by one query and measured on another.",
            hint=f"Judge {LEAST_QUERIES} or more; below 50, a gain rarely shows.",
        )
    if not folds >= 2:
        raise ConfigError(f"folds is {folds}; it must be at least 2.")
    if not axes:
        raise ConfigError(
            f"Nothing has a weight in the mode {mode!r}.",
            hint="Use --mode hybrid or --rerank, or set search.static, search.title or search.decay in rowvec.toml.",
        )
    trial = _Trial(searcher, judged, judgements, mode, measure, condensed, reranker, tell)
    before = trial.values(current)
    names = list(before)
    random.Random(SEED).shuffle(names)
    count = min(folds, len(names))
    after: dict[str, float] = {}
    for number in range(count):
        held_out = names[number::count]
        best = _climb(trial, current, axes, [name for name in names if name not in set(held_out)])
        after |= {name: trial.values(best)[name] for name in held_out}
    return Fit(
        mode=mode,
        measure=trial.measure,
        queries=len(names),
        folds=count,
        current=current,
        proposed=_climb(trial, current, axes, names),
        before=_mean(before, names),
        gain=gain([before[name] for name in names], [after[name] for name in names]),
        not_fitted=not_fitted,
    )


def _axes(setting: Setting, mode: Mode) -> tuple[list[Axis], dict[str, str]]:
    ranking, axes = setting.ranking, list[Axis]()
    without: dict[str, str] = {}
    if mode == "hybrid":
        axes.append(_fusions)
    else:
        without["semantic_weight"] = f"the mode is {mode!r}"
    if ranking.static:
        axes.append(lambda found: (found.changed(static_weight=weight) for weight in STATIC_WEIGHTS))
    else:
        without["static_weight"] = "search.static is not set"
    if ranking.title:
        axes.append(lambda found: (found.changed(title_weight=weight) for weight in STATIC_WEIGHTS))
    else:
        without["title_weight"] = "search.title is not set"
    if ranking.decay:
        axes.append(lambda found: (found.changed(half_life_days=days) for days in HALF_LIVES))
    else:
        without["half_life_days"] = "search.decay is not set"
    if setting.rerank is not None:
        axes.append(lambda found: (replace(found, rerank=weight) for weight in RERANK_WEIGHTS))
    else:
        without["rerank.weight"] = "the reranker is not asked"
    return axes, without


def _fusions(setting: Setting) -> Iterator[Setting]:
    yield from (setting.changed(fusion="convex", semantic_weight=weight) for weight in SEMANTIC_WEIGHTS)
    yield setting.changed(fusion="rrf")


def _climb(trial: _Trial, start: Setting, axes: Sequence[Axis], names: Sequence[str]) -> Setting:
    """The setting that the ascent reaches by these queries.

    A part changes only where its best value is better by more than a standard error of the differences, query by query:
    what is better by less changes with the queries that were drawn. (The rule is that of Breiman et al.,
    "Classification and Regression Trees", 1984.)
    """
    best = start
    for _ in range(ROUNDS):
        before = best
        for axis in axes:
            tried = max(axis(best), key=lambda setting: _mean(trial.values(setting), names))
            if _clearly_better(trial.values(best), trial.values(tried), names):
                best = tried
        if best == before:
            break
    return best


def _clearly_better(old: Mapping[str, float], new: Mapping[str, float], names: Sequence[str]) -> bool:
    differences = [new[name] - old[name] for name in names]
    mean = math.fsum(differences) / len(names)
    if len(names) == 1:
        return mean > LEAST
    spread = math.fsum((each - mean) ** 2 for each in differences) / (len(names) - 1)
    return mean > max(LEAST, math.sqrt(spread / len(names)))


def _mean(values: Mapping[str, float], names: Sequence[str]) -> float:
    return math.fsum(values[name] for name in names) / len(names)


class _Trial:
    """The measure of any setting over queries that were searched once."""

    def __init__(
        self,
        searcher: Searcher,
        queries: Queries,
        judgements: Judgements,
        mode: Mode,
        measure: str,
        condensed: bool,
        reranker: Reranker | None,
        tell: Progress,
    ) -> None:
        self._queries, self._judgements, self._measure, self._condensed = queries, judgements, measure, condensed
        self._mode: Mode = mode
        self._reranker = reranker
        self._tell = tell
        self._live = searcher.rows, searcher.current
        self._found: dict[str, _Found] = {}
        self._values: dict[Setting, Mapping[str, float]] = {}
        self.measure = measure

    def values(self, setting: Setting) -> Mapping[str, float]:
        """Of each query."""
        if setting not in self._values:
            if self._values:
                self._tell("settings tried", len(self._values), None)
            found = self._evaluated(setting)
            self.measure, self._values[setting] = next(iter(found.per_query.items()))
        return self._values[setting]

    def _evaluated(self, setting: Setting) -> Evaluation:
        def run(query: str, depth: int) -> list[Key]:
            if query not in self._found:
                self._tell("queries", len(self._found), len(self._queries))
                self._found[query] = _Found.of(*self._live, query, self._mode, depth, self._reranker)
            return self._found[query].ranked(setting, depth)

        return evaluate(run, self._queries, self._judgements, [self._measure], condensed=self._condensed)


@dataclass(slots=True)
class _Judge:
    """A reranker that is asked about each text of a query once."""

    reranker: Reranker
    query: str
    weight: float
    _known: dict[str, float] = field(default_factory=dict)

    def scores(self, query: str, texts: Sequence[str]) -> Scored:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            found = self.reranker.scores(query, new)
            if found.scores is None:
                return found
            self._known |= dict(zip(new, found.scores, strict=True))
        return Scored([self._known[text] for text in texts])


@dataclass(slots=True)
class _Found:
    """What one query found, which no weight changes. It stands in for the rows when hits are made of it."""

    rows: RowsHandle
    asked: Asked
    judge: _Judge | None
    mode: Mode
    depth: int
    vector: Vector | None
    semantic: Ranked | None
    keyword: Ranked | None
    _similarities: dict[Key, float] = field(default_factory=dict)
    _metadata: dict[Key, Mapping[str, Any]] = field(default_factory=dict)
    _texts: dict[Key, StoredText] = field(default_factory=dict)
    _typical: tuple[float | None] | None = None

    @classmethod
    def of(
        cls, rows: RowsHandle, embedder: Embedder, query: str, mode: Mode, limit: int, reranker: Reranker | None = None
    ) -> _Found:
        judge = None if reranker is None else _Judge(reranker, query, reranker.weight)
        depth = ends(max(limit, 0 if reranker is None else reranker.top))[-1]
        vector = None if mode == "keyword" else embedder.embed_query(query)
        semantic = None if vector is None else rows.nearest(vector, depth)
        keyword = None if mode == "semantic" else rows.keyword(query, depth)
        asked = Asked.of(query, rows.spec.language)
        return cls(rows, asked, judge, mode, depth, vector, semantic, keyword)

    def ranked(self, setting: Setting, limit: int) -> list[Key]:
        """
        Raises:
            SearchError: the reranker gives no answer.
        """
        ranking, judge = setting.ranking, self.judge
        found = replace(self._candidates(ranking), asked=self.asked)
        top = 0 if judge is None else judge.reranker.top
        hits = hits_of(self, found, max(limit, top), ranking, explain=False)
        if judge is not None and setting.rerank is not None:
            judge.weight = setting.rerank
            texts = self._texts_of([hit.key for hit in hits[:top]])
            hits, problem = reranked(judge, judge.query, hits, top, found, texts, self.asked, ranking)
            if problem:
                raise SearchError(problem, hint="Give it more time in search.rerank.timeout, or fit without --rerank.")
        return [hit.key for hit in hits[:limit]]

    def _texts_of(self, keys: Sequence[Key]) -> Mapping[Key, StoredText]:
        new = [key for key in keys if key not in self._texts]
        self._texts |= self.rows.texts(new, self.vector) if new else {}
        return self._texts

    def _candidates(self, ranking: Ranking) -> Candidates:
        if self.semantic is None or self.keyword is None or self.vector is None:
            alone = self.semantic or self.keyword
            assert alone is not None
            return Candidates.alone(alone, self.mode, self.depth)
        return fused(self, self.vector, self.semantic, self.keyword, blocks_of(self.depth), ranking)

    def similarities(self, vector: Vector, keys: Sequence[Key]) -> Mapping[Key, float]:
        if not self._similarities:
            self._similarities = dict(self.rows.similarities(vector, keys))
        return self._similarities

    def typical(self, vector: Vector) -> float | None:
        if self._typical is None:
            self._typical = (self.rows.typical(vector),)
        return self._typical[0]

    def metadata(self, keys: Sequence[Key]) -> dict[Key, Mapping[str, Any]]:
        if not self._metadata:
            every = [key for ranked in (self.semantic, self.keyword) if ranked is not None for key in ranked.keys]
            self._metadata = dict(self.rows.metadata(list(dict.fromkeys(every))))
        return {key: self._metadata[key] for key in keys if key in self._metadata}
