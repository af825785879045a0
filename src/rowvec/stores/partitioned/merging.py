"""The answers of several parts, made that of one table with all their rows. A row that two parts give counts once."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rowvec.filters.facets import Facet, Facets, RangeFacet, ValueFacet, edges, range_facet, value_facet
from rowvec.stores.base import REPEATED_KEYS
from rowvec.stores.index import IndexStatus
from rowvec.stores.ledger import GenerationStatus, Repeated
from rowvec.stores.part import PartHandle, Spans
from rowvec.types import Column, Key, Ranked

TEXTS_AT_ONCE = 10_000


def ranked(answers: Iterable[Ranked], limit: int) -> Ranked:
    """The best of them; equal ones by key, as in each part."""
    found = list(answers)
    scores: dict[Any, float] = {}
    for answer in found:
        for key, score in zip(answer.keys, answer.scores, strict=True):
            scores[key] = max(score, scores.get(key, score))
    best = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
    return Ranked(
        [key for key, _ in best],
        [score for _, score in best],
        exact=all(each.exact for each in found),
        complete=all(each.complete for each in found),
    )


def likely_share(limit: int, parts: int) -> int:
    """How many of the best `limit` rows one part holds at most, but for one time in a thousand: rows are spread over
    the parts by chance."""
    mean = limit / parts
    return min(limit, math.ceil(mean + 3 * math.sqrt(mean)) + 1)


def may_have_more(answers: Mapping[int, Ranked], share: int, merged: Ranked, limit: int) -> list[int]:
    """The parts whose further rows, behind the first `share`, may be among the best `limit`."""
    least = merged.scores[-1] if len(merged.scores) == limit else -math.inf
    return [number for number, each in answers.items() if len(each.keys) == share and each.scores[-1] >= least]


def keys(answers: Iterable[Iterable[Key]], limit: int | None = None) -> list[Key]:
    """In their order, as stores have it: numbers by size, texts by code point."""
    found: set[Any] = {key for answer in answers for key in answer}
    return sorted(found)[:limit]


def repeated(parts: Sequence[PartHandle], limit: int) -> list[Repeated]:
    """All texts of all parts pass here, those with the least hashes first: equal ones may be in several parts."""
    most: list[tuple[int, list[Any]]] = []
    for rows, held in _texts(parts):
        if rows > 1:
            most.append((rows, held))
            if len(most) > 2 * limit:
                most = _most(most, limit)
    return [Repeated(rows, tuple(held[:REPEATED_KEYS])) for rows, held in _most(most, limit)]


def _most(found: list[tuple[int, list[Any]]], limit: int) -> list[tuple[int, list[Any]]]:
    return sorted(found, key=lambda each: (-each[0], str(each[1][0])))[:limit]


def _texts(parts: Sequence[PartHandle]) -> Iterator[tuple[int, list[Any]]]:
    """How many rows each text has, and some of their keys."""
    merged = heapq.merge(*map(_texts_of, parts), key=lambda each: each[0])
    text, rows, held = None, 0, list[Any]()
    for text_hash, some, count in merged:
        if text_hash != text:
            if rows:
                yield rows, sorted(held)
            text, rows, held = text_hash, 0, []
        rows, held = rows + count, held + some
    if rows:
        yield rows, sorted(held)


def _texts_of(part: PartHandle) -> Iterator[tuple[bytes, list[Key], int]]:
    after: bytes | None = None
    while found := part.counted_texts(after, TEXTS_AT_ONCE):
        yield from found
        after = found[-1][0]


def status(answers: Sequence[GenerationStatus], index: IndexStatus | None) -> GenerationStatus:
    """The first part is the one that names the engine."""
    summed = ("rows", "failures", "stale", "truncated", "bytes", "passages", "divided", "unfit")
    sums = {name: sum(getattr(each, name) for each in answers) for name in summed}
    return replace(answers[0], **sums, index=index)


# Facets

ALL_VALUES = 1_000
"""Of a column, as many are asked for at first."""
MORE = 16


def facets(ask: Callable[[Sequence[Column], int, Spans], list[Facets]], columns: Sequence[Column], most: int) -> Facets:
    """Counted once, and the bins of numbers and dates once it is known what they lie between.

    Args:
        ask: called with columns, with how many values to list, and with the ends of the bins that are to be counted;
            gives the answer of each part.
    """
    listed = max(most, ALL_VALUES)
    found = ask(columns, listed, {})
    held = {column.name: [each.columns[column.name] for each in found] for column in columns}
    # Which values are the most frequent is known only where every part lists all that it has.
    while cut := [column for column in columns if any(map(_is_cut, held[column.name]))]:
        listed *= MORE
        answers = ask(cut, listed, {})
        held |= {column.name: [each.columns[column.name] for each in answers] for column in cut}
    spans = {name: ends for name, each in held.items() if (ends := _ends(each)) is not None}
    spread = ask([column for column in columns if column.name in spans], 0, spans) if spans else []
    bins = {name: _added([each.columns[name] for each in spread]) for name in spans}
    rows = [each.rows for each in found]
    merged = {
        column.name: _merged_values(each, most)
        if isinstance((each := held[column.name])[0], ValueFacet)
        else _merged_range(column, each, rows, spans.get(column.name), bins.get(column.name))
        for column in columns
    }
    return Facets(sum(rows), merged)


def _is_cut(facet: Facet) -> bool:
    return isinstance(facet, ValueFacet) and facet.other > 0


def _ends(facets: Sequence[Facet]) -> tuple[Any, Any] | None:
    """The least and the greatest value of all parts; None if no value has an order."""
    held = [each for each in facets if isinstance(each, RangeFacet) and each.min is not None]
    return (min(each.min for each in held), max(each.max for each in held)) if held else None


def _added(facets: Sequence[Facet]) -> Counter[int]:
    """How many values of all parts are in each bin."""
    bins: Counter[int] = Counter()
    for each in facets:
        assert isinstance(each, RangeFacet)
        bins.update({number: found.count for number, found in enumerate(each.bins)})
    return bins


def _merged_values(facets: Sequence[Facet], most: int) -> ValueFacet:
    counts: Counter[Any] = Counter()
    for each in facets:
        assert isinstance(each, ValueFacet)
        counts.update({value.value: value.count for value in each.values})
    best = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:most]
    return value_facet(best, sum(each.missing for each in facets), len(counts), sum(counts.values()))


def _merged_range(
    column: Column,
    facets: Sequence[Facet],
    rows: Sequence[int],
    ends: tuple[Any, Any] | None,
    bins: Counter[int] | None,
) -> RangeFacet:
    """
    Args:
        rows: of each part.
    """
    missing = sum(each.missing for each in facets)
    if ends is None:
        return range_facet(column, None, None, None, missing, None)
    parts = zip(facets, rows, strict=True)
    means = [
        (each.mean, n - each.missing) for each, n in parts if isinstance(each, RangeFacet) and each.mean is not None
    ]
    mean = sum(mean * count for mean, count in means) / sum(count for _, count in means) if means else None
    return range_facet(column, *ends, mean, missing, edges(column.type, *ends), bins)
