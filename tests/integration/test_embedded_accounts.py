"""The embedded server for every kind of user: whom it lets in, and what it leaves of the machine as it was."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from rowvec.errors import StoreError
from rowvec.stores.postgres.embedded import account as accounts
from rowvec.stores.postgres.embedded import address, binaries, embedded_url, stop_embedded
from rowvec.stores.postgres.embedded.folder import Place
from tests.integration.embedded_rig import (
    Someone,
    account,
    ask,
    open_folder,
    servers,
    surroundings,
)

__all__ = ["open_folder"]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="accounts and processes are looked at as Linux has them"
)

ODD = " '\";$&\\=%#?@:+,*~"
"""17 characters, each of which has ended a path somewhere."""
LONG = "/".join(["a-folder-of-a-name-as-people-give"] * 4)[:120]


def private(place: Place) -> None:
    """Nobody else can enter or read what the server has."""
    for folder in (place.data, place.run):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in (place.password, place.log, place.users, place.deciding, place.server):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    owner = place.data.stat().st_uid
    for path in place.data.rglob("*"):
        assert path.lstat().st_uid == owner
        assert not stat.S_IMODE(path.lstat().st_mode) & 0o077, path


def works(someone: Someone, project: Path, *, umask: int = 0o022, **environment: str) -> Place:
    """A project of this account works from nothing and again, ends with it, and changes nothing around it."""
    place = Place(project / ".rowvec")
    before = surroundings(project)
    for rows in (1, 2):
        answer = someone.use(place.state, umask=umask, environment=someone.environment(**environment))
        assert answer.get("rows") == rows, answer
        assert servers(place) == [], "the last one out has stopped it"
    assert surroundings(project) == before
    private(place)
    return place


def test_the_user_that_runs_the_tests(open_folder: Path) -> None:
    project = Someone().owns(open_folder / "project")
    project.chmod(0o700)
    place = works(Someone(), project)
    assert os.geteuid() == 0 or place.data.stat().st_uid == os.geteuid()


def test_root_gets_a_server_that_is_not_root_in_a_folder_that_nobody_else_enters(open_folder: Path) -> None:
    account("nobody")
    project = open_folder / "home" / "project"
    project.mkdir(parents=True)
    (open_folder / "home").chmod(0o700)
    answer = Someone().use(project / ".rowvec")
    assert "PostgreSQL does not run as root: it runs as user" in str(answer["err"])
    place = works_again(project)
    owner = place.data.stat().st_uid
    assert owner in accounts.FREE_IDS
    with pytest.raises(KeyError):
        __import__("pwd").getpwuid(owner)
    assert place.run.stat().st_uid == 0
    with Someone().using(place.state):
        (server,) = servers(place)
        status = Path(f"/proc/{server}/status").read_text()
        assert f"Uid:\t{owner}\t{owner}\t{owner}\t{owner}" in status
        assert "Groups:\t \n" in status or "Groups:\t\n" in status


def works_again(project: Path) -> Place:
    before = surroundings(project)
    assert Someone().use(project / ".rowvec")["rows"] == 2
    assert surroundings(project) == before
    return Place(project / ".rowvec")


def test_two_users_of_one_machine(open_folder: Path) -> None:
    """The first one there has nothing that the second one needs."""
    first, second = Someone(account("games")), Someone(account("nobody"))
    theirs = first.owns(open_folder / "first")
    with first.using(theirs / ".rowvec"):
        works(second, second.owns(open_folder / "second"))
        refused = second.use(theirs / ".rowvec")
        assert refused["refused"] == f"{theirs}/.rowvec/embedded belongs to games, and this is nobody."
        assert "games" in str(refused["hint"])


def test_root_leaves_the_project_of_a_user_to_its_owner(open_folder: Path) -> None:
    owner = Someone(account("games"))
    project = owner.owns(open_folder / "project")
    for _ in ("before there is any data", "and after"):
        before = {path: path.lstat().st_uid for path in open_folder.rglob("*")}
        refused = Someone().use(project / ".rowvec")
        assert "belongs to games, and root would leave files there" in str(refused["refused"])
        assert "Run this as games" in str(refused["hint"])
        assert {path: path.lstat().st_uid for path in open_folder.rglob("*")} == before
        assert "rows" in owner.use(project / ".rowvec")


def test_a_copy_that_root_made_with_plain_cp(open_folder: Path) -> None:
    account("nobody")
    original, copy = open_folder / "original", open_folder / "copy"
    original.mkdir()
    Someone().use(original / ".rowvec")
    subprocess.run(["cp", "-r", original, copy], check=True)
    assert (copy / ".rowvec/postgres").stat().st_uid == 0
    assert Someone().use(copy / ".rowvec")["rows"] == 2
    assert Someone().use(original / ".rowvec")["rows"] == 2
    private(Place(copy / ".rowvec"))


def test_an_account_without_a_name(open_folder: Path) -> None:
    """As `docker run --user 4711`, or OpenShift, has it."""
    account("nobody")
    nameless = Someone(4711)
    project = nameless.owns(open_folder / "project")
    works(nameless, project, home="/")


@pytest.mark.parametrize("home", ["/", "/nowhere", "/proc"])
def test_a_home_that_is_missing_or_cannot_be_written(home: str, open_folder: Path) -> None:
    someone = Someone(account("games"))
    project = someone.owns(open_folder / LONG / "project")
    works(someone, project, home=home)


@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_any_umask(umask: int, open_folder: Path) -> None:
    place = works(Someone(), Someone().owns(open_folder / "project"), umask=umask)
    assert not stat.S_IMODE(place.state.stat().st_mode) & 0o022, "nobody else can put a folder in the place of ours"


def test_a_long_path(open_folder: Path) -> None:
    place = Place(Someone().owns(open_folder / LONG / "project") / ".rowvec")
    assert len(str(place.state)) > 120
    works(Someone(), place.state.parent)
    assert not list(place.data.glob(".s.*"))


def test_seventeen_odd_characters(open_folder: Path) -> None:
    assert len(set(ODD)) == 17
    works(Someone(), Someone().owns(open_folder / f"p{ODD}q"))


def test_a_folder_for_temporary_files_that_is_missing(open_folder: Path) -> None:
    works(Someone(), Someone().owns(open_folder / "project"), TMPDIR="/nowhere", XDG_RUNTIME_DIR="/nowhere")


def test_a_cold_environment(open_folder: Path) -> None:
    """What is set for the user's own servers is not for ours, and a language that is not installed is not asked for."""
    works(
        Someone(), Someone().owns(open_folder / "project"), PGPASSWORD="of-another", PGPORT="5433", PGUSER="ada",
        PGDATABASE="shop", PGDATA="/nowhere", PGPASSFILE="/nowhere", LANG="xx_YY.UTF-8", LC_ALL="xx_YY.UTF-8",
    )  # fmt: skip


