"""What rows of the map can be coloured by beside their columns: how they stand in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rowvec.generations.lifecycle import live_rows, rows_of
from rowvec.serve.service import Service
from rowvec.stores.base import GenerationHandle
from rowvec.types import Column, ColumnType, Key, State

PAGE = 5_000
MOST_TEXTS = 20_000
"""Rows up to which it is read which of them have passages: it takes their texts."""
LONGEST = 60
ASPECTS = {"age": "when embedded", "failure": "failure", "cut": "length of text", "generation": "generation"}
"""Name in the address, and what the page calls it."""
NOTHING = {"age": "not known", "failure": "no failure"}
"""What it means that a row has no value."""


def aspect_column(name: str) -> Column:
    return Column(ASPECTS[name], ColumnType.TIMESTAMP if name == "age" else ColumnType.TEXT)


def aspect_values(name: str, service: Service, keys: Sequence[Key]) -> Iterator[tuple[Key, Any]]:
    """Keys with a value."""
    _, live = live_rows(service.pipeline.store, service.pipeline.spec)
    read: Mapping[str, Callable[[Service, GenerationHandle, Sequence[Key]], Iterator[tuple[Key, Any]]]]
    read = {"age": _age, "failure": _failure, "cut": _cut, "generation": _generation}
    return read[name](service, live, keys)


def _pages(keys: Sequence[Key], size: int = PAGE) -> Iterator[Sequence[Key]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))


def _age(service: Service, live: GenerationHandle, keys: Sequence[Key]) -> Iterator[tuple[Key, Any]]:
    for some in _pages(keys):
        yield from ((key, each.at) for key, each in live.written(some).items())


def _failure(service: Service, live: GenerationHandle, keys: Sequence[Key]) -> Iterator[tuple[Key, Any]]:
    """The rows of the map have a vector: those that failed keep an old one."""
    for failure in live.failures():
        yield failure.key, failure.error.partition("\n")[0][:LONGEST]


def _cut(service: Service, live: GenerationHandle, keys: Sequence[Key]) -> Iterator[tuple[Key, Any]]:
    divided = live.status().divided > 0
    told = divided and len(keys) <= MOST_TEXTS
    rest = "within the window or in passages" if divided and not told else "within the window"
    for some in _pages(keys, 500 if told else PAGE):
        parts = {key for key, kept in live.texts(some).items() if kept.passages} if told else set()
        for key, each in live.written(some).items():
            yield key, "longer than the window" if each.truncated else "in passages" if key in parts else rest


def _generation(service: Service, live: GenerationHandle, keys: Sequence[Key]) -> Iterator[tuple[Key, Any]]:
    pipeline = service.pipeline
    others = [each for each in service.generations() if each.state is not State.LIVE]
    handles = [(each.state, rows_of(pipeline.store, pipeline.spec, each)) for each in others]
    for some in _pages(keys):
        held = {
            state: {key for key, stored in rows.lookup(some).items() if stored.text_hash} for state, rows in handles
        }
        for key in some:
            states = [state for state in held if key in held[state]]
            yield key, " and ".join(["live", *states]) if states else "live only"
