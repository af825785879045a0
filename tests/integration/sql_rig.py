"""Databases of a test's own in the servers at the standard ports of this machine, and what is asked of any source."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NoReturn
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pymysql
import pytest
import sqlalchemy as sa

from rowvec.sources.sql import SqlSource
from rowvec.types import Key

POSTGRES = "postgresql://postgres@127.0.0.1:5432"
MARIADB = "mysql://root@127.0.0.1:3306"
TRICKY = ["a", "A", "á", "", "ä ", "ä", "a ", " a", "😀", "zz", "ZZ", "10", "9", "it's", 'q"', "%s", ":x", "\\"]

Open = Callable[..., SqlSource]
Run = Callable[..., object]


def absent(name: str, error: Exception) -> NoReturn:
    if os.environ.get("CI") == "true":
        raise error
    pytest.skip(f"no {name} at its standard port of this machine")


@contextmanager
def postgres_database() -> Iterator[tuple[str, Run]]:
    """URL of an empty database, and what runs a statement in it."""
    name = f"rowvec_{uuid4().hex[:12]}"
    try:
        server = psycopg.connect(f"{POSTGRES}/postgres", autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        absent("PostgreSQL", error)
    with closing(server):
        server.execute(f"create database {name}")
        try:
            # Tests make a table again with other types: a prepared statement would keep those of before.
            options = {"autocommit": True, "prepare_threshold": None}
            with psycopg.connect(f"{POSTGRES}/{name}", **options) as connection:  # type: ignore[arg-type]
                yield (
                    f"{POSTGRES}/{name}",
                    lambda statement, values=None: connection.execute(statement, values) and None,
                )
        finally:
            server.execute(f"drop database {name} with (force)")


@contextmanager
def mariadb_database() -> Iterator[tuple[str, Run]]:
    """As `postgres_database`."""
    name = f"rowvec_{uuid4().hex[:12]}"
    try:
        server = pymysql.connect(host="127.0.0.1", user="root", autocommit=True, connect_timeout=5)
    except pymysql.OperationalError as error:
        absent("MariaDB", error)
    with closing(server), server.cursor() as cursor:
        cursor.execute(f"create database {name} character set utf8mb4 collate utf8mb4_general_ci")
        cursor.execute(f"use {name}")
        try:
            yield f"{MARIADB}/{name}", lambda statement, values=None: cursor.execute(statement, values)
        finally:
            cursor.execute(f"drop database {name}")


@contextmanager
def database_in(server: str, encoding: str) -> Iterator[str]:
    """URL of a database in another encoding."""
    name = f"rowvec_{uuid4().hex[:12]}"
    try:
        connection = psycopg.connect(server, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        absent("PostgreSQL", error)
    with closing(connection):
        connection.execute(
            f"create database {name} encoding '{encoding}' locale_provider libc locale 'C' template template0".encode()
        )
        try:
            yield urlsplit(server)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f"drop database {name} with (force)".encode())


def explained(source: SqlSource, after: Key) -> list[str]:
    """What the database says of how it reads the page after a key, one line for each step."""
    seen: list[tuple[str, Any]] = []

    def remember(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        seen.append((statement, values))

    sa.event.listen(source._database.engine, "before_cursor_execute", remember)
    assert next(source.pages(100, after=after))
    statement, values = seen[-1]
    with source._database.connect() as connection:
        return [str(tuple(step)) for step in connection.exec_driver_sql(f"explain {statement}", values)]


def keys(source: SqlSource, size: int = 3, **bounds: Any) -> list[Any]:
    return [row.key for page in source.pages(size, **bounds) for row in page]


def reads_every_key_once(source: SqlSource, expected: list[Any]) -> None:
    """At every page size, from every key on, and one by one."""
    everything = keys(source, 1000)
    assert sorted(everything, key=str) == sorted(expected, key=str)
    for size in (1, 2, 5):
        assert keys(source, size) == everything
    for index, key in enumerate(everything):
        assert keys(source, 4, after=key) == everything[index + 1 :]
    assert source.existing(everything) == set(everything)
    assert source.count() == len(expected)
