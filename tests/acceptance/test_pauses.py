"""A process that was paused at a random moment, while another model went live, writes nothing wrong."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.acceptance.pauses_rig import WORKS, InLibsql, InPostgres, Models, Pauses, Stored
from tests.torture import TORTURE, Faults, tried

pytestmark = pytest.mark.slow

ROWS = 300
STORES = ("postgres", "libsql")
TEXTS = ("short", "passages")
COMBINATIONS = [
    (kind, store, texts)
    for kind in WORKS
    for store in STORES
    for texts in TEXTS
    if (kind, store) != ("range", "libsql")
]
"""A fleet needs a store that can divide its lock."""
if not TORTURE:
    COMBINATIONS = [
        ("sync", "postgres", "passages"),
        ("keys", "libsql", "passages"),
        ("watch-events", "libsql", "short"),
    ]
MOMENTS = 12 if TORTURE else 1
TRIES = 10 * MOMENTS


@pytest.mark.parametrize(("kind", "store", "texts"), COMBINATIONS, ids=["-".join(names) for names in COMBINATIONS])
def test_a_process_paused_while_another_model_goes_live_writes_nothing_wrong(
    kind: str, store: str, texts: str, postgres_url: str, quick_folder: Path, faults: Faults
) -> None:
    seed = random.randrange(2**32) if TORTURE else 7
    print(f"seed {seed}")
    stored: Stored = InPostgres(postgres_url) if store == "postgres" else InLibsql(quick_folder)
    with Models() as model:
        pauses = Pauses(kind, stored, model, quick_folder, postgres_url, random.Random(seed), texts == "passages")
        pauses.begin(ROWS)
        for _ in range(TRIES):
            if pauses.moment():
                tried(faults, f"paused while another model went live: {kind}")
            if pauses.moments == MOMENTS:
                return
    pytest.fail(f"only {pauses.moments} of {TRIES} processes were paused before their end")
