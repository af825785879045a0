"""The records of syncs: the latest one by one, the sums of older ones by outcome."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

from rowvec.stores import base
from rowvec.stores.libsql.database import Database, Statement
from rowvec.stores.libsql.lease import Lease
from rowvec.stores.libsql.write import now
from rowvec.support.stored import json_object
from rowvec.types import Report, Run

_SUMS = """outcome, count(*) as runs,
    coalesce(sum(86400 * (julianday(ended_at) - julianday(started_at))), 0.0) as seconds,
    coalesce(sum(report ->> 'texts'), 0) as texts, coalesce(sum(report ->> 'tokens'), 0) as tokens,
    coalesce(sum(report ->> 'cost'), 0.0) as cost"""
_OLD = "target = ? and id <= (select id from rowvec_runs where target = ? order by id desc limit 1 offset ?)"
_FOLD = f"""insert into rowvec_totals (target, outcome, runs, seconds, texts, tokens, cost)
    select target, {_SUMS} from rowvec_runs where {_OLD} group by outcome
    on conflict (target, outcome) do update set runs = runs + excluded.runs, seconds = seconds + excluded.seconds,
        texts = texts + excluded.texts, tokens = tokens + excluded.tokens, cost = cost + excluded.cost"""
_TOTALS = f"""select outcome, sum(runs), sum(seconds), sum(texts), sum(tokens), sum(cost) from (
        select {_SUMS} from rowvec_runs where target = ? group by outcome
        union all select outcome, runs, seconds, texts, tokens, cost from rowvec_totals where target = ?
    ) group by outcome"""


def begin(database: Database, target: str, pipeline: str, lease: str | None) -> int:
    token = uuid.uuid4().hex
    # Whoever begins a run holds the lock, so another one that still says "running" has lost its process.
    lose = "update rowvec_runs set outcome = 'lost' where target = ? and outcome = 'running' and token <> ?"
    insert = """insert into rowvec_runs (token, target, pipeline, lease, started_at, outcome, report)
                values (?, ?, ?, ?, ?, 'running', '{}') on conflict (token) do nothing"""
    old = (target, target, base.RUNS_KEPT)
    database.transact(
        [
            Statement(lose, (target, token)),
            Statement(_FOLD, old),
            Statement(f"delete from rowvec_runs where {_OLD}", old),
            Statement(insert, (token, target, pipeline, lease, now())),
        ]
    )
    return int(database.query("select id from rowvec_runs where token = ?", (token,))[0][0])


def save(database: Database, run: int, report: Report, outcome: str, error: str | None) -> None:
    ended = None if outcome == "running" else now()
    record = json.dumps(report.as_dict(), ensure_ascii=False)
    update = "update rowvec_runs set ended_at = ?, outcome = ?, report = ?, error = ? where id = ?"
    database.transact([Statement(update, (ended, outcome, record, error, run))])


def latest(database: Database, target: str, lease: Lease, limit: int) -> list[Run]:
    """A run still marked as running is lost unless the lock under which it began is held."""
    rows = database.query(
        """select id, pipeline, started_at, ended_at, outcome, report, error, lease
           from rowvec_runs where target = ? order by id desc limit ?""",
        (target, limit),
    )
    alive = lease.live()
    return [
        Run(
            id=run,
            pipeline=pipeline,
            started_at=dt.datetime.fromisoformat(started),
            ended_at=dt.datetime.fromisoformat(ended) if ended else None,
            outcome="lost" if outcome == "running" and (token is None or token != alive) else outcome,
            report=json_object(report),
            error=error,
        )
        for run, pipeline, started, ended, outcome, report, error, token in rows
    ]


def totals(database: Database, target: str) -> dict[str, Any]:
    """Runs, texts, tokens and US dollars over the life of the table; of each outcome, how many runs and seconds."""
    found = database.query(_TOTALS, (target, target))
    runs, texts, tokens, cost = (sum(row[place] for row in found) for place in (1, 3, 4, 5))
    outcomes = {row[0]: (row[1], row[2]) for row in found if row[0] != "running"}
    return {"runs": runs, "texts": texts, "tokens": tokens, "cost": float(cost), "outcomes": outcomes}
