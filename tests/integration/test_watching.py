"""Rows of a real PostgreSQL that are followed by a trigger and LISTEN."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from rowvec.errors import ConfigError, DeletionGuard, GenerationChanged, Locked, SourceError, SourceUnavailable
from rowvec.generations.lifecycle import roll_back
from rowvec.pipeline import Pipeline
from rowvec.sources.databases.heard import KEYS_WAITING, Changed
from rowvec.sources.databases.notify import KEYS_IN_ONE, KEYS_IN_TRANSACTION, Notifier
from rowvec.sources.sql import SqlSource
from rowvec.stores.runs import Report
from rowvec.stores.write_batch import WriteBatch
from rowvec.syncing.run import sync
from rowvec.syncing.watch import watch
from rowvec.testing import HashEmbedder, MemoryStore
from rowvec.testing.generation import MemoryGeneration
from tests.integration.sql_rig import Run, mariadb_database, postgres_database
from tests.support import as_role, simple_pipeline, vectors_match_rows

PATIENCE = 60.0
NAMES = ["it's", 'q"', "\\", "ä", "{}", "%s", "😀"]


class Shop:
    """A table `shop.things` and the pipelines that read it."""

    def __init__(self, url: str, run: Run, stack: ExitStack) -> None:
        self.url, self.run, self._stack = url, run, stack
        run("drop schema if exists shop cascade; create schema shop")

    def create(self, key_type: str = "integer") -> None:
        self.run(f"create table shop.things (id {key_type} primary key, name text, price integer)")

    def fill(self, rows: int) -> None:
        self.run(f"insert into shop.things select n, 'row ' || n, 1 from generate_series(1, {rows}) n")

    def pipeline(self, store: MemoryStore | None = None) -> Pipeline:
        source = SqlSource(self.url, table="shop.things", key="id")
        return simple_pipeline(self._stack.enter_context(closing(source)), store)

    def notifier(self) -> Notifier:
        source = self.pipeline().source
        assert isinstance(source, SqlSource)
        return source.notifier()

    def install(self) -> Notifier:
        notifier = self.notifier()
        notifier.carry_out(notifier.install_sql())
        return notifier

    def asked(self, statement: str) -> list[Any]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(statement).fetchall()

    def functions(self) -> int:
        count: int = self.asked("select count(*) from pg_proc where pronamespace = 'shop'::regnamespace")[0][0]
        return count

    def names(self) -> dict[Any, str]:
        return dict(self.asked("select id, name from shop.things"))


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[str, Run]]:
    with postgres_database() as made:
        yield made


@pytest.fixture
def shop(database: tuple[str, Run]) -> Iterator[Shop]:
    with ExitStack() as stack:
        yield Shop(*database, stack)


@contextmanager
def watching(pipeline: Pipeline, notifier: Notifier, **settings: Any) -> Iterator[list[Any]]:
    """Watch in a thread; what it told, and at the end its report or its error."""
    told: list[Any] = []
    stop = threading.Event()

    def work() -> None:
        try:
            told.append(watch(pipeline, notifier, note=told.append, stop=stop, **settings))
        except BaseException as error:
            told.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield told
    finally:
        stop.set()
        thread.join()


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def in_step(shop: Shop, pipeline: Pipeline) -> None:
    """Wait for it, and check it vector by vector."""

    def same() -> bool:
        try:
            vectors_match_rows(pipeline, shop.names())
        except Exception:
            return False
        return True

    until(same, "the vectors are those of the rows")


class TestTheTrigger:
    def test_it_is_made_twice_without_harm_and_leaves_nothing_behind(self, shop: Shop) -> None:
        shop.create()
        assert not shop.notifier().installed()
        notifier = shop.install()
        shop.install()
        assert notifier.installed()
        assert shop.asked("select count(*) from pg_trigger where tgrelid = 'shop.things'::regclass") == [(4,)]
        notifier.carry_out(notifier.uninstall_sql())
        notifier.carry_out(notifier.uninstall_sql())
        assert not notifier.installed()
        assert shop.asked("select count(*) from pg_trigger where tgrelid = 'shop.things'::regclass") == [(0,)]
        assert shop.functions() == 0

    def test_one_that_is_switched_off_is_not_there(self, shop: Shop) -> None:
        shop.create()
        notifier = shop.install()
        shop.run("alter table shop.things disable trigger user")
        assert not notifier.installed()

    def test_a_long_name_of_a_table_is_shortened(self, shop: Shop) -> None:
        name = "ä" * 31
        shop.run(f'create table "{name}" (id integer primary key, name text, price integer)')
        with closing(SqlSource(shop.url, table=name, key="id")) as source:
            notifier = source.notifier()
            notifier.carry_out(notifier.install_sql())
            assert notifier.installed()
            with notifier.listening() as heard:
                shop.run(f"insert into \"{name}\" values (1, 'one', 1)")
                assert heard.take(PATIENCE).keys == {1}

    def test_a_user_without_the_rights_is_told_which(self, shop: Shop) -> None:
        shop.create()
        with role(shop) as url, closing(SqlSource(url, table="shop.things", key="id")) as source:
            notifier = source.notifier()
            with pytest.raises(SourceError, match="does not let this user change the triggers") as caught:
                notifier.carry_out(notifier.install_sql())
            assert caught.value.hint is not None
            assert "grant trigger on shop.things" in caught.value.hint
            user = psycopg.conninfo.conninfo_to_dict(url)["user"]
            shop.run(f"grant trigger on shop.things to {user}; grant create on schema shop to {user}")
            notifier.carry_out(notifier.install_sql())
            with notifier.listening() as heard:
                shop.run("insert into shop.things values (1, 'one', 1)")
                assert heard.take(PATIENCE).keys == {1}

    def test_a_table_in_use_is_left_alone(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rowvec.sources.databases.notify.LOCK_SECONDS", 1)
        shop.create()
        notifier = shop.notifier()
        with psycopg.connect(shop.url) as other:
            other.execute("insert into shop.things values (1, 'one', 1)")
            with pytest.raises(SourceUnavailable, match="was in use for 1 seconds; nothing was changed"):
                notifier.carry_out(notifier.install_sql())
        assert shop.functions() == 0

    @pytest.mark.parametrize(
        ("key_type", "values"),
        [
            ("bigint", [1, -(2**63), 2**63 - 1]),
            ("text", ["a", "", *NAMES]),
            ("char(9)", ["a        ", "it's     "]),
            ("uuid", [UUID("9d0e4f52-8a7c-4e61-b1c5-2f6a7c3d9e10")]),
        ],
    )
    def test_keys_of_every_type_arrive_as_they_are_read(self, shop: Shop, key_type: str, values: list[Any]) -> None:
        shop.create(key_type)
        pipeline = shop.pipeline()
        with watching(pipeline, shop.install(), allow_delete=True):
            for value in values:
                shop.run("insert into shop.things values (%s, 'one', 1)", (value,))
            in_step(shop, pipeline)
            shop.run("update shop.things set name = 'two'")
            in_step(shop, pipeline)
            shop.run("delete from shop.things")
            in_step(shop, pipeline)

    def test_old_and_new_key_are_told_of(self, shop: Shop) -> None:
        shop.create()
        shop.fill(5)
        with shop.install().listening() as heard:
            shop.run("update shop.things set id = 100 where id = 3")
            assert heard.take(PATIENCE) == Changed({3, 100})
            shop.run("update shop.things set name = 'none' where id = 999; delete from shop.things where id = 999")
            shop.run("insert into shop.things values (5, 'five', 1) on conflict do nothing")
            shop.run("truncate shop.things")
            assert heard.take(PATIENCE) == Changed(many=True), "and nothing of statements that changed no row"

    def test_many_rows_are_not_named(self, shop: Shop) -> None:
        shop.create()
        with listener(shop) as notices:
            shop.fill(KEYS_IN_ONE)
            shop.run("delete from shop.things")
            shop.fill(20_000)
            shop.run("update shop.things set price = 2")
        sizes = [len(notice) for notice in notices]
        assert len(notices) == 4
        assert max(sizes) < 1000
        assert notices[2:] == ['{"many": true}'] * 2

    def test_a_transaction_of_many_statements_does_not_flood(self, shop: Shop) -> None:
        shop.create()
        with listener(shop) as notices:
            shop.run(
                "do $$ begin for n in 1 .. 5000 loop insert into shop.things values (n, 'row', 1); end loop; end $$"
            )
        assert len(notices) == KEYS_IN_TRANSACTION + 1
        assert notices[-1] == '{"many": true}'

    def test_a_payload_that_is_too_long_becomes_many(self, shop: Shop) -> None:
        shop.create("text")
        with listener(shop) as notices:
            shop.run("insert into shop.things select n || repeat('é', 40), 'row', 1 from generate_series(1, 100) n")
            shop.run("insert into shop.things values (repeat('key', 2600), 'row', 1)")
            shop.run("insert into shop.things values (repeat('keys', 2600), 'row', 1)")
        assert [notice == '{"many": true}' for notice in notices] == [True, False, True]

    def test_it_never_fails_the_writer(self, shop: Shop) -> None:
        """A trigger that refers to a column that is gone must not stop the application."""
        shop.create()
        with listener(shop) as notices:
            shop.run("alter table shop.things rename column id to number")
            shop.fill(3)
            shop.run("update shop.things set price = 2")
        assert notices == ['{"many": true}'] * 2
        assert shop.asked("select count(*) from shop.things") == [(3,)]

    def test_what_rolls_back_is_not_told(self, shop: Shop) -> None:
        shop.create()
        with listener(shop) as notices:
            with psycopg.connect(shop.url) as connection:
                connection.execute("insert into shop.things values (1, 'one', 1)")
                connection.rollback()
            shop.run("insert into shop.things values (2, 'two', 1)")
        assert notices == ['{"keys" : [2]}']


@contextmanager
def listener(shop: Shop) -> Iterator[list[str]]:
    """Every notification of the block, as it came."""
    notices: list[str] = []
    with psycopg.connect(shop.url, autocommit=True) as connection:
        channel = shop.install().channel
        connection.execute(f'listen "{channel}"')
        yield notices
        shop.run(f"notify \"{channel}\", 'end'")
        for notice in connection.notifies(timeout=PATIENCE):
            if notice.payload == "end":
                return
            notices.append(notice.payload)


@contextmanager
def role(shop: Shop) -> Iterator[str]:
    """URL for a user who may read the table, and no more."""
    name = f"reader_{time.monotonic_ns()}"
    shop.run(
        f"create role {name} login password 'pw';"
        f" grant usage on schema shop to {name}; grant select on shop.things to {name}"
    )
    try:
        yield as_role(shop.url, name, "pw")
    finally:
        shop.run(f"drop owned by {name} cascade; drop role {name}")


class TestWatching:
    def test_rows_are_followed_as_they_change(self, shop: Shop) -> None:
        shop.create()
        shop.fill(50)
        pipeline = shop.pipeline()
        with watching(pipeline, shop.install()) as told:
            in_step(shop, pipeline)
            for statement in (
                "insert into shop.things values (51, 'new', 1)",
                "update shop.things set name = 'changed' where id between 5 and 9",
                "delete from shop.things where id in (1, 2, 3)",
                "update shop.things set id = 1000 where id = 20",
                "insert into shop.things values (7, 'upserted', 1) on conflict (id) do update set name = excluded.name",
            ):
                shop.run(statement)
                in_step(shop, pipeline)
        report = told[-1]
        assert isinstance(report, Report)
        assert report.read < 2 * 50 + 20, "the rows that changed were read, and not all of them each time"
        assert (report.inserted, report.deleted, report.failed) == (52, 4, 0)

    def test_many_changes_at_once_are_caught_up_with(self, shop: Shop) -> None:
        shop.create()
        shop.fill(300)
        pipeline = shop.pipeline()
        with watching(pipeline, shop.install()):
            in_step(shop, pipeline)
            shop.run("update shop.things set name = 'price ' || id where id > 100")
            in_step(shop, pipeline)

    def test_rows_that_are_deleted_one_by_one_are_guarded_like_others(self, shop: Shop) -> None:
        shop.create()
        shop.fill(50)
        pipeline = shop.pipeline()
        with watching(pipeline, shop.install()) as told:
            in_step(shop, pipeline)
            shop.run("delete from shop.things where id > 45")
            in_step(shop, pipeline)
            shop.run("delete from shop.things where id > 5")
            until(lambda: told, "it ends")
        assert isinstance(told[-1], DeletionGuard)
        with watching(pipeline, shop.notifier(), allow_delete=True):
            in_step(shop, pipeline)

    def test_a_truncation_ends_it_unless_allowed(self, shop: Shop) -> None:
        shop.create()
        shop.fill(50)
        pipeline = shop.pipeline()
        with watching(pipeline, shop.install()) as told:
            in_step(shop, pipeline)
            shop.run("truncate shop.things")
            until(lambda: told, "it ends")
        assert isinstance(told[-1], DeletionGuard)
        with watching(pipeline, shop.notifier(), allow_delete=True):
            in_step(shop, pipeline)

    def test_a_killed_connection_is_made_again_and_caught_up_with(self, shop: Shop) -> None:
        shop.create()
        shop.fill(50)
        pipeline = shop.pipeline()
        with watching(pipeline, shop.install()) as told:
            in_step(shop, pipeline)
            for number in range(3):
                until(lambda: killed(shop), "its connection is there to be killed")
                shop.run("insert into shop.things values (%s, 'unheard', 1)", (100 + number,))
                shop.run("delete from shop.things where id = %s", (1 + number,))
                shop.run("update shop.things set name = %s where id = 30", (f"unheard {number}",))
                in_step(shop, pipeline)
        assert isinstance(told[-1], Report)
        assert sum("does not answer" in str(note) and "It is tried again" in str(note) for note in told) == 3

    def test_what_changes_before_the_first_sync_ends_is_heard(self, shop: Shop) -> None:
        shop.create()
        shop.fill(50)
        store = MemoryStore()
        pipeline = shop.pipeline(store)

        class Overtaken(MemoryGeneration):
            def write(self, batch: WriteBatch) -> int:
                if store.writes == 0:
                    shop.run("update shop.things set name = 'while it was reading' where id = 1")
                return super().write(batch)

        store.handle = Overtaken
        with watching(pipeline, shop.install()):
            in_step(shop, pipeline)

    def test_another_sync_is_waited_for(self, shop: Shop) -> None:
        shop.create()
        shop.fill(5)
        store = MemoryStore()
        pipeline = shop.pipeline(store)
        with watching(pipeline, shop.install()) as told:
            in_step(shop, pipeline)
            with held(store):
                shop.run("update shop.things set name = 'changed' where id = 1")
                until(lambda: told, "it says that it waits")
            in_step(shop, pipeline)
        assert "Another sync holds the lock" in told[0]

    def test_from_time_to_time_all_is_compared(self, shop: Shop) -> None:
        shop.create()
        shop.fill(5)
        pipeline = shop.pipeline()
        with watching(pipeline, shop.install(), every=0.2):
            in_step(shop, pipeline)
            shop.run("set session_replication_role = replica")
            shop.run("update shop.things set name = 'no trigger saw it' where id = 1")
            shop.run("reset session_replication_role")
            in_step(shop, pipeline)


@contextmanager
def held(store: MemoryStore) -> Iterator[None]:
    """The store's lock, as soon as it is free."""
    with ExitStack() as stack:

        def taken() -> bool:
            with suppress(Locked):
                stack.enter_context(MemoryStore(share=store).lock())
                return True
            return False

        until(taken, "the lock is free")
        yield


