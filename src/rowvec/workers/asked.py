"""Whoever asks for a task, and whoever carries it out, mean the same vectors and the same rows.

Everybody who sends a task of rowvec, a server, Beat or a command, says in its headers where it works and what its
config names. A worker whose config names something else refuses the task. No database is asked for that.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from rowvec.config import Config
from rowvec.errors import ConfigError, RowvecError
from rowvec.support.redaction import redact
from rowvec.workers.members import Place
from rowvec.workers.settings import load_config

HEADER = "rowvec_asked"
TASKS = frozenset({"rowvec.generate_embeddings", "rowvec.sync"})
EMBEDDED = "embedded"
BOOT = Path("/proc/sys/kernel/random/boot_id")
PLACES = ("host", "hostaddr", "port", "dbname", "options")
_PLACES = re.compile(rf"\b({'|'.join(PLACES)})\s*=\s*('[^']*'|[^'\s]+)")
_HOW = frozenset({"url", "page_size", "cursor", "cursor_lag", "full_every", "skip_bad", "options"})
"""Fields of a source that say how it is read, not what; and its URL, which holds a password."""


def header(name: str | None, store_id: str | None = None) -> dict[str, Any]:
    """What goes with a task for the pipeline `name`.

    Args:
        store_id: `Store.identity`, where it is known.
    """
    here = Place.here()
    try:
        named = _named(name)
    except RowvecError:
        named = {}  # Whoever carries it out says what is wrong with the name.
    return {"host": here.host, "folder": here.folder, "id": store_id or None, **named}


def check(asked: Mapping[str, Any], name: str | None, task: str, identity: Callable[[], str]) -> None:
    """
    Args:
        asked: the `header` of the task; empty where another program sent it.
        identity: `Store.identity` of the store here.

    Raises:
        ConfigError: this worker's vectors or rows are others than those of whoever asked.
    """
    if "store" not in asked:
        return
    ours = _named(name)
    there = Place(str(asked.get("host")), str(asked.get("folder")))
    for what, setting in (("store", "store.url"), ("source", "the source")):
        another = what == "store" and asked.get("id") and identity() not in ("", asked["id"])
        if ours[f"{what} mark"] == asked.get(f"{what} mark") and not another:
            continue
        here, said = ours[what], asked.get(what)
        alike = " They look alike and are not the same." if here == said else ""
        raise ConfigError(
            f"The worker {Place.here()} refuses {task} of {ours['pipeline']!r}, which was asked for {there}: the {what}"
            f" here is {here}, and there {said}.{alike} Nothing was written.",
            hint=f"Give every process on this broker and queue the same {setting}, as one address for all machines; or"
            " give each project a queue of its own (workers.queue).",
        )


@functools.cache
def _loaded() -> Config:
    return load_config()


@functools.cache
def _named(name: str | None) -> dict[str, str]:
    """Store and source as the config names them, for messages, and a mark of each to compare."""
    loaded = _loaded()
    declared = loaded.pipeline(name)
    url, *rest = declared.store.target
    if url == EMBEDDED:
        store = f"the embedded PostgreSQL in {loaded.state}"
        rest.append(BOOT.read_text() if BOOT.exists() else Place.here().host)
    else:
        store = _address(url)
    source = declared.source.model_dump(mode="json", exclude=set(_HOW))
    rows_url = _address(declared.source.rows_url or "")
    said = redact(json.dumps({**source, "rows": {**(source.get("rows") or {}), "url": rows_url}}, sort_keys=True))
    shown = rows_url or ", ".join(map(redact, source.get("paths") or ())) or str(source.get("brokers") or "")
    return {
        "pipeline": declared.name,
        "store": store,
        "store mark": _mark(json.dumps([store, *rest])),
        "source": " ".join(filter(None, (shown, source.get("table")))),
        "source mark": _mark(said),
    }


def _address(url: str) -> str:
    """Where a URL or a libpq connection string leads: without user, password and other options."""
    parts = urlsplit(url)
    if not parts.scheme:
        return " ".join(f"{name}={value}" for name, value in _PLACES.findall(url)) or redact(url)
    options = [f"{name}={value}" for name, value in parse_qsl(parts.query) if name in PLACES]
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?' + '&'.join(options) if options else ''}"


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
