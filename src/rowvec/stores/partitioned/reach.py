"""Asking several parts at once, or those that hold some keys.

While rows move they are in their old part, or in both, or in their new one, in this order. So whoever asks the parts
that rows leave before those that they go to finds every row: what was gone from the old part was in the new one by
then. A row that is found twice counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from rowvec.errors import DeletionGuard, GenerationChanged, Interrupted, PartUnavailable, StoreError, StoreUnavailable
from rowvec.stores.placement import Placement, by_part, part_of
from rowvec.types import Key

Part = TypeVar("Part")
Answer = TypeVar("Answer")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Reach(Generic[Part]):
    """
    Attributes:
        parts: by number, those that there are.
        pool: in which all but one of several are asked.
        missing: the numbers of those that are left out because they do not answer.
    """

    parts: Mapping[int, Part]
    placement: Placement
    pool: ThreadPoolExecutor
    missing: frozenset[int] = frozenset()

    @property
    def moving(self) -> bool:
        return self.placement.former is not None

    def all(self, ask: Callable[[Part], Answer]) -> list[Answer]:
        """The answers of all parts, in their order."""
        return list(self.numbered(ask).values())

    def numbered(self, ask: Callable[[Part], Answer]) -> dict[int, Answer]:
        found: dict[int, Answer] = {}
        for wave in self._waves():
            found |= self.together(dict.fromkeys(wave, ask))
        return dict(sorted(found.items()))

    def _waves(self) -> list[list[int]]:
        now, former = self.placement.parts, self.placement.former
        if former is None:
            return [list(self.parts)]
        left = [number for number in self.parts if (number < former if former < now else number >= now)]
        return [left, [number for number in self.parts if number not in left]]

    def of_keys(
        self,
        keys: Sequence[Key],
        ask: Callable[[Part, Sequence[Key]], Mapping[Key, Value]],
        *,
        tells_all: bool = True,
    ) -> dict[Key, Value]:
        """What the parts that hold them say of some keys, in the order of the keys.

        Args:
            tells_all: a part answers for each of its rows, so that a key without an answer is in none of them.

        Raises:
            PartUnavailable: one of them may be in a part that is left out.
        """
        now, former = self.placement.parts, self.placement.former
        found = self._ask_of(by_part(keys, now if former is None else former), ask)
        if former is not None:
            found |= self._ask_of(by_part((key for key in keys if key not in found), now), ask)
        if self.missing and tells_all:
            for key in keys:
                if key not in found:
                    self._check(key)
        return {key: found[key] for key in keys if key in found}

    def _check(self, key: Key) -> None:
        """
        Raises:
            PartUnavailable: a row of this key would be in a part that is left out.
        """
        for parts in {self.placement.parts, self.placement.former or self.placement.parts}:
            if (number := part_of(key, parts)) in self.missing:
                said = f"The row {key!r} is in part {number + 1} of {self.placement.most}, which does not answer."
                raise PartUnavailable(said, part=number)

    def _ask_of(
        self, wanted: Mapping[int, list[Key]], ask: Callable[[Part, Sequence[Key]], Mapping[Key, Value]]
    ) -> dict[Key, Value]:
        def asking(keys: list[Key]) -> Callable[[Part], Mapping[Key, Value]]:
            return lambda part: ask(part, keys)

        answers = self.together({number: asking(keys) for number, keys in wanted.items() if number in self.parts})
        return {key: value for answer in answers.values() for key, value in answer.items()}

    def first(self, ask: Callable[[Part], Answer]) -> Answer:
        """What the first part answers."""
        return self._of_one(0, ask)

    def together(self, asked: Mapping[int, Callable[[Part], Answer]]) -> dict[int, Answer]:
        """What each of these parts answers to its own question."""
        if not asked:
            return {}
        first, *others = asked.items()
        waiting = [(number, self.pool.submit(self._of_one, number, ask)) for number, ask in others]
        try:
            found = {first[0]: self._of_one(*first)}
        finally:
            # None goes on alone, whatever another one says.
            for _, each in waiting:
                each.exception()
        return found | {number: each.result() for number, each in waiting}

    def _of_one(self, number: int, ask: Callable[[Part], Answer]) -> Answer:
        with named(number, self.placement.most):
            return ask(self.parts[number])


@contextmanager
def named(number: int, parts: int) -> Iterator[None]:
    """An error of one of several parts says which one it is."""
    try:
        yield
    except StoreError as error:
        # Those concern all rows, or what this process was asked.
        if parts == 1 or isinstance(error, DeletionGuard | GenerationChanged | Interrupted):
            raise
        if type(error) is StoreUnavailable:
            said = f"Part {number + 1} of {parts} does not answer: {error.message}"
            raise PartUnavailable(said, error.hint, part=number) from error
        raise type(error)(f"Part {number + 1} of {parts}: {error.message}", hint=error.hint) from error


def one_by_one(parts: Mapping[int, Part], ask: Callable[[Part], Answer], *, of: int | None = None) -> dict[int, Answer]:
    """What each part answers, one after another in the order of the mapping.

    Args:
        of: the number of all parts, where those are some of them.
    """
    found: dict[int, Answer] = {}
    for number, part in parts.items():
        with named(number, of or len(parts)):
            found[number] = ask(part)
    return found
