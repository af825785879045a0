"""Lengths of time as callers write them."""

from __future__ import annotations

import datetime as dt
from typing import overload

from rowvec.config.fields import duration
from rowvec.errors import ConfigError


@overload
def time_span(written: str | dt.timedelta) -> dt.timedelta: ...
@overload
def time_span(written: str | dt.timedelta | None) -> dt.timedelta | None: ...
def time_span(written: str | dt.timedelta | None) -> dt.timedelta | None:
    """`30m`, `12h`, `7d`; None stays None.

    Raises:
        ConfigError: it is not a length of time.
    """
    if written is None:
        return None
    try:
        length: dt.timedelta = duration(written)
    except ValueError as error:
        raise ConfigError(f"{written!r} {error.args[0]}.", hint=error.args[1]) from None
    return length
