"""What the campaign shares: its two lengths, and the count of faults that it tried.

`make test` runs the short form. `make torture` sets ROWVEC_TORTURE=1: tests marked `torture` run too, the state machine
takes ten thousand steps, and a table of the faults that were tried, survived and lost is printed at the end. It is
written to the file that ROWVEC_TORTURE_RESULT names; `python -m tests.torture` brings it into docs/reliability.md.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from rowvec.errors import RowvecError

TORTURE = bool(os.environ.get("ROWVEC_TORTURE"))

Faults = dict[str, int]
"""How often each fault happened in one test."""


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> Faults:
    """Counts what a test does to rowvec; the outcome of the test says whether rowvec survived it."""
    counted: Faults = {}
    request.node.user_properties.append(("faults", counted))
    return counted


def tried(faults: Faults, name: str, times: int = 1) -> None:
    faults[name] = faults.get(name, 0) + times


def error_of(work: Callable[[], object]) -> RowvecError | None:
    """What rowvec said where it could not do it, for work that may end either way."""
    try:
        work()
    except RowvecError as error:
        return error
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if TORTURE:
        return
    left_out = [item for item in items if item.get_closest_marker("torture")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("torture")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not TORTURE:
        return
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if isinstance(report, pytest.TestReport)
    ]
    table = summary(reports)
    width = max((len(str(row["fault"])) for row in table), default=0)
    terminalreporter.write_sep("=", "faults")
    terminalreporter.write_line(f"{'fault':{width}}   tried  survived  lost")
    for row in table:
        terminalreporter.write_line(f"{row['fault']:{width}} {row['tried']:7,} {row['survived']:9,} {row['lost']:5,}")
    if path := os.environ.get("ROWVEC_TORTURE_RESULT"):
        Path(path).write_text(json.dumps({"faults": table}, indent=1) + "\n", encoding="utf-8")


def summary(reports: Iterable[pytest.TestReport]) -> list[dict[str, int | str]]:
    """One row for each fault; what happened in a test that failed counts as lost."""
    survived: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for report in reports:
        for name, counted in report.user_properties:
            if name == "faults" and isinstance(counted, dict):
                (lost if report.failed else survived).update(counted)
    return [
        {"fault": fault, "tried": survived[fault] + lost[fault], "survived": survived[fault], "lost": lost[fault]}
        for fault in sorted({*survived, *lost})
    ]


ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "torture.json"
PAGE = ROOT / "docs" / "reliability.md"
HEAD = """
## Faults

Tried by `make torture`, which prints this table and keeps it in benchmarks/results/torture.json. A fault is survived
when the test that made it happen found everything right afterwards: each vector that of its row's text, none lost.

| Fault | tried | survived | lost |
|---|---:|---:|---:|
"""


def main() -> None:
    """Write the table of the last campaign into the page, at its end."""
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["faults"]
    columns = ("tried", "survived", "lost")
    lines = [f"| {row['fault']} | " + " | ".join(f"{row[column]:,}" for column in columns) + " |" for row in rows]
    total = " | ".join(f"**{sum(row[column] for row in rows):,}**" for column in columns)
    before = PAGE.read_text(encoding="utf-8").partition("\n## Faults")[0].rstrip()
    PAGE.write_text("\n".join([before, HEAD + "\n".join([*lines, f"| **all** | {total} |"]), ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
