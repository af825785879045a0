"""What every kind of source, embedder and store has in its table of rowvec.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rowvec.config.fields import Count, Language, Names, Section

if TYPE_CHECKING:
    from rowvec.sources.base import CursorSettings


class SourceConfig(Section):
    """Where rows come from."""

    kind: str
    key: str
    """The key column: unique, never null."""
    page_size: Count = 2000
    """Rows read at once."""

    @property
    def cursor_settings(self) -> CursorSettings:
        """How far a cursor is trusted."""
        # Here: what a source is made of needs numpy, and reading a config does not.
        from rowvec.sources.base import CursorSettings

        return CursorSettings()

    @property
    def rows_url(self) -> str | None:
        """The URL of the database that holds the rows; None if that is not a database."""
        return None


class EmbedderConfig(Section):
    """Which model makes the vectors."""

    kind: str

    not_kept: ClassVar[frozenset[str]] = frozenset()
    """Fields that a store never keeps with a generation, such as a key."""
    of_the_machine: ClassVar[frozenset[str]] = frozenset()
    """Fields that do not affect vectors: a former model is loaded with today's values."""


class StoreConfig(Section):
    """Where vectors are kept."""

    kind: str
    texts: bool = True
    """Keep the text of each row, so that a search can show where it answers."""
    metadata: Names = ()
    """Columns of the source that are kept beside the vectors, for filters and hits."""
    language: Language = "english"
    """Language of keyword search: `"german"`, several in a list, `"auto"`, or `"simple"` for none; `""` for no keyword
    index."""

    @property
    def target(self) -> tuple[str, ...]:
        """What no two pipelines may share."""
        return (self.kind, repr(self))

    @property
    def targets(self) -> list[tuple[str, ...]]:
        """The same of every part, where rows are split."""
        return [self.target]

    @property
    def own_column(self) -> str | None:
        """The column of the user's own table that holds the vectors; None if the store has a table of its own."""
        return None

    @property
    def replica(self) -> StoreConfig | None:
        """Where searches find the same vectors; None where they find them in the store itself."""
        return None
