"""Each example runs by one command with nothing but Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if (path / "rowvec.toml").is_file())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_has_one_command_and_says_so(example: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(
        rf"^example-{example.name}: .*\n\t\$\(BIN\)/python examples/{example.name}/run.py$", makefile, re.M
    )
    assert (example / "run.py").is_file()
    assert "python run.py" in (example / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_samples_example_runs_from_nothing_to_search(tmp_path: Path) -> None:
    """The other two have tests of their own."""
    environment = {name: value for name, value in os.environ.items() if name != "OPENROUTER_API_KEY"}
    command = [sys.executable, "run.py", "--samples", "40", "--folder", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT / "examples" / "samples", env=environment, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 texts to embed" in done.stdout
    assert "samples: 30 new, 10 unchanged; 30 texts embedded" in done.stdout
    assert "samples: 1 changed, 39 unchanged; 1 text embedded" in done.stdout
    assert "100 % (40 of 40 rows" in done.stdout
