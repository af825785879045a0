"""What a worker's log says of a broker that goes away: one line at once, and one when it answers again.

Celery and its libraries log a traceback at each try, in each of their processes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from celery.signals import after_task_publish, task_failure, task_success

from rowvec.support.redaction import redact_text

logger = logging.getLogger("rowvec.workers")

_LOST = (
    "consumer: Connection to broker lost",
    "consumer: Cannot connect to",
    "beat: Connection error",
    "beat pidbox: Connection error",
    "Message Error: Couldn't apply scheduled task",
    "Connection to Redis lost",
)
"""How Celery and Kombu begin what they log of it."""
_RESULTS = "Failed operation"
"""How Celery begins what it logs of a store of results that does not answer."""
_UNTOLD = "Couldn't ack"
_AGAIN = "The broker went away while a task was in hand: it delivers the task again, which then has little to do."
_BACK = "Connected to "
_SETTING = "CPendingDeprecationWarning"
"""Of a setting that rowvec makes on purpose; it comes with each outage."""
_BESIDE = ("Skipping prefetch count reduction",)
"""What Celery adds about itself."""
_OF_CONNECTIONS = frozenset({"OperationalError", "ConnectionError", "TimeoutError"})


class Outage(logging.Filter):
    """Of a handler. It knows whether this process has been told that the broker is away.

    Args:
        broker: its address, without a password.
    """

    def __init__(self, broker: str) -> None:
        super().__init__()
        self.broker = broker
        self.away = ""
        """What does not answer, in words."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(("celery", "kombu", "amqp", "py.warnings")):
            return True
        said = record.getMessage()
        if _SETTING in said:
            return False
        if said.startswith(_BACK):
            return self._back(record)
        if said.startswith(_UNTOLD):
            _say(record, _AGAIN)
            return True
        what = self._lost(record, said)
        if not what:
            return not (self.away and said.startswith(_BESIDE))
        if self.away:
            return False
        self.away = what
        _say(record, f"{what} does not answer. It is tried again until it does.")
        return True

    def _lost(self, record: logging.LogRecord, said: str) -> str:
        if said.startswith(_RESULTS):
            return "The store of results"
        if not said.startswith(_LOST) or not _is_of_a_connection(record):
            return ""
        return f"The broker {self.broker}"

    def _back(self, record: logging.LogRecord) -> bool:
        if self.away:
            _say(record, f"{self.away} answers again.")
            self.away = ""
        return True

    def worked(self) -> None:
        """Something was sent or kept."""
        if self.away:
            what, self.away = self.away, ""
            logger.warning("%s answers again.", what)


def _is_of_a_connection(record: logging.LogRecord) -> bool:
    """A message that cannot be sent for another reason is a fault of its own, and keeps its traceback."""
    error = record.exc_info[1] if record.exc_info else None
    return error is None or any(
        isinstance(each, OSError) or type(each).__name__ in _OF_CONNECTIONS for each in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _say(record: logging.LogRecord, text: str) -> None:
    record.msg, record.args = redact_text(text), None
    record.exc_info = record.exc_text = record.stack_info = None
    record.levelno, record.levelname = logging.WARNING, "WARNING"


def install(broker: str) -> None:
    """For this process and those that it forks, once the handlers of its log are there.

    Args:
        broker: its address, without a password.
    """
    outage = Outage(broker)
    for handler in logging.getLogger().handlers:
        handler.addFilter(outage)

    def worked(**_: Any) -> None:
        outage.worked()

    for signal in (after_task_publish, task_success, task_failure):
        signal.connect(worked, weak=False)
