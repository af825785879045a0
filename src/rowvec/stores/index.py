"""What can be done with the vector index of a generation, and what there is to know of one."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rowvec.types import ColumnType, Progress, Vectors


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """The index a user asks for. A store that has one kind only takes any.

    Attributes:
        kind: "hnsw" (better recall at a given speed, slower to build) or "ivfflat".
        precision: "halfvec" halves the index's size; "bit" keeps one to three bits of each number, in HNSW. Hits are
            ordered by the full vectors afterwards.
        dimensions: HNSW holds this many numbers from the beginning of each vector, for models that put what matters
            most there (Matryoshka); None for all.
        m, ef_construction: HNSW's graph degree and build effort.
        lists: IVFFlat's number of clusters; None takes rows / 1000 up to a million rows and sqrt(rows) above.
    """

    kind: Literal["hnsw", "ivfflat"] = "hnsw"
    precision: Literal["halfvec", "vector", "bit"] = "halfvec"
    dimensions: int | None = None
    m: int = 16
    ef_construction: int = 64
    lists: int | None = None


DEFAULT = IndexSpec()
KINDS = {"hnsw": DEFAULT, "hnsw-bit": IndexSpec(precision="bit"), "ivfflat": IndexSpec("ivfflat")}
"""As settings and commands name them."""


PART_TYPES = frozenset({ColumnType.INTEGER, ColumnType.TEXT, ColumnType.UUID})
"""Of a column whose frequent values may have an index each."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a partial index holds: the rows that have one value in one column."""

    column: str
    value: Any

    def __str__(self) -> str:
        value = self.value if isinstance(self.value, int) else f"'{self.value}'"
        return f"{self.column} = {value}"


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """An index that exists. Text is empty and a number None where the store does not tell it."""

    kind: str
    name: str = ""
    precision: str = ""
    dimensions: int | None = None
    """It holds this many numbers from the beginning of each vector; None for all of them."""
    operators: str = ""
    """What orders by it, such as `cosine_ops`."""
    definition: str = ""
    """The statement that makes it."""
    valid: bool = True
    """Searches can use it: it was built to its end."""
    bytes: int | None = None
    effort: int | None = None
    """As tuned, see `Effort`; None until then."""
    recall: float | None = None
    """Between 0 and 1, as measured at that effort."""
    measured_at: dt.datetime | None = None
    part: Part | None = None
    """Of a partial index; None for one of all rows."""

    @property
    def is_coarse(self) -> bool:
        """It holds too little of a vector to choose hits by: more rows than those are compared by their vectors."""
        return self.precision == "bit" or self.dimensions is not None

    @property
    def held(self) -> str:
        """What it holds of a vector, for people."""
        return f"{self.precision}, first {self.dimensions}" if self.dimensions else self.precision

    def as_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["part"] = None if self.part is None else str(self.part)
        return {name: None if value == "" else value for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class IndexCost:
    """A forecast; bytes are on disk, seconds are of one core."""

    kind: str
    vectors: int
    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Effort:
    """One setting of an index and what it gives."""

    effort: int
    """hnsw.ef_search or ivfflat.probes; for an index of bits or of first numbers the oversampling: how many rows are
    compared by their vectors for each one asked for."""
    recall: float
    milliseconds: float
    """Median of one search."""
    passages: int | None = None
    """The same for the index of passages, where rows are searched by both."""
    least: float = 0.0
    """The recall that other queries of the same kind have too, as far as this number of queries can show."""


class VectorIndex(Protocol):
    """The approximate index of one generation's vectors. Searches and writes go on while it is built."""

    @property
    def resumes(self) -> bool:
        """A build that was stopped goes on where it was; otherwise what is half built is dropped by the next one."""
        ...

    def status(self) -> list[IndexStatus]:
        """Those that exist, valid ones first."""
        ...

    def cost(self) -> IndexCost | None:
        """What `build` would take; None where that cannot be told."""
        ...

    def build(self, spec: IndexSpec | None = None, progress: Progress | None = None) -> IndexStatus:
        """
        Args:
            spec: None for what the store's settings say.

        Raises:
            StoreError: vectors of that size or metric cannot be indexed like that.
        """
        ...

    def drop(self) -> int:
        """Returns how many indexes there were."""
        ...

    def tune(
        self, target: float, queries: int | Vectors = 200, k: int = 10, progress: Progress | None = None
    ) -> list[Effort]:
        """Measure recall@k of rising efforts and keep the smallest for which other queries reach `target` too, or else
        the best one.

        Args:
            queries: the vectors of at least this many rows, or vectors of queries, shape (queries, dimension).

        Returns:
            Those that were tried, and at the end the one that is kept.

        Raises:
            StoreError: there is no valid index, or it has no effort to choose.
        """
        ...
