"""What every store does with generations: which are there, which one is live, the way back."""

from __future__ import annotations

import datetime as dt
from contextlib import nullcontext
from dataclasses import replace
from random import Random
from typing import cast

import pytest

from rowvec.errors import GenerationChanged, StoreError
from rowvec.stores.base import Store, TableSpec
from rowvec.stores.generation_policy import Made, choose
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing import HashEmbedder
from rowvec.testing.contract.samples import DIMENSION, SPEC, Opener, document, entry, failure, rows, vector_of, write
from rowvec.testing.contract.walks import activated, after, dropped, rolled_back
from rowvec.types import Entry, Fingerprint, State

LARGER = HashEmbedder(24, model="new")


def of_model(model: str, dimension: int = DIMENSION) -> TableSpec:
    made = Fingerprint("local", model, "r1", dimension)
    return replace(SPEC, dimension=dimension, fingerprint=made, recipe="abc", settings=f"settings of {model}")


OLD, NEW = of_model("old"), of_model("new", 24)


def new_entry(key: int, text: str) -> Entry:
    return Entry(document(key, text), LARGER.embed_query(text), None)


@pytest.fixture
def changed(opened: Opener) -> Store:
    """A store in which a generation of 24 dimensions has taken the place of one of 16."""
    first = opened(OLD)
    write(first, entry(1, "lamp"), entry(2, "chair"), spec=OLD)
    first.activate(OLD)
    store = opened(NEW)
    write(store, new_entry(1, "lamp"), new_entry(3, "table"), spec=NEW)
    store.activate(NEW)
    return store


def states(store: Store) -> dict[State, tuple[str, int, bool]]:
    return {
        each.state: (each.fingerprint.model if each.fingerprint else "", each.rows, each.undone)
        for each in store.generations(SPEC)
    }


def test_each_generation_is_listed_with_what_it_holds(unprepared: Opener, opened: Opener) -> None:
    assert unprepared(OLD).generations(OLD) == []
    first = opened(OLD)
    write(first, entry(1, "lamp"), entry(2, "chair"), spec=OLD)
    first.activate(OLD)
    store = opened(NEW)
    write(store, new_entry(1, "lamp"), failures=[failure(7)], spec=NEW)
    live, building = store.generations(NEW)
    assert (live.state, live.rows, live.failures, live.settings) == (State.LIVE, 2, 0, "settings of old")
    assert (building.state, building.rows, building.failures, building.stale) == (State.BUILDING, 1, 1, 0)
    assert building.fingerprint == NEW.fingerprint
    assert abs(dt.datetime.now(dt.UTC) - building.since) < dt.timedelta(minutes=5)


def test_a_row_that_failed_keeps_its_old_vector_and_is_not_current(opened: Opener) -> None:
    store = opened(OLD)
    write(store, entry(1, "lamp"), failures=[failure(1), failure(9)], spec=OLD)
    (live,) = store.generations(OLD)
    assert (live.rows, live.failures, live.stale, live.current) == (1, 2, 1, 0)


def test_rows_that_only_the_new_model_refuses_are_lost_with_the_live_generation(opened: Opener) -> None:
    first = opened(OLD)
    write(first, entry(1, "lamp"), entry(2, "chair"), entry(3, "table"), failures=[failure(3), failure(4)], spec=OLD)
    store = opened(NEW)
    write(store, new_entry(1, "lamp"), failures=[failure(2), failure(3), failure(4), failure(5)], spec=NEW)
    assert {each.state: each.lost for each in store.generations(NEW)} == {State.LIVE: 0, State.BUILDING: 1}, (
        "3 is stale in the live one, 4 and 5 have no vector there"
    )


