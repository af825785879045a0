"""What the parts of benchmarks.products share: a folder with a database, two configs and the figures so far."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
from benchmarks.rig import ROOT, ROWVEC, resource_unit

from rowvec.config.load import STATE
from rowvec.stores.postgres.embedded import embedded_url

EXAMPLE = ROOT / "examples" / "products"
GENERATOR = [sys.executable, str(EXAMPLE / "make_products.py")]
STAGING = "staging_staging.stg_product"
TABLES = {"vector": "analytics_features.product_embeddings", "halfvec": "as_halfvec.product_embeddings"}
CONFIGS = {"vector": "rowvec.toml", "halfvec": "halfvec.toml"}
WITH_CURSOR = "cursor.toml"
CONFIG = """
[pipelines.products]
source = {{ kind = "sql", url = "{url}", table = "{staging}", key = "product_id", where = "not deleted"{cursor} }}
text = {{ columns = ["name", "polish_name", "vendor_code", "description", "polish_description"] }}
embedder = {{ kind = "local", precision = "{precision}" }}

[pipelines.products.store]
kind = "postgres"
table = "{table}"
storage = "{storage}"
metadata = ["name", "price", "vendor_code"]
language = "{language}"
index = "none"
"""

Figures = dict[str, Any]


class Bench:
    """A folder with a database, two configs and the figures so far."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.kept = folder / "figures.json"
        self.figures: dict[str, Figures] = json.loads(self.kept.read_text()) if self.kept.exists() else {}
        self.url = embedded_url(folder / STATE)
        for storage, name in CONFIGS.items():
            self._declare(name, storage)
        self._declare(WITH_CURSOR, "vector", ', cursor = "ingested_at"')

    def _declare(self, name: str, storage: str, cursor: str = "") -> None:
        text = CONFIG.format(
            url=self.url, staging=STAGING, cursor=cursor, precision=self.options.compute, table=TABLES[storage],
            storage=storage, language="russian" if storage == "vector" else "",
        )  # fmt: skip
        (self.folder / name).write_text(text, encoding="utf-8")

    def rowvec(self, *arguments: str, config: str = "rowvec.toml") -> Any:
        """The JSON that a command prints."""
        command = [*ROWVEC, *arguments, "--json", "--config", config]
        return json.loads(subprocess.check_output(command, cwd=self.folder, stderr=self.log))

    def value(self, statement: str, *values: Any) -> Any:
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(statement, values).fetchone()
        return row[0] if row else None

    def run(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    @property
    def log(self) -> Any:
        return (self.folder / "log.txt").open("a")


def generate(bench: Bench, *arguments: str) -> None:
    subprocess.run([*GENERATOR, bench.url, "--table", STAGING, *arguments], check=True, stdout=subprocess.DEVNULL)


def synced(bench: Bench, config: str = "rowvec.toml") -> Figures:
    """One `rowvec sync` as a process: seconds, peak memory, report."""
    began = time.perf_counter()
    with (bench.folder / "report.json").open("w") as report:
        process = subprocess.Popen(
            [*ROWVEC, "sync", "--json", "--config", config], cwd=bench.folder, stdout=report, stderr=bench.log
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (bench.folder / "log.txt").read_text()[-2000:]
    return {
        "s": time.perf_counter() - began, "MB": usage.ru_maxrss * resource_unit() / 1e6,
        "report": json.loads((bench.folder / "report.json").read_text()),
    }  # fmt: skip
