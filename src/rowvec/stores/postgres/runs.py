"""The records of syncs and of evaluations in schema `rowvec`, and the sums of what they cost.

A sync that follows a table makes several records a second. The latest are kept one by one, the sums of older ones by
outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from rowvec.stores import runs
from rowvec.stores.postgres.books import has_table
from rowvec.stores.postgres.connect import single
from rowvec.stores.runs import EVALUATIONS_KEPT, Evaluated, Report, Run, Totals
from rowvec.support.stored import json_object

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


def begin_run(connection: Connection, scope: str, pipeline: str) -> int:
    # Whoever calls holds the lock, so a run that still says "running" has lost its process.
    connection.execute("update rowvec.runs set outcome = 'lost' where scope = %s and outcome = 'running'", [scope])
    with connection.transaction():
        # The commits that follow bring it to the disk too.
        connection.execute("set local synchronous_commit = off")
        connection.execute(_FOLD, {"scope": scope, "kept": runs.RUNS_KEPT})
        insert = "insert into rowvec.runs (scope, pipeline) values (%s, %s) returning id"
        return int(single(connection.execute(insert, [scope, pipeline]))[0])


def run_mark(connection: Connection, scope: str, run: int) -> str | None:
    """Its number and the moment of its begin, to the microsecond."""
    if not has_table(connection, "runs"):
        return None
    found = connection.execute(
        "select extract(epoch from started_at)::text from rowvec.runs where scope = %s and id = %s", [scope, run]
    ).fetchone()
    return None if found is None else f"{run} {found[0]}"


def save_run(connection: Connection, run: int, report: Report, outcome: str, error: str | None) -> bool:
    found = connection.execute(
        # Stamped here: what is compared with it is the time of this server.
        "update rowvec.runs r set report = %s || jsonb_build_object('taken_at', clock_timestamp()),"
        " outcome = %s, error = %s,"
        " ended_at = case when %s = 'running' then null else now() end where id = %s"
        " returning exists (select from rowvec.stops s where s.run = r.id)",
        [Jsonb(report.as_dict()), outcome, error, outcome, run],
    ).fetchone()
    asked = found == (True,)
    if asked and outcome != "running":
        connection.execute("delete from rowvec.stops where run = %s", [run])
    return asked


def ask_to_stop(connection: Connection, run: int) -> None:
    connection.execute("insert into rowvec.stops values (%s) on conflict do nothing", [run])


def _is_stopping(connection: Connection, run: int) -> bool:
    if not has_table(connection, "stops"):
        return False  # A store that no sync of this version has seen yet.
    return connection.execute("select from rowvec.stops where run = %s", [run]).rowcount > 0


def save_evaluation(connection: Connection, scope: str, record: Mapping[str, Any]) -> None:
    connection.execute("insert into rowvec.evaluations (scope, record) values (%s, %s)", [scope, Jsonb(dict(record))])
    old = "select id from rowvec.evaluations where scope = %s order by id desc offset %s"
    connection.execute(f"delete from rowvec.evaluations where id in ({old})", [scope, EVALUATIONS_KEPT])


def evaluations(connection: Connection, scope: str, limit: int) -> list[Evaluated]:
    if not has_table(connection, "evaluations"):
        return []
    kept = "select made_at, record from rowvec.evaluations where scope = %s order by id desc limit %s"
    return [Evaluated(*row) for row in connection.execute(kept, [scope, limit]).fetchall()]


def latest_runs(connection: Connection, scope: str, limit: int, *, locked: bool) -> list[Run]:
    """A run still marked as running is lost unless the lock is held."""
    rows = connection.execute(
        "select id, pipeline, started_at, ended_at, outcome, report, error from rowvec.runs"
        " where scope = %s order by id desc limit %s",
        [scope, limit],
    ).fetchall()
    return [
        Run(
            number,
            pipeline,
            started,
            ended,
            "lost" if outcome == "running" and not locked else outcome,
            json_object(report),
            error,
            stopping=outcome == "running" and locked and _is_stopping(connection, number),
        )
        for number, pipeline, started, ended, outcome, report, error in rows
    ]


def spend(connection: Connection, scope: str, cost: float) -> None:
    """What searches spent on a reranker."""
    connection.execute(
        "insert into rowvec.spending as s (scope, cost) values (%s, %s)"
        " on conflict (scope) do update set cost = s.cost + excluded.cost",
        [scope, cost],
    )


def _spent(connection: Connection, scope: str) -> float:
    if not has_table(connection, "spending"):
        return 0.0
    found = connection.execute("select cost from rowvec.spending where scope = %s", [scope]).fetchone()
    return 0.0 if found is None else float(found[0])


def totals(connection: Connection, scope: str) -> Totals:
    found = connection.execute(_TOTALS, {"scope": scope}).fetchall()
    runs, texts, tokens, cost = (sum(row[place] for row in found) for place in (1, 3, 4, 5))
    outcomes = {row[0]: (row[1], row[2]) for row in found if row[0] != "running"}
    return Totals(runs, texts, tokens, float(cost), outcomes, _spent(connection, scope))
