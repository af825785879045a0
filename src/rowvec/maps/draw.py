"""The map of a pipeline: a point for every row, of very many for a part of them, in a file beside the config."""

from __future__ import annotations

import datetime as dt
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote
from uuid import UUID, uuid4

import numpy as np
import numpy.typing as npt

from rowvec.errors import ConfigError, StoreError
from rowvec.generations.lifecycle import live_rows
from rowvec.maps import projection
from rowvec.stores.base import GenerationHandle, Store, TableSpec
from rowvec.support.keys import key_of
from rowvec.types import ColumnType, Key, Progress, Vectors

Places: TypeAlias = npt.NDArray[np.uint16]
"""Shape (rows, 2): x and y, the longer side of the map from 0 to SIDE."""

FORMAT = 1
"""Of the file. A file of a later format counts as missing: the map is drawn again."""
SIDE = 65_535
SAMPLE = 20_000
MOST = 500_000
"""Points. A page gets five bytes of each, and asks the store for the colour of each."""
PAGE = 5_000
FOLDER = "maps"


@dataclass(frozen=True, slots=True)
class EmbeddingMap:
    """
    Attributes:
        keys: of the rows, in the order of `places`.
        model: what made the vectors.
        rows: that had a vector when it was drawn; those that have no point were left out by chance.
    """

    keys: Sequence[Key]
    places: Places
    made_at: dt.datetime
    model: str
    rows: int = 0
    index: dict[Key, int] = field(init=False, repr=False, compare=False)
    """Where a key is in `keys`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", max(self.rows, len(self.keys)))
        object.__setattr__(self, "index", {key: number for number, key in enumerate(self.keys)})

    def save(self, path: Path) -> None:
        """Replace the former map, in one step.

        Raises:
            ConfigError: the folder cannot be written.
        """
        about = {
            "format": FORMAT,
            "keys": [str(key) if isinstance(key, UUID) else key for key in self.keys],
            "made_at": self.made_at.isoformat(),
            "model": self.model,
            "rows": self.rows,
        }
        new = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as file:
                np.savez(file, places=self.places, about=np.frombuffer(json.dumps(about).encode(), np.uint8))
            os.replace(new, path)
        except OSError as error:
            with suppress(OSError):
                new.unlink()
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}.", hint="Check the folder's owner and free space."
            ) from None

    @classmethod
    def load(cls, path: Path, key_type: ColumnType) -> EmbeddingMap | None:
        """The map in a file; None if the file is missing or cannot be read."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                places, about = found["places"], json.loads(found["about"].tobytes())
            if about.get("format", 1) > FORMAT or not isinstance(about["keys"], list):
                return None
            keys = [key_of(key, key_type) for key in about["keys"]]
            made_at = dt.datetime.fromisoformat(about["made_at"])
            rows = int(about.get("rows", 0))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
            return None
        same = places.shape == (len(keys), 2)
        return cls(keys, places, made_at, str(about.get("model", "")), rows) if same else None


def map_file(state: Path, pipeline: str) -> Path:
    """Args: state: the folder in which rowvec keeps what is its own."""
    return state / FOLDER / f"{quote(pipeline, safe='')}.npz"


def draw(
    store: Store, spec: TableSpec, *, sample: int = SAMPLE, most: int = MOST, progress: Progress | None = None
) -> EmbeddingMap:
    """The map of all rows with a vector, or of `most` of them. Memory grows by some 300 bytes a point.

    Args:
        sample: number of rows that UMAP lays out; the others are placed beside the nearest of these.
        most: number of points. Of more rows, that number gets one, each as likely as another.

    Raises:
        StoreError: there are no vectors, or another generation went live meanwhile.
        MissingExtraError: the `map` extra is not installed.
    """
    projection.require_umap()
    tell: Progress = progress or (lambda phase, done, total: None)
    ledger, live = live_rows(store, spec)
    known, rows = _sampled(_pages(store, live, "looking", ledger.version, tell), sample)
    if not rows:
        raise StoreError(
            f"{store.location} holds no vector, so that there is nothing to draw.",
            hint="`rowvec status` says how many rows there are, and `rowvec failures` why some could not be embedded.",
        )
    axes = projection.principal_axes(known)
    chosen = np.random.default_rng(projection.SEED).choice(rows, most, replace=False) if rows > most else None
    keys: list[Key] = []
    parts = []
    for some, vectors in _of_chosen(_pages(store, live, "reading", ledger.version, tell), chosen):
        keys += some
        parts.append(axes.reduce(vectors))
    places = _laid_out(np.concatenate(parts), sample, tell)
    model = ledger.fingerprint.model if ledger.fingerprint else ""
    return EmbeddingMap(keys, places, dt.datetime.now(dt.UTC), model, rows)


