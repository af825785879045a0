"""After a failing run of every kind, no secret stands in what was printed, logged, stored or served."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from rowvec import assemble, config
from rowvec.errors import RowvecError
from rowvec.serve import Service
from rowvec.serve.api import create_app
from rowvec.serve.settings import ServeSettings
from rowvec.support.retry import patiently
from rowvec.syncing.run import sync
from tests.acceptance.shop import Shop
from tests.servers.hrana import HranaServer, serving
from tests.servers.openai import EmbeddingServer, Fault
from tests.support import defaults_of, rows_of
from tests.torture import Faults, tried

pytestmark = pytest.mark.slow

CORE = "S3CR3Tcore"
"""In every secret, however it is escaped."""
PASSWORD = f"p%40{CORE}%2F%25"
KEY = f"key-{CORE}"
NOBODY = "127.0.0.1:9"
LIBSQL = 'kind = "libsql", url = "vectors.db", table = "v"'
API = (
    'kind = "openai", model = "text-embedding-3-small", base_url = "${MODEL_URL}", api_key = "${SECRET}", max_tries = 1'
)
API += ", dimensions = 8"


@dataclass(frozen=True)
class Kind:
    """A config that holds a secret and fails; `parts` as in tests.acceptance.shop."""

    secret: str
    parts: dict[str, str] = field(default_factory=dict)
    script: tuple[Fault, ...] = ()
    api_key: str = "another"


def _url(text: str) -> dict[str, str]:
    return {"source": f'url = "{text}", table = "products", key = "id"'}


def _store(text: str) -> dict[str, str]:
    return {"store": text}


GOOD_KEY: dict[str, Any] = {"api_key": KEY}
KINDS = {
    "source postgres unreachable": Kind(PASSWORD, _url(f"postgresql://u:${{SECRET}}@{NOBODY}/d")),
    "source mysql unreachable": Kind(PASSWORD, _url(f"mysql://u:${{SECRET}}@{NOBODY}/d")),
    "source url malformed": Kind(PASSWORD, _url("postgresql://u:${SECRET}@127.0.0.1:port/d")),
    "source url as a table": Kind(
        PASSWORD, {"source": 'url = "sqlite:///shop.db", table = "postgresql://u:${SECRET}@h/d", key = "id"'}
    ),
    "source url as a key": Kind(
        PASSWORD, {"source": 'url = "sqlite:///shop.db", table = "products", key = "postgresql://u:${SECRET}@h/d"'}
    ),
    "source url of another kind": Kind(PASSWORD, _url("oracle://u:${SECRET}@h/d")),
    "store postgres unreachable": Kind(
        PASSWORD, _store(f'kind = "postgres", url = "postgresql://u:${{SECRET}}@{NOBODY}/d", table = "v"')
    ),
    "store url malformed": Kind(
        PASSWORD, _store('kind = "postgres", url = "postgresql://u:${SECRET}@[h/d?x=y=z", table = "v"')
    ),
    "store url with a password option": Kind(
        PASSWORD, _store(f'kind = "postgres", url = "postgresql://{NOBODY}/d?user=u&password=${{SECRET}}", table = "v"')
    ),
    "store dsn": Kind(
        f"p{CORE}", _store('kind = "postgres", url = "host=127.0.0.1 port=9 user=u password=${SECRET}", table = "v"')
    ),
    "libsql token refused": Kind(KEY, _store('kind = "libsql", url = "${HRANA}", token = "${SECRET}", table = "v"')),
    "libsql token in the url": Kind(KEY, _store('kind = "libsql", url = "${HRANA}?authToken=${SECRET}", table = "v"')),
    "libsql unreachable": Kind(
        KEY, _store(f'kind = "libsql", url = "libsql://{NOBODY}?authToken=${{SECRET}}&tls=0", table = "v"')
    ),
    "key refused": Kind(KEY, {"embedder": API}),
    "service fails": Kind(KEY, {"embedder": API}, (Fault.ERROR,) * 9, **GOOD_KEY),
    "service cuts": Kind(KEY, {"embedder": API}, (Fault.CUT_AFTER,) * 9, **GOOD_KEY),
    "no money": Kind(KEY, {"embedder": API}, (Fault.NO_MONEY,) * 9, **GOOD_KEY),
    "broken answers": Kind(KEY, {"embedder": API}, (Fault.HTML, Fault.ERROR_IN_200, Fault.NAN) * 3, **GOOD_KEY),
    "key in the base_url": Kind(
        KEY, {"embedder": 'kind = "openai", model = "m", base_url = "https://u:${SECRET}@api.example/v1"'}
    ),
    "broker unreachable": Kind(PASSWORD, {"embedder": API, "workers": f"redis://:${{SECRET}}@{NOBODY}/0"}),
}


@pytest.fixture(scope="module")
def hrana(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HranaServer]:
    with serving(tmp_path_factory.mktemp("hrana"), token="the-right-token") as server:
        yield server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here and in the commands, which are forked from here."""
    monkeypatch.setitem(defaults_of(patiently), "patience", 0.2)
    monkeypatch.setattr("rowvec.syncing.run.PATIENCE", 0.2)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def shop(kind: Kind, hrana: HranaServer, quick_folder: Path) -> Iterator[Shop]:
    with EmbeddingServer(dimension=8, api_key=kind.api_key, script=kind.script) as model:
        variables = {"SECRET": kind.secret, "MODEL_URL": model.url, "HRANA": hrana.url("secrets"), "NO_COLOR": "1"}
        shop = Shop(quick_folder, variables)
        parts = {"store": LIBSQL, "embedder": API} | kind.parts
        broker = parts.pop("workers", None)
        shop.declare(**parts)
        if broker is not None:
            with (quick_folder / "rowvec.toml").open("a") as file:
                file.write(f'\n[workers]\nbroker = "{broker}"\n')
        shop.stock(30)
        yield shop


