"""Rows that were read ahead of their use, in a file."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from rowvec.errors import SourceError

STRETCH_BYTES = 256 * 2**20
"""On disk at most, but for the last page. What comes after it is read by a statement of its own."""
HELD_BYTES = 4 * 2**20
"""Up to here they stay in memory."""


class Ahead:
    """Pages in the order they were put in. The file has no name: it is gone with the process, however that ends."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(HELD_BYTES)  # noqa: SIM115 (closed by `close`)

    @property
    def full(self) -> bool:
        return self._file.tell() >= STRETCH_BYTES

    def put(self, page: Any) -> None:
        """
        Raises:
            SourceError: the disk does not take it.
        """
        try:
            pickle.dump(page, self._file, pickle.HIGHEST_PROTOCOL)
            self._file.flush()
        except OSError as error:
            raise SourceError(
                f"Rows that are read ahead do not fit into {tempfile.gettempdir()}: {error.strerror}.",
                hint=f"They take up to {STRETCH_BYTES / 1e6:.0f} MB there. Or set TMPDIR to another folder.",
            ) from error

    def pages(self) -> Iterator[Any]:
        """Each page once; then the file is gone."""
        try:
            end = self._file.tell()
            self._file.seek(0)
            while self._file.tell() < end:
                yield pickle.load(self._file)  # noqa: S301 (written above)
        finally:
            self.close()

    def close(self) -> None:
        with suppress(OSError):  # What did not fit is written once more.
            self._file.close()
