"""A pipeline put together: its source, text, embedder and store, and what may be asked of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rowvec.documents.passages import Cutter, PassageSettings
from rowvec.documents.text import covering
from rowvec.embedders.base import AbsentEmbedder, Embedder
from rowvec.embedders.separate_queries import SeparateQueries
from rowvec.evaluation.gate import Gate
from rowvec.ranking import Ranking
from rowvec.rerankers.base import Reranker
from rowvec.sources.base import CursorSettings, Retyped, Selection, Source
from rowvec.stores.base import Store, TableSpec
from rowvec.types import Document, Fingerprint, Key, Row

TITLES = ("title", "name", "label", "subject", "headline")
"""Metadata columns that say what a row is called, the likeliest first."""


class Former(Protocol):
    """Puts together again, from the settings that a store kept, what made the vectors of another generation."""

    def embedder(self, settings: str) -> Embedder:
        """The same one each time it is asked for with the same settings. Raises RowvecError where it cannot be had."""
        ...

    def documents(self, settings: str, model: Fingerprint) -> tuple[Callable[[Row], Document], tuple[str, ...]]:
        """How a row became text, and the columns in it. Raises ConfigError where a column is gone."""
        ...

    def passages(self, settings: str) -> PassageSettings | None:
        """How long texts were cut; None where they were not."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Card:
    """Roles of the metadata columns where a row is shown as a card; None where none is set.

    Attributes:
        url: a column, or an address with columns or the key in braces.
        image_hosts: origins that pictures may come from.
        fields: columns that are shown; empty for all.
    """

    title: str | None = None
    image: str | None = None
    image_hosts: tuple[str, ...] = ()
    url: str | None = None
    snippet: str | None = None
    fields: tuple[str, ...] = ()

    def title_column(self, columns: Iterable[str]) -> str | None:
        """Which of the columns says what a row is called: that of this card, or one with a usual name, in whatever
        case it is written. None where there is none."""
        there = list(columns)
        if self.title in there:
            return self.title
        named = {name.lower(): name for name in there}
        return next((named[title] for title in TITLES if title in named), None)

    def title_of(self, metadata: Mapping[str, Any]) -> str:
        """What a row is called; "" where no column says it. An object or a list of JSON is not a name."""
        column = self.title_column(metadata)
        value = None if column is None else metadata[column]
        return "" if value is None or isinstance(value, dict | list) else str(value)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One declared mapping, its parts put together."""

    name: str
    source: Source
    to_document: Callable[[Row], Document]
    text_columns: tuple[str, ...]
    embedder: Embedder
    store: Store
    spec: TableSpec
    keep_missing: bool = False
    """`on_missing = "keep"`: rows gone from the source keep their vector."""
    page_size: int = 2000
    ranking: Ranking = Ranking()
    cursor: CursorSettings = field(default_factory=CursorSettings)
    former: Former | None = None
    passages: PassageSettings | None = None
    """How texts that do not fit the window are cut; None where a row has one vector and no more."""
    gate: Gate | None = None
    """What a new generation has to pass before searches see it."""
    reranker: Reranker | None = None
    typos: bool = False
    """Searches correct words that no row holds."""
    prefix: bool = False
    """Searches take the last word as the beginning of one."""
    partial: bool = False
    """Searches go on without parts of the store that do not answer."""
    query_embedder: SeparateQueries | None = None
    """What embeds queries, where that is not what embeds rows."""
    card: Card = field(default_factory=Card)
    """How the page shows a row."""
    replica: Store | None = None
    """The same store at a read replica, which searches ask."""
    renew: Callable[[Pipeline], Pipeline] | None = None
    """Opens the source again and gives a pipeline with its columns of now; all else stays."""

    @property
    def searching(self) -> Embedder:
        """What embeds queries: the embedder of the rows, unless another one goes with it."""
        separate = self.query_embedder
        return self.embedder if separate is None or separate.rows is not self.embedder else separate

    @property
    def searched(self) -> Store:
        """What searches ask. Books are kept, and looked at, in `store`."""
        return self.store if self.replica is None else self.replica

    @property
    def documents(self) -> Callable[[Row], Document]:
        """`to_document`, with text hashes that cover the model too: those of the ledger."""
        return covering(self.to_document, self.spec.fingerprint)

    def current(self) -> Pipeline:
        """Itself; where the source has other columns than when it was opened, a pipeline that reads those.

        Raises:
            ConfigError: a column that the config names is gone, or has a type that does not suit.
            SourceError, SourceUnavailable: the source cannot be read now.
        """
        if self.renew is None or not isinstance(self.source, Retyped) or not self.source.retyped():
            return self
        return self.renew(self)

    def leave(self) -> None:
        """Close what a pipeline that took its place does not share with it."""
        if self.former is not None:
            self.former.close()
        self.source.close()

    def cutter(self) -> Cutter | None:
        """
        Raises:
            ConfigError: passages would be longer than the model's window.
        """
        if self.passages is None or isinstance(self.embedder, AbsentEmbedder):
            return None
        return Cutter(self.passages, self.embedder)

    def close(self) -> None:
        if self.reranker is not None:
            self.reranker.close()
        if self.query_embedder is not None:
            self.query_embedder.close()
        self.embedder.close()
        if self.replica is not None:
            self.replica.close()
        self.store.close()
        self.leave()


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may ask of one plan or sync."""

    selection: Selection | None = None
    limit: int | None = None
    force: bool = False
    """Write again even what has not changed."""
    reuse: bool = False
    """With `force`: from vectors that are stored, as far as there are some."""
    full: bool = False
    """Compare every row, whatever a cursor or change events say."""
    retry_failed: bool = False
    """Only rows that failed before, whether their next try is due or not."""
    allow_delete: bool = False
    """Go on although more than half of the vectors would be deleted."""
    after: Key | None = None
    until: Key | None = None
    changed: Sequence[Key] | None = None
    """Only these rows: those that a cursor tells of (`rowvec.syncing.cursor`)."""

    followed: bool = False
    """The database named the rows of the selection as they changed: what it costs must not grow with the table."""
    exhaustive: bool = False
    """The rows of the selection are all that need a vector."""

    @property
    def whole(self) -> bool:
        """Every row is looked at, so that what is missing from the source can be told."""
        bounds = (self.selection, self.limit, self.after, self.until, self.changed)
        return all(bound is None for bound in bounds) and not self.retry_failed

    @property
    def names_rows(self) -> bool:
        """Every row that the user named is looked at, so that those missing from the source can be told."""
        return self.selection is not None and self.limit is self.after is self.until is None
