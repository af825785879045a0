"""Vectors that are stored already, in the generation that is filled or in the live one, so that they cost nothing.

A text has the same vector in the live one where the two differ in nothing but what becomes of a text that does not fit
the window, and this one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rowvec.stores.base import GenerationHandle
from rowvec.support.hashes import covered
from rowvec.types import Fingerprint, TextVector

Ask = Callable[[GenerationHandle, list[bytes]], dict[bytes, TextVector]]


def plainly(generation: GenerationHandle, hashes: list[bytes]) -> dict[bytes, TextVector]:
    return generation.vectors_of_texts(hashes)


class Reuse:
    """
    Args:
        fingerprint: what the texts are embedded by.
        generation: the one that is filled; None where there is none yet.
        live: the live one beside it, if that is another.
        ask: puts a question to a store.
    """

    def __init__(
        self,
        fingerprint: Fingerprint | None,
        generation: GenerationHandle | None,
        live: GenerationHandle | None = None,
        ask: Ask = plainly,
    ) -> None:
        self._generation, self._ask = generation, ask
        self._masks: tuple[Fingerprint, Fingerprint] | None = None
        self._live = live
        old = live.spec.fingerprint if live is not None else None
        if fingerprint is not None and old is not None and fingerprint.agrees(old):
            self._masks = fingerprint, old

    @property
    def elsewhere(self) -> bool:
        """The live generation has vectors to give."""
        return self._masks is not None

    def of_texts(self, hashes: list[bytes]) -> dict[bytes, TextVector]:
        """What the generation holds, by the hash of a text."""
        return self._ask(self._generation, hashes) if self._generation is not None and hashes else {}

    def of_passages(self, hashes: list[bytes]) -> dict[bytes, TextVector]:
        """By the hash of a passage, of both generations."""
        known = self.of_texts(hashes)
        there = {self._there(each): each for each in hashes if each not in known} if self.elsewhere else {}
        return known | self._in_live(there)

    def of_whole(self, hashes: Iterable[bytes]) -> dict[bytes, TextVector]:
        """What the live generation holds of texts that are one passage, by their text hash here."""
        return self._in_live({self._there(each): each for each in hashes}) if self.elsewhere else {}

    def _there(self, text_hash: bytes) -> bytes:
        assert self._masks is not None
        new, old = self._masks
        return covered(covered(text_hash, new), old)

    def _in_live(self, here: dict[bytes, bytes]) -> dict[bytes, TextVector]:
        """
        Args:
            here: hashes of this generation by those of the live one.
        """
        assert self._live is not None or not here
        found = self._ask(self._live, list(here)) if self._live is not None and here else {}
        return {here[text_hash]: vector for text_hash, vector in found.items() if not vector.truncated}
