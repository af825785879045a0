"""Texts that are hard to cut, from the rows to the passages that a search shows, in both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rowvec.auditing.audit import audit
from rowvec.documents.graphemes import within_cluster
from rowvec.documents.passages import PassageSettings
from rowvec.documents.text import Documents, build_recipe
from rowvec.pipeline import Options, Pipeline
from rowvec.searcher import Searcher
from rowvec.syncing.run import sync
from rowvec.types import Hit
from tests.integration.stores_rig import Open
from tests.support import rows_of, simple_pipeline
from tests.unit.test_passages import ODD, Bytes
from tests.unit.test_passages_sync import with_passages

SETTINGS = PassageSettings(tokens=60, overlap=6, max_passages=20)
ROWS = {number: f"{text} pump{number}" for number, text in enumerate(ODD.values())}


def cut(opened: Open, rows: dict[int, str], settings: PassageSettings = SETTINGS) -> Pipeline:
    """Each byte is a token."""
    pipeline = with_passages(simple_pipeline(store=opened(), embedder=Bytes(), rows=dict(rows)), settings)
    recipe = build_recipe(pipeline.source.columns, "id", template="{{ name }}")
    documents = Documents(recipe, pipeline.spec.metadata)
    return replace(pipeline, to_document=documents, spec=replace(pipeline.spec, language="english"))


def found(pipeline: Pipeline, query: str, mode: str) -> list[Hit]:
    searcher = Searcher(pipeline.store, pipeline.embedder, pipeline.spec)
    return list(searcher.search(query, mode=mode, limit=50, passages=20).hits)  # type: ignore[arg-type]


def test_any_text_is_synced_found_and_shown_as_it_is(opened: Open) -> None:
    pipeline = cut(opened, ROWS)
    report = sync(pipeline)
    assert (report.inserted, report.failed, report.divided) == (len(ROWS), 0, len(ROWS))
    assert report.truncated == sum(
        len(text.encode()) > SETTINGS.tokens * SETTINGS.max_passages for text in ROWS.values()
    )
    hits = found(pipeline, "chairs", "semantic")
    assert sorted(int(hit.key) for hit in hits) == sorted(ROWS)
    shown = 0
    for hit in hits:
        text = ROWS[int(hit.key)].strip()
        assert hit.passages
        for each in hit.passages:
            assert each.text == text[each.start : each.end]
            assert each.text.strip()
            if "\u0301" * 100 not in text:
                assert not within_cluster(text, each.start)
                assert not within_cluster(text, each.end)
        shown += len(hit.passages)
    assert shown == rows_of(pipeline).status().passages == report.passages
    assert audit(pipeline, settle=0, sample=10**6).findings == {}
    assert sync(pipeline).unchanged == len(ROWS)


@pytest.mark.parametrize("mode", ["keyword", "hybrid"])
def test_the_words_of_any_text_are_found(opened: Open, mode: str) -> None:
    """Also those behind the last passage: the keyword index reads the whole row."""
    pipeline = cut(opened, {key: text for key, text in ROWS.items() if len(text) < 100_000})
    sync(pipeline)
    for key in pipeline.source.rows:
        (hit,) = (each for each in found(pipeline, f"pump{key}", mode) if each.key == key)
        assert hit.passages


def test_a_text_that_becomes_blank_or_short_leaves_no_passage_behind(opened: Open) -> None:
    pipeline = cut(opened, {1: "one two three. " * 40, 2: "four five six. " * 40, 3: "seven eight. " * 40})
    sync(pipeline)
    assert rows_of(pipeline).status().divided == 3
    pipeline.source.rows[1]["name"] = " \n\t" * 500
    pipeline.source.rows[2]["name"] = "short"
    pipeline.source.rows[3]["name"] = "seven eight. " * 5 + "\n" * 5000 + "seven eight. " * 5
    sync(pipeline, Options(allow_delete=True))
    assert rows_of(pipeline).keys(None, 10) == [2, 3]
    assert rows_of(pipeline).status().divided == 1
    assert [len(hit.passages) for hit in found(pipeline, "seven", "semantic") if hit.key == 2] == [1]
    assert all(each.text.strip() for hit in found(pipeline, "seven", "semantic") for each in hit.passages)
    assert audit(pipeline, settle=0).findings == {}


def test_one_passage_at_most_is_the_first_and_the_row_says_that_it_is_not_all(opened: Open) -> None:
    text = "The pump stands in the cellar. " * 4 + "The lamp hangs in the hall. " * 4
    pipeline = cut(opened, {1: text, 2: "a chair"}, replace(SETTINGS, max_passages=1))
    report = sync(pipeline)
    assert (report.divided, report.passages, report.texts, report.truncated) == (1, 1, 2, 1)
    status = rows_of(pipeline).status()
    assert (status.divided, status.passages, status.truncated) == (1, 1, 1)
    assert rows_of(pipeline).truncated(5) == [1]
    (hit,) = (each for each in found(pipeline, "lamp", "semantic") if each.key == 1)
    (passage,) = hit.passages
    assert passage.text == text[passage.start : passage.end]
    assert "lamp" not in passage.text
    own = rows_of(pipeline).vector(1)
    assert own is not None
    assert own @ pipeline.embedder.embed_query(passage.text) == pytest.approx(1.0, abs=1e-6)
    assert found(pipeline, "lamp", "keyword")[0].key == 1, "words are those of the whole row"
    assert audit(pipeline, settle=0).findings == {}
