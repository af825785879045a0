"""Stores that an older or a newer rowvec wrote: brought up to date with what is in them, or refused in a sentence."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rowvec.documents import text as text_module
from rowvec.documents.values import SHOWERS
from rowvec.errors import RowvecError, SourceError
from rowvec.generations.lifecycle import roll_back
from rowvec.pipeline import Options, Pipeline
from rowvec.pipeline_status import status
from rowvec.searcher import Searcher
from rowvec.stores.base import existing
from rowvec.stores.libsql import migrations as file_migrations
from rowvec.stores.libsql.database import Statement
from rowvec.stores.migrations import Migration, latest
from rowvec.stores.postgres import migrations as postgres_migrations
from rowvec.stores.postgres.keyword_index import index as keyword_index
from rowvec.support.hashes import covered
from rowvec.syncing.preview import preview
from rowvec.syncing.run import sync
from tests.acceptance.shop import PATIENCE
from tests.acceptance.upgrade_rig import PIPELINES, OldStores, restored

META = {"products": "rowvec.meta", "products_file": "rowvec_meta"}
LATEST = {
    "products": latest(postgres_migrations.MIGRATIONS), "products_file": latest(file_migrations.MIGRATIONS),
}  # fmt: skip
QUERY = "red shoe"
READING = [
    ["plan"], ["status"], ["failures"], ["generations"], ["search", QUERY, "-p"],
    ["search", QUERY, "-m", "keyword", "-p"], ["similar", "1", "-p"], ["index", "status", "-p"], ["audit"],
]  # fmt: skip
WRITING = [
    ["sync"],
    ["rollback"],
    ["generations", "--drop", "previous"],
    ["index", "build", "-p"],
    ["audit", "--repair"],
]


@pytest.fixture
def old(tmp_path: Path, postgres_url: str) -> Iterator[OldStores]:
    with restored(tmp_path, postgres_url) as stores:
        yield stores


def figures(old: OldStores, pipeline: str) -> dict[str, Any]:
    """What a user can see of a store, but for what a sync changes."""
    seen = {name: old.json(name, pipeline) for name in ("generations", "failures")}
    status = old.json("status", pipeline)
    kept = ("coverage", "failures", "model", "tokens", "cost", "stale", "rows", "current")
    found = old.json("search", QUERY, "-p", pipeline, "-m", "keyword")["results"]
    # Not their scores: the words of a text may be others in a new format.
    hits = [{name: value for name, value in hit.items() if name not in ("score", "passages")} for hit in found]
    # Nor the size on disk.
    seen["generations"] = [{**each, "bytes": None} for each in seen["generations"]]
    return {**seen, "hits": hits, **{name: status[name] for name in kept if name in status}}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_an_old_store_is_upgraded_with_its_data_intact_and_nothing_is_embedded(old: OldStores, pipeline: str) -> None:
    before = figures(old, pipeline)
    assert (
        len(before["generations"]["generations"] if isinstance(before["generations"], dict) else before["generations"])
        == 2
    )
    said = old.state(pipeline)
    assert (said["version"], len(said["pending"]), said["ok"]) == (0, said["wanted"], True)
    answer = old.run("check", pipeline, "--apply")
    assert answer.code == 0, answer.out
    assert f"version {said['wanted']}, up to date" in answer.out
    assert figures(old, pipeline) == before
    for _ in range(2):
        assert old.run("sync", pipeline).code in (0, 3)
    assert figures(old, pipeline) == before
    assert old.embedded == []


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_first_sync_upgrades_too(old: OldStores, pipeline: str) -> None:
    assert old.run("sync", pipeline).code in (0, 3)
    said = old.state(pipeline)
    assert (said["version"], said["pending"]) == (said["wanted"], [])
    assert old.embedded == []


@pytest.mark.parametrize("pipeline", ["half", "half_file"])
def test_a_generation_that_was_being_built_is_gone_on_with(old: OldStores, pipeline: str) -> None:
    old.execute("products", "update rowvec.failures set next_try = now()")
    assert old.run("sync", pipeline).code in (1, 3)
    # Those that had a vector of the new model already are not among them, nor is anything of the live one.
    # "rowvec" asks how long the old model's vectors are.
    assert sorted({*old.embedded} - {"rowvec"}) == ["REFUSED now", "chair", "oak desk", "red chair", "wool sock"]


@pytest.mark.parametrize("pipeline", ["products", "notes", "products_file"])
def test_the_previous_generation_of_an_old_store_can_be_returned_to(old: OldStores, pipeline: str) -> None:
    assert old.run("rollback", pipeline).code == 0
    found = old.json("generations", pipeline)
    states = {each["state"]: each["fingerprint"]["dimension"] for each in found}
    assert states == {"live": 6, "previous": 8}
    assert old.state(pipeline)["pending"] == []


COLUMNS = """select table_name, column_name, ordinal_position, data_type, is_nullable, column_default,
    identity_generation from information_schema.columns where table_schema = 'rowvec' order by 1, 3"""
CONSTRAINTS = """select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint
    where connamespace = 'rowvec'::regnamespace order by 1, 2"""
INDEXES = "select tablename, indexname, indexdef from pg_indexes where schemaname = 'rowvec' order by 1, 2"
GRANTS = """select relname, relacl::text from pg_class
    where relnamespace = 'rowvec'::regnamespace and relkind = 'r' order by 1"""
VERSIONS = "select version from rowvec.meta order by version"


def test_all_steps_together_make_what_a_new_store_has_in_postgresql(old: OldStores) -> None:
    def shape() -> list[list[tuple[Any, ...]]]:
        return [old.execute("products", sql) for sql in (COLUMNS, CONSTRAINTS, INDEXES, GRANTS, VERSIONS)]

    assert old.run("check", "products", "--apply").code == 0
    upgraded = shape()
    old.execute("products", "drop schema rowvec cascade", "drop table products_embeddings")
    assert old.run("sync", "products").code == 3
    assert shape() == upgraded
    assert len(upgraded[0]) > 30


def test_all_steps_together_make_what_a_new_store_has_in_a_file(old: OldStores) -> None:
    def shape() -> list[list[tuple[Any, ...]]]:
        own = "select type, name, sql from sqlite_master where tbl_name glob 'rowvec_*' order by type, name"
        return [old.execute("products_file", sql) for sql in (own, "select version from rowvec_meta order by version")]

    assert old.run("check", "products_file", "--apply").code == 0
    upgraded = shape()
    (old.folder / "vectors.db").unlink()
    assert old.run("sync", "products_file").code == 3
    assert shape() == upgraded
    assert {"rowvec_generations", "rowvec_unfit", "rowvec_placements"} <= {name for _, name, _ in upgraded[0]}


@pytest.mark.parametrize("pipeline", ["products", "products_file"])
def test_a_newer_store_is_refused_by_every_command_that_reads_or_writes(old: OldStores, pipeline: str) -> None:
    assert old.run("check", pipeline, "--apply").code == 0
    old.execute(pipeline, f"insert into {META[pipeline]} values (99, '9.9.9', '2027-01-01')")
    before = old.execute(pipeline, *content(pipeline))
    for words in [["check"], ["check", "--apply"], ["map"], *READING, *WRITING]:
        answer = old.run(*words, pipeline)
        assert answer.code == 1, words
        said = answer.out + answer.err
        for part in ("version 99", "rowvec 9.9.9", f"up to {LATEST[pipeline]}", "Install"):
            assert part in said, (words, said)
        assert "Traceback" not in said, words
    assert old.execute(pipeline, *content(pipeline)) == before
    assert old.embedded == []


def content(pipeline: str) -> list[str]:
    if pipeline.endswith("_file"):
        return ["select target, state, recipe, since, settings from rowvec_generations order by 1, 2"]
    return ["select scope, state, recipe, changed_at, settings from rowvec.generations order by 1, 2"]


IDENTITY = {"products": "rowvec.identity", "products_file": "rowvec_identity"}


@pytest.mark.parametrize("pipeline", IDENTITY)
def test_an_upgraded_store_has_an_identity_and_one_that_lost_it_gets_another(old: OldStores, pipeline: str) -> None:
    def identity() -> str:
        with old.opened(pipeline) as opened:
            return opened.store.identity()

    assert identity() == ""
    assert old.run("check", pipeline, "--apply").code == 0
    first = identity()
    assert old.run("sync", pipeline).code == 3
    assert identity() == first != ""
    old.execute(pipeline, f"drop table {IDENTITY[pipeline]}")
    assert old.state(pipeline)["lacking"] == [f"{IDENTITY[pipeline].removeprefix('rowvec.')}.id"]
    assert old.run("sync", pipeline).code == 3
    assert identity() not in ("", first)


# Books of other versions


LACKING = {
    "products": [
        f"alter table rowvec.{table} drop column {column}"
        for table, column in [
            ("generations", "undone"), ("generations", "settings"), ("generations", "recipe"),
            ("generations", "created_at"), ("runs", "error"), ("runs", "report"), ("totals", "cost"),
            ("failures", "attempts"), ("failures", "text_hash"), ("offsets", "updated_at"), ("tunings", "measured_at"),
        ]
    ] + [f"drop table rowvec.{table}" for table in ("totals", "tunings", "positions", "offsets")],
    "products_file": [
        f"alter table rowvec_{table} drop column {column}"
        for table, column in [
            ("generations", "undone"), ("generations", "settings"), ("generations", "vector_index"),
            ("generations", "language"), ("generations", "since"), ("runs", "lease"), ("runs", "error"),
            ("totals", "cost"),
        ]
    ] + ["drop table rowvec_totals", "drop table rowvec_positions", "drop table rowvec_locks"],
}  # fmt: skip


def looks(pipeline: Pipeline) -> list[Callable[[], object]]:
    """What the reading commands ask for."""
    store, spec = pipeline.store, pipeline.spec
    return [
        lambda: store.checks(spec),
        lambda: status(pipeline).as_dict(),
        lambda: preview(pipeline).as_dict(),
        lambda: [each.as_dict() for each in store.generations(spec)],
        lambda: Searcher.of(pipeline).search(QUERY, mode="keyword"),
    ]


def refusals(old: OldStores, name: str) -> list[RowvecError]:
    """What is said by those that cannot be answered; any other exception is a mistake."""
    found = []
    with old.opened(name) as pipeline:
        for look in looks(pipeline):
            try:
                look()
            except RowvecError as error:
                found.append(error)
    return found


@pytest.mark.parametrize("versioned", [False, True], ids=["without a version", "of this version"])
@pytest.mark.parametrize("pipeline", LACKING)
def test_books_that_lack_something_are_read_where_that_can_be_and_completed_by_a_sync(
    old: OldStores, pipeline: str, versioned: bool
) -> None:
    for damage in LACKING[pipeline]:
        if not versioned:
            old.execute(pipeline, f"drop table if exists {META[pipeline]}")
        old.execute(pipeline, damage)
        for error in refusals(old, pipeline):
            assert "`rowvec check --apply`" in str(error), (damage, error)
        with old.opened(pipeline) as opened:
            sync(opened)
            assert opened.store.generations(opened.spec)[0].state == "live", damage
            found = next(each for each in opened.store.checks(opened.spec) if each.what == "state")
            assert (found.more["lacking"], found.more["pending"]) == ([], []), damage


OTHER_BOOKS = {
    "a fingerprint with a further field": [
        ("products", "update rowvec.generations set fingerprint = fingerprint || '{\"shape\": [1]}'"),
        ("products_file", "update rowvec_generations set fingerprint = json_set(fingerprint, '$.shape', json('[1]'))"),
    ],
    "a fingerprint without a field": [
        ("products", "update rowvec.generations set fingerprint = fingerprint - 'normalized' - 'precision'"),
        ("products_file", "update rowvec_generations set fingerprint = json_remove(fingerprint, '$.precision')"),
    ],
    "a fingerprint that is a list": [
        ("products", "update rowvec.generations set fingerprint = '[1]'"),
        ("products_file", "update rowvec_generations set fingerprint = '[1]'"),
    ],
    "a fingerprint without a model": [
        ("products", "update rowvec.generations set fingerprint = '{}'"),
        ("products_file", "update rowvec_generations set fingerprint = '{}'"),
    ],
    "a state that is not known": [
        (
            "products",
            "alter table rowvec.generations drop constraint generations_state_check;"
            " update rowvec.generations set state = 'shadow' where state = 'previous'",
        ),
        ("products_file", "update rowvec_generations set state = 'shadow' where state = 'previous'"),
    ],
    "settings in another form": [
        ("products", 'update rowvec.generations set settings = \'{"v": 2, "model": {}}\''),
        ("products_file", "update rowvec_generations set settings = '[]'"),
    ],
    "settings that are not JSON": [
        ("products", "update rowvec.generations set settings = 'v2:abc'"),
        ("products_file", "update rowvec_generations set settings = 'v2:abc'"),
    ],
    "another text recipe": [
        ("products", "update rowvec.generations set recipe = 'v2:abc.def.7'"),
        ("products_file", "update rowvec_generations set recipe = 'v2:abc.def.7'"),
    ],
    "reports of another form": [
        ("products", "update rowvec.runs set report = '[1, 2]'"),
        ("products_file", "update rowvec_runs set report = '[1, 2]'"),
    ],
    "metadata in another form": [("products_file", "update rowvec_generations set metadata = '{\"price\": 7}'")],
    "a time in another form": [("products_file", "update rowvec_generations set since = '1767000000'")],
}
BOOKS = [(what, pipeline, sql) for what, changes in OTHER_BOOKS.items() for pipeline, sql in changes]


@pytest.mark.parametrize(("what", "pipeline", "change"), BOOKS, ids=[f"{what}, {name}" for what, name, _ in BOOKS])
def test_books_in_another_form_are_read_or_refused_in_a_sentence(
    old: OldStores, what: str, pipeline: str, change: str
) -> None:
    old.execute(pipeline, *change.split(";"))
    refused = refusals(old, pipeline)
    assert bool(refused) == (what in ("a fingerprint that is a list", "a fingerprint without a model"))
    with old.opened(pipeline) as opened:
        works: list[Callable[[Pipeline], object]] = [sync, sync, roll_back]
        for work in works:
            # In a sentence, or not at all.
            with suppress(RowvecError):
                work(opened)
    assert old.embedded == []


MARKS = [
    "not JSON", "[]", "{}", '{"highest": null}',
    '{"highest": ["decimal", "1.5"], "compared_at": "2026-11-26T00:00:00+00:00"}',
    '{"highest": ["int", "7"], "compared_at": "2026-11-26T00:00:00+00:00"}', '{"v": 2, "marks": [1, 2]}',
    '{"highest": ["str", "yesterday"], "compared_at": "2026-11-26T00:00:00+00:00"}',
    '{"highest": ["str", "2026-02-02 12:00:00"], "compared_at": 17}',
    '{"highest": ["str", "2026-02-02 12:00:00"], "compared_at": "2026-11-26T00:00:00"}',
    '{"highest": ["datetime", "2026-02-02T12:00:00"], "compared_at": "2026-11-26T00:00:00+00:00", "entries": "many"}',
]  # fmt: skip


def test_a_mark_of_another_version_has_all_rows_compared(old: OldStores) -> None:
    with old.opened("products") as pipeline:
        sync(pipeline)
        for mark in MARKS:
            old.execute("products", f"update rowvec.offsets set next = '{mark}' where stream = 'cursor'")
            assert sync(pipeline).comparison.startswith("all rows"), mark
            assert sync(pipeline).comparison.startswith("4 of 11 rows"), mark
    assert old.embedded == []


@pytest.mark.parametrize("place", ["v2", "7", "a:b", "1835:9:7"])
def test_offsets_and_positions_of_another_version_have_events_read_again(old: OldStores, place: str) -> None:
    old.execute(
        "events", f"update rowvec.offsets set next = '{place}'", f"update rowvec.positions set position = '{place}'"
    )
    answer = old.run("sync", "events")
    assert answer.code in (0, 3), answer.err
    assert "9 events read" in answer.out
    # Of what was changed since, the vector is there; only the refused text and older ones are tried again.
    assert old.json("status", "events")["rows"] == 6


# Steps that are cut off, and steps at once


def with_a_step(monkeypatch: pytest.MonkeyPatch, pipeline: str, work: Callable[[Any], Any]) -> int:
    """One more step in every process that begins from now on; its number."""
    module: Any = file_migrations if pipeline.endswith("_file") else postgres_migrations
    number = latest(module.MIGRATIONS) + 1
    monkeypatch.setattr(module, "MIGRATIONS", [*module.MIGRATIONS, Migration(number, "a step of tomorrow", work)])
    return number


def versions(old: OldStores, pipeline: str) -> list[int]:
    return [number for (number,) in old.execute(pipeline, f"select version from {META[pipeline]} order by version")]


@pytest.mark.parametrize("pipeline", ["products", "products_file"])
def test_a_kill_within_a_step_leaves_the_store_at_the_version_before(
    old: OldStores, pipeline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = figures(old, pipeline)
    prefix = "rowvec." if pipeline == "products" else "rowvec_"

    def die(where: Any) -> list[Statement]:
        if pipeline == "products":
            where.execute("alter table rowvec.generations add column tomorrow text")
        os._exit(9)

    with monkeypatch.context() as patch:
        with_a_step(patch, pipeline, die)
        assert old.run("check", pipeline, "--apply").code == 9
    # Those before it are whole, each with its record; of that one there is nothing.
    assert versions(old, pipeline) == list(range(1, LATEST[pipeline] + 1))
    assert old.state(pipeline)["pending"] == []
    assert figures(old, pipeline) == before
    number = with_a_step(
        monkeypatch, pipeline,
        lambda where: (
            where.execute("alter table rowvec.generations add column tomorrow text")
            if pipeline == "products"
            else [Statement("alter table rowvec_generations add column tomorrow text")]
        ),
    )  # fmt: skip
    assert old.state(pipeline)["pending"] == [{"number": number, "what": "a step of tomorrow"}]
    assert old.run("sync", pipeline).code == 3
    assert versions(old, pipeline)[-1] == number
    assert old.execute(pipeline, f"select tomorrow from {prefix}generations")
    assert old.embedded == []


@pytest.mark.parametrize("pipeline", ["products", "products_file"])
def test_commands_that_come_at_once_carry_each_step_out_once(old: OldStores, pipeline: str) -> None:
    started = [old.start("check", pipeline, "--apply") for _ in range(5)] + [old.start("sync", pipeline)]
    answers = [process.finish() for process in started]
    assert [answer.code for answer in answers] == [0, 0, 0, 0, 0, 3], [answer.out + answer.err for answer in answers]
    assert versions(old, pipeline) == list(range(1, LATEST[pipeline] + 1))
    assert old.embedded == []


# Two versions at once


@pytest.mark.parametrize("pipeline", ["products", "products_file"])
def test_a_sync_that_is_at_work_writes_nothing_after_a_newer_program_changed_the_store(
    old: OldStores, pipeline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert old.run("sync", pipeline).code == 3
    old.sql("update products set name = name || ' new', updated_at = '2026-03-01 12:00:00' where id < 3")
    recipes = old.execute(pipeline, *content(pipeline))
    # Between the embedding and the write, another process does what a newer program would.
    sent, go = threading.Event(), threading.Event()

    def when_told(text: str) -> bool:
        sent.set()
        return not go.wait(PATIENCE)

    old.service.refuse = when_told
    at_work = old.start("sync", pipeline)
    assert sent.wait(PATIENCE)
    old.execute(pipeline, f"insert into {META[pipeline]} values (99, '9.9.9', '2027-01-01')")
    go.set()
    answer = at_work.finish()
    assert answer.code == 1, answer
    assert "rowvec 9.9.9" in answer.err
    assert "Traceback" not in answer.err
    assert old.execute(pipeline, *content(pipeline)) == recipes
    old.execute(pipeline, f"delete from {META[pipeline]} where version = 99")
    assert old.json("status", pipeline)["rows"] == 11
    assert "text changed" in old.run("plan", pipeline).out


# Numbers of their own: rendering rules and keyword indexes


@pytest.mark.parametrize("pipeline", ["products", "notes", "products_file"])
def test_other_rendering_rules_are_a_reason_of_their_own_with_its_price(
    old: OldStores, pipeline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert old.run("sync", pipeline).code == 3
    monkeypatch.setattr(text_module, "RENDERING", text_module.RENDERING + 1)
    show = SHOWERS[str]
    monkeypatch.setitem(SHOWERS, str, lambda value: show(value).replace("shoe", "SHOE"))
    if pipeline == "notes":
        monkeypatch.setattr("rowvec.documents.lines.shown", lambda value: show(value).replace("shoe", "SHOE"))
    said = old.json("plan", pipeline)
    assert said["reasons"]["rendering rules changed"] == 2
    assert "text changed" not in said["reasons"]
    assert said["estimate"]["usd"] > 0 if "usd" in said["estimate"] else said["estimate"]
    assert old.embedded == []
    assert old.run("sync", pipeline).code == 3
    assert len(old.embedded) == 2
    assert "rendering rules changed" not in old.json("plan", pipeline)["reasons"]


def found_by_words(old: OldStores, pipeline: str) -> set[int]:
    return {hit["id"] for hit in old.json("search", "lamp", "-p", pipeline, "-m", "keyword")["results"]}


def test_a_keyword_index_of_an_older_format_is_said_and_made_again(
    old: OldStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert old.run("sync", "products").code == 3
    assert "keywords" not in old.run("check", "products").out
    assert found_by_words(old, "products") == {3, 4}
    monkeypatch.setattr(keyword_index, "FORMAT", keyword_index.FORMAT + 1)
    said = next(line for line in old.json("check", "products") if line["what"] == "keywords")
    assert said["detail"] == "of an older format or another language"
    assert "embeds nothing" in said["fix"]
    assert "of an older format or another language" in old.json("plan", "products")["generation"]
    assert old.run("sync", "products").code == 3
    assert "older format" not in (old.json("plan", "products")["generation"] or "")
    assert "keywords" not in old.run("check", "products").out
    # Row 3 keeps an old vector because its new text is refused, and the old words with it.
    assert found_by_words(old, "products") == {3, 4}
    assert old.embedded == []


def test_words_of_an_older_format_in_a_file_are_made_again(old: OldStores, monkeypatch: pytest.MonkeyPatch) -> None:
    assert old.run("sync", "products_file").code == 3
    assert found_by_words(old, "products_file") == {3, 4}
    monkeypatch.setattr("rowvec.stores.libsql.generations.FORMAT", keyword_index.FORMAT + 1)
    assert (
        "older format"
        in next(line for line in old.json("check", "products_file") if line["what"] == "keywords")["detail"]
    )
    assert "of an older format or another language" in old.json("plan", "products_file")["generation"]
    assert old.run("sync", "products_file").code == 3
    assert "older format" not in (old.json("plan", "products_file")["generation"] or "")
    assert found_by_words(old, "products_file") == {3, 4}
    assert old.embedded == []


@pytest.mark.parametrize("pipeline", ["products", "notes", "products_file"])
def test_the_hash_of_every_text_covers_the_model_without_embedding_it_again(old: OldStores, pipeline: str) -> None:
    """What docs/design.md says of a change to what a text hash covers."""
    assert old.run("check", pipeline, "--apply").code == 0
    with old.opened(pipeline) as opened:
        before = status(opened).as_dict()["rows"]
        sync(opened, Options(full=True))
        assert status(opened).as_dict()["rows"] == before
    assert old.embedded == []


@pytest.mark.parametrize("pipeline", ["products", "products_file"])
def test_a_store_that_lost_its_version_keeps_the_hashes_that_it_has(old: OldStores, pipeline: str) -> None:
    assert old.run("sync", pipeline).code == 3
    old.execute(pipeline, f"drop table {META[pipeline]}")
    assert old.run("sync", pipeline).code == 3
    assert old.embedded == []


@pytest.mark.parametrize("pipeline", ["products", "notes", "products_file"])
def test_a_step_masks_each_hash_with_the_model_that_made_its_vector(old: OldStores, pipeline: str) -> None:
    with old.opened(pipeline) as opened:
        plain = {}
        for row in (row for page in opened.source.pages(100) for row in page):
            with suppress(SourceError):  # One row cannot be read.
                plain[row.key] = opened.to_document(row).text_hash
        made = opened.spec.fingerprint
        assert made is not None
        sync(opened)
        rows = existing(opened.store, opened.spec).lookup(list(plain))
        current = [key for key, stored in rows.items() if stored.text_hash == covered(plain[key], made)]
        assert len(current) > 5
        assert not any(stored.text_hash == plain[key] for key, stored in rows.items())


@pytest.mark.parametrize("pipeline", ["products", "products_file"])
def test_lost_books_and_the_same_model_embed_nothing_and_another_model_is_a_change_of_every_row(
    old: OldStores, pipeline: str
) -> None:
    assert old.run("sync", pipeline).code == 3
    lose_books(old, pipeline)
    assert old.run("sync", pipeline).code in (0, 3)
    # Rows that failed, for their text or their metadata, and the row that keeps the vector of an older text, are tried:
    # nothing says any more that they failed.
    current = {text for text in old.embedded if not any(word in text for word in ("REFUSED", "2.5 kg"))} - {"rowvec"}
    assert current == set()
    lose_books(old, pipeline)
    old.variables = {**old.variables, "MODEL": "text-embedding-3-large"}
    assert old.run("sync", pipeline).code in (0, 3)
    assert len(set(old.embedded)) > 5


def lose_books(old: OldStores, pipeline: str) -> None:
    if pipeline == "products":
        old.execute(pipeline, "drop schema rowvec cascade")
        return
    own = {table for table, _ in file_migrations.declared()} | {"rowvec_meta", "rowvec_identity"}
    old.execute(pipeline, *(f"drop table {name}" for name in own))
