"""The rows that the halves of a search found, and the hits that come of them."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from operator import itemgetter
from typing import Any, Protocol

from rowvec.answers import Mode
from rowvec.ranking import Fused, Own, Ranking, fuse_convex, fuse_rrf
from rowvec.searcher.snippets import Asked
from rowvec.types import Hit, Key, Ranked, Vector

DEPTH = 200
"""Candidates of each kind, at least. Each block of them is ranked for itself: see `ends`."""


def ends(many: int, first: int = DEPTH) -> list[int]:
    """Where blocks of candidates end: `first`, twice as many and so on, up to the first that is not below `many`.

    The rows of a block are ranked among each other, and come after those of the blocks before. Whoever asks for a
    thousand rows sees the same order as whoever asks for ten, a hundred times, because no row of a later block moves
    those of an earlier one.
    """
    found = [first]
    while found[-1] < many:
        found.append(2 * found[-1])
    return found


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that are ranked among each other: the first ones by meaning, and those by words."""

    semantic: int
    keyword: int
    hits: int | None = None
    """The best of them; the others are ranked with the next block. None for all."""


def blocks_of(depth: int) -> list[Block]:
    """Of both kinds as many, up to that depth."""
    return [Block(end, end) for end in ends(depth)]


class Rows(Protocol):
    """What hits are made from: a generation of a store, or what one query found in it."""

    def similarities(self, vector: Vector, keys: Sequence[Key]) -> Mapping[Key, float]: ...
    def typical(self, vector: Vector) -> float | None: ...
    def metadata(self, keys: Sequence[Key]) -> Mapping[Key, Mapping[str, Any]]: ...


@dataclass(frozen=True)
class Candidates:
    scores: Mapping[Key, float]
    semantic: Mapping[Key, float]
    keyword: Mapping[Key, float]
    exact: bool
    complete: bool
    halves: Fused
    """What meaning and words add to each score."""
    by_words: frozenset[Key] = frozenset()
    """Rows that only their words found."""
    ends: Sequence[int] = (DEPTH,)
    """Of the blocks of `scores` whose rows are ranked among each other."""
    ended: bool = False
    """There are no more."""
    asked: Asked | None = None
    """The words of the query, where there is one and titles count."""

    @classmethod
    def alone(
        cls, ranked: Ranked, mode: Mode, depth: int, without: Key | None = None, blocks: Sequence[int] = ()
    ) -> Candidates:
        """Those that one half found when it was asked for `depth`.

        Args:
            blocks: where blocks of rows end that are ranked among each other; by default as `ends` says.
        """
        scores = _scores(ranked)
        if without is not None:
            scores.pop(without, None)
        semantic, keyword = (scores, {}) if mode == "semantic" else ({}, scores)
        return cls(
            scores, semantic, keyword, ranked.exact, ranked.complete, Fused(semantic, keyword), frozenset(keyword),
            blocks or ends(len(scores)), ended=len(ranked.keys) < depth,
        )  # fmt: skip

    @cached_property
    def ranks(self) -> tuple[Mapping[Key, int], Mapping[Key, int]]:
        """Place of each row among those that meaning found, and among those that words found; from 1."""
        found = [key for key in self.semantic if key not in self.by_words]
        semantic, keyword = ({key: rank for rank, key in enumerate(keys, 1)} for keys in (found, self.keyword))
        return semantic, keyword


def fused(
    rows: Rows, vector: Vector, semantic: Ranked, keyword: Ranked, blocks: Sequence[Block], ranking: Ranking,
    near: Mapping[Key, float] | None = None, typical: float | None = None,
) -> Candidates:  # fmt: skip
    """
    Args:
        blocks: the last one says how many rows both halves were asked for.
        near: the similarities of those that words found, where they are known already.
        typical: likewise, how near rows are on average.
    """
    s, k = _scores(semantic), _scores(keyword)
    by_words = frozenset(k.keys() - s.keys())
    known = s
    if ranking.fusion == "convex":
        # A row that only its words found has a similarity too: without it, it would count as unrelated.
        alone = [key for key in k if key not in s]
        near = rows.similarities(vector, alone) if near is None else {key: near[key] for key in alone if key in near}
        known = {**s, **near}
        typical = rows.typical(vector) if typical is None else typical
    scores, first, second = dict[Key, float](), dict[Key, float](), dict[Key, float]()
    found_by = []
    for block in blocks:
        some_s, some_k = dict(islice(s.items(), block.semantic)), dict(islice(k.items(), block.keyword))
        if ranking.fusion == "convex":
            some_s |= {key: known[key] for key in some_k if key in known}
            # Of equal scores the nearer row comes first, whichever half has found it.
            some_s = dict(sorted(some_s.items(), key=itemgetter(1), reverse=True))
        both = _fuse(some_s, some_k, ranking, typical)
        new = together = both.scores
        if scores:
            new = {key: score for key, score in together.items() if key not in scores}
        if block.hits is not None:
            new = {key: new[key] for key in sorted(new, key=new.__getitem__, reverse=True)[: block.hits]}
        for half, found in ((first, both.first), (second, both.second)):
            half |= found if len(new) == len(together) else {key: found[key] for key in new if key in found}
        scores |= new
        found_by.append(len(scores))
        if block.hits is None and block.semantic >= len(s) and block.keyword >= len(k):
            break
    last = blocks[-1]
    ended = len(semantic.keys) < last.semantic and len(keyword.keys) < last.keyword
    halves = Fused(first, second)
    return Candidates(scores, known, k, semantic.exact, semantic.complete, halves, by_words, found_by, ended)


