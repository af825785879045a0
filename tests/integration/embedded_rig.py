"""Embedded servers under other accounts, and what is true of the machine around them."""

from __future__ import annotations

import functools
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest

from rowvec.stores.postgres.embedded import process
from rowvec.stores.postgres.embedded.folder import Place

ROOT = Path(__file__).parents[2]
USE = """
import json, os, sys
from pathlib import Path
import psycopg
from rowvec.errors import RowvecError
from rowvec.stores.postgres.embedded import embedded_url
try:
    url = embedded_url(Path(sys.argv[1]))
    with psycopg.connect(url) as connection:
        # Two that make one table at the same moment fail, whatever "if not exists" says.
        connection.execute("select pg_advisory_xact_lock(1)")
        connection.execute("create table if not exists kept (key integer)")
        connection.execute("insert into kept values (1)")
        rows = connection.execute("select count(*) from kept").fetchone()[0]
    print(json.dumps({"url": url, "rows": rows}), flush=True)
except RowvecError as error:
    print(json.dumps({"refused": error.message, "hint": error.hint}))
    sys.exit(3)
if "stay" in sys.argv:
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Someone:
    """An account of the machine; `None` is the one that the tests run under."""

    uid: int | None = None

    def options(self) -> dict[str, Any]:
        return {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": []}

    def owns(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        if self.uid is not None:
            os.chown(folder, self.uid, self.uid)
        return folder

    def command(self, state: Path | str, *words: str) -> list[str]:
        return [python_of(self.uid), "-c", USE, str(state), *words]

    def environment(self, home: str | Path = "/", **more: str) -> dict[str, str]:
        path = f"{ROOT / 'src'}:{site_packages()}"
        return {"PATH": "/usr/bin:/bin", "HOME": str(home), "PYTHONPATH": path, "LANG": "C.UTF-8", **more}

    def use(
        self, state: Path, *, umask: int = 0o022, environment: Mapping[str, str] | None = None
    ) -> dict[str, object]:
        """What comes of starting or joining the server of a folder, writing a row, and ending."""
        done = subprocess.run(
            self.command(state), env=environment or self.environment(), umask=umask, cwd="/", capture_output=True,
            text=True, check=False, **self.options(),
        )  # fmt: skip
        assert done.returncode in (0, 3), done.stderr
        assert "Traceback" not in done.stderr
        answer: dict[str, object] = json.loads(done.stdout)
        return {**answer, "err": done.stderr}

    @contextmanager
    def using(self, state: Path) -> Iterator[subprocess.Popen[str]]:
        """A process that uses the server until the end of the block."""
        with subprocess.Popen(
            self.command(state, "stay"), env=self.environment(), cwd="/", stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, **self.options(),
        ) as running:  # fmt: skip
            try:
                assert running.stdout is not None
                assert "url" in running.stdout.readline()
                yield running
            finally:
                if running.poll() is None:
                    running.communicate("")


def site_packages() -> str:
    return next(path for path in sys.path if path.endswith("site-packages"))


@functools.cache
def python_of(uid: int | None) -> str:
    """A Python that this account can run, with the packages of this one; the test skips where there is none."""
    if uid is None:
        return sys.executable
    if os.geteuid() != 0:
        pytest.skip("only root can act as another account")
    candidates = [os.path.realpath(sys.executable), shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin")]
    for python in filter(None, candidates):
        with suppress(OSError):
            someone = Someone(uid)
            tried = subprocess.run(
                [python, "-c", "import psycopg, rowvec.stores.postgres.embedded"], env=someone.environment(), cwd="/",
                capture_output=True, check=False, **someone.options(),
            )  # fmt: skip
            if tried.returncode == 0:
                return python
    pytest.skip("no Python of this version with rowvec's packages can be run by another account")


def account(name: str) -> int:
    """The number of an account that every system has; the test skips where not."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as another account")
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        pytest.skip(f"this system has no account {name}")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account can enter and none but ours can change, as /srv or /home are."""
    with TemporaryDirectory(prefix="rowvec-test-", dir="/var/tmp", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        yield Path(name)


def surroundings(folder: Path) -> dict[str, object]:
    """Modes and owners of a folder and of all above it, and the accounts of the machine."""
    found: dict[str, object] = {}
    for path in (folder, *folder.parents):
        stat = path.stat()
        found[str(path)] = (oct(stat.st_mode), stat.st_uid, stat.st_gid)
    for path in (Path("/etc/passwd"), Path("/etc/group")):
        found[str(path)] = path.read_bytes()
    return found


def servers(place: Place) -> list[int]:
    """Processes that are a server of this folder; not those that such a one forked, before they have a title either."""
    found: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and process.serves(int(name), place.data):
            with suppress(OSError, IndexError):
                if not Path(f"/proc/{name}/cmdline").read_bytes().startswith(b"postgres: "):
                    found[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
    return [
        number for number, parent in found.items() if parent not in found and not process.serves(parent, place.data)
    ]


def until(met: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, f"not within {seconds:.0f} seconds: {what}"
        time.sleep(0.02)


def kill(number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def patiently_ask(url: str, statement: str, seconds: float = 60.0) -> list[tuple[object, ...]]:
    """As `ask`, of a server that is being started again."""
    end = time.monotonic() + seconds
    while True:
        try:
            return ask(url, statement)
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
