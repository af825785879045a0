"""The words of rowvec as frozen values. Nothing here does I/O or imports a backend."""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt

Key: TypeAlias = int | str | UUID
Vector: TypeAlias = npt.NDArray[np.float32]
"""Shape (dimension,)."""
Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with a phase, what is done of it and what there is to do; None if that is not known."""
Vectors: TypeAlias = npt.NDArray[np.float32]
"""Shape (texts, dimension)."""


CONTENT = re.compile(r"[0-9a-f]{16}")
"""How the revision of a model begins that is a digest of its files, or a commit of the hub."""


class ColumnType(enum.StrEnum):
    """What a column holds, the same word for every source and store."""

    INTEGER = "integer"
    NUMBER = "number"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    TEXT = "text"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    INTERVAL = "interval"
    UUID = "uuid"
    JSON = "json"
    ARRAY = "array"
    BYTES = "bytes"


def is_bigint(number: float | Decimal) -> bool:
    """Whether it fits into 64 bits, the largest integer that every store keeps."""
    return -(2**63) <= number < 2**63


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: ColumnType
    told: bool = field(default=True, compare=False, repr=False)
    """False where neither a declaration nor a value has told the type yet: it is text until one does."""
    was_boolean: bool = field(default=False, compare=False, repr=False)
    """Its first values were booleans: texts go on to say yes and no for them."""
    ignores_case: bool = field(default=False, compare=False, repr=False)
    """It is a text that the database compares without regard to case, and filters do so too."""

    @property
    def yes_no(self) -> bool:
        """Its values are said as yes and no."""
        return self.was_boolean or self.type is ColumnType.BOOLEAN


class Row(NamedTuple):
    """One source row. `values` holds every column that was read, the key column too."""

    key: Key
    values: Mapping[str, Any]


class Unfit(NamedTuple):
    """A metadata value that its column cannot hold: null is stored in its place."""

    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class UnfitValue:
    """The same, as a store lists it."""

    key: Key
    column: str
    reason: str


class Document(NamedTuple):
    """What is embedded and stored for one row. The hashes are 16 bytes each."""

    key: Key
    text: str
    metadata: tuple[Any, ...]
    """One value per metadata column of the store, in the store's order."""
    text_hash: bytes
    row_hash: bytes
    unfit: tuple[Unfit, ...] = ()
    """Of the metadata, what is null because it does not fit."""
    context: str = ""
    """What is put before each passage of the text but the first, where it may have several."""
    whole_hash: bytes | None = None
    """The text hash if the text is one passage, which has no context; None where the two are the same."""

    def as_whole(self) -> Document:
        """The same, its text being one passage."""
        return (
            self if self.whole_hash is None else self._replace(text_hash=self.whole_hash, context="", whole_hash=None)
        )


class Stored(NamedTuple):
    """What the ledger says of one key."""

    text_hash: bytes | None
    """None if there is no vector: the row is only known as a failure, or its vector was set to null."""
    row_hash: bytes | None
    failure: PastFailure | None = None


class PastFailure(NamedTuple):
    text_hash: bytes
    attempts: int
    next_try: dt.datetime


class Kind(enum.StrEnum):
    INSERT = "insert"
    EMBED = "embed"
    UPDATE = "update"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    EMPTY = "empty"


class Reason(enum.StrEnum):
    """Why a row is in the plan, in the words a user reads."""

    NEW = "new row"
    TEXT_CHANGED = "text changed"
    RECIPE_CHANGED = "text settings changed"
    RENDERING_CHANGED = "rendering rules changed"
    MODEL_CHANGED = "model changed"
    VECTOR_MISSING = "vector missing"
    FORCED = "forced"
    RETRY = "failed before, tried again"
    METADATA_CHANGED = "metadata changed"
    GONE = "gone from the source"
    EMPTY_TEXT = "empty text"
    WAITING = "failed before, next try later"
    SAME = "unchanged"


