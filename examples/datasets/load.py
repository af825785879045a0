"""Fill the table `datasets` from a folder with dataset_info.parquet and cards.jsonl.gz.

    python load.py FOLDER [--limit N]

Without DATABASE_URL it starts the PostgreSQL that rowvec brings, in ./.database, and leaves it running; its address
goes into .env, where rowvec.toml finds it. `python load.py --stop` stops it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq

from rowvec.stores.postgres.embedded import embedded_url, stop_embedded

HERE = Path(__file__).parent
DATABASE = HERE / ".database"
KEEP = """
import sys; from pathlib import Path
from rowvec.stores.postgres.embedded import embedded_url, wait_until_stopped
embedded_url(Path(sys.argv[1])); wait_until_stopped(Path(sys.argv[1]))
"""
TABLE = """
create table if not exists datasets (
    id text primary key,
    source text not null default 'huggingface',
    title text not null,
    description text,
    author text,
    task text,
    downloads bigint not null default 0,
    created_at timestamptz,
    updated_at timestamptz,
    enrichment_status text not null default 'pending',
    is_active boolean not null default true
)
"""
INSERT = """
insert into datasets (id, title, description, author, task, downloads, created_at, enrichment_status)
values (%(id)s, %(title)s, %(description)s, %(author)s, %(task)s, %(downloads)s, %(created_at)s, 'enriched')
on conflict (id) do nothing
"""


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """One for each dataset, with the text of its card where it has one."""
    with gzip.open(folder / "cards.jsonl.gz", "rt", encoding="utf-8") as file:
        cards = {card["dataset_name"]: card["body"] for card in map(json.loads, file)}
    for row in pq.read_table(folder / "dataset_info.parquet").to_pylist():
        name = row["dataset_name"]
        yield {
            "id": f"{row['author']}/{name}" if "/" not in name else name,
            "title": name.rpartition("/")[2].replace("_", " ").replace("-", " "),
            "description": (cards.get(name) or f"{row['task'] or ''} {row['domain'] or ''}").strip(),
            "author": row["author"],
            "task": row["task"],
            "downloads": int(row["downloads"] or 0),
            "created_at": _time(row["dataset_creation_time"]),
        }


def _time(text: str | None) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(text or "", "%a %b %d %H:%M:%S %Y %z")
    except ValueError:
        return None


def database() -> str:
    url = os.environ.get("DATABASE_URL")
    if url:
        return url
    # It runs for as long as somebody uses it: a process that does nothing else does.
    subprocess.Popen([sys.executable, "-c", KEEP, str(DATABASE)], start_new_session=True)
    url = embedded_url(DATABASE)
    (HERE / ".env").write_text(f"DATABASE_URL={url}\n", encoding="utf-8")
    return url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--stop", action="store_true")
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    if options.stop:
        stop_embedded(DATABASE)
        return
    if options.folder is None:
        parser.error("name the folder with dataset_info.parquet and cards.jsonl.gz")
    with psycopg.connect(database()) as connection, connection.cursor() as cursor:
        cursor.execute(TABLE)
        cursor.executemany(INSERT, list(rows(options.folder))[: options.limit])
        print(f"{cursor.rowcount} datasets are new.")


if __name__ == "__main__":
    main()
