"""The whole example on one machine, without Redis and without a PostgreSQL of its own: `python run.py`.

It makes a table of a dozen datasets in the PostgreSQL that rowvec brings, starts a worker, asks it over the same
PostgreSQL to embed them, searches, and puts everything away. `--folder F` keeps what it made, for a look around.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
from load import TABLE

from rowvec import rows_to_embed, search
from rowvec.stores.postgres.embedded import embedded_url, stop_embedded

HERE = Path(__file__).parent
ROWS = [
    ("glue", "Nine tasks that show how well a model understands English sentences", 900_000),
    ("common_voice", "People reading sentences aloud in many languages, for speech recognition", 500_000),
    ("librispeech", "A thousand hours of read English speech from audiobooks", 420_000),
    ("mnist", "Small pictures of handwritten digits", 800_000),
    ("cifar10", "Small colour photographs of ten kinds of things", 600_000),
    ("imdb", "Film reviews, each labelled as liking the film or not", 700_000),
    ("squad", "Questions about paragraphs of an encyclopedia, answered by a span of the text", 650_000),
    ("wmt19", "Sentences and their translations, from news and parliaments", 200_000),
    ("cnn_dailymail", "News articles with a short summary of each", 300_000),
    ("coco", "Photographs of everyday scenes with outlined objects and captions", 350_000),
    ("wikipedia", "Cleaned articles of the encyclopedia in all its languages", 1_000_000),
    ("medical_questions", "Pairs of questions from patients, alike or not", 20_000),
]
QUERY = "spoken language recordings"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep tables, vectors and logs here")
    options = parser.parse_args()
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        run(options.folder.resolve())
        return
    with tempfile.TemporaryDirectory(prefix="datasets-", ignore_cleanup_errors=True) as folder:
        run(Path(folder))


def run(folder: Path) -> None:
    shutil.copy(HERE / "rowvec.toml", folder)
    os.environ.update(DATABASE_URL=embedded_url(folder / ".rowvec"), ROWVEC_CONFIG=str(folder / "rowvec.toml"))
    os.environ.pop("ROWVEC_BROKER", None)
    try:
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            connection.execute(TABLE)
            connection.cursor().executemany(
                "insert into datasets (id, title, description, downloads, created_at, enrichment_status)"
                " values (%s, %s, %s, %s, now(), 'enriched') on conflict (id) do nothing",
                [(name, name.replace("_", " "), description, downloads) for name, description, downloads in ROWS],
            )
        rowvec("check", "--apply", folder=folder)
        print(f"{len(rows_to_embed(1000, 'datasets', config=folder))} datasets have no vector yet.")
        print(f"A worker says: {embedded_by_a_worker(folder)}")
        print(f'"{QUERY}":')
        for hit in search(QUERY, "datasets", config=folder, limit=3).hits:
            print(f"  {hit.score:.3f} {hit.key}")
    finally:
        stop_embedded(folder / ".rowvec")


def embedded_by_a_worker(folder: Path) -> dict[str, int]:
    """What the task gives. The worker is a process of its own, as it would be anywhere."""
    with (folder / "worker.log").open("w") as log:
        worker = subprocess.Popen([sys.executable, "-m", "rowvec.cli.main", "worker"], stdout=log, stderr=log)
    try:
        from rowvec.workers.celery import generate_embeddings

        result: dict[str, int] = generate_embeddings.delay("datasets", 100).get(timeout=300)
        return result
    finally:
        worker.terminate()
        worker.wait(60)


def rowvec(*arguments: str, folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "rowvec.cli.main", *arguments], cwd=folder, check=True)


if __name__ == "__main__":
    main()
