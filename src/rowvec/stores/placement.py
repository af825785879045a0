"""Which part a row is in.

By jump consistent hashing (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014) of the first
8 bytes, little-endian, of the BLAKE2b digest (of 8 bytes) of the key as text in UTF-8. So a row is in the same part on
every machine, and where a part is added after N others, one row in N + 1 goes to it and every other one stays.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from rowvec.errors import StoreError
from rowvec.types import Key

FORMAT = 1
_MASK = (1 << 64) - 1
_FACTOR = 2862933555777941757


def part_of(key: Key, parts: int) -> int:
    """The number of the part that the row of that key is in, from 0 on."""
    state = int.from_bytes(blake2b(str(key).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
    part, following = 0, 0
    while following < parts:
        part = following
        state = (state * _FACTOR + 1) & _MASK
        following = int((part + 1) * (float(1 << 31) / float((state >> 33) + 1)))
    return part


def by_part(keys: Iterable[Key], parts: int) -> dict[int, list[Key]]:
    """The keys of each part, in the order in which they are given."""
    found: dict[int, list[Key]] = {}
    for key in keys:
        found.setdefault(part_of(key, parts), []).append(key)
    return found


def _token() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Placement:
    """How the rows of a table are spread, as its first part keeps it. The others keep which of its parts they are."""

    parts: int
    id: str = field(default_factory=_token)
    """Of this set of parts, by chance."""
    part: int = 0
    """Whose record this is."""
    former: int | None = None
    """The number of parts before: rows are on their way. None where every row is where it should be."""
    swapping: bool = False
    """Generations take each other's place, part after part."""
    step: str = field(default_factory=_token)
    """Another one whenever anything of it changes."""

    def changed(self, parts: int, former: int | None, *, swapping: bool = False) -> Placement:
        return replace(self, parts=parts, former=former, swapping=swapping, step=_token())

    @property
    def most(self) -> int:
        """Parts that may hold rows."""
        return max(self.parts, self.former or 0)

    def of_part(self, part: int) -> Placement:
        return replace(self, part=part)

    def text(self) -> str:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps({"format": FORMAT, **values}, sort_keys=True)

    @classmethod
    def read(cls, text: str, location: str) -> Placement | None:
        """
        Raises:
            StoreError: a newer rowvec wrote it, or it cannot be read.
        """
        if not text:
            return None
        try:
            values = json.loads(text)
            known = values.pop("format") == FORMAT
            return cls(**values) if known else _refused(location)
        except (ValueError, TypeError, KeyError, AttributeError):
            return _refused(location)


def check_place(text: str, placed: Placement, number: int, location: str) -> None:
    """
    Args:
        text: the record of what is in the place of the part `number`.
        location: of that.

    Raises:
        StoreError: it is another part, or empty.
    """
    found = Placement.read(text, location)
    if found is not None and found.id == placed.id and found.part == number:
        return
    holds = "none" if found is None else f"part {found.part + 1}"
    holds += "" if found is None or found.id == placed.id else " of another store"
    raise StoreError(
        f"{location}: part {number + 1} of {placed.most} should be there, and {holds} is.",
        hint="Name the servers of store.partitions in the order in which the rows were spread over them.",
    )


def refuse_alone(text: str, location: str) -> None:
    """
    Args:
        text: a record, as a store that is opened as the only one finds it.

    Raises:
        StoreError: it holds one of several parts of the rows.
    """
    found = Placement.read(text, location)
    if found is not None and found.most > 1:
        raise StoreError(
            f"{location} holds part {found.part + 1} of {found.most} of the rows.",
            hint=f"Set store.partitions as it was, such as {found.parts}; or to 1, and a sync brings them together.",
        )


def _refused(location: str) -> Placement:
    raise StoreError(
        f"{location}: how the rows are spread over parts is not written as this rowvec reads it.",
        hint="A newer rowvec has written it: use that one.",
    )
