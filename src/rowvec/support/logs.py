"""Log records as JSON lines, each with the pipeline, run and task it is about: `ROWVEC_LOG=json`.

What a record is about is said once, by whoever begins the work, and holds for everything below it:

    with about(pipeline="products", task="5f0c1d2e"):
        note(run=7)
        logger.info("Began.")   # {"message": "Began.", "pipeline": "products", "task": "5f0c1d2e", "run": 7, …}
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rowvec.support.redaction import redact_text

VARIABLE = "ROWVEC_LOG"

_here: ContextVar[dict[str, Any] | None] = ContextVar("rowvec_about", default=None)


@contextmanager
def about(**ids: Any) -> Iterator[None]:
    """Everything logged inside is about these, in a thread too that is started by `contextvars.copy_context().run`."""
    token = _here.set({**(_here.get() or {}), **ids})
    try:
        yield
    finally:
        _here.reset(token)


def note(**ids: Any) -> None:
    """Say more of what is being done; nothing where nobody said what that is."""
    known = _here.get()
    if known is not None:
        known.update(ids)


class JsonLines(logging.Formatter):
    """One JSON object a line. Passwords in addresses are left out, whoever wrote them."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        line = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact_text(message),
            **(_here.get() or {}),
        }
        if record.exc_info:
            line["error"] = redact_text(self.formatException(record.exc_info))
        return json.dumps(line, default=str, ensure_ascii=False)


def wanted() -> bool:
    return os.environ.get(VARIABLE, "").lower() == "json"


def install(level: int | str = logging.INFO) -> None:
    """Write what this process logs, warnings of Python too, to stderr as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level if isinstance(level, int) else level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
