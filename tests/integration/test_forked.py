"""Processes that are forked from one that has searched already, as servers do that load an application first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import rowvec
from tests.integration.celery_rig import many, project
from tests.integration.serve_rig import application, product_pipeline, serving
from tests.servers.openai import EmbeddingServer

SECONDS = 120
PRELOADED = """
import os, sys
import rowvec

opened = {opened}
pipeline = {pipeline}


def found():
    return [hit.key for hit in pipeline.search("thing 7", mode="hybrid", limit=5).hits]


def code():
    try:
        return 0 if all(found() == expected for _ in range(10)) else 3
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        return 4


expected = found()
children = []
for _ in range(3):
    # As if another thread had them in this moment.
    with {lock}:
        child = os.fork()
        if not child:
            os._exit(code())
    children.append(child)
own = code()
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(expected[0], own, *codes)
"""


def run(**places: str) -> str:
    script = PRELOADED.format(**places)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() + done.stderr


def test_a_project_that_has_searched_searches_in_processes_forked_from_it(
    state_folder: Path, postgres_url: str
) -> None:
    with EmbeddingServer(dimension=8) as model, project(state_folder, postgres_url, "embedded") as made:
        made.configure(model.url)
        made.write_rows(many(20))
        rowvec.sync(config=made.folder)
        said = run(
            opened=f"rowvec.Project({str(made.folder)!r})", pipeline="opened.pipeline()",
            lock="opened._lock, pipeline._lock",
        )  # fmt: skip
        assert said == "7 0 0 0 0"


def test_a_client_that_has_searched_searches_in_processes_forked_from_it() -> None:
    with serving(application(product_pipeline())) as url:
        said = run(opened=f"rowvec.Client({url!r}, 'products')", pipeline="opened", lock="opened._describing")
        assert said.endswith(" 0 0 0 0")