def killed(shop: Shop) -> bool:
    return shop.asked(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'rowvec watch'"
        " and datname = current_database() and query ilike 'listen%'"
    ) == [(True,)]


class TestWhatCannotBeWatched:
    def test_a_query_and_a_view(self, shop: Shop) -> None:
        shop.create()
        shop.run("create view shop.seen as select * from shop.things")
        with (
            closing(SqlSource(shop.url, query="select * from shop.things", key="id")) as source,
            pytest.raises(ConfigError, match="a query cannot be watched"),
        ):
            source.notifier()
        with (
            closing(SqlSource(shop.url, table="shop.seen", key="id")) as source,
            pytest.raises(SourceError, match=r"shop.seen is not a table \(a view\)"),
        ):
            source.notifier()

    def test_another_database(self, tmp_path: Path) -> None:
        with mariadb_database() as (url, run):
            run("create table things (id integer primary key, name text)")
            with (
                closing(SqlSource(url, table="things", key="id")) as source,
                pytest.raises(ConfigError, match="cannot be watched: that takes a table in PostgreSQL"),
            ):
                source.notifier()


class Busy:
    """Tells that row 1 has changed, whenever it is asked."""

    def __init__(self, stop: threading.Event, asked: Callable[[int], None]) -> None:
        self.stop, self.asked, self.times = stop, asked, 0

    @contextmanager
    def listening(self) -> Iterator[Busy]:
        yield self

    def take(self, seconds: float) -> Changed:
        self.times += 1
        self.asked(self.times)
        if self.times > 10:
            self.stop.set()
        changed = Changed()
        changed.keys.add(1)
        return changed


