"""A row of the table `rowvec_generations`: what the store keeps of one generation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from rowvec.stores.libsql.database import Values
from rowvec.stores.libsql.schema import WORDS
from rowvec.stores.libsql.values import quoted
from rowvec.stores.migrations import fingerprint_of
from rowvec.support.stored import from_json
from rowvec.types import Fingerprint, State


@dataclass(frozen=True, slots=True)
class GenerationRow:
    """A row of `rowvec_generations`, column by column."""

    state: State
    number: int
    pipeline: str
    key: str
    key_type: str
    dimension: int
    metric: str
    metadata: str
    """JSON: name and type of each column."""
    language: str | None
    """Of the keyword index, and its format."""
    fingerprint: Fingerprint | None
    recipe: str
    settings: str
    since: str
    """In this state."""
    undone: bool
    vector_index: str | None = None

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> GenerationRow:
        """Raises ValueError where it does not say which model made its vectors."""
        made = row.get("fingerprint")
        values = {
            **row,
            "state": STATES[row["state"]],
            "fingerprint": None if made is None else fingerprint_of(made),
            "undone": bool(row.get("undone")),
        }
        return from_json(cls, values)

    @property
    def has_passages(self) -> bool:
        return self.fingerprint is not None and self.fingerprint.passages != ""

    @property
    def column_types(self) -> dict[str, str]:
        """None of what another version of rowvec wrote in a way of its own."""
        try:
            return {str(name): str(kind) for name, kind in json.loads(self.metadata)}
        except (TypeError, ValueError):
            return {}

    def row(self) -> Values:
        values = {name: getattr(self, name) for name in FIELDS}
        made = json.dumps(self.fingerprint.as_dict()) if self.fingerprint else None
        return tuple({**values, "state": WORDS[self.state], "fingerprint": made, "undone": int(self.undone)}.values())


FIELDS = [field.name for field in fields(GenerationRow)]
STATES = {word: state for state, word in WORDS.items()}
COLUMNS = [quoted(name) for name in FIELDS]
