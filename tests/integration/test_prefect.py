"""The Prefect flow on a real Prefect server: deployed, retried, refused."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.acceptance.shop import Shop
from tests.servers.openai import EmbeddingServer
from tests.servers.proxy import Proxy
from tests.support import over_tcp

pytest.importorskip("prefect", reason="Prefect is not installed: pip install 'rowvec[prefect]'")
pytestmark = pytest.mark.slow

ROWS = 40
PATIENCE = 120.0
RUN = """
import json, sys
from rowvec.workers.prefect import rowvec_sync
for given in sys.argv[1:]:
    print(json.dumps(rowvec_sync(**json.loads(given))))
"""
SERVE = "import sys; from rowvec.workers.prefect import serve; serve(sys.argv[1])"
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@pytest.fixture(scope="module")
def prefect() -> Iterator[dict[str, str]]:
    """The variables under which Prefect's clients find a server of this module's own."""
    with socket.socket() as free, TemporaryDirectory(prefix="rowvec-test-", ignore_cleanup_errors=True) as home:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        variables = {
            # Prefect's runner keeps its files in a folder of one name for all accounts of a machine.
            "TMPDIR": home,
            "PREFECT_HOME": home, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_RUNNER_POLL_FREQUENCY": "1", "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.2",
        }  # fmt: skip
        with running([sys.executable, "-m", "tests.servers.prefect", str(port)], variables, Path.cwd()):
            until(lambda: _answers(variables), "Prefect's server answers")
            yield variables


@contextmanager
def running(command: list[str], variables: Mapping[str, str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    log = Path(variables["PREFECT_HOME"]) / "log.txt"
    with log.open("a") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | dict(variables), stdout=subprocess.PIPE, stderr=output, text=True
        )
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=60)


def _answers(variables: Mapping[str, str]) -> bool:
    try:
        return httpx2.get(f"{variables['PREFECT_API_URL']}/health").status_code == 200
    except httpx2.TransportError:
        return False


def until(condition: Callable[[], Any], what: str) -> Any:
    """What `condition` gives when it first gives something."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.1)
    return found


def api(variables: Mapping[str, str], path: str, body: Any | None = None) -> Any:
    url = f"{variables['PREFECT_API_URL']}/{path}"
    reply = httpx2.get(url) if body is None else httpx2.post(url, json=body)
    assert reply.status_code < 300, reply.text
    return reply.json()


def task_run(variables: Mapping[str, str], flow_run: str) -> dict[str, Any] | None:
    """The one that carries a sync out, as soon as the server knows of it."""
    found = api(variables, "task_runs/filter", {"flow_runs": {"id": {"any_": [flow_run]}}})
    return found[0] if found else None


