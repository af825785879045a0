"""Vectors in a libSQL database: a local file, or Turso and sqld over HTTP, with the same SQL for both."""

from __future__ import annotations

from rowvec.stores.libsql.store import LibsqlStore

__all__ = ["LibsqlStore"]
