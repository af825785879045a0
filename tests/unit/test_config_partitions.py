"""`store.partitions`: where each part of the rows is, by the config."""

from __future__ import annotations

from pathlib import Path

import pytest

from rowvec.assemble import build_store
from rowvec.config import load
from rowvec.errors import ConfigError, StoreError
from rowvec.stores.base import Store
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.partitioned import PartitionedStore
from rowvec.syncing.run import sync
from rowvec.testing import MemorySource
from tests.support import simple_pipeline, vectors_match_rows
from tests.unit.configs import SOURCE, written

LIST = '["postgresql://me:s3cret@one/d", "postgresql://me:s3cret@two/d"]'


def config(folder: Path, *stores: str) -> Path:
    blocks = [f"[pipelines.p{number}]\n{SOURCE}\nstore = {{ {store} }}" for number, store in enumerate(stores)]
    return written(folder, "\n\n".join(blocks))


def test_the_first_of_several_servers_is_the_url_of_the_store(tmp_path: Path) -> None:
    store = load(config(tmp_path, f'kind = "postgres", table = "t", partitions = {LIST}')).pipeline(None).store
    assert store.targets == [("postgresql://me:s3cret@one/d", "t", ""), ("postgresql://me:s3cret@two/d", "t", "")]
    assert "s3cret" not in repr(store)


def test_parts_in_one_database_are_tables_of_numbered_names(tmp_path: Path) -> None:
    declared = load(config(tmp_path, 'kind = "libsql", url = "v.db", table = "t", partitions = 3')).pipeline(None)
    assert [table for _, table in declared.store.targets] == ["t", "t_p2", "t_p3"]
    assert {url for url, _ in declared.store.targets} == {str(tmp_path / "v.db")}


def test_relative_paths_of_a_list_are_beside_the_config(tmp_path: Path) -> None:
    declared = load(config(tmp_path, 'kind = "libsql", table = "t", partitions = ["a.db", "b.db"]')).pipeline(None)
    assert declared.store.targets == [(str(tmp_path / "a.db"), "t"), (str(tmp_path / "b.db"), "t")]


def test_no_pipeline_has_the_part_of_another_as_its_table(tmp_path: Path) -> None:
    path = config(
        tmp_path,
        'kind = "libsql", url = "v.db", table = "t", partitions = 3',
        'kind = "libsql", url = "v.db", table = "t_p2"',
    )
    with pytest.raises(ConfigError, match="is also the table of pipeline 'p0'"):
        load(path)


def test_the_last_of_several_databases_gives_its_rows_to_the_others(tmp_path: Path) -> None:
    rows = {number: f"row {number}" for number in range(60)}
    source = MemorySource({key: {"name": name, "price": key} for key, name in rows.items()})

    def opened(places: str) -> Store:
        loaded = load(config(tmp_path, f'kind = "libsql", table = "t", {places}'))
        return build_store(loaded, loaded.pipeline(None))

    def keys(number: str) -> int:
        store = LibsqlStore(str(tmp_path / f"{number}.db"), table="t", alone=False)
        found = store.generation(pipeline.spec)
        assert found is not None
        return len(found.keys(None, 100))

    for places, held in (
        ('partitions = ["a.db", "b.db", "c.db"]', 3),
        ('partitions = ["a.db", "b.db"], drain = ["c.db"]', 2),
        ('partitions = ["a.db", "b.db"]', 2),
    ):
        store = opened(places)
        pipeline = simple_pipeline(source, store)
        assert sync(pipeline).texts == (60 if held == 3 else 0)
        vectors_match_rows(pipeline, rows)
        store.close()
        counts = [keys(number) for number in "abc"]
        assert sum(counts) == 60 and sum(map(bool, counts)) == held


def test_a_part_that_the_config_does_not_name_is_asked_for(tmp_path: Path) -> None:
    loaded = load(config(tmp_path, 'kind = "libsql", table = "t", partitions = ["a.db", "b.db"]'))
    store = build_store(loaded, loaded.pipeline(None))
    assert isinstance(store, PartitionedStore)
    with pytest.raises(StoreError, match=r"more parts than store\.partitions names: it names 2") as caught:
        store._part(2)
    assert "store.drain" in (caught.value.hint or "")
    store.close()
