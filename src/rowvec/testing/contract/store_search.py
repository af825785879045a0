"""What every store promises of searches."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from rowvec.errors import SearchError
from rowvec.filters import Compare, Op, bind
from rowvec.stores.base import Store
from rowvec.stores.typical import SAMPLED
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing.contract.samples import (
    DIMENSION,
    SPEC,
    Opener,
    document,
    entry,
    hashed,
    rows,
    similarity,
    vector_of,
    write,
)
from rowvec.types import Entry


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_the_nearest_rows_come_in_the_order_of_the_metric(opened: Opener, metric: str) -> None:
    store = opened(SPEC, metric)
    rng = np.random.default_rng(3)
    vectors = (rng.standard_normal((50, DIMENSION)) * rng.uniform(0.2, 5.0, (50, 1))).astype(np.float32)
    rows(store).write(WriteBatch([Entry(document(key, f"item {key}"), vectors[key], None) for key in range(50)]))
    query = rng.standard_normal(DIMENSION).astype(np.float32)
    scores = {key: similarity(metric, vectors[key], query) for key in range(50)}
    best = sorted(scores, key=lambda key: -scores[key])[:10]
    ranked = rows(store).nearest(query, 10, exact=True)
    assert list(ranked.keys) == best
    assert ranked.scores == pytest.approx([scores[key] for key in best], abs=1e-4)
    assert (ranked.exact, ranked.complete) == (True, True)


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_rows_can_be_asked_for_the_scores_that_a_search_gives_them(opened: Opener, metric: str) -> None:
    store = opened(SPEC, metric)
    write(store, *(entry(number, f"thing {number}") for number in range(1, 6)))
    query = vector_of("a thing")
    found = rows(store).nearest(query, 5)
    expected = dict(zip(found.keys, found.scores, strict=True))
    assert rows(store).similarities(query, [2, 4, 99]) == pytest.approx({key: expected[key] for key in (2, 4)})
    assert rows(store).similarities(query, []) == {}


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_a_typical_row_is_as_near_as_different_texts_are_on_average(opened: Opener, metric: str) -> None:
    store = opened(SPEC, metric)
    rng = np.random.default_rng(5)
    query = rng.standard_normal(DIMENSION).astype(np.float32)
    early = rows(store)
    assert early.typical(query) is None
    vectors = (rng.standard_normal((SAMPLED, DIMENSION)) * rng.uniform(0.2, 5.0, (SAMPLED, 1)) + 1).astype(np.float32)
    rows(store).write(WriteBatch([Entry(document(key, f"item {key}"), vectors[key], None) for key in range(SAMPLED)]))
    mean = np.mean([similarity(metric, vector, query) for vector in vectors])
    assert rows(store).typical(query) == pytest.approx(mean, rel=1e-4)
    assert early.typical(query) == pytest.approx(mean, rel=1e-4)
    # Copies of one text, however many, count once.
    copies = [Entry(document(key, "item 7"), vectors[7], None) for key in range(SAMPLED, 4 * SAMPLED)]
    rows(store).write(WriteBatch(copies))
    assert rows(store).typical(query) == pytest.approx(mean, rel=1e-4)


def test_a_search_gives_every_row_where_there_are_fewer_than_asked_for(store: Store) -> None:
    write(store, entry(1, "lamp"), entry(2, "chair"))
    ranked = rows(store).nearest(vector_of("lamp"), 100)
    assert (len(ranked.keys), ranked.complete) == (2, True)


def test_deleting_one_of_two_rows_with_equal_vectors_leaves_the_other_to_be_found(store: Store) -> None:
    write(store, *(entry(key, "same text") for key in (1, 2, 3)), entry(4, "another"))
    assert sorted(rows(store).nearest(vector_of("same text"), 3).keys) == [1, 2, 3]
    rows(store).write(WriteBatch(deletes=[2]))
    assert sorted(rows(store).nearest(vector_of("same text"), 2).keys) == [1, 3]
    write(store, entry(1, "changed", expected=hashed("same text")))
    assert rows(store).nearest(vector_of("same text"), 1).keys == [3]


def test_keyword_search_finds_rows_by_their_words_the_rarest_counting_most(store: Store) -> None:
    texts = ["red lamp", "green lamp", "blue lamp", "red red chair", "SABO520067C brake pad", "006R90321 toner"]
    write(store, *(entry(key, text) for key, text in enumerate(texts)))
    assert rows(store).keyword("chair", 5).keys == [3]
    assert rows(store).keyword("SABO520067C", 5).keys == [4]
    assert rows(store).keyword("sabo520067c", 5).keys == [4]
    assert rows(store).keyword("006R90321", 5).keys == [5]
    both = rows(store).keyword("blue lamp", 5)
    assert both.keys[0] == 2
    assert set(both.keys) == {0, 1, 2}
    assert list(both.scores) == sorted(both.scores, reverse=True)


@pytest.mark.parametrize(
    "query", ["", "   ", "nowhere", '"', "AND OR NOT", "lamp*", "name:lamp", "(", "'; drop table x"]
)
def test_a_keyword_query_is_words_and_never_syntax(store: Store, query: str) -> None:
    write(store, entry(1, "plain chair"))
    assert rows(store).keyword(query, 5).keys == []


def test_keywords_follow_the_text_when_it_changes(store: Store) -> None:
    write(store, entry(1, "lamp"))
    write(store, entry(1, "chair", expected=hashed("lamp")))
    assert rows(store).keyword("lamp", 5).keys == []
    assert rows(store).keyword("chair", 5).keys == [1]


def test_metadata_changes_leave_the_keywords(store: Store) -> None:
    write(store, entry(1, "lamp", "a"))
    rows(store).write(WriteBatch(updates=[document(1, "lamp", "b")]))
    assert rows(store).keyword("lamp", 5).keys == [1]


def test_words_of_any_language_are_found(opened: Opener) -> None:
    spec = replace(SPEC, language="simple")
    store = opened(spec)
    write(store, entry(1, "Тормозные колодки"), entry(2, "Zażółć gęślą jaźń"), entry(3, "plain"), spec=spec)
    assert rows(store, spec).keyword("колодки", 5).keys == [1]
    assert rows(store, spec).keyword("GĘŚLĄ", 5).keys == [2]


def test_without_a_language_there_is_no_keyword_search(opened: Opener) -> None:
    spec = replace(SPEC, language=None)
    store = opened(spec)
    write(store, entry(1, "lamp"), spec=spec)
    with pytest.raises(SearchError):
        rows(store, spec).keyword("lamp", 5)


def test_a_keyword_index_that_was_given_up_for_a_while_does_not_find_what_was_then(opened: Opener) -> None:
    write(opened(SPEC), entry(1, "lamp"), entry(2, "chair"))
    spec = replace(SPEC, language=None)
    without = opened(spec)
    write(without, entry(1, "table", expected=hashed("lamp")), entry(3, "shelf"), spec=spec)
    store = opened(SPEC)
    documents, known = [document(1, "table"), document(2, "chair"), document(3, "shelf")], rows(store).lookup([1, 2, 3])
    rows(store).write(WriteBatch(updates=[row for row in documents if known[row.key].row_hash != row.row_hash]))
    assert rows(store).keyword("lamp", 5).keys == []
    assert [rows(store).keyword(word, 5).keys for word in ("table", "chair", "shelf")] == [[1], [2], [3]]


def test_a_search_for_nothing_at_all_finds_nothing(store: Store) -> None:
    assert rows(store).keyword("lamp", 5).keys == []
    assert rows(store).nearest(vector_of("lamp"), 5).complete


def test_vectors_are_read_in_pages_in_the_order_of_keys(store: Store) -> None:
    texts = {key: f"row {key}" for key in (5, 1, 9, 3, 7)}
    write(store, *(entry(key, text) for key, text in texts.items()))
    pages, after = [], None
    while page := rows(store).vectors(after, 2):
        pages.append([key for key, _ in page])
        after = page[-1][0]
        for key, vector in page:
            np.testing.assert_allclose(vector, vector_of(texts[int(str(key))]), atol=1e-6)
    assert pages == [[1, 3], [5, 7], [9]]


def test_a_look_from_another_thread_changes_nothing_that_a_search_sees(store: Store) -> None:
    """A status request, or a plan of a config that was edited, looks at the same store while searches run."""
    write(store, entry(1, "lamp"), entry(2, "chair"))
    live, done = rows(store), threading.Event()
    narrower = replace(SPEC, metadata=(), language=None)

    def look() -> None:
        while not done.is_set():
            found = rows(store, narrower)
            assert found.count() == 2
            assert found.status().rows == 2

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            for _ in range(50):
                assert live.nearest(vector_of("chair"), 1).keys == [2]
                assert live.keyword("lamp", 5).keys == [1]
                assert live.metadata([1]) == {1: {"name": "lamp"}}
        finally:
            done.set()
        looking.result()


def test_every_reading_of_rows_passes_a_filter(opened: Opener) -> None:
    """What `where` does not find is not there, whichever way it is asked for: see `stores.base.RowsHandle`."""
    store = opened(SPEC)
    write(store, entry(1, "red lamp", "mine"), entry(2, "red lamp", "yours"), entry(3, "red chair", None))
    live, mine = rows(store), bind(Compare("name", Op.EQ, "mine"), SPEC.metadata)
    query, every = vector_of("red lamp"), [1, 2, 3]
    assert live.nearest(query, 9, mine).keys == [1]
    assert live.nearest(query, 9, mine, exact=True).keys == [1]
    assert live.keyword("red", 9, mine).keys == [1]
    assert live.similarities(query, every, mine) == pytest.approx({1: 1.0}, abs=1e-5)
    assert live.similarities(query, [2], mine) == {}
    assert live.metadata(every, mine) == {1: {"name": "mine"}}
    assert live.texts(every, None, mine) == {1: live.texts([1])[1]}
    assert live.texts(every, query, mine) == {1: live.texts([1], query)[1]}
    assert [key for key, _ in live.vectors(None, 9, mine)] == [1]
    assert live.vectors(1, 9, mine) == []
    assert live.vector(2, mine) is None
    found, whole = live.vector(1, mine), live.vector(1)
    assert found is not None
    assert whole is not None
    assert np.array_equal(found, whole)
    write(store, entry(1, "red lamp", "yours"))
    assert live.vector(1, mine) is None
    assert live.metadata([1], mine) == {} == live.texts([1], None, mine)
