"""What the log of queries says: the latest, the slowest, those without a hit, those asked most; and as judgements."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import sqlite3
import time
from pathlib import Path
from typing import Any

from rowvec.errors import ConfigError
from rowvec.evaluation.logged import LoggedQuery, Order
from rowvec.evaluation.query_log import opened, version_of

GRADES = {"click": 1, "conversion": 2}
"""What an event says of a row, as a judgement of `rowvec eval`. The highest counts."""


_STATEMENT = """
with told as (
    select *, (select count(*) from events where query_id = id and type = 'click') as clicks,
        (select count(*) from events where query_id = id and type = 'conversion') as conversions
    from queries where pipeline = ? and at >= ? and {only}
), counted as (
    select *, row_number() over (partition by {each} order by at desc, id) as place,
        count(*) over same as times, max(ms) over same as slowest,
        sum(clicks) over same as all_clicks, sum(conversions) over same as all_conversions
    from told window same as (partition by {each})
)
select pipeline, query, mode, filter, at, times, hits, slowest, all_clicks, all_conversions
from counted where place = 1 order by {order}, at desc limit ?"""
_ORDERS: dict[Order, dict[str, str]] = {
    "latest": {"each": "id", "only": "true", "order": "at desc"},
    "slow": {"each": "id", "only": "true", "order": "slowest desc"},
    "no-hits": {"each": "query", "only": "hits = 0 and mode not in ('similar', 'browse')", "order": "times desc"},
    "top": {"each": "query", "only": "mode not in ('similar', 'browse')", "order": "times desc"},
}
_JUDGED = """
select query, key, max(case type {grades} end) from events join queries on id = query_id
where pipeline = ? and queries.at >= ? and mode not in ('similar', 'browse')
group by query, key order by query, 3 desc, key"""


def asked(path: Path, pipeline: str, order: Order, since: dt.timedelta | None, limit: int) -> list[LoggedQuery]:
    """Up to `limit` queries of a pipeline; `no-hits` and `top` count the same words together.

    Args:
        since: only those of this time until now.

    Raises:
        ConfigError: there is no log, or it cannot be read.
    """
    rows = _rows(path, _STATEMENT.format(**_ORDERS[order]), (pipeline, _from(since), limit))
    return [
        LoggedQuery(pipeline, query, mode, where, dt.datetime.fromtimestamp(at, dt.UTC), *counts)
        for pipeline, query, mode, where, at, *counts in rows
    ]


def export(
    path: Path, pipeline: str, since: dt.timedelta | None, queries: Path, judgements: Path, *, force: bool = False
) -> tuple[int, int]:
    """Write the queries that have events, and the rows of these events as judgements: the files of `rowvec eval`.

    Returns:
        The number of queries and that of judgements.

    Raises:
        ConfigError: nothing to write, a file is there and `force` is false, it is named twice, or it cannot be
            written.
    """
    grades = " ".join(f"when '{kind}' then {grade}" for kind, grade in GRADES.items())
    rows = _rows(path, _JUDGED.format(grades=grades), (pipeline, _from(since)))
    if not rows:
        hint = "Callers send them to POST /events: see `rowvec help query-log`."
        raise ConfigError(f"The log has no click or conversion of {pipeline!r}.", hint=hint)
    if queries.absolute() == judgements.absolute():
        raise ConfigError(f"{queries} cannot hold both.", hint="Name two files: --queries A.csv --judgements B.csv.")
    ids = {query: hashlib.sha256(query.encode()).hexdigest()[:12] for query, _, _ in rows}
    for file in (queries, judgements):
        if file.exists() and not force:
            raise ConfigError(f"{file} is there already.", hint="Choose another name, or write --force.")
    _write(queries, ("id", "query"), [(number, " ".join(query.split())) for query, number in ids.items()])
    _write(judgements, ("query_id", "docid", "rating"), [(ids[query], key, grade) for query, key, grade in rows])
    return len(ids), len(rows)


def _from(since: dt.timedelta | None) -> float:
    return 0.0 if since is None else time.time() - since.total_seconds()


def _rows(path: Path, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    if not path.exists():
        hint = "`rowvec serve` begins it, where rowvec.toml has the table [serve.queries]."
        raise ConfigError(f"There is no log of queries at {path}.", hint=hint)
    try:
        with opened(path) as database:
            version_of(database, path)
            return database.execute(statement, values).fetchall()
    except sqlite3.Error as error:
        raise ConfigError(f"The log of queries {path} cannot be read: {error}.") from None


def _write(path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
