"""A row whose text is cut into passages: each is embedded as a text of its own, and the row is written when all are.

A passage that is refused costs itself: the row is written without it, with a hash that no text has
(`rowvec.support.hashes.incomplete`), and stands in the list of failures until it is tried again. So is a row written
of which a paid answer has brought some passages: a process that is killed then has lost nothing that was paid for,
since the next one finds those passages by their hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rowvec.documents.passages import Cut, Cutter
from rowvec.errors import EmbedderError
from rowvec.support.hashes import covered, digest, incomplete
from rowvec.types import Change, Document, Entry, Fingerprint, Kind, Passage, TextVector, Vector


class Divided:
    """One such row, and what became of its passages so far."""

    def __init__(self, change: Change, cut: Cut, model: Fingerprint) -> None:
        self.change = change
        self.pieces, self.cut_off = cut.pieces, cut.truncated
        self.hashes = [covered(digest(piece.embedded.encode()), model) for piece in cut.pieces]
        self.longest = max(len(piece.embedded) for piece in cut.pieces)
        self.vectors: list[TextVector | EmbedderError | None] = [None] * len(cut.pieces)
        self.reused = 0
        self._normalized = model.normalized
        self._left = len(cut.pieces)
        self._held = change.before.text_hash if change.before is not None else None
        """The text hash in the ledger."""
        self._held_before = self._held
        self.unfit = False
        """The store has refused a part of the row: no further one is offered."""

    @property
    def whole(self) -> bool:
        """Each passage has its vector, or was refused."""
        return not self._left

    @property
    def problem(self) -> EmbedderError | None:
        """Why passages have no vector, once it is known."""
        refused = [each for each in self.vectors if isinstance(each, EmbedderError)]
        if not refused:
            return None
        first = refused[0]
        if len(refused) == len(self.pieces):
            return first
        return EmbedderError(f"{len(refused)} of {len(self.pieces)} passages got no vector: {first}")

    @property
    def failed(self) -> bool:
        return self.whole and all(isinstance(each, EmbedderError) for each in self.vectors)

    def text(self, place: int) -> Change:
        """What is to be embedded of one passage, as the engine sends texts."""
        document = Document(
            self.change.document.key, self.pieces[place].embedded, (), self.hashes[place], self.hashes[place]
        )
        return Change(Kind.EMBED, self.change.reason, document, None)

    def take(self, place: int, vector: TextVector | EmbedderError, *, reused: bool = False) -> None:
        self.vectors[place] = vector
        self.reused += reused
        self._left -= 1

    def entry(self) -> Entry | None:
        """What is to be written now; None where no passage has a vector."""
        known = [
            (piece, text_hash, vector)
            for piece, text_hash, vector in zip(self.pieces, self.hashes, self.vectors, strict=True)
            if isinstance(vector, TextVector)
        ]
        if not known:
            return None
        document, expected = self.change.document, self._held
        partial = len(known) < len(self.pieces)
        if partial:
            document = document._replace(text_hash=incomplete(document.text_hash))
        self._held_before, self._held = self._held, document.text_hash
        weights = [piece.tokens for piece, _, _ in known]
        mean = mean_of([vector.vector for _, _, vector in known], weights, normalized=self._normalized)
        truncated = self.cut_off or any(vector.truncated for _, _, vector in known)
        passages = tuple(
            Passage(piece.start, piece.end, text_hash, vector.vector, piece.tokens)
            for piece, text_hash, vector in known
        )
        return Entry(document, mean, expected, truncated, passages, partial)

    def refused(self) -> None:
        """What `entry` gave last was not stored."""
        self.unfit, self._held = True, self._held_before


class Part(NamedTuple):
    """What waits for the vector of a text: a passage of a row."""

    row: Divided
    place: int


def divided(cutter: Cutter | None, changes: Sequence[Change], model: Fingerprint | None) -> list[Divided | Change]:
    """Of each change the row that is cut, or the change itself where its text is one passage."""
    if cutter is None or model is None or not changes:
        return [*changes]
    cuts = cuts_of(cutter, [change.document for change in changes])
    return [Divided(change, cut, model) if cut else as_whole(change) for change, cut in zip(changes, cuts, strict=True)]


def as_whole(change: Change) -> Change:
    """The same, its text being one passage."""
    document = change.document
    return change if document.whole_hash is None else change._replace(document=document.as_whole())


def cuts_of(cutter: Cutter | None, documents: Sequence[Document]) -> list[Cut | None]:
    """None for a text that is one passage."""
    if cutter is None:
        return [None] * len(documents)
    return cutter.cut([each.text for each in documents], [each.context for each in documents])


def mean_of(vectors: Sequence[Vector], weights: Sequence[int], *, normalized: bool) -> Vector:
    """Of the length that the model gives its vectors."""
    matrix = np.stack(vectors).astype(np.float64)
    mean = np.average(matrix, axis=0, weights=np.asarray(weights, np.float64))
    length = np.linalg.norm(mean)
    if not length:
        # They cancel each other out, and a vector of zeros has no direction: the first one stands for the text.
        return np.asarray(vectors[0], np.float32)
    return (mean / length if normalized else mean).astype(np.float32)
