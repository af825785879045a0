"""Looking at vectors whose keys are still integers, where the source's keys have become text since.

A sync makes them text before it begins. A plan changes nothing, so it asks in the keys that are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from rowvec.generations.kept_settings import known_columns
from rowvec.pipeline import Pipeline
from rowvec.stores.base import GenerationHandle
from rowvec.stores.ledger import Ledger
from rowvec.types import ColumnType, Failure, Key, Stored


def generation_of(pipeline: Pipeline, ledger: Ledger) -> GenerationHandle | None:
    """The generation that a sync would go on with, to be read by the keys of today; None where there is none."""
    spec = pipeline.spec
    known = known_columns(ledger.settings, spec.key, ())
    if known is None or known[0] is not ColumnType.INTEGER or spec.key_type is not ColumnType.TEXT:
        return pipeline.store.generation(spec)
    found = pipeline.store.generation(replace(spec, key_type=ColumnType.INTEGER))
    return None if found is None else cast(GenerationHandle, _TextKeys(found))


class _TextKeys:
    """A handle that takes and gives integer keys as text."""

    def __init__(self, handle: GenerationHandle) -> None:
        self._handle = handle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)

    def lookup(self, keys: Sequence[Key]) -> dict[Key, Stored]:
        integers = [int(key) for key in keys if isinstance(key, str) and _is_integer(key)]
        return {str(key): stored for key, stored in self._handle.lookup(integers).items()}

    def keys(self, after: Key | None, limit: int) -> list[Key]:
        return [str(key) for key in self._handle.keys(None if after is None else int(str(after)), limit)]

    def failures(self, limit: int | None = None) -> list[Failure]:
        return [replace(failure, key=str(failure.key)) for failure in self._handle.failures(limit)]


def _is_integer(key: str) -> bool:
    """It was an integer key, written as that is."""
    digits = key.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 19 and str(int(key)) == key
