"""What a store of vectors can do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from rowvec.errors import NoVectors
from rowvec.filters import Facets, Filter, Order, Place
from rowvec.stores.guarding import Refusal, Standing
from rowvec.stores.index import VectorIndex
from rowvec.stores.ledger import GenerationStatus, Ledger, Repeated, Written
from rowvec.stores.runs import RunRecords
from rowvec.stores.write_batch import WriteBatch
from rowvec.types import (
    Check,
    Column,
    ColumnType,
    Failure,
    Fingerprint,
    Generation,
    Key,
    Ranked,
    State,
    Stored,
    StoredText,
    TextVector,
    UnfitValue,
    Vector,
)

REPEATED_KEYS = 5
"""Keys that are named of rows with one text."""


TEXT_KEPT = 65_536
"""Characters of a row's text that a store keeps for showing it."""


@dataclass(frozen=True, slots=True)
class TableSpec:
    """The vector table a pipeline needs."""

    pipeline: str
    key: str
    key_type: ColumnType
    dimension: int
    metadata: tuple[Column, ...] = ()
    language: str | None = "english"
    """Of the keyword index: a text search configuration such as `english`, `russian` or `simple`; None for no index."""
    fingerprint: Fingerprint | None = None
    recipe: str = ""
    """Hash of the settings that turn a row into text: when it changes, the plan says so."""
    settings: str = ""
    """JSON of the embedder's and the text's settings, without secrets: the store keeps it with the generation, so that
    queries and changed rows can still be embedded when the config says something else."""
    keeps_texts: bool = True
    """The text of each row is kept too, so that a search can show where it answers."""
    keeps_words: bool = False
    """The words of the rows are kept as they are written too, so that a search can correct typos and complete words.
    They belong to the keyword index: without a language none are kept."""
    filled_elsewhere: bool = field(default=False, compare=False)
    """The generation has rows in other tables: that it has none in this one does not make it an empty one."""

    @property
    def has_passages(self) -> bool:
        """A row may have passages, with a vector each, beside its own."""
        return self.fingerprint is not None and self.fingerprint.passages != ""


class LastWord(NamedTuple):
    """The last word of a query that may not be typed to its end: one more word of the query, in many forms."""

    beginning: str
    """In lower case, without diacritics."""
    forms: tuple[str, ...] = ()
    """Words that it may become, as they are written. Their stems need not begin so."""


class LedgerHandle(Protocol):
    """What the rows of one generation were made from, and how they are written.

    Writing methods are called from one thread; the others may be called from several at the same time.
    """

    @property
    def index(self) -> VectorIndex | None:
        """None in a store that always compares every row."""
        ...

    def lookup(self, keys: Sequence[Key]) -> dict[Key, Stored]:
        """Hashes and past failures of those keys that are known."""
        ...

    def vectors_of_texts(self, hashes: Sequence[bytes]) -> dict[bytes, TextVector]:
        """Vectors already stored for identical texts, of rows and of passages. A row that has passages is none of
        them: its vector is not that of one text."""
        ...

    def keys(self, after: Key | None, limit: int) -> list[Key]:
        """Up to `limit` keys in the store's own order, `after` excluded; vectors and failures alike."""
        ...

    def count(self) -> int:
        """Rows in the vector table and rows known only as failures."""
        ...

    def standing(self) -> Standing:
        """The same, and whether a deletion was refused, in one question; after `prepare`."""
        ...

    def refusal(self) -> Refusal | None:
        """The deletion that was refused and neither allowed nor resolved since; works before `prepare`."""
        ...

    def write(self, batch: WriteBatch) -> int:
        """Carry out one batch in one transaction.

        An entry is written only where the ledger still holds `Entry.expected`. Returns the number of entries
        left out because it did not. With a row, the list of its unfit metadata is written, and all its passages take
        the place of those it had: whoever reads sees the row of before or of after, never some of both. An entry
        without passages, and a deletion, leave none. Where `TableSpec.keeps_texts` says so, the text of entries and
        updates is kept, its first `TEXT_KEPT` characters at least and all that its passages cover.

        Where `WriteBatch.guard` is given, the store keeps how many rows there were at a moment, and how many of these
        were deleted since (`GUARDED_FOR`, `over_half`). A new moment is kept before anything else is written: where
        none is known, and where the ledger has grown to twice the rows of the latest.

        Raises:
            DataRefused: a value in the batch is refused; nothing was written, and fewer rows at once may pass.
            DeletionGuard: the deletions of the batch take more than half of the rows of such a moment; nothing of it
                was written.
        """
        ...

    def offsets(self) -> dict[str, str]:
        """How far each stream of change events has been carried out: what `WriteBatch.offsets` said last."""
        ...

    def positions(self, keys: Sequence[Key]) -> dict[Key, str]:
        """What `WriteBatch.positions` said last of those keys, in whatever generation; a deleted row keeps it."""
        ...

    def failures(self, limit: int | None = None) -> list[Failure]:
        """Rows that could not be embedded or stored, latest first."""
        ...

    def unfit(self, keys: Sequence[Key] | None = None, limit: int | None = None) -> list[UnfitValue]:
        """Metadata values that are null because they do not fit their column, by column and key.

        Args:
            keys: only those of these rows.
        """
        ...

    def written(self, keys: Sequence[Key]) -> dict[Key, Written]:
        """When those rows got their vector or their metadata last; rows without a vector are left out."""
        ...

    def status(self) -> GenerationStatus: ...

    def truncated(self, limit: int) -> list[Key]:
        """Keys of up to `limit` rows of whose text the model left something out, in the store's own order."""
        ...

    def repeated(self, limit: int) -> list[Repeated]:
        """Up to `limit` texts that more than one row has, the most frequent first, each with up to REPEATED_KEYS."""
        ...


