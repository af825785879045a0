"""A store of passages holds what a dictionary would, whatever is written in whatever order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

import numpy as np
import pytest

from rowvec.stores.base import Store
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing.contract.divided_samples import DIVIDING, SIZE, divided, kept, plain, score
from rowvec.testing.contract.samples import Opener, document, hashed, rows, write
from rowvec.types import Document, Entry, Key, Vector


@dataclass
class Model:
    """What the store should hold."""

    entries: dict[Key, Entry] = field(default_factory=dict)

    def check(self, store: Store, random: Random) -> None:
        live = rows(store, DIVIDING)
        query = _vector(random)
        everything = {key: score(entry, query) for key, entry in self.entries.items()}
        assert live.texts(range(1, 9), query) == {key: kept(entry, query) for key, entry in self.entries.items()}
        found = live.nearest(query, 20)
        assert dict(zip(found.keys, found.scores, strict=True)) == pytest.approx(everything, abs=1e-4)
        assert list(found.scores) == sorted(found.scores, reverse=True)
        passages = [each for entry in self.entries.values() for each in entry.passages]
        held = {each.text_hash for each in passages}
        held |= {entry.document.text_hash for entry in self.entries.values() if not entry.passages}
        asked = {*_HASHES, *(entry.document.text_hash for entry in self.entries.values())}
        assert live.vectors_of_texts(list(asked)).keys() == held & asked
        status = live.status()
        parted = sum(bool(entry.passages) for entry in self.entries.values())
        assert (status.rows, status.passages, status.divided) == (len(self.entries), len(passages), parted)


_WORDS = [f"word {n} " for n in range(12)]
_HASHES = [hashed(word) for word in _WORDS]


def _vector(random: Random) -> Vector:
    made = np.array([random.gauss(0, 1) for _ in range(SIZE)], np.float32)
    return (made / np.linalg.norm(made)).astype(np.float32)


def _made(random: Random, key: int, expected: bytes | None) -> Entry:
    words = random.sample(_WORDS, random.choice([1, 1, 2, 3, 6]))
    if len(words) == 1:
        return plain(key, words[0], _vector(random), expected=expected)
    return divided(key, *((word, _vector(random)) for word in words), expected=expected)


def _step(random: Random, model: Model) -> tuple[WriteBatch, int]:
    """A batch, and how many of its entries come too late."""
    batch, late = WriteBatch(), 0
    for key in random.sample(range(1, 9), random.randint(1, 4)):
        there = model.entries.get(key)
        match random.choice(["write", "write", "write", "late", "delete", "update"]):
            case "write":
                made = _made(random, key, there.document.text_hash if there else None)
                model.entries[key] = made
                batch.entries.append(made)
            case "late":
                made = _made(random, key, b"nobody wrote it.")
                if there is None or there.document.text_hash != made.document.text_hash:
                    batch.entries.append(made)
                    late += 1
            case "delete":
                model.entries.pop(key, None)
                batch.deletes.append(key)
            case "update" if there is not None:
                batch.updates.append(_renamed(there.document, random))
    return batch, late


def _renamed(held: Document, random: Random) -> Document:
    return document(held.key, held.text, f"name {random.random()}")


def _walk(seeds: Iterable[int], opened: Opener) -> None:
    for seed in seeds:
        random, model = Random(seed), Model()
        store = opened(DIVIDING)
        write(store, spec=DIVIDING, deletes=list(range(1, 9)))
        for _ in range(12):
            batch, late = _step(random, model)
            assert rows(store, DIVIDING).write(batch) == late, f"seed {seed}"
            model.check(store, random)
        model.check(opened(DIVIDING), random)


def test_a_walk_leaves_what_a_dictionary_would_hold(opened: Opener) -> None:
    _walk(range(3), opened)
