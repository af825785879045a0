"""The generations of all parts: one of a model is the same generation, in whatever state a part has it.

All parts go through the same steps, one after another. Whoever is killed between two leaves them in different states,
which the next sync brings together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rowvec.errors import StoreError
from rowvec.stores.base import TableSpec
from rowvec.stores.generation_policy import check_rollback
from rowvec.stores.ledger import Ledger
from rowvec.stores.part import PartHandle, PartStore
from rowvec.stores.partitioned.reach import one_by_one
from rowvec.types import Fingerprint, Generation, State

COUNTS = ("rows", "failures", "stale", "lost")


def live_spec(spec: TableSpec, ledger: Ledger) -> TableSpec:
    """The table as the live vectors need it."""
    made = ledger.fingerprint
    if made is None or made == spec.fingerprint:
        return spec
    return replace(spec, fingerprint=made, dimension=made.dimension, recipe=ledger.recipe, settings=ledger.settings)


def by_state(part: PartStore, spec: TableSpec) -> dict[State, Generation]:
    return {each.state: each for each in part.generations(spec)}


def state_of(part: PartStore, spec: TableSpec, made: Fingerprint | None) -> State | None:
    """Of the generation of that model."""
    return next((each.state for each in part.generations(spec) if each.fingerprint == made), None)


def listed(parts: Mapping[int, PartStore], spec: TableSpec, *, of: int | None = None) -> list[Generation]:
    """Those of the first part, with the counts of all.

    Args:
        of: the number of all parts, where these are some of them.
    """
    first, *others = one_by_one(parts, lambda part: part.generations(spec), of=of).values()
    found = []
    for each in first:
        same = [each, *(other for part in others for other in part if other.fingerprint == each.fingerprint)]
        sums = {name: sum(getattr(other, name) for other in same) for name in COUNTS}
        sizes = [other.bytes for other in same if other.bytes is not None]
        found.append(replace(each, **sums, bytes=sum(sizes) if sizes else None))
    return found


def drop_where_it_is(part: PartStore, spec: TableSpec, made: Fingerprint | None) -> None:
    """Drop the generation of that model, unless it is the live one."""
    found = state_of(part, spec, made)
    if found in (State.BUILDING, State.PREVIOUS):
        part.drop_generation(found, spec)


def changes_model(parts: Mapping[int, PartStore], spec: TableSpec) -> bool:
    """The live generation of a part is of another model."""
    ledgers = one_by_one(parts, lambda part: part.ledger()).values()
    return any(each.exists and each.fingerprint not in (None, spec.fingerprint) for each in ledgers)


def prepared(parts: Mapping[int, PartStore], spec: TableSpec) -> dict[int, PartHandle]:
    """What is to be filled in each part. Those that have rows are prepared first: they may refuse."""
    filled = one_by_one(parts, lambda part: part.ledger().filled)
    asked = replace(spec, filled_elsewhere=any(filled.values()))
    ordered = {number: parts[number] for number in sorted(parts, key=lambda each: not filled[each])}
    return dict(sorted(one_by_one(ordered, lambda part: part.prepare(asked)).items()))


def to_roll_back(parts: Mapping[int, PartStore], spec: TableSpec, location: str) -> Fingerprint | None:
    """The model of the generation that a rollback puts live.

    Raises:
        StoreError: there is no previous generation, or a part lacks it.
    """
    first = by_state(parts[0], spec)
    check_rollback(first, location)
    wanted = first[State.PREVIOUS].fingerprint
    for number, state in one_by_one(parts, lambda part: state_of(part, spec, wanted)).items():
        if state is None:
            raise StoreError(
                f"{location}: part {number + 1} has no previous generation of that model.",
                hint="Run `rowvec sync` with the settings of that model: it makes the generation again.",
            )
    return wanted


def roll_back(part: PartStore, spec: TableSpec, wanted: Fingerprint | None) -> None:
    """Put the generation of that model live in one part, where it is not so yet."""
    known = {each.fingerprint: each for each in part.generations(spec)}
    if known[wanted].state is State.PREVIOUS:
        part.rollback(spec)
    elif known[wanted].state is State.BUILDING:
        # Where a swap was not carried to its end, the next sync has kept it in step so.
        assert wanted is not None
        part.activate(replace(spec, fingerprint=wanted, dimension=wanted.dimension, settings=known[wanted].settings))
