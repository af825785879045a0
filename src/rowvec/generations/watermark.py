"""How far a cursor column was read, as a generation remembers it."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field

from rowvec.sources.base import CursorValue
from rowvec.sources.cursor_values import value_of
from rowvec.support.stored import from_json, json_object, moment

STREAM = "cursor"
"""The name that the mark is kept under, beside the offsets of change events."""


@dataclass(frozen=True, slots=True)
class Watermark:
    """What is remembered of the last sync that read everything there was to read."""

    highest: CursorValue
    compared_at: dt.datetime
    """When all rows were compared last."""
    settings: str
    """Hash of what decides which rows become which vectors."""
    entries: int = 0
    """Rows of the ledger when that sync ended."""
    unembedded: int = 0
    """How many rows of the source had no entry: their text was empty."""
    rows: int | None = None
    """How many the source held when that sync ended; None where an older rowvec did not count them."""
    empty: tuple[str, ...] = ()
    """Keys of rows that the cursor named and that had no entry after it, as far as there is room for them."""

    def encoded(self) -> str:
        kind = type(self.highest).__name__
        highest = self.highest.isoformat() if isinstance(self.highest, dt.date) else self.highest
        return json.dumps(
            {
                "highest": [kind, highest], "compared_at": self.compared_at.isoformat(), "settings": self.settings,
                "entries": self.entries, "unembedded": self.unembedded, "rows": self.rows, "empty": self.empty,
            }
        )  # fmt: skip

    @classmethod
    def decoded(cls, text: str) -> Watermark | None:
        """None where an older or a newer rowvec wrote what this one cannot read: then all rows are compared."""
        said = json_object(text)
        highest, compared_at = value_of(said.get("highest")), moment(said.get("compared_at"))
        if highest is None or compared_at is None:
            return None
        counts = from_json(Counts, said)
        rows = counts.rows if counts.rows >= 0 else None
        return cls(
            highest,
            compared_at,
            counts.settings,
            counts.entries,
            counts.unembedded,
            rows,
            tuple(map(str, counts.empty)),
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """What a watermark may lack."""

    settings: str = ""
    entries: int = 0
    unembedded: int = 0
    rows: int = -1
    empty: list[str] = field(default_factory=list)
