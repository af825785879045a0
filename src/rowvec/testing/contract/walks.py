"""The books of a store, as the policy for generations would have them after each step."""

from __future__ import annotations

from collections.abc import Callable

from rowvec.errors import StoreError
from rowvec.stores.generation_policy import Action, Made, check_drop, check_rollback
from rowvec.types import Fingerprint, State

MODELS = [Fingerprint("local", name, "r1", 8) for name in "abc"]
Known = dict[State, Made]


def after(known: Known, action: Action, wanted: Fingerprint | None) -> Known:
    """The books of a store that has carried an action out."""
    rest: Known = {state: made for state, made in known.items() if state is not State.BUILDING}
    live = known.get(State.LIVE)
    match action:
        case Action.KEEP_LIVE:
            return known
        case Action.FILL_LIVE:
            made = Made(wanted or (live.fingerprint if live else None), live is not None and live.undone)
            return {**known, State.LIVE: made}
        case Action.REPLACE_LIVE:
            return {**known, State.LIVE: Made(wanted)}
        case Action.FILL_BUILDING:
            return known
        case Action.RESUME_PREVIOUS:
            del rest[State.PREVIOUS]
            return {**rest, State.BUILDING: Made(wanted)}
        case Action.BEGIN_BUILDING:
            return {**rest, State.BUILDING: Made(wanted)}
    raise AssertionError(action)


def activated(known: Known) -> Known:
    if State.BUILDING not in known:
        return known
    return {State.LIVE: known[State.BUILDING], State.PREVIOUS: known[State.LIVE]}


def rolled_back(known: Known) -> Known:
    try:
        check_rollback(known, "it")
    except StoreError:
        return known
    live, previous = known[State.LIVE], known[State.PREVIOUS]
    return {**known, State.LIVE: Made(previous.fingerprint), State.PREVIOUS: Made(live.fingerprint, undone=True)}


def dropped(state: State) -> Callable[[Known], Known]:
    def drop(known: Known) -> Known:
        try:
            check_drop(known, state, "it")
        except StoreError:
            return known
        return {each: made for each, made in known.items() if each is not state}

    return drop
