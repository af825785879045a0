"""Change events as Debezium writes them, from a short description or from the registry of the test data."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

Rows = dict[Any, str]


class Change(NamedTuple):
    op: str
    key: Any
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    lsn: int


def row(key: Any, name: str | None, **more: Any) -> dict[str, Any]:
    return {"id": key, "name": name, "price": 1, **more}


def put(key: Any, name: str | None, lsn: int, op: str = "u", **more: Any) -> Change:
    return Change(op, key, None, row(key, name, **more), lsn)


def removed(key: Any, lsn: int) -> Change:
    return Change("d", key, row(key, "?"), None, lsn)


def envelope(change: Change) -> dict[str, Any]:
    source = {"connector": "postgresql", "name": "shop", "table": "things", "lsn": change.lsn, "ts_ms": change.lsn}
    return {"op": change.op, "before": change.before, "after": change.after, "source": source, "ts_ms": change.lsn}


def lines(changes: Iterable[Change], *, tombstones: bool = False) -> str:
    """Lines `key<TAB>event`, a deletion followed by its tombstone if asked for."""
    written = []
    for change in changes:
        key = json.dumps({"id": change.key})
        written.append(f"{key}\t{json.dumps(envelope(change))}\n")
        if tombstones and change.op == "d":
            written.append(f"{key}\tnull\n")
    return "".join(written)


def registry(data: Path) -> tuple[list[Change], Rows]:
    """The history of a catalogue of datasets, and the texts of those that are there at its end."""
    changes: list[Change] = []
    state: Rows = {}
    with gzip.open(data / "registry" / "events.jsonl.gz", "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            event = json.loads(line)
            before, after = (_as_row(event[name]) for name in ("before", "after"))
            changes.append(Change(event["op"], event["key"], before, after, number))
            if after is None:
                state.pop(event["key"], None)
            else:
                state[event["key"]] = after["name"]
    return changes, state


def _as_row(dataset: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if dataset is None:
        return None
    text = " ".join(str(dataset[name] or "") for name in ("name", "description", "tags", "license")).strip()
    return row(dataset["id"], " ".join(text.split()))


def partitions(changes: Iterable[Change], count: int) -> list[list[Change]]:
    """Shared out as Kafka does: all changes of a key, in their order, in one of them."""
    parts: list[list[Change]] = [[] for _ in range(count)]
    for change in changes:
        parts[sum(str(change.key).encode()) % count].append(change)
    return parts