def knock(path: Path, uid: int) -> str:
    """What another account gets that does all it can with a socket: a class of error, or what the server says."""
    code = """
import os, socket, struct, sys
s = socket.socket(socket.AF_UNIX)
try:
    os.chdir(os.path.dirname(sys.argv[1]))
    s.connect(os.path.basename(sys.argv[1]))
    body = struct.pack("!I", 196608) + b"user\\0postgres\\0database\\0postgres\\0\\0"
    s.sendall(struct.pack("!I", len(body) + 4) + body)
    print(s.recv(100))
except OSError as error:
    print(type(error).__name__)
"""
    python = shutil.which("python3", path="/usr/bin") or pytest.skip("there is no /usr/bin/python3")
    done = subprocess.run([python, "-c", code, path], capture_output=True, text=True, check=True, user=uid, cwd="/")
    return done.stdout


@pytest.mark.parametrize("folder", ["short", LONG])
def test_another_user_of_the_machine_can_do_nothing(folder: str, open_folder: Path) -> None:
    """The project is open to all, as one in a home of mode 755 is."""
    owner, other = Someone(account("nobody")), account("games")
    place = Place(owner.owns(open_folder / folder) / ".rowvec")
    with owner.using(place.state):
        password = place.password.read_text().strip().rpartition(":")[2]
        assert len(password) > 40
        for path in (place.data, place.run, place.password, place.log, place.data / "PG_VERSION"):
            seen = subprocess.run(["/bin/ls", "-la", f"{path}/"], user=other, cwd="/", capture_output=True, check=False)
            assert seen.returncode, path
            assert subprocess.run(["/bin/cat", path], user=other, cwd="/", capture_output=True, check=False).returncode
        assert knock(place.socket, other).strip() == "PermissionError"
        for link in Path("/tmp").glob(f"rowvec-{owner.uid}/*"):
            assert knock(link / "postgres" / place.socket.name, other).strip() == "PermissionError"
        processes = subprocess.run(["/bin/ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
        assert password not in processes
        assert password not in place.log.read_text()
        # Even through folders that somebody opened: it asks for a password, and nobody is let in without.
        for each in (place.data, place.run, place.socket):
            each.chmod(0o777)
        assert "SCRAM-SHA-256" in knock(place.socket, other)
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(
                host=os.path.dirname(address.socket_path(place)), user="postgres", dbname="postgres",
                passfile="/nowhere",
            )  # fmt: skip
        (server,) = servers(place)
        sockets = {os.readlink(f"/proc/{server}/fd/{fd}") for fd in os.listdir(f"/proc/{server}/fd")}
        inodes = {name[8:-1] for name in sockets if name.startswith("socket:[")}
        networks = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        assert not inodes & {line.split()[9] for line in networks.splitlines() if len(line.split()) > 9}
    assert stat.S_IMODE(place.data.stat().st_mode) == 0o777
    owner.use(place.state)
    private(place)


def test_programs_that_only_root_can_reach_are_copied_to_where_others_can(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment in root's home: the home stays closed."""
    account("nobody")
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    there = binaries.find()
    hidden = binaries.Binaries(closed / there.root.parent.name / there.root.name)
    shutil.copytree(there.root, hidden.root)
    if there.libraries.exists():
        shutil.copytree(there.libraries, hidden.libraries)
    monkeypatch.setattr(accounts, "SHARED", open_folder / "shared")
    monkeypatch.setattr(binaries, "find", lambda: hidden)
    before = surroundings(hidden.root)
    state = open_folder / "project"
    url = embedded_url(state)
    try:
        assert ask(url, "create extension vector") == []
        assert surroundings(hidden.root) == before
        (server,) = servers(Place(state))
        assert os.readlink(f"/proc/{server}/exe").startswith(str(open_folder / "shared"))
    finally:
        stop_embedded(state)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")
def test_root_without_the_right_to_be_another_is_told_so(open_folder: Path) -> None:
    setpriv = shutil.which("setpriv") or pytest.skip("setpriv is not installed")
    someone = Someone()
    bounded = [setpriv, "--bounding-set", "-setuid,-setgid,-chown", "--inh-caps", "-setuid,-setgid,-chown"]
    done = subprocess.run(
        [*bounded, *someone.command(open_folder / "p")], env=someone.environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert "PostgreSQL does not run as root, and this system lets root start nothing" in answer["refused"]
    assert "ordinary user" in answer["hint"]


def test_a_short_name_is_put_only_where_nobody_else_can_change_it(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(open_folder / LONG / ".rowvec")
    runtime = open_folder / "run"
    (runtime / "rowvec").mkdir(parents=True, mode=0o777)
    (runtime / "rowvec").chmod(0o777)
    elsewhere = open_folder / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    temporary = open_folder / "tmp"
    temporary.mkdir()
    (temporary / f"rowvec-{os.geteuid()}").symlink_to(elsewhere)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_CACHE_HOME", str(open_folder / "cache"))
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setenv("TMPDIR", str(temporary))
    found = list(address._private_folders())
    assert runtime / "rowvec" not in found, "everybody may enter it"
    assert temporary / f"rowvec-{os.geteuid()}" not in found, "it is a link"
    monkeypatch.setattr(address, "_private_folders", lambda: iter(()))
    with pytest.raises(StoreError, match="too long for a socket"):
        address.url(place)
