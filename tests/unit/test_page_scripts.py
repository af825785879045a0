"""The scripts of the page: their logic by node's own test runner, where there is node."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
LEAST = 20


@pytest.mark.parametrize("script", sorted(each.name for each in SCRIPTS.glob("*.test.js")))
def test_what_the_page_computes(script: str) -> None:
    node = shutil.which("node")
    found = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout if node else "v0"
    if int(found.lstrip("v").partition(".")[0]) < LEAST:
        if os.environ.get("CI") == "true":
            pytest.fail(f"there is no node {LEAST}, which CI must have")
        pytest.skip(f"there is no node {LEAST} or newer on this machine")
    assert node is not None
    ran = subprocess.run([node, "--test", script], cwd=SCRIPTS, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
