"""Workers of two versions of rowvec on one queue, as while a fleet is upgraded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

import rowvec
from rowvec.stores.postgres.migrations import MIGRATIONS
from tests.integration.celery_rig import Project, Started, many
from tests.servers.openai import EmbeddingServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROWS = 600
LAYOUT = MIGRATIONS[-1].number
NEXT = f"    Migration({LAYOUT + 1}, 'what a later rowvec keeps', lambda connection: None),\n]\n"


@contextmanager
def later(made: Project, folder: Path, *, layout: bool = False) -> Iterator[None]:
    """What is started meanwhile is a copy of rowvec with a later version.

    Args:
        layout: its store has one more step.
    """
    copy = folder / "later" / "rowvec"
    if not copy.exists():
        shutil.copytree(Path(rowvec.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
        replace(copy / "__init__.py", f'__version__ = "{rowvec.__version__}"', '__version__ = "99.0.0"')
        if layout:
            last = f"    Migration({LAYOUT}, "
            text = (copy / "stores/postgres/migrations.py").read_text()
            line = next(each for each in text.splitlines(keepends=True) if each.startswith(last))
            replace(copy / "stores/postgres/migrations.py", f"{line}]\n", line + NEXT)
    made.within = ["env", f"PYTHONPATH={copy.parent}"]
    try:
        yield
    finally:
        made.within = []


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def fleet(made: Project, *, refused: bool = False) -> str:
    """What one writes that is started now, in one line."""
    started = made.start("sync", "--workers", "celery")
    log = made.folder / f"sync-{len(made.workers) - 1}.log"
    assert (started.wait(120) != 0) == refused, log.read_text()
    assert "Traceback" not in log.read_text()
    return " ".join(log.read_text().split())


def end(worker: Started) -> None:
    worker.terminate()
    assert worker.wait(60) == 0


def layout_of(made: Project) -> int:
    with psycopg.connect(made.store) as connection:
        found = connection.execute("select max(version) from rowvec.meta").fetchone()
    assert found is not None
    return int(found[0])


def test_workers_are_upgraded_one_after_the_other_and_then_what_starts_the_fleet(
    redis: Project, model: EmbeddingServer, tmp_path: Path
) -> None:
    redis.configure(model.url)
    redis.write_rows(many(ROWS))
    old = redis.start_worker()
    with later(redis, tmp_path):
        new = redis.start_worker()
    fleet(redis)
    redis.vectors_match(many(ROWS))
    redis.write_rows(many(ROWS, "changed"))
    end(new)
    with later(redis, tmp_path):
        said = fleet(redis, refused=True)
        assert f"is rowvec {rowvec.__version__} (state {LAYOUT}" in said
        assert "the fleet was started by rowvec 99.0.0" in said
        assert "Upgrade the workers first" in said
        redis.vectors_match(many(ROWS))
        end(old)
        redis.start_worker()
        fleet(redis)
    redis.vectors_match(many(ROWS, "changed"))


def test_a_version_that_keeps_more_refuses_the_older_one_and_is_refused_by_it(
    redis: Project, model: EmbeddingServer, tmp_path: Path
) -> None:
    redis.configure(model.url)
    redis.write_rows(many(ROWS))
    redis.run("sync", "--limit", "1")
    with later(redis, tmp_path, layout=True):
        new = redis.start_worker()
    assert f"is rowvec 99.0.0 (state {LAYOUT + 1}" in fleet(redis, refused=True)
    assert layout_of(redis) == LAYOUT, "what is refused upgrades nothing"
    end(new)
    old = redis.start_worker()
    with later(redis, tmp_path, layout=True):
        assert "99.0.0" in fleet(redis, refused=True)
        assert layout_of(redis) == LAYOUT + 1
        assert len(redis.vectors()) == 1
        end(old)
        redis.start_worker()
        fleet(redis)
    redis.vectors_match(many(ROWS))
    assert "99.0.0" in fleet(redis, refused=True), "an older one starts no fleet any more"
