"""The PostgreSQL that comes with rowvec: a real server from a wheel, its data in the state folder.

__init__    what others call
usage       who uses it: joining, leaving, stopping
start       starting it; supervise is the program that runs it and outlives whoever started it
cluster     making the data folder, its password and its rules of access
folder      what can be wrong with a folder
account     under which account it runs, when root is not allowed to
address     its URL
facts       what `rowvec check` says of it
binaries, locks, process    what those stand on
"""

from __future__ import annotations

from pathlib import Path

from rowvec.stores.postgres.embedded.address import url
from rowvec.stores.postgres.embedded.facts import Facts, describe
from rowvec.stores.postgres.embedded.folder import Place
from rowvec.stores.postgres.embedded.usage import end, use, wait_until_gone

__all__ = ["Facts", "describe", "embedded_url", "revive", "stop_embedded", "wait_until_stopped"]

_states: dict[str, tuple[Place, bool]] = {}


def embedded_url(state: Path, *, durable: bool = True) -> str:
    """Start the server whose data is in `state`/postgres, or attach to it, and return its URL.

    Several processes share one server; it stops when the last of them ends. It listens on a Unix socket
    in its own folder only.

    Args:
        durable: false for tests, which need nothing to outlive a crash of the machine; said by who starts it.

    Raises:
        StoreError: it cannot be started; the message says why. StoreUnavailable: another process takes too long.
    """
    place = Place(state.absolute())
    use(place, durable=durable)
    found = url(place)
    _states[found] = place, durable
    return found


def revive(url: str) -> bool:
    """Start again a server that this process uses and that has ended; False when `url` is of no such server.

    Raises:
        StoreError: it does not start.
    """
    known = _states.get(url)
    if known is None:
        return False
    place, durable = known
    use(place, durable=durable)
    return True


def stop_embedded(state: Path) -> bool:
    """Stop the server whose data is in `state`/postgres, whoever else uses it; false when there was none.

    A process that still uses it starts it again when it next needs it.

    Raises:
        StoreError: it does not end.
    """
    return end(Place(state.absolute()))


def wait_until_stopped(state: Path) -> None:
    """Return when the server has been stopped, by whomever."""
    wait_until_gone(Place(state.absolute()))
