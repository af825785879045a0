"""Rows worth a look: cut, repeated, nearly the same, and far from all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rowvec.auditing.neighbours import BOUND, LISTED, ROWS, SECONDS, Neighbours, neighbours
from rowvec.generations.lifecycle import live_rows
from rowvec.pipeline import Pipeline
from rowvec.stores.base import GenerationHandle
from rowvec.support.tables import Tabular
from rowvec.types import Key, Progress, Repeated


@dataclass(frozen=True, slots=True)
class Quality(Tabular):
    """Lists of rows of the live generation, each with up to LISTED entries. As rows: one for each row of a list.

    Attributes:
        truncated: how many texts are longer than the model's window. cut: keys of some of these rows.
        repeated: texts that several rows have.
        neighbours: near-duplicates and odd rows.
    """

    pipeline: str
    truncated: int
    cut: Sequence[Key]
    repeated: Sequence[Repeated]
    neighbours: Neighbours

    @property
    def keys(self) -> list[Key]:
        """Of every row that a list of pairs or odd rows names."""
        found = [key for pair in self.neighbours.near for key in (pair.a, pair.b)]
        return list(dict.fromkeys(found + [each.key for each in self.neighbours.odd]))

    def as_dict(self) -> dict[str, Any]:
        repeated = [each._asdict() for each in self.repeated]
        own = {"pipeline": self.pipeline, "truncated": self.truncated, "cut": list(self.cut), "repeated": repeated}
        return {**own, **self.neighbours.as_dict()}

    def to_dicts(self) -> list[dict[str, Any]]:
        lists: Mapping[str, Sequence[tuple[Key, Key | None, float | None]]] = {
            "cut": [(key, None, None) for key in self.cut],
            "repeated": [(key, group.keys[0], 1.0) for group in self.repeated for key in group.keys[1:]],
            "near": [(pair.a, pair.b, pair.similarity) for pair in self.neighbours.near],
            "odd": [(each.key, each.nearest, each.similarity) for each in self.neighbours.odd],
        }
        return [
            {"list": name, "key": key, "other": other, "similarity": similarity}
            for name, found in lists.items()
            for key, other, similarity in found
        ]


def quality(
    pipeline: Pipeline,
    *,
    rows: int = ROWS,
    bound: float = BOUND,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> Quality:
    """
    Args: as those of `neighbours`.

    Raises:
        StoreError: there are no vectors. ConfigError: a bound that cannot be.
    """
    _, live = live_rows(pipeline.store, pipeline.spec)
    found = neighbours(live, rows=rows, bound=bound, seconds=seconds, progress=progress)
    return of(pipeline.name, live, found)


def of(name: str, live: GenerationHandle, found: Neighbours) -> Quality:
    truncated = live.status().truncated
    return Quality(name, truncated, live.truncated(LISTED) if truncated else [], live.repeated(LISTED), found)
