"""What a forked process has to begin again: its parent's threads are not there, and its connections are the parent's.

Servers that load an application once and then fork (Gunicorn with `preload_app`, Celery) make such processes.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    def begin_again(self) -> None:
        """Called in the child, which has one thread. Another thread of the parent may have held any lock."""
        ...


_known: WeakSet[Forked] = WeakSet()
_of_parent: list[object] = []


def begins_again(one: Forked) -> None:
    """Have its `begin_again` called in each process that is forked while it lives."""
    _known.add(one)


def leave_to_parent(*parts: object) -> None:
    """Keep what only the parent may close: a connection that is closed here would be closed there, too."""
    _of_parent.extend(parts)


def _in_child() -> None:
    for each in list(_known):
        each.begin_again()


os.register_at_fork(after_in_child=_in_child)
