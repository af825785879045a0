"""Judgements that people give on the page: a CSV file that `rowvec eval` reads, one line for each query and row."""

from __future__ import annotations

import csv
import os
import threading
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
    """The judgements of one pipeline, by the text of their query. For several threads of one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._guard = threading.Lock()

    def read(self) -> dict[str, dict[str, int]]:
        """Rating by key, as text, by query; empty where nothing was judged.

        Raises:
            ConfigError: somebody has edited the file, and it cannot be read.
        """
        if not self.path.exists():
            return {}
        with self._guard:
            return self._read()

    def _read(self) -> dict[str, dict[str, int]]:
        return read_judgements(self.path) if self.path.exists() else {}

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
        with self._guard:
            known = self._read()
            ratings = known.setdefault(query, {})
            if rating is None:
                ratings.pop(key, None)
            else:
                ratings[key] = rating
            self._write(known)

    def _write(self, known: dict[str, dict[str, int]]) -> None:
        """In one step: whoever reads sees the file of before or of after."""
        new = self.path.with_name(f".{self.path.name}.{uuid4().hex[:8]}")
        lines = [(query, key, rating) for query, ratings in known.items() for key, rating in ratings.items()]
        try:
            if not lines:
                self.path.unlink(missing_ok=True)
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([HEADER, *lines])
            os.replace(new, self.path)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise ConfigError(f"{self.path} cannot be written: {error.strerror}.") from error
