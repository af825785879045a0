"""What `rowvec check` says of a server and of what rowvec keeps in it."""

from __future__ import annotations

from typing import Any

import psycopg

from rowvec.stores.migrations import OLDER_WORDS
from rowvec.stores.postgres import migrations
from rowvec.stores.postgres.connect import OLDEST_GOOD_PGVECTOR, describe, version_tuple
from rowvec.stores.postgres.keyword_index.index import KeywordIndex
from rowvec.types import Check

POOLER = "Set store.url to the database itself, or to a pooler in session mode (on Supabase: port 5432, not 6543)."


def server(url: str, version: str, *, pooled: bool) -> list[Check]:
    """
    Args:
        version: of pgvector.
        pooled: two connections share one session.
    """
    lines = [Check("store", True, f"connected to {describe(url)}")]
    if pooled:
        lines.append(Check("pooler", False, "Two connections share one session: a pooler in transaction mode.", POOLER))
    old = version_tuple(version) < OLDEST_GOOD_PGVECTOR
    newest = ".".join(map(str, OLDEST_GOOD_PGVECTOR))
    fix = f"Update pgvector to {newest} or newer, then: ALTER EXTENSION vector UPDATE;" if old else None
    return [*lines, Check("pgvector", not old, version, fix)]


def kept(connection: psycopg.Connection[Any], words: KeywordIndex | None) -> list[Check]:
    """
    Args:
        words: the keyword index of the live generation, where the pipeline wants one.
    """
    lines = [migrations.line(connection)]
    if words is not None and words.exists(connection) and not words.is_current(connection):
        lines.append(Check("keywords", True, *OLDER_WORDS))
    return lines