COMMANDS = ["check", "plan", "sync", "sync --json", "status", "status --json", "failures --json", "search lamp",
            "sync --retry-failed", "index status"]  # fmt: skip


def test_nothing_that_is_printed_or_kept_holds_the_secret(kind: Kind, shop: Shop, faults: Faults) -> None:
    commands = [*COMMANDS, "sync --workers celery"] if "workers" in kind.parts else COMMANDS
    for command in commands:
        tried(faults, "failing run searched for secrets")
        done = shop.run(*command.split())
        said = done.out + done.err
        assert CORE not in said, command
        assert "Traceback" not in said, f"{command}: {said}"
    kept = [path for path in shop.folder.rglob("*") if path.is_file()]
    assert [path for path in kept if CORE.encode() in path.read_bytes()] == []


def test_no_log_repr_record_reply_or_metric_holds_the_secret(
    kind: Kind, shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in shop.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(shop.folder)
    seen: list[str] = []
    with caplog.at_level(logging.DEBUG):
        try:
            loaded = config.load(shop.folder)
            seen.append(repr(loaded))
            with assemble.opened(shop.folder, None) as pipeline:
                seen += [repr(part) for part in (pipeline, pipeline.source, pipeline.store, pipeline.embedder)]
                try:
                    sync(pipeline)
                except RowvecError as error:
                    seen.append(_chain(error))
                with suppress(RowvecError):
                    seen.append(repr(pipeline.store.runs()) + repr(rows_of(pipeline).failures()))
                # Without its start, which asks the model for a vector: a server that does not start shows nothing.
                app = create_app({"products": Service(pipeline)}, ServeSettings(rate=1e6))
                client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
                for path in ("/metrics", "/status", "/health", "/pipelines", "/search?query=lamp", "/openapi.json"):
                    reply = client.get(path)
                    seen.append(json.dumps([reply.text, dict(reply.headers)]))
        except RowvecError as error:
            seen.append(_chain(error))
    assert seen
    assert CORE not in "\n".join(seen)
    assert CORE not in caplog.text


def _chain(error: BaseException | None) -> str:
    """Everything that a traceback of it would show, but for the values of variables."""
    said = []
    while error is not None:
        said += [str(error), repr(error), *getattr(error, "__notes__", [])]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(said)
