"""What every store tells an audit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rowvec.stores.auditor import Audited, Auditor
from rowvec.stores.base import Store, TableSpec
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing.contract.samples import (
    DIMENSION,
    SPEC,
    WHEN,
    Opener,
    document,
    entry,
    failure,
    hashed,
    rows,
    vector_of,
    write,
)
from rowvec.types import Column, ColumnType


def auditor_of(store: Store, spec: TableSpec = SPEC) -> Auditor:
    live = rows(store, spec)
    assert isinstance(live, Audited)
    return live.auditor()


def test_a_row_is_seen_as_it_was_written(store: Store) -> None:
    write(store, entry(1, "one"))
    documents = [document(1, "one"), document(2, "two")]
    seen = auditor_of(store).inspect(documents)
    assert set(seen) == {1}
    assert seen[1].text_hash == hashed("one")
    assert seen[1].row_hash == documents[0].row_hash
    assert seen[1].dimension == DIMENSION
    assert seen[1].norm == pytest.approx(1, abs=1e-6)
    assert (seen[1].metadata, seen[1].failure, seen[1].vector) == (True, None, None)


def test_vectors_are_shown_where_they_are_asked_for(store: Store) -> None:
    write(store, entry(1, "one"))
    vector = auditor_of(store).inspect([document(1, "one")], vectors=True)[1].vector
    assert vector is not None
    np.testing.assert_allclose(vector, vector_of("one"), atol=1e-6)


def test_a_long_vector_is_seen_with_its_length(store: Store) -> None:
    write(store, entry(1, "one")._replace(vector=3 * vector_of("one")))
    assert auditor_of(store).inspect([document(1, "one")])[1].norm == pytest.approx(3, abs=1e-5)


@pytest.mark.parametrize("name", ["", "quote ' and \\ and {braces}, null", "東京 żółć 😀", "two\nlines"])
def test_metadata_is_compared_with_what_a_write_would_put_there(store: Store, name: str) -> None:
    write(store, entry(1, "one", name))
    auditor = auditor_of(store)
    assert auditor.inspect([document(1, "one", name)])[1].metadata
    for other in (name + "x", "NULL", None):
        assert not auditor.inspect([document(1, "one", other)])[1].metadata


def test_nothing_and_an_empty_text_are_two_values(store: Store) -> None:
    write(store, entry(1, "one", None), entry(2, "two", ""))
    auditor = auditor_of(store)
    seen = auditor.inspect([document(1, "one", None), document(2, "two", "")])
    assert seen[1].metadata
    assert seen[2].metadata
    seen = auditor.inspect([document(1, "one", ""), document(2, "two", None)])
    assert not seen[1].metadata
    assert not seen[2].metadata


@pytest.mark.parametrize(
    ("kind", "value", "other"),
    [
        (ColumnType.INTEGER, 2**60, 2**60 + 1),
        (ColumnType.NUMBER, 0.1, 0.2),
        (ColumnType.NUMBER, 3.0, 3.5),
        (ColumnType.BOOLEAN, True, False),
        (ColumnType.TIMESTAMP, WHEN, WHEN.replace(microsecond=1)),
        (ColumnType.DATE, WHEN.date(), WHEN.replace(year=2025).date()),
        (ColumnType.INTERVAL, "1 mon 02:00:00", "1 mon 02:00:01"),
        (ColumnType.JSON, {"a": [1, None]}, {"a": [1]}),
        (ColumnType.ARRAY, ["x", "y"], ["y", "x"]),
        (ColumnType.BYTES, b"\0\xff", b"\0"),
    ],
)
def test_metadata_of_every_type_is_compared(opened: Opener, kind: ColumnType, value: object, other: object) -> None:
    spec = replace(SPEC, metadata=(Column("extra", kind),))
    store = opened(spec)
    write(store, entry(1, "one", value), entry(2, "two", None), spec=spec)
    auditor = auditor_of(store, spec)
    same = auditor.inspect([document(1, "one", value), document(2, "two", None)])
    assert [row.metadata for row in same.values()] == [True, True]
    differing = auditor.inspect([document(1, "one", other), document(2, "two", value)])
    assert [row.metadata for row in differing.values()] == [False, False]


def test_failures_are_seen_with_and_without_a_vector(store: Store) -> None:
    write(store, entry(1, "one"), failures=[failure(2)])
    write(store, failures=[failure(1)])
    seen = auditor_of(store).inspect([document(1, "one"), document(2, "bad text"), document(3, "three")])
    assert set(seen) == {1, 2}
    assert seen[1].text_hash == hashed("one")
    assert [row.failure is not None and row.failure.text_hash for row in seen.values()] == [hashed("bad text")] * 2
    assert seen[2].text_hash is None


def test_many_rows_are_seen_at_once(store: Store) -> None:
    write(store, *(entry(key, f"text {key}") for key in range(1, 1201)))
    seen = auditor_of(store).inspect([document(key, f"text {key}") for key in range(1, 1301)])
    assert set(seen) == set(range(1, 1201))


def test_a_sound_store_has_no_faults(store: Store) -> None:
    assert auditor_of(store).faults(10) == []
    write(store, entry(1, "one fine day"), entry(2, "another day"), entry(3, "!!!"))
    write(store, entry(1, "one other day", expected=hashed("one fine day")), updates=[document(2, "another day", "x")])
    write(store, deletes=[3])
    assert auditor_of(store).faults(10) == []


def test_a_forgotten_row_is_written_again_without_embedding(store: Store) -> None:
    write(store, entry(1, "one day"), entry(2, "two"))
    auditor_of(store).forget([1])
    documents = [document(1, "one day"), document(2, "two")]
    stored = rows(store).lookup([1, 2])
    # To be updated, not to be embedded; and as it should be.
    assert [stored[key].text_hash for key in (1, 2)] == [each.text_hash for each in documents]
    assert [stored[key].row_hash == each.row_hash for key, each in zip((1, 2), documents, strict=True)] == [False, True]
    assert rows(store).vector(1) is not None
    rows(store).write(WriteBatch(updates=[documents[0]]))
    assert rows(store).lookup([1])[1].row_hash == documents[0].row_hash
    assert rows(store).keyword("day", 10).keys == [1]
    assert auditor_of(store).faults(10) == []
