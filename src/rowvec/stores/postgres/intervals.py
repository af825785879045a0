"""Durations in PostgreSQL as they are: psycopg's own adapters know neither months nor years."""

from __future__ import annotations

import struct
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

from rowvec.support.intervals import Interval

_OID = psycopg.adapters.types["interval"].oid


class _InText(Dumper):
    oid = _OID

    def dump(self, obj: Interval) -> Buffer:
        return str(obj).encode()


class _InBytes(Dumper):
    format = Format.BINARY
    oid = _OID

    def dump(self, obj: Interval) -> Buffer:
        return struct.pack(">qii", obj.microseconds, obj.days, obj.months)


class _Text(Loader):
    def load(self, data: Buffer) -> str:
        return bytes(data).decode()


def register_intervals(connection: psycopg.Connection[Any]) -> None:
    """Have durations written as `Interval` and read as text."""
    for dumper in (_InText, _InBytes):
        connection.adapters.register_dumper(Interval, dumper)
    connection.adapters.register_loader("interval", _Text)
