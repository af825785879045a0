"""Whatever happens to rows, settings, processes and connections: after one undisturbed sync the vectors are right.

A state machine edits rows, changes the text and the model, and disturbs syncs in every way it can. What should be
stored it knows from a dictionary of rows. Between two syncs it holds rowvec to less: every vector that is stored is
that of the text whose hash stands beside it, a row has no passage of another text, and no row that has a vector loses
it because something went wrong.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from rowvec.auditing.audit import audit
from rowvec.documents.passages import PassageSettings
from rowvec.errors import DeletionGuard, GenerationHeld, Locked, StoreUnavailable
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import CursorSettings
from rowvec.sources.sql import SqlSource
from rowvec.stores.base import GenerationHandle, Store, TableSpec, existing
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.runs import Report
from rowvec.stores.write_batch import WriteBatch
from rowvec.support import killpoints
from rowvec.support.killpoints import Step
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, with_nan, with_one_missing, with_zero
from rowvec.types import Column, ColumnType, Document, Embedded, Fingerprint, Key, Row
from rowvec.workers.members import identity
from rowvec.workers.ranges import sync_range
from tests.servers.hrana import HranaServer, serving
from tests.support import digest, in_child, rows_of
from tests.support_passages import Held, Passages, Said, stored_hashes, with_vector
from tests.torture import TORTURE, Faults, error_of, tried

pytestmark = pytest.mark.slow

EXAMPLES, STEPS = (34, 50) if TORTURE else (2, 12)
"""Six combinations of 34 runs of 50 steps are 10,200 steps."""
PAIRS = [(source, store) for source in ("sqlite", "postgres") for store in ("postgres", "libsql-file", "libsql-http")]
WORDS = ["lamp", "chair", "a lamp and a chair", "żółć 東京 😀", 'it\'s "100%" \\ :x', " spaces  inside ", "Lamp", "0"]
PARAGRAPHS = [
    "The pump runs dry at night and nobody hears it.",
    "A valve of brass holds the water back. It leaks.",
    "żółć stands here beside 東京 and 😀, in one line of words.",
    "Short.",
    "One sentence that is longer than any passage may be, so that it is cut somewhere between two of its words",
    "The pump runs dry at night and somebody hears it.",
]
"""Long texts are made of them, so rows share passages."""
MODELS = {"one": 8, "two": 8, "wide": 12}
WINDOW = 16
LONG = 26
"""No text of at most this many characters is cut: it has too few words."""
CUTS: dict[str, PassageSettings | None] = {
    "off": None,
    "plain": PassageSettings(tokens=9, overlap=0),
    "overlapping": PassageSettings(tokens=12, overlap=3, max_passages=5),
    "context": PassageSettings(tokens=12, overlap=0, context="{note}"),
}
COLUMNS = (Column("note", ColumnType.TEXT), Column("price", ColumnType.INTEGER))
TEXTS: list[Callable[[str, str], str]] = [
    lambda name, note: name,
    lambda name, note: f"{name} {note}".strip(),
    lambda name, note: f"{note}: {name} {name}" if name else "",
]
"""Three ways to make a text of a row."""

long_texts = st.lists(st.sampled_from(PARAGRAPHS), min_size=2, max_size=6).map("\n\n".join)
names = st.sampled_from(["", *WORDS]) | long_texts
notes = st.sampled_from(["", *WORDS[:3]])
prices = st.none() | st.integers(0, 3)
Values = tuple[str | None, str | None, int | None]


class Recording(HashEmbedder):
    """Refuses texts with a certain word in them, and spoils its answer once."""

    def __init__(self, dimension: int, **settings: Any) -> None:
        super().__init__(dimension, **settings)
        self.fingerprint = replace(self.fingerprint, max_tokens=WINDOW)
        self.refused_word = ""

    def embed(self, texts: Any) -> Embedded:
        if self.refused_word:
            self.refused |= {text for text in texts if self.refused_word in text}
        try:
            return super().embed(texts)
        finally:
            self.spoil = None


class LostAcknowledgement:
    """A store whose answer to a write gets lost: before the write was done, or after."""

    def __init__(self, store: Store, *, done: bool) -> None:
        self.done = done
        self.left = 1
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def prepare(self, spec: TableSpec) -> LostWrite:
        return LostWrite(self._store.prepare(spec), self)


class LostWrite:
    def __init__(self, generation: GenerationHandle, store: LostAcknowledgement) -> None:
        self._generation = generation
        self._lost = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generation, name)

    def write(self, batch: WriteBatch) -> int:
        if self._lost.left:
            self._lost.left = 0
            if self._lost.done:
                self._generation.write(batch)
            raise StoreUnavailable("The answer got lost, as the test asked.")
        return self._generation.write(batch)


@dataclass
class Former:
    """What made the vectors of another setting, but for the recipe, which is that of today."""

    recipe: int

    def embedder(self, settings: str) -> Recording:
        model = settings.split()[0]
        return Recording(MODELS[model], model=model)

    def documents(self, settings: str, model: Fingerprint) -> tuple[Callable[[Row], Document], tuple[str, ...]]:
        return partial(document, recipe=self.recipe, settings=self.passages(settings)), ("name", "note")

    def passages(self, settings: str) -> PassageSettings | None:
        return CUTS[settings.split()[1]]

    def close(self) -> None:
        pass


@dataclass
class World:
    """One kind of source with one kind of store, and how to reach and to disturb them."""

    folder: Path
    source: str
    store: str
    url: str
    hrana: HranaServer | None
    faults: Faults
    run: Callable[..., object]
    """A statement, in the database of the rows."""
    table: str = ""

    def begin(self) -> None:
        self.table = f"things_{uuid4().hex[:8]}"
        self.sql(
            f"create table {self.table} (id integer primary key, name text, note text, price integer, changed integer)"
        )

    def sql(self, statement: str, *values: Any) -> None:
        self.run(statement.replace("%s", "?") if self.source == "sqlite" else statement, values)

    def open_source(self, cursor: str | None) -> SqlSource:
        url = f"sqlite:///{self.folder / 'rows.db'}" if self.source == "sqlite" else self.url
        return SqlSource(url, table=self.table, key="id", cursor=cursor)

    def open_store(self) -> Store:
        vectors = f"{self.table}_vectors"
        if self.store == "postgres":
            return PostgresStore(self.url, vectors, pipeline="things", index=None)
        if self.store == "libsql-file":
            return LibsqlStore(str(self.folder / "vectors.db"), table=vectors)
        assert self.hrana is not None
        return LibsqlStore(self.hrana.url("vectors"), table=vectors)

    @property
    def has_connections(self) -> bool:
        return "postgres" in (self.source, self.store) or self.store == "libsql-http"

    def cut(self) -> None:
        """Break every connection that rowvec has, as a restart of the server would."""
        if "postgres" in (self.source, self.store):
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'rowvec%'"
                )
        if self.hrana is not None:
            self.hrana.control(cut_before=1, cut_after=1)


class Convergence(RuleBasedStateMachine):
    world: ClassVar[World]

    @initialize(
        rows=st.lists(st.tuples(names, notes, prices), max_size=12),
        cursor=st.sampled_from([None, "changed"]),
        cut=st.sampled_from(list(CUTS)),
    )
    def begin(self, rows: list[Values], cursor: str | None, cut: str) -> None:
        self.world.begin()
        self.cursor = cursor
        self.version = 0
        self.rows: dict[int, Values] = {}
        self.known: set[Said] = set()
        """All that rows may have said."""
        self.recipe = 0
        self.model = "one"
        self.cut = cut
        self.live = self.fingerprint
        self.vectors_before: dict[Key, Held] = {}
        """What each was made from."""
        for key, values in enumerate(rows):
            self.put(key, values)
        self.settle()

    # What happens to rows and settings

    def put(self, key: int, values: Values) -> None:
        self.rows[key] = values
        self.version += 1
        self.world.sql(
            f"insert into {self.world.table} values (%s, %s, %s, %s, %s) on conflict (id) do update set"
            " name = excluded.name, note = excluded.note, price = excluded.price, changed = excluded.changed",
            key, *values, self.version,
        )  # fmt: skip
        self.know_texts()

    def know_texts(self) -> None:
        self.known |= {
            said(values, recipe, settings)
            for values in self.rows.values()
            for recipe in range(len(TEXTS))
            for settings in CUTS.values()
        }

    @rule(key=st.integers(0, 15), name=names | st.none(), note=notes | st.none(), price=prices)
    def write_row(self, key: int, name: str | None, note: str | None, price: int | None) -> None:
        self.put(key, (name, note, price))

    @rule(first=st.integers(0, 15), second=st.integers(0, 15))
    def swap_rows(self, first: int, second: int) -> None:
        if first in self.rows and second in self.rows:
            one, two = self.rows[first], self.rows[second]
            self.put(first, two)
            self.put(second, one)

    @rule(keys=st.sets(st.integers(0, 15), min_size=1, max_size=4))
    def delete_rows(self, keys: set[int]) -> None:
        for key in keys & set(self.rows):
            del self.rows[key]
            self.world.sql(f"delete from {self.world.table} where id = %s", key)

    @rule(
        key=st.integers(0, 15),
        place=st.sampled_from([0.0, 0.5, 1.0]),
        removed=st.integers(0, 1),
        paragraph=st.sampled_from(PARAGRAPHS) | st.none(),
    )
    def edit_a_long_text(self, key: int, place: float, removed: int, paragraph: str | None) -> None:
        """A paragraph in front, in the middle or at the end is put in, swapped for another one, or taken out."""
        if key in self.rows:
            name, note, price = self.rows[key]
            paragraphs = (name or "").split("\n\n")
            at = round(place * (len(paragraphs) - removed))
            paragraphs[at : at + removed] = [paragraph] if paragraph is not None else []
            self.put(key, ("\n\n".join(paragraphs), note, price))

    @rule(cut=st.sampled_from(list(CUTS)))
    def change_passages(self, cut: str) -> None:
        self.cut = cut

    @rule(recipe=st.integers(0, len(TEXTS) - 1))
    def change_text_settings(self, recipe: int) -> None:
        self.recipe = recipe

    @rule(model=st.sampled_from(list(MODELS)))
    def change_model(self, model: str) -> None:
        self.model = model

    @rule(key=st.integers(0, 15))
    def delete_a_vector_by_hand(self, key: int) -> None:
        with self.opened() as pipeline:
            found = pipeline.store.generation(pipeline.spec)
            if found is not None:
                found.write(WriteBatch(deletes=[key]))
                self.vectors_before.pop(key, None)

    # Syncs, disturbed and not

    @rule()
    def settle(self) -> None:
        """A sync that nothing disturbs, and after it everything is as it should be."""
        with self.opened() as pipeline:
            unless_held(pipeline)
            if rows_of(pipeline).failures():
                sync(pipeline, Options(retry_failed=True))
                # A generation that lacked rows takes its place when a whole sync finds none missing.
                sync(pipeline)
            self.is_right(pipeline)
            again = sync(pipeline)
            assert (again.written, again.texts) == (0, 0)
            assert audit(pipeline, settle=0).findings == {}
        self.vectors_before = {key: Held(said, whole=True) for key, said in self.expected().items()}
        self.live = self.fingerprint

    @rule(page_size=st.integers(1, 5), billed=st.booleans())
    def sync_and_count_what_is_embedded(self, page_size: int, billed: bool) -> None:
        with self.opened(page_size=page_size) as pipeline:
            pipeline.embedder.billed = billed
            store = pipeline.store
            same_model = store.ledger().fingerprint in (None, pipeline.spec.fingerprint)
            found = store.generation(pipeline.spec)
            needed: dict[bytes, str] = {}
            stored: set[bytes] = set()
            if same_model and found is not None:
                known, passages = stored_hashes(found), Passages(self.embedder(), CUTS[self.cut])
                for key, each in self.expected().items():
                    if known.get(key) != passages.settled(each).hash:
                        needed |= passages.embedded(each)
                stored = with_vector(found, needed)
            try:
                report = unless_held(pipeline, Options())
            except DeletionGuard:
                gone = set(found.keys(None, 100) if found is not None else ()) - set(self.expected())
                # They are more than half, together with what went in the last days.
                assert not same_model or gone
                return
            self.recovered(pipeline, report)
            if same_model and report and not report.failed and not report.waiting:
                sent = Counter(pipeline.embedder.texts)
                missing = {text for text_hash, text in needed.items() if text_hash not in stored}
                assert missing <= set(sent) <= set(needed.values())
                assert sent <= Counter(set(needed.values())), "a text is embedded once in a run"

    def recovered(self, pipeline: Pipeline, report: Report | None) -> None:
        if report and not rows_of(pipeline).failures():
            self.is_right(pipeline)

    @rule(step=st.sampled_from(Step), occurrence=st.integers(1, 3), billed=st.booleans())
    def kill_a_sync(self, step: Step, occurrence: int, billed: bool) -> None:
        tried(self.world.faults, "killed at a labelled step")

        def killed() -> None:
            killpoints.observer = _once(step, occurrence, partial(os.kill, os.getpid(), signal.SIGKILL))
            with self.opened(chunk_texts=3 if billed else 64) as pipeline:
                pipeline.embedder.billed = billed
                unless_held(pipeline)

        assert in_child(killed) in (0, -signal.SIGKILL)
        self.each_vector_is_that_of_the_text_beside_it()

    @rule(done=st.booleans())
    def lose_an_acknowledgement(self, done: bool) -> None:
        tried(self.world.faults, "acknowledgement lost")
        with self.opened() as pipeline:
            store: Any = LostAcknowledgement(pipeline.store, done=done)
            report = unless_held(replace(pipeline, store=store))
            assert report is None or report.conflicts == 0
            self.recovered(pipeline, report)

    @precondition(lambda self: self.world.has_connections)
    @rule(step=st.sampled_from(Step), occurrence=st.integers(1, 2))
    def cut_connections(self, step: Step, occurrence: int) -> None:
        tried(self.world.faults, "every connection cut")
        self.disturbed(_once(step, occurrence, self.world.cut))

    @rule(
        spoil=st.sampled_from([with_nan, with_zero, with_one_missing]),
        refused=st.sets(st.sampled_from(WORDS), max_size=2),
        word=st.sampled_from(["", "brass", "Short", "nobody"]),
        silent=st.integers(0, 1),
    )
    def answer_wrongly(self, spoil: Any, refused: set[str], word: str, silent: int) -> None:
        tried(self.world.faults, "wrong answer of the embedder")
        with self.opened(chunk_texts=4) as pipeline:
            embedder = pipeline.embedder
            embedder.spoil, embedder.refused, embedder.unavailable = spoil, refused, silent
            embedder.refused_word = word
            report = unless_held(pipeline)
            assert report is None or report.failed + report.waiting == len(rows_of(pipeline).failures())
        self.each_vector_is_that_of_the_text_beside_it()

    @rule(key=st.integers(0, 15), name=names, occurrence=st.integers(1, 3))
    def change_a_row_during_a_sync(self, key: int, name: str, occurrence: int) -> None:
        tried(self.world.faults, "row changed during a sync")
        self.disturbed(_once(Step.AFTER_READ, occurrence, partial(self.put, key, (name, "", 1))))

    @rule(key=st.integers(0, 15), step=st.sampled_from(Step))
    def delete_a_row_during_a_sync(self, key: int, step: Step) -> None:
        tried(self.world.faults, "row deleted during a sync")
        self.disturbed(_once(step, 1, partial(self.delete_rows, {key})))

    def disturbed(self, observer: Callable[[Step], None]) -> None:
        with self.opened(page_size=5) as pipeline:
            killpoints.observer = observer
            try:
                error = error_of(lambda: unless_held(pipeline))
            finally:
                killpoints.observer = None
            assert error is None or error.transient, error
        self.each_vector_is_that_of_the_text_beside_it()

    @rule()
    def two_syncs_at_once(self) -> None:
        tried(self.world.faults, "two syncs at once")
        self.together([self.whole_sync, self.whole_sync])

    @precondition(lambda self: self.world.store == "postgres")
    @rule(middle=st.integers(0, 15))
    def two_workers_of_a_fleet(self, middle: int) -> None:
        tried(self.world.faults, "two workers at once")
        with self.opened() as pipeline:
            ledger = pipeline.store.ledger()
            pipeline.store.prepare(pipeline.spec)
        share = partial(self.range_sync, ledger)
        self.together([partial(share, None, str(middle)), partial(share, str(middle), None)])

    def whole_sync(self) -> None:
        with self.opened() as pipeline:
            unless_held(pipeline)

    def range_sync(self, ledger: Any, after: str | None, until: str | None) -> None:
        with self.opened() as pipeline:
            sync_range(pipeline, after, until, ledger=ledger, expected=identity(pipeline), options=ALLOWED)

    def together(self, works: list[Callable[[], None]]) -> None:
        errors: list[BaseException] = []

        def run(work: Callable[[], None]) -> None:
            try:
                work()
            except Locked:
                pass
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        self.each_vector_is_that_of_the_text_beside_it()

    # What is held against it

    def each_vector_is_that_of_the_text_beside_it(self) -> None:
        with self.opened() as pipeline:
            live = pipeline.store.ledger().fingerprint
            assert live is not None
            kept = existing(pipeline.store, replace(pipeline.spec, fingerprint=live, dimension=live.dimension))
            found = Passages(self.embedder(live.model), CUTS[cut_of(live)]).held(kept, self.known)
            lost = self.vectors_before.keys() - found.keys()
            if live != self.live:
                # Both models refuse a new text, or a passage of it, and the vector of the former one goes with the
                # former model.
                failed, expected = {failure.key for failure in kept.failures()}, self.expected(cut_of(self.live))
                lost -= {
                    key for key in lost & failed if Held(expected[int(key)], whole=True) != self.vectors_before[key]
                }
            assert not lost, f"rows {lost} had a vector, are still there, and have none now"
            self.vectors_before, self.live = found, live

    def expected(self, cut: str | None = None) -> dict[Key, Said]:
        """What every row says that should have a vector, by the settings of today or of that name."""
        settings = CUTS[cut or self.cut]
        texts = {key: said(values, self.recipe, settings) for key, values in self.rows.items()}
        return {key: each for key, each in texts.items() if each.text}

    def is_right(self, pipeline: Pipeline) -> None:
        expected, live = self.expected(), rows_of(pipeline)
        Passages(self.embedder(), CUTS[self.cut]).are_right(live, expected)
        stored = {key: (found["note"], found["price"]) for key, found in live.metadata(sorted(expected)).items()}
        assert stored == {key: self.rows[int(key)][1:] for key in expected}

    def embedder(self, model: str | None = None) -> Recording:
        model = model or self.model
        return Recording(MODELS[model], model=model)

    @property
    def fingerprint(self) -> Fingerprint:
        settings = CUTS[self.cut]
        return replace(self.embedder().fingerprint, passages=settings.identity if settings is not None else "")

    @contextmanager
    def opened(self, *, page_size: int = 2000, chunk_texts: int = 64) -> Iterator[Any]:
        # A row without text as a sync begins may lose its vector, whatever it says in the end.
        expected = self.expected()
        self.vectors_before = {key: held for key, held in self.vectors_before.items() if key in expected}
        embedder, settings = self.embedder(), CUTS[self.cut]
        embedder.chunk_texts = chunk_texts
        to_document = partial(document, recipe=self.recipe, settings=settings)
        spec = TableSpec(
            pipeline="things", key="id", key_type=ColumnType.INTEGER, dimension=MODELS[self.model], metadata=COLUMNS,
            language="simple", fingerprint=self.fingerprint, recipe=str(self.recipe),
            settings=f"{self.model} {self.cut}",
        )  # fmt: skip
        parts = (
            self.world.open_source(self.cursor),
            to_document,
            ("name", "note"),
            embedder,
            self.world.open_store(),
            spec,
        )
        pipeline = Pipeline(
            "things", *parts, page_size=page_size, cursor=CursorSettings(lag=0), passages=settings,
            former=Former(self.recipe),
        )  # fmt: skip
        try:
            yield pipeline
        finally:
            pipeline.close()


def said(values: Values, recipe: int, settings: PassageSettings | None) -> Said:
    name, note, _ = values
    text = TEXTS[recipe](name or "", note or "")
    return Said(text, (note or "") if settings is not None and settings.context and len(text) > LONG else "")


def document(row: Row, recipe: int, settings: PassageSettings | None) -> Document:
    metadata = (row.values["note"], row.values["price"])
    says = said((row.values["name"], *metadata), recipe, settings)
    whole_hash = digest(says.text) if says.context else None
    row_hash = digest(repr(metadata))
    return Document(row.key, says.text, metadata, says.hash, row_hash, context=says.context, whole_hash=whole_hash)


def cut_of(made: Fingerprint) -> str:
    return next(
        name for name, settings in CUTS.items() if (settings.identity if settings is not None else "") == made.passages
    )


ALLOWED = Options(allow_delete=True)


def unless_held(pipeline: Pipeline, options: Options = ALLOWED) -> Report | None:
    """Sync; None where a new generation has to wait, because rows failed in it."""
    try:
        return sync(pipeline, options)
    except GenerationHeld:
        return None


def _once(step: Step, occurrence: int, act: Callable[[], object]) -> Callable[[Step], None]:
    seen = 0

    def observe(reached: Step) -> None:
        nonlocal seen
        seen += reached is step
        if reached is step and seen == occurrence:
            act()

    return observe


@pytest.fixture(params=PAIRS, ids="-".join)
def world(request: pytest.FixtureRequest, quick_folder: Path, faults: Faults) -> Iterator[World]:
    source, store = request.param
    with ExitStack() as stack:
        url = request.getfixturevalue("postgres_url") if "postgres" in request.param else ""
        hrana = stack.enter_context(serving(quick_folder)) if store == "libsql-http" else None
        if source == "sqlite":
            database = sqlite3.connect(quick_folder / "rows.db", isolation_level=None, check_same_thread=False)
            run: Callable[..., object] = stack.enter_context(closing(database)).execute
        else:
            run = stack.enter_context(psycopg.connect(url, autocommit=True)).execute
        yield World(quick_folder, source, store, url, hrana, faults, run)


@pytest.mark.timeout(3000 if TORTURE else 300)
def test_after_any_history_one_undisturbed_sync_makes_the_vectors_right(world: World) -> None:
    machine = type("Machine", (Convergence,), {"world": world})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None, derandomize=not TORTURE,
            suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
        ),
    )  # fmt: skip


@pytest.mark.timeout(300)
def test_a_history_of_long_texts(world: World) -> None:
    """What the machine does by chance, once in a row: texts are cut, edited, shortened, refused, cut elsewhere."""
    machine = type("Machine", (Convergence,), {"world": world})()
    long, other = "\n\n".join(PARAGRAPHS), "\n\n".join(PARAGRAPHS[:2] * 2)
    machine.begin(rows=[(long, "chair", 1), (other, "", 2), (long, "", 3), ("lamp", "", 4)], cursor=None, cut="plain")
    for place, paragraph in ((0.0, "A new one in front."), (0.5, "One in the middle."), (1.0, "One at the end.")):
        machine.edit_a_long_text(key=0, place=place, removed=0, paragraph=paragraph)
        machine.sync_and_count_what_is_embedded(page_size=2, billed=True)
    machine.write_row(key=0, name="lamp", note="", price=1)
    machine.write_row(key=3, name=f"{other}\n\nThe last words of all.", note="chair", price=1)
    machine.kill_a_sync(step=Step.WRITE_AFTER_COMMIT, occurrence=1, billed=True)
    machine.settle()
    machine.edit_a_long_text(key=2, place=0.0, removed=1, paragraph=None)
    machine.answer_wrongly(spoil=None, refused=set(), word="brass", silent=0)
    machine.settle()
    for cut in ("overlapping", "context", "off", "plain"):
        machine.change_passages(cut=cut)
        machine.write_row(key=1, name=f"{cut} {other}", note=cut, price=2)
        machine.kill_a_sync(step=Step.AFTER_EMBED, occurrence=2, billed=True)
        machine.settle()
    machine.delete_rows(keys={2})
    machine.settle()
