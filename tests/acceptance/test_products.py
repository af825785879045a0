"""The products example: a catalogue, dbt, vectors, a mart that joins them, and what changes later."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from rowvec.config import LocalEmbedderConfig, PostgresStoreConfig, SqlSourceConfig, load
from rowvec.stores.postgres.embedded import embedded_url, stop_embedded

EXAMPLE = Path(__file__).parents[2] / "examples" / "products"
ROWS = 60
TABLE = "analytics_features.product_embeddings"
NEAREST = f"""
with query as (select embedding from {TABLE} order by product_id limit 1)
select e.product_id from {TABLE} e cross join query
join staging_staging.stg_product s on e.product_id = s.product_id
order by e.embedding {{operator}} query.embedding limit 10
"""
MART = "select count(*), count(embedding) from staging_marts.product_with_embeddings"


@dataclass
class Demo:
    folder: Path
    """With the database in it."""
    variables: dict[str, str]
    url: str
    printed: str

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=EXAMPLE, env=os.environ | self.variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def rowvec(self, *arguments: str) -> Any:
        return json.loads(self.run(sys.executable, "-m", "rowvec.cli.main", *arguments, "--json"))

    def dbt(self, *arguments: str) -> str:
        return self.run(str(Path(sys.executable).parent / "dbt"), *arguments)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(statement).fetchall()


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """What `python run.py` leaves; its database goes on running."""
    if not (Path(sys.executable).parent / "dbt").exists() and shutil.which("dbt") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("dbt is not installed: pip install dbt-postgres")
    with TemporaryDirectory(prefix="rowvec-test-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        url = embedded_url(folder)
        command = [sys.executable, str(EXAMPLE / "run.py"), "--rows", str(ROWS), "--folder", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        host = str(conninfo_to_dict(url)["host"])
        variables = {
            "DBT_PROJECT_DIR": str(EXAMPLE / "dbt"), "DBT_PROFILES_DIR": str(EXAMPLE / "dbt"),
            "DBT_TARGET_PATH": f"{name}/dbt-target", "DBT_LOG_PATH": f"{name}/dbt-logs",
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "STAGING_DB_HOST": host, "STAGING_DB_PORT": "5432",
            "PGVECTOR_HOST": host, "PGVECTOR_PORT": "5432",
        }  # fmt: skip
        yield Demo(folder, variables, url.replace("/postgres?", "/analytics?"), done.stdout)
        stop_embedded(folder)


@pytest.mark.slow
def test_one_command_goes_from_nothing_to_a_mart_with_vectors(demo: Demo) -> None:
    assert f"products: {ROWS} new" in demo.printed
    assert demo.printed.count("Completed successfully") == 2, "dbt before the vectors and after them"
    assert "coverage   100 %" in demo.printed
    assert "password=***" in demo.printed
    assert "password=analytics" not in demo.printed
    assert demo.rows(MART) == [(ROWS, ROWS)]
    assert demo.rows(f"select distinct vector_dims(embedding) from {TABLE}") == [(384,)]


@pytest.mark.slow
def test_the_three_distances_put_normalised_vectors_in_the_same_order(demo: Demo) -> None:
    orders = [demo.rows(NEAREST.format(operator=operator)) for operator in ("<->", "<=>", "<#>")]
    assert len(orders[0]) == 10
    assert orders[0] == orders[1] == orders[2]


@pytest.mark.slow
def test_every_statement_of_the_monitoring_runs(demo: Demo) -> None:
    text = re.sub(r"--.*", "", (EXAMPLE / "monitoring.sql").read_text(encoding="utf-8"))
    answers = [demo.rows(statement) for statement in text.split(";") if statement.strip()]
    assert answers[0] == [(ROWS, ROWS, 0, 0)]
    assert answers[1][0][0] is None, "no product waits"
    models = [answer for answer in answers if answer and "live" in answer[0]]
    assert [row[1] for row in models[0]] == ["sentence-transformers/all-MiniLM-L6-v2"]


@pytest.mark.slow
def test_changed_and_deleted_products_are_caught_up_with_through_dbt(demo: Demo) -> None:
    demo.run(sys.executable, "make_products.py", demo.url, "--change", "10%", "--delete", "5%")
    demo.dbt("build", "--select", "path:models/staging")
    report = demo.rowvec("sync")
    assert (report["embedded"], report["deleted"], report["inserted"]) == (6, 3, 0)
    assert "ERROR=0" in demo.dbt("build", "--select", "source:features+")
    assert demo.rows(MART) == [(ROWS - 3, ROWS - 3)]
    assert demo.rowvec("sync")["texts"] == 0


def generate(url: str, *arguments: str) -> None:
    subprocess.run([sys.executable, str(EXAMPLE / "make_products.py"), url, *arguments], check=True)


def products(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("select * from products order by product_id").fetchall()


def test_a_larger_catalogue_begins_with_the_smaller_one_and_an_edit_changes_as_many_as_it_says(tmp_path: Path) -> None:
    small, large = tmp_path / "small.db", tmp_path / "large.db"
    generate(f"sqlite:///{small}", "--rows", "50")
    generate(f"sqlite:///{large}", "--rows", "200")
    rows = products(large)
    assert rows[:50] == products(small)
    assert len({row[1] for row in rows}) == 200, "no name twice"
    assert 40 <= sum(row[4] is not None for row in rows) <= 95, "a third has a description"
    generate(f"sqlite:///{large}", "--change", "5%", "--delete", "2%")
    edited = products(large)
    assert sum(old[1] != new[1] for old, new in zip(rows, edited, strict=True)) == 10
    assert sum(row[13] for row in edited) == 4
    assert min(row[16] for old, row in zip(rows, edited, strict=True) if row != old) > max(row[16] for row in rows)


VARIABLES = {
    "STAGING_DB_HOST": "db.example", "STAGING_DB_PORT": "6000", "STAGING_DB_NAME": "dwh", "STAGING_DB_USER": "reader",
    "STAGING_DB_PASSWORD": "p@ss/word:1", "PGVECTOR_HOST": "vectors.example", "PGVECTOR_PORT": "6001",
    "PGVECTOR_DATABASE": "features", "PGVECTOR_USER": "writer", "PGVECTOR_PASSWORD": "w", "PGVECTOR_SCHEMA": "ml",
    "PGVECTOR_TABLE": "vectors", "EMBEDDING_MODEL": "sentence-transformers/all-mpnet-base-v2",
    "EMBEDDING_DEVICE": "cpu", "EMBEDDING_BATCH_SIZE": "16",
}  # fmt: skip


def test_every_setting_is_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (VARIABLES | {"EMBEDDING_MODEL_CACHE_DIR": str(tmp_path / "cache")}).items():
        monkeypatch.setenv(name, value)
    declared = load(EXAMPLE / "rowvec.toml").pipeline("products")
    source, store, embedder = declared.source, declared.store, declared.embedder
    assert isinstance(source, SqlSourceConfig)
    assert isinstance(store, PostgresStoreConfig)
    assert isinstance(embedder, LocalEmbedderConfig)
    assert parameters(source.url.get_secret_value()) == {
        "dbname": "dwh", "host": "db.example", "port": "6000", "user": "reader", "password": "p@ss/word:1",
    }  # fmt: skip
    assert parameters(store.url.get_secret_value()) == {
        "dbname": "features", "host": "vectors.example", "port": "6001", "user": "writer", "password": "w",
    }  # fmt: skip
    assert store.table == "ml.vectors"
    assert (embedder.model, embedder.device, embedder.batch_size) == (VARIABLES["EMBEDDING_MODEL"], "cpu", 16)
    assert embedder.cache_dir == tmp_path / "cache"
    monkeypatch.setenv("EMBEDDING_MODEL_PATH", str(tmp_path))
    declared = load(EXAMPLE / "rowvec.toml").pipeline("products")
    assert declared.embedder.model == str(tmp_path), "a folder goes before a name"


def parameters(url: str) -> dict[str, Any]:
    return psycopg.conninfo.conninfo_to_dict(url)