class Change(NamedTuple):
    kind: Kind
    reason: Reason
    document: Document
    before: Stored | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that could not be embedded or stored."""

    key: Key
    error: str
    attempts: int
    failed_at: dt.datetime
    next_try: dt.datetime
    text_hash: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """Everything that decides which vector a text gets. Two equal fingerprints give equal vectors.

    Two are equal when their identities are: a model that is called something else, because its folder was moved or
    its name on the hub is used instead, is the same model as long as its files are.
    """

    kind: str
    model: str
    revision: str
    dimension: int
    pooling: str = ""
    normalized: bool = True
    prompt: str = ""
    max_tokens: int | None = None
    overflow: str = "truncate"
    precision: str = "float32"
    passages: str = ""
    """How a text that does not fit the window is cut into passages, as `PassageSettings.identity` says it; empty where
    a row has one vector and no more."""
    params: str = ""
    """What a service is told beside the text of a row, as JSON; empty for nothing."""

    @property
    def of_model(self) -> Fingerprint:
        """What the model alone decides: which vector one text gets, whatever texts a row is cut into."""
        return replace(self, passages="") if self.passages else self

    def agrees(self, other: Fingerprint) -> bool:
        """Whether a text that fits the window has the same vector by both: they differ at most in what becomes of one
        that does not."""
        return replace(self, overflow="", passages="") == replace(other, overflow="", passages="")

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def identity(self) -> str:
        """What decides the vectors, as one line of JSON: the same text for the same vectors.

        Every field counts except the model's name, which counts only where the revision does not name its content.
        """
        counted = {name: value for name, value in self.as_dict().items() if name != "model" or not self._names_content}
        return json.dumps(counted, sort_keys=True, separators=(",", ":"))

    def digest(self) -> bytes:
        """16 bytes that are the same for equal fingerprints. A field that has its default does not count, so that a
        field which a later version adds leaves them as they are."""
        usual = {each.name: each.default for each in fields(self)}
        said = {name: value for name, value in json.loads(self.identity()).items() if value != usual[name]}
        text = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()[:16]

    @property
    def _names_content(self) -> bool:
        return re.match(CONTENT, self.revision) is not None

    def __eq__(self, other: object) -> bool:
        return self.identity() == other.identity() if isinstance(other, Fingerprint) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.identity())


class State(enum.StrEnum):
    """Of a generation."""

    LIVE = "live"
    BUILDING = "building"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class Generation:
    """All vectors made by one fingerprint, as a store's books know them."""

    state: State
    fingerprint: Fingerprint | None
    rows: int
    """With a vector."""
    failures: int
    stale: int
    """Failures of rows that keep an old vector."""
    bytes: int | None
    """With its indexes; None if the database does not say."""
    since: dt.datetime
    """In this state."""
    settings: str = ""
    """See `rowvec.stores.base.TableSpec`."""
    undone: bool = False
    """It was live until a rollback."""
    lost: int = 0
    """Rows with a current vector in the live generation that failed in this one, which is being built."""

    @property
    def current(self) -> int:
        """Rows whose vector is that of their text, as of the last sync."""
        return self.rows - self.stale

    def as_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "settings"}
        return {**values, "fingerprint": self.fingerprint.as_dict() if self.fingerprint else None}


class Embedded(NamedTuple):
    """One answer of an embedder."""

    vectors: Vectors
    tokens: int
    truncated: Sequence[int] = ()
    """Positions of the texts that were longer than the model's window."""
    cost: float = 0.0
    """US dollars."""
    estimated: bool = False
    """True when the service did not say how many tokens it billed."""
    problems: Mapping[int, Exception] = {}
    """By position, why a text got no vector that can be used; what stands in its row does not matter."""


class TextVector(NamedTuple):
    """The vector of a text, and whether the text was longer than the model's window."""

    vector: Vector
    truncated: bool = False


class Passage(NamedTuple):
    """One of several parts of a row's text, with a vector of its own."""

    start: int
    end: int
    """It is `text[start:end]` of the row's text; passages may overlap."""
    text_hash: bytes
    """16 bytes, made as that of a row's text: over what was embedded, its context included, and the model."""
    vector: Vector
    tokens: int = 0
    """Its weight in the mean that the row has for a vector of its own; 0 where it is not known."""


class Entry(NamedTuple):
    """A document with the vector to store for it, and the text hash the ledger held when it was planned."""

    document: Document
    vector: Vector
    """Of a row with passages: the mean of theirs, weighted by tokens, of the length that the model gives."""
    expected: bytes | None
    truncated: bool = False
    passages: tuple[Passage, ...] = ()
    """In the order of the text; empty where the text is one passage, whose vector is the row's."""
    partial: bool = False
    """Passages without a vector are left out: the text hash says that the row is not current."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `rowvec check`: what was looked at, whether it is right, and how to fix it."""

    what: str
    ok: bool
    detail: str = ""
    fix: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further figures for `--json`."""


class ScoredPassage(NamedTuple):
    """A passage as a store knows it: `text[start:end]`."""

    start: int
    end: int
    score: float | None = None
    """Its similarity to the query's vector; None where there was none to compare."""


class StoredText(NamedTuple):
    """The text of a row as it was embedded, as far as a store keeps it."""

    text: str
    passages: tuple[ScoredPassage, ...] = ()
    """In the order of the text; empty where the text is one passage."""


class FoundPassage(NamedTuple):
    """A part of a hit's text that answers the query: characters `start` to `end` of the row's text."""

    text: str
    start: int
    end: int
    score: float | None
    """Its similarity to the query; None in a search by words."""
    marks: tuple[tuple[int, int], ...] = ()
    """Where in `text` words of the query stand, in order, as pairs of characters."""


class Hit(NamedTuple):
    key: Key
    score: float | None
    """None for a row that was browsed: nothing was looked for."""
    metadata: Mapping[str, Any]
    parts: Mapping[str, float | None] | None = None
    passages: tuple[FoundPassage, ...] = ()
    """The best first."""


class Ranked(NamedTuple):
    """A store's answer to one search."""

    keys: Sequence[Key]
    scores: Sequence[float]
    exact: bool
    """Every matching row was compared; False for an answer from an approximate index."""
    complete: bool
    """There are min(limit, matching rows) keys."""
