"""What `rowvec check` says of a server and of what rowvec keeps in it."""

from __future__ import annotations

from typing import Any

import psycopg

from rowvec.stores.base import TableSpec
from rowvec.stores.migrations import NO_KEPT_WORDS, OLDER_WORDS
from rowvec.stores.postgres import migrations
from rowvec.stores.postgres.connect import HNSW, SHORT_VECTORS, version_tuple
from rowvec.stores.postgres.keyword_index.index import KeywordIndex
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.vector_index import index
from rowvec.stores.postgres.vector_index.index import AUTO_ROWS
from rowvec.types import Check

LACKS = [
    ((0, 8, 0), "a filtered search that the index answers with too few rows compares every row (0.8 reads on)"),
    (SHORT_VECTORS, 'store.storage = "halfvec", index kind hnsw-bit and indexes of over 2,000 dimensions (0.7)'),
    ((0, 6, 0), "an index is built by one process (0.6 has parallel builds)"),
    (HNSW, "HNSW indexes: searches compare every row (0.5)"),
]
"""What older versions of pgvector lack, and the first one that has it."""
SHOWN = 5
"""Values that a line names."""


def extension(version: str) -> Check:
    """
    Args:
        version: of pgvector.
    """
    lacks = [what for since, what in LACKS if version_tuple(version) < since]
    if not lacks:
        return Check("pgvector", True, version)
    newest = ".".join(map(str, LACKS[0][0]))
    fix = f"Update pgvector to {newest} or newer, then: ALTER EXTENSION vector UPDATE;"
    return Check("pgvector", True, f"{version}: everything works but for what it lacks: {'; '.join(lacks)}", fix)


def kept(connection: psycopg.Connection[Any], words: KeywordIndex | None, spec: TableSpec) -> list[Check]:
    """
    Args:
        words: the keyword index of the live generation, where the pipeline wants one.
    """
    lines = [migrations.line(connection)]
    if words is not None and words.exists(connection):
        if has_other_format(connection, words):
            lines.append(Check("keywords", True, *OLDER_WORDS))
        if spec.keeps_words and not words.kept_words.exists(connection):
            lines.append(Check("words for typos", True, *NO_KEPT_WORDS))
    return lines


def has_other_format(connection: psycopg.Connection[Any], words: KeywordIndex) -> bool:
    """The index is there, and of another format or language than it would be made in today."""
    return words.exists(connection) and not words.is_current(connection)


def partial_indexes(connection: psycopg.Connection[Any], names: Names, column: str | None) -> list[Check]:
    """Args: column: whose frequent values shall have a vector index each; None for none."""
    if column is None:
        return []
    found = [str(each.part) for each in index.find(connection, names) if each.part is not None and each.valid]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    said = f"{', '.join(found[:SHOWN])}{more}" if found else f"none yet: a sync builds them from {AUTO_ROWS:,} rows on"
    return [Check("partial indexes", True, f"of {column}: {said}")]
