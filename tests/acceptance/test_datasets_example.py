"""examples/datasets: the catalogue loaders, the ranking, the compose file, and the one command that needs nothing."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests import forks
from tests.integration.celery_rig import need, wait_for
from tests.servers.catalogue import KEY, USER, CatalogueServer
from tests.support_tiny_models import tiny_model

EXAMPLE = Path(__file__).parents[2] / "examples" / "datasets"
EAGER = """
import json, sys, catalogue
for task, *arguments in json.loads(sys.argv[1]):
    print(json.dumps(catalogue.app.tasks[task].apply(args=arguments).get()))
"""
META = {
    "Users": [{"Id": "7", "UserName": "anna"}],
    "Organizations": [{"Id": "3", "Slug": "an-institute"}],
    "Datasets": [
        {"Id": "1", "OwnerUserId": "7", "OwnerOrganizationId": "", "CurrentDatasetVersionId": "12"},
        {"Id": "2", "OwnerUserId": "7", "OwnerOrganizationId": "3", "CurrentDatasetVersionId": "21"},
        {"Id": "3", "OwnerUserId": "99", "OwnerOrganizationId": "", "CurrentDatasetVersionId": "31"},
    ],
    "DatasetVersions": [
        {"Id": "11", "Title": "Bird son", "Slug": "bird-songs", "Subtitle": "a former version"},
        {"Id": "12", "Title": "Bird songs", "Slug": "bird-songs", "Subtitle": "Recorded, at dawn\nin May"},
        {"Id": "21", "Title": "River levels", "Slug": "river-levels", "Subtitle": ""},
        {"Id": "31", "Title": "Nobody's", "Slug": "nobody-s", "Subtitle": "the owner is gone"},
    ],
}


class Catalogue:
    """The example in a folder of its own, over a database and the servers of the test."""

    def __init__(self, folder: Path, database: str, server: CatalogueServer) -> None:
        self.folder, self.database, self.server = folder, database, server
        for file in EXAMPLE.iterdir():
            if file.is_file():
                shutil.copy(file, folder)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ, "DATABASE_URL": self.database, "ROWVEC_BROKER": "redis://127.0.0.1:6379/9",
            "HF_ENDPOINT": self.server.url, "KAGGLE_ENDPOINT": self.server.url, "KAGGLE_USERNAME": USER,
            "KAGGLE_KEY": KEY,
        }  # fmt: skip

    def carry_out(self, *calls: list[Any]) -> list[dict[str, int]]:
        """Tasks, without a worker and a broker."""
        done = self.run("", json.dumps(calls), code=EAGER)
        return [json.loads(line) for line in done.splitlines()]

    def run(self, module: str, *arguments: str, code: str = "") -> str:
        done = forks.run(module, *arguments, code=code, cwd=self.folder, env=self.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def rowvec(self, *arguments: str) -> str:
        return self.run("rowvec.cli.main", *arguments)

    def rows(self, columns: str = "id, enrichment_status") -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database) as connection:
            return connection.execute(f"select {columns} from datasets order by id").fetchall()


@pytest.fixture
def catalogue(tmp_path: Path, postgres_url: str) -> Iterator[Catalogue]:
    with CatalogueServer() as server:
        yield Catalogue(tmp_path, postgres_url, server)


def hub(name: str, downloads: int, **more: Any) -> dict[str, Any]:
    return {
        "_id": "621ffdd236468d709f181f0a", "id": name, "author": name.partition("/")[0], "downloads": downloads,
        "createdAt": "2022-03-02T23:29:22.000Z", "lastModified": "2024-01-08T10:00:00.000Z", "tags": [],
        "private": False, "disabled": False, **more,
    }  # fmt: skip


def kaggle(ref: str, updated: str = "2024-05-01T10:00:00.123Z", **more: Any) -> dict[str, Any]:
    return {
        "id": 1, "ref": ref, "title": ref.partition("/")[2], "subtitle": "", "ownerName": ref.partition("/")[0],
        "downloadCount": 3, "lastUpdated": updated, "tags": [], **more,
    }  # fmt: skip


def test_the_hub_s_datasets_come_page_by_page_and_a_second_time_change_what_changed(catalogue: Catalogue) -> None:
    catalogue.server.hub = [
        hub("anna/bird-songs", 70, description="Songs", tags=["task_categories:audio-classification", "license:mit"]),
        hub("squad", 900, description="Questions"),
        hub("anna/secret", 50, private=True),
        hub("anna/unused", 0),
        hub("anna/tables", 5, tags=["task_categories:table-qa"]),
    ]
    fetch = ["enrich.fetch_hf_datasets", 1000, 1]
    assert catalogue.carry_out(fetch) == [{"processed": 4, "failed": 0}]
    columns = "id, title, description, task, downloads, enrichment_status, is_active"
    assert catalogue.rows(columns) == [
        ("anna/bird-songs", "bird songs", "Songs", "audio-classification", 70, "enriched", True),
        ("anna/secret", "secret", "", None, 50, "enriched", False),
        ("anna/tables", "tables", "table-qa", "table-qa", 5, "enriched", True),
        ("squad", "squad", "Questions", None, 900, "enriched", True),
    ]
    catalogue.server.hub[1]["description"] = "Questions and answers"
    catalogue.carry_out(fetch)
    assert [row[0] for row in catalogue.rows("description")] == ["Songs", "", "table-qa", "Questions and answers"]
    catalogue.carry_out(["enrich.fetch_hf_datasets", 1])
    assert len(catalogue.rows()) == 4


def test_kaggle_is_seeded_enriched_and_kept_up_to_date(catalogue: Catalogue) -> None:
    write_meta(catalogue.folder / "meta")
    catalogue.server.kaggle = [kaggle("anna/bird-songs", description="Every song of one spring", subtitle="Dawn")]
    catalogue.server.refusals = 1
    first, second = catalogue.carry_out(["kaggle.seed_initial", "meta"], ["kaggle.enrich_pending", 50])
    assert (first, second) == ({"processed": 2, "failed": 0}, {"processed": 1, "failed": 1})
    birds, rivers = "kaggle/anna/bird-songs", "kaggle/an-institute/river-levels"
    assert catalogue.rows() == [(rivers, "failed"), (birds, "enriched")]
    assert catalogue.rows("description, downloads")[1] == ("Dawn\nEvery song of one spring", 3)
    catalogue.server.kaggle = [
        kaggle("anna/bird-songs", "2024-06-01T00:00:00Z", description="Every song of two springs"),
        kaggle("anna/new", "2024-06-02T00:00:00Z", description="Not known yet"),
        kaggle("anna/old", "2023-01-01T00:00:00Z"),
    ]
    latest, again, rest = catalogue.carry_out(
        ["kaggle.fetch_latest", 5], ["kaggle.fetch_latest", 1], ["kaggle.enrich_pending", 50]
    )
    assert (latest, again, rest["processed"]) == ({"processed": 3, "failed": 0}, {"processed": 2, "failed": 0}, 2)
    assert dict(catalogue.rows("id, description"))[birds] == "Every song of two springs"
    assert dict(catalogue.rows())["kaggle/anna/new"] == "enriched"
    assert catalogue.server.paths.count("/api/v1/datasets/view/anna/bird-songs") == 2


def test_the_loaders_run_in_the_worker_that_embeds(catalogue: Catalogue) -> None:
    need("redis")
    config = catalogue.folder / "rowvec.toml"
    config.write_text(config.read_text().replace("[workers]", f'[workers]\nqueue = "{catalogue.folder.name}"'))
    catalogue.server.hub = [hub("anna/bird-songs", 70, description="Songs")]
    log = (catalogue.folder / "worker.log").open("w")
    words = ["-A", "catalogue", "worker", "-c", "1", "-l", "info"]
    worker = forks.start("celery", *words, cwd=catalogue.folder, env=catalogue.environment, stdout=log, stderr=log)
    try:
        catalogue.run("celery", "-A", "catalogue", "call", "enrich.fetch_hf_datasets")
        text = wait_for(lambda: _ended(catalogue.folder / "worker.log"), "the task has ended")
        assert "succeeded" in text
        for task in ("rowvec.generate_embeddings", "kaggle.seed_initial", "kaggle.enrich_pending"):
            assert task in text
    finally:
        worker.terminate()
        worker.wait(30)
        log.close()
    assert catalogue.rows() == [("anna/bird-songs", "enriched")]


def _ended(log: Path) -> str | None:
    text = log.read_text()
    return text if re.search(r"fetch_hf_datasets\[\S+\] (succeeded|raised)", text) else None


def write_meta(folder: Path) -> None:
    """CSV files as Meta Kaggle's, with the columns that are read."""
    folder.mkdir()
    more = {
        "Datasets": {"TotalDownloads": "41", "CreationDate": "02/18/2017 09:04:59"},
        "DatasetVersions": {"CreationDate": "03/01/2018", "Description": "x" * 200_000},
    }
    for name, rows in META.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0], *more.get(name, {})])
            writer.writeheader()
            writer.writerows({**row, **more.get(name, {})} for row in rows)


