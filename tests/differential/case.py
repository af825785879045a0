"""One table that is followed as a user follows one, command after command."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from rowvec.auditing.audit import audit
from rowvec.errors import DeletionGuard, RowvecError
from rowvec.filters import bind, from_json
from rowvec.pipeline import Options, Pipeline
from rowvec.searcher import Searcher
from rowvec.searcher.candidates import score_of
from rowvec.stores.runs import Report
from rowvec.syncing.preview import preview
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from rowvec.types import ColumnType
from tests.differential.net import DIMENSION, Net
from tests.differential.values import Told
from tests.differential.worlds import Key, Table

ASKED: Mapping[ColumnType, Callable[[str], Any]] = {
    ColumnType.TEXT: str, ColumnType.UUID: str, ColumnType.INTEGER: int, ColumnType.DECIMAL: Decimal,
}  # fmt: skip
"""What the text of a value is in a filter."""
COMMON = frozenset({"about", "after", "again", "never", "these", "those", "words"})
"""Words that may be those which a language leaves out."""


@dataclass
class Case:
    """
    Attributes:
        gone: rows that were deleted, with what they said.
    """

    net: Net
    table: Table
    chance: random.Random
    gone: dict[Key, list[Told]] = field(default_factory=dict)

    def begin(self) -> None:
        """The first syncs: of all rows, of nothing, of one change and one deletion."""
        self.declare()
        with self.pipeline() as pipeline:
            preview(pipeline, Options())
            first = sync(pipeline)
            assert (first.failed, first.inserted + first.empty) == (0, len(self.table.rows)), first.reasons
            types = pipeline.spec.metadata
        before = self.compare()
        self.nothing_to_do()
        self.change_and_delete(types, before)
        self.compare()

    def end(self) -> None:
        stored = self.compare()
        self.nothing_to_do()
        with self.pipeline() as pipeline:
            found = audit(pipeline, sample=100)
            assert not found.findings, list(found.findings.values())
            self.search(pipeline, stored)

    def declare(self) -> None:
        self.net.declare(self.table)

    def pipeline(self, refused: Iterable[str] = ()) -> AbstractContextManager[Pipeline]:
        return self.net.pipeline(refused)

    def nothing_to_do(self) -> None:
        with self.pipeline() as pipeline:
            again = sync(pipeline, Options(full=self.chance.random() < 0.3))
        assert (again.written, again.texts, again.failed, again.deleted) == (0, 0, 0, 0), again.reasons

    def change_and_delete(self, types: Any, before: dict[str, Any]) -> None:
        table, world = self.table, self.net.world
        changed, gone = self.chance.sample(list(table.rows), 2)
        self.gone[gone] = table.rows.pop(gone)
        table.rows[changed] = world.row(self.chance, table)
        world.delete(table, gone)
        world.delete(table, changed)
        world.insert(table, [changed])
        texts = [table.texts().get(key, "") for key in before]
        lost, open_ = texts.count(""), texts.count(None)
        with self.pipeline() as pipeline:
            if 2 * lost <= len(before) < 2 * (lost + open_):
                second = sync(pipeline, Options(allow_delete=True))
            else:
                second = guarded(pipeline, too_many=2 * lost > len(before))
            assert second.failed == 0
            # A column whose type is told by its values can be of another one now: its other values may be others too.
            updated = second.updated if pipeline.spec.metadata == types else 0
            assert second.embedded + updated + second.inserted <= 1, second.reasons

    def written_again(self) -> Report:
        """The whole table in the place of what was there, and what is said of it."""
        self.net.world.write(self.table)
        self.declare()
        with self.pipeline() as pipeline:
            report = sync(pipeline, Options(allow_delete=True))
        assert report.failed == 0, report.reasons
        return report

    def compare(self) -> dict[str, Any]:
        table = self.table
        kept = self.net.shown(self.net.kept)
        stored = self.net.stored(kept)
        expected = table.texts()
        assert set(stored) <= set(expected)
        model = HashEmbedder(DIMENSION)
        off = 1e-3 if self.net.settings.get("storage") == "halfvec" else 1e-6
        for key, text in expected.items():
            if text is not None:
                assert (key in stored) == bool(text), (key, text)
            if text:
                assert np.allclose(stored[key][0], model.embed_query(text), atol=off), (key, text)
        rows = {str(key): told for key, told in table.rows.items()}
        places = {name: place for place, (name, _) in enumerate(table.columns)}
        for key, (_, *values) in stored.items():
            for name, value in zip(kept, values, strict=True):
                kind, text = table.columns[places[name]][1], rows[key][places[name]][1]
                if kind in self.net.world.literal and text is not None:
                    assert ("" if value is None else str(value).strip()) == text, (key, kind, value, text)
        return stored

    def search(self, pipeline: Pipeline, stored: dict[str, Any]) -> None:
        table = self.table
        # A longer query is refused.
        known = {key: text for key, text in table.texts().items() if text and len(text) <= 10_000}
        searcher = Searcher.of(pipeline)
        if known:
            key, text = self.chance.choice(sorted(known.items()))
            # A query has no white space at its ends.
            if text == text.strip():
                best = searcher.search(text, limit=len(table.rows)).hits
                near = score_of(best[0]) - 1e-3
                assert key in {str(hit.key) for hit in best if score_of(hit) >= near}
        if self.net.settings.get("language") != "":
            for mode in ("keyword", "hybrid"):
                searcher.search("plain words", mode=mode, limit=3)
            self.words(searcher, known)
        assert len(searcher.search("x", limit=1000).hits) == len(stored)
        self.filters(pipeline, searcher, stored)

    def words(self, searcher: Searcher, known: dict[str, str]) -> None:
        """A word of a row finds the row."""
        if not known:
            return
        key, text = self.chance.choice(sorted(known.items()))
        words = {word for word in re.findall(r"(?<![^\s])[a-z]{5,20}(?![^\s])", text) if word not in COMMON}
        if words:
            word = self.chance.choice(sorted(words))
            found = searcher.search(word, mode="keyword", limit=1000).hits
            assert key in {str(hit.key) for hit in found}, (key, word)

    def filters(self, pipeline: Pipeline, searcher: Searcher, stored: dict[str, Any]) -> None:
        """A value that is stored finds its rows, and nulls are told from what is there."""
        shown = self.net.shown(self.net.kept)
        kinds = dict(self.table.columns)
        types = {column.name: column.type for column in pipeline.spec.metadata}
        for place, name in enumerate(shown, 1):
            nulls = (None, "NaN") if types[name] in (ColumnType.NUMBER, ColumnType.DECIMAL) else (None,)
            empty = {key for key, values in stored.items() if values[place] in nulls}
            asked: list[tuple[Any, set[str], bool]] = [
                (None, empty, True),
                ({"is_null": False}, set(stored) - empty, True),
            ]
            there = sorted({str(values[place]) for values in stored.values() if values[place] is not None})
            if there and kinds[name] in self.net.world.literal and types[name] in ASKED:
                text = self.chance.choice(there)
                keys = {key for key, values in stored.items() if str(values[place]) == text}
                # Text of any case, and a number with other digits behind its point, are equal too.
                asked.append((ASKED[types[name]](text), keys, False))
            for condition, keys, alone in asked:
                where = bind(from_json({quoted_reference(name): condition}), pipeline.spec.metadata)
                found = {str(hit.key) for hit in searcher.search("x", limit=1000, where=where).hits}
                assert found == keys if alone else found >= keys, (name, kinds[name], condition, found, keys)


def quoted_reference(name: str) -> str:
    """A column, whatever it is called, in the JSON of a filter."""
    return '"' + name.replace('"', '""') + '"'


def refuse(pipeline: Pipeline, time: int, expected: type[RowvecError] = DeletionGuard) -> None:
    """A sync that ends in this error.

    Args:
        time: how often it has done so already.
    """
    try:
        report = sync(pipeline)
    except expected:
        return
    raise AssertionError(f"was not refused, {time} times before: {report}")


def guarded(pipeline: Pipeline, *, too_many: bool) -> Report:
    """Where more than half of the rows go, that is refused until it is allowed."""
    if too_many:
        for time in range(2):
            refuse(pipeline, time)
    return sync(pipeline, Options(allow_delete=too_many))