def test_what_was_not_heard_is_caught_up_with_however_busy_the_table_is() -> None:
    pipeline = simple_pipeline(rows={1: "one", 2: "two"})
    rows = pipeline.source.rows
    stop = threading.Event()

    def unheard(times: int) -> None:
        if times == 3:
            rows[2]["name"] = "second"

    watch(pipeline, Busy(stop, unheard), every=0.01, stop=stop)
    vectors_match_rows(pipeline, {1: "one", 2: "second"})


@pytest.mark.parametrize("every", [600.0, 0.0], ids=["named rows", "catching up"])
def test_a_model_that_another_process_put_live_is_not_changed_back(every: float) -> None:
    ours = simple_pipeline(rows={1: "one", 2: "two"}, embedder=HashEmbedder(model="ours"))
    former = simple_pipeline(ours.source, ours.store, HashEmbedder(model="former"))
    newer = simple_pipeline(ours.source, ours.store, HashEmbedder(model="newer"))
    sync(former)

    def another(times: int) -> None:
        if times == 1:
            vectors_match_rows(ours, {1: "one", 2: "two"})
            sync(newer)

    with pytest.raises(GenerationChanged, match="another process changed the model"):
        watch(ours, Busy(threading.Event(), another), every=every)
    assert ours.store.ledger().fingerprint == newer.embedder.fingerprint
    vectors_match_rows(newer, {1: "one", 2: "two"})


def test_a_rollback_of_another_process_is_followed() -> None:
    ours = simple_pipeline(rows={1: "one", 2: "two"}, embedder=HashEmbedder(model="ours"))
    former = simple_pipeline(ours.source, ours.store, HashEmbedder(model="former"))
    sync(former)
    told: list[str] = []

    def another(times: int) -> None:
        if times == 1:
            roll_back(former)

    watch(ours, Busy(stop := threading.Event(), another), every=0.0, note=told.append, stop=stop)
    assert any("was rolled back on" in text for text in told)
    assert ours.store.ledger().fingerprint == former.embedder.fingerprint


def test_what_nobody_takes_is_kept_up_to_a_bound() -> None:
    changed = Changed()
    for number in range(KEYS_WAITING + 1):
        changed.add(f'{{"keys": [{number}]}}')
    assert changed.many
    assert len(changed.keys) < 100


@pytest.mark.parametrize("payload", ["", "hello", "[1, 2]", "7", '{"keys": 5}'])
def test_what_somebody_else_says_means_that_all_is_looked_at(payload: str) -> None:
    changed = Changed()
    changed.add(payload)
    assert changed.many
