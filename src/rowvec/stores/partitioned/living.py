"""A store of several parts without those that do not answer, for searches.

The first part says how many parts there are and which model is live. Where it is the one that is left out, the next one
stands in: each part keeps a record of the number of parts, and books of its own generations. A record that is older
than that of the first says at most that rows are on their way, and then a search asks more parts than it has to.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from rowvec.errors import PartUnavailable
from rowvec.stores.base import TableSpec
from rowvec.stores.ledger import Ledger
from rowvec.stores.part import PartHandle, PartStore
from rowvec.stores.partitioned import generations
from rowvec.stores.partitioned.generation import PartitionedGeneration
from rowvec.stores.partitioned.reach import Reach, named
from rowvec.stores.placement import Placement, check_place
from rowvec.types import Generation


class LivingParts:
    """See stores.base.SearchedStore.

    Args:
        part: opens the store of a part, by its number.
        parts: that there shall be.
        missing: the numbers of those that are left out.
        handle: makes the handle of a generation.

    Raises:
        PartUnavailable: no part is left.
    """

    def __init__(
        self,
        part: Callable[[int], PartStore],
        parts: int,
        missing: frozenset[int],
        pool: ThreadPoolExecutor,
        location: str,
        handle: Callable[[Reach[PartHandle]], PartitionedGeneration],
    ) -> None:
        self.location = location
        self._part = part
        self._wanted = parts
        self._missing = missing
        self._pool = pool
        self._handle = handle
        left = [number for number in range(parts) if number not in missing]
        if not left:
            raise PartUnavailable(f"{location}: no part answers.", part=min(missing))
        self._lead = left[0]

    def _placement(self) -> Placement:
        with named(self._lead, self._wanted):
            lead = self._part(self._lead)
            placed = Placement.read(lead.placement(), lead.location)
        if placed is None:
            if self._lead:
                first = min(self._missing)
                said = f"Part {first + 1} of {self._wanted} does not answer, and no other part says where the rows are."
                raise PartUnavailable(said, part=first)
            return Placement(1 if lead.ledger().exists else self._wanted)
        return placed

    def _reach(self, placement: Placement) -> Reach[PartStore]:
        parts = {number: self._part(number) for number in range(placement.most) if number not in self._missing}
        return Reach(parts, placement, self._pool, self._missing)

    def live_version(self) -> str:
        placement = self._placement()
        # Who swaps says so in the first part alone.
        if placement.swapping or self._lead:
            versions = self._reach(placement).all(lambda part: part.live_version())
        else:
            with named(0, self._wanted):
                versions = [self._part(0).live_version()]
        return " ".join([placement.step, *versions])

    def ledger(self) -> Ledger:
        version = self.live_version()
        with named(self._lead, self._wanted):
            found = self._part(self._lead).ledger()
        # Rows may be in the parts that do not answer.
        return replace(found, filled=found.filled or found.exists, version=version)

    def generation(self, spec: TableSpec) -> PartitionedGeneration | None:
        placement = self._placement()
        reach = self._reach(placement)
        for number, text in reach.numbered(lambda part: part.placement()).items():
            check_place(text, placement, number, reach.parts[number].location)
        found = {number: each for number, each in reach.numbered(lambda part: part.generation(spec)).items() if each}
        if self._lead not in found:
            return None
        return self._handle(Reach(found, placement, self._pool, self._missing))

    def generations(self, spec: TableSpec) -> list[Generation]:
        placement = self._placement()
        return generations.listed(self._reach(placement).parts, spec, of=placement.most)
