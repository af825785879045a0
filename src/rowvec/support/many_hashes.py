"""Which of very many hashes have come before."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

MERGED = 100_000
"""New ones that are put in order with the others at once."""


class ManyHashes:
    """Eight bytes for each, where a set of bytes takes some hundred: ten million are 80 MB.

    Hashes whose first eight bytes are equal count as one: among ten million random ones, the chance that there are any
    is 3 in a million.
    """

    def __init__(self) -> None:
        self._ordered: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._new: set[int] = set()

    def __contains__(self, hashed: bytes) -> bool:
        number = _number(hashed)
        if number in self._new:
            return True
        place = int(np.searchsorted(self._ordered, np.uint64(number)))
        return place < len(self._ordered) and int(self._ordered[place]) == number

    def update(self, hashes: Iterable[bytes]) -> None:
        self._new.update(map(_number, hashes))
        if len(self._new) >= MERGED:
            self._ordered = np.union1d(self._ordered, np.fromiter(self._new, np.uint64, len(self._new)))
            self._new.clear()


def _number(hashed: bytes) -> int:
    return int.from_bytes(hashed[:8], "big")
