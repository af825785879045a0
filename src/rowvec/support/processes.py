"""Whether whoever holds a lock still lives."""

from __future__ import annotations

import os


def is_gone(pid: int) -> bool:
    """No process of this machine has that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # It is another user's.
    return False
