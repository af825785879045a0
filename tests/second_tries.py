"""The second try of what failed, for .ci/run: `pytest -p tests.second_tries --last-failed`.

A test that needs its second try twice a week is a bug report, so each of them is named.
"""

from __future__ import annotations

from pathlib import Path

import pytest

WRITTEN = Path(__file__).parents[1] / ".ci" / "second-tries.txt"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Before they run: also those that then hang or kill everything are on record."""
    WRITTEN.write_text("".join(f"{item.nodeid}\n" for item in session.items), encoding="utf-8")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = {report.nodeid for report in terminalreporter.stats.get("passed", ()) if report.when == "call"}
    tried = WRITTEN.read_text(encoding="utf-8").splitlines() if WRITTEN.exists() else []
    terminalreporter.write_sep("=", f"needed a second try: {len(tried)}")
    for name in tried:
        terminalreporter.write_line(f"{'passed then' if name in passed else 'failed again'}  {name}")
