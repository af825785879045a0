"""What is proposed, and the choice of columns that tables and files share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rowvec.sources.column_worth import is_category, is_long, is_measure, is_prose, rank
from rowvec.types import Column, ColumnType

KEY_TYPES = frozenset({ColumnType.INTEGER, ColumnType.TEXT, ColumnType.UUID})
SAMPLED = 500
"""Rows whose values are looked at to tell what a column is good for."""
_CURSORS = (
    "ingested_at",
    "updated_at",
    "modified_at",
    "changed_at",
    "last_modified",
    "modified",
    "updated",
    "created_at",
)
_DELETED = ("deleted", "is_deleted", "_deleted", "archived", "is_archived")
_ACTIVE = ("is_active", "active", "enabled", "is_enabled", "published", "is_published")
_MOST_METADATA = 8
_CHARACTERS = 1_000
"""What is looked at of each row to tell its language."""


@dataclass(frozen=True, slots=True)
class Files:
    """What a pipeline over files says of them."""

    paths: tuple[str, ...]
    count: int
    whole: bool
    """Every row was looked at; otherwise as many as `Proposal.rows` says."""
    format: str | None = None
    """None where the names of the files say it."""
    delimiter: str | None = None
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    """Of columns whose type would depend on which rows are read."""
    cursor: str | None = None
    """A column that may grow with each change."""
    named_key: bool = True
    """The key is called, or written, as an id is."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One table or view, or files that are one table, as a pipeline could read it."""

    table: str
    """What `source.table` takes; a name for files."""
    rows: int | None
    """About how many there are; None where only counting would tell."""
    key: str | None
    key_note: str
    """Why this key, or why there is none."""
    columns: tuple[Column, ...]
    text: tuple[str, ...]
    """Columns worth embedding, the most telling first."""
    metadata: tuple[str, ...]
    cursor: str | None
    where: str | None
    is_view: bool = False
    language: str = "english"
    """For keyword search, by what some rows say."""
    texts: tuple[str, ...] = ()
    """The beginning of what some rows say."""
    lengths: tuple[int, ...] = ()
    """Characters that each of these rows says in all."""
    files: Files | None = None
    """None for a table."""


Judge: TypeAlias = Callable[[Callable[[Column, str, Sequence[Any]], bool], Column], bool]


def judge_of(declared: Mapping[str, str], values: Mapping[str, Sequence[Any]]) -> Judge:
    """Asks one of the tests of `column_worth` about a column.

    Args:
        declared: a database's own name of each column's type.
        values: those of some rows.
    """

    def judge(test: Callable[[Column, str, Sequence[Any]], bool], column: Column) -> bool:
        return test(column, declared.get(column.name, ""), values.get(column.name, ()))

    return judge


def cursor_of(columns: Sequence[Column]) -> str | None:
    by_name = {column.name.lower(): column.name for column in columns}
    return next((by_name[each] for each in _CURSORS if each in by_name), None)


def flag_of(columns: Sequence[Column]) -> tuple[Column | None, bool]:
    """The column that marks rows as deleted or active, and whether it is the former."""
    by_name = {column.name.lower(): column for column in columns}
    for names, deleted in ((_DELETED, True), (_ACTIVE, False)):
        for name in names:
            if name in by_name:
                return by_name[name], deleted
    return None, False


def text_of(columns: Sequence[Column], taken: set[str | None], judge: Judge) -> tuple[str, ...]:
    prose = [column.name for column in columns if column.name not in taken and judge(is_prose, column)]
    return tuple(sorted(prose, key=rank))


def metadata_of(
    columns: Sequence[Column], taken: set[str | None], text: tuple[str, ...], judge: Judge
) -> tuple[str, ...]:
    short = [column for column in columns if not judge(is_long, column)]
    first = [column.name for column in short if column.name in text[:1]]
    free = [column for column in short if column.name not in {*taken, *text[:1]}]
    chosen = [column.name for column in free if judge(is_category, column)]
    measured = [column.name for column in free if is_measure(column)]
    return (*first, *chosen, *measured)[:_MOST_METADATA]


def said_by(values: Mapping[str, Sequence[Any]], columns: Sequence[str]) -> list[str]:
    """Of each sampled row what its text columns say."""
    rows = zip(*(values.get(name, ()) for name in columns), strict=True)
    return [" ".join(str(value) for value in row if value is not None) for row in rows]


def beginnings(texts: Sequence[str]) -> list[str]:
    """As much of each as tells its language."""
    return [text[:_CHARACTERS] for text in texts]
