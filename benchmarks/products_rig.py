"""What benchmarks of one catalogue share: a folder with a database, its configs and the figures so far."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
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
    """A folder with a database, its configs and the figures so far.

    Args:
        configs: the text of each config by the name of its file, given the URL of the database.
    """

    def __init__(
        self, folder: Path, options: argparse.Namespace, configs: Callable[[str, argparse.Namespace], dict[str, str]]
    ) -> None:
        self.folder, self.options = folder, options
        self.kept = folder / "figures.json"
        self.figures = self._read()
        self.url = embedded_url(folder / STATE)
        for name, text in configs(self.url, options).items():
            (self.folder / name).write_text(text, encoding="utf-8")

    def _read(self) -> dict[str, Figures]:
        found: dict[str, Figures] = json.loads(self.kept.read_text()) if self.kept.exists() else {}
        return found

    def carry_out(self, step: Callable[[Bench], Figures]) -> None:
        """Measure, print and keep."""
        print(f"\n{step.__name__}", flush=True)
        found = step(self)
        # Another process may measure another step of the same catalogue.
        self.figures = self._read() | {step.__name__: found}
        self.kept.write_text(json.dumps(self.figures, indent=2))
        for name, value in found.items():
            shown = format(value, ",.4g") if isinstance(value, float) else value
            print(f"  {name:<44}{shown if not isinstance(value, int) else format(value, ','):>14}", flush=True)

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


def two_storages(url: str, options: argparse.Namespace) -> dict[str, str]:
    """The configs of benchmarks.products."""

    def declared(storage: str, cursor: str = "") -> str:
        return CONFIG.format(
            url=url, staging=STAGING, cursor=cursor, precision=options.compute, table=TABLES[storage],
            storage=storage, language="russian" if storage == "vector" else "",
        )  # fmt: skip

    configs = {name: declared(storage) for storage, name in CONFIGS.items()}
    return {**configs, WITH_CURSOR: declared("vector", ', cursor = "ingested_at"')}


def generate(bench: Bench, *arguments: str) -> None:
    subprocess.run([*GENERATOR, bench.url, "--table", STAGING, *arguments], check=True, stdout=subprocess.DEVNULL)


def synced(bench: Bench, config: str = "rowvec.toml") -> Figures:
    """One `rowvec sync` as a process: seconds, peak memory, report."""
    return measured(bench, [*ROWVEC, "sync", "--json", "--config", config])


def measured(bench: Bench, command: Sequence[str]) -> Figures:
    """A process that prints a report as JSON: seconds of the clock and of the processor, peak memory, the report."""
    began, memory = time.perf_counter(), 0.0
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with (bench.folder / "report.json").open("w") as report:
        process = subprocess.Popen(command, cwd=bench.folder, stdout=report, stderr=bench.log, env=environment)
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        memory = peak(process.pid) or memory
        time.sleep(0.05)
    seconds, usage = time.perf_counter() - began, ended[2]
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    assert process.returncode == 0, (bench.folder / "log.txt").read_text()[-2000:]
    return {
        "s": seconds, "processor, s": usage.ru_utime + usage.ru_stime,
        "MB": memory or usage.ru_maxrss * resource_unit() / 1e6,
        "report": json.loads((bench.folder / "report.json").read_text()),
    }  # fmt: skip


def peak(process: int) -> float:
    """MB so far; 0 where the system does not tell. What is known at the end counts the memory of the parent as well."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 / 1e6 if found else 0.0
