"""The seam of the files: whatever a library says of one that it cannot read becomes a sentence with its place."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rowvec.errors import RowvecError, SourceError
from rowvec.sources.files.base import Format
from rowvec.sources.storage import File

LIBRARY_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    ArithmeticError,
    LookupError,
    RecursionError,
    NotImplementedError,
    csv.Error,
    zlib.error,
)
"""What the standard library's readers and Arrow raise for bytes that are not what they should be: each of Arrow's own
errors is derived from one of these."""


@contextmanager
def reading(file: File) -> Iterator[None]:
    """Raises SourceError in place of an error of a library."""
    try:
        yield
    except RowvecError:
        raise
    except LIBRARY_ERRORS as error:
        raise _sentence(file, error) from error


def rows_of(file: File, form: Format, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a file, see `Format.rows`; what stops that is told with the last row that was read."""
    rows = iter(form.rows(file, names))
    line = 0
    while True:
        try:
            found = next(rows, None)
        except RowvecError:
            raise
        except LIBRARY_ERRORS as error:
            raise _sentence(file, error, f", after {form.line} {line}" if line else "") from error
        if found is None:
            return
        line = found[0]
        yield found


def check_same(file: File, found: Collection[str], first: File, expected: Collection[str]) -> None:
    """Raises SourceError where the columns of a file are not those of the first one."""
    other = sorted(set(found) ^ set(expected))
    if other:
        has = file.name if other[0] in found else first.name
        raise SourceError(
            f"{file.name} has other columns than {first.name}: only {has} has {other[0]!r}.",
            hint="Rows of one pipeline have the same columns: leave one of the files out, or write it again.",
        )


def _sentence(file: File, error: BaseException, row: str = "") -> SourceError:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return SourceError(
        f"{file.name}{row} cannot be read: {said}", hint="The file is damaged or of another kind: write it again."
    )
