"""Labelled steps of a sync, so that a test can stop the process at each of them.

`reached` costs one comparison when nobody observes.
"""

from __future__ import annotations

import enum
from collections.abc import Callable


class Step(enum.StrEnum):
    AFTER_READ = "after-read"
    BEFORE_EMBED = "before-embed"
    AFTER_EMBED = "after-embed"
    WRITE_BEFORE_COMMIT = "write-before-commit"
    WRITE_AFTER_COMMIT = "write-after-commit"
    DELETE_BEFORE_COMMIT = "delete-before-commit"
    DELETE_AFTER_COMMIT = "delete-after-commit"
    BEFORE_RUN_RECORD = "before-run-record"
    AFTER_RUN_RECORD = "after-run-record"


observer: Callable[[Step], None] | None = None


def reached(step: Step) -> None:
    if observer is not None:
        observer(step)
