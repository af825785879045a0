"""Where a change stands in its database's log, so that an old event never overwrites a newer one.

Each log counts in its own way: PostgreSQL by LSN, MySQL by binlog file, position and row, SQL Server and Db2 by the
LSNs of commit and change, Oracle by SCN. For one row these numbers only grow, because two transactions cannot change
it at once. (For a whole table they need not: an LSN is that of the change, while events come in order of commit.)

A change is older than another one of the same row only if both its place in the log and its time say so: a restored
or failed-over database may count from the beginning again, and its events are new all the same. Equal is not older.
Without a place in the log, time alone decides; without either, the order of arrival.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_FILE_NUMBER = re.compile(r"(.*?)\.?(\d+)")


class Position(NamedTuple):
    time: int
    """Milliseconds since 1970 when the change was made; 0 where unknown."""
    log: str
    """Which log `order` counts in; "" where there is none."""
    order: str
    """Grows with the log, compared as text."""

    def __str__(self) -> str:
        return f"{self.time}|{self.order}|{self.log}"

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """What `str` wrote; None, a place that is not known, for anything else."""
        time, *rest = text.split("|", 2)
        return cls(int(time), rest[1], rest[0]) if len(rest) == 2 and time.isdecimal() else None


def is_older(position: Position | None, than: Position | None) -> bool:
    """Both are of changes of one row; None is a change of unknown place, older than nothing."""
    if position is None or than is None:
        return False
    if position.log and position.log == than.log:
        return position.order < than.order and position.time <= than.time
    return not position.log and not than.log and position.time < than.time


def position_of(source: Mapping[str, Any], event_time: Any) -> Position | None:
    """From the `source` of an event, or from what an unwrapped row tells of it; None where it tells nothing."""
    seconds = _number(source.get("ts_sec"))
    time = _number(source.get("ts_ms")) or (seconds or 0) * 1000 or _number(event_time) or 0
    log, order = _log(source)
    if not time and not log:
        return None
    # Only the connector's own name tells two databases apart.
    name = source.get("name") or source.get("db") or ""
    return Position(time, f"{log}:{name}" if log else "", order)


def _log(source: Mapping[str, Any]) -> tuple[str, str]:
    lsn = _number(source.get("lsn"))
    if lsn is not None:
        return "lsn", _digits(lsn)
    match = _FILE_NUMBER.fullmatch(str(source.get("file") or ""))
    place = _number(source.get("pos"))
    if match and place is not None:
        row = _number(source.get("row")) or 0
        return f"binlog {match[1]}", f"{_digits(int(match[2]))} {_digits(place)} {_digits(row)}"
    if source.get("commit_lsn"):
        serial = _number(source.get("event_serial_no")) or 0
        return "commit", f"{source['commit_lsn']} {source.get('change_lsn') or ''} {_digits(serial)}"
    scn = _number(source.get("scn"))
    return ("scn", _digits(scn)) if scn is not None else ("", "")


def _digits(number: int) -> str:
    return f"{number:020d}"


def _number(value: Any) -> int | None:
    """Numbers come as strings too, where a converter does not trust JSON with 64 bits."""
    if isinstance(value, bool):
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
