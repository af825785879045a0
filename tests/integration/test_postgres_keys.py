"""Keys of every type that PostgreSQL has: read page by page, swept, named and told by the trigger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from rowvec.errors import SourceError
from rowvec.pipeline import Options
from rowvec.sources.base import Selection
from rowvec.stores.base import existing
from rowvec.syncing.run import sync
from rowvec.types import ColumnType
from tests.integration.sql_rig import Open, Run, keys, postgres_database, reads_every_key_once
from tests.support import simple_pipeline

KINDS: dict[str, tuple[str, list[str]]] = {
    "enum": ("mood", ["zeta", "alpha", "mid dle", "Ünï"]),
    "domain-of-enum": ("mood_domain", ["zeta", "alpha"]),
    "domain-of-text": ("name_domain", ["b", "A", "a"]),
    "inet": ("inet", ["10.0.0.1", "10.0.0.0/8", "9.1.2.3", "::1", "2001:db8::/32"]),
    "cidr": ("cidr", ["10.0.0.0/8", "9.0.0.0/24", "::/0"]),
    "macaddr": ("macaddr", ["08:00:2b:01:02:03", "00:00:2b:01:02:03"]),
    "ltree": ("ltree", ["Top.Science", "Top", "Top.Science.Astronomy"]),
    "char": ('"char"', ["a", "Z", "0"]),
    "citext": ("citext", ["Lamp", "desk", "Über"]),
    "bytea": ("bytea", ["\\x00ff", "\\x", "\\x5c"]),
    "bit": ("bit(4)", ["0101", "0010", "1111"]),
    "varbit": ("varbit", ["0101", "1"]),
    "numeric": ("numeric(30,9)", ["-1.500000000", "10.000000000", "12345678901234567890.123456789"]),
    "interval": ("interval", ["1 day 02:00:00", "1 mon", "00:00:01"]),
    "date": ("date", ["2024-05-01", "0044-03-15 BC", "infinity"]),
    "timestamptz": ("timestamptz", ["2024-05-01 10:00:00+00", "2023-05-01 10:00:00.5+00"]),
    "double": ("float8", ["0.1", "0.30000000000000004", "1e+300"]),
    "boolean": ("boolean", ["t", "f"]),
    "xid8": ("xid8", ["10", "9"]),
    "pg_lsn": ("pg_lsn", ["0/16B3748", "1/0"]),
    "range": ("int4range", ["[1,5)", "[1,10)", "empty"]),
    "composite": ("pair", ['(1,"a b")', "(1,a)", "(0,z)"]),
    "array": ("int[]", ["{1,2}", "{10}", "{}"]),
    "array-of-texts": ("text[]", ["{}", '{"a b",NULL}', "{a,b}", "{A}"]),
}


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[str, Run]]:
    with postgres_database() as (url, run):
        run("create type mood as enum ('zeta', 'mid dle', 'alpha', 'Ünï')")
        run("create domain mood_domain as mood; create domain name_domain as text check (value <> 'x')")
        run("create type pair as (a int, b text); create extension ltree; create extension citext")
        yield url, run


@pytest.mark.parametrize("kind", KINDS)
def test_keys_of_every_type_are_read_once_named_and_swept(database: tuple[str, Run], source: Open, kind: str) -> None:
    url, run = database
    declared, written = KINDS[kind]
    for index in ("primary key", ""):
        run("drop table if exists t")
        run(f"create table t (id {declared} {index}, name text)")
        empty = source(url, table="t")
        assert (keys(empty), empty.key_type) == ([], ColumnType.TEXT)
        for key in written:
            run(f"insert into t values ('{key}', 'x')")
        for some in (empty, source(url, table="t"), source(url, query="select id, name from t")):
            reads_every_key_once(some, written)
            assert next(some.pages(1))[0].values["id"] in written
            everything = keys(some)
            assert keys(some, selection=Selection(keys=(written[0],))) == [written[0]]
            assert keys(some, selection=Selection(ranges=((everything[0], everything[1]),))) == everything[:2]
            assert list(some.boundaries(1)) == everything


def test_keys_of_an_extension_are_read_where_it_is_not_on_the_search_path(
    database: tuple[str, Run], source: Open
) -> None:
    url, run = database
    name = url.rpartition("/")[2]
    for kind in ("ltree", "citext"):
        declared, written = KINDS[kind]
        run("drop table if exists public.t")
        run(f"create table t (id {declared} primary key, name text)")
        for key in written:
            run(f"insert into t values ('{key}', 'x')")
        run(f"alter database {name} set search_path = 'pg_catalog'")
        try:
            reads_every_key_once(source(url, table="public.t"), written)
        finally:
            run(f"alter database {name} reset search_path")


@pytest.mark.parametrize("kind", ["enum", "inet", "composite", "numeric", "bytea"])
def test_a_row_whose_key_is_of_such_a_type_is_embedded_and_deleted(
    database: tuple[str, Run], source: Open, kind: str
) -> None:
    url, run = database
    declared, written = KINDS[kind]
    run("drop table if exists t")
    run(f"create table t (id {declared} primary key, name text, price int)")
    for key in written:
        run(f"insert into t values ('{key}', 'a lamp', 1)")
    pipeline = simple_pipeline(source(url, table="t"))
    assert sync(pipeline).inserted == len(written)
    run(f"delete from t where id = '{written[0]}'::{declared}")
    assert sync(pipeline).deleted == 1
    run(f"insert into t values ('{written[0]}', 'a desk', 1)")
    assert sync(pipeline, Options(Selection(keys=(written[0],)))).inserted == 1
    assert existing(pipeline.store, pipeline.spec).count() == len(written)


def test_a_word_that_is_not_of_the_enum_any_more_is_a_row_that_is_gone(database: tuple[str, Run], source: Open) -> None:
    url, run = database
    run("drop table if exists t; create type size as enum ('s', 'm', 'l')")
    run("create table t (id size primary key, name text, price int)")
    run("insert into t values ('s', 'small', 1), ('m', 'medium', 1), ('l', 'large', 1)")
    pipeline = simple_pipeline(source(url, table="t"))
    sync(pipeline)
    run("alter type size rename value 'm' to 'medium'")
    report = sync(pipeline)
    assert (report.inserted, report.deleted) == (1, 1)


def test_a_key_that_cannot_be_one_of_the_type_is_refused_in_its_words(database: tuple[str, Run], source: Open) -> None:
    url, run = database
    run("drop table if exists t; create table t (id inet primary key, name text)")
    with pytest.raises(SourceError, match="invalid input syntax for type inet"):
        keys(source(url, table="t"), selection=Selection(keys=("nonsense",)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_trigger_tells_keys_as_they_are_read(database: tuple[str, Run], source: Open, kind: str) -> None:
    url, run = database
    declared, written = KINDS[kind]
    run("drop table if exists t")
    run(f"create table t (id {declared} primary key, name text)")
    some = source(url, table="t")
    notifier = some.notifier()
    notifier.carry_out(notifier.install_sql())
    assert notifier.installed()
    # As an application may be set, in whose session the trigger runs.
    run("set datestyle to 'German'; set intervalstyle to 'iso_8601'; set bytea_output to 'escape'")
    run("set extra_float_digits to -5; set timezone to 'Asia/Kolkata'")
    try:
        with notifier.listening() as heard:
            for key in written:
                run(f"insert into t values ('{key}', 'x')" if kind != "date" else "select 1")
            if kind == "date":
                run("set datestyle to 'ISO'; insert into t values ('2024-05-01', 'x'), ('0044-03-15 BC', 'x'),"
                    " ('infinity', 'x')")  # fmt: skip
            told: set[Any] = set()
            while len(told) < len(written):
                found = heard.take(5)
                assert found, f"only {told} of {written} were told"
                told |= found.keys
        assert told == set(written) == set(keys(some)), json.dumps(sorted(map(str, told)))
    finally:
        run("reset all")
