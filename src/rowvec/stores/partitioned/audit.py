"""The parts of a store looked at from the inside: each for itself, and whether a row is where it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rowvec.errors import StoreError
from rowvec.stores.auditor import Audited, Auditor, Drift, Fault, Seen
from rowvec.stores.part import PartHandle
from rowvec.stores.partitioned.reach import Reach, named, one_by_one
from rowvec.stores.placement import part_of
from rowvec.stores.write_batch import WriteBatch
from rowvec.types import Document, Key

KEYS = 10_000


@dataclass(frozen=True, slots=True)
class PartFault(Fault):
    part: int = 0
    misplaced: bool = False
    """Rows are in a part that they do not belong to."""


class PartitionedAuditor:
    """See stores.auditor.Auditor."""

    def __init__(self, reach: Reach[PartHandle]) -> None:
        self._reach = reach
        self._auditors: dict[int, Auditor] = {}
        for number, part in reach.parts.items():
            assert isinstance(part, Audited)
            self._auditors[number] = part.auditor()

    def inspect(self, documents: Sequence[Document], *, vectors: bool = False) -> dict[Key, Seen]:
        by_key = {document.key: document for document in documents}
        numbers = {id(part): number for number, part in self._reach.parts.items()}

        def ask(part: PartHandle, keys: Sequence[Key]) -> dict[Key, Seen]:
            return self._auditors[numbers[id(part)]].inspect([by_key[key] for key in keys], vectors=vectors)

        return self._reach.of_keys(list(by_key), ask)

    def faults(self, most: int) -> list[Fault]:
        found: list[Fault] = []
        of = self._reach.placement.most
        for number, faults in one_by_one(self._auditors, lambda auditor: auditor.faults(most), of=of).items():
            for fault in faults:
                detail = f"part {number + 1}" + (f": {fault.detail}" if fault.detail else "")
                found.append(PartFault(fault.drift, fault.count, fault.keys, detail, number))
            with named(number, of):
                misplaced = [] if self._reach.moving else self._misplaced(number)
            if misplaced:
                said = f"part {number + 1} holds rows of other parts"
                found.append(PartFault(Drift.DUPLICATE, len(misplaced), misplaced[:most], said, number, True))
        return found

    def _misplaced(self, number: int) -> list[Key]:
        part, parts = self._reach.parts[number], self._reach.placement.parts
        after: Key | None = None
        found: list[Key] = []
        while keys := part.keys(after, KEYS):
            found += [key for key in keys if part_of(key, parts) != number]
            after = keys[-1]
        return found

    def forget(self, keys: Sequence[Key]) -> None:
        for number, auditor in self._auditors.items():
            some = [key for key in keys if part_of(key, self._reach.placement.parts) == number]
            with named(number, self._reach.placement.most):
                if some:
                    auditor.forget(some)

    def repair(self, fault: Fault) -> None:
        if not isinstance(fault, PartFault):
            raise StoreError("Only a fault that this store found can be repaired.")
        with named(fault.part, self._reach.placement.most):
            if fault.misplaced:
                # What the source has is embedded again, or was in its own part all the time.
                self._reach.parts[fault.part].write(WriteBatch(deletes=self._misplaced(fault.part)))
                return
            detail = fault.detail.partition(": ")[2]
            plain = Fault(fault.drift, fault.count, fault.keys, detail)
            self._auditors[fault.part].repair(plain)
