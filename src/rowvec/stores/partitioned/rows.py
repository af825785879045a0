"""The rows of all parts as searches read them; see stores.base.RowsHandle."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from rowvec.filters import Facets, Filter, Order, Place, browsed
from rowvec.stores.base import LastWord, TableSpec
from rowvec.stores.part import Matching, Narrows, PartHandle, Spans, WordCounts
from rowvec.stores.partitioned import merging
from rowvec.stores.partitioned.reach import Reach, Value
from rowvec.stores.typical import Typical
from rowvec.types import Column, Key, Ranked, StoredText, Vector

MOST_PARTS = 1_024


class PartitionedRows:
    def __init__(self, reach: Reach[PartHandle], metric: str) -> None:
        self.reach = reach
        self._typical = Typical(metric, self._sample)

    @property
    def spec(self) -> TableSpec:
        return next(iter(self.reach.parts.values())).spec

    def vector(self, key: Key, where: Filter | None = None) -> Vector | None:
        def ask(part: PartHandle, keys: Sequence[Key]) -> dict[Key, Vector]:
            found = part.vector(keys[0], where)
            return {} if found is None else {keys[0]: found}

        return self.reach.of_keys([key], ask).get(key)

    def vectors(self, after: Key | None, limit: int, where: Filter | None = None) -> list[tuple[Key, Vector]]:
        answers = self.reach.all(lambda part: dict(part.vectors(after, limit, where)))
        found = {key: vector for answer in answers for key, vector in answer.items()}
        return [(key, found[key]) for key in merging.keys(answers, limit)]

    def nearest(self, vector: Vector, limit: int, where: Filter | None = None, *, exact: bool = False) -> Ranked:
        """Each part is asked for its likely share of the hits first, which costs an index less than all of them; one
        that may have more of them is asked again."""

        def asking(most: int) -> Callable[[PartHandle], Ranked]:
            return lambda part: part.nearest(vector, most, where, exact=exact)

        share = limit if self.reach.moving else merging.likely_share(limit, len(self.reach.parts))
        answers = self.reach.numbered(asking(share))
        merged = merging.ranked(answers.values(), limit)
        short = merging.may_have_more(answers, share, merged, limit) if share < limit else []
        if not short:
            return merged
        answers |= self.reach.together(dict.fromkeys(short, asking(limit)))
        return merging.ranked(answers.values(), limit)

    def similarities(self, vector: Vector, keys: Sequence[Key], where: Filter | None = None) -> dict[Key, float]:
        return self.reach.of_keys(keys, lambda part, some: part.similarities(vector, some, where), tells_all=False)

    def typical(self, vector: Vector) -> float | None:
        return self._typical.similarity(vector)

    def _sample(self, most: int) -> list[Vector]:
        found = {text: vector for part in self.reach.all(lambda part: part.sample(most)) for text, vector in part}
        return [found[text] for text in sorted(found)[:most]]

    def keyword(self, query: str, limit: int, where: Filter | None = None, *, last: LastWord | None = None) -> Ranked:
        matching = self.reach.numbered(lambda part: part.matching(query, last))
        total = WordCounts.total(each.counts for each in matching.values())
        if self.reach.moving:
            # What is gone from a part since its words were read was not in any other one then.
            return merging.ranked(
                self.reach.all(lambda part: part.matching(query, last).best(total, limit, where)), limit
            )
        first, *others = matching.values()
        if isinstance(first, Narrows):
            narrowed = first.narrowed(others, total, limit, filtered=where is not None)
            found = self._best(dict(zip(matching, narrowed, strict=True)), total, limit, where)
            if len(found.keys) == limit or all(each.whole for each in narrowed):
                return found
        return self._best(matching, total, limit, where)

    def _best(self, matching: Mapping[int, Matching], total: WordCounts, limit: int, where: Filter | None) -> Ranked:
        found = Reach(matching, self.reach.placement, self.reach.pool)
        return merging.ranked(found.all(lambda each: each.best(total, limit, where)), limit)

    def holding(self, words: Sequence[str]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for part in self.reach.all(lambda part: part.holding(words)):
            for word, count in part.items():
                counts[word] = counts.get(word, 0) + count
        return counts

    def kept_words(self, known: Collection[int] = ()) -> dict[int, str] | None:
        by_part: dict[int, list[int]] = {}
        for number in known:
            by_part.setdefault(number % MOST_PARTS, []).append(number // MOST_PARTS)
        numbers = {id(handle): number for number, handle in self.reach.parts.items()}
        answers = self.reach.numbered(lambda part: part.kept_words(by_part.get(numbers[id(part)], ())))
        found: dict[int, str] = {}
        for part, words in answers.items():
            if words is None:
                return None
            found |= {number * MOST_PARTS + part: text for number, text in words.items()}
        return found

    def browse(
        self,
        limit: int,
        where: Filter | None = None,
        *,
        order: Order | None = None,
        offset: int = 0,
        after: Place | None = None,
    ) -> list[Key]:
        most = limit + offset

        def ask(part: PartHandle) -> Mapping[Key, Mapping[str, Any]]:
            keys = part.browse(most, where, order=order, after=after)
            return {key: {} for key in keys} if order is None else part.metadata(keys)

        found = {key: values for answer in self.reach.all(ask) for key, values in answer.items()}
        return browsed(found, order, None)[offset:most]

    def facets(self, columns: Sequence[Column], where: Filter | None = None, *, most: int = 10) -> Facets:
        def ask(some: Sequence[Column], listed: int, spans: Spans) -> list[Facets]:
            return self.reach.all(lambda part: part.facets(some, where, most=listed, spans=spans))

        return merging.facets(ask, columns, most)

    def metadata(self, keys: Sequence[Key], where: Filter | None = None) -> dict[Key, Mapping[str, Any]]:
        found = self.reach.of_keys(keys, lambda part, some: part.metadata(some, where), tells_all=where is None)
        return found if where is None else self._told(keys, found)

    def texts(
        self, keys: Sequence[Key], vector: Vector | None = None, where: Filter | None = None
    ) -> dict[Key, StoredText]:
        found = self.reach.of_keys(keys, lambda part, some: part.texts(some, vector, where), tells_all=False)
        return self._told(keys, found)

    def _told(self, keys: Sequence[Key], found: dict[Key, Value]) -> dict[Key, Value]:
        """What is known of these keys. A row of which nothing is told may be there all the same.

        Raises:
            PartUnavailable: one of the others may be in a part that is left out.
        """
        if self.reach.missing and len(found) < len(keys):
            self.metadata([key for key in keys if key not in found])
        return found
