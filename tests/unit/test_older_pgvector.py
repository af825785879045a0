"""What is done, and said, where the server's pgvector is older than what is asked for."""

from __future__ import annotations

import pytest

from rowvec.errors import StoreError
from rowvec.stores.index import DEFAULT, KINDS, IndexSpec
from rowvec.stores.postgres.checks import extension
from rowvec.stores.postgres.schema import check_storage
from rowvec.stores.postgres.vector_index.index import fitting
from rowvec.stores.postgres.vector_index.ordering import scan


@pytest.mark.parametrize(
    ("version", "spec", "dimension", "precision"),
    [
        ((0, 8, 5), DEFAULT, 384, "halfvec"),
        ((0, 7, 0), DEFAULT, 3072, "halfvec"),
        ((0, 6, 2), DEFAULT, 384, "vector"),
        ((0, 5, 0), DEFAULT, 2000, "vector"),
        ((0, 5, 1), DEFAULT, 2001, None),
        ((0, 4, 4), DEFAULT, 384, None),
        ((0, 4, 4), KINDS["ivfflat"], 384, "vector"),
        ((0, 6, 2), KINDS["hnsw-bit"], 384, None),
        ((0, 6, 2), IndexSpec(dimensions=128), 384, None),
        ((0, 6, 2), IndexSpec(dimensions=384), 384, "vector"),
    ],
)
def test_an_index_is_one_that_the_version_can_build(
    version: tuple[int, ...], spec: IndexSpec, dimension: int, precision: str | None
) -> None:
    found = fitting(spec, "vector", dimension, version)
    assert (found and found.precision) == precision


def test_a_check_says_what_a_version_lacks_and_that_the_rest_works() -> None:
    assert extension("0.8.0").detail == "0.8.0"
    assert extension("0.8.0").fix is None
    older = [extension(version) for version in ("0.7.4", "0.6.2", "0.5.1", "0.4.4")]
    assert all(each.ok and "everything works but for" in each.detail for each in older)
    assert [each.detail.count(";") for each in older] == [0, 1, 2, 3]
    assert "ALTER EXTENSION vector UPDATE" in str(older[0].fix)


def test_half_precision_is_refused_before_a_table_is_made() -> None:
    check_storage("0.7.0", "halfvec", "there")
    check_storage("0.6.2", "vector", "there")
    with pytest.raises(StoreError, match=r"takes pgvector 0\.7 or later; this server has 0\.6\.2"):
        check_storage("0.6.2", "halfvec", "there")


@pytest.mark.parametrize("kind", ["hnsw", "ivfflat"])
def test_an_iterative_scan_is_asked_for_where_there_is_one(kind: str) -> None:
    assert f"{kind}.iterative_scan" in scan(kind, 80, iterates=True)
    assert f"{kind}.iterative_scan" not in scan(kind, 80, iterates=False)
