"""What the role, the database or the server forbids: what rowvec lifts for itself, and what it may not lift."""

from __future__ import annotations

from typing import Any

import psycopg

from rowvec.stores.postgres.connect import single
from rowvec.stores.postgres.session import LIMITS
from rowvec.types import Check

NOTHING = {"0", "-1"}


def checks(connection: psycopg.Connection[Any]) -> list[Check]:
    """Lines for `rowvec check`, of what is not as usual."""
    # What it would be without our own settings.
    rows = connection.execute(
        "select name, reset_val, unit from pg_settings where name = any(%s) order by name",
        [[*LIMITS, "temp_file_limit"]],
    ).fetchall()
    found = {name: f"{name} = {_shown(int(value), unit)}" for name, value, unit in rows if value not in NOTHING}
    forbidden = found.pop("temp_file_limit", None)
    lines = []
    if found:
        lines.append(Check("limits", True, f"{', '.join(found.values())}: lifted on rowvec's own connections"))
    if forbidden is not None:
        lines.append(
            Check(
                "limits", True, f"{forbidden}, which rowvec may not lift: it can stop an index build of a large table",
                "ALTER ROLE ... SET temp_file_limit = -1; as a superuser, where that happens",
            )
        )  # fmt: skip
    if single(connection.execute("select current_setting('transaction_read_only')"))[0] == "on":
        fix = "Use the primary, or a role without default_transaction_read_only."
        lines.append(Check("limits", False, "the database takes no writes here: searches work, a sync does not", fix))
    return lines


def _shown(value: int, unit: str | None) -> str:
    if unit == "ms":
        return f"{value / 1000:g} s"
    return f"{value:,} {unit or ''}".strip()
