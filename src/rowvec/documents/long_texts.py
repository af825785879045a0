"""Texts that are longer than the model's window: what a search by meaning sees of them."""

from __future__ import annotations

from rowvec.types import Fingerprint


def long_texts(made: Fingerprint | None) -> str:
    """One sentence, of vectors that were made like this."""
    if made is not None and made.passages:
        return "What lies behind their last passage is not searched by meaning."
    if made is not None and made.overflow == "mean":
        return "Each has one vector, the mean of its windows; text.passages = {} would give each of its parts one."
    return "What lies outside the window is not searched by meaning."
