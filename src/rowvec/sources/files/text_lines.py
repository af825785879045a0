"""Lines of a text file, each of bounded length, and what is wrong with one that cannot be read."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import BinaryIO

from rowvec.errors import SourceError
from rowvec.sources.first_bytes import UTF8, refuse_other_kinds
from rowvec.sources.storage import File

LINE_BYTES = 2**28
"""A longer line is refused: it is a file without line breaks, which would fill the memory."""


def byte_lines(file: File, stream: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends, without a byte order mark.

    Raises:
        SourceError: a line is longer than LINE_BYTES, or a compressed file was cut off.
    """
    line = 0
    try:
        refuse_other_kinds(file, stream)
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
    refuse_other_kinds(file, stream)
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
