"""What a store already holds."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import NamedTuple

from rowvec.stores.index import IndexStatus
from rowvec.types import Fingerprint, Key


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a store already holds for a pipeline."""

    exists: bool
    filled: bool = False
    """It has rows. How many is not counted: this is looked at for every change that is followed."""
    fingerprint: Fingerprint | None = None
    recipe: str = ""
    settings: str = ""
    version: str = ""
    """See `Store.live_version`."""


@dataclass(frozen=True, slots=True)
class GenerationStatus:
    """A generation in numbers."""

    rows: int
    """With a vector."""
    failures: int
    stale: int
    """Failures of rows that keep an old vector."""
    truncated: int
    """Rows whose text was longer than the model's window."""
    bytes: int
    """With its indexes."""
    passages: int = 0
    """Vectors of passages, beside those of the rows."""
    divided: int = 0
    """Rows that have passages."""
    unfit: int = 0
    """Metadata values that are null because they do not fit their column."""
    index: IndexStatus | None = None
    """That searches use; None where they compare every row."""
    engine: str = ""
    """What compares vectors, with its version."""


class Written(NamedTuple):
    """When a store wrote a row last, and whether its text was longer than the model's window."""

    at: dt.datetime | None
    """With a time zone; None in a table of the user's own, which has no column for it."""
    truncated: bool


class Repeated(NamedTuple):
    """Rows of one text."""

    rows: int
    keys: tuple[Key, ...]
    """Some of them."""
