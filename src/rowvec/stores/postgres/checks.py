"""What `rowvec check` says of a server and of what rowvec keeps in it."""

from __future__ import annotations

from typing import Any

import psycopg

from rowvec.stores.base import TableSpec
from rowvec.stores.migrations import NO_KEPT_WORDS, OLDER_WORDS
from rowvec.stores.postgres import migrations
from rowvec.stores.postgres.connect import OLDEST_GOOD_PGVECTOR, version_tuple
from rowvec.stores.postgres.keyword_index.index import KeywordIndex
from rowvec.types import Check


def extension(version: str) -> Check:
    """
    Args:
        version: of pgvector.
    """
    old = version_tuple(version) < OLDEST_GOOD_PGVECTOR
    newest = ".".join(map(str, OLDEST_GOOD_PGVECTOR))
    fix = f"Update pgvector to {newest} or newer, then: ALTER EXTENSION vector UPDATE;" if old else None
    return Check("pgvector", not old, version, fix)


def kept(connection: psycopg.Connection[Any], words: KeywordIndex | None, spec: TableSpec) -> list[Check]:
    """
    Args:
        words: the keyword index of the live generation, where the pipeline wants one.
    """
    lines = [migrations.line(connection)]
    if words is not None and words.exists(connection):
        if not words.is_current(connection):
            lines.append(Check("keywords", True, *OLDER_WORDS))
        if spec.keeps_words and not words.kept_words.exists(connection):
            lines.append(Check("words for typos", True, *NO_KEPT_WORDS))
    return lines
