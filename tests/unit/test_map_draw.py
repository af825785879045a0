"""Drawing the map of a pipeline, and its file."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from rowvec.errors import ConfigError, MissingExtraError, StoreError
from rowvec.maps.draw import SIDE, EmbeddingMap, _sampled, draw, map_file, scaled
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemoryStore
from rowvec.types import ColumnType, Key
from tests.support import simple_pipeline

NOW = dt.datetime(2026, 5, 1, 12, 30, tzinfo=dt.UTC)


def named(count: int) -> dict[int, str]:
    return {number: f"thing {number}" for number in range(1, count + 1)}


def test_every_row_with_a_vector_has_a_point() -> None:
    pipeline = simple_pipeline(rows=named(20))
    sync(pipeline)
    told: list[tuple[str, int, int | None]] = []
    made = draw(pipeline.store, pipeline.spec, progress=lambda *news: told.append(news))
    assert list(made.keys) == list(range(1, 21))
    assert made.places.shape == (20, 2)
    assert made.places.dtype == np.uint16
    assert made.index[7] == 6
    assert made.model == pipeline.embedder.fingerprint.model
    assert [phase for phase, _, _ in told] == ["looking", "reading", "layout"]
    assert told[1] == ("reading", 20, 20)


def test_of_very_many_rows_some_have_a_point(tmp_path: Path) -> None:
    pipeline = simple_pipeline(rows=named(2_000))
    sync(pipeline)
    made = draw(pipeline.store, pipeline.spec, sample=20, most=500)
    assert (len(made.keys), len(made.places), made.rows) == (500, 500, 2_000)
    assert len(set(made.keys)) == 500
    assert list(made.keys) == sorted(made.keys)
    assert 700 < np.mean(list(made.keys)) < 1_300, "from all over the table"
    made.save(tmp_path / "map.npz")
    again = EmbeddingMap.load(tmp_path / "map.npz", ColumnType.INTEGER)
    assert again is not None
    assert again.rows == 2_000


def test_a_sample_keeps_no_page_that_it_is_drawn_from() -> None:
    kept: list[weakref.ref[np.ndarray]] = []
    alive = []

    def pages() -> Iterator[tuple[list[Key], np.ndarray]]:
        for number in range(30):
            page = np.full((50, 4), number, np.float32)
            kept.append(weakref.ref(page))
            alive.append(sum(page() is not None for page in kept))
            yield [], page

    sample, rows = _sampled(pages(), 100)
    assert len(np.unique(sample)) > 15, "from all over the table"
    assert rows == 30 * 50
    assert max(alive) <= 3


def test_without_vectors_there_is_nothing_to_draw() -> None:
    pipeline = simple_pipeline(rows={})
    with pytest.raises(StoreError, match="holds no vectors yet"):
        draw(pipeline.store, pipeline.spec)
    sync(pipeline)
    # Whoever was told to sync first would do so again and again.
    with pytest.raises(StoreError, match="holds no vector, so that there is nothing to draw"):
        draw(pipeline.store, pipeline.spec)


def test_vectors_of_two_generations_make_no_map() -> None:
    store = MemoryStore()
    sync(simple_pipeline(store=store, rows=named(5)))
    other = simple_pipeline(store=MemoryStore(share=store), embedder=HashEmbedder(24, model="other"), rows=named(5))
    pipeline = simple_pipeline(store=store, rows=named(5))

    def swap(phase: str, done: int, total: int | None) -> None:
        if phase == "looking":
            sync(other)

    with pytest.raises(StoreError, match="went live meanwhile"):
        draw(pipeline.store, pipeline.spec, progress=swap)
    assert draw(other.store, other.spec).model == "other"


def test_a_missing_extra_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    pipeline = simple_pipeline(rows=named(3))
    with pytest.raises(MissingExtraError, match=r"pip install 'rowvec\[map\]'"):
        draw(pipeline.store, pipeline.spec)


def test_the_longer_side_is_filled_and_the_shorter_in_the_middle() -> None:
    places = scaled(np.array([[0, 0], [4, 1], [2, 0.5]], np.float32))
    assert places[:2].tolist() == [[0, round(SIDE * 3 / 8)], [SIDE, round(SIDE * 5 / 8)]]
    assert scaled(np.zeros((2, 2), np.float32)).tolist() == [[round(SIDE / 2)] * 2] * 2


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (ColumnType.INTEGER, [-(2**63), 2**63 - 1]),
        (ColumnType.TEXT, ["a/b", "ключ 😀"]),
        (ColumnType.UUID, [UUID(int=1), UUID(int=2)]),
    ],
)
def test_a_map_is_read_as_it_was_saved(tmp_path: Path, kind: ColumnType, keys: list[Key]) -> None:
    path = map_file(tmp_path, "a/b")
    assert path.parent == tmp_path / "maps"
    made = EmbeddingMap(keys, np.array([[1, 2], [3, SIDE]], np.uint16), NOW, "a model")
    made.save(path)
    found = EmbeddingMap.load(path, kind)
    assert found is not None
    assert (list(found.keys), found.places.tolist(), found.made_at, found.model) == (
        keys, [[1, 2], [3, SIDE]], NOW, "a model",
    )  # fmt: skip
    assert [file.name for file in path.parent.iterdir()] == [path.name], "nothing is left beside it"


@pytest.mark.parametrize("content", [b"", b"not a map", b"PK\x03\x04 half an archive"])
def test_a_file_that_is_no_map_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    assert EmbeddingMap.load(path, ColumnType.INTEGER) is None
    path.write_bytes(content)
    assert EmbeddingMap.load(path, ColumnType.INTEGER) is None


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "maps").write_text("in the way")
    made = EmbeddingMap([1], np.zeros((1, 2), np.uint16), NOW, "")
    with pytest.raises(ConfigError, match="cannot be written"):
        made.save(map_file(tmp_path, "things"))


def test_the_library_is_not_imported_before_it_is_needed() -> None:
    script = (
        "import sys, rowvec.maps.draw, rowvec.cli.map\n"
        "print([name for name in ('umap', 'numba', 'sklearn') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


@pytest.mark.parametrize("about", [{"format": 99}, {"format": "new"}, {"keys": None}, {"made_at": 7}])
def test_a_map_of_another_format_is_none(tmp_path: Path, about: dict[str, object]) -> None:
    path = tmp_path / "map.npz"
    EmbeddingMap([1, 2], np.zeros((2, 2), np.uint16), dt.datetime.now(dt.UTC), "model").save(path)
    with np.load(path) as found:
        said = json.loads(found["about"].tobytes())
    assert said["format"] == 1
    changed = json.dumps(said | about).encode()
    np.savez(path, places=np.zeros((2, 2), np.uint16), about=np.frombuffer(changed, np.uint8))
    assert EmbeddingMap.load(path, ColumnType.INTEGER) is None


def test_a_map_without_a_format_is_of_the_first_one(tmp_path: Path) -> None:
    path = tmp_path / "map.npz"
    about = json.dumps({"keys": [1, 2], "made_at": "2026-01-01T00:00:00+00:00"}).encode()
    np.savez(path, places=np.zeros((2, 2), np.uint16), about=np.frombuffer(about, np.uint8))
    found = EmbeddingMap.load(path, ColumnType.INTEGER)
    assert found is not None
    assert (list(found.keys), found.model) == ([1, 2], "")
