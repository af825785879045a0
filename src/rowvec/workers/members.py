"""What the members of a fleet must share, and the proof that they do: one text, one model, one store, one source.

Two addresses that look alike can lead to two databases: `localhost` is another machine on each machine, and a copied
folder has a copy of everything in it. So a range names the record of its run, which is in one store only, and what the
source's server says of itself. Where a server says nothing, or something else, the rows themselves are compared.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rowvec.errors import ConfigError, RowsDiffer, SourceError, StoreError
from rowvec.pipeline import Pipeline
from rowvec.sources.base import Witnessed
from rowvec.stores.abilities import DividesWork
from rowvec.support.figures import count
from rowvec.types import Key
from rowvec.workers.settings import CONFIG_VARIABLE

EVIDENCE_ROWS = 200
"""Rows of a range that are compared by their text, the first ones: all rows of a range of the smallest size."""
SAME_FILES = "Give every worker the same rowvec.toml, model and version of rowvec."
SAME_SOURCE = "Give every worker the source.url of the process that starts the fleet, as one address for all machines."
SAME_STORE = "Give every worker the store.url of the process that starts the fleet, as one address for all machines."
OWN_SERVER = (
    "The embedded PostgreSQL belongs to one folder of one machine. Start the workers there, with the same rowvec.toml;"
    " or set store.url to a server that all of them reach."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process of rowvec works, for messages."""

    host: str
    folder: str

    @classmethod
    def here(cls) -> Place:
        named = os.environ.get(CONFIG_VARIABLE)
        return cls(socket.gethostname(), str(Path(named).resolve().parent if named else Path.cwd()))

    def __str__(self) -> str:
        return f"on {self.host} in {self.folder}"


def check_divisible(pipeline: Pipeline) -> None:
    """Raises StoreError where several workers cannot share a pipeline."""
    if not isinstance(pipeline.store, DividesWork):
        raise StoreError(
            f"{pipeline.store.location} takes one writer at a time.", hint="A fleet needs a PostgreSQL store."
        )


def identity(pipeline: Pipeline) -> dict[str, str]:
    """What decides, in a config, what is read and what is written."""
    spec = pipeline.spec
    return {
        "model": spec.fingerprint.identity() if spec.fingerprint else "",
        "text settings": spec.recipe,
        "metadata": repr(spec.metadata),
        "table": pipeline.store.location.rpartition(" in ")[0],
        "source": str(getattr(pipeline.source, "identity", "")),
    }


def origin(pipeline: Pipeline, run: int) -> dict[str, str | None]:
    """Where a fleet was started: the record of its run says which store that is."""
    here, store = Place.here(), pipeline.store
    assert isinstance(store, DividesWork)
    return {
        "host": here.host,
        "folder": here.folder,
        "store": store.location,
        "id": store.identity(),
        "run": store.run_mark(run),
        "witness": pipeline.source.witness() if isinstance(pipeline.source, Witnessed) else None,
    }


def evidence(pipeline: Pipeline, after: Key | None, until: Key | None) -> dict[str, Any]:
    """What is in a range of the source: how many rows, and a digest of the first keys and texts."""
    source = pipeline.source
    rows = next(iter(source.pages(EVIDENCE_ROWS, after=after, until=until)), [])
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(row.key).encode("utf-8", "surrogatepass"))
        try:
            document = pipeline.to_document(row)
        except SourceError:
            digest.update(b"unreadable")
        else:
            digest.update(document.text_hash + document.row_hash)
    return {
        "rows": source.rows_between(after, until) if isinstance(source, Witnessed) else None,
        "first": str(rows[0].key) if rows else None,
        "compared": len(rows),
        "digest": digest.hexdigest()[:32],
    }


def check_members(
    pipeline: Pipeline, what: str, expected: Mapping[str, str], sent: Mapping[str, Any], run: int
) -> None:
    """
    Args:
        what: this worker refuses, for messages.
        expected: the `identity` of whoever sent it.
        sent: its `origin`; empty if that is this process.

    Raises:
        ConfigError: text, model or table are others here, or the store is another one.
    """
    ours = identity(pipeline)
    differing = [name for name in ours if name != "source" and ours[name] != expected.get(name)]
    if differing:
        raise refusal(pipeline, what, sent, f"its {', '.join(differing)}", "", SAME_FILES)
    store = pipeline.store
    assert isinstance(store, DividesWork)
    if not sent or (sent.get("run") is not None and store.run_mark(run) == sent["run"]):
        return
    there, same = str(sent.get("store")), ""
    if there == store.location:
        copied = sent.get("id") and sent["id"] == store.identity()
        same = " One is a copy of the other." if copied else " They look alike and are two databases."
    said = f"the store here is {store.location}, and there {there}.{same}"
    own = not same and "embedded PostgreSQL" in f"{there} {store.location}"
    raise refusal(pipeline, what, sent, "its store", said, OWN_SERVER if own else SAME_STORE)


def check_source(
    pipeline: Pipeline,
    what: str,
    expected: Mapping[str, str],
    sent: Mapping[str, Any],
    bounds: tuple[Key | None, Key | None],
    rows: Mapping[str, Any] | None,
) -> None:
    """
    Args:
        bounds: of the range.
        rows: the `evidence` of whoever sent it.

    Raises:
        ConfigError: the source is another one here.
        RowsDiffer: it has the same address here, and other rows.
    """
    ours, theirs = identity(pipeline)["source"], expected.get("source", "")
    if not sent and ours == theirs:
        return
    witness = pipeline.source.witness() if isinstance(pipeline.source, Witnessed) else None
    if witness is not None and witness == sent.get("witness"):
        return
    if ours != theirs:
        said = f"the source here is {ours}, and there {theirs}."
        raise refusal(pipeline, what, sent, "its source", said, SAME_SOURCE)
    if rows is None:
        return
    found = evidence(pipeline, *bounds)
    if found != dict(rows):
        said = (
            f"{ours} has other rows here: {_counted(found)} here, {_counted(rows)} there"
            f"{'.' if found['digest'] == rows.get('digest') else ', with other keys or texts.'}"
        )
        raise refusal(pipeline, what, sent, "its source", said, SAME_SOURCE, RowsDiffer)


def _counted(rows: Mapping[str, Any]) -> str:
    number = rows.get("rows")
    return count(number, "row") if isinstance(number, int) else f"{rows.get('compared')} rows or more"


def refusal(
    pipeline: Pipeline,
    what: str,
    sent: Mapping[str, Any],
    differing: str,
    said: str,
    hint: str,
    kind: type[ConfigError] | type[RowsDiffer] = ConfigError,
) -> ConfigError | RowsDiffer:
    """Which worker refuses what, since what differs, and what to do."""
    there = f", {Place(str(sent.get('host')), str(sent.get('folder')))}" if sent else ""
    return kind(
        f"The worker {Place.here()} refuses {what}: the pipeline {pipeline.name!r} differs here from the one that the"
        f" fleet was started with{there}. What differs is {differing}{': ' + said if said else '.'} Nothing was"
        " written.",
        hint=hint,
    )
