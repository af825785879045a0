"""The life of an embedded server: many start it at once, the last one out stops it, and it comes back after a crash."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from rowvec.errors import StoreError, StoreUnavailable
from rowvec.stores.postgres.connect import connect
from rowvec.stores.postgres.embedded import describe, embedded_url, folder, locks, start, stop_embedded, usage
from rowvec.stores.postgres.embedded.binaries import find
from rowvec.stores.postgres.embedded.folder import Place
from tests.integration.embedded_rig import Someone, ask, kill, patiently_ask, servers, until
from tests.integration.test_resources import fill_up, small_disk
from tests.support import forked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks at processes as Linux has them")


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with data in it, to be copied."""
    state = tmp_path_factory.mktemp("pattern") / ".rowvec"
    ask(embedded_url(state, durable=False), "create table kept (key integer); insert into kept values (1)")
    stop_embedded(state)
    return state


@pytest.fixture
def place(pattern: Path, state_folder: Path) -> Iterator[Place]:
    """A state folder with data and without a server."""
    copied = Place(state_folder / ".rowvec")
    subprocess.run(["cp", "-a", pattern, copied.state], check=True)
    yield copied
    stop_embedded(copied.state)


def rows(url: str) -> int:
    return int(str(ask(url, "select count(*) from kept")[0][0]))


def last_out(place: Place) -> None:
    """This process uses the server no longer."""
    usage.leave(place)


# Starting and attaching