def latest_run(variables: Mapping[str, str]) -> dict[str, Any]:
    found: list[dict[str, Any]] = api(variables, "flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})
    return found[0]


@pytest.fixture
def shop(prefect: dict[str, str], postgres_url: str, tmp_path: Path) -> Iterator[Shop]:
    with EmbeddingServer(dimension=16) as model:
        made = Shop(tmp_path, {**prefect, "MODEL_URL": model.url, "STORE_URL": postgres_url})
        made.stock(ROWS)
        made.declare()
        yield made


def sync_by_flow(shop: Shop, *runs: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """One run after another, each with these parameters, in one process."""
    command = [sys.executable, "-c", RUN, *map(json.dumps, runs)]
    return subprocess.run(
        command, cwd=shop.folder, env=os.environ | dict(shop.variables), capture_output=True, text=True
    )


def vectors(shop: Shop) -> int:
    with psycopg.connect(shop.variables["STORE_URL"]) as connection:
        row = connection.execute("select count(embedding) from products_vectors").fetchone()
    assert row is not None
    return int(row[0])


def test_a_deployment_syncs_on_request_and_has_the_schedule_of_the_config(shop: Shop) -> None:
    with (shop.folder / "rowvec.toml").open("a") as config:
        config.write('schedule = { cron = "0 2 * * *" }\n[workers]\ntimezone = "Europe/Prague"\n')
    variables = shop.variables
    with running([sys.executable, "-c", SERVE, "rowvec.toml"], variables, shop.folder):
        name = {"deployments": {"name": {"any_": ["products"]}}}
        deployed = until(lambda: api(variables, "deployments/filter", name), "the deployment is there")[0]
        (schedule,) = deployed["schedules"]
        assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 2 * * *", "Europe/Prague")
        assert deployed["concurrency_limit"] == 1 or deployed["global_concurrency_limit"]["limit"] == 1
        run = api(variables, f"deployments/{deployed['id']}/create_flow_run", {})["id"]
        ended = until(lambda: _ended(variables, run), "the run ends")
        assert ended["state_type"] == "COMPLETED", ended["state"]
        # Sent after its end, by a process that would be killed with the one that serves.
        said = until(lambda: _logged(variables, run, "products: 40 new"), "the log is there")
    assert "0 deleted" in said
    assert vectors(shop) == ROWS


def _ended(variables: Mapping[str, str], run: str) -> dict[str, Any] | None:
    found: dict[str, Any] = api(variables, f"flow_runs/{run}")
    return found if found["state_type"] in ENDED else None


def _logged(variables: Mapping[str, str], run: str, words: str) -> str | None:
    lines = api(variables, "logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
    return next((line["message"] for line in lines if words in line["message"]), None)


def test_a_run_gives_the_counts_and_the_next_one_finds_nothing_to_do(shop: Shop) -> None:
    done = sync_by_flow(shop, {"pipeline": "products"}, {"config": str(shop.folder / "rowvec.toml")})
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(report["processed"], report["failed"]) for report in reports] == [(ROWS, 0), (0, 0)]
    assert [report["unchanged"] for report in reports] == [0, ROWS]


def test_a_database_that_does_not_answer_is_tried_again_until_it_does(shop: Shop, postgres_url: str) -> None:
    folder = conninfo_to_dict(postgres_url)
    shop.sql("drop table products")
    with psycopg.connect(postgres_url) as connection:
        connection.execute("create table products as select n as id, 'lamp ' || n as name from generate_series(1, 9) n")
    with Proxy(f"{folder['host']}/.s.PGSQL.{folder.get('port', 5432)}") as proxy:
        proxy.refusing = True
        url = over_tcp(postgres_url, "127.0.0.1", proxy.port)
        shop.declare(source=f'url = "{url}", table = "products", key = "id"', text='columns = ["name"]',
                     store='kind = "postgres", url = "${STORE_URL}", table = "products_vectors"')  # fmt: skip
        command = [sys.executable, "-c", RUN, json.dumps({"retries": 50, "retry_seconds": 0.01})]
        before = len(api(shop.variables, "flow_runs/filter", {}))
        with running(command, shop.variables, shop.folder) as process:
            until(lambda: len(api(shop.variables, "flow_runs/filter", {})) > before, "the run begins")
            run = latest_run(shop.variables)["id"]
            until(lambda: (task_run(shop.variables, run) or {}).get("run_count", 0) > 1, "it was tried again")
            proxy.refusing = False
            out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert json.loads(out)["processed"] == 9


def test_an_error_that_does_not_pass_fails_the_run_at_once(shop: Shop) -> None:
    shop.declare(text='columns = ["nmae"]')
    run = sync_by_flow(shop, {"retries": 3, "retry_seconds": 0.01})
    assert run.returncode == 1
    assert "Did you mean" in run.stderr
    found = latest_run(shop.variables)
    assert found["state_type"] == "FAILED"
    tried = until(lambda: _failed(shop.variables, found["id"]), "the server knows the end of the task")
    assert tried["run_count"] == 1


def _failed(variables: Mapping[str, str], run: str) -> dict[str, Any] | None:
    found = task_run(variables, run)
    return found if found and found["state_type"] == "FAILED" else None


def test_a_pipeline_that_is_being_synced_is_left_to_whoever_does(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from rowvec import assemble

    shop.run("sync")
    for name in ("MODEL_URL", "STORE_URL"):
        monkeypatch.setenv(name, shop.variables[name])
    with assemble.opened(shop.folder / "rowvec.toml", None) as pipeline:
        assert pipeline.store.generation(pipeline.spec)
        with pipeline.store.lock():
            run = sync_by_flow(shop, {})
    report = json.loads(run.stdout)
    assert report["processed"] == 0
    assert f"pid {os.getpid()}" in report["skipped"]


def test_without_prefect_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['prefect'] = None; import rowvec.workers.prefect"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'rowvec[prefect]'" in done.stderr


def test_a_cron_line_that_means_nothing_is_refused(shop: Shop) -> None:
    code = "from rowvec.workers.prefect import deployment; deployment(config='rowvec.toml', cron='at noon')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=shop.folder, env=os.environ | dict(shop.variables), capture_output=True,
        text=True,
    )  # fmt: skip
    assert "ConfigError: The deployment of products is wrong" in done.stderr
