"""Time of the processor, which other work on the machine hardly changes. Linux only."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import psycopg

BUILDERS = """
select a.pid from pg_stat_activity a join pg_stat_progress_create_index p on p.pid in (a.pid, a.leader_pid)
"""


def of_process(number: int) -> float:
    """Seconds that a process has taken so far, without those that it started."""
    return _seconds(_fields(number)[11:13])


def _fields(number: int | str) -> list[str]:
    """What /proc says of a process after its name, which may have blanks in it."""
    return Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2].split()


def _seconds(ticks: Sequence[str]) -> float:
    return sum(map(int, ticks)) / float(os.sysconf("SC_CLK_TCK"))


def of_tree(root: int, without: Collection[int] = ()) -> float:
    """Seconds that a process and all below it have taken so far, those that have ended too."""
    spent: dict[int, float] = {}
    below: dict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = _fields(folder.name)
        except OSError:
            continue  # It has ended meanwhile.
        below[int(fields[1])].append(int(folder.name))
        spent[int(folder.name)] = _seconds(fields[11:15])
    found, seen = 0.0, [root]
    while seen:
        process = seen.pop()
        found += spent.get(process, 0.0) if process not in without else 0.0
        seen += below[process]
    return found


def of_server(url: str, *, builds: bool = True) -> float:
    """Seconds that all processes of a PostgreSQL on this machine have taken so far.

    Args:
        builds: those that build an index at the moment count as well.
    """
    with psycopg.connect(url) as connection:
        own = connection.info.backend_pid
        fields = _fields(own)
        without = [] if builds else [pid for (pid,) in connection.execute(BUILDERS)]
    return of_tree(int(fields[1]), without)


def of_threads(processes: Iterable[int]) -> float:
    """Seconds that the threads of some processes have run so far, those that have ended left out. It counts nanoseconds
    where the others count hundredths of a second."""
    spent = 0
    for process in processes:
        for said in Path(f"/proc/{process}/task").glob("*/schedstat"):
            with suppress(OSError):
                spent += int(said.read_text().split()[0])
    return spent / 1e9


def backends(url: str, process: int) -> list[int]:
    """The processes of a PostgreSQL that work for a rowvec on this machine."""
    with psycopg.connect(url) as connection:
        found = "select pid from pg_stat_activity where starts_with(application_name, %s)"
        return [pid for (pid,) in connection.execute(found, [f"rowvec pid {process} on "])]
