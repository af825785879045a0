"""Rows with passages for the contract: specs, texts in parts, and the scores and kept texts that follow from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rowvec.stores.base import TableSpec
from rowvec.testing.contract.samples import SPEC, document, hashed, similarity
from rowvec.types import Entry, Fingerprint, Key, Passage, ScoredPassage, StoredText, Vector

SIZE = 4


def of(model: str, passages: str = "window") -> TableSpec:
    made = Fingerprint("local", model, "r1", SIZE, passages=passages)
    return replace(SPEC, dimension=SIZE, fingerprint=made, recipe="abc")


DIVIDING = of("one")
OTHER = of("one", "window of another size")
WHOLE = of("one", "")
X, Y, Z, W = (np.eye(SIZE, dtype=np.float32)[number] for number in range(SIZE))


def toward(one: Vector, other: Vector, share: float) -> Vector:
    """A vector of length 1 between the two, whose cosine with `one` is `share`."""
    between: Vector = (share * one + (1 - share**2) ** 0.5 * other).astype(np.float32)
    return between


def plain(key: Key, text: str, vector: Vector, *, expected: bytes | None = None) -> Entry:
    return Entry(document(key, text), vector, expected)


def divided(key: Key, *parts: tuple[str, Vector], expected: bytes | None = None) -> Entry:
    """A row whose text is those parts, one after another."""
    text, passages = "", []
    for part, vector in parts:
        passages.append(Passage(len(text), len(text) + len(part), hashed(part), vector, tokens=1))
        text += part
    mean = np.mean([vector for _, vector in parts], axis=0)
    return Entry(document(key, text), (mean / np.linalg.norm(mean)).astype(np.float32), expected, False, (*passages,))


def score(entry: Entry, query: Vector, metric: str = "cosine") -> float:
    own = similarity(metric, entry.vector, query)
    each = [similarity(metric, passage.vector, query) for passage in entry.passages]
    return 0.5 * max(each) + 0.5 * own if each else own


def kept(entry: Entry, query: Vector | None = None) -> StoredText:
    return StoredText(
        entry.document.text,
        tuple(
            ScoredPassage(
                each.start,
                each.end,
                None if query is None else pytest.approx(similarity("cosine", each.vector, query), abs=1e-5),  # type: ignore[arg-type]
            )
            for each in entry.passages
        ),
    )


ONE = divided(1, ("red lamp. ", X), ("blue chair. ", Y), ("green table.", Z))
TWO = plain(2, "a lamp", toward(X, W, 0.8))
