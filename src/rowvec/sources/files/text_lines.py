"""Lines of a text file, each of bounded length, and what is wrong with one that cannot be read."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import BinaryIO

from rowvec.errors import SourceError
from rowvec.sources.storage import File

UTF8 = "Write the file as UTF-8."
LINE_BYTES = 2**28
"""A longer line is refused: it is a file without line breaks, which would fill the memory."""


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


def _refuse_other_kinds(file: File, stream: BinaryIO) -> None:
    # A buffered reader and an unpacked file can both look ahead.
    head: bytes = stream.peek(16)[:16]  # type: ignore[attr-defined]
    found = next(((what, hint) for start, what, hint in _KINDS if head.startswith(start)), None)
    found = found or next(((what, hint) for start, what, hint in _KINDS if head.lower().startswith(start)), None)
    if found is None and 0 in head[:2] and any(head[:4]):
        # A letter of ASCII, without a byte order mark.
        found = "UTF-16 or UTF-32 text", UTF8
    if found is not None:
        raise SourceError(f"{file.name} is not text in UTF-8, but {found[0]}.", hint=found[1])


def byte_lines(file: File, stream: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends, without a byte order mark.

    Raises:
        SourceError: a line is longer than LINE_BYTES, or a compressed file was cut off.
    """
    line = 0
    try:
        _refuse_other_kinds(file, stream)
        while raw := stream.readline(LINE_BYTES):
            line += 1
            if len(raw) == LINE_BYTES:
                raise too_long(file, line)
            yield raw.removeprefix(b"\xef\xbb\xbf") if line == 1 else raw
    except EOFError as error:
        raise cut_off(file, line) from error


def text_lines(file: File, stream: BinaryIO) -> Iterator[str]:
    """The same as text; a carriage return alone ends a line too.

    Raises:
        SourceError: as `byte_lines`, and where a line is not UTF-8.
    """
    _refuse_other_kinds(file, stream)
    # The decoder is told to let bad bytes through, so that it is known in which line they are.
    decoded = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    line = 0
    try:
        while text := decoded.readline(LINE_BYTES):
            line += 1
            if len(text) == LINE_BYTES:
                raise too_long(file, line)
            if not text.isascii():
                _check_utf8(file, line, text)
            yield text
    except EOFError as error:
        raise cut_off(file, line) from error
    finally:
        # Whoever opened the stream may have closed it by now.
        with contextlib.suppress(ValueError):
            decoded.detach()


def _check_utf8(file: File, line: int, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        position = len(text[: error.start].encode()) + 1
        raise SourceError(f"{file.name}, line {line}: byte {position} is not UTF-8.", hint=UTF8) from None


def too_long(file: File, line: int) -> SourceError:
    return SourceError(
        f"{file.name}, line {line} is longer than {LINE_BYTES // 2**20} MiB.",
        hint="A CSV or JSON Lines file has one row on each line: is it a file of another kind?",
    )


def cut_off(file: File, line: int) -> SourceError:
    return SourceError(
        f"{file.name}: the compressed file ends after line {line} before its end.", hint="Copy or write it again."
    )