def _pages(
    store: Store, live: GenerationHandle, phase: str, version: str, tell: Progress
) -> Iterator[tuple[list[Key], Vectors]]:
    """
    Raises:
        StoreError: another generation went live, whose vectors are not to be compared with the former ones.
    """
    after: Key | None = None
    done, total = 0, live.count()
    while page := live.vectors(after, PAGE):
        if store.live_version() != version:
            raise StoreError(f"Another generation of {store.location} went live meanwhile.", hint="Run it again.")
        after = page[-1][0]
        done += len(page)
        tell(phase, done, max(total, done))
        yield [key for key, _ in page], np.stack([vector for _, vector in page])


def _of_chosen(
    pages: Iterator[tuple[list[Key], Vectors]], chosen: npt.NDArray[np.int64] | None
) -> Iterator[tuple[list[Key], Vectors]]:
    """Of all pages the rows with these numbers; all of them where none is chosen."""
    if chosen is None:
        yield from pages
        return
    numbers, seen = np.sort(chosen), 0
    for keys, vectors in pages:
        first, behind = np.searchsorted(numbers, [seen, seen + len(keys)])
        some = numbers[first:behind] - seen
        seen += len(keys)
        if len(some):
            yield [keys[place] for place in some.tolist()], vectors[some]


def _sampled(pages: Iterator[tuple[list[Key], Vectors]], size: int) -> tuple[Vectors, int]:
    """An even sample of a stream whose length is not known (Vitter's algorithm R), and that length."""
    random = np.random.default_rng(projection.SEED)
    kept: list[Any] = []
    seen = 0
    for _, vectors in pages:
        # Copies: a view would keep its whole page, and all views together the whole table.
        for vector in vectors[: max(0, size - seen)]:
            kept.append(vector.copy())
        rest = vectors[max(0, size - seen) :]
        numbers = np.arange(seen + len(vectors) - len(rest), seen + len(vectors))
        for vector, slot in zip(rest, random.integers(0, numbers + 1), strict=True):
            if slot < size:
                kept[slot] = vector.copy()
        seen += len(vectors)
    return (np.stack(kept) if kept else np.zeros((0, 1), np.float32)), seen


def _laid_out(reduced: npt.NDArray[np.float32], sample: int, tell: Progress) -> Places:
    chosen = np.arange(len(reduced))
    if len(reduced) > sample:
        chosen = np.sort(np.random.default_rng(projection.SEED).choice(len(reduced), sample, replace=False))
    tell("layout", 0, None)
    points = np.zeros((len(reduced), 2), np.float32)
    points[chosen] = projection.layout(reduced[chosen])
    others = np.setdiff1d(np.arange(len(reduced)), chosen)
    for start in range(0, len(others), PAGE):
        tell("placing", start, len(others))
        some = others[start : start + PAGE]
        points[some] = projection.place(reduced[some], reduced[chosen], points[chosen])
    return scaled(points)


def scaled(points: projection.Points) -> Places:
    """Points as integers, of one scale for both axes; the shorter side is in the middle."""
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max()) or 1.0
    middle = (low + high) / 2
    places = np.round(((points - middle) / extent + 0.5) * SIDE)
    return np.asarray(places.clip(0, SIDE), np.uint16)
