"""Judgements that people give on the page: a CSV file that `rowvec eval` reads, one line for each query and row."""

from __future__ import annotations

import csv
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from rowvec.errors import ConfigError, SearchError
from rowvec.evaluation.files import read_judgements

FOLDER = "judgements"
HEADER = ("query", "docid", "rating")
HIGHEST = 3


def judgements_file(state: Path, pipeline: str) -> Path:
    """Args: state: the folder in which rowvec keeps what is its own."""
    return state / FOLDER / f"{quote(pipeline, safe='')}.csv"


class JudgementsFile:
    """The judgements of one pipeline, by the text of their query. For several threads, and several processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, dict[str, int]]:
        """Rating by key, as text, by query; empty where nothing was judged.

        Raises:
            ConfigError: somebody has edited the file, and it cannot be read.
        """
        try:
            return read_judgements(self.path)
        except ConfigError:
            # Not asked before: the last judgement may be taken back meanwhile.
            if self.path.exists():
                raise
            return {}

    def rate(self, query: str, key: str, rating: int | None) -> None:
        """
        Args:
            rating: 0 for a row that does not answer the query, up to HIGHEST; None takes the judgement back.

        Raises:
            SearchError: a key that a file of judgements cannot hold.
            ConfigError: the file cannot be read or written.
        """
        query = " ".join(query.split())
        if not key or key != key.strip() or not query:
            raise SearchError("A row whose key is blank, or has blanks around it, cannot be judged.")
        with self._alone():
            known = self.read()
            ratings = known.setdefault(query, {})
            if rating is None:
                ratings.pop(key, None)
            else:
                ratings[key] = rating
            self._write(known)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else reads and writes the file meanwhile: what another server wrote must not be lost.

        The lock is on a file of its own, because the file of judgements is replaced by each write.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            locked = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._unwritten(error) from error
        try:
            fcntl.flock(locked, fcntl.LOCK_EX)
            yield
        finally:
            os.close(locked)

    def _unwritten(self, error: OSError) -> ConfigError:
        return ConfigError(f"{self.path} cannot be written: {error.strerror}.")

    def _write(self, known: dict[str, dict[str, int]]) -> None:
        """In one step: whoever reads sees the file of before or of after."""
        new = self.path.with_name(f".{self.path.name}.{uuid4().hex[:8]}")
        lines = [(query, key, rating) for query, ratings in known.items() for key, rating in ratings.items()]
        try:
            if not lines:
                self.path.unlink(missing_ok=True)
                return
            with new.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([HEADER, *lines])
            os.replace(new, self.path)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise self._unwritten(error) from error
