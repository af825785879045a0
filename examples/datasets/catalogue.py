"""Fill the table `datasets` from two catalogues, as Celery tasks beside those of rowvec.

    celery -A catalogue worker --beat
    celery -A catalogue call enrich.fetch_hf_datasets --args '[1000, 1]'     # at most 1000, with a download at least
    celery -A catalogue call kaggle.seed_initial --args '["meta-kaggle"]'    # the folder with Meta Kaggle's CSV files
    celery -A catalogue call kaggle.enrich_pending --args '[50]'
    celery -A catalogue call kaggle.fetch_latest --args '[3]'                # pages of those that were updated last

A row is `pending` until its description is known, then `enriched`, which is what rowvec.toml embeds; `failed` where the
catalogue does not have it any more. Everything may run twice: rows are put where they belong, never added again.
KAGGLE_USERNAME and KAGGLE_KEY (or KAGGLE_API_TOKEN) open Kaggle's API. `python catalogue.py` makes the table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psycopg
from celery.schedules import crontab
from huggingface_hub import HfApi
from load import TABLE
from meta_kaggle import KAGGLE, moment, seeds

from rowvec.workers.celery import app
from rowvec.workers.settings import load_config

HF_ENDPOINT = "https://huggingface.co"
KAGGLE_ENDPOINT = "https://www.kaggle.com"
HF_FIELDS: Any = ["author", "createdAt", "lastModified", "description", "downloads", "tags", "private", "disabled"]
UPSERT = """
insert into datasets (id, source, title, description, author, task, downloads, created_at, updated_at,
    enrichment_status, is_active)
values (%(id)s, 'huggingface', %(title)s, %(description)s, %(author)s, %(task)s, %(downloads)s, %(created_at)s,
    %(updated_at)s, 'enriched', %(is_active)s)
on conflict (id) do update set title = excluded.title, description = excluded.description, task = excluded.task,
    downloads = excluded.downloads, updated_at = excluded.updated_at, enrichment_status = 'enriched',
    is_active = excluded.is_active
"""
SEED = """
insert into datasets (id, source, title, description, author, downloads, created_at, updated_at, enrichment_status)
values (%(id)s, 'kaggle', %(title)s, %(description)s, %(author)s, %(downloads)s, %(created_at)s, %(updated_at)s,
    'pending')
on conflict (id) do nothing
"""
ENRICH = """
update datasets set title = coalesce(%(title)s, title), description = coalesce(%(description)s, description),
    downloads = coalesce(%(downloads)s, downloads), updated_at = %(updated_at)s, enrichment_status = 'enriched'
where id = %(id)s
"""
RETRY: dict[str, Any] = {
    "autoretry_for": (httpx2.TransportError, psycopg.OperationalError),
    "retry_backoff": True,
    "max_retries": 5,
}


@app.on_after_configure.connect
def _schedule(sender: Any, **_: Any) -> None:
    sender.add_periodic_task(crontab(minute="*/10"), enrich_pending.s(200), name="enrich pending datasets")
    sender.add_periodic_task(crontab(hour="3", minute="0"), fetch_latest.s(20), name="latest datasets of Kaggle")


@app.task(name="enrich.fetch_hf_datasets", **RETRY)
def fetch_hf_datasets(limit: int = 1000, least_downloads: int = 0) -> dict[str, int]:
    """The most downloaded datasets of the Hugging Face hub, with their descriptions."""
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT", HF_ENDPOINT), token=os.environ.get("HF_TOKEN") or False)
    found = api.list_datasets(sort="downloads", limit=limit, expand=HF_FIELDS)
    rows = [_of_hub(each) for each in found if (each.downloads or 0) >= least_downloads]
    with _database() as database:
        database.cursor().executemany(UPSERT, rows)
    return {"processed": len(rows), "failed": 0}


@app.task(name="kaggle.seed_initial")
def seed_initial(folder: str) -> dict[str, int]:
    """Every dataset of Meta Kaggle, as pending; `folder` is on the worker's machine."""
    rows = list(seeds(Path(folder)))
    with _database() as database:
        database.cursor().executemany(SEED, rows)
    return {"processed": len(rows), "failed": 0}