def test_failures_are_of_one_generation(opened: Opener) -> None:
    write(opened(OLD), entry(1, "lamp"), failures=[failure(5)], spec=OLD)
    store = opened(NEW)
    new = rows(store, NEW)
    assert (new.failures(), new.count(), new.keys(None, 9), new.lookup([5])) == ([], 0, [], {}), (
        "another model may take what the old one refused"
    )
    write(store, failures=[failure(6)], spec=NEW)
    assert [each.key for each in new.failures()] == [6]
    assert [each.key for each in rows(opened(OLD), OLD).failures()] == [5]
    write(opened(NEW), new_entry(1, "lamp"), spec=NEW)
    store.activate(NEW)
    assert [each.key for each in rows(store, NEW).failures()] == [6]
    store.rollback(OLD)
    assert [each.key for each in rows(opened(OLD), OLD).failures()] == [5]


def test_offsets_are_of_one_generation(opened: Opener) -> None:
    store = opened(OLD)
    write(store, entry(1, "lamp"), offsets={"a": "10", "b": "20"}, spec=OLD)
    store.activate(OLD)
    new = opened(NEW)
    assert rows(new, NEW).offsets() == {}
    write(new, new_entry(1, "lamp"), offsets={"b": "21"}, spec=NEW)
    assert rows(opened(OLD), OLD).offsets() == {"a": "10", "b": "20"}
    new.activate(NEW)
    assert rows(opened(NEW), NEW).offsets() == {"a": "10", "b": "21"}, (
        "what was filled from the table goes on where it stood"
    )
    write(opened(NEW), offsets={"a": "15"}, spec=NEW)
    new.rollback(OLD)
    assert rows(opened(OLD), OLD).offsets() == {"a": "10", "b": "20"}, "the former generation saw no event since"
    new.rollback(NEW)
    assert rows(opened(NEW), NEW).offsets() == {"a": "15", "b": "21"}


def test_a_rollback_brings_the_former_vectors_back(changed: Store) -> None:
    assert rows(changed, NEW).nearest(LARGER.embed_query("table"), 1).keys == [3]
    changed.rollback(OLD)
    assert rows(changed, OLD).nearest(vector_of("chair"), 1).keys == [2]
    assert rows(changed, OLD).keyword("chair", 5).keys == [2]
    assert (changed.ledger().fingerprint, changed.ledger().settings) == (OLD.fingerprint, OLD.settings)
    assert states(changed) == {State.LIVE: ("old", 2, False), State.PREVIOUS: ("new", 2, True)}
    changed.rollback(NEW)
    assert rows(changed, NEW).nearest(LARGER.embed_query("table"), 1).keys == [3]
    assert rows(changed, NEW).keyword("table", 5).keys == [3]
    assert states(changed) == {State.LIVE: ("new", 2, False), State.PREVIOUS: ("old", 2, True)}


def test_the_version_of_the_live_generation_changes_with_every_swap(changed: Store, opened: Opener) -> None:
    seen = [changed.live_version()]
    assert seen[0] == changed.ledger().version
    write(changed, new_entry(8, "sofa"), spec=NEW)
    changed.activate(NEW)
    assert changed.live_version() == seen[0], "nothing was swapped"
    for spec in (OLD, NEW, OLD):
        changed.rollback(spec)
        seen.append(changed.live_version())
    assert len(set(seen)) == 4
    assert opened(OLD).live_version() == seen[-1]


def test_there_is_a_version_before_there_is_anything(unprepared: Opener) -> None:
    assert unprepared(OLD).live_version() == unprepared(OLD).live_version()


def test_without_a_previous_generation_there_is_no_way_back(opened: Opener) -> None:
    store = opened(OLD)
    write(store, entry(1, "lamp"), spec=OLD)
    with pytest.raises(StoreError, match="no previous generation"):
        store.rollback(OLD)
    assert rows(store, OLD).nearest(vector_of("lamp"), 1).keys == [1]


def test_a_generation_is_dropped_when_told_and_the_live_one_never(changed: Store, opened: Opener) -> None:
    with pytest.raises(StoreError, match="live generation"):
        changed.drop_generation(State.LIVE, NEW)
    with pytest.raises(StoreError, match="no building generation"):
        changed.drop_generation(State.BUILDING, NEW)
    changed.drop_generation(State.PREVIOUS, NEW)
    assert states(changed) == {State.LIVE: ("new", 2, False)}
    with pytest.raises(StoreError, match="no previous generation"):
        changed.drop_generation(State.PREVIOUS, NEW)
    third = of_model("third")
    write(opened(third), entry(5, "bed"), failures=[failure(6)], spec=third)
    changed.drop_generation(State.BUILDING, NEW)
    assert states(changed) == {State.LIVE: ("new", 2, False)}
    assert (rows(opened(third), third).count(), rows(opened(third), third).failures()) == (0, [])


