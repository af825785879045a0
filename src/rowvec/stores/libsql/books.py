"""What is not about one vector: the records of syncs, and how far change events were carried out.

The latest syncs are kept one by one, the sums of older ones by outcome. There is an offset for each stream and
generation, and a position for each key.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from rowvec.stores import runs
from rowvec.stores.libsql import migrations
from rowvec.stores.libsql.clock import NOW
from rowvec.stores.libsql.database import Database, Statement
from rowvec.stores.libsql.lease import Lease
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.write import KEYS, chunks, marks
from rowvec.stores.runs import EVALUATIONS_KEPT, Evaluated, Report, Run, Totals
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.stored import json_object
from rowvec.types import Key

_KEYS = 1000
"""Keys in one query."""

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


def begin_run(database: Database, target: str, pipeline: str, lease: str | None) -> int:
    token = uuid.uuid4().hex
    # Whoever begins a run holds the lock, so another one that still says "running" has lost its process.
    lose = "update rowvec_runs set outcome = 'lost' where target = ? and outcome = 'running' and token <> ?"
    insert = f"""insert into rowvec_runs (token, target, pipeline, lease, started_at, outcome, report)
                values (?, ?, ?, ?, {NOW}, 'running', '{{}}') on conflict (token) do nothing"""
    old = (target, target, runs.RUNS_KEPT)
    database.transact(
        [
            Statement(lose, (target, token)),
            Statement(_FOLD, old),
            Statement(f"delete from rowvec_runs where {_OLD}", old),
            Statement(insert, (token, target, pipeline, lease)),
        ]
    )
    return int(database.query("select id from rowvec_runs where token = ?", (token,))[0][0])


def save_run(database: Database, run: int, report: Report, outcome: str, error: str | None) -> bool:
    ended = "null" if outcome == "running" else NOW
    record = json.dumps(report.as_dict(), ensure_ascii=False)
    # Stamped here: what is compared with it is the time of this database.
    stamped = f"json_set(?, '$.taken_at', {NOW})"
    update = f"update rowvec_runs set ended_at = {ended}, outcome = ?, report = {stamped}, error = ? where id = ?"
    forget = Statement("delete from rowvec_stops where run = ? and ? <> 'running'", (run, outcome))
    database.transact([Statement(update, (outcome, record, error, run)), forget])
    return outcome == "running" and _is_stopping(database, run)


def ask_to_stop(database: Database, run: int) -> None:
    database.transact([Statement("insert into rowvec_stops (run) values (?) on conflict do nothing", (run,))])


def _is_stopping(database: Database, run: int) -> bool:
    return bool(database.query("select 1 from rowvec_stops where run = ?", (run,)))


def save_evaluation(database: Database, target: str, record: Mapping[str, Any]) -> None:
    said = json.dumps(record, ensure_ascii=False)
    insert = f"insert into rowvec_evaluations (target, made_at, record) values (?, {NOW}, ?)"
    old = "select id from rowvec_evaluations where target = ? order by id desc limit -1 offset ?"
    forget = Statement(f"delete from rowvec_evaluations where id in ({old})", (target, EVALUATIONS_KEPT))
    database.transact([Statement(insert, (target, said)), forget])


def evaluations(database: Database, target: str, limit: int) -> list[Evaluated]:
    if not database.exists() or not migrations.has_table(database, "rowvec_evaluations"):
        return []
    kept = "select made_at, record from rowvec_evaluations where target = ? order by id desc limit ?"
    rows = database.query(kept, (target, limit))
    return [Evaluated(dt.datetime.fromisoformat(made), json_object(record)) for made, record in rows]


def latest_runs(database: Database, target: str, lease: Lease, limit: int) -> list[Run]:
    """A run still marked as running is lost unless the lock under which it began is held."""
    rows = database.query(
        """select id, pipeline, started_at, ended_at, outcome, report, error, lease
           from rowvec_runs where target = ? order by id desc limit ?""",
        (target, limit),
    )
    alive = lease.live()

    def asked(run: int) -> bool:
        return migrations.has_table(database, "rowvec_stops") and _is_stopping(database, run)

    return [
        Run(
            id=run,
            pipeline=pipeline,
            started_at=dt.datetime.fromisoformat(started),
            ended_at=dt.datetime.fromisoformat(ended) if ended else None,
            outcome="lost" if outcome == "running" and (token is None or token != alive) else outcome,
            report=json_object(report),
            error=error,
            stopping=outcome == "running" and token == alive and asked(run),
        )
        for run, pipeline, started, ended, outcome, report, error, token in rows
    ]


def spend(database: Database, target: str, cost: float) -> None:
    """What searches spent on a reranker."""
    add = """insert into rowvec_spending (target, cost) values (?, ?)
             on conflict (target) do update set cost = cost + excluded.cost"""
    database.transact([Statement(add, (target, cost))])


def _spent(database: Database, target: str) -> float:
    if not migrations.has_table(database, "rowvec_spending"):
        return 0.0
    found = database.query("select cost from rowvec_spending where target = ?", (target,))
    return float(found[0][0]) if found else 0.0


def totals(database: Database, target: str) -> Totals:
    found = database.query(_TOTALS, (target, target))
    runs, texts, tokens, cost = (sum(row[place] for row in found) for place in (1, 3, 4, 5))
    outcomes = {row[0]: (row[1], row[2]) for row in found if row[0] != "running"}
    return Totals(runs, texts, tokens, float(cost), outcomes, _spent(database, target))


def saving_progress(tables: Tables, batch: WriteBatch) -> list[Statement]:
    """The statements that keep what a batch says of it; none where it says nothing."""
    # Keys are text here, whatever they are elsewhere: nothing orders or counts them.
    positions = {str(key): position for key, position in batch.positions.items()}
    return [
        *_upserts("rowvec_positions", "key", "position", tables.target, positions),
        *_upserts("rowvec_offsets", "stream", "next", tables.owner, batch.offsets),
    ]


def _upserts(table: str, name: str, value: str, target: str, pairs: Mapping[str, str]) -> list[Statement]:
    return [
        Statement(
            f"""insert into {table} (target, "{name}", "{value}") values {", ".join(["(?, ?, ?)"] * len(part))}
                on conflict (target, "{name}") do update set "{value}" = excluded."{value}\"""",
            tuple(item for pair in part for item in (target, *pair)),
        )
        for part in chunks(list(pairs.items()), KEYS)
    ]


def offsets(database: Database, tables: Tables) -> dict[str, str]:
    return dict(database.query("select stream, next from rowvec_offsets where target = ?", (tables.owner,)))


def inheriting_offsets(old: Tables, new: Tables) -> Statement:
    """What was filled from the table goes on with the events where the generation before it was."""
    sql = """insert into rowvec_offsets (target, stream, next) select ?, stream, next from rowvec_offsets
             where target = ? on conflict (target, stream) do nothing"""
    return Statement(sql, (new.owner, old.owner))


def positions(database: Database, target: str, keys: Sequence[Key]) -> dict[Key, str]:
    found: list[Any] = []
    for part in chunks(list(map(str, keys)), _KEYS):
        sql = f'select "key", position from rowvec_positions where target = ? and "key" in ({marks(len(part))})'
        found += database.query(sql, (target, *part))
    known = dict(found)
    return {key: known[str(key)] for key in keys if str(key) in known}
