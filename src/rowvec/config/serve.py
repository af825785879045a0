"""`[serve]`: what a server keeps."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from rowvec.config.fields import Section, absolute, blank_is_none, duration


class QueriesConfig(Section):
    """A log of what people asked. The table switches it on, empty or not."""

    keep: Annotated[dt.timedelta, BeforeValidator(duration)] = dt.timedelta(days=30)
    """Older queries are deleted, with their clicks."""
    file: Annotated[Path | None, BeforeValidator(absolute), BeforeValidator(blank_is_none)] = None
    """A SQLite file; by default `.rowvec/queries.db`."""


class ServeConfig(Section):
    """What `rowvec serve` keeps."""

    queries: QueriesConfig | None = Field(default=None, examples=[{"keep": "30d"}])
    """A log of what people asked; there is none without this table."""
