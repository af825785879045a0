"""What the sentence-transformers library, in an interpreter of its own, answers to the same inputs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PROBE = "import importlib.util, sys; sys.exit(importlib.util.find_spec('sentence_transformers') is None)"


def wants_kept(arguments: Sequence[str], description: str | None) -> bool:
    """Whether `--keep` is among the arguments."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="write what the library answers for the tests")
    return bool(parser.parse_args(arguments).keep)


def interpreter() -> str | None:
    """The one that ROWVEC_BENCH_PYTHON names. None, and a line that says so, if it does not have the library."""
    python = os.environ.get("ROWVEC_BENCH_PYTHON", sys.executable)
    if subprocess.run([python, "-c", _PROBE], check=False).returncode:
        print("skipped: ROWVEC_BENCH_PYTHON names no interpreter with the sentence-transformers library")
        return None
    return python


def references(python: str, script: str, folders: Mapping[str, Path], inputs: Sequence[Any]) -> dict[str, Any]:
    """What `script` prints as JSON for each model: its arguments are the folders, and the inputs come on stdin.

    Raises:
        SystemExit: with what it wrote on stderr, when it failed.
    """
    done = subprocess.run(
        [python, "-c", script, *map(str, folders.values())], input=json.dumps(inputs), capture_output=True, text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"The sentence-transformers library failed: {done.stderr[-1500:]}")
    return dict(zip(folders, json.loads(done.stdout.splitlines()[-1]), strict=True))


def keep(path: Path, answers: Mapping[str, list[Any]]) -> None:
    """Write the answers for the tests, one model a line."""
    lines = [f"{json.dumps(name)}: {json.dumps(each)}" for name, each in answers.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