@app.task(name="kaggle.enrich_pending", bind=True, **RETRY)
def enrich_pending(task: Any, limit: int = 50) -> dict[str, int]:
    """Ask Kaggle about rows that are pending, the most downloaded ones first."""
    counts = {"processed": 0, "failed": 0}
    with _database() as database, _kaggle() as kaggle:
        pending = database.execute(
            "select id from datasets where source = 'kaggle' and enrichment_status = 'pending'"
            " order by downloads desc, id limit %s",
            (limit,),
        ).fetchall()
        for (key,) in pending:
            counts["processed" if _enrich(task, database, kaggle, key) else "failed"] += 1
    return counts


@app.task(name="kaggle.fetch_latest", bind=True, **RETRY)
def fetch_latest(task: Any, pages: int = 5) -> dict[str, int]:
    """Datasets that are new on Kaggle become pending; those that changed there are asked about at once."""
    counts = {"processed": 0, "failed": 0}
    with _database() as database, _kaggle() as kaggle:
        for page in range(1, pages + 1):
            listed = _asked(task, kaggle, "/api/v1/datasets/list", sortBy="updated", page=page) or []
            for each in listed:
                row = _of_kaggle(each)
                known = database.execute("select updated_at from datasets where id = %(id)s", row).fetchone()
                counts["processed"] += 1
                if known is None:
                    database.execute(SEED, row)
                elif row["updated_at"] and (known[0] is None or known[0] < row["updated_at"]):
                    counts["failed"] += not _enrich(task, database, kaggle, row["id"])
            if not listed:
                break
    return counts


def _enrich(task: Any, database: psycopg.Connection[Any], kaggle: httpx2.Client, key: str) -> bool:
    """Each row is written by itself: what was asked is kept whatever comes after."""
    found = _asked(task, kaggle, f"/api/v1/datasets/view/{key.removeprefix(KAGGLE)}")
    if found is None:
        database.execute("update datasets set enrichment_status = 'failed' where id = %s", (key,))
        return False
    database.execute(ENRICH, {**_of_kaggle(found), "id": key})
    return True


def _asked(task: Any, kaggle: httpx2.Client, path: str, **parameters: Any) -> Any:
    """What Kaggle answers; None where it does not have, or does not show, what was asked for."""
    reply = kaggle.get(path, params=parameters)
    if reply.status_code in (403, 404):
        return None
    if reply.status_code == 429 or reply.status_code >= 500:
        wait = reply.headers.get("Retry-After", "")
        raise task.retry(countdown=int(wait) if wait.isdigit() else 60)
    reply.raise_for_status()
    return reply.json()


def _of_hub(info: Any) -> dict[str, Any]:
    tasks = [tag.partition(":")[2] for tag in info.tags or [] if tag.startswith("task_categories:")]
    return {
        "id": info.id,
        "title": info.id.rpartition("/")[2].replace("_", " ").replace("-", " "),
        "description": (info.description or " ".join(tasks)).strip(),
        "author": info.author,
        "task": tasks[0] if tasks else None,
        "downloads": info.downloads or 0,
        "created_at": info.created_at,
        "updated_at": info.last_modified,
        "is_active": not (info.private or info.disabled),
    }


def _of_kaggle(found: Mapping[str, Any]) -> dict[str, Any]:
    """Kaggle names a field that may be missing `titleNullable` in some answers and `title` in others."""

    def value(name: str) -> Any:
        return found.get(name) if found.get(name) not in (None, "") else found.get(f"{name}Nullable")

    updated = value("lastUpdated")
    text = [value("subtitle"), value("description")]
    return {
        "id": f"{KAGGLE}{value('ref')}",
        "title": value("title"),
        "description": "\n".join(filter(None, text)) or None,
        "author": value("ownerName"),
        "downloads": value("downloadCount") or 0,
        "created_at": None,
        "updated_at": moment(updated),
    }


@contextmanager
def _kaggle() -> Iterator[httpx2.Client]:
    token = os.environ.get("KAGGLE_API_TOKEN")
    with httpx2.Client(
        base_url=os.environ.get("KAGGLE_ENDPOINT", KAGGLE_ENDPOINT),
        auth=None if token else (os.environ.get("KAGGLE_USERNAME", ""), os.environ.get("KAGGLE_KEY", "")),
        headers={"Authorization": f"Bearer {token}"} if token else {},
        timeout=30,
    ) as client:
        yield client


@contextmanager
def _database() -> Iterator[psycopg.Connection[Any]]:
    """Where rowvec.toml reads its rows."""
    source = load_config().pipeline("datasets").source
    with psycopg.connect(source.url.get_secret_value(), autocommit=True) as connection:  # type: ignore[union-attr]
        connection.execute(TABLE)
        yield connection


if __name__ == "__main__":
    with _database():
        pass
