"""A store of each kind, for tests of what both promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rowvec.stores.base import Store
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.store import PostgresStore

Open = Callable[[], Store]


@pytest.fixture(params=["postgres", "libsql"])
def opened(request: pytest.FixtureRequest, quick_folder: Path) -> Iterator[Open]:
    """What opens a store on the same tables each time."""
    with ExitStack() as stack:

        def again() -> Store:
            if request.param == "postgres":
                url = request.getfixturevalue("postgres_url")
                store: Store = PostgresStore(url, "vectors", pipeline="things")
            else:
                store = LibsqlStore(str(quick_folder / "vectors.db"), table="vectors")
            stack.callback(store.close)
            return store

        yield again
