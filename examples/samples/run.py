"""From nothing to search: samples in SQLite, a price, vectors in a libSQL file, queries, a change.

    python run.py                       400 samples and a free model that runs here; everything is kept in .demo
    python run.py --samples 2437
    python run.py --folder /var/demo    keep it elsewhere

With OPENROUTER_API_KEY set, rowvec.toml is used as it is: a paid model, of which at most a cent is spent.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCAL = """\
[pipelines.samples.embedder]
kind = "local"
model = "sentence-transformers/all-MiniLM-L6-v2"

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--folder", type=Path, default=HERE / ".demo")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rowvec.toml").write_text(config(paid="OPENROUTER_API_KEY" in os.environ), encoding="utf-8")
    samples = folder / "samples.db"
    if not samples.exists():
        made = subprocess.run([sys.executable, HERE / "make_samples.py", samples, "--samples", str(options.samples)])
        made.check_returncode()

    def rowvec(*arguments: str) -> None:
        print(f"\n$ {shlex.join(['rowvec', *arguments])}", flush=True)
        if code := subprocess.run([sys.executable, "-m", "rowvec.cli.main", *arguments], cwd=folder).returncode:
            sys.exit(code)

    rowvec("plan")
    rowvec("sync", "--keys", "1-10")
    rowvec("sync", "--max-cost", "0.01")
    rowvec("search", "a slow melancholic piano for a rainy evening", "--limit", "3")
    rowvec("search", "dusty drum break in F#m", "--mode", "hybrid", "--where", "bpm between 85 and 95", "--limit", "3")
    print("\nOne sample gets another title.")
    with closing(sqlite3.connect(samples)) as database, database:
        database.execute("update samples set title = title || ' (again)' where id = 7")
    rowvec("sync")
    rowvec("status")


def config(*, paid: bool) -> str:
    """The example's rowvec.toml, with a model that runs here in place of the paid one."""
    text = (HERE / "rowvec.toml").read_text(encoding="utf-8")
    section = re.compile(r"^\[pipelines\.samples\.embedder\]\n(?:(?!\[).*\n)*", re.MULTILINE)
    return text if paid else section.sub(LOCAL, text)


if __name__ == "__main__":
    main()
