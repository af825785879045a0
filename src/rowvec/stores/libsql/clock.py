"""The time by the clock of the database, whose stamps are compared with each other: hosts may disagree.

A stamp is text that sorts by time, in the form of `write.moment`. SQLite knows milliseconds.
"""

from __future__ import annotations

import datetime as dt

from rowvec.stores.libsql.database import Database

_FORM = "%Y-%m-%dT%H:%M:%f000+00:00"
NOW = f"strftime('{_FORM}', 'now')"
"""SQL; the same all through a statement."""


def ago(span: dt.timedelta) -> str:
    """The moment that long ago, as SQL."""
    return f"strftime('{_FORM}', 'now', '-{span.total_seconds():.3f} seconds')"


def read(database: Database) -> str:
    """The stamp of this moment."""
    return str(database.query(f"select {NOW}")[0][0])
