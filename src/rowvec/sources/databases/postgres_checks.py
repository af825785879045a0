"""What may go wrong with one table or view of PostgreSQL, for `rowvec check` and `rowvec status`."""

from __future__ import annotations

from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rowvec.types import Check

_HIDDEN = sa.text("""
with recursive read(id) as (
    select cast(cast(to_regclass(cast(:name as text)) as oid) as oid)
    union
    select d.refobjid from read
    join pg_rewrite r on r.ev_class = read.id
    join pg_depend d on d.classid = cast('pg_rewrite' as regclass) and d.objid = r.oid
        and d.refclassid = cast('pg_class' as regclass)
)
select cast(cast(c.oid as regclass) as text) from read
join pg_class c on c.oid = read.id
join pg_class asked on asked.oid = to_regclass(cast(:name as text))
join pg_roles as owner on owner.oid = asked.relowner
where c.relrowsecurity and case
    when asked.oid = c.oid then row_security_active(c.oid)
    when 'security_invoker=true' = any(asked.reloptions) then row_security_active(c.oid)
    else not owner.rolsuper and not owner.rolbypassrls and (c.relowner <> owner.oid or c.relforcerowsecurity) end
order by 1
""")
"""A view reads its tables with the rights of its owner."""
_NOTIFIES = sa.text(r"""
select count(*) > 0 and current_setting('max_prepared_transactions') <> '0' from pg_trigger
where tgrelid = to_regclass(cast(:name as text)) and tgname like 'rowvec\_%'
""")

QUEUE_SHARE = 0.1
"""Share of the server's queue of notifications above which `rowvec check` warns."""


def table_checks(connection: Connection, table: str, schema: str | None) -> list[Check]:
    name = {"name": connection.dialect.identifier_preparer.format_table(sa.table(table, schema=schema))}
    hidden = [found for (found,) in connection.execute(_HIDDEN, name)]
    lines = []
    if hidden:
        said = f"row-level security of {', '.join(hidden)} hides rows without an error"
        fix = (
            "A row that becomes hidden counts as deleted. To read all rows: alter role … bypassrls, or a policy for it."
        )
        lines.append(Check("source", True, said, fix))
    if connection.execute(_NOTIFIES, name).scalar():
        said = "the trigger of `rowvec watch` makes PREPARE TRANSACTION fail after a change of the table"
        fix = "If two-phase commits write it: `rowvec watch --uninstall`, and follow it by a cursor or Debezium."
        lines.append(Check("notify", True, said, fix))
    return lines


def queue_usage(connection: psycopg.Connection[Any]) -> float:
    """Share of the server's queue of notifications that is in use."""
    row = connection.execute("select pg_notification_queue_usage()").fetchone()
    assert row is not None
    return float(row[0])
