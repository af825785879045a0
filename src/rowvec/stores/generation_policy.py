"""Which generation the vectors of a model belong into: decided here for every store, which only carries it out.

A generation is live (searches see it), building (a sync fills it beside the live one) or previous (it was live before).
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

from rowvec.errors import StoreError
from rowvec.support.stored import json_object
from rowvec.types import Fingerprint, State


class Known(Protocol):
    """What the decision takes of a generation."""

    @property
    def fingerprint(self) -> Fingerprint | None: ...

    @property
    def undone(self) -> bool: ...


class Made(NamedTuple):
    """The least of `Known`."""

    fingerprint: Fingerprint | None
    undone: bool = False


class Action(enum.Enum):
    """What a sync does before it writes; the value is the generation that it writes into then."""

    FILL_LIVE = State.LIVE, "make the live generation where there is none, or go on with it"
    REPLACE_LIVE = State.LIVE, "drop the live generation, which is empty, and make it for this model"
    KEEP_LIVE = State.LIVE, "go on with the live generation's own model: this one was rolled back"
    FILL_BUILDING = State.BUILDING, "go on with the generation that is being built"
    RESUME_PREVIOUS = State.BUILDING, "drop the one being built; the previous one is being built from now on"
    BEGIN_BUILDING = State.BUILDING, "drop the one being built and begin another"

    @property
    def fills(self) -> State:
        return self.value[0]


def changes_model(known: Mapping[State, Known], wanted: Fingerprint | None) -> bool:
    """The live generation was made by another model. Only then does it matter whether it is empty."""
    live = known.get(State.LIVE)
    return live is not None and wanted is not None and live.fingerprint not in (None, wanted)


def choose(known: Mapping[State, Known], wanted: Fingerprint | None, *, empty: bool, accept: bool = True) -> Action:
    """Decide where vectors of the fingerprint `wanted` go.

    Args:
        empty: the live generation has no rows.
        accept: a rollback of this model does not count.
    """
    if not changes_model(known, wanted):
        return Action.FILL_LIVE
    building, previous = known.get(State.BUILDING), known.get(State.PREVIOUS)
    if building is not None and building.fingerprint == wanted:
        return Action.FILL_BUILDING
    if previous is not None and previous.fingerprint == wanted:
        # Its vectors are as good as new ones; what has changed since is found by comparing.
        return Action.KEEP_LIVE if previous.undone and not accept else Action.RESUME_PREVIOUS
    return Action.REPLACE_LIVE if empty else Action.BEGIN_BUILDING


def standing(known: Mapping[State, Known], wanted: Fingerprint | None) -> State | None:
    """The generation that holds vectors of this fingerprint, complete or not; None where a sync would begin one."""
    if not changes_model(known, wanted):
        return State.LIVE
    return next((state for state in State if state in known and known[state].fingerprint == wanted), None)


def has_other_metadata(before: str, now: str) -> bool:
    """Whether a metadata column is new, or in another place, since rows were written: by the settings that were kept
    then, and those of today.

    A table may have it since an earlier time, with what was true then; and the hash of a row knows the values in their
    order, not whose they are.
    """
    kept, wanted = json_object(before), json_object(now)
    if "order" in kept:
        names: list[str] = wanted.get("order", [])
        return names != [name for name in kept["order"] if name in names]
    # A version before told the columns only.
    return "metadata" in kept and not set(wanted.get("metadata", ())) <= set(kept["metadata"])


def filled(known: Mapping[State, Known], wanted: Fingerprint | None, location: str) -> State:
    """The generation that a sync of this fingerprint has filled, and that is to be live from now on.

    Raises:
        StoreError: none is being filled: it was dropped, or another one rolled back, meanwhile.
    """
    state = standing(known, wanted)
    if state not in (State.LIVE, State.BUILDING):
        raise StoreError(
            f"{location} has no generation of this model that is being built.", hint="Run `rowvec sync` again."
        )
    return state


def check_drop(known: Collection[State], state: State, location: str) -> None:
    """
    Raises:
        StoreError: it is the live one, or there is none in that state.
    """
    if state is State.LIVE:
        raise StoreError(
            f"The live generation of {location} is what searches see: it is not dropped.",
            hint="`rowvec rollback` makes the previous one live first.",
        )
    if state not in known:
        raise StoreError(f"{location} has no {state} generation.", hint="`rowvec generations` lists those that exist.")


def check_rollback(known: Collection[State], location: str) -> None:
    """
    Raises:
        StoreError: there is no previous generation.
    """
    if State.PREVIOUS not in known:
        raise StoreError(f"{location} has no previous generation.", hint="`rowvec generations` lists those that exist.")
