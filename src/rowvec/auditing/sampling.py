"""Vectors held against the model, and an index against exact search, on rows chosen by chance."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import numpy as np

from rowvec.documents.passages import Cut
from rowvec.embedders.base import PaidEmbedder
from rowvec.errors import EmbedderError
from rowvec.evaluation.recall import TIE, recall
from rowvec.pipeline import Pipeline
from rowvec.stores.abilities import ComparesMany
from rowvec.stores.auditor import Auditor
from rowvec.stores.base import GenerationHandle
from rowvec.support.hashes import covered, digest
from rowvec.support.retry import patiently
from rowvec.syncing.batches import Answer, embed_batch, of_like_length
from rowvec.syncing.divided import cuts_of, mean_of
from rowvec.types import Document, Key, Progress, Ranked, TextVector, Vector

LOWEST_COSINE = 0.999
"""Below it a vector is not that of its text: the same model gives this much on any device and in half precision."""
QUERIES = 30
NEAREST = 10
DEEP = 400
"""Hits asked for, with the effort that this takes, before a row counts as missing from the index."""


class Sample:
    """`size` rows out of `total`, each as likely as another (Knuth, "The Art of Computer Programming", 3.4.2, S).

    Attributes:
        rows: compared so far.
        left_out: rows that were not chosen.
        lowest: cosine of the worst of them.
        other_passages: keys of rows with passages that are not of their texts.
        vectors: of up to QUERIES of those that are right, each of another text, for the check of the index.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        live: GenerationHandle,
        auditor: Auditor,
        size: int,
        total: int,
        stop: threading.Event,
    ) -> None:
        self.pipeline = pipeline
        self.live = live
        self.auditor = auditor
        self.cutter = pipeline.cutter()
        self.wanted = size
        self.left = total
        self.stop = stop
        self.dice = Random()
        self.buffer: list[Document] = []
        self.rows = 0
        self.left_out = 0
        self.failed = 0
        self.lowest = 1.0
        self.tokens = 0
        self.cost = 0.0
        self.other_passages: set[Key] = set()
        self.vectors: dict[Key, Vector] = {}
        self._texts: set[bytes] = set()

    def as_dict(self) -> dict[str, Any]:
        names = ("rows", "left_out", "failed", "tokens", "cost")
        lowest = self.lowest if self.rows else None
        return {**{name: getattr(self, name) for name in names}, "lowest_cosine": lowest}

    def take(self, documents: Sequence[Document]) -> dict[Key, Document]:
        """Choose among the next rows; returns those of the chosen that have another vector than that of their text."""
        for document in documents:
            if self.dice.random() * max(self.left, 1) < self.wanted:
                self.wanted -= 1
                self.buffer.append(document)
            else:
                self.left_out += 1
            self.left -= 1
        return self.finish() if len(self.buffer) >= self.pipeline.embedder.chunk_texts else {}

    def finish(self) -> dict[Key, Document]:
        """The same of the rows that are still in hand."""
        wrong: dict[Key, Document] = {}
        for documents in of_like_length(self.pipeline.embedder, self.buffer, lambda document: len(document.text)):
            if not self.stop.is_set():
                wrong |= self._compare(documents)
        self.buffer = []
        return wrong

    def _compare(self, documents: Sequence[Document]) -> dict[Key, Document]:
        embedder = self.pipeline.embedder
        cuts = cuts_of(self.cutter, documents)
        texts = [
            (document, text)
            for document, cut in zip(documents, cuts, strict=True)
            for text in ([piece.embedded for piece in cut.pieces] if cut else [document.text])
        ]
        answer = patiently(self.stop, embed_batch, embedder, [text for _, text in texts], Answer())
        vectors = list(_of_rows(answer.vectors, cuts, normalized=embedder.fingerprint.normalized))
        self.tokens += answer.tokens
        self.cost = embedder.budget.spent if isinstance(embedder, PaidEmbedder) else self.cost + answer.cost
        wrong = self._differing(documents, vectors)
        # A write may have come between: what differs is looked at again.
        again = [document for document in documents if document.key in wrong]
        still = self._differing(again, [wrong[document.key] for document in again], count=False) if again else {}
        found = {document.key: document for document in again if document.key in still}
        several = {document.key for document, cut in zip(documents, cuts, strict=True) if cut}
        return found | self._with_other_passages(several, texts, answer.vectors)

    def _with_other_passages(
        self,
        keys: Collection[Key],
        texts: Sequence[tuple[Document, str]],
        vectors: Sequence[TextVector | EmbedderError],
    ) -> dict[Key, Document]:
        """Those of the rows that are cut whose passages have other vectors than the model gives for their texts."""
        model = self.pipeline.spec.fingerprint
        assert model is not None
        parts = {
            covered(digest(text.encode()), model): (document, vector.vector)
            for (document, text), vector in zip(texts, vectors, strict=True)
            if document.key in keys and isinstance(vector, TextVector)
        }
        # A text has one vector, whoever writes it: no write comes between.
        held = patiently(self.stop, self.live.vectors_of_texts, list(parts)) if parts else {}
        cosines = {text_hash: _cosine(parts[text_hash][1], found.vector) for text_hash, found in held.items()}
        self.lowest = min([self.lowest, *cosines.values()])
        wrong = [parts[text_hash][0] for text_hash, cosine in cosines.items() if not cosine >= LOWEST_COSINE]
        found = {document.key: document for document in wrong}
        self.other_passages.update(found)
        return found

    def _differing(
        self, documents: Sequence[Document], vectors: Sequence[TextVector | EmbedderError], *, count: bool = True
    ) -> dict[Key, TextVector]:
        """What the model gives for those rows that hold another vector although their text is the same."""
        seen = patiently(self.stop, partial(self.auditor.inspect, vectors=True), documents)
        wrong = {}
        for document, vector in zip(documents, vectors, strict=True):
            found = seen.get(document.key)
            if isinstance(vector, EmbedderError):
                self.failed += 1
            elif found is not None and found.vector is not None and found.text_hash == document.text_hash:
                cosine = _cosine(vector.vector, found.vector)
                self.rows += count
                self.lowest = min(self.lowest, cosine)
                if not cosine >= LOWEST_COSINE:
                    wrong[document.key] = vector
                elif count:
                    self._keep(document, found.vector)
        return wrong

    def _keep(self, document: Document, vector: Vector) -> None:
        """A reservoir: each text that was compared is as likely to be in it as another, however many rows have it."""
        if document.text_hash in self._texts:
            return
        self._texts.add(document.text_hash)
        if len(self.vectors) < QUERIES:
            self.vectors[document.key] = vector
        elif self.dice.random() * len(self._texts) < QUERIES:
            del self.vectors[self.dice.choice(list(self.vectors))]
            self.vectors[document.key] = vector


