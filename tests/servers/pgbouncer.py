"""A real PgBouncer in front of a PostgreSQL, as Supabase, Heroku and others put one there.

with pgbouncer(url, "transaction") as pooled:
    psycopg.connect(pooled)
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.servers.proxy import Proxy
from tests.support import password_of

SECONDS = 30.0
FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")


def program() -> str:
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path=os.pathsep.join(FOLDERS))
    if found is None:
        pytest.skip("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
    return found


@contextmanager
def pgbouncer(url: str, mode: str, *, pool_size: int = 5) -> Iterator[str]:
    """URL of the same database through a pooler in that mode, which is started for it; the role `limited` with the
    password `pw` is passed on too."""
    started = program()
    parts = conninfo_to_dict(url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ExitStack() as stack:
        # The server's socket is in a folder that nobody else may enter, not the pooler's account either.
        server = stack.enter_context(Proxy(f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"))
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="rowvec-test-")))
        users = folder / "users.txt"
        users.write_text(f'"{parts["user"]}" "{password_of(url)}"\n"limited" "pw"\n')
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {users}\npool_mode = {mode}\n"
            f"default_pool_size = {pool_size}\nlogfile = {folder}/log\n"
        )
        account: dict[str, Any] = {}
        if os.geteuid() == 0:
            # It does not run as root.
            nobody = pwd.getpwnam("nobody")
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid}
            for path in (folder, users, settings):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        process = subprocess.Popen(
            [started, "-q", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **account
        )
        try:
            pooled = f"postgresql://{parts['user']}@127.0.0.1:{port}/{parts['dbname']}"
            _wait(process, pooled)
            yield pooled
        finally:
            process.terminate()
            process.wait(10)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            psycopg.connect(url, autocommit=True).close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None, "pgbouncer did not start"
            assert time.monotonic() < deadline, "pgbouncer does not answer"
            time.sleep(0.05)
