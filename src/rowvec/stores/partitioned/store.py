"""A store whose rows lie in several: parts of one kind, on one server or on one each.

The first part says how many there are, and keeps what is about the pipeline as a whole: runs, evaluations, offsets, the
deletion guard. The lock of a sync is that of every part.

The first part also says which model's vectors are live. In every other part those of that model are searched, in
whatever place its generation is there: so no answer mixes two models while the parts go over to another one after
another, the first one last.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from rowvec.errors import StoreError
from rowvec.stores.abilities import AltersTable, DividesWork, IndexesWords
from rowvec.stores.away import Away
from rowvec.stores.base import TableSpec
from rowvec.stores.ledger import Ledger
from rowvec.stores.part import PartHandle, PartStore
from rowvec.stores.partitioned import generations
from rowvec.stores.partitioned.generation import PartitionedGeneration
from rowvec.stores.partitioned.living import LivingParts
from rowvec.stores.partitioned.moving import Move, misplaced
from rowvec.stores.partitioned.reach import Reach, named, one_by_one
from rowvec.stores.placement import Placement, check_place
from rowvec.stores.runs import Evaluated, Report, Run, Totals
from rowvec.support.clocks import now_of
from rowvec.types import Check, Generation, Progress, State

WORKERS = 32
"""Parts that are asked at once beside those that the searching threads ask themselves."""


class PartitionedStore:
    """See stores.base.Store.

    Args:
        opener: opens the store of a part, by its number from 0 on.
        parts: that there shall be.
        apart: the parts are not tables of one file, whose writers wait for each other.
    """

    def __init__(self, opener: Callable[[int], PartStore], parts: int, *, apart: bool = True) -> None:
        self._opener = opener
        self._wanted = parts
        self._apart = apart
        self._opened: dict[int, PartStore] = {}
        self._opening = threading.Lock()
        self._ranged = False
        """The lock that is held is that of a range of keys."""
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="rowvec-part")
        self.first = self._part(0)
        self.metric = self.first.metric
        # After the address: what stands before it names the table to a fleet.
        self.location = f"{self.first.location} ({parts} part{'s' if parts > 1 else ''})"
        self.away = Away(self.location)
        if isinstance(self.first, DividesWork):
            self.divides_work, self.layout = self.first.divides_work, self.first.layout

    def _part(self, number: int) -> PartStore:
        with self._opening:
            if number not in self._opened:
                self._opened[number] = self._opener(number)
            return self._opened[number]

    def _parts(self, placement: Placement) -> dict[int, PartStore]:
        return {number: self._part(number) for number in range(placement.most)}

    # How rows are spread

    def _placed(self) -> Placement | None:
        """None where nothing says it: there are no rows, or the first part has all of them."""
        with named(0, self._wanted):
            return Placement.read(self.first.placement(), self.first.location)

    def _placement(self) -> Placement:
        placed = self._placed()
        if placed is not None:
            return placed
        return Placement(1 if self.first.ledger().exists else self._wanted)

    def _keep(self, placement: Placement, *, announce: bool = False) -> None:
        self.first.keep_placement(placement.text(), announce=announce)

    def must_move(self) -> bool:
        """There are rows on their way, or in another number of parts than they shall be."""
        placement = self._placement()
        spread = placement.former is None and placement.parts == self._wanted
        return not spread and self.first.ledger().exists

    def moves(self, spec: TableSpec) -> dict[int, int]:
        """How many rows the next sync moves to which part, by its number from 1 on; it embeds none of them for that."""
        if not self.must_move():
            return {}
        found = self.generation(generations.live_spec(spec, self.first.ledger()))
        rows = {} if found is None else misplaced(dict(found.reach.parts), self._wanted)
        return {number + 1: count for number, count in sorted(rows.items())}

    def move(
        self, spec: TableSpec, progress: Progress | None = None, moved: Callable[[int], None] | None = None
    ) -> int:
        """Bring every row to its part where their number has changed, or where that was begun; under the lock.

        Returns how many rows were moved.

        Args:
            moved: called with the number of rows each time that some have got there.

        Raises:
            StoreError: texts are not kept, of which the keyword index of another part would be made.
        """
        if self._ranged:
            self._check_number()
        rows, ledger = 0, self.first.ledger()
        while ledger.exists and self.must_move():
            live, placement = generations.live_spec(spec, ledger), self._placement()
            move = Move(self._part, placement, live, self._keep, self.location, moved)
            rows += move.carry_out(self._wanted, progress)
        return rows

    def _reach(self, parts: Mapping[int, PartHandle], placement: Placement) -> PartitionedGeneration:
        return self._handle(Reach(parts, placement, self._pool))

    def _handle(self, reach: Reach[PartHandle]) -> PartitionedGeneration:
        return PartitionedGeneration(reach, self.metric, apart=self._apart, location=self.location, now=self.now)

    def without(self, missing: frozenset[int]) -> LivingParts:
        """The other parts, for searches.

        Raises:
            PartUnavailable: there is none.
        """
        return LivingParts(self._part, self._wanted, missing, self._pool, self.location, self._handle)

    # Generations

    def identity(self) -> str:
        return self.first.identity()

    def ledger(self) -> Ledger:
        version = self.live_version()
        first, (_, *others) = self.first.ledger(), self._parts(self._placement()).items()
        filled = first.filled or any(
            one_by_one(dict(others), lambda part: part.ledger().filled, of=1 + len(others)).values()
        )
        return replace(first, filled=filled, version=version if first.exists else first.version)

    def live_version(self) -> str:
        placed = self._placed()
        versions = [placed.step if placed else "", self.first.live_version()]
        if placed is not None and placed.swapping:
            reach = Reach(self._parts(placed), placed, self._pool)
            versions += reach.all(lambda part: part.live_version())
        return " ".join(versions)

    def generation(self, spec: TableSpec) -> PartitionedGeneration | None:
        placed = self._placed()
        placement = placed or self._placement()
        parts = self._parts(placement)
        if placed is not None:
            self._check_places(placed, parts)
        found = Reach(parts, placement, self._pool).numbered(lambda part: part.generation(spec))
        if found[0] is None:
            return None
        return self._reach({number: each for number, each in found.items() if each is not None}, placement)

    def _check_places(self, placed: Placement, parts: Mapping[int, PartStore]) -> None:
        """
        Raises:
            StoreError: what is in the place of a part is another one, or empty.
        """
        for number, text in Reach(parts, placed, self._pool).numbered(lambda part: part.placement()).items():
            check_place(text, placed, number, parts[number].location)

    def prepare(self, spec: TableSpec) -> PartitionedGeneration:
        self.move(spec)
        placed = self._placed()
        placement = placed or Placement(self._wanted)
        parts = self._parts(placement)
        if placed is not None:
            self._check_places(placed, parts)
        handles = generations.prepared(parts, spec)
        if placed is None:
            for number in range(1, placement.parts):
                with named(number, placement.parts):
                    parts[number].keep_placement(placement.of_part(number).text())
            self._keep(placement)
        return self._reach(handles, placement)

    def activate(self, spec: TableSpec) -> None:
        with self._swapping(lambda parts: generations.changes_model(parts, spec)) as parts:
            one_by_one(parts, lambda part: part.activate(spec))

    @contextmanager
    def _swapping(self, needed: Callable[[Mapping[int, PartStore]], bool]) -> Iterator[Mapping[int, PartStore]]:
        """The parts in the order in which they swap generations, and a record of that where they do."""
        placement = self._placement()
        parts = self._parts(placement)
        swaps = placement.swapping or needed(parts)
        if swaps:
            placement = placement.changed(placement.parts, placement.former, swapping=True)
            self._keep(placement)
        yield {number: parts[number] for number in sorted(parts, reverse=True)}
        if swaps:
            self._keep(placement.changed(placement.parts, placement.former))

    def generations(self, spec: TableSpec) -> list[Generation]:
        return generations.listed(self._parts(self._placement()), spec)

    def rollback(self, spec: TableSpec) -> None:
        parts = self._parts(self._placement())
        wanted = generations.to_roll_back(parts, spec, self.location)
        with self._swapping(lambda _: True) as ordered:
            one_by_one(ordered, lambda part: generations.roll_back(part, spec, wanted))

    def drop_generation(self, state: State, spec: TableSpec) -> None:
        first = generations.by_state(self.first, spec).get(state)
        if first is None or state is State.LIVE:
            self.first.drop_generation(state, spec)  # It says why not.
            return
        parts = self._parts(self._placement())
        ordered = {number: parts[number] for number in sorted(parts, reverse=True)}
        one_by_one(ordered, lambda part: generations.drop_where_it_is(part, spec, first.fingerprint))

    def checks(self, spec: TableSpec) -> list[Check]:
        placed, lines = self._placed(), list[Check]()
        parts = self._parts(placed or Placement(self._wanted))
        for number, found in one_by_one(parts, lambda part: part.checks(spec)).items():
            lines += [replace(each, what=f"part {number + 1}: {each.what}" if number else each.what) for each in found]
        if placed is not None and self.must_move():
            said = f"rows are in {placed.former or placed.parts}, the next sync moves them to {self._wanted}"
            return [*lines, Check("parts", True, said)]
        return [*lines, Check("parts", True, f"{self._wanted}")]

    def has_other_words(self, spec: TableSpec) -> bool:
        def has_other(part: PartStore) -> bool:
            return isinstance(part, IndexesWords) and part.has_other_words(spec)

        return any(one_by_one(self._parts(self._placement()), has_other).values())

    def apply(self, spec: TableSpec) -> list[str]:
        def apply(part: PartStore) -> list[str]:
            return part.apply(spec) if isinstance(part, AltersTable) else []

        return [done for each in one_by_one(self._parts(self._placement()), apply).values() for done in each]

    # The lock

    @contextmanager
    def lock(self, part: str | None = None) -> Iterator[None]:
        with ExitStack() as held:
            placed = self._placed()
            parts = max(self._wanted, placed.most if placed else 0)
            for number in range(parts):
                with named(number, parts):
                    held.enter_context(_lock_of(self._part(number), part))
            self._ranged = part is not None
            yield

    def _check_number(self) -> None:
        """
        Raises:
            StoreError: whoever shares the work with others would have to move rows.
        """
        if self.must_move():
            parts = self._placement().parts
            raise StoreError(
                f"{self.location}: the rows are in {parts} parts, and store.partitions says {self._wanted}.",
                hint="Give every worker the same settings; `rowvec sync` without workers moves the rows.",
            )

    def holder(self) -> str | None:
        return self.first.holder()

    def now(self) -> dt.datetime:
        """By the clock of the first part's server, which stamps the runs."""
        return now_of(self.first)

    # What the first part keeps for all

    def begin_run(self, pipeline: str) -> int:
        return self.first.begin_run(pipeline)

    def run_mark(self, run: int) -> str | None:
        assert isinstance(self.first, DividesWork)
        return self.first.run_mark(run)

    def save_run(self, run: int, report: Report, outcome: str, error: str | None = None) -> bool:
        return self.first.save_run(run, report, outcome, error)

    def ask_to_stop(self, run: int) -> None:
        self.first.ask_to_stop(run)

    def runs(self, limit: int = 10) -> list[Run]:
        return self.first.runs(limit)

    def spend(self, cost: float) -> None:
        self.first.spend(cost)

    def totals(self) -> Totals:
        return self.first.totals()

    def save_evaluation(self, record: Mapping[str, Any]) -> None:
        self.first.save_evaluation(record)

    def evaluations(self, limit: int = 20) -> list[Evaluated]:
        return self.first.evaluations(limit)

    def placement(self) -> str:
        return self.first.placement()

    def close(self) -> None:
        self._pool.shutdown()
        for part in self._opened.values():
            part.close()


def _lock_of(store: PartStore, part: str | None) -> AbstractContextManager[None]:
    if part is None:
        return store.lock()
    assert isinstance(store, DividesWork)
    return store.lock(part)
