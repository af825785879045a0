"""What .ci/run says of tests that needed a second try."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
FLAKY = """
from pathlib import Path

def test_flaky():
    seen = Path("seen")
    known = seen.exists()
    seen.touch()
    assert known

def test_broken():
    assert False

def test_good():
    pass
"""


def pytest_in(folder: Path, *options: str) -> list[str]:
    """The last lines of a run."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--rootdir",
        str(folder),
        "-c",
        str(folder / "pytest.ini"),
        *options,
    ]
    # Other packages bring plugins, and each of them takes its time to be imported.
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_what_needed_a_second_try_is_printed_before_the_last_line_and_written(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    (tmp_path / ".ci").mkdir()
    tests.mkdir()
    (tmp_path / "pytest.ini").touch()
    (tests / "__init__.py").touch()
    (tests / "second_tries.py").write_text((ROOT / "tests" / "second_tries.py").read_text())
    (tests / "test_it.py").write_text(FLAKY)
    pytest_in(tmp_path)
    # The line of .ci/run, whose second half is tried here.
    assert "python -m pytest -p tests.second_tries --last-failed --last-failed-no-failures none" in RUN
    *lines, last = pytest_in(tmp_path, "-p", "tests.second_tries", "--last-failed", "--last-failed-no-failures", "none")
    head = next(number for number, line in enumerate(lines) if "needed a second try: 2" in line)
    assert lines[head + 1 : head + 3] == [
        "passed then  tests/test_it.py::test_flaky",
        "failed again  tests/test_it.py::test_broken",
    ]
    assert last.startswith("1 failed, 1 passed")
    assert len((tmp_path / ".ci" / "second-tries.txt").read_text().splitlines()) == 2