def test_many_who_start_it_at_once_have_one_server(state_folder: Path) -> None:
    place = Place(state_folder / "p")
    someone = Someone()
    started = [
        subprocess.Popen(someone.command(place.state, "stay"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    try:
        answers = [each.stdout.readline() for each in started]
        assert all("url" in answer for answer in answers), answers
        assert len(servers(place)) == 1
        assert len(describe(place.state).users) == 8
    finally:
        for each in started:
            each.communicate("")
    assert servers(place) == []
    assert [each.returncode for each in started] == [0] * 8


def test_attaching_takes_milliseconds(place: Place) -> None:
    embedded_url(place.state)
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        embedded_url(place.state)
        taken.append(time.perf_counter() - began)
    assert sorted(taken)[10] < 0.1
    assert len(servers(place)) == 1


def test_it_is_ended_by_the_last_one_out_and_by_no_other(place: Place) -> None:
    with Someone().using(place.state) as first:
        with Someone().using(place.state):
            (server,) = servers(place)
        assert servers(place) == [server]
        first.communicate("")
        assert servers(place) == [], "it is gone when the last one has gone: the folder may be copied"


def test_it_ends_when_the_last_one_is_killed(place: Place) -> None:
    with Someone().using(place.state) as first, Someone().using(place.state) as second:
        first.kill()
        first.wait()
        assert rows(embedded_url(place.state)) == 3
        last_out(place)
        assert servers(place)
        second.kill()
        second.wait()
        until(lambda: not servers(place) and not locks.is_held(place.users), "nobody is left")


def test_it_stays_for_a_child_that_was_forked(place: Place) -> None:
    """Such a child shares what its parent has, also when its parent has left."""
    embedded_url(place.state)
    ready, go = os.pipe()
    child = forked(lambda: os.read(ready, 1))
    last_out(place)
    time.sleep(0.3)
    assert len(servers(place)) == 1
    os.write(go, b"x")
    os.waitpid(child, 0)
    until(lambda: not servers(place), "the child has ended")
    os.close(ready)
    os.close(go)


def test_a_program_that_is_started_by_a_user_does_not_keep_it(place: Place) -> None:
    embedded_url(place.state)
    with subprocess.Popen(["sleep", "60"], close_fds=False) as sleeper:
        last_out(place)
        assert servers(place) == []
        sleeper.kill()


def test_who_starts_it_and_hangs_is_named_and_not_waited_for_for_ever(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(usage, "DECIDING_SECONDS", 3.0)
    place.run.mkdir(exist_ok=True)
    with locks.alone(place.deciding, 1), pytest.raises(StoreUnavailable, match=f"Process {os.getpid()} has been"):
        embedded_url(place.state)
    assert f"Waiting for process {os.getpid()}" in caplog.text
    assert rows(embedded_url(place.state)) == 1


# Crashes


def test_a_crash_is_noticed_and_it_is_started_again(place: Place) -> None:
    """Also for those who only have its URL, such as Celery."""
    url = embedded_url(place.state)
    for _ in range(2):
        (server,) = servers(place)
        kill(server)
        until(lambda gone=server: servers(place) not in ([], [gone]), "there is another")  # type: ignore[misc]
        assert patiently_ask(url, "select count(*) from kept") == [(1,)]
    assert describe(place.state).since is not None


def test_a_connection_that_is_opened_after_a_crash_waits_for_the_server(place: Place) -> None:
    url = embedded_url(place.state)
    connect(url, "test").close()
    for number in [*servers(place), supervisor(place)]:
        kill(number)
    with closing(connect(url, "test")) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (1,)
    assert len(servers(place)) == 1


def test_after_it_was_stopped_a_process_that_needs_it_starts_it_again(place: Place) -> None:
    with Someone().using(place.state):
        assert stop_embedded(place.state)
        assert servers(place) == []
        assert not place.facts.exists()
    url = embedded_url(place.state)
    assert stop_embedded(place.state)
    assert not stop_embedded(place.state), "there is none"
    connect(url, "test").close()
    assert len(servers(place)) == 1


def supervisor(place: Place) -> int:
    return int(folder.read_facts(place)["supervisor"])


def test_without_its_supervisor_it_ends(place: Place) -> None:
    """Nobody would ever stop it."""
    url = embedded_url(place.state)
    kill(supervisor(place))
    until(lambda: not servers(place), "it has ended")
    connect(url, "test").close()
    assert len(servers(place)) == 1


def test_what_is_left_of_a_killed_server_is_asked_to_end(place: Place) -> None:
    url = embedded_url(place.state)
    busy = threading.Thread(target=_ask_and_fail, args=(url, "select count(*) from generate_series(1, 3e8::bigint)"))
    busy.start()
    until(
        lambda: ask(url, "select 1 from pg_stat_activity where query like '%3e8%' and pid <> pg_backend_pid()"),
        "it works",
    )
    for number in [*servers(place), supervisor(place)]:
        kill(number)
    with closing(connect(url, "test")) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (1,)
    busy.join(30)
    assert not busy.is_alive()


def _ask_and_fail(url: str, statement: str) -> None:
    with suppress(psycopg.Error):
        ask(url, statement)


# Numbers of processes that are others' now


@pytest.mark.parametrize("name", ["postmaster.pid", ".s.PGSQL.5432.lock"])
@pytest.mark.parametrize("whose", ["another's", "nobody's", "half"])
def test_a_stale_file_of_a_number_hinders_no_start_and_nothing_is_signalled(
    name: str, whose: str, place: Place
) -> None:
    owner = place.data.stat().st_uid
    with subprocess.Popen(["sleep", "600"], user=owner if os.geteuid() == 0 else None) as innocent:
        number = {"another's": str(innocent.pid), "nobody's": "4194303", "half": ""}[whose]
        path = place.data / name
        path.write_text(number and f"{number}\n{place.data}\n1795727611\n5432\n.\n\n  2148113        19\nready   \n")
        os.chown(path, owner, owner)
        assert rows(embedded_url(place.state)) == 1
        stop_embedded(place.state)
        path.write_text(f"{innocent.pid}\n{place.data}\n1795727611\n5432\n.\n\n  2148113        19\nready   \n")
        assert not stop_embedded(place.state)
        assert innocent.poll() is None, "it was not ours"
        innocent.kill()


def test_files_of_ours_that_were_cut_off(place: Place) -> None:
    for file, text in ((place.facts, '{"super'), (place.password, "*:*"), (place.deciding, "\0\xff")):
        file.write_text(text, encoding="latin-1")
    assert rows(embedded_url(place.state)) == 1
    stop_embedded(place.state)
    shutil.rmtree(place.run)
    assert rows(embedded_url(place.state)) == 1, "without the password, too"


def test_a_start_that_was_cut_off_begins_again(state_folder: Path) -> None:
    place = Place(state_folder / "p")
    with subprocess.Popen(Someone().command(place.state), stdout=subprocess.DEVNULL) as starting:
        until(lambda: any(place.run.glob("new-*/PG_VERSION")), "the folder is being made")
        starting.kill()
    assert not place.data.exists()
    embedded_url(place.state)
    assert len(servers(place)) == 1


# Folders that are copied, moved, removed


def test_a_copy_has_a_server_and_rows_of_its_own(place: Place, tmp_path: Path) -> None:
    """It was made while the original was written to, with all its files that name the original's server."""
    url = embedded_url(place.state)
    copy = Place(place.state.with_name("copy"))
    with writing(url):
        subprocess.run(["cp", "-r", place.state, copy.state], check=False, stderr=subprocess.DEVNULL)
    (copy.data / "postmaster.pid").write_bytes((place.data / "postmaster.pid").read_bytes())
    theirs = embedded_url(copy.state)
    try:
        before = rows(url)
        ask(theirs, "delete from kept")
        assert rows(url) == before
        assert len(servers(place)) == len(servers(copy)) == 1
        stop_embedded(copy.state)
        assert len(servers(place)) == 1, "the original's goes on"
    finally:
        stop_embedded(copy.state)


@contextmanager
def writing(url: str) -> Iterator[None]:
    ended = threading.Event()

    def write() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not ended.is_set():
                connection.execute("insert into kept select generate_series(1, 100)")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_folder_that_is_moved_takes_its_server_along(place: Place) -> None:
    embedded_url(place.state)
    (server,) = servers(place)
    moved = Place(place.state.with_name("moved"))
    place.state.rename(moved.state)
    assert rows(embedded_url(moved.state)) == 1
    assert servers(moved) == [server]
    stop_embedded(moved.state)
    assert servers(moved) == []


def test_a_folder_that_is_removed_under_its_server(place: Place) -> None:
    with Someone().using(place.state) as other:
        (server,) = servers(place)
        shutil.rmtree(place.state)
        url = embedded_url(place.state)
        assert ask(url, "select to_regclass('kept')") == [(None,)]
        assert servers(place) != [server]
        other.kill()
    until(lambda: not Path(f"/proc/{server}").exists(), "the old one has ended")


# Folders that cannot be used


def refused(state: Path, match: str) -> StoreError:
    with pytest.raises(StoreError, match=match) as caught:
        embedded_url(state)
    assert caught.value.hint
    assert "Traceback" not in str(caught.value)
    return caught.value


def test_data_of_another_major_version(place: Place) -> None:
    (place.data / "PG_VERSION").write_text("16\n")
    error = refused(place.state, r"holds the data of PostgreSQL 16; this rowvec brings PostgreSQL 18\.")
    assert "rowvec sync" in str(error.hint)
    (place.data / "PG_VERSION").write_text("18\n")


def test_data_of_another_kind_of_machine(place: Place) -> None:
    control = place.data / "global/pg_control"
    before = control.read_bytes()
    control.write_bytes(before[:8] + before[8:12][::-1] + before[12:])
    refused(place.state, "was made on another kind of machine: its bytes are in another order")
    control.write_bytes(before[:5])
    refused(place.state, "is incomplete: global/pg_control is missing or empty")
    control.write_bytes(b"x" * len(before))
    refused(place.state, "is damaged: global/pg_control is not what PostgreSQL writes")
    control.write_bytes(before[:16] + b"x" * (len(before) - 16))
    refused(place.state, "does not start: .*control file")
    control.write_bytes(before)


def test_a_folder_that_a_server_of_another_machine_uses(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk of the network whose locks do not reach the other machine."""
    folder.write(place.facts, '{"machine": "another", "host": "db-2"}')
    monkeypatch.setattr(folder, "_is_shared", lambda path: True)
    error = refused(place.state, "is in use by a server on the machine db-2")
    assert "rowvec embedded stop" in str(error.hint)
    monkeypatch.setattr(folder, "_is_shared", lambda path: False)
    assert rows(embedded_url(place.state)) == 1, "on a disk of ours the lock would be held"


def test_a_folder_whose_server_is_out_of_reach(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "ELSEWHERE_SECONDS", 0.5)
    folder.write(place.facts, '{"machine": "another", "host": "db-2"}')
    fd = locks.open_lock(place.server)
    assert locks.take(fd)
    refused(place.state, "is in use by a server on the machine db-2")
    os.close(fd)


def test_a_folder_with_other_things_in_it(state_folder: Path) -> None:
    (state_folder / "p/postgres").mkdir(parents=True)
    (state_folder / "p/postgres/notes.txt").write_text("mine")
    refused(state_folder / "p", "is not empty and not a data folder of PostgreSQL")
    (state_folder / "q").mkdir()
    (state_folder / "q/postgres").write_text("a file")
    refused(state_folder / "q", "is a file")
    (state_folder / "r").write_text("a file")
    refused(state_folder / "r", "does not start: .*File exists|Not a directory")


def test_a_disk_that_is_read_only(place: Place) -> None:
    with small_disk(place.state.with_name("disk"), 128) as disk:
        subprocess.run(["cp", "-a", place.state, disk / "p"], check=True)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        refused(disk / "p", "is on a disk that is read-only")
        refused(disk / "new", "is on a disk that is read-only")
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


def test_a_disk_that_is_full(state_folder: Path) -> None:
    with small_disk(state_folder / "disk", 30) as disk:
        refused(disk / "p", "The disk of .* is full: .*No space left on device")
        assert not (disk / "p/postgres").exists()
        fill_up(disk, leave=0)
        refused(disk / "q", "The disk of .* is full")


# What the former start-up left


def former(state: Path) -> tuple[int | None, list[str]]:
    """A data folder as the package made it, with its trust in everybody; and how its server was called."""
    place = Place(state)
    place.data.mkdir(parents=True)
    uid = 5 if os.geteuid() == 0 else None
    for path in (state.parent, state, place.data):
        path.chmod(0o755)
    options = {}
    if uid is not None:
        os.chown(place.data, uid, uid)
        options = {"user": uid, "group": uid, "extra_groups": []}
    subprocess.run(
        [find().initdb, "--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", place.data], check=True,
        capture_output=True, cwd="/", **options,  # type: ignore[call-overload]
    )  # fmt: skip
    single = [str(find().postgres), "--single", "-D", str(place.data), "postgres"]
    made = "create table kept (key integer)\ninsert into kept values (1)\n"
    subprocess.run(single, input=made, text=True, check=True, capture_output=True, cwd="/", **options)  # type: ignore[call-overload]
    return uid, [str(find().postgres), "-D", str(place.data), "-h", "", "-k", str(place.data)]


@pytest.fixture
def old(state_folder: Path) -> Iterator[tuple[Place, Callable[[], subprocess.Popen[bytes]]]]:
    uid, command = former(state_folder / "p")
    options = {"user": uid, "group": uid, "extra_groups": []} if uid is not None else {}
    yield Place(state_folder / "p"), lambda: subprocess.Popen(command, cwd="/", stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    stop_embedded(state_folder / "p")


def test_a_folder_of_the_former_start_up_is_taken_over(
    old: tuple[Place, Callable[[], subprocess.Popen[bytes]]],
) -> None:
    place, _ = old
    ask_settings = "select current_setting('fsync'), current_setting('full_page_writes'),"
    url = embedded_url(place.state)
    assert rows(url) == 1
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(url, passfile="/nowhere")
    for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off", "listen_addresses = '*'"):
        ask(url, f"alter system set {setting}")
    stop_embedded(place.state)
    url = embedded_url(place.state)
    ask_settings += " current_setting('synchronous_commit'), current_setting('listen_addresses')"
    assert ask(url, ask_settings) == [("on", "on", "on", "")]
    assert rows(url) == 1
    assert not place.data.stat().st_mode & 0o077


def test_a_server_of_the_former_start_up_that_runs_is_named_and_can_be_stopped(
    old: tuple[Place, Callable[[], subprocess.Popen[bytes]]],
) -> None:
    place, begin = old
    with begin() as running:
        until(lambda: folder.postmaster(place)[1] == "ready", "it is up")
        error = refused(
            place.state, rf"A PostgreSQL that this rowvec did not start works in .* \(process {running.pid}\)"
        )
        assert "rowvec embedded stop" in str(error.hint)
        assert running.poll() is None
        stop_embedded(place.state)
        assert running.wait(10) == 0
    assert rows(embedded_url(place.state)) == 1


def test_signals_for_a_terminal_do_not_reach_it(place: Place) -> None:
    with subprocess.Popen(
        Someone().command(place.state, "stay"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as user:
        assert user.stdout is not None
        assert b"url" in user.stdout.readline()
        url = embedded_url(place.state)
        os.killpg(user.pid, signal.SIGINT)
        user.wait()
    assert rows(url) == 2


def test_a_child_that_is_forked_during_a_start_keeps_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another thread may do at any moment: the locks of a start would be held for as long as the child lives."""
    children, ready = [], os.pipe()
    run = start._run

    def fork_and_run(*parts: object, **more: object) -> None:
        children.append(forked(lambda: os.read(ready[0], 1)))
        run(*parts, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(start, "_run", fork_and_run)
    embedded_url(place.state)
    monkeypatch.undo()
    assert not locks.is_held(place.deciding)
    os.close(usage._uses[place].fd)  # The child has this one for good: it may use the server.
    usage._uses.pop(place)
    assert stop_embedded(place.state)
    assert not locks.is_held(place.server)
    os.write(ready[1], b"x")
    os.waitpid(children[0], 0)
    for fd in ready:
        os.close(fd)