@pytest.mark.slow
def test_downloads_bring_the_dataset_that_people_mean_to_the_top(
    catalogue: Catalogue, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Datasets that share a name: the query is the name, and the ones that are downloaded most are wanted."""
    monkeypatch.setenv("EMBEDDING_MODEL", str(tiny_model(tmp_path / "model", "bert")))
    queries, judged = same_names(catalogue, data / "hf_datasets", tmp_path)
    catalogue.rowvec("check", "--apply")
    catalogue.rowvec("sync")
    with_static = scores(catalogue, queries, judged)
    config = (catalogue.folder / "rowvec.toml").read_text()
    (catalogue.folder / "rowvec.toml").write_text(config.replace("static_weight = 0.2", "static_weight = 0"))
    without = scores(catalogue, queries, judged)
    assert with_static > without + 0.02

    decaying = 'static_weight = 0.2, decay = "created_at", half_life_days = 365'
    (catalogue.folder / "rowvec.toml").write_text(config.replace("static_weight = 0.2", decaying))
    found = json.loads(catalogue.rowvec("search", "glue", "--mode", "hybrid", "--explain", "--json", "--limit", "5"))
    downloads = dict(catalogue.rows("id, downloads"))
    for hit in found["results"]:
        parts = hit["explain"]
        assert parts["static"] == pytest.approx(math.log10(1 + downloads[hit["id"]]) / 6)
        assert 0 < parts["decay"] < 1
        assert hit["score"] == pytest.approx((parts["fused"] + 0.2 * parts["static"]) * parts["decay"])
    shown = catalogue.rowvec("search", "glue", "--mode", "hybrid", "--explain")
    assert {"static", "decay"} <= set(shown.splitlines()[0].split())


def scores(catalogue: Catalogue, queries: Path, judged: Path) -> float:
    said = json.loads(catalogue.rowvec("eval", str(queries), str(judged), "--mode", "keyword", "--json"))
    return float(said["keyword"]["means"]["nDCG@10"])


def same_names(catalogue: Catalogue, folder: Path, where: Path) -> tuple[Path, Path]:
    """Load the datasets whose name another one has too; the files of queries and judgements about them."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        import load
    finally:
        sys.path.remove(str(EXAMPLE))
    named: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in load.rows(folder):
        if len(row["description"]) > 100:
            named[row["title"].lower()].append(row)
    groups = {name: rows for name, rows in named.items() if len(rows) > 1 and rows[0]["downloads"] > 100}
    with psycopg.connect(catalogue.database) as connection:
        connection.execute(load.TABLE)
        for rows in groups.values():
            connection.cursor().executemany(load.INSERT, rows)
    queries, judged = where / "queries.csv", where / "judged.csv"
    with queries.open("w") as asked, judged.open("w") as wanted:
        csv.writer(asked).writerows([("id", "query"), *enumerate(groups)])
        csv.writer(wanted).writerow(("query", "docid", "rating"))
        for number, rows in enumerate(groups.values()):
            csv.writer(wanted).writerows((number, row["id"], round(math.log10(1 + row["downloads"]))) for row in rows)
    return queries, judged


def test_the_compose_file_has_the_five_parts_and_no_secret() -> None:
    services = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())["services"]
    assert set(services) == {"app", "worker", "beat", "redis", "postgres"}
    assert services["postgres"]["image"].startswith("pgvector/pgvector:")
    for name, service in services.items():
        for variable, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|KEY|TOKEN", variable):
                assert re.fullmatch(r"\$\{\w+(:-|:\?[^}]*)\}", value), f"{name}: {variable} is written down"
            assert not re.search(r"://[^/@$]*:[^/@$]+@", value), f"{name}: {variable} holds a password"


@pytest.mark.slow
def test_the_example_runs_by_one_command_and_without_any_service(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ROWVEC_", "DATABASE_"))}
    environment["ROWVEC_BROKER"] = "redis://127.0.0.1:1/0"
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "run.py")], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "A worker says: {'processed': 12, 'failed': 0}" in done.stdout
    assert done.stdout.index("common_voice") < done.stdout.index("librispeech")
    assert list(tmp_path.iterdir()) == []
