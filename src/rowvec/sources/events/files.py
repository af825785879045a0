"""Debezium's change events in JSON Lines files, on this machine or in S3."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from rowvec.errors import SourceError
from rowvec.sources.base import Source
from rowvec.sources.events.stream import EventSettings, EventStream, Record, key_of
from rowvec.sources.json_values import parse_json
from rowvec.sources.storage import File, find
from rowvec.types import Column

POLL_SECONDS = 0.5


class EventFiles(EventStream):
    """Events in JSON Lines files, packed by gzip or not: one a line, or the event's key, a tab, and the event.

    Files are read by name, each from where it was left: a file that grows is read on. One that was put in another
    one's place under the same name is taken for the old one, unless it is shorter.
    """

    def __init__(
        self,
        paths: Sequence[str],
        settings: EventSettings,
        *,
        rows: Source | None = None,
        base: Path | None = None,
        remembered: Sequence[Column] = (),
    ) -> None:
        self._paths, self._base = list(paths), base or Path.cwd()
        files = find(self._paths, self._base)
        self.location = files[0].name if len(files) == 1 else f"{len(files)} files such as {files[0].name}"
        super().__init__(settings, rows, remembered)

    def _records(
        self, offsets: Mapping[str, str], follow: bool, stop: threading.Event
    ) -> Generator[Record | SourceError | None]:
        places = dict(offsets)
        done: dict[str, File] = {}
        while True:
            for file in find(self._paths, self._base):
                if done.get(file.name) != file:
                    yield from self._read(file, places, follow)
                    done[file.name] = file
            if not follow or stop.is_set():
                return
            yield None
            stop.wait(POLL_SECONDS)

    def _read(self, file: File, places: dict[str, str], follow: bool) -> Iterator[Record | SourceError]:
        start, line = _place(places.get(file.name, ""))
        with file.open_text() as stream:
            there = stream.seek(start) if file.compressed else file.size
            if there < start:
                raise SourceError(
                    f"{file.name} has {there:,} bytes, but {start:,} were read of it before: it is another file.",
                    hint="Give the new file another name, or read everything again with --from-start.",
                )
            stream.seek(start)
            for raw in _whole_lines(stream, follow):
                start += len(raw)
                line += 1
                places[file.name] = f"{start}:{line}"
                if raw.isspace():
                    continue
                location = f"{file.name}, line {line}"
                try:
                    key, value = _key_and_value(raw, location)
                except SourceError as error:
                    if not self.settings.skip_bad:
                        yield error
                        return
                    key, value = None, raw.decode(errors="replace")
                yield Record(file.name, location, key, value, places[file.name])


def _place(kept: str) -> tuple[int, int]:
    """Bytes and lines that were read; of what another version of rowvec wrote in a way of its own, none."""
    found = re.fullmatch(r"(\d+):(\d+)", kept)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _whole_lines(stream: BinaryIO, follow: bool) -> Iterator[bytes]:
    for raw in stream:
        if follow and not raw.endswith(b"\n"):
            # Somebody is still writing it.
            return
        yield raw


def _key_and_value(raw: bytes, location: str) -> tuple[Any, Any]:
    """The two halves of a line `key<TAB>event`, or no key and the whole line."""
    left, tab, right = raw.partition(b"\t")
    if tab:
        try:
            return None, json.loads(raw)
        except ValueError:
            # White space between the parts of an object may be a tab too; this was none.
            value = right.strip()
            return key_of(left), None if value in (b"", b"NULL") else parse_json(right, location)
    return None, parse_json(raw, location)
