"""The stores of `tests/data/upgrade`, put back where a test wants them, with the rows that they were made of."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rowvec import assemble
from rowvec.pipeline import Pipeline
from rowvec.stores.libsql.local import LocalDatabase
from tests.acceptance.shop import Shop
from tests.servers.openai import EmbeddingServer

DATA = Path(__file__).parents[1] / "data" / "upgrade"
DIMENSION = 8
MODELS = ("text-embedding-3-small", "text-embedding-3-large")
"""Of the live generations, and of those that were live before."""
HAT = "name: hat. description: A hat, 2.5 kg"
PIPELINES = ("products", "notes", "events", "products_file", "events_file")


@dataclass
class OldStores(Shop):
    """A PostgreSQL and a file that an older rowvec filled, and `rowvec` on them.

    Args:
        service: embeds, and knows what it was asked for.
    """

    service: EmbeddingServer = field(default_factory=EmbeddingServer)

    @property
    def embedded(self) -> list[str]:
        return [text for request in self.service.log for text in request.texts]

    @contextmanager
    def opened(self, pipeline: str) -> Iterator[Pipeline]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.variables.items():
                patch.setenv(name, value)
            with assemble.opened(self.folder, pipeline) as found:
                yield found

    def json(self, *words: str) -> Any:
        answer = self.run(*words, "--json")
        assert "Traceback" not in answer.err, answer.err
        return json.loads(answer.out)

    def state(self, pipeline: str) -> Mapping[str, Any]:
        """The line of `rowvec check` about what the store keeps."""
        found: Mapping[str, Any] = next(line for line in self.json("check", pipeline) if line["what"] == "state")
        return found

    def execute(self, pipeline: str, *statements: str) -> list[tuple[Any, ...]]:
        """Run SQL in the store of a pipeline, and give what the last statement found."""
        if pipeline.endswith("_file"):
            with closing(LocalDatabase(str(self.folder / "vectors.db"))) as file:
                return [file.query(statement) for statement in statements][-1]
        with psycopg.connect(self.variables["STORE"], autocommit=True) as connection:
            for statement in statements:
                found = connection.execute(statement)
            return found.fetchall() if found.description else []


@contextmanager
def restored(folder: Path, url: str) -> Iterator[OldStores]:
    for name in ("rowvec.toml", "events.jsonl"):
        shutil.copy(DATA / name, folder)
    with closing(sqlite3.connect(folder / "shop.db")) as shop:
        shop.executescript((DATA / "shop.sql").read_text())
    (folder / "vectors.db").write_bytes(gzip.decompress((DATA / "libsql.db.gz").read_bytes()))
    with EmbeddingServer(dimension=DIMENSION, models=MODELS, refuse=lambda text: "REFUSED" in text) as server:
        dump = (DATA / "postgres.sql").read_text()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(dump.replace("{folder}", str(folder)).replace("{service}", server.url))
        model = {"MODEL": "text-embedding-3-small", "DIMENSIONS": str(DIMENSION), "SERVICE": server.url}
        old = OldStores(folder, model | {"STORE": url}, server)
        _move_service(old, server.url)
        _not_due_yet(old, str(folder))
        yield old


def _move_service(old: OldStores, url: str) -> None:
    """The service that made the vectors of the file is at another port today."""
    settings = "json_set(settings, '$.embedder.base_url', '{}')"
    old.execute(
        "products_file", f"update rowvec_generations set settings = {settings.format(url)} where settings <> ''"
    )


def _not_due_yet(old: OldStores, folder: str) -> None:
    """Rows that failed are not tried again, so that nothing at all is to be embedded.

    The older rowvec gave the hat no vector, because its price did not fit: that waits too, as if it were of its text.
    """
    hat = hashlib.blake2b(HAT.encode(), digest_size=16).hexdigest()
    old.execute(
        "products",
        "update rowvec.failures set next_try = now() + interval '1 hour'",
        f"update rowvec.failures set text_hash = '\\x{hat}' where error like '%cannot be stored as integer%'",
    )
    old.execute("products_file", f"update rowvec_offsets set stream = replace(stream, '{{folder}}', '{folder}')")
    names = "select name from sqlite_master where type = 'table' and name like 'rowvec_failures_%'"
    soon = "strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', '1 hour')"
    for (name,) in old.execute("products_file", names):
        old.execute("products_file", f'update "{name}" set next_try = {soon}')
        unfit = f"set text_hash = x'{hat}' where error like '%cannot be stored as integer%'"
        old.execute("products_file", f'update "{name}" {unfit}')
