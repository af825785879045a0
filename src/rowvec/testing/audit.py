"""The memory store looked at from the inside."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from rowvec.stores.auditor import Drift, Fault, Seen
from rowvec.types import Document, Failure, Key, PastFailure, Vector


class Record(Protocol):
    document: Document
    vector: Vector


class MemoryAuditor:
    """See stores.audited.Auditor. Keywords are read from the texts themselves and cannot differ from them."""

    def __init__(self, guard: threading.RLock, records: Mapping[Key, Record], failures: Mapping[Key, Failure]) -> None:
        self._guard = guard
        self._records = records
        self._failures = failures

    def inspect(self, documents: Sequence[Document], *, vectors: bool = False) -> dict[Key, Seen]:
        found: dict[Key, Seen] = {}
        with self._guard:
            for document in documents:
                record, failure = self._records.get(document.key), self._failures.get(document.key)
                seen = Seen()
                if record is not None:
                    seen = Seen(
                        record.document.text_hash,
                        record.document.row_hash,
                        len(record.vector),
                        float(np.linalg.norm(record.vector)),
                        record.document.metadata == document.metadata,
                        vector=record.vector.copy() if vectors else None,
                    )
                if failure is not None:
                    seen = seen._replace(failure=PastFailure(failure.text_hash, failure.attempts, failure.next_try))
                if record is not None or failure is not None:
                    found[document.key] = seen
        return found

    def faults(self, most: int) -> list[Fault]:
        return []

    def forget(self, keys: Sequence[Key]) -> None:
        with self._guard:
            for record in (self._records[key] for key in keys if key in self._records):
                record.document = record.document._replace(row_hash=b"")

    def repair(self, fault: Fault) -> None:
        assert fault.drift not in (Drift.INDEX, Drift.LOST_WORDS, Drift.WORD_COUNTS), "the memory store cannot have it"
