"""Rows that go to another part, because there are more parts than before, or fewer.

A row is written to its new part and deleted from its old one after that, some hundreds at a time, so that searches find
it all the while (see `reach.py`). Its vector goes along: nothing is embedded. Whoever is killed has moved some of the
rows; the record says that the others are on their way, and the next one goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from rowvec.errors import StoreError
from rowvec.stores.auditor import Audited
from rowvec.stores.base import TEXT_KEPT, TableSpec
from rowvec.stores.guarding import Guarding
from rowvec.stores.part import PartHandle, PartStore
from rowvec.stores.partitioned.reach import named, one_by_one
from rowvec.stores.placement import Placement, by_part, part_of
from rowvec.stores.write_batch import WriteBatch
from rowvec.types import Document, Entry, Failure, Key, Progress, State, Unfit

ROWS = 500
"""Moved in one step: up to this many are in two parts at a time."""
KEYS = 10_000
PHASE = "moving rows to other parts"


class Keep(Protocol):
    """Keeps a record; see `PartStore.keep_placement`."""

    def __call__(self, placement: Placement, *, announce: bool = False) -> None: ...


class Move:
    """One change of the number of parts.

    Args:
        part: opens the store of a part.
        before: the record so far.
        spec: of the live generation.
        keep: keeps another record.
        moved: called with the number of rows each time that some have got to their part.
    """

    def __init__(
        self,
        part: Callable[[int], PartStore],
        before: Placement,
        spec: TableSpec,
        keep: Keep,
        location: str,
        moved: Callable[[int], None] | None = None,
    ) -> None:
        self._part = part
        self._before = before
        self._spec = spec
        self._keep = keep
        self._location = location
        self._told = moved

    def carry_out(self, parts: int, progress: Progress | None = None) -> int:
        """Returns how many rows were moved.

        Args:
            parts: that there shall be; where an earlier move has not ended, that one is carried out instead.
        """
        begun = self._before.former is not None
        placement = self._before if begun else self._before.changed(parts, self._before.parts)
        if not begun:
            self._check_texts()
        handles = self._prepared(placement)
        if not begun and self._before.parts == 1:
            # Whoever searches the first part as the whole table must not go on when rows leave it.
            self._keep(placement, announce=True)
            handles = self._prepared(placement)
        else:
            self._keep(placement)
        moved = self._moved(placement, handles, progress)
        self._settle(placement, handles)
        settled = placement.changed(placement.parts, None)
        for number in range(1, settled.parts):
            with named(number, placement.most):
                # Searches go by it where the first part does not answer.
                self._part(number).keep_placement(settled.of_part(number).text())
        self._keep(settled)
        return moved

    def _check_texts(self) -> None:
        if self._spec.language is not None and not self._spec.keeps_texts:
            raise StoreError(
                f"{self._location}: rows cannot go to other parts, because their texts are not kept, of which the"
                " keyword index there would be made.",
                hint="Set store.texts = true and run `rowvec sync --full`, then change the number of parts.",
            )

    def _prepared(self, placement: Placement) -> dict[int, PartHandle]:
        """The live generation of every part. Other generations do not go along: they are dropped."""
        handles = {}
        for number in range(placement.most):
            part = self._part(number)
            with named(number, placement.most):
                handles[number] = part.prepare(replace(self._spec, filled_elsewhere=True))
                part.activate(self._spec)
                # Not before: where a swap was not carried to its end, the live one was among them.
                for each in part.generations(self._spec):
                    if each.state is not State.LIVE:
                        part.drop_generation(each.state, self._spec)
                if number:
                    part.keep_placement(placement.of_part(number).text())
        return handles

    def _moved(self, placement: Placement, handles: dict[int, PartHandle], progress: Progress | None) -> int:
        former, now = placement.former or placement.parts, placement.parts
        sources = range(former) if now > former else range(now, former)
        leaving = {number: handles[number] for number in sources}
        moved = looked = 0
        total = sum(one_by_one(leaving, lambda part: part.count(), of=placement.most).values())
        for number, handle in leaving.items():
            with named(number, placement.most):
                failed = {each.key: each for each in handle.failures()}
            for keys in _pages(handle, number, placement.most):
                for target, some in by_part(keys, now).items():
                    for chunk in _chunks(some) if target != number else ():
                        carry(handles, number, target, chunk, failed)
                        moved += len(chunk)
                        if self._told is not None:
                            self._told(len(chunk))
                looked += len(keys)
                if progress is not None:
                    progress(PHASE, looked, total)
        return moved

    def _settle(self, placement: Placement, handles: dict[int, PartHandle]) -> None:
        for number, handle in handles.items():
            with named(number, placement.most):
                handle.compact()
                if number < placement.parts:
                    # An index where there are rows enough now.
                    self._part(number).activate(self._spec)
                else:
                    self._part(number).keep_placement("")
        # Rows that have just come count as new where they are: the guard begins again with all of them.
        refusal = handles[0].refusal()
        handles[0].write(WriteBatch(guard=Guarding(allowed=True)))
        if refusal is not None:
            rows = sum(one_by_one(handles, lambda part: part.count()).values())
            handles[0].write(WriteBatch(guard=Guarding(rows=rows, refused=refusal.said)))


def carry(
    handles: Mapping[int, PartHandle], old: int, new: int, keys: Sequence[Key], failed: dict[Key, Failure]
) -> None:
    """
    Args:
        old, new: the numbers of two parts.
        failed: those of the rows of the old part that failed.
    """
    with named(old, len(handles)):
        batch, cut = _batch(handles[old], keys, failed)
    with named(new, len(handles)):
        target = handles[new]
        if len(batch):
            target.write(batch)
        if cut and isinstance(target, Audited):
            # The keyword index was made of a beginning of the text: the next full sync writes these rows again.
            target.auditor().forget(cut)
    with named(old, len(handles)):
        handles[old].write(WriteBatch(deletes=list(keys)))


def _batch(old: PartHandle, keys: Sequence[Key], failed: dict[Key, Failure]) -> tuple[WriteBatch, list[Key]]:
    """What writes those rows as they are, and the keys of those whose text is not kept to its end."""
    stored, carried = old.lookup(keys), old.carried(keys)
    texts, metadata, written = old.texts(keys), old.metadata(keys), old.written(keys)
    unfit: dict[Key, list[Unfit]] = {}
    for each in old.unfit(keys):
        unfit.setdefault(each.key, []).append(Unfit(each.column, each.reason))
    batch, cut = WriteBatch(positions=old.positions(keys)), list[Key]()
    for key in carried:
        known, text = stored[key], texts[key].text if key in texts else ""
        if known.text_hash is None:
            continue
        document = Document(
            key, text, tuple(metadata[key].values()), known.text_hash, known.row_hash or b"", tuple(unfit.get(key, ()))
        )
        vector, passages = carried[key]
        batch.entries.append(Entry(document, vector, None, written[key].truncated, passages))
        if len(text) >= TEXT_KEPT or key not in texts:
            cut.append(key)
    batch.failures = [failed[key] for key in keys if key in failed]
    return batch, cut


def misplaced(handles: dict[int, PartHandle], parts: int) -> dict[int, int]:
    """How many rows would go to each of that number of parts."""
    found: dict[int, int] = {}
    for number, handle in handles.items():
        for keys in _pages(handle, number, len(handles)):
            for key in keys:
                target = part_of(key, parts)
                if target != number:
                    found[target] = found.get(target, 0) + 1
    return found


def _pages(handle: PartHandle, number: int, parts: int) -> Iterator[list[Key]]:
    """The keys of one of that number of parts."""
    after: Key | None = None
    while True:
        with named(number, parts):
            keys = handle.keys(after, KEYS)
        if not keys:
            return
        yield keys
        after = keys[-1]


def _chunks(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    return (keys[start : start + ROWS] for start in range(0, len(keys), ROWS))