def test_a_model_that_was_live_before_goes_on_with_the_vectors_it_has(changed: Store, opened: Opener) -> None:
    assert rows(changed, OLD).keys(None, 10) == [1, 2], "so that a plan knows what is there"
    store = opened(OLD)
    assert rows(store, OLD).keys(None, 10) == [1, 2]
    assert states(store) == {State.LIVE: ("new", 2, False), State.BUILDING: ("old", 2, False)}
    write(store, entry(3, "table"), deletes=[2], spec=OLD)
    store.activate(OLD)
    assert states(store) == {State.LIVE: ("old", 2, False), State.PREVIOUS: ("new", 2, False)}
    assert rows(store, OLD).keyword("table chair", 5).keys == [3]


def test_the_filled_generation_can_be_searched_before_it_is_live(opened: Opener) -> None:
    write(opened(OLD), entry(1, "lamp"), entry(2, "chair"), spec=OLD)
    store = opened(NEW)
    write(store, new_entry(1, "lamp"), new_entry(3, "table"), spec=NEW)
    assert rows(store, NEW).nearest(LARGER.embed_query("table"), 1, exact=True).keys == [3]
    assert rows(store, OLD).nearest(vector_of("chair"), 1).keys == [2]


def test_writing_goes_on_after_every_change_of_places(changed: Store, opened: Opener) -> None:
    for spec, embedder in ((OLD, HashEmbedder(DIMENSION)), (NEW, LARGER)):
        changed.rollback(spec)
        store = opened(spec)
        for key in (11, 12):
            shelf = Entry(document(key, f"shelf {key}"), embedder.embed_query(f"shelf {key}"), None)
            rows(store, spec).write(WriteBatch([shelf]))
        assert rows(store, spec).nearest(embedder.embed_query("shelf 12"), 1).keys == [12]
        assert sorted(rows(store, spec).keyword("shelf", 5).keys) == [11, 12]
        rows(store, spec).write(WriteBatch(deletes=[11]))
        assert rows(store, spec).keyword("shelf", 5).keys == [12]


def test_what_is_done_with_one_generation_changes_no_handle_of_another(opened: Opener) -> None:
    store = opened(OLD)
    write(store, entry(1, "lamp"), entry(2, "chair"), spec=OLD)
    old = rows(store, OLD)
    new = store.prepare(NEW)
    new.write(WriteBatch([new_entry(3, "table")], failures=[failure(4)], offsets={"a": "1"}))
    assert (old.keys(None, 10), old.count(), old.failures(), old.offsets()) == ([1, 2], 2, [], {})
    assert (new.keys(None, 10), [each.key for each in new.failures()]) == ([3, 4], [4])
    old.write(WriteBatch(deletes=[2]))
    assert (old.keys(None, 10), new.keys(None, 10)) == ([1], [3, 4])
    assert (old.status().rows, new.status().rows, new.status().failures) == (1, 1, 1)
    assert new.nearest(LARGER.embed_query("table"), 5).keys == [3]
    assert old.keyword("lamp table", 5).keys == [1]
    assert new.keyword("lamp table", 5).keys == [3]


def test_there_is_no_handle_where_there_are_no_vectors_of_the_model(unprepared: Opener, opened: Opener) -> None:
    store = unprepared(OLD)
    assert store.generation(OLD) is None
    write(opened(OLD), entry(1, "lamp"), spec=OLD)
    assert store.generation(NEW) is None
    assert store.generation(OLD) is not None


def test_only_what_was_filled_goes_live(changed: Store, opened: Opener) -> None:
    third = of_model("third")
    opened(third)
    changed.drop_generation(State.BUILDING, NEW)
    for spec in (third, OLD):
        with pytest.raises(StoreError, match="no generation of this model that is being built"):
            changed.activate(spec)
    assert states(changed) == {State.LIVE: ("new", 2, False), State.PREVIOUS: ("old", 2, False)}


