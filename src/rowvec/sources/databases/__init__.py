"""The databases that rows are read from, each with what it does in its own way.

A connection cannot write: SQLite files are opened read-only and never created, servers are asked for
read-only transactions. Times come in UTC, so that no setting of a session changes a text.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from rowvec.errors import ConfigError
from rowvec.sources.databases.base import Database, Order, Relation, as_it_is, unique_keys
from rowvec.support.redaction import ENCODE, redact, redact_mistyped, unclear

__all__ = ["Database", "Order", "Relation", "as_it_is", "open_database", "unique_keys"]


def open_database(url: str, base: Path) -> Database:
    """
    Args:
        base: the folder that a relative SQLite path starts from.

    Raises:
        ConfigError: no URL of a database that rowvec reads. MissingExtraError: its driver is not installed.
        SourceError: there is no such SQLite file.
    """
    if problem := unclear(url):
        raise ConfigError(f"source.url {problem}: {redact(url)}", hint=ENCODE)
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigError(
            f"source.url is not the URL of a database: {redact_mistyped(url)}",
            hint="Such as sqlite:///shop.db, postgresql://user:password@host/name or mysql://user:password@host/name.",
        ) from None
    kind = parsed.drivername.partition("+")[0]
    if kind == "sqlite":
        from rowvec.sources.databases.sqlite import SqliteDatabase

        return SqliteDatabase(url, parsed, base)
    if kind in ("postgres", "postgresql"):
        from rowvec.sources.databases.postgres import PostgresDatabase

        try:
            return PostgresDatabase(url, parsed)
        except sa.exc.ArgumentError as error:
            raise ConfigError(f"source.url: {error}.", hint="Write as many ports as hosts, or one for all.") from None
    if kind in ("mysql", "mariadb"):
        from rowvec.sources.databases.mysql import MySqlDatabase

        return MySqlDatabase(url, parsed)
    raise ConfigError(
        f"source.url names {kind!r}, which rowvec does not read: {redact_mistyped(url)}",
        hint="It reads sqlite, postgresql, mysql and mariadb.",
    )
