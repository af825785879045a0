"""The best hits of a search in the order of a reranker, which reads the query beside the best passage of each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from rowvec.ranking import Fused, Ranking, fuse_convex
from rowvec.rerankers.base import Judge, Scored
from rowvec.searcher.candidates import Candidates, held_back, own_of, score_of, shares
from rowvec.searcher.snippets import Asked, best_passage
from rowvec.types import Hit, Key, StoredText

NO_TEXT = "The reranker was not asked: none of the hits has a text."


def reranked(
    reranker: Judge,
    query: str,
    hits: Sequence[Hit],
    reach: int,
    found: Candidates,
    texts: Mapping[Key, StoredText],
    asked: Asked,
    ranking: Ranking,
) -> tuple[list[Hit], str]:
    """All hits, the first `reach` of them in a new order; or as they were, and why.

    Its score takes the place of the score that the halves gave, or a part of it, as `weight` says. A static score and
    the age of a row count as before.
    """
    if not hits:
        return [], ""
    best, rest = hits[:reach], hits[reach:]
    sent = {hit.key: text for hit in best if (text := _text(hit, texts.get(hit.key), asked, found)).strip()}
    scores, problem = reranker.scores(query, list(sent.values())) if sent else Scored(None, NO_TEXT)
    if scores is None:
        return list(hits), problem
    given = dict(zip(sent, scores, strict=True))
    before = {hit.key: found.scores[hit.key] for hit in best}
    together, now = fuse_convex(given, before, reranker.weight), dt.datetime.now(dt.UTC)
    ordered = [_scored(hit, found, ranking, together, given.get(hit.key), now) for hit in best]
    # A row without a text has no score, and comes after those that have one.
    ordered.sort(key=lambda hit: (-score_of(hit), hit.key not in given))
    lowest = score_of(ordered[-1])
    return ordered + [_capped(hit, lowest) for hit in rest], ""


def _text(hit: Hit, stored: StoredText | None, asked: Asked, found: Candidates) -> str:
    """What the reranker reads: where the store keeps no text of a row, its metadata stands in."""
    if stored is not None and stored.text:
        return best_passage(stored, asked, by_words=hit.key in found.by_words)
    return best_passage(
        StoredText(". ".join(value for value in hit.metadata.values() if isinstance(value, str))), asked
    )


def _scored(
    hit: Hit, found: Candidates, ranking: Ranking, together: Fused, given: float | None, now: dt.datetime
) -> Hit:
    own = own_of(found, ranking, hit.metadata, now)
    by_reranker, by_search = together.first.get(hit.key, 0.0), together.second.get(hit.key, 0.0)
    final = ranking.final(by_reranker + by_search, own)
    if hit.parts is None:
        return hit._replace(score=final)
    before = found.scores[hit.key]
    parts = {name: value for name, value in hit.parts.items() if name != "capped_part"}
    parts |= shares(found, ranking, hit.key, own, by_search / before if before else 0.0)
    parts |= {"rerank": given, "rerank_part": by_reranker * own.kept, "final": final}
    return hit._replace(score=final, parts=parts)


def _capped(hit: Hit, most: float) -> Hit:
    """A hit that the reranker has not seen comes after those that it has, and its score says so."""
    final = min(score_of(hit), most)
    if hit.parts is None:
        return hit._replace(score=final)
    lost = (hit.parts.get("capped_part") or 0.0) + final - score_of(hit)
    parts = {**hit.parts, "rerank": None, "rerank_part": None, "final": final, **held_back(lost)}
    return hit._replace(score=final, parts=parts)