def test_an_empty_generation_is_made_again_for_another_model(opened: Opener) -> None:
    store = opened(OLD)
    write(store, entry(1, "lamp"), spec=OLD)
    write(store, deletes=[1], spec=OLD)
    store.prepare(NEW).write(WriteBatch([new_entry(3, "table")]))
    assert states(store) == {State.LIVE: ("new", 1, False)}


def test_an_empty_live_generation_does_not_cost_what_is_built_already(opened: Opener) -> None:
    store = opened(OLD)
    write(store, entry(1, "lamp"), spec=OLD)
    store.prepare(NEW).write(WriteBatch([new_entry(3, "table")]))
    write(store, deletes=[1], spec=OLD)
    assert store.prepare(NEW).keys(None, 10) == [3]
    assert states(store) == {State.LIVE: ("old", 0, False), State.BUILDING: ("new", 1, False)}


@pytest.mark.parametrize("seed", range(4))
def test_a_store_carries_out_what_the_policy_decides(opened: Opener, unprepared: Opener, seed: int) -> None:
    """The books of the store beside those of a model, over a walk of syncs, swaps, rollbacks and drops."""
    dice = Random(seed)
    specs = {model: of_model(model) for model in "abc"}
    store, known = unprepared(SPEC), cast(dict[State, Made], {})
    for step in range(16):
        spec = specs[dice.choice("abc")]
        match dice.choice(["sync", "sync", "activate", "rollback", "drop"]):
            case "sync":
                known = after(known, choose(known, spec.fingerprint, empty=False), spec.fingerprint)
                store.prepare(spec).write(WriteBatch([entry(step, f"item {step}")]))
            case "activate" if State.BUILDING in known:
                store.activate(replace(spec, fingerprint=known[State.BUILDING].fingerprint))
                known = activated(known)
            case "rollback" if State.PREVIOUS in known:
                store.rollback(spec)
                known = rolled_back(known)
            case "drop":
                state = dice.choice(list(State))
                then = dropped(state)(known)
                with nullcontext() if then != known else pytest.raises(StoreError):
                    store.drop_generation(state, spec)
                known = then
        made = {each.state: (each.fingerprint, each.undone) for each in store.generations(SPEC)}
        assert made == {state: tuple(each) for state, each in known.items()}


def test_a_writer_whose_generation_was_replaced_writes_nothing_and_says_so(opened: Opener) -> None:
    paused = opened(OLD)
    write(paused, entry(1, "lamp"), entry(2, "chair"), spec=OLD)
    paused.activate(OLD)
    aimed = paused.prepare(OLD)
    spec = of_model("new")
    other = opened(spec)
    write(other, entry(1, "lamp"), entry(2, "chair"), spec=spec)
    other.activate(spec)
    batches = [
        WriteBatch([entry(3, "table")]), WriteBatch(deletes=[1]), WriteBatch(failures=[failure(4)]),
        WriteBatch(offsets={"cursor": "9"}), WriteBatch(updates=[document(1, "lamp", "bright")]),
    ]  # fmt: skip
    for batch in batches:
        with pytest.raises(GenerationChanged, match="another process changed"):
            aimed.write(batch)
    with pytest.raises(StoreError):
        paused.activate(OLD)
    assert rows(other, spec).keys(None, 10) == [1, 2]
    assert rows(other, spec).offsets() == {}
    assert states(other)[State.LIVE][0] == "new"


def test_a_generation_that_another_process_began_again_is_not_put_live_by_the_first(opened: Opener) -> None:
    first = opened(OLD)
    write(first, entry(1, "lamp"), spec=OLD)
    first.activate(OLD)
    paused = opened(NEW)
    write(paused, new_entry(1, "lamp"), spec=NEW)
    opened(OLD).drop_generation(State.BUILDING, OLD)
    again = opened(NEW)
    with pytest.raises(GenerationChanged):
        paused.activate(NEW)
    assert states(again)[State.LIVE][0] == "old"
