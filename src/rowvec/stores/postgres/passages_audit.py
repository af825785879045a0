"""What does not fit among the texts and passages beside a vector table."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from rowvec.stores.auditor import FURTHEST_MEAN, Drift, Fault
from rowvec.stores.postgres.connect import one_snapshot
from rowvec.stores.postgres.passages import LOST, Beside
from rowvec.stores.postgres.schema import table_columns

Connection = psycopg.Connection[Any]

NORM = {"vector": "vector_norm", "halfvec": "l2_norm"}

_NO_TEXT = (
    "select t.{key} as key from {table} t where t.{embedding} is not null and t.{row_hash} is not null"
    " and not exists (select from {texts} x where x.key = t.{key})"
)
"""A row whose hash was forgotten is going to be written by the next sync, with its text."""
_BROKEN = """select key from (
    select key, count(*) as passages, min(n) as first, max(n) as last,
        bool_or(start < 0 or "end" <= start or start < before or "end" < reached) as disordered, max("end") as reach,
        bool_or(octet_length(text_hash) <> 16) as strange,
        bool_or({norm}(embedding) = 'NaN' or {norm}(embedding) = 'Infinity' or {norm}(embedding) = 0) as empty
    from (select p.*, lag(start) over w as before, lag("end") over w as reached from {passages} p
        window w as (partition by key order by n)) each group by key
) s where {held} and (
    first <> 0 or last <> passages - 1 or disordered or strange or empty or {beyond})"""
_MEAN = """select key from (
    select p.key, bool_and(p.tokens > 0) as known, sum(p.tokens * -(t.{embedding} <#> p.embedding)) as along,
        max({norm}(t.{embedding})) as length, sum(p.tokens * (
            select sum(o.tokens * -(o.embedding <#> p.embedding)) from {passages} o where o.key = p.key
        )) as square
    from {passages} p join {table} t on t.{key} = p.key where t.{embedding} is not null group by p.key
) s where known and square > 0 and length > 0 and not along > (1 - {furthest}) * length * sqrt(square)
    and key not in (select key from ({broken}) broken)"""
"""Cosine of the row's own vector and the sum of its passages, each times its tokens."""
_FAILED = "exists (select from rowvec.failures f where f.scope = {scope} and f.key = s.key::text)"
_BEYOND = "exists (select from {texts} x where x.key = s.key and length(x.text) < reach)"


def passages_amiss(connection: Connection, beside: Beside, storage: str, most: int) -> list[Fault]:
    with one_snapshot(connection):
        there = beside.there(connection)
        texts, passages = beside.texts in there, beside.passages in there
        found: list[Fault] = []
        if beside.spec.keeps_texts and texts:
            found += _fault(connection, Drift.NO_TEXT, beside.format(_NO_TEXT), most)
        if beside.spec.has_passages and passages:
            beyond = beside.format(_BEYOND if texts else "false")
            held = beside.format(f"not {LOST}")
            norm = beside.format(NORM[storage])
            broken = beside.format(_BROKEN, beyond=beyond, held=held, norm=norm)
            found += _fault(connection, Drift.PASSAGES, broken, most)
            # A table that an older rowvec made says nothing of weights until the next sync.
            if "tokens" in table_columns(connection, beside.passages):
                mean = beside.format(_MEAN, norm=norm, broken=broken, furthest=sql.Literal(FURTHEST_MEAN))
                found += _fault(connection, Drift.MEAN, mean, most)
        if there:
            # What is left of a row that failed is replaced when the row gets its vector again.
            scope = sql.Literal(beside.names.scope)
            lost = [
                beside.format(f"select key from {{side}} s where {LOST} and not {_FAILED}", side=names.sql, scope=scope)
                for names in there
            ]
            found += _fault(connection, Drift.LOST_PASSAGES, sql.SQL(" union ").join(lost), most)
        return found


def _fault(connection: Connection, drift: Drift, keys: sql.Composable, most: int) -> list[Fault]:
    listed = sql.SQL("select key, count(*) over () from ({}) found order by 1 limit %s").format(keys)
    rows = connection.execute(listed, [most]).fetchall()
    return [Fault(drift, rows[0][1], [key for key, _ in rows])] if rows else []
