"""The plan against a model that is too simple to be wrong."""

from __future__ import annotations

import datetime as dt
from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from rowvec.syncing.plan import Circumstances, plan
from rowvec.types import Document, Key, Kind, PastFailure, Reason, Stored

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
HASHES = st.sampled_from([b"a", b"b", b"c"])
TEXTS = st.sampled_from(["", "some text"])
FAILURES = st.none() | st.builds(
    PastFailure, HASHES, st.integers(1, 5), st.sampled_from([NOW - dt.timedelta(hours=1), NOW + dt.timedelta(hours=1)])
)
STORED = st.builds(Stored, st.none() | HASHES, st.none() | HASHES, FAILURES)
Ledger: TypeAlias = dict[Key, Stored]
DOCUMENTS = st.lists(
    st.builds(Document, st.integers(0, 20), TEXTS, st.just(()), HASHES, HASHES), unique_by=lambda d: d.key
)
CIRCUMSTANCES = st.builds(Circumstances, st.just(NOW), st.booleans(), st.booleans(), st.booleans(), st.booleans())


@given(DOCUMENTS, st.dictionaries(st.integers(0, 20), STORED), CIRCUMSTANCES)
def test_every_document_gets_one_change_in_order(documents: list[Document], stored: Ledger, at: Circumstances) -> None:
    changes = plan(documents, stored, at)
    assert [change.document for change in changes] == documents
    assert all(change.before == stored.get(change.document.key) for change in changes)


@given(DOCUMENTS, st.dictionaries(st.integers(0, 20), STORED), CIRCUMSTANCES)
def test_a_row_is_unchanged_only_when_text_and_metadata_are_those_of_its_vector(
    documents: list[Document], stored: Ledger, at: Circumstances
) -> None:
    for change in plan(documents, stored, at):
        before = change.before
        same = before is not None and (before.text_hash, before.row_hash) == change.document[3:5]
        if change.kind is Kind.UNCHANGED:
            assert same
            assert not at.force
        elif same and change.document.text and not at.force:
            raise AssertionError(f"{change} costs something although nothing changed")


@given(DOCUMENTS, st.dictionaries(st.integers(0, 20), STORED), CIRCUMSTANCES)
def test_metadata_alone_is_updated_only_beside_the_vector_of_the_same_text(
    documents: list[Document], stored: Ledger, at: Circumstances
) -> None:
    for change in plan(documents, stored, at):
        if change.kind is Kind.UPDATE:
            assert change.before is not None
            assert change.before.text_hash == change.document.text_hash
            assert change.before.row_hash != change.document.row_hash


@given(DOCUMENTS, st.dictionaries(st.integers(0, 20), STORED), CIRCUMSTANCES)
def test_an_empty_text_is_never_embedded_and_loses_what_is_stored(
    documents: list[Document], stored: Ledger, at: Circumstances
) -> None:
    for change in plan(documents, stored, at):
        if not change.document.text:
            assert change.kind is (Kind.DELETE if change.before is not None else Kind.EMPTY)


@given(DOCUMENTS, st.dictionaries(st.integers(0, 20), STORED), CIRCUMSTANCES)
def test_a_failed_text_waits_for_its_time_unless_asked_for(
    documents: list[Document], stored: Ledger, at: Circumstances
) -> None:
    for change in plan(documents, stored, at):
        failure = change.before.failure if change.before else None
        waits = failure is not None and failure.text_hash == change.document.text_hash and failure.next_try > NOW
        if change.kind is Kind.FAILED:
            assert waits
            assert not (at.retry or at.force)
            assert change.reason is Reason.WAITING
        elif change.kind in (Kind.INSERT, Kind.EMBED) and waits:
            assert at.retry or at.force


@given(DOCUMENTS, CIRCUMSTANCES)
def test_planning_again_after_carrying_out_finds_nothing_to_do(documents: list[Document], at: Circumstances) -> None:
    after: Ledger = {d.key: Stored(d.text_hash, d.row_hash) for d in documents if d.text}
    settled = Circumstances(NOW)
    assert {c.kind for c in plan(documents, after, settled)} <= {Kind.UNCHANGED, Kind.EMPTY}


def test_the_reason_says_what_changed() -> None:
    document = Document(1, "text", (), b"new", b"row")
    stored: Ledger = {1: Stored(b"old", b"row")}

    def reason(**flags: bool) -> Reason:
        return plan([document], stored, Circumstances(NOW, **flags))[0].reason

    assert reason() is Reason.TEXT_CHANGED
    assert reason(recipe_changed=True) is Reason.RECIPE_CHANGED
    assert reason(force=True) is Reason.FORCED
    assert plan([document], {}, Circumstances(NOW))[0].reason is Reason.NEW
    assert plan([document], {}, Circumstances(NOW, model_changed=True))[0].reason is Reason.MODEL_CHANGED
    assert plan([document], {1: Stored(None, b"row")}, Circumstances(NOW))[0].reason is Reason.VECTOR_MISSING
