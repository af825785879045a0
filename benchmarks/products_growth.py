"""How the figures of benchmarks.products grow with the catalogue: a table and a picture for docs/benchmarks.md."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURE = DOCS / "benchmarks.md", DOCS / "growth.svg"
MARKS = re.compile(r"(<!-- growth -->\n).*?(<!-- /growth -->)", re.DOTALL)
COLORS = ("#2563eb", "#d97706", "#059669", "#db2777")
WIDTH, HEIGHT, LEFT, TOP, GAP = 330, 250, 56, 34, 96
IN_A_LINE = 2

Run = dict[str, Any]


class Column(NamedTuple):
    title: str
    value: Callable[[Run], float]
    form: str


COLUMNS = (
    Column("rows", lambda run: run["rows"], ",.0f"),
    Column("first sync, s", lambda run: run["first"]["s"], ",.0f"),
    Column("rows/s", lambda run: run["first"]["rows/s"], ",.0f"),
    Column("of the embedder's rate", lambda run: run["first"]["sync / embedder"], ".2f"),
    Column("peak memory, MB", lambda run: run["first"]["peak memory, MB"], ",.0f"),
    Column("vectors + HNSW, MB", lambda run: run["index"]["vector: table + HNSW, MB"], ",.0f"),
    Column("the same as halfvec, MB", lambda run: run["index"]["halfvec: table + HNSW, MB"], ",.0f"),
    Column("recall@10", lambda run: run["tune"]["vector: recall@10"], ".3f"),
    Column("HNSW build, s", lambda run: run["index"]["vector: HNSW build, s"], ",.0f"),
    Column("HNSW build over halfvec, s", lambda run: run["index"]["halfvec: HNSW build, s"], ",.0f"),
    Column("no-op sync, s", lambda run: run["noop"]["s"], ",.1f"),
    Column("1 % changed, 0.5 % deleted, s", lambda run: run["change"]["s"], ",.1f"),
    Column("semantic p50, ms", lambda run: run["queries"]["semantic, p50 ms"], ".1f"),
    Column("embed + SQL p50, ms", lambda run: run["queries"]["embed + sql, p50 ms"], ".1f"),
    Column("hybrid p95, ms", lambda run: run["queries"]["hybrid, p95 ms"], ".1f"),
)
PANELS = {
    "seconds": [COLUMNS[place] for place in (1, 8, 10, 11)],
    "milliseconds": [COLUMNS[place] for place in (12, 13, 14)],
}
"""The columns that are drawn into each."""

Panels = Mapping[str, Sequence[Column]]


def write(results: Path) -> None:
    """One table for each precision; the picture shows the one of which there are most sizes."""
    found = [json.loads(path.read_text()) for path in results.glob("products-*-*.json")]
    by_compute: dict[str, list[Run]] = {}
    for run in sorted(found, key=lambda run: int(run["rows"])):
        by_compute.setdefault(run["compute"], []).append(run)
    if not by_compute:
        sys.exit(f"There is no products-*.json in {results}: run `python -m benchmarks.products --rows 30000` first.")
    most = max(by_compute, key=lambda compute: len(by_compute[compute]))
    PICTURE.write_text(picture(by_compute[most], PANELS), encoding="utf-8")
    tables = [f"{compute}:\n\n{table(runs, COLUMNS)}\n" for compute, runs in by_compute.items()]
    text = "\n".join([*tables, f"![Time by the number of rows, {most}, both axes logarithmic]({PICTURE.name})\n"])
    print(text)
    put(text, PAGE)


def put(text: str, page: Path) -> None:
    """Between the marks of a page, if it has them."""
    before = page.read_text(encoding="utf-8") if page.exists() else ""
    page.write_text(MARKS.sub(lambda match: match[1] + text + match[2], before), encoding="utf-8")


def table(runs: Sequence[Run], columns: Sequence[Column]) -> str:
    """A row for each figure: there are more figures than sizes. What was not measured is left empty."""
    cells = [[column.title, *(_cell(column, run) for run in runs)] for column in columns]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|---" * (len(runs) + 1) + "|", *lines[1:]])


def _cell(column: Column, run: Run) -> str:
    found = _value(column, run)
    return "" if found is None else format(found, column.form)


def _value(column: Column, run: Run) -> float | None:
    try:
        return column.value(run)
    except KeyError:
        return None


def picture(runs: Sequence[Run], panels: Panels) -> str:
    high = TOP + HEIGHT + 58 + 18 * max(map(len, panels.values()))
    drawn = [
        panel(runs, unit, columns, number % IN_A_LINE, high * (number // IN_A_LINE))
        for number, (unit, columns) in enumerate(panels.items())
    ]
    width = LEFT + min(IN_A_LINE, len(panels)) * (WIDTH + GAP)
    height = high * -(-len(panels) // IN_A_LINE)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
        f' font-size="12" fill="#555">{"".join(drawn)}</svg>\n'
    )


def panel(runs: Sequence[Run], unit: str, columns: Sequence[Column], number: int, above: int) -> str:
    """Both axes are logarithmic: what is linear in the rows rises by as much as it goes to the right."""
    x0, top = LEFT + number * (WIDTH + GAP), above + TOP
    y0 = top + HEIGHT
    sizes = [math.log10(run["rows"]) for run in runs]
    known = [(column, line) for column in columns if (line := _line(column, runs))]
    heights = [y for _, line in known for _, y in line]
    low, high = math.floor(min(heights)), math.ceil(max(heights) + 1e-9)
    step, rise = WIDTH / ((sizes[-1] - sizes[0]) or 1), HEIGHT / max(1, high - low)
    drawn = [f'<text x="{x0}" y="{top - 14}">{unit}</text>']
    for power in range(low, high + 1):
        y = y0 - (power - low) * rise
        drawn.append(f'<path d="M{x0} {y:.1f}h{WIDTH}" stroke="#ccc" fill="none"/>')
        drawn.append(f'<text x="{x0 - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    for run, size in zip(runs, sizes, strict=True):
        x = x0 + (size - sizes[0]) * step
        drawn.append(f'<text x="{x:.1f}" y="{y0 + 18}" text-anchor="middle">{run["rows"]:,}</text>')
    for place, (column, line) in enumerate(known):
        points = [(x0 + (x - sizes[0]) * step, y0 - (y - low) * rise) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        drawn.append(f'<polyline points="{path}" stroke="{COLORS[place]}" fill="none" stroke-width="2"/>')
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLORS[place]}"/>' for x, y in points]
        label = column.title.rpartition(",")[0]
        drawn.append(f'<text x="{x0}" y="{y0 + 44 + 18 * place}" fill="{COLORS[place]}">{label}</text>')
    return "".join(drawn)


def _line(column: Column, runs: Sequence[Run]) -> list[tuple[float, float]]:
    """Logarithms of rows and figure, where there is one."""
    found = [(run["rows"], _value(column, run)) for run in runs]
    return [(math.log10(rows), math.log10(max(1e-3, value))) for rows, value in found if value is not None]
