"""Does a query in one language find a row in another? Product classes, the same code in each language.

    python -m benchmarks.cross_lingual [--model NAME-OR-FOLDER ...] [--queries 500] [--passage-prompt "query: "]
        [--query-centre 0.5]

Every class is a row with its name in one language; names in another are the queries, and the row of the same code is
what they should find. Each language is a pipeline, synced and searched by meaning through rowvec, with the prompts that
the model wants: recall@10, rows embedded a second, and the time of a search. By default a model of English and one of a
hundred languages, MiniLM and multilingual-e5-small. A name and its translation are texts of one kind: for that e5 wants
`query: ` before both, which --passage-prompt does; --query-centre takes a share of what all queries have in common off
each, and leaves the rows as they are. Results are printed and kept in results/cross_lingual.json, those of centred
queries in centred_queries.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.rig import DATA
from rich.console import Console
from rich.table import Table

import rowvec

RESULTS = Path(__file__).parent / "results"
LANGUAGES = ("en", "pl", "ru")
MODELS = ("sentence-transformers/all-MiniLM-L6-v2", "intfloat/multilingual-e5-small")
PIPELINE = """
[pipelines.{language}]
source = {{ kind = "files", paths = ["classes.csv"], key = "code", types = {{ code = "text" }} }}
text = {{ template = "{{{{ {language} }}}}" }}
embedder = {{ kind = "local", model = "{model}", precision = "{precision}"{more} }}
store = {{ kind = "postgres", url = "embedded", table = "{language}", language = "" }}
"""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cross_lingual")
    parser.add_argument("--model", nargs="+", default=list(MODELS))
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--passage-prompt", default=None)
    parser.add_argument("--query-centre", type=float, default=0.0)
    parser.add_argument("--queries", type=int, default=500)
    options = parser.parse_args(arguments)
    rows = classes()
    asked = random.Random(0).sample(rows, min(options.queries, len(rows)))
    more = f", query_centre = {options.query_centre}"
    if options.passage_prompt is not None:
        more += f", passage_prompt = {json.dumps(options.passage_prompt)}"
    report: dict[str, Any] = {
        "rows": len(rows), "queries": len(asked), "precision": options.precision,
        "passage prompt": options.passage_prompt, "query centre": options.query_centre, "models": {},
    }  # fmt: skip
    for model in options.model:
        report["models"][model] = measured(model, options.precision, more, rows, asked)
        show(model, report["models"][model], len(rows))
        (RESULTS / ("centred_queries.json" if options.query_centre else "cross_lingual.json")).write_text(
            json.dumps(report, indent=2) + "\n"
        )


def classes() -> list[dict[str, str]]:
    """Those with a name in every language."""
    with (DATA / "cpv" / "cpv_aligned.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row for row in rows if all((row[language] or "").strip() for language in LANGUAGES)]


def measured(
    model: str,
    precision: str,
    more: str,
    rows: Sequence[Mapping[str, str]],
    asked: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="rowvec-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with (folder / "classes.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["code", *LANGUAGES], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        parts = [PIPELINE.format(language=each, model=model, precision=precision, more=more) for each in LANGUAGES]
        (folder / "rowvec.toml").write_text("".join(parts))
        with rowvec.open(folder / "rowvec.toml") as project:
            rates: dict[str, float] = {}
            found: dict[str, dict[str, float]] = {query: {} for query in LANGUAGES}
            times: list[float] = []
            for language in LANGUAGES:
                pipeline = project.pipeline(language)
                began = time.perf_counter()
                pipeline.sync()
                rates[language] = len(rows) / (time.perf_counter() - began)
                for query in LANGUAGES:
                    right = 0
                    for row in asked:
                        began = time.perf_counter()
                        hits = pipeline.search(row[query], mode="semantic", limit=10)
                        times.append(1000 * (time.perf_counter() - began))
                        right += row["code"] in [hit.key for hit in hits.hits]
                    found[query][language] = right / len(asked)
    return {"recall@10": found, "rows a second": rates, "search, ms": median(times)}


def show(model: str, found: Mapping[str, Any], rows: int) -> None:
    title = f"{model}: recall@10, {rows:,} rows; a search takes {found['search, ms']:.1f} ms"
    table = Table("query in", *(f"rows in {name}" for name in LANGUAGES), title=title)
    for query, shares in found["recall@10"].items():
        table.add_row(query, *(f"{share:.3f}" for share in shares.values()))
    table.add_row("rows a second", *(f"{rate:.0f}" for rate in found["rows a second"].values()))
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
