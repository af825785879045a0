"""Every backend that the store contract is tested on.

A backend is a factory that opens the same tables whenever it is called with the same folder, as another process would.
To add one: write its factory and name it in BACKENDS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from rowvec.stores.base import Store, TableSpec
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.partitioned import PartitionedStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.support.parts import table_of
from rowvec.testing import MemoryStore
from rowvec.testing.contract.samples import SPEC, Opener
from tests.servers.hrana import HranaServer, serving
from tests.torture import TORTURE

Factory: TypeAlias = Callable[[pytest.FixtureRequest, Path, TableSpec, str], Store]
"""The request gives access to session fixtures such as a server; the last argument is the metric."""

_memories: dict[Path, MemoryStore] = {}


def memory(request: pytest.FixtureRequest, folder: Path, spec: TableSpec, metric: str) -> Store:
    first = _memories.setdefault(folder, MemoryStore(metric=metric))
    return MemoryStore(metric=metric, share=first)


def libsql_file(request: pytest.FixtureRequest, folder: Path, spec: TableSpec, metric: str) -> Store:
    return LibsqlStore(str(folder / "vectors.db"), table="item_embeddings", metric=metric)


def libsql_http(request: pytest.FixtureRequest, folder: Path, spec: TableSpec, metric: str) -> Store:
    server: HranaServer = request.getfixturevalue("hrana")
    return LibsqlStore(server.url(folder.name), table="item_embeddings", metric=metric)


def postgres(request: pytest.FixtureRequest, folder: Path, spec: TableSpec, metric: str) -> Store:
    url = request.getfixturevalue("postgres_url")
    return PostgresStore(url, "shop.item_embeddings", pipeline=spec.pipeline, metric=metric)


PARTS = 3


def memory_parts(request: pytest.FixtureRequest, folder: Path, spec: TableSpec, metric: str) -> Store:
    def part(number: int) -> MemoryStore:
        first = _memories.setdefault(folder / str(number), MemoryStore(metric=metric))
        return MemoryStore(metric=metric, share=first)

    return PartitionedStore(part, PARTS)


def libsql_parts(request: pytest.FixtureRequest, folder: Path, spec: TableSpec, metric: str) -> Store:
    def part(number: int) -> LibsqlStore:
        return LibsqlStore(
            str(folder / "vectors.db"), table=table_of("item_embeddings", number), metric=metric, alone=False
        )

    return PartitionedStore(part, PARTS, apart=False)


def postgres_parts(request: pytest.FixtureRequest, folder: Path, spec: TableSpec, metric: str) -> Store:
    url = request.getfixturevalue("postgres_url")

    def part(number: int) -> PostgresStore:
        table = table_of("shop.item_embeddings", number)
        return PostgresStore(url, table, pipeline=spec.pipeline, metric=metric, alone=False)

    return PartitionedStore(part, PARTS)


BACKENDS: dict[str, Factory] = {
    "postgres": postgres,
    "memory": memory,
    "libsql-file": libsql_file,
    "libsql-http": libsql_http,
    "memory-parts": memory_parts,
}
if TORTURE:
    BACKENDS |= {"postgres-parts": postgres_parts, "libsql-parts": libsql_parts}


@pytest.fixture(scope="session")
def hrana(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HranaServer]:
    with serving(tmp_path_factory.mktemp("hrana")) as server:
        yield server


@pytest.fixture(params=BACKENDS)
def unprepared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Open a store on the tables of this test: `unprepared(spec)`, `unprepared(spec, "l2")`."""
    stores: list[Store] = []

    def opener(spec: TableSpec, metric: str = "cosine") -> Store:
        stores.append(BACKENDS[request.param](request, tmp_path, spec, metric))
        return stores[-1]

    yield opener
    for store in stores:
        store.close()


@pytest.fixture
def opened(unprepared: Opener) -> Opener:
    """The same, and prepared."""

    def opener(spec: TableSpec, metric: str = "cosine") -> Store:
        store = unprepared(spec, metric)
        store.prepare(spec)
        return store

    return opener


@pytest.fixture
def store(opened: Opener) -> Store:
    return opened(SPEC)
