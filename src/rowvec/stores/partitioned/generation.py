"""The rows of one generation in all parts; see stores.base.GenerationHandle.

What is about the generation as a whole (offsets, the deletion guard, a refusal) is in its first part. A batch is one
transaction in each part that it touches: first the guard and the share of the first part, then the shares of the
others, then the offsets. Whoever is killed between them does the rest at the next sync, as between two batches.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import replace

from rowvec.errors import StoreError
from rowvec.stores.abilities import TakesMany
from rowvec.stores.guarding import Elsewhere, Refusal, Standing
from rowvec.stores.index import VectorIndex
from rowvec.stores.ledger import GenerationStatus, Repeated, Written
from rowvec.stores.part import Created, PartHandle
from rowvec.stores.partitioned import merging
from rowvec.stores.partitioned.audit import PartitionedAuditor
from rowvec.stores.partitioned.index import PartitionedIndex
from rowvec.stores.partitioned.reach import Reach
from rowvec.stores.partitioned.rows import PartitionedRows
from rowvec.stores.placement import by_part, part_of
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.clocks import between
from rowvec.types import Failure, Key, Stored, TextVector, UnfitValue


class PartitionedGeneration(PartitionedRows):
    """
    Args:
        apart: the parts are not tables of one file, whose writers wait for each other.
        location: for messages.
        now: says the time by the clock of the first part.
    """

    def __init__(
        self, reach: Reach[PartHandle], metric: str, *, apart: bool, location: str, now: Callable[[], dt.datetime]
    ) -> None:
        super().__init__(reach, metric)
        self._apart = apart
        self._location = location
        self._now = now
        first = next(iter(reach.parts.values()))
        if isinstance(first, TakesMany):
            self.rows_at_once = first.rows_at_once

    @property
    def index(self) -> VectorIndex | None:
        indexes = {number: part.index for number, part in self.reach.parts.items() if part.index is not None}
        return PartitionedIndex(indexes, self.reach.placement.most) if indexes else None

    def lookup(self, keys: Sequence[Key]) -> dict[Key, Stored]:
        return self.reach.of_keys(keys, lambda part, some: part.lookup(some))

    def vectors_of_texts(self, hashes: Sequence[bytes]) -> dict[bytes, TextVector]:
        answers = self.reach.all(lambda part: part.vectors_of_texts(hashes))
        return {text: vector for answer in answers for text, vector in answer.items()}

    def keys(self, after: Key | None, limit: int) -> list[Key]:
        return merging.keys(self.reach.all(lambda part: part.keys(after, limit)), limit)

    def count(self) -> int:
        return sum(self.reach.all(lambda part: part.count()))

    def standing(self) -> Standing:
        first = self.reach.first(lambda part: part.standing())
        return first._replace(rows=first.rows + self._rows_elsewhere())

    def _rows_elsewhere(self) -> int:
        asked = dict.fromkeys((number for number in self.reach.parts if number), lambda part: part.count())
        return sum(self.reach.together(asked).values())

    def refusal(self) -> Refusal | None:
        return self.reach.first(lambda part: part.refusal())

    def write(self, batch: WriteBatch) -> int:
        if self.reach.moving:
            raise StoreError(
                f"{self._location}: rows are on their way to other parts, and nothing else is written before they are"
                " there.",
                hint="Run `rowvec sync`: it moves them first.",
            )
        shares = self._shares(batch)
        first = shares.pop(0, WriteBatch())
        if batch.guard is not None:
            first.guard = replace(batch.guard, elsewhere=self._elsewhere(shares))
        if not shares:
            first.offsets = batch.offsets
        conflicts = self._write_shares({0: first}) if len(first) or first.guard is not None else 0
        conflicts += self._write_shares(shares)
        if shares and batch.offsets:
            self._write_shares({0: WriteBatch(offsets=batch.offsets)})
        return conflicts

    def _shares(self, batch: WriteBatch) -> dict[int, WriteBatch]:
        """What each part has to write, but for guard and offsets."""
        parts, shares = self.reach.placement.parts, dict[int, WriteBatch]()

        def share(key: Key) -> WriteBatch:
            return shares.setdefault(part_of(key, parts), WriteBatch())

        for entry in batch.entries:
            share(entry.document.key).entries.append(entry)
        for document in batch.updates:
            share(document.key).updates.append(document)
        for failure in batch.failures:
            share(failure.key).failures.append(failure)
        for key in batch.deletes:
            share(key).deletes.append(key)
        for key in batch.recovered:
            share(key).recovered.append(key)
        for key, position in batch.positions.items():
            share(key).positions[key] = position
        return shares

    def _elsewhere(self, shares: dict[int, WriteBatch]) -> Elsewhere:
        """When those rows were made, by the clock of the first part: the guard compares it with its own moments."""

        def asking(keys: Sequence[Key]) -> Callable[[PartHandle], Created]:
            return lambda part: part.created(keys)

        asked = {number: asking(share.deletes) for number, share in shares.items() if share.deletes}
        if not asked:
            return Elsewhere(self._rows_elsewhere, [])
        before, answers, after = self._now(), self.reach.together(asked).values(), self._now()
        created = [at + between(before, each.now, after) for each in answers for at in each.times]
        return Elsewhere(self._rows_elsewhere, created)

    def _write_shares(self, shares: dict[int, WriteBatch]) -> int:
        asked = {number: _writing(share) for number, share in shares.items()}
        if self._apart:
            return sum(self.reach.together(asked).values())
        return sum(sum(self.reach.together({number: ask}).values()) for number, ask in asked.items())

    def offsets(self) -> dict[str, str]:
        return self.reach.first(lambda part: part.offsets())

    def positions(self, keys: Sequence[Key]) -> dict[Key, str]:
        return self.reach.of_keys(keys, lambda part, some: part.positions(some))

    def failures(self, limit: int | None = None) -> list[Failure]:
        found = {each.key: each for part in self.reach.all(lambda part: part.failures(limit)) for each in part}
        return sorted(found.values(), key=lambda failure: failure.failed_at, reverse=True)[:limit]

    def unfit(self, keys: Sequence[Key] | None = None, limit: int | None = None) -> list[UnfitValue]:
        def asking(some: Sequence[Key] | None) -> Callable[[PartHandle], list[UnfitValue]]:
            return lambda part: part.unfit(some, limit)

        if keys is None or self.reach.moving:
            answers = self.reach.all(asking(keys))
        else:
            wanted = by_part(keys, self.reach.placement.parts)
            answers = list(self.reach.together({each: asking(some) for each, some in wanted.items()}).values())
        found = {(each.column, str(each.key)): each for answer in answers for each in answer}
        return [found[name] for name in sorted(found)][:limit]

    def written(self, keys: Sequence[Key]) -> dict[Key, Written]:
        return self.reach.of_keys(keys, lambda part, some: part.written(some))

    def status(self) -> GenerationStatus:
        found = self.index.status() if self.index is not None else []
        merged = merging.status(answers := self.reach.all(lambda part: part.status()), found[0] if found else None)
        # A file says its own size, whatever tables it has.
        return merged if self._apart else replace(merged, bytes=max(each.bytes for each in answers))

    def truncated(self, limit: int) -> list[Key]:
        return merging.keys(self.reach.all(lambda part: part.truncated(limit)), limit)

    def repeated(self, limit: int) -> list[Repeated]:
        return merging.repeated(list(self.reach.parts.values()), limit)

    def auditor(self) -> PartitionedAuditor:
        return PartitionedAuditor(self.reach)


def _writing(share: WriteBatch) -> Callable[[PartHandle], int]:
    return lambda part: part.write(share)
