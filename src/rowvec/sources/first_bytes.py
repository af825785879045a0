"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

from typing import BinaryIO

from rowvec.errors import SourceError
from rowvec.sources.storage import File

UTF8 = "Write the file as UTF-8."
_KINDS = (
    (b"\xff\xfe", "UTF-16 text", UTF8),
    (b"\xfe\xff", "UTF-16 text", UTF8),
    (b"PK\3\4", "a ZIP file or a workbook of Excel", "Unpack it, or save the sheet as CSV (UTF-8)."),
    (b"\xd0\xcf\x11\xe0", "a workbook of Excel", "Save the sheet as CSV (UTF-8)."),
    (b"\x1f\x8b", "packed by gzip", "Let its name end in .gz, or unpack it."),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", "Unpack it, or pack it with gzip."),
    (b"\xfd7zXZ", "packed by xz", "Unpack it, or pack it with gzip."),
    # The first field of a page or of the footer is an integer. A CSV file may have columns PAR1, PAR2.
    (b"PAR1\x15", "a Parquet file", 'Set source.format = "parquet".'),
    (b"SQLite format 3\0", "an SQLite database", 'Set source.kind = "sql" and url = "sqlite:///…".'),
    (b"<!doctype html", "a web page", "Download it again: a page that asks to sign in is sent in place of a file."),
    (b"<html", "a web page", "Download it again: a page that asks to sign in is sent in place of a file."),
)
"""First bytes that tell a file of another kind, in lower case where they are letters of a page."""


def refuse_other_kinds(file: File, stream: BinaryIO) -> None:
    """
    Args:
        stream: at its beginning, where it stays.

    Raises:
        SourceError: the first bytes are not those of text.
    """
    # A buffered reader and an unpacked file can both look ahead.
    head: bytes = stream.peek(16)[:16]  # type: ignore[attr-defined]
    found = next(((what, hint) for start, what, hint in _KINDS if head.startswith(start)), None)
    found = found or next(((what, hint) for start, what, hint in _KINDS if head.lower().startswith(start)), None)
    if found is None and 0 in head[:2] and any(head[:4]):
        # A letter of ASCII, without a byte order mark.
        found = "UTF-16 or UTF-32 text", UTF8
    if found is not None:
        raise SourceError(f"{file.name} is not text in UTF-8, but {found[0]}.", hint=found[1])
