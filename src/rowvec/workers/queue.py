"""What waits for the workers, and what they are at."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rowvec.workers.celery import app, configure
from rowvec.workers.settings import reachable

ANSWER_SECONDS = 1.0
"""Waited for in full: with a limit on the answers, late ones to another question would be counted."""


@dataclass(frozen=True, slots=True)
class Queue:
    waiting: int
    """Tasks that no worker has taken."""
    workers: int | None = None
    """How many listen; None if the broker cannot say."""
    active: Mapping[str, int] | None = None
    """Tasks at work, by name; None if the workers cannot be asked, as through the embedded queue."""
    longest_seconds: float = 0.0
    """Seconds since the longest-running task began."""


def look() -> Queue:
    """Ask the broker, and through it the workers, which have a second to answer.

    Raises:
        BrokerUnavailable: it does not answer.
    """
    configure()
    with reachable():
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1)
            waiting = _waiting(connection)
            asked = "fanout" in connection.transport.implements.exchange_type
            counted = None if asked else _listeners(connection)
        ours = _ours() if asked else None
        active = app.control.inspect(ours, timeout=ANSWER_SECONDS).active() if ours else None
    if ours is None:
        return Queue(waiting, counted)
    tasks = [task for each in (active or {}).values() for task in each]
    began = [task["time_start"] for task in tasks if task.get("time_start")]
    longest = time.time() - min(began) if began else 0.0
    return Queue(waiting, len(ours), Counter(task["name"] for task in tasks), max(0.0, longest))


def _ours() -> list[str]:
    """Workers that listen to our queue: on a shared broker those of other projects answer too."""
    found = app.control.inspect(timeout=ANSWER_SECONDS).active_queues() or {}
    return [name for name, queues in found.items() if any(q["name"] == app.conf.task_default_queue for q in queues)]


def _listeners(connection: Any) -> int | None:
    count = getattr(connection.default_channel, "listeners", None)
    return None if count is None else int(count(app.conf.task_default_queue))


def _waiting(connection: Any) -> int:
    try:
        declared = connection.default_channel.queue_declare(queue=app.conf.task_default_queue, passive=True)
    except connection.channel_errors:
        return 0  # Redis has no empty queues, and RabbitMQ none before the first task.
    return int(declared.message_count)