class RowsHandle(Protocol):
    """The rows of one generation as searches read them. May be used from several threads at the same time.

    Every method but `typical` takes a bound filter, `where`, and answers as if there were no other rows than those that
    it finds. So a search can be limited to some of the rows in one place: see `rowvec.searcher.within`.
    """

    @property
    def spec(self) -> TableSpec: ...

    def vector(self, key: Key, where: Filter | None = None) -> Vector | None:
        """The stored vector of a row."""
        ...

    def vectors(self, after: Key | None, limit: int, where: Filter | None = None) -> list[tuple[Key, Vector]]:
        """Up to `limit` rows that have a vector, in the store's own order of keys, `after` excluded."""
        ...

    def nearest(self, vector: Vector, limit: int, where: Filter | None = None, *, exact: bool = False) -> Ranked:
        """Keys by falling similarity (cosine, negative distance or inner product, as the metric says).

        The score of a row that has passages is half the similarity of its best passage and half that of its own
        vector. `limit` counts rows.

        Args:
            exact: compare every row and passage instead of asking an approximate index.
        """
        ...

    def similarities(self, vector: Vector, keys: Sequence[Key], where: Filter | None = None) -> dict[Key, float]:
        """The scores that `nearest` gives these rows; rows without a vector are left out."""
        ...

    def typical(self, vector: Vector) -> float | None:
        """The mean similarity of all rows to it, estimated by a sample of different texts (see
        `rowvec.stores.typical`), which is at most a minute old. None without rows."""
        ...

    def keyword(self, query: str, limit: int, where: Filter | None = None, *, last: LastWord | None = None) -> Ranked:
        """Keys by falling BM25 score of their text. Words that no row holds match nothing; an empty query too.

        Args:
            last: counts as one more word of the query, which a row holds that has a word that begins so.
        """
        ...

    def holding(self, words: Sequence[str]) -> dict[str, int]:
        """How many rows hold each of these words, in any form of it, as `keyword` finds them; words that no row holds
        are left out. Replaced and deleted rows may be counted where there are others."""
        ...

    def kept_words(self, known: Collection[int] = ()) -> dict[int, str] | None:
        """The words of the rows as they are written (`rowvec.words.written`), in numbered parts, with blanks between
        the words; None where they are not kept. A part does not change. Words of rows that are gone may be there.

        Args:
            known: parts that are left out.
        """
        ...

    def browse(
        self,
        limit: int,
        where: Filter | None = None,
        *,
        order: Order | None = None,
        offset: int = 0,
        after: Place | None = None,
    ) -> list[Key]:
        """Up to `limit` rows that have a vector, as `filters.browsed` orders them; by key where there is no order.

        Args:
            offset: this many of them are left out first.
            after: only those that come after this place in the order.
        """
        ...

    def facets(self, columns: Sequence[Column], where: Filter | None = None, *, most: int = 10) -> Facets:
        """Counts over all rows that have a vector and pass the filter, as `filters.facets_of` defines them.

        Args:
            columns: as `filters.facet_columns` gave them; none to count the rows only.
            most: values that are listed of each column.
        """
        ...

    def metadata(self, keys: Sequence[Key], where: Filter | None = None) -> dict[Key, Mapping[str, Any]]: ...

    def texts(
        self, keys: Sequence[Key], vector: Vector | None = None, where: Filter | None = None
    ) -> dict[Key, StoredText]:
        """The kept texts of those rows, each with its passages; rows without one are left out.

        Args:
            vector: give each passage its similarity to it.
        """
        ...


