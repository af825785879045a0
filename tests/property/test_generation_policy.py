"""What holds of generations whatever models a config names in turn, with rollbacks and drops between."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowvec.errors import StoreError
from rowvec.stores.generation_policy import Action, Made, changes_model, check_drop, check_rollback, choose, standing
from rowvec.testing.contract.walks import MODELS, Known, activated, after, dropped, rolled_back
from rowvec.types import Fingerprint, State

wanted = st.sampled_from([None, *MODELS])
syncs = st.tuples(wanted, st.booleans(), st.booleans())
"""The model of the config, whether the live generation is empty, and whether a rollback counts."""
others = st.sampled_from([activated, rolled_back, *map(dropped, State)])


@st.composite
def reached(draw: st.DrawFn) -> Known:
    """Books that some sequence of syncs, rollbacks and drops leaves behind."""
    known: Known = {}
    for step in draw(st.lists(st.one_of(syncs, others), max_size=12)):
        if callable(step):
            known = step(known)
        else:
            model, empty, accept = step
            known = after(known, choose(known, model, empty=empty, accept=accept), model)
    return known


def models(known: Mapping[State, Made]) -> dict[State, Fingerprint | None]:
    return {state: made.fingerprint for state, made in known.items()}


@given(reached(), wanted, st.booleans())
def test_the_live_vectors_are_never_dropped(known: Known, model: Fingerprint | None, accept: bool) -> None:
    live = known.get(State.LIVE)
    then = after(known, choose(known, model, empty=False, accept=accept), model)
    if live is not None and live.fingerprint is not None:
        assert then[State.LIVE].fingerprint == live.fingerprint


@given(reached(), wanted, st.booleans())
def test_only_an_empty_live_generation_is_made_again(known: Known, model: Fingerprint | None, accept: bool) -> None:
    assert choose(known, model, empty=False, accept=accept) is not Action.REPLACE_LIVE


@given(reached(), wanted, st.booleans())
def test_no_vector_of_the_wanted_model_is_dropped(known: Known, model: Fingerprint | None, empty: bool) -> None:
    action = choose(known, model, empty=empty)
    if action in (Action.BEGIN_BUILDING, Action.REPLACE_LIVE):
        assert model not in models(known).values(), "vectors of that model are there"


@given(reached(), wanted, st.booleans(), st.booleans())
def test_the_same_sync_again_goes_on_where_the_first_stopped(
    known: Known, model: Fingerprint | None, empty: bool, accept: bool
) -> None:
    action = choose(known, model, empty=empty, accept=accept)
    then = after(known, action, model)
    again = choose(then, model, empty=False, accept=accept)
    if action is Action.KEEP_LIVE:
        assert again is Action.KEEP_LIVE
    else:
        assert again.fills is action.fills
        assert again in (Action.FILL_LIVE, Action.FILL_BUILDING)
        assert standing(then, model) is action.fills


@given(reached(), wanted, st.booleans(), st.booleans())
def test_what_is_filled_is_of_the_wanted_model(
    known: Known, model: Fingerprint | None, empty: bool, accept: bool
) -> None:
    action = choose(known, model, empty=empty, accept=accept)
    if model is not None and action is not Action.KEEP_LIVE:
        assert after(known, action, model)[action.fills].fingerprint == model


@given(reached(), st.sampled_from(MODELS), st.booleans())
def test_a_model_that_was_rolled_back_is_not_built_again_by_itself(
    known: Known, model: Fingerprint, empty: bool
) -> None:
    """Only `--accept` does that."""
    known = rolled_back(activated(known))
    previous = known.get(State.PREVIOUS)
    if previous is None or not previous.undone or previous.fingerprint is None:
        return
    undone = previous.fingerprint
    if changes_model(known, undone) and models(known).get(State.BUILDING) != undone:
        assert choose(known, undone, empty=False, accept=False) is Action.KEEP_LIVE
        assert choose(known, undone, empty=False, accept=True) is Action.RESUME_PREVIOUS


@given(reached(), wanted)
def test_no_model_has_two_generations(known: Known, model: Fingerprint | None) -> None:
    made = [each for each in models(known).values() if each is not None]
    assert len(made) == len(set(made))


@given(reached(), wanted)
def test_where_vectors_stand_is_where_a_sync_goes_on(known: Known, model: Fingerprint | None) -> None:
    action, found = choose(known, model, empty=False), standing(known, model)
    assert (found is None) == (action is Action.BEGIN_BUILDING)
    if found is not None:
        assert found is (State.PREVIOUS if action is Action.RESUME_PREVIOUS else action.fills)


@given(reached())
def test_a_rollback_undone_is_as_before(known: Known) -> None:
    assert models(rolled_back(rolled_back(known))) == models(known)


def test_the_live_one_is_not_dropped_and_what_is_not_there_is_said() -> None:
    known = {State.LIVE: Made(MODELS[0])}
    with pytest.raises(StoreError, match=r"The live generation of shop\.items is what searches see"):
        check_drop(known, State.LIVE, "shop.items")
    with pytest.raises(StoreError, match=r"shop\.items has no building generation\."):
        check_drop(known, State.BUILDING, "shop.items")
    with pytest.raises(StoreError, match=r"shop\.items has no previous generation\."):
        check_rollback(known, "shop.items")
