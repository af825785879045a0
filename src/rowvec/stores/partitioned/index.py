"""The vector indexes of all parts as one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from rowvec.stores.index import Effort, IndexCost, IndexSpec, IndexStatus, VectorIndex
from rowvec.stores.partitioned.reach import Answer, one_by_one
from rowvec.types import Progress, Vectors


class PartitionedIndex:
    """See stores.index.VectorIndex.

    Args:
        parts: the index of each part, by number.
        of: the number of all parts.
    """

    def __init__(self, parts: Mapping[int, VectorIndex], of: int) -> None:
        self._parts = parts
        self._of = of

    def _all(self, ask: Callable[[VectorIndex], Answer]) -> list[Answer]:
        return list(one_by_one(self._parts, ask, of=self._of).values())

    @property
    def resumes(self) -> bool:
        return all(each.resumes for each in self._parts.values())

    def status(self) -> list[IndexStatus]:
        """One that stands for those of all parts that have one; none where a part has none."""
        found = self._all(lambda each: each.status())
        if not all(found):
            return []
        firsts = [each[0] for each in found]
        recalls = [each.recall for each in firsts if each.recall is not None]
        sizes = [each.bytes for each in firsts if each.bytes is not None]
        merged = replace(
            firsts[0],
            valid=all(each.valid for each in firsts),
            bytes=sum(sizes) if sizes else None,
            recall=sum(recalls) / len(recalls) if recalls else None,
        )
        return [merged, *(further for each in found for further in each[1:])]

    def cost(self) -> IndexCost | None:
        costs = self._all(lambda each: each.cost())
        known = [each for each in costs if each is not None]
        if len(known) < len(costs) or not known:
            return None
        sums = {name: sum(getattr(each, name) for each in known) for name in ("vectors", "seconds", "bytes")}
        return replace(known[0], **sums)

    def build(self, spec: IndexSpec | None = None, progress: Progress | None = None) -> IndexStatus:
        built = self._all(lambda each: each.build(spec, progress))
        return (self.status() or built)[0]

    def drop(self) -> int:
        return sum(self._all(lambda each: each.drop()))

    def tune(
        self, target: float, queries: int | Vectors = 200, k: int = 10, progress: Progress | None = None
    ) -> list[Effort]:
        """Each part is tuned by itself, for as many of its own nearest rows as are likely among the `k` nearest of all:
        where each finds the share `target` of those, all do together.

        The efforts are those of the part that needs the most.
        """
        mean = k / self._of
        own = min(k, math.ceil(mean + math.sqrt(mean)))
        found = self._all(lambda each: each.tune(target, queries, own, progress))
        return max(found, key=lambda efforts: efforts[-1].effort + (efforts[-1].passages or 0) if efforts else 0)
