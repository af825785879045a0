"""Debezium's change events in JSON Lines files, on this machine or in S3."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rowvec.errors import SourceError
from rowvec.sources.base import Source
from rowvec.sources.events.stream import EventSettings, EventStream, Record, key_of
from rowvec.sources.first_bytes import refuse_other_kinds
from rowvec.sources.json_values import parse_json, value_of
from rowvec.sources.storage import File, find
from rowvec.support.json_objects import RepeatedName
from rowvec.types import Column

POLL_SECONDS = 0.5
MARK_BYTES = 1024
"""This many bytes at the beginning and at the end of what was read tell a file from another one: an event holds the
time and the place in the log of its change."""
_log = logging.getLogger(__name__)


class EventFiles(EventStream):
    """Events in JSON Lines files, packed by gzip or not: one a line, or the event's key, a tab, and the event.

    Files are read by name, each from where it was left: a file that grows is read on. What was read is known again by
    its first bytes and those before the place where reading stopped: another file under the same name, as after a
    rotation, is read from its beginning, and one that has only got another name from where it was left.
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
        # A file that got another name gave its own to a new one, which may be read first.
        former = [Place.parse(kept) for kept in offsets.values()]
        done: dict[str, File] = {}
        while True:
            for file in find(self._paths, self._base):
                if done.get(file.name) != file:
                    yield from self._read(file, places, former, follow)
                    done[file.name] = file
            if not follow or stop.is_set():
                return
            yield None
            stop.wait(POLL_SECONDS)

    def _read(
        self, file: File, places: dict[str, str], former: list[Place], follow: bool
    ) -> Iterator[Record | SourceError]:
        with file.open_text() as stream:
            refuse_other_kinds(file, stream)
            place = self._left_at(file, stream, places, former)
            stream.seek(0)
            head = stream.read(min(place.start, MARK_BYTES))
            stream.seek(max(0, place.start - MARK_BYTES))
            tail = stream.read(min(place.start, MARK_BYTES))
            for raw in _whole_lines(stream, follow):
                if len(head) < MARK_BYTES:
                    head += raw[: MARK_BYTES - len(head)]
                tail = raw[-MARK_BYTES:] if len(raw) >= MARK_BYTES else (tail + raw)[-MARK_BYTES:]
                place = Place(place.start + len(raw), place.line + 1, _mark(head, tail))
                places[file.name] = str(place)
                if raw.isspace():
                    continue
                location = f"{file.name}, line {place.line}"
                try:
                    key, value = _key_and_value(raw, location)
                except SourceError as error:
                    if not self.settings.skip_bad:
                        yield error
                        return
                    key, value = None, raw.decode(errors="replace")
                yield Record(file.name, location, key, value, str(place))

    def _left_at(self, file: File, stream: BinaryIO, places: Mapping[str, str], former: list[Place]) -> Place:
        """Where to go on reading a file, after a look at whether it is the one that was read."""
        kept = Place.parse(places.get(file.name, ""))
        if kept.start and kept.is_of(stream):
            return kept
        if kept.start:
            _log.warning(
                "%s is another file than the one of that name that was read before: all of it is read.", file.name
            )
            former.append(kept)
        return next((place for place in former if place.mark and place.is_of(stream)), Place())


class Place(NamedTuple):
    """How far a file was read, and what it was known by."""

    start: int = 0
    """Bytes, unpacked."""
    line: int = 0
    mark: str = ""
    """Of the first bytes and the last ones of what was read; "" where an older rowvec kept none."""

    def __str__(self) -> str:
        return f"{self.start}:{self.line}:{self.mark}"

    @classmethod
    def parse(cls, kept: str) -> Place:
        """Nothing was read of what another version of rowvec wrote in a way of its own."""
        found = re.fullmatch(r"(\d+):(\d+)(?::(\w*))?", kept)
        return cls(int(found[1]), int(found[2]), found[3] or "") if found else cls()

    def is_of(self, stream: BinaryIO) -> bool:
        """Whether what was read up to here is what the file has there."""
        stream.seek(0)
        head = stream.read(min(self.start, MARK_BYTES))
        if self.mark and not self.mark.startswith(_hash(head)):
            return False
        stream.seek(max(0, self.start - MARK_BYTES))
        tail = stream.read(min(self.start, MARK_BYTES))
        return stream.tell() == self.start and self.mark in ("", _mark(head, tail))


def _mark(head: bytes, tail: bytes) -> str:
    return _hash(head) + _hash(tail)


def _hash(part: bytes) -> str:
    return hashlib.blake2b(part, digest_size=6).hexdigest()


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
            return None, value_of(raw)
        except RepeatedName:
            return None, parse_json(raw, location)
        except (ValueError, RecursionError):
            # White space between the parts of an object may be a tab too; this was none.
            value = right.strip()
            return key_of(left), None if value in (b"", b"NULL") else parse_json(right, location)
    return None, parse_json(raw, location)
