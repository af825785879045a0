"""The records of syncs of one vector table (`scope`, its qualified name), in `rowvec.runs`.

A sync that follows a table makes several a second. The latest are kept one by one, the sums of older ones by outcome.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from rowvec.stores import base
from rowvec.stores.postgres.connect import single
from rowvec.types import Report, Run

Connection = psycopg.Connection[Any]

_SUMS = """outcome, count(*) as runs, coalesce(sum(extract(epoch from ended_at - started_at)), 0)::float8 as seconds,
    coalesce(sum((report->>'texts')::bigint), 0)::bigint as texts,
    coalesce(sum((report->>'tokens')::bigint), 0)::bigint as tokens,
    coalesce(sum((report->>'cost')::float8), 0) as cost"""
_FOLD = f"""
with old as (
    delete from rowvec.runs where scope = %(scope)s and id <=
        (select id from rowvec.runs where scope = %(scope)s order by id desc offset %(kept)s limit 1)
    returning outcome, started_at, ended_at, report
)
insert into rowvec.totals as t (scope, outcome, runs, seconds, texts, tokens, cost)
select %(scope)s, {_SUMS} from old group by outcome
on conflict (scope, outcome) do update set runs = t.runs + excluded.runs, seconds = t.seconds + excluded.seconds,
    texts = t.texts + excluded.texts, tokens = t.tokens + excluded.tokens, cost = t.cost + excluded.cost
"""
_TOTALS = f"""
select outcome, sum(runs)::bigint, sum(seconds), sum(texts)::bigint, sum(tokens)::bigint, sum(cost) from (
    select {_SUMS} from rowvec.runs where scope = %(scope)s group by outcome
    union all
    select outcome, runs, seconds, texts, tokens, cost from rowvec.totals where scope = %(scope)s
) as found group by outcome
"""


def begin(connection: Connection, scope: str, pipeline: str) -> int:
    # Whoever calls holds the lock, so a run that still says "running" has lost its process.
    connection.execute("update rowvec.runs set outcome = 'lost' where scope = %s and outcome = 'running'", [scope])
    with connection.transaction():
        # The commits that follow bring it to the disk too.
        connection.execute("set local synchronous_commit = off")
        connection.execute(_FOLD, {"scope": scope, "kept": base.RUNS_KEPT})
        insert = "insert into rowvec.runs (scope, pipeline) values (%s, %s) returning id"
        return int(single(connection.execute(insert, [scope, pipeline]))[0])


def save(connection: Connection, run: int, report: Report, outcome: str, error: str | None) -> None:
    connection.execute(
        "update rowvec.runs set report = %s, outcome = %s, error = %s,"
        " ended_at = case when %s = 'running' then null else now() end where id = %s",
        [Jsonb(report.as_dict()), outcome, error, outcome, run],
    )


def latest(connection: Connection, scope: str, limit: int, *, locked: bool) -> list[Run]:
    """A run still marked as running is lost unless the lock is held."""
    rows = connection.execute(
        "select id, pipeline, started_at, ended_at, outcome, report, error from rowvec.runs"
        " where scope = %s order by id desc limit %s",
        [scope, limit],
    ).fetchall()
    return [
        Run(number, pipeline, started, ended, "lost" if outcome == "running" and not locked else outcome, report, error)
        for number, pipeline, started, ended, outcome, report, error in rows
    ]


def totals(connection: Connection, scope: str) -> dict[str, Any]:
    """Runs, texts, tokens and US dollars over the life of the table; of each outcome, how many runs and seconds."""
    found = connection.execute(_TOTALS, {"scope": scope}).fetchall()
    runs, texts, tokens, cost = (sum(row[place] for row in found) for place in (1, 3, 4, 5))
    outcomes = {row[0]: (row[1], row[2]) for row in found if row[0] != "running"}
    return {"runs": runs, "texts": texts, "tokens": tokens, "cost": float(cost), "outcomes": outcomes}
