"""What a store has to hold of a text that is cut into passages, worked out from the text alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from rowvec.documents.passages import Cutter, PassageSettings, Piece
from rowvec.stores.base import GenerationHandle
from rowvec.support.hashes import covered, incomplete
from rowvec.syncing.divided import mean_of
from rowvec.testing import HashEmbedder
from rowvec.types import Fingerprint, Key, StoredText, Vector
from tests.support import digest


class Said(NamedTuple):
    """What a row says: its text, and the context of its passages."""

    text: str
    context: str = ""

    @property
    def hash(self) -> bytes:
        """Without the model that it covers in a store."""
        return digest(f"{self.text}\0{self.context}" if self.context else self.text)


class Held(NamedTuple):
    """What a row in a store was made from."""

    said: Said
    whole: bool
    """It has all its passages."""


class Passages:
    """Texts cut by one model and one setting; None for texts that are embedded whole."""

    def __init__(self, embedder: HashEmbedder, settings: PassageSettings | None) -> None:
        self.embedder = embedder
        self._cutter = Cutter(settings, embedder) if settings is not None else None
        self._query = embedder.embed_query("what all passages are compared with")

    def of(self, said: Said) -> list[Piece]:
        """Empty for a text that is one passage."""
        cut = self._cutter.cut([said.text], [said.context])[0] if self._cutter is not None else None
        return cut.pieces if cut is not None else []

    def settled(self, said: Said) -> Said:
        """A text that is one passage has no context."""
        return said if self.of(said) else Said(said.text)

    def embedded(self, said: Said) -> dict[bytes, str]:
        """What is embedded for such a row, by its hash without the model."""
        return {digest(piece.embedded): piece.embedded for piece in self.of(said)} or {digest(said.text): said.text}

    def held(self, generation: GenerationHandle, known: Iterable[Said]) -> dict[Key, Held]:
        """What the rows with a vector were made from; each is looked at whether nothing of another text is in it.

        Args:
            known: what a row may say.
        """
        by_hash = {said.hash: Held(said, whole=True) for said in map(self.settled, known)}
        by_hash |= {incomplete(text_hash): Held(held.said, whole=False) for text_hash, held in by_hash.items()}
        hashes = stored_hashes(generation)
        found = {key: by_hash[text_hash] for key, text_hash in hashes.items() if text_hash is not None}
        stored = generation.texts(list(found), self._query)
        for key, held in found.items():
            self._look(held, stored[key], generation.vector(key))
        return found

    def _look(self, held: Held, stored: StoredText, vector: Vector | None) -> None:
        assert stored.text == held.said.text
        assert vector is not None
        pieces = {(piece.start, piece.end): piece for piece in self.of(held.said)}
        places = [(passage.start, passage.end) for passage in stored.passages]
        if held.whole:
            assert places == list(pieces), held
        else:
            assert places, "a row that is not whole has some of its passages"
            assert places == [place for place in pieces if place in set(places)]
        if not places:
            np.testing.assert_allclose(vector, self.embedder.embed_query(held.said.text), atol=2e-6)
            return
        vectors = [self.embedder.embed_query(pieces[place].embedded) for place in places]
        scores = [passage.score for passage in stored.passages]
        np.testing.assert_allclose(np.array(scores, float), np.stack(vectors) @ self._query, atol=1e-5)
        mean = mean_of(vectors, [pieces[place].tokens for place in places], normalized=True)
        np.testing.assert_allclose(vector, mean, atol=2e-6)

    def are_right(self, generation: GenerationHandle, rows: Mapping[Key, Said]) -> None:
        """Each row is whole, and there are no other rows and no other passages."""
        assert generation.keys(None, 1000) == sorted(rows)
        held = self.held(generation, rows.values())
        assert held == {key: Held(self.settled(said), whole=True) for key, said in rows.items()}
        cut = [pieces for said in rows.values() if (pieces := self.of(said))]
        status = generation.status()
        assert (status.divided, status.passages) == (len(cut), sum(map(len, cut)))


def model_of(generation: GenerationHandle) -> Fingerprint:
    made = generation.spec.fingerprint
    assert made is not None
    return made


def stored_hashes(generation: GenerationHandle) -> dict[Key, bytes | None]:
    """Without the model that they cover: what covers it twice does not cover it."""
    made = model_of(generation)
    hashes = {key: stored.text_hash for key, stored in generation.lookup(generation.keys(None, 1000)).items()}
    return {key: text_hash and covered(text_hash, made) for key, text_hash in hashes.items()}


def with_vector(generation: GenerationHandle, hashes: Collection[bytes]) -> set[bytes]:
    """Those of the hashes, without the model, that some row or passage has the vector of."""
    made = model_of(generation)
    return {covered(found, made) for found in generation.vectors_of_texts([covered(each, made) for each in hashes])}
