"""The items of an RSS feed, as rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from rowvec.errors import SourceError
from rowvec.sources.base import Selection
from rowvec.types import Column, ColumnType, Key, Row

NAMES = ("guid", "title", "description", "category", "link")


class FeedSource:
    """Every `<item>` of a file, by its `<guid>`. The file is read again for each page, as a table would be."""

    key = "guid"
    key_type = ColumnType.TEXT
    columns: Sequence[Column] = tuple(Column(name, ColumnType.TEXT) for name in NAMES)

    def __init__(self, path: Path) -> None:
        self.location = path.name
        self._path = path

    def select(self, columns: Sequence[str]) -> None:
        """Items are small: they are read whole."""

    def count(self, selection: Selection | None = None) -> int:
        return len(self._rows(selection))

    def pages(
        self, size: int, *, selection: Selection | None = None, after: Key | None = None, until: Key | None = None
    ) -> Iterator[list[Row]]:
        while True:
            rows = [row for row in self._rows(selection) if _between(str(row.key), after, until)]
            if not rows:
                return
            yield rows[:size]
            after = rows[:size][-1].key

    def existing(self, keys: Sequence[Key]) -> set[Key]:
        return {row.key for row in self._rows(None)} & set(keys)

    def close(self) -> None:
        pass

    def _rows(self, selection: Selection | None) -> list[Row]:
        try:
            items = ElementTree.parse(self._path).getroot().iter("item")
        except FileNotFoundError:
            raise SourceError(f"{self._path} does not exist.", hint="Check source.path.") from None
        except ElementTree.ParseError as error:
            raise SourceError(f"{self.location} is not an RSS file: {error}.", hint="Check source.path.") from None
        found: dict[str, Row] = {}
        for number, item in enumerate(items, 1):
            values = {name: item.findtext(name) for name in NAMES}
            key = values["guid"]
            if not key or key in found:
                problem = "has no guid" if not key else f"has the guid {key!r} of another item"
                raise SourceError(f"{self.location}: item {number} {problem}.", hint="A key is unique and never empty.")
            found[key] = Row(key, values)
        chosen = found if selection is None else set(selection.keys) & found.keys()
        return [found[key] for key in sorted(found) if key in chosen]


def _between(key: str, after: Key | None, until: Key | None) -> bool:
    return (after is None or key > str(after)) and (until is None or key <= str(until))
