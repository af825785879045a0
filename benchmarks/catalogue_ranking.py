"""Does a static score by downloads bring the dataset that people mean to the top, and what does it cost elsewhere?

    python -m benchmarks.catalogue_ranking --rows 7259

Two sets of queries over the dataset catalogue, judged by `rowvec eval`:

- names: names that several datasets have; the rating of each is the logarithm of its downloads. So a static score by
  downloads has to help here: the figure says how much, and from which weight on it helps no more.
- tasks: the tasks that at least ten datasets are labelled with, asked for in words; every dataset with the label is
  right, however often it is downloaded. What a static score spoils shows here.

Rows are the datasets with a card, those of the names first. Needs the test data and the MiniLM weights.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.rig import DATA, database, example, rowvec

RESULTS = Path(__file__).parent / "results" / "catalogue_ranking.json"
CONFIG = """
[pipelines.datasets]
source = {{ kind = "sql", url = "sqlite:///datasets.db", table = "datasets", key = "id" }}
text = {{ template = "{{{{ title }}}} {{{{ title }}}} {{{{ description }}}}" }}
store = {{ kind = "postgres", url = "{url}", metadata = ["downloads", "created"], index = "none" }}
search = {{ static = "log10(1 + downloads) / 6", static_weight = {weight}{decay} }}
"""
WAYS: list[tuple[float, int | None]] = [(0, None), (0.1, None), (0.2, None), (0.5, None), (1, None)]
WAYS += [(0.2, 365), (0.2, 1825)]
Datasets = list[dict[str, Any]]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=7259)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    with database() as (folder, url):
        figures = measured(folder, url, options.rows)
    print(json.dumps(figures, indent=2))
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps({"arguments": {"rows": options.rows}, **figures}, indent=2) + "\n")


def measured(folder: Path, url: str, count: int) -> dict[str, Any]:
    rows, named = datasets(count)
    fill(folder, rows)
    sets = {"names": by_name(named), "tasks": by_task(rows)}
    for name, judged in sets.items():
        write(folder, name, judged)
    configure(folder, url, 0, None)
    rowvec(folder, "sync")
    found: dict[str, Any] = {"queries": {name: len(judged) for name, judged in sets.items()}}
    for weight, half_life in WAYS:
        configure(folder, url, weight, half_life)
        way = f"static_weight {weight}" + (f", half-life {half_life} days" if half_life else "")
        found[way] = {name: ndcg(folder, name) for name in sets}
    return found


def datasets(count: int) -> tuple[Datasets, dict[str, Datasets]]:
    """The datasets to search in, and those of them that share a name."""
    rows = [row for row in example("datasets", "load").rows(DATA / "hf_datasets") if len(row["description"]) > 100]
    named: dict[str, Datasets] = defaultdict(list)
    for row in rows:
        named[row["title"].lower()].append(row)
    groups = {name: each for name, each in named.items() if len(each) > 1 and each[0]["downloads"] > 100}
    first = {row["id"]: row for each in groups.values() for row in each}
    first |= {row["id"]: row for row in rows[:: max(1, len(rows) // count)]}
    return list(first.values())[:count], groups


def by_name(groups: dict[str, Datasets]) -> dict[str, dict[str, int]]:
    return {name: {row["id"]: round(math.log10(1 + row["downloads"])) for row in rows} for name, rows in groups.items()}


def by_task(rows: Datasets) -> dict[str, dict[str, int]]:
    labelled: dict[str, dict[str, int]] = defaultdict(dict)
    for row in rows:
        for task in (row["task"] or "").split(","):
            if task.strip() not in ("", "None", "other"):
                labelled[task.strip().replace("-", " ")][row["id"]] = 1
    return {task: each for task, each in labelled.items() if len(each) >= 10}


def fill(folder: Path, rows: Datasets) -> None:
    with sqlite3.connect(folder / "datasets.db") as database:
        database.execute(
            "create table datasets (id text primary key, title text, description text, downloads integer,"
            " created timestamp)"
        )
        database.executemany(
            "insert into datasets values (?, ?, ?, ?, ?)",
            [(r["id"], r["title"], r["description"], r["downloads"], r["created_at"].isoformat(" ")) for r in rows],
        )
    database.close()


def write(folder: Path, name: str, judged: dict[str, dict[str, int]]) -> None:
    with (folder / f"{name}.csv").open("w") as queries, (folder / f"{name}-judged.csv").open("w") as judgements:
        csv.writer(queries).writerows([("id", "query"), *enumerate(judged)])
        csv.writer(judgements).writerow(("query", "docid", "rating"))
        for number, ratings in enumerate(judged.values()):
            csv.writer(judgements).writerows((number, key, rating) for key, rating in ratings.items())


def configure(folder: Path, url: str, weight: float, half_life: int | None) -> None:
    decay = f', decay = "created", half_life_days = {half_life}' if half_life else ""
    (folder / "rowvec.toml").write_text(CONFIG.format(url=url, weight=weight, decay=decay))


def ndcg(folder: Path, name: str) -> dict[str, float]:
    found = rowvec(folder, "eval", f"{name}.csv", f"{name}-judged.csv", "--measure", "nDCG@10")
    return {mode: round(each["means"]["nDCG@10"], 3) for mode, each in found.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
