"""The samples example from its first price to a search, as a user runs it."""

from __future__ import annotations

import datetime as dt
import re
import signal
import sqlite3
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.acceptance.samples_rig import DIMENSION, DOLLARS_PER_TOKEN, EXAMPLE, Library, make_library
from tests.integration.openai_rig import minilm_tokenizer
from tests.servers.openai import EmbeddingServer, Fault, tokenizer_count

LABELS = ["Title", "Genre", "BPM", "Key", "Mood", "Energy", "Tags", "Description"]
SAMPLES = 2437


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return make_library(tmp_path, SAMPLES)


# The rows and their texts


def test_the_script_makes_the_same_samples_at_every_run(tmp_path: Path) -> None:
    for name in ("one.db", "two.db"):
        subprocess.run([sys.executable, EXAMPLE / "make_samples.py", tmp_path / name], check=True, capture_output=True)
    one, two = ("\n".join(sqlite3.connect(tmp_path / name).iterdump()) for name in ("one.db", "two.db"))
    assert one == two
    assert one.count('INSERT INTO "samples"') == SAMPLES


def test_every_text_has_the_labels_in_their_order_and_none_without_a_value(library: Library) -> None:
    library.use_nowhere()
    documents = library.documents()
    assert len(documents) == len({document.text for document in documents}) == SAMPLES
    for document in documents:
        found = [line.partition(": ")[0] for line in document.text.split("\n### ")[0].split("\n")]
        places = [LABELS.index(label) for label in found]
        assert all(left < right for left, right in pairwise(places))
        assert not re.search(r"(?m)^\w+: *$|None|, *$|: ,", document.text.split("Description:")[0])


def test_a_text_reads_as_documented(library: Library) -> None:
    library.use_nowhere()
    row = library.query(
        "select s.*, v.* from samples s join vibe_analyses v on v.sample_id = s.id where s.bpm is not null"
        " and s.genre is not null and s.musical_key is not null and v.mood_secondary is not null limit 1"
    )[0]
    tags = ", ".join(re.findall(r'"([^"]+)"', row["vibe_tags"]))
    text = next(document.text for document in library.documents() if document.key == row["id"])
    assert text == (
        f"Title: {row['title']}\nGenre: {row['genre']}\nBPM: {row['bpm']:.0f}\nKey: {row['musical_key']}\n"
        f"Mood: {row['mood_primary']}, {row['mood_secondary']}\nEnergy: {row['energy_level']:.2f}\nTags: {tags}\n"
        f"Description: {row['raw_analysis']}"
    )


def test_a_sample_without_analysis_is_its_first_lines_alone(library: Library) -> None:
    library.use_nowhere()
    missing = {
        row["id"]
        for row in library.query("select id from samples where id not in (select sample_id from vibe_analyses)")
    }
    assert len(missing) > 20
    for document in library.documents():
        has_analysis = "Description: ### Analysis" in document.text
        assert has_analysis == (document.key not in missing)
        if not has_analysis:
            assert not re.search("(?m)^(Mood|Energy|Tags|Description):", document.text)


# From the price to a search


@pytest.mark.slow
def test_price_test_of_ten_all_interruption_resume_and_search(library: Library) -> None:
    with EmbeddingServer(dimension=DIMENSION, latency=0.25) as server:
        library.use(server)
        documents = library.documents()
        plan = library.json("plan")
        assert (plan["rows"], plan["texts"], plan["changes"]) == (SAMPLES, SAMPLES, {"insert": SAMPLES})
        assert plan["estimate"]["cost"] == pytest.approx(plan["tokens"] * DOLLARS_PER_TOKEN)
        assert plan["estimate"]["cost_per_row"] == pytest.approx(plan["estimate"]["cost"] / SAMPLES)
        assert server.requests == 0, "a price costs nothing"

        assert library.json("sync", "--keys", "1-10")["inserted"] == 10
        assert server.billed_texts.total() == 10
        assert library.json("sync", "--keys", "1,5,8-12")["inserted"] == 2
        assert server.billed_texts.total() == 12

        interrupted = library.start("sync")
        while server.requests < 6:
            time.sleep(0.02)
        interrupted.send_signal(signal.SIGINT)
        out, err = interrupted.communicate()
        assert interrupted.returncode == 130, out + err
        assert "Interrupted. Everything embedded so far is stored" in err
        done = server.billed_texts.total()
        assert done < SAMPLES
        assert len(library.vectors()) == done

        resumed = library.json("sync")
        assert (resumed["inserted"], resumed["unchanged"]) == (SAMPLES - done, done)
        assert set(server.billed_texts.values()) == {1}, "no text is paid for twice"
        library.each_vector_is_its_texts_own(documents)

        status = library.json("status")
        assert (status["current"], status["coverage"], status["totals"]["runs"]) == (SAMPLES, 1.0, 4)
        assert status["totals"]["tokens"] == server.billed_tokens
        assert status["totals"]["cost"] == pytest.approx(server.billed_tokens * DOLLARS_PER_TOKEN)

        hits = library.json("search", documents[41].text)["results"]
        assert hits[0]["id"] == documents[41].key
        assert hits[0]["metadata"].keys() == {"title", "genre", "bpm", "musical_key", "energy_level"}

        library.query("update samples set title = 'renamed' where id = 7")
        again = library.json("sync")
        assert (again["embedded"], again["texts"], again["unchanged"]) == (1, 1, SAMPLES - 1)
