"""The records of syncs."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

from rowvec.stores.libsql.database import Database, Statement
from rowvec.stores.libsql.lease import Lease
from rowvec.stores.libsql.write import now
from rowvec.types import Report, Run


def begin(database: Database, target: str, pipeline: str, lease: str | None) -> int:
    token = uuid.uuid4().hex
    # Whoever begins a run holds the lock, so another one that still says "running" has lost its process.
    lose = "update rowvec_runs set outcome = 'lost' where target = ? and outcome = 'running' and token <> ?"
    insert = """insert into rowvec_runs (token, target, pipeline, lease, started_at, outcome, report)
                values (?, ?, ?, ?, ?, 'running', '{}') on conflict (token) do nothing"""
    values = (token, target, pipeline, lease, now())
    database.transact([Statement(lose, (target, token)), Statement(insert, values)])
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
            report=json.loads(report),
            error=error,
        )
        for run, pipeline, started, ended, outcome, report, error, token in rows
    ]


def totals(database: Database, target: str) -> dict[str, Any]:
    """Runs, texts, tokens and US dollars over the life of the table; of each outcome, how many runs and seconds."""
    (found,) = database.query(
        """select count(*), coalesce(sum(report ->> 'texts'), 0), coalesce(sum(report ->> 'tokens'), 0),
           coalesce(sum(report ->> 'cost'), 0.0) from rowvec_runs where target = ?""",
        (target,),
    )
    outcomes = database.query(
        """select outcome, count(*), 86400 * sum(julianday(ended_at) - julianday(started_at)) from rowvec_runs
           where target = ? and ended_at is not null group by outcome""",
        (target,),
    )
    totals = dict(zip(("runs", "texts", "tokens", "cost"), found, strict=True))
    return {**totals, "outcomes": {name: (count, seconds) for name, count, seconds in outcomes}}
