"""One reading of files: what each column holds, which of them are unique, and some rows from all over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from rowvec.errors import SourceError
from rowvec.sources.files.base import Format, Types
from rowvec.sources.files.reading import check_same, reading, rows_of
from rowvec.sources.propose.proposal import SAMPLED
from rowvec.sources.storage import File
from rowvec.sources.told_types import Tally, widened
from rowvec.types import ColumnType

ROWS = 200_000
"""Rows that are looked at: all of most files, read in a few seconds."""
HEADS = 20
"""Files that declare their types of which this many are looked at."""
_LEAST, _AT_ONCE = 1_000, 2_000
_LONGEST_KEY = 200
_UNREAD = frozenset({ColumnType.JSON, ColumnType.ARRAY, ColumnType.BYTES})
"""Nothing is proposed for what a Parquet file declares so, and it can be large."""


class Survey:
    """
    Attributes:
        types: of every column; None where no value tells it.
        nulls: rows without a value, by column.
        twice: a value that two rows have, of each column that is not unique.
        sample: values of some rows from all over the files, by column.
        whole: all rows were looked at.
    """

    def __init__(self, files: Sequence[File], form: Format) -> None:
        self.files, self._form = files, form
        self.types: Types = {}
        self.rows, self.whole = 0, True
        self.nulls: Counter[str] = Counter()
        self.twice: dict[str, Any] = {}
        self._known: dict[str, set[int]] = {}
        self._kept: list[Mapping[str, Any]] = []
        self._step = 1
        self._tally = Tally(numbers=bool(form.numbers_in_text))
        self._read_headings()
        self._read()
        if form.numbers_in_text is not None:
            self.types |= self._tally.types
        for name in self.types:
            # A column that came late is null in the rows before it.
            self.nulls[name] += self.rows - self._seen[name]
        self.sample = {name: [row.get(name) for row in self._kept] for name in self.types}

    def unique(self, name: str) -> bool:
        """Whether no row is without it and no two rows have the same."""
        return not self.nulls[name] and name not in self.twice and name in self._known

    def rows_with(self, name: str, value: Any) -> list[str]:
        """Where the first two rows are that have this value."""
        several = len(self.files) > 1
        places = (
            (f"{file.name}, " if several else "") + f"{self._form.line} {line}"
            for file in self.files
            for line, row in rows_of(file, self._form, [name])
            if str(row.get(name)) == str(value)
        )
        return list(islice(places, 2))

    def _read_headings(self) -> None:
        declares = self._form.numbers_in_text is None
        for file in self.files[: HEADS if declares else None]:
            with reading(file):
                heading = self._form.heading(file)
            if self.types and self._form.same_columns:
                check_same(file, heading, self.files[0], self.types)
            for name, kind in heading.items():
                self.types[name] = widened(self.types.get(name), kind)

    def _read(self) -> None:
        self._seen: Counter[str] = Counter()
        names = [name for name, kind in self.types.items() if kind not in _UNREAD]
        for number, file in enumerate(self.files):
            # Of many files each has its share, so that the last ones count too.
            share = max((ROWS - self.rows) // (len(self.files) - number), _LEAST)
            rows = rows_of(file, self._form, names)
            some = (row for _, row in islice(rows, share))
            while chunk := list(islice(some, _AT_ONCE)):
                self._take(chunk)
            if next(rows, None) is not None:
                self.whole = False
        if not self.rows:
            named = self.files[0].name if len(self.files) == 1 else "Each of the files"
            raise SourceError(f"{named} has no rows.", hint="What is proposed depends on values: add some rows first.")

    def _take(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._keep(rows)
        self.rows += len(rows)
        for name, values in _columns(rows):
            self._seen[name] += len(values)
            there = [value for value in values if value is not None and value != ""]
            self.nulls[name] += len(values) - len(there)
            if self._form.numbers_in_text is not None:
                self._tally.see(name, values)
            if name not in self.twice and not self.nulls[name]:
                self._compare(name, there)

    def _keep(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """At regular distances, so that the sample is from all over and its size has a bound."""
        self._kept += [row for number, row in enumerate(rows, self.rows) if number % self._step == 0]
        while len(self._kept) > 2 * SAMPLED:
            self._kept = self._kept[::2]
            self._step *= 2

    def _compare(self, name: str, values: Sequence[Any]) -> None:
        known = self._known.setdefault(name, set())
        for value in values:
            said = str(value)
            mark = hash(said)
            if mark in known or len(said) > _LONGEST_KEY:
                self.twice[name] = value if mark in known else None
                del self._known[name]
                return
            known.add(mark)


def _columns(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Any]]]:
    found: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    yield from found.items()
