"""Reading by a cursor in real databases: every type of one, what is read, and rows that commit late."""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from rowvec.errors import ConfigError, SourceError
from rowvec.pipeline import Options, Pipeline
from rowvec.pipeline_status import status
from rowvec.serve import Service
from rowvec.serve.page.bodies import status_values, templates
from rowvec.sources.base import CursorSettings, Incremental
from rowvec.sources.files.source import FilesSource
from rowvec.sources.sql import SqlSource
from rowvec.stores.libsql import LibsqlStore
from rowvec.support.killpoints import Step
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemoryStore
from rowvec.types import ColumnType
from tests.acceptance.killed import KILLED, kill_at
from tests.integration.sql_rig import Run, mariadb_database, postgres_database
from tests.support import in_child, simple_pipeline, vectors_match_rows

HOUR_AGO = dt.datetime.now(dt.UTC).replace(microsecond=0, tzinfo=None) - dt.timedelta(hours=1)
ROWS = 60


@dataclass
class Kind:
    """A type of cursor: how it is declared, and the value for a number of minutes after HOUR_AGO."""

    declared: str
    value: Callable[[float], Any]
    lag: Any = None
    reread: int = 6
    """Rows that a sync without any change reads again: those of the last five minutes."""


def moment(minutes: float) -> dt.datetime:
    return HOUR_AGO + dt.timedelta(minutes=minutes)


def aware(minutes: float) -> dt.datetime:
    return moment(minutes).replace(tzinfo=dt.UTC)


def unix(minutes: float) -> int:
    return int(aware(minutes).timestamp())


KINDS = {
    "sqlite": {
        "text": Kind("text", lambda m: moment(m).isoformat(" ")),
        "text-t": Kind("text", lambda m: f"{moment(m).isoformat()}.000Z"),
        "timestamp": Kind("timestamp", lambda m: moment(m).isoformat(" ")),
        "unix": Kind("integer", unix, dt.timedelta(minutes=5)),
        "integer": Kind("integer", lambda m: int(m * 10), 50),
        "date": Kind("date", lambda m: moment(m * 1440).date().isoformat(), reread=2),
    },
    "postgres": {
        "timestamp": Kind("timestamp", moment),
        "timestamptz": Kind("timestamptz", aware),
        "date": Kind("date", lambda m: moment(m * 1440).date(), reread=2),
        "integer": Kind("integer", lambda m: int(m * 10), 50),
        "bigint": Kind("bigint", lambda m: int(m * 10) + 2**40, 50),
    },
    "mariadb": {
        "datetime": Kind("datetime(6)", moment),
        "timestamp": Kind("timestamp null", moment),
        "date": Kind("date", lambda m: moment(m * 1440).date(), reread=2),
        "integer": Kind("bigint", lambda m: int(m * 10), 50),
    },
}
CASES = [(database, name) for database, kinds in KINDS.items() for name in kinds]


class Table:
    """A table `things` in one of the databases."""

    def __init__(self, database: str, url: str, run: Callable[..., object]) -> None:
        self.url, self.run = url, run
        self.mark = "?" if database == "sqlite" else "%s"

    def create(self, declared: str) -> None:
        self.run("drop table if exists things")
        self.run(f"create table things (id integer primary key, name varchar(100), price integer, at {declared})")
        self.run("create index by_at on things (at)")

    def put(self, key: int, name: str, at: Any) -> None:
        self.run(f"delete from things where id = {self.mark}", (key,))
        self.run(f"insert into things values ({', '.join([self.mark] * 4)})", (key, name, 1, at))

    def fill(self, kind: Kind, rows: int = ROWS) -> None:
        """One a minute, the last one just now."""
        self.create(kind.declared)
        made = [(key, f"row {key}", 1, kind.value(key - rows)) for key in range(1, rows + 1)]
        marks = ", ".join([f"({', '.join([self.mark] * 4)})"] * rows)
        self.run(f"insert into things values {marks}", [value for row in made for value in row])

    def names(self) -> dict[Any, str]:
        with closing(SqlSource(self.url, table="things", key="id")) as source:
            return {row.key: row.values["name"] for page in source.pages(1000) for row in page}


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], tuple[str, Run]]]:
    """A database in each server, made when it is first asked for."""
    makers = {"postgres": postgres_database, "mariadb": mariadb_database}
    with ExitStack() as stack:
        yield cache(lambda name: stack.enter_context(makers[name]()))


