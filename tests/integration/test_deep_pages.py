"""Pages beyond the first over an approximate index, which finds more the more it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from rowvec.api.project_pipeline import ProjectPipeline
from rowvec.stores.index import IndexSpec
from rowvec.stores.postgres.store import PostgresStore
from tests.integration.serve_rig import product_pipeline, project_pipeline
from tests.support import rows_of

ROWS, LIMIT = 3000, 40
QUERIES = ("brake pads 7", "wiper blade")


@pytest.fixture(scope="module")
def products(shared_database: str) -> Iterator[ProjectPipeline]:
    """An index of few links, which misses many rows that a deeper look finds."""
    with closing(PostgresStore(shared_database, "deep_pages", pipeline="products")) as store:
        pipeline = product_pipeline(store, count=ROWS)
        rows_of(pipeline).index.build(IndexSpec(m=3, ef_construction=6))
        yield project_pipeline(pipeline)


@pytest.fixture(autouse=True)
def the_index_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of the tests are so short that all rows would be compared."""
    monkeypatch.setattr("rowvec.stores.postgres.vector_index.nearest.MOST_EXACT_ROWS", 0)


def pages(products: ProjectPipeline, query: str, count: int, *, by_offset: bool = False, **asked: Any) -> list[Any]:
    found: list[Any] = []
    after = None
    for number in range(count):
        where: dict[str, Any] = {"offset": number * LIMIT} if by_offset else {"after": after}
        page = products.search(query, limit=LIMIT, **where, **asked)
        assert not page.exact
        found += page.hits
        after = page.next
    return found


@pytest.mark.parametrize("by_offset", [False, True], ids=["cursor", "offset"])
@pytest.mark.parametrize("asked", [{}, {"where": "stock < 9"}, {"mode": "hybrid"}], ids=str)
def test_what_a_deeper_page_finds_is_shown(products: ProjectPipeline, asked: dict[str, Any], by_offset: bool) -> None:
    for query in QUERIES:
        hits = pages(products, query, 10, by_offset=by_offset, **asked)
        keys = [hit.key for hit in hits]
        assert len(set(keys)) == len(keys) == 10 * LIMIT
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        # The pages look so deep on their way: each look is twice as deep as the one before.
        deep = {hit.key for hit in products.search(query, limit=8 * LIMIT, **asked).hits[: 5 * LIMIT]}
        assert deep <= set(keys)


def test_there_is_something_that_a_first_page_misses(products: ProjectPipeline) -> None:
    deep = [hit.key for hit in products.search(QUERIES[0], limit=20 * LIMIT).hits[:LIMIT]]
    first = [hit.key for hit in products.search(QUERIES[0], limit=LIMIT).hits]
    assert set(deep) - set(first)