def _of_rows(
    vectors: Sequence[TextVector | EmbedderError], cuts: Sequence[Cut | None], *, normalized: bool
) -> Iterator[TextVector | EmbedderError]:
    """The vectors of whole rows, of those of texts and passages."""
    at = 0
    for cut in cuts:
        behind = at + (len(cut.pieces) if cut else 1)
        part, at = vectors[at:behind], behind
        problem = next((each for each in part if isinstance(each, EmbedderError)), None)
        if problem is not None or cut is None:
            yield problem or part[0]
        else:
            known = [each.vector for each in part if isinstance(each, TextVector)]
            yield TextVector(mean_of(known, [piece.tokens for piece in cut.pieces], normalized=normalized))


def _cosine(one: Vector, other: Vector) -> float:
    if one.shape != other.shape:
        return 0.0
    a, b = one.astype(np.float64), other.astype(np.float64)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms > 0 else 0.0


@dataclass(slots=True)
class IndexCheck:
    """What a vector index finds of what an exact search finds."""

    queries: int
    recall: float
    """Of the NEAREST nearest, the mean over the queries."""
    unreachable: list[Key] = field(default_factory=list)
    """Rows that it does not find by their own vectors, however much effort is spent."""

    def as_dict(self) -> dict[str, Any]:
        return {"queries": self.queries, f"recall@{NEAREST}": self.recall, "unreachable": len(self.unreachable)}

    @classmethod
    def of(
        cls,
        live: GenerationHandle,
        vectors: Mapping[Key, Vector],
        stop: threading.Event,
        progress: Progress | None = None,
    ) -> IndexCheck | None:
        """Look for each row by its own vector; None if there is no index."""
        state = patiently(stop, live.status)
        if not vectors or state.index is None:
            return None
        found, unreachable = 0.0, []
        limit = min(NEAREST, state.rows)
        best = _exact(live, list(vectors.values()), limit, stop, progress)
        for (key, vector), exact in zip(vectors.items(), best, strict=True):
            near = patiently(stop, live.nearest, vector, limit)
            if near.exact:
                # The index gave too few, so that everything was compared after all.
                unreachable.append(key)
                continue
            found += recall(near.scores, exact.scores)
            if key in exact.keys and not _finds(key, vector, live, exact.scores[0], state.rows, stop):
                unreachable.append(key)
        return cls(len(vectors), found / len(vectors), unreachable)


def _exact(
    live: GenerationHandle, vectors: Sequence[Vector], limit: int, stop: threading.Event, progress: Progress | None
) -> list[Ranked]:
    if isinstance(live, ComparesMany):
        # Each search of its own would read a table of ten million rows for seconds.
        return patiently(stop, partial(live.compared, progress=progress), np.stack(vectors), limit)
    return [patiently(stop, partial(live.nearest, exact=True), vector, limit) for vector in vectors]


def _finds(key: Key, vector: Vector, live: GenerationHandle, best: float, rows: int, stop: threading.Event) -> bool:
    """Whether the index finds a row, or one just as near, by the row's own vector."""
    for limit in (NEAREST, DEEP):
        hits = patiently(stop, live.nearest, vector, max(1, min(limit, rows // 2)))
        if not hits.exact and (key in hits.keys or hits.scores[-1] >= best - TIE):
            return True
    # The row may have got another vector, or none, meanwhile.
    held = patiently(stop, live.vector, key)
    return held is None or not np.array_equal(held, vector)
