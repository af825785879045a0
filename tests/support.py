"""Small things that many tests share."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from rowvec.documents.values import RENDERING
from rowvec.embedders.architectures import FAMILIES
from rowvec.embedders.base import Embedder
from rowvec.pipeline import Pipeline
from rowvec.sources.base import Source
from rowvec.stores.base import GenerationHandle, Store, TableSpec, existing
from rowvec.testing import HashEmbedder, MemorySource, MemoryStore
from rowvec.types import Column, ColumnType, Document, Row


def as_role(url: str, role: str, password: str) -> str:
    """`url`, of an embedded server, for another role than the one that owns it."""
    return url.replace("://postgres@", f"://{role}:{password}@", 1).replace("&password=", "", 1)


def password_of(url: str) -> str:
    """Of the role that owns an embedded server; empty where the URL names no file of passwords."""
    file = conninfo_to_dict(url).get("passfile")
    return Path(str(file)).read_text().strip().rpartition(":")[2] if file else ""


def over_tcp(url: str, host: str, port: int) -> str:
    """`url`, of an embedded server, where something listens that passes everything on to its socket."""
    parts = conninfo_to_dict(url)
    return f"postgresql://{parts['user']}@{host}:{port}/{parts['dbname']}?passfile={parts['passfile']}"


def count_statistics(connection: psycopg.Connection[Any]) -> None:
    """Have the server count what this connection did, as pg_stat_user_indexes and others show it."""
    if connection.info.server_version >= 150_000:
        connection.execute("select pg_stat_force_next_flush()")
        return
    # A process reports twice a second at most, when a statement ends, to one that answers twice a second with news.
    for _ in range(2):
        time.sleep(0.6)
        connection.execute("select 1")
    time.sleep(0.6)


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def forked(work: Callable[[], object]) -> int:
    """Pid of a process that does it and ends with 0, with 3 when memory ran out, or with 1 after another error.

    Everything is done in it: what runs threads of its own, such as a model, does not outlive a fork.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            traceback.print_exc()
            code = 3 if isinstance(error, MemoryError) else 1
        finally:
            os._exit(code)
    return child


def ended(child: int) -> int:
    """The exit status of a process that was `forked`, waited for; -9 when it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_child(work: Callable[[], object]) -> int:
    """Do it in a forked process, and give its exit status."""
    return ended(forked(work))


def defaults_of(function: Callable[..., object]) -> dict[str, Any]:
    """The defaults of its keyword arguments, for a test that changes one."""
    assert function.__kwdefaults__ is not None
    return function.__kwdefaults__


def rows_of(pipeline: Pipeline) -> GenerationHandle:
    """The vectors of the model that the pipeline names."""
    return existing(pipeline.store, pipeline.spec)


def simple_document(row: Row) -> Document:
    """Text from the column `name`, metadata from `price`."""
    text = row.values["name"] or ""
    price = row.values.get("price")
    return Document(row.key, text, (price,), digest(text), digest(repr(price)))


def simple_pipeline(
    source: Source | None = None,
    store: Store | None = None,
    embedder: Embedder | None = None,
    *,
    rows: dict[Any, str] | None = None,
    **changes: Any,
) -> Pipeline:
    """A pipeline of names and prices over in-memory parts, any of which can be replaced by a real one."""
    source = source or MemorySource({key: {"name": name, "price": 1} for key, name in (rows or {}).items()})
    embedder = embedder or HashEmbedder()
    spec = TableSpec(
        pipeline="things",
        key="id",
        key_type=source.key_type,
        dimension=embedder.fingerprint.dimension,
        metadata=(Column("price", ColumnType.INTEGER),),
        fingerprint=embedder.fingerprint,
        recipe=f"name.{RENDERING}",
    )
    return Pipeline("things", source, simple_document, ("name",), embedder, store or MemoryStore(), spec, **changes)


def vectors_match_rows(pipeline: Pipeline, rows: dict[Any, str]) -> None:
    """The store holds exactly one vector for each row, and it is that of the row's text."""
    assert rows_of(pipeline).keys(None, 100_000) == sorted(rows)
    for key, name in rows.items():
        vector = rows_of(pipeline).vector(key)
        assert vector is not None, f"row {key} has no vector"
        assert abs(vector - pipeline.embedder.embed_query(name)).max() < 1e-6, f"row {key} has another text's vector"


OPENVINO = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="the extra openvino is not installed"
)


def runs(kinds: Mapping[str, str]) -> list[Any]:
    """A case's name and an engine, for each engine that runs the case's `model_type`."""
    return [
        pytest.param(name, engine, marks=[OPENVINO] if engine == "openvino" else [], id=f"{name} on {engine}")
        for name, kind in kinds.items()
        for engine in FAMILIES[kind].engines
    ]
