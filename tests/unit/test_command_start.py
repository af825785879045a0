"""What the process of a command leaves out until it is needed, or for good."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from rowvec.cli import FIRST, USUAL

SCRIPT = """
import gc, json
import rowvec.cli.main
looked = []
gc.callbacks.append(lambda phase, info: looked.append(phase))
import rowvec.cli.sync, rowvec.api.project, rowvec.stores.postgres.store, rowvec.sources.sql
before, at_start = gc.get_threshold(), len(looked)
kept = [[] for _ in range(400_000)]
print(json.dumps([before, at_start, gc.get_threshold(), len(looked) > 0, len(gc.callbacks)]))
"""


def test_what_a_command_imports_is_not_looked_through_and_what_it_keeps_is() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    before, at_start, after, looked, callbacks = json.loads(done.stdout)
    assert (tuple(before), at_start) == ((FIRST, *USUAL[1:]), 0)
    assert (tuple(after), looked, callbacks) == (USUAL, True, 1)


def test_no_package_is_asked_for_plugins_of_pydantic_unless_the_user_says_so() -> None:
    script = "import rowvec.cli, os; print(os.environ['PYDANTIC_DISABLE_PLUGINS'])"
    others = {name: value for name, value in os.environ.items() if name != "PYDANTIC_DISABLE_PLUGINS"}
    for chosen, said in (({}, "__all__"), ({"PYDANTIC_DISABLE_PLUGINS": "theirs"}, "theirs")):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=others | chosen
        )
        assert done.stdout.strip() == said
