"""What a store keeps for the deletion guard; see `rowvec.syncing.deletion`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rowvec.errors import DeletionGuard
from rowvec.support.figures import count

HINT = (
    "If that is right, run it again with --allow-delete; if not, look at the source, its `where` and the text settings."
)


class Refusal(NamedTuple):
    """What the deletion guard would not delete, until it is allowed or no longer asked for."""

    since: dt.datetime
    said: str

    @property
    def words(self) -> str:
        """For whoever looks while it stands."""
        return f"{self.said} Refused since {self.since:%Y-%m-%d %H:%M} UTC."

    def as_dict(self) -> dict[str, Any]:
        return self._asdict()


class Standing(NamedTuple):
    rows: int
    """In the ledger, as `GenerationHandle.count` counts them."""
    refusal: Refusal | None
    filling: bool = False
    """The ledger began empty, and no sync of all rows has ended since."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Rows of the same ledger that are in other tables than the one whose guard counts them."""

    rows: Callable[[], int]
    """How many there are; asked only where it is needed."""
    deleted: Sequence[dt.datetime]
    """Of those that the batch deletes, since when they were there."""


@dataclass(frozen=True, slots=True)
class Guarding:
    """What a batch tells the deletion guard; see `rowvec.syncing.deletion`."""

    rows: int | None = None
    """In the ledger before the run; None where that was not counted."""
    allowed: bool = False
    """The user allows its deletions: the guard begins again with what they leave."""
    refused: str = ""
    """This deletion was refused: to be remembered, with these words unless another one stands."""
    resolved: bool = False
    """All rows were compared, and what they asked for was deleted: no refusal stands any more."""
    filled: bool = False
    """The first sync of all rows has ended: moments before it, of which nothing was deleted, are not a measure."""
    told: bool = False
    """Change events ask for its deletions: the rows of a moment before a stream filled the ledger, which holds
    `OUTGROWN` times as many now, are not a measure."""
    elsewhere: Elsewhere | None = None
    """None where one table holds all rows."""


GUARDED_FOR = dt.timedelta(days=3)
"""So long at least, at most half of the rows of a moment are deleted unasked. A fault that begins on a Friday evening
is still held back on Monday, and a table whose rows live for a week or longer never meets it."""


OUTGROWN = 4
"""See `Guarding.told`."""


def over_half(location: str, rows: int, since: dt.datetime) -> DeletionGuard:
    return DeletionGuard(
        f"More than half of the {count(rows, 'row')} that {location} held on"
        f" {since.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC would be deleted since then."
    )