@pytest.fixture
def tables(tmp_path: Path, servers: Callable[[str], tuple[str, Run]]) -> Iterator[Callable[[str], Table]]:
    with ExitStack() as stack:

        def opened(database: str) -> Table:
            if database == "sqlite":
                path = tmp_path / "things.db"
                connection = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
                connection.execute("pragma synchronous = off")
                return Table(database, f"sqlite:///{path}", lambda sql, values=(): connection.execute(sql, values))
            return Table(database, *servers(database))

        yield opened


def pipeline_of(table: Table, lag: Any = None, *, store: Any = None, embedder: HashEmbedder | None = None) -> Pipeline:
    source = SqlSource(table.url, table="things", key="id", cursor="at")
    return simple_pipeline(source, store, embedder, cursor=CursorSettings(lag), page_size=40)


def fetched(pipeline: Pipeline, statements: list[tuple[str, Any]] | None = None) -> Callable[[], int]:
    """Counts the rows that the database hands over from now on, and notes the statements."""
    assert isinstance(pipeline.source, SqlSource)
    database, counts = pipeline.source._database, [0]
    real = database.fetch

    def counting(statement: sa.Executable) -> list[tuple[Any, ...]]:
        answer = real(statement)
        counts[0] += len(answer)
        return answer

    def remember(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if statements is not None:
            statements.append((statement, values))

    database.fetch = counting  # type: ignore[method-assign]
    sa.event.listen(database.engine, "before_cursor_execute", remember)
    return lambda: counts[0]


@pytest.mark.parametrize(("database", "name"), CASES)
def test_a_cursor_of_any_type_is_read_by(database: str, name: str, tables: Callable[[str], Table]) -> None:
    kind = KINDS[database][name]
    table = tables(database)
    table.fill(kind, 60)
    pipeline = pipeline_of(table, kind.lag)
    assert not sync(pipeline).incremental

    report = sync(pipeline)
    assert (report.incremental, report.read, report.unchanged) == (True, kind.reread, kind.reread)

    table.put(1, "changed", kind.value(0))
    table.put(61, "new", kind.value(0))
    table.put(2, "late, within the lag", kind.value(-4 if kind.reread > 2 else -1))
    table.put(3, "without", None)
    table.run("delete from things where id = 30")
    report = sync(pipeline)
    assert (report.incremental, report.inserted, report.embedded, report.deleted) == (True, 1, 3, 1)
    vectors_match_rows(pipeline, table.names())

    table.put(4, "too late", kind.value(-50))
    assert sync(pipeline).embedded == 0
    report = sync(pipeline, Options(full=True))
    assert (report.embedded, report.comparison) == (1, "all rows: as asked for.")
    vectors_match_rows(pipeline, table.names())
    pipeline.close()


@pytest.mark.parametrize("database", list(KINDS))
def test_what_is_read_follows_the_change_and_not_the_table(database: str, tables: Callable[[str], Table]) -> None:
    """Rows that the database hands over, and the index that it finds them by, in tables of two sizes."""
    table = tables(database)
    table.create("integer")
    counts = []
    for size in (2000, 6000):
        table.run("delete from things")
        values = ", ".join(f"({key}, 'row {key}', 1, {key})" for key in range(1, size + 1))
        table.run(f"insert into things values {values}")
        table.run("analyze table things" if database == "mariadb" else "analyze things")
        pipeline = pipeline_of(table, 10)
        sync(pipeline, Options(allow_delete=True))
        for key in range(1, 21):
            table.put(key * 50, f"changed {key}", size + key)
        statements: list[tuple[str, Any]] = []
        count = fetched(pipeline, statements)
        assert sync(pipeline).embedded == 20
        counts.append(count())
        assert_by_index(database, pipeline, statements)
        pipeline.close()
    assert counts[0] == counts[1] <= 3 * (20 + 11)


def assert_by_index(database: str, pipeline: Pipeline, statements: list[tuple[str, Any]]) -> None:
    assert isinstance(pipeline.source, SqlSource)
    asked = [said for said in statements if ">= " in said[0] or "max(" in said[0]]
    highest = [said for said, _ in asked if "max(" in said]
    assert 1 <= len(highest) <= 4 and len(asked) == len(highest) + 1, "the highest values, and the keys from there on"
    prefix = "explain query plan" if database == "sqlite" else "explain"
    with pipeline.source._database.connect() as connection:
        for statement, values in asked:
            told = " ".join(str(tuple(step)) for step in connection.exec_driver_sql(f"{prefix} {statement}", values))
            assert "by_at" in told or "Select tables optimized away" in told, f"{statement}: {told}"


def test_two_transactions_that_commit_in_the_other_order(tables: Callable[[str], Table]) -> None:
    """The one that took its time earlier commits after a sync that has seen the later one."""
    table = tables("postgres")
    table.fill(KINDS["postgres"]["timestamptz"])
    pipeline = pipeline_of(table)
    sync(pipeline)
    with psycopg.connect(table.url) as early, psycopg.connect(table.url) as late:
        early.execute("insert into things values (1001, 'early', 1, now())")
        early.execute("update things set name = 'changed early', at = now() where id = 7")
        late.execute("insert into things values (1002, 'late', 1, clock_timestamp())")
        late.commit()
        seen = sync(pipeline)
        assert (seen.incremental, seen.inserted, seen.embedded) == (True, 1, 0)
        early.commit()
    report = sync(pipeline)
    assert (report.incremental, report.inserted, report.embedded) == (True, 1, 1)
    vectors_match_rows(pipeline, table.names())
    pipeline.close()


@pytest.mark.parametrize("step", [step for step in Step if step is not Step.AFTER_READ])
def test_a_kill_at_any_step_loses_nothing(step: Step, tables: Callable[[str], Table], tmp_path: Path) -> None:
    table = tables("sqlite")
    kind = KINDS["sqlite"]["integer"]
    table.fill(kind, 150)

    def opened() -> Pipeline:
        return pipeline_of(table, kind.lag, store=LibsqlStore(str(tmp_path / "vectors.db"), table="vectors"))

    first = opened()
    sync(first)
    first.close()
    for key in range(1, 41):
        table.put(key, f"changed {key}", kind.value(key))
    table.run("delete from things where id between 100 and 120")

    def killed() -> None:
        kill_at(step, 1)
        sync(opened())

    assert in_child(killed) == KILLED, "the step was not reached"

    pipeline = opened()
    sync(pipeline)
    vectors_match_rows(pipeline, table.names())
    report = sync(pipeline)
    assert (report.incremental, report.inserted, report.embedded, report.deleted) == (True, 0, 0, 0)
    pipeline.close()


def test_a_row_stamped_in_the_future_hides_none_that_come_after_it(tables: Callable[[str], Table]) -> None:
    table = tables("postgres")
    table.fill(KINDS["postgres"]["timestamptz"])
    table.put(7, "from the future", dt.datetime(2199, 1, 1, tzinfo=dt.UTC))
    pipeline = pipeline_of(table)
    sync(pipeline)
    table.put(8, "changed", dt.datetime.now(dt.UTC))
    report = sync(pipeline)
    assert (report.incremental, report.embedded) == (True, 1)
    vectors_match_rows(pipeline, table.names())
    pipeline.close()


@pytest.mark.parametrize("odd", [2**63 - 1, 253402300799, 10**15])
@pytest.mark.parametrize("lag", [None, 50])
@pytest.mark.parametrize("database", KINDS)
def test_an_absurd_number_hides_no_change_and_is_told(
    database: str, lag: int | None, odd: int, tables: Callable[[str], Table]
) -> None:
    table = tables(database)
    table.create("bigint")
    for key in range(1, 8):
        table.put(key, f"row {key}", odd if key == 7 else key * 1000)
    store = MemoryStore()
    said = f"the highest at, {odd}, is far beyond the others"
    with closing(pipeline_of(table, lag, store=store)) as pipeline:
        first = sync(pipeline)
        assert said in first.comparison.lower()
        table.put(2, "changed", 6500)
        waits = status(pipeline).waiting
        assert waits is not None
        assert (waits.rows, said in waits.aside) == (1, True)
        report = sync(pipeline)
        assert (report.incremental, report.embedded, said in report.comparison.lower()) == (True, 1, True)
        vectors_match_rows(pipeline, table.names())
        table.put(7, "changed too", odd)
        assert sync(pipeline).embedded == 1
        vectors_match_rows(pipeline, table.names())


@pytest.mark.parametrize(
    ("database", "declared", "value", "message"),
    [
        ("sqlite", "text", "'v00012'", "'v00012' is not an ISO 8601 time"),
        ("sqlite", "boolean", 1, "is of type boolean; a cursor is a timestamp"),
        ("sqlite", "blob", "x'00'", "is of type bytes; a cursor is a timestamp"),
        ("postgres", "text", "'2026-08-01'", "is of type text; a cursor is a timestamp"),
        (
            "postgres",
            "timestamptz",
            "'-infinity'",
            "the highest 'at' is '-infinity', which is not a time to start from",
        ),
        ("mariadb", "varchar(20)", "'2026-08-01'", "is of type text; a cursor is a timestamp"),
    ],
)
def test_a_column_that_is_no_cursor_is_refused(
    database: str, declared: str, value: Any, message: str, tables: Callable[[str], Table]
) -> None:
    table = tables(database)
    table.create(declared)
    table.run(f"insert into things values (1, 'one', 1, {value})")
    with pytest.raises((SourceError, ConfigError), match=message), closing(pipeline_of(table)) as pipeline:
        sync(pipeline)


def test_a_row_of_the_end_of_time_hides_and_stops_nothing(tables: Callable[[str], Table]) -> None:
    table = tables("postgres")
    table.create("timestamptz")
    rows = "(1, 'one', 1, 'infinity'), (2, 'two', 1, now() - interval '1 day'), (3, 'three', 1, '20000-01-01')"
    table.run(f"insert into things values {rows}")
    store = MemoryStore()
    for name, incremental in (("two", False), ("changed", True), ("changed", True)):
        table.run(f"update things set name = '{name}', at = now() where id = 2 and name <> '{name}'")
        with closing(pipeline_of(table, store=store)) as pipeline:
            report = sync(pipeline)
            assert report.incremental is incremental
            vectors_match_rows(pipeline, {1: "one", 2: name, 3: "three"})


def test_a_view_and_a_query_have_cursors_too(tables: Callable[[str], Table]) -> None:
    table = tables("postgres")
    table.fill(KINDS["postgres"]["integer"])
    source = SqlSource(table.url, query="select id, name, price, at from things", key="id", where="id > 5", cursor="at")
    pipeline = simple_pipeline(source, cursor=CursorSettings(10))
    assert sync(pipeline).inserted == ROWS - 5
    table.put(3, "not wanted", 5000)
    table.put(6, "changed", 5000)
    report = sync(pipeline)
    assert (report.read, report.embedded) == (3, 1)
    table.run("update things set id = -1 where id = 6")
    assert sync(pipeline).deleted == 1, "it does not match where any more"
    pipeline.close()


LOCAL = {"sqlite": "text", "postgres": "timestamp", "mariadb": "datetime"}


@pytest.mark.parametrize("hours", [-10, 0, 12], ids=["Honolulu", "UTC", "Auckland"])
@pytest.mark.parametrize("database", list(KINDS))
def test_in_local_time_of_any_place_a_row_of_the_future_hides_no_change(
    database: str, hours: int, tables: Callable[[str], Table]
) -> None:
    table, kind = tables(database), KINDS[database][LOCAL[database]]
    table.fill(Kind(kind.declared, lambda minutes: kind.value(minutes + 60 * hours)))
    table.put(7, "from the future", str(dt.datetime(2199, 1, 1)))
    with closing(pipeline_of(table)) as pipeline:
        sync(pipeline)
        for minutes in range(56, 60):
            table.put(minutes, f"changed {minutes}", kind.value(60 * hours + minutes))
            report = sync(pipeline)
            assert (report.incremental, report.embedded) == (True, 1)
        vectors_match_rows(pipeline, table.names())


@pytest.mark.parametrize("database", list(KINDS))
def test_what_is_stamped_in_the_hour_that_comes_twice_is_found(database: str, tables: Callable[[str], Table]) -> None:
    """In Berlin 02:05 came an hour after 02:04 and again after 02:59."""
    table = tables(database)
    table.create(KINDS[database][LOCAL[database]].declared)
    for minute in range(60):
        table.put(minute + 1, f"row {minute}", f"2026-10-25 02:{minute:02}:00")
    with closing(pipeline_of(table)) as pipeline:
        sync(pipeline)
        table.put(7, "changed in the second one", "2026-10-25 02:05:00")
        table.put(100, "new in the second one", "2026-10-25 02:00:00")
        report = sync(pipeline)
        assert (report.incremental, report.inserted, report.embedded) == (True, 1, 1)
        vectors_match_rows(pipeline, table.names())


CLOCKS = {"sqlite": "strftime('%s', 'now') + 0", "postgres": "extract(epoch from now())", "mariadb": "unix_timestamp()"}


@pytest.mark.parametrize("database", list(KINDS))
def test_rows_with_an_old_value_or_that_come_into_view_are_found(database: str, tables: Callable[[str], Table]) -> None:
    """The cursor tells of none of them; the number of rows does."""
    table, kind = tables(database), next(iter(KINDS[database].values()))
    table.fill(kind)
    where = f"price <= {CLOCKS[database]}"
    source = SqlSource(table.url, table="things", key="id", cursor="at", where=where)
    pipeline = simple_pipeline(source, cursor=CursorSettings(kind.lag))
    assert sync(pipeline).inserted == ROWS
    table.put(1001, "from a backup", kind.value(-50))
    report = sync(pipeline)
    assert (report.inserted, report.incremental) == (1, False)
    assert report.comparison == "all rows: the source holds 1 row more than at tells of."
    table.put(1002, "shown in a second", kind.value(-50))
    shown = int(time.time()) + 2
    table.run(f"update things set price = {shown} where id = 1002")
    assert sync(pipeline).inserted == 0
    time.sleep(max(0.0, shown + 1 - time.time()))
    assert sync(pipeline).inserted == 1
    vectors_match_rows(pipeline, table.names())
    assert sync(pipeline).incremental, "and then the cursor is trusted again"
    pipeline.close()


@pytest.mark.parametrize(("database", "name"), CASES)
def test_what_changed_since_the_last_sync_is_counted(database: str, name: str, tables: Callable[[str], Table]) -> None:
    kind, table = KINDS[database][name], tables(database)
    table.fill(kind)
    with closing(pipeline_of(table, kind.lag)) as pipeline:
        sync(pipeline)
        found = status(pipeline)
        if name == "date":
            assert found.waiting is None, "a row that changes later today has the value of the mark"
            return
        assert found.waiting is not None
        assert (found.waiting.rows, found.waiting.by) == (0, "at")
        statements: list[tuple[str, Any]] = []
        fetched(pipeline, statements)
        for step, change in enumerate(CHANGES):
            change(table, kind.value(1 + step))
            found = status(pipeline)
            assert found.waiting is not None
            assert found.waiting.rows > 0, change
            text = templates.get_template("status_body.html").render(**status_values(Service(pipeline), found), root="")
            assert "in step" not in text
            assert "behind by" in text
            sync(pipeline)
            found = status(pipeline)
            assert found.waiting is not None
            assert found.waiting.rows == 0
        assert any("LIMIT" in text.upper() and ">" in text for text, _ in statements), "the count is bounded"


CHANGES = (
    lambda table, at: table.put(5, "changed", at),
    lambda table, at: table.put(100, "new", at),
    lambda table, at: table.put(101, "without a value", None),
    lambda table, at: table.run("delete from things where id = 7"),
    lambda table, at: table.run(f"update things set id = -1, at = {table.mark} where id = 6", (at,)),
)


class TestFiles:
    HEADER = "id,name,price,at\n"

    def write(self, folder: Path, rows: dict[int, tuple[str, str]], file: str = "rows.csv") -> None:
        (folder / file).write_text(self.HEADER + "".join(f"{k},{name},1,{at}\n" for k, (name, at) in rows.items()))

    def opened(self, folder: Path, lag: Any = None, store: Any = None, **settings: Any) -> Pipeline:
        source = FilesSource([str(folder / "*.csv")], key="id", cursor="at", **settings)
        assert isinstance(source, Incremental)
        return simple_pipeline(source, store, cursor=CursorSettings(lag))

    def test_an_absurd_number_hides_no_change(self, tmp_path: Path) -> None:
        rows = {key: (f"row {key}", str(2**63 - 1 if key == 7 else key * 10)) for key in range(1, 8)}
        self.write(tmp_path, rows)
        store = MemoryStore()
        with closing(self.opened(tmp_path, 5, store=store)) as pipeline:
            sync(pipeline)
        rows[2] = ("changed", "65")
        self.write(tmp_path, rows)
        with closing(self.opened(tmp_path, 5, store=store)) as pipeline:
            report = sync(pipeline)
            assert (report.incremental, report.embedded) == (True, 1)

    @pytest.mark.parametrize("hours", [-10, 0, 12])
    def test_in_local_time_of_any_place_a_row_of_the_future_hides_no_change(self, tmp_path: Path, hours: int) -> None:
        rows = {n: (f"row {n}", moment(60 * hours + n - 60).isoformat(" ")) for n in range(1, 60)}
        rows[60] = ("from the future", "2199-01-01 00:00:00")
        self.write(tmp_path, rows)
        with closing(self.opened(tmp_path)) as pipeline:
            sync(pipeline)
            for minutes in range(56, 60):
                rows[minutes] = (f"changed {minutes}", moment(60 * hours + minutes).isoformat(" "))
                self.write(tmp_path, rows)
                report = sync(pipeline)
                assert (report.incremental, report.embedded) == (True, 1)

    @pytest.mark.parametrize(
        ("value", "lag"),
        [
            (lambda m: aware(m).isoformat(), None),
            (lambda m: moment(m).isoformat(" "), None),
            (lambda m: str(int(m * 10)), 50),
        ],
    )
    def test_only_rows_above_the_mark_are_compared(self, tmp_path: Path, value: Any, lag: Any) -> None:
        rows = {n: (f"row {n}", value(n - 60)) for n in range(1, 61)}
        self.write(tmp_path, rows)
        pipeline = self.opened(tmp_path, lag)
        assert sync(pipeline).inserted == 60
        rows |= {1: ("changed", value(0)), 61: ("new", value(1)), 5: ("no cursor", ""), 7: ("too late", value(-50))}
        del rows[9]
        self.write(tmp_path, rows)
        waits = status(pipeline).waiting
        assert waits is not None
        assert waits.rows >= 1, "a row above the mark"
        report = sync(pipeline)
        assert (report.incremental, report.inserted, report.embedded, report.deleted) == (True, 1, 2, 1)
        assert sync(pipeline, Options(full=True)).embedded == 1
        vectors_match_rows(pipeline, {key: name for key, (name, _) in rows.items()})
        pipeline.close()

    def test_a_value_that_is_none_is_named_with_its_line(self, tmp_path: Path) -> None:
        rows = {n: (f"row {n}", moment(n).isoformat()) for n in range(1, 2001)}
        self.write(tmp_path, {**rows, 1500: ("odd", "yesterday")})
        with pytest.raises(
            SourceError, match=r"rows.csv, line 1501: the cursor 'yesterday' of 'at' is not a valid timestamp"
        ):
            sync(self.opened(tmp_path, types={"at": ColumnType.TIMESTAMP}))

    def test_a_column_of_words_is_refused(self, tmp_path: Path) -> None:
        self.write(tmp_path, {1: ("one", "monday")})
        with pytest.raises(SourceError, match="is of type text; a cursor is a timestamp, a date or an integer"):
            self.opened(tmp_path)
