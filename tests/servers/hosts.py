"""Hosts with addresses of their own on one machine: network namespaces on a bridge, each with a host name.

with network("store", "worker") as hosts:
    hosts["store"].start("redis-server", "--bind", hosts["store"].address)
    with hosts["store"].cut():
        ...                                  nobody reaches it, and nobody is told so

What runs outside is a host too: it reaches the others, and they reach it at `Host.gateway`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rowvec.errors import StoreError
from rowvec.stores.postgres.embedded import account, binaries

SECONDS = 60.0


@dataclass(frozen=True)
class Host:
    name: str
    namespace: str
    address: str
    gateway: str

    @property
    def within(self) -> list[str]:
        """Words before a command that is to run on this host."""
        named = f'hostname {self.name} && exec "$@"'
        return ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "sh", "-c", named, "sh"]

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen([*self.within, *command], text=True, start_new_session=True, **options)

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Nothing gets in or out, as when a cable is pulled: connections stay open on both sides, and hear nothing."""
        self.unplug()
        try:
            yield
        finally:
            _ip("link", "set", self.namespace, "up")

    def unplug(self) -> None:
        _ip("link", "set", self.namespace, "down")


@contextmanager
def network(*names: str) -> Iterator[dict[str, Host]]:
    """Hosts of these names; skips where they cannot be made."""
    _need_rights()
    mark = f"rv{secrets.token_hex(3)}"
    subnet = f"10.{secrets.randbelow(100) + 100}.{secrets.randbelow(250)}"
    hosts = {
        name: Host(name, f"{mark}{number}", f"{subnet}.{number + 2}", f"{subnet}.1")
        for number, name in enumerate(names)
    }
    with ExitStack() as stack:
        _ip("link", "add", mark, "type", "bridge")
        stack.callback(_ip, "link", "delete", mark)
        _ip("address", "add", f"{subnet}.1/24", "dev", mark)
        _ip("link", "set", mark, "up")
        for host in hosts.values():
            _ip("netns", "add", host.namespace)
            stack.callback(_ip, "netns", "delete", host.namespace)
            # Its end of the cable has the name of the namespace on this side.
            _ip("link", "add", host.namespace, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
            _ip("link", "set", host.namespace, "master", mark, "up")
            _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", host.namespace, "link", "set", device, "up")
        yield hosts


def _need_rights() -> None:
    for program in ("ip", "unshare", "setpriv", "redis-server"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: iproute2, util-linux, redis-server)")
    if os.geteuid():
        pytest.skip("only root may make network namespaces")
    trial = f"rv{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "link", "add", trial, "type", "bridge"], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"this machine lets nobody make a network: {made.stderr.strip()}")
    _ip("link", "delete", trial)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def redis_on(host: Host, folder: Path) -> Iterator[str]:
    """URL of a Redis there."""
    command = ["redis-server", "--bind", host.address, "--port", "6379", "--protected-mode", "no"]
    command += ["--dir", str(folder), "--save", "", "--appendonly", "yes"]
    with running(host.start(*command, stdout=subprocess.DEVNULL)):
        yield f"redis://{host.address}:6379/0"


@contextmanager
def postgres_on(host: Host, folder: Path) -> Iterator[str]:
    """URL of a PostgreSQL there, with pgvector, that lets everybody of the network in."""
    # One that has a name, which initdb wants.
    owner = account.Account(account.maker()["user"])
    try:
        programs = account.reachable(binaries.find(), owner)
    except StoreError as error:
        pytest.skip(str(error))
    data = folder / f"postgres-{host.name}"
    data.mkdir()
    # A temporary folder lets nobody else in.
    folder.chmod(0o711)
    owner.own(data)
    initdb = [str(programs.initdb), "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"]
    subprocess.run(
        [*initdb, "--locale=C"], check=True, stdout=subprocess.DEVNULL, cwd="/", env={"LC_ALL": "C"},
        **owner.options(),
    )  # fmt: skip
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all all trust\n")
    become = ["setpriv", f"--reuid={owner.uid}", f"--regid={owner.uid}", "--clear-groups"]
    settings = {"listen_addresses": host.address, "unix_socket_directories": "", "fsync": "off"}
    command = [*become, str(programs.postgres), "-D", str(data)]
    command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with (folder / f"postgres-{host.name}.log").open("w") as log:
        server = host.start(*command, stdout=log, stderr=log, cwd="/")
    url = f"postgresql://postgres@{host.address}:5432/postgres"
    with running(server):
        _wait_until_it_answers(url, folder / f"postgres-{host.name}.log")
        yield url


def _wait_until_it_answers(url: str, log: Path) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            return psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