class GenerationHandle(LedgerHandle, RowsHandle, Protocol):
    """The rows of one generation: what they were made from, their vectors, and the searches among them.

    A handle does not change: what another thread opens or a sync prepares is another handle. When generations swap
    places, it speaks of whatever has its names then, or raises StoreError; `Store.live_version` tells.
    """


class SearchedStore(Protocol):
    """What searches ask of a store."""

    location: str
    """Database and table for messages, without a password."""

    def ledger(self) -> Ledger:
        """Look without changing anything; works before `prepare`."""
        ...

    def generation(self, spec: TableSpec) -> GenerationHandle | None:
        """The vectors of this fingerprint, complete or not, as they stand; nothing is created or changed.

        None where there are none: no table, or no generation of this fingerprint yet.
        """
        ...

    def live_version(self) -> str:
        """Another one as soon as another generation is live. Cheap: every search asks before its answer goes out."""
        ...

    def generations(self, spec: TableSpec) -> list[Generation]:
        """The live one, the one being built and the previous one, as far as they exist; works before `prepare`.

        Args:
            spec: names the key; its fingerprint does not count.
        """
        ...


class Store(SearchedStore, RunRecords, Protocol):
    """Vectors beside the hashes of what they were made from: the lock, the books, and the generations.

    The rows of a generation are read and written by its handle. Every method raises StoreUnavailable when the database
    does not answer and StoreError when it refuses.
    """

    def identity(self) -> str:
        """Which store this is, however it is reached: a random id, made with rowvec's own tables. A copy has the id of
        its original.

        "" where rowvec has made nothing there yet.
        """
        ...

    def prepare(self, spec: TableSpec) -> GenerationHandle:
        """Create what is missing, or check that what exists is a rowvec table of this shape; returns what to fill.

        Where the vectors were made by another fingerprint, a new generation is opened beside them, or the one
        that a former sync began is taken up (see `rowvec.stores.generation_policy`); searches go on with the old one
        until `activate`.

        Raises:
            StoreError: no vector extension, no permission, another dimension, another key or metadata
                type, or a table that rowvec did not make.
        """
        ...

    def activate(self, spec: TableSpec) -> None:
        """A sync has compared every row with `spec`: its recipe and its generation are now the live ones.

        Raises:
            StoreError: others read the table without a pause; nothing was changed.
        """
        ...

    def rollback(self, spec: TableSpec) -> None:
        """Swap the previous generation and the live one, in one transaction.

        Args:
            spec: names the key; its fingerprint does not count.

        Raises:
            StoreError: there is no previous generation.
        """
        ...

    def drop_generation(self, state: State, spec: TableSpec) -> None:
        """Raises StoreError when there is none in that state, and for the live one."""
        ...

    def checks(self, spec: TableSpec) -> list[Check]:
        """The lines that `rowvec check` prints for this store."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Hold the pipeline's lock for the length of a sync.

        Raises:
            Locked: somebody else holds it; the message says who and since when.
        """
        ...

    def holder(self) -> str | None:
        """Who holds that lock now, and since when, in words; None where nobody does."""
        ...

    def close(self) -> None: ...


def existing(store: SearchedStore, spec: TableSpec) -> GenerationHandle:
    """The generation of this fingerprint.

    Raises:
        NoVectors: there are none of it.
    """
    found = store.generation(spec)
    if found is None:
        raise no_vectors(store)
    return found


def no_vectors(store: SearchedStore) -> NoVectors:
    return NoVectors(f"{store.location} holds no vectors yet.", hint="Run `rowvec sync` first.")