def _fuse(
    semantic: Mapping[Key, float], keyword: Mapping[Key, float], ranking: Ranking, typical: float | None
) -> Fused:
    if ranking.fusion == "rrf":
        return fuse_rrf(semantic, keyword)
    return fuse_convex(semantic, keyword, ranking.semantic_weight, typical)


def hits_of(rows: Rows, found: Candidates, limit: int, ranking: Ranking, explain: bool) -> list[Hit]:
    now = dt.datetime.now(dt.UTC)
    keys = list(found.scores)
    hits: list[Hit] = []
    for begin, end in pairwise((0, *found.ends)):
        among = keys[begin:end]
        lowest = score_of(hits[-1]) if hits else math.inf
        # A store gives equal scores by key, and a stable sort leaves them so: every page sees the same order.
        among.sort(key=found.scores.__getitem__, reverse=True)
        # Where nothing reorders them, the values of those that are not shown are not read.
        step = len(among) if ranking.reorders else limit - len(hits)
        ranked: list[Hit] = []
        for start in range(0, len(among), max(step, 1)):
            if len(hits) + len(ranked) >= limit:
                break
            part = among[start : start + step]
            metadata = rows.metadata(part)
            # One that is missing was deleted between the two statements.
            ranked += [
                _hit(key, metadata[key], found, ranking, now, lowest, explain) for key in part if key in metadata
            ]
        hits += sorted(ranked, key=lambda hit: -score_of(hit))
    return hits[:limit]


def _hit(
    key: Key, values: Mapping[str, Any], found: Candidates, ranking: Ranking, now: dt.datetime, most: float,
    explain: bool,
) -> Hit:  # fmt: skip
    score = found.scores[key]
    own = own_of(found, ranking, values, now)
    whole = ranking.final(score, own)
    final = min(whole, most)
    if not explain:
        return Hit(key, final, values)
    parts: dict[str, float | None] = {
        "semantic": found.semantic.get(key), "keyword": found.keyword.get(key), "fused": score,
        "static": own.static, "decay": own.decay, "final": final,
    }  # fmt: skip
    parts |= {"title": own.title} if ranking.title is not None else {}
    parts |= {"semantic_rank": found.ranks[0].get(key), "keyword_rank": found.ranks[1].get(key)}
    parts |= shares(found, ranking, key, own)
    return Hit(key, final, values, parts | held_back(final - whole))


def own_of(found: Candidates, ranking: Ranking, values: Mapping[str, Any], now: dt.datetime) -> Own:
    title = None if ranking.title is None or found.asked is None else found.asked.share(values.get(ranking.title))
    return Own(ranking.static_score(values), title, ranking.decay_factor(values, now))


def shares(found: Candidates, ranking: Ranking, key: Key, own: Own, part: float = 1.0) -> dict[str, float | None]:
    """What each half and the row itself add to the score of a hit; together they are `Ranking.final`.

    Args:
        part: how much of the halves counts, where a reranker has the rest.
    """
    added = {
        "semantic_part": found.halves.first.get(key, 0.0) * part * own.kept,
        "keyword_part": found.halves.second.get(key, 0.0) * part * own.kept,
        "static_part": None if own.static is None else ranking.static_weight * own.static * own.kept,
    }
    return added if own.title is None else added | {"title_part": ranking.title_weight * own.title * own.kept}


def held_back(amount: float) -> dict[str, float | None]:
    """Of a hit whose score may not pass that of the hits before it, how much it lost; nothing for all others."""
    return {"capped_part": amount} if amount else {}


def score_of(hit: Hit) -> float:
    """Of a hit that a query has found."""
    assert hit.score is not None
    return hit.score


def _scores(ranked: Ranked) -> dict[Key, float]:
    return dict(zip(ranked.keys, ranked.scores, strict=True))
