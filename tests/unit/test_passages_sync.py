"""Rows whose text is cut into passages: what is embedded, written, reused, and what a fault costs."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from rowvec.auditing.audit import audit
from rowvec.documents.passages import PassageSettings
from rowvec.documents.text import Documents, build_context, build_recipe
from rowvec.errors import EmbedderUnavailable
from rowvec.pipeline import Options, Pipeline
from rowvec.stores.base import GenerationHandle
from rowvec.syncing.preview import preview
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from rowvec.testing.source import MemorySource
from rowvec.types import Embedded, Fingerprint, Kind
from tests.models import Known
from tests.support import rows_of, simple_pipeline

SETTINGS = PassageSettings(tokens=40, overlap=0)


def long_text(name: str, paragraphs: int = 12) -> str:
    return "\n\n".join(
        " ".join(f"Sentence {n} of paragraph {number} says a word about {name}." for n in range(3))
        for number in range(paragraphs)
    )


def cutting(
    rows: dict[Any, str], settings: PassageSettings | None = SETTINGS, base: Pipeline | None = None, **embedder: Any
) -> Pipeline:
    """A pipeline that cuts texts; on the source and store of another one where that is given."""
    model = base.embedder if base is not None else HashEmbedder(**embedder)
    found = simple_pipeline(
        source=base.source if base is not None else None, store=base.store if base is not None else None,
        embedder=model, rows=rows,
    )  # fmt: skip
    return with_passages(found, settings)


def with_passages(pipeline: Pipeline, settings: PassageSettings | None) -> Pipeline:
    made = replace(pipeline.embedder.fingerprint, passages=settings.identity if settings else "")
    return replace(pipeline, passages=settings, spec=replace(pipeline.spec, fingerprint=made, settings="hash"))


def passages_of(pipeline: Pipeline, key: Any) -> list[str]:
    found = rows_of(pipeline).texts([key])[key]
    return [found.text[each.start : each.end] for each in found.passages]


def check_row(pipeline: Pipeline, key: Any) -> None:
    """Each passage has the vector of its text, and the row the mean of them."""
    generation = rows_of(pipeline)
    texts = passages_of(pipeline, key)
    assert len(texts) > 1
    vectors = [pipeline.embedder.embed_query(text) for text in texts]
    stored = generation.texts([key], vectors[0])[key].passages
    assert stored[0].score == pytest.approx(1.0, abs=1e-5)
    weights = [len(text.split()) for text in texts]
    mean = np.average(np.stack(vectors), axis=0, weights=weights)
    held = generation.vector(key)
    assert held is not None
    assert held @ (mean / np.linalg.norm(mean)) > 0.999


def test_a_text_that_does_not_fit_has_a_vector_for_each_passage_and_the_row_their_mean() -> None:
    pipeline = cutting({1: long_text("pumps"), 2: "short"})
    report = sync(pipeline)
    assert (report.inserted, report.failed, report.divided) == (2, 0, 1)
    assert report.texts == report.passages + 1
    assert len(passages_of(pipeline, 1)) == report.passages
    check_row(pipeline, 1)
    assert passages_of(pipeline, 2) == []
    assert (rows_of(pipeline).vector(2) == pipeline.embedder.embed_query("short")).all()
    status = rows_of(pipeline).status()
    assert (status.divided, status.passages) == (1, report.passages)
    again = sync(pipeline)
    assert (again.unchanged, again.texts, again.written) == (2, 0, 0)


def test_a_row_is_found_by_its_best_passage() -> None:
    pipeline = cutting({1: long_text("pumps"), **{n: f"row {n}" for n in range(2, 40)}}, dimension=64)
    sync(pipeline)
    query = pipeline.embedder.embed_query(passages_of(pipeline, 1)[-1])
    found = rows_of(pipeline).nearest(query, 3)
    assert found.keys[0] == 1
    held = rows_of(pipeline).vector(1)
    assert held is not None
    assert found.scores[0] == pytest.approx(0.5 + 0.5 * float(held @ query), abs=1e-5)


def test_a_paragraph_in_front_embeds_one_or_two_passages() -> None:
    pipeline = cutting({1: long_text("pumps", 60)})
    sync(pipeline)
    before = len(pipeline.embedder.texts)
    pipeline.source.rows[1]["name"] = "A new paragraph stands here. It says a few words.\n\n" + long_text("pumps", 60)
    report = sync(pipeline)
    assert report.embedded == 1
    assert 1 <= len(pipeline.embedder.texts) - before <= 2
    check_row(pipeline, 1)


def test_passages_that_several_rows_share_are_embedded_once() -> None:
    text = long_text("pumps", 20)
    pipeline = cutting({1: text, 2: text, 3: text + "\n\nAnd one more paragraph about something else entirely."})
    report = sync(pipeline)
    assert len(pipeline.embedder.texts) == len(set(pipeline.embedder.texts)) == report.texts
    assert report.passages > 2 * report.texts
    for key in (1, 2, 3):
        check_row(pipeline, key)


def test_one_bad_passage_costs_itself_and_is_tried_again() -> None:
    pipeline = cutting({1: long_text("pumps", 41), 2: "short"})
    sync(pipeline)
    bad = passages_of(pipeline, 1)[20]
    fresh = cutting({1: long_text("pumps", 41), 2: "short"})
    fresh.embedder.refused = {bad}
    report = sync(fresh)
    assert (report.inserted, report.failed) == (1, 1)
    everything = passages_of(pipeline, 1)
    assert passages_of(fresh, 1) == [text for text in everything if text != bad]
    (failure,) = rows_of(fresh).failures()
    assert failure.error.startswith(f"1 of {len(everything)} passages got no vector")
    assert rows_of(fresh).status().stale == 1
    assert sync(fresh).waiting == 1, "its time has not come"
    fresh.embedder.refused = set()
    sent = len(fresh.embedder.texts)
    assert sync(fresh, Options(retry_failed=True)).embedded == 1
    assert fresh.embedder.texts[sent:] == [bad]
    assert rows_of(fresh).failures() == []
    check_row(fresh, 1)


def test_a_row_of_which_every_passage_is_refused_fails_as_a_whole() -> None:
    pipeline = cutting({1: long_text("pumps"), 2: "short"})
    sync(pipeline)
    fresh = cutting({1: long_text("pumps"), 2: "short"})
    fresh.embedder.refused = set(passages_of(pipeline, 1))
    report = sync(fresh)
    assert (report.inserted, report.failed) == (1, 1)
    assert rows_of(fresh).vector(1) is None
    assert "passages" not in rows_of(fresh).failures()[0].error


class Dies(HashEmbedder):
    """A paid service that falls silent for good after some calls."""

    def __init__(self, calls: int) -> None:
        super().__init__(chunk_texts=4, billed=True)
        self.left = calls

    def embed(self, texts: Any) -> Embedded:
        self.left -= 1
        if self.left < 0:
            raise EmbedderUnavailable("It is gone.")
        return super().embed(texts)


@pytest.mark.parametrize("calls", [1, 2, 5])
def test_a_paid_passage_of_a_row_that_is_not_whole_is_kept(calls: int) -> None:
    pipeline = simple_pipeline(embedder=Dies(calls), rows={n: long_text(f"pump {n}", 30) for n in range(3)})
    pipeline = with_passages(pipeline, SETTINGS)
    with pytest.raises(EmbedderUnavailable):
        sync(pipeline, patience=0)
    paid = list(pipeline.embedder.texts)
    assert len(paid) == 4 * calls
    assert rows_of(pipeline).status().passages == len(paid)
    pipeline.embedder.left = 1000
    report = sync(pipeline)
    assert len(pipeline.embedder.texts) == len(set(pipeline.embedder.texts)), "nothing is paid for twice"
    assert report.inserted + report.embedded == 3
    for key in range(3):
        check_row(pipeline, key)


def test_a_stop_leaves_a_row_that_is_compared_again() -> None:
    stop = threading.Event()

    class Stops(HashEmbedder):
        def embed(self, texts: Any) -> Embedded:
            stop.set()
            return super().embed(texts)

    pipeline = simple_pipeline(embedder=Stops(chunk_texts=4), rows={1: long_text("pumps", 30)})
    pipeline = with_passages(pipeline, SETTINGS)
    assert sync(pipeline, stop=stop).written == 0
    stop.clear()
    assert sync(pipeline).written == 1
    check_row(pipeline, 1)


LONG_ENOUGH = 40
"""Characters from which on a text may have a context: the tokens of a window."""
BETWEEN = "word " * 19
"""A text of more characters than that, which is one passage."""


def in_context(rows: dict[Any, str], template: str = "Price {{ price }}", base: Pipeline | None = None) -> Pipeline:
    """Rows whose passages have their price in front of them, on the source and store of another one if it is given."""
    source = base.source if base is not None else MemorySource({k: {"name": v, "price": 7} for k, v in rows.items()})
    store, model = (base.store, base.embedder) if base is not None else (None, None)
    pipeline = simple_pipeline(source=source, store=store, embedder=model)
    recipe = build_recipe(source.columns, "id", template="{{ name }}")
    context = build_context(source.columns, template)
    documents = Documents(recipe, pipeline.spec.metadata, context, LONG_ENOUGH)
    return replace(with_passages(pipeline, replace(SETTINGS, context=template)), to_document=documents)


def test_a_context_is_put_before_passages_and_a_change_of_it_embeds_them() -> None:
    pipeline = in_context({1: long_text("pumps"), 2: "short"})
    source = pipeline.source
    sync(pipeline)
    first, *others = [text for text in pipeline.embedder.texts if text != "short"]
    assert not first.startswith("Price 7\n") or others
    assert sum(text.startswith("Price 7\n") for text in pipeline.embedder.texts) == len(others)
    assert "".join(passages_of(pipeline, 1)).count("Price") == 0
    sent = len(pipeline.embedder.texts)
    source.rows[1]["price"] = 8
    source.rows[2]["price"] = 8
    report = sync(pipeline)
    assert (report.embedded, report.updated) == (1, 1)
    assert len(pipeline.embedder.texts) - sent == len(others), "the first passage has no context"


def test_a_context_that_was_empty_before_is_put_before_passages_when_it_comes() -> None:
    pipeline = in_context({1: long_text("pumps"), 2: BETWEEN}, "{{ price }}")
    rows = pipeline.source.rows
    rows[1]["price"] = rows[2]["price"] = None
    sync(pipeline)
    assert sync(pipeline).unchanged == 2
    rows[1]["price"] = rows[2]["price"] = 4711
    announced, sent = preview(pipeline), len(pipeline.embedder.texts)
    assert (announced.kinds[Kind.EMBED], announced.kinds[Kind.UPDATE]) == (1, 1)
    assert (report := sync(pipeline)).embedded == 1, report
    assert all(text.startswith("4711") for text in pipeline.embedder.texts[sent:])
    rows[1]["price"] = rows[2]["price"] = None
    assert sync(pipeline).embedded == 1
    assert audit(pipeline, settle=0).findings == {}


def test_a_change_of_the_context_embeds_no_text_that_is_one_passage() -> None:
    pipeline = in_context({1: long_text("pumps"), 2: BETWEEN, 3: "short"})
    rows = pipeline.source.rows
    sync(pipeline)
    for row in rows.values():
        row["price"] = 8
    announced = preview(pipeline)
    assert (announced.kinds[Kind.EMBED], announced.kinds[Kind.UPDATE]) == (1, 2)
    report = sync(pipeline)
    assert (report.embedded, report.updated) == (1, 2)
    assert pipeline.embedder.texts.count(BETWEEN.strip()) == 1
    assert sync(pipeline).unchanged == 3
    assert audit(pipeline, settle=0).findings == {}
    rows[2]["name"] = f"another {BETWEEN}"
    assert sync(pipeline).embedded == 1
    rows[2]["name"] = long_text("lamps")
    assert sync(pipeline).embedded == 1
    assert len(passages_of(pipeline, 2)) > 1
    rows[2]["price"] = 9
    assert sync(pipeline).embedded == 1, "it has passages now, and the price stands before them"
    rows[2]["name"] = BETWEEN
    sync(pipeline)
    rows[2]["price"] = 10
    assert sync(pipeline).updated == 1
    assert audit(pipeline, settle=0).findings == {}


def test_texts_of_one_passage_share_a_vector_whatever_their_contexts() -> None:
    pipeline = in_context({1: BETWEEN, 2: BETWEEN})
    pipeline.source.rows[2]["price"] = 8
    assert preview(pipeline).texts == 1
    assert sync(pipeline).texts == 1
    pipeline.source.rows[3] = {"name": BETWEEN, "price": 9}
    announced, report = preview(pipeline), sync(pipeline)
    assert (announced.texts, report.texts, report.inserted) == (0, 0, 1)


def test_a_text_of_one_passage_that_is_refused_waits_whatever_becomes_of_its_context() -> None:
    pipeline = in_context({1: BETWEEN, 2: "short"})
    pipeline.embedder.refused = {BETWEEN.strip()}
    assert sync(pipeline).failed == 1
    pipeline.source.rows[1]["price"] = 8
    assert sync(pipeline).waiting == 1
    pipeline.embedder.refused = set()
    assert sync(pipeline, Options(retry_failed=True)).inserted == 1
    pipeline.source.rows[1]["price"] = 9
    assert sync(pipeline).updated == 1


def test_another_context_in_the_settings_embeds_no_text_that_is_one_passage() -> None:
    pipeline = in_context({1: long_text("pumps"), 2: BETWEEN, 3: "short"})
    sync(pipeline)
    other = replace(in_context({}, "Costs {{ price }}", pipeline), former=FormerContext(pipeline))
    announced = preview(other)
    report = sync(other)
    assert (announced.texts, report.inserted) == (report.texts, 3)
    assert pipeline.embedder.texts.count(BETWEEN.strip()) == 1
    plain = simple_pipeline(source=other.source, store=other.store, embedder=other.embedder)
    documents = Documents(build_recipe(other.source.columns, "id", template="{{ name }}"), plain.spec.metadata)
    off = replace(with_passages(plain, None), to_document=documents, former=FormerContext(other))
    assert sync(off).texts == 1
    assert pipeline.embedder.texts.count(BETWEEN.strip()) == 1


class Former(Known):
    def __init__(self, embedder: HashEmbedder) -> None:
        super().__init__(embedder)

    def passages(self, settings: str) -> Any:
        return SETTINGS


class FormerContext(Former):
    """Knows the settings of one pipeline, as a store keeps them."""

    def __init__(self, live: Pipeline) -> None:
        super().__init__(cast(HashEmbedder, live.embedder))
        self._live = live

    def documents(self, settings: str, model: Any) -> Any:
        return self._live.to_document, self._live.text_columns

    def passages(self, settings: str) -> Any:
        return self._live.passages


def switched(pipeline: Pipeline, fingerprint: Fingerprint, settings: PassageSettings | None) -> Pipeline:
    made = replace(fingerprint, passages=settings.identity if settings else "")
    former = Former(cast(HashEmbedder, pipeline.embedder))
    return replace(pipeline, passages=settings, former=former, spec=replace(pipeline.spec, fingerprint=made))


def test_to_switch_passages_on_embeds_the_rows_that_are_cut_alone_and_back_too() -> None:
    rows = {1: long_text("pumps"), **{n: f"row {n}" for n in range(2, 50)}}
    off = cutting(rows, settings=None)
    assert sync(off).texts == 49
    on = switched(off, off.embedder.fingerprint, SETTINGS)
    announced = preview(on)
    report = sync(on)
    assert report.inserted == 49
    assert report.texts == len(set(passages_of(on, 1))) == announced.texts
    assert announced.tokens == report.tokens
    check_row(on, 1)
    assert off.store.ledger().fingerprint == on.spec.fingerprint


def test_a_truncated_vector_of_the_live_generation_is_not_taken() -> None:
    class Cuts(HashEmbedder):
        def embed(self, texts: Any) -> Embedded:
            long = [place for place, text in enumerate(texts) if len(text.split()) > 40]
            return super().embed(texts)._replace(truncated=long)

    middle = "word " * 39
    off = with_passages(simple_pipeline(embedder=Cuts(), rows={1: middle, 2: "word " * 45, 3: "short"}), None)
    sync(off)
    on = switched(off, off.embedder.fingerprint, replace(SETTINGS, tokens=60))
    sent = len(off.embedder.texts)
    sync(on)
    assert [len(text.split()) for text in off.embedder.texts[sent:]] == [45]


def test_the_plan_speaks_of_rows_and_passages() -> None:
    pipeline = cutting({1: long_text("pumps", 30), 2: "short"})
    announced = preview(pipeline)
    report = sync(pipeline)
    assert (announced.divided, announced.passages, announced.new_passages) == (1, report.passages, report.passages)
    assert (announced.texts, announced.tokens) == (report.texts, report.tokens)
    pipeline.source.rows[1]["name"] += "\n\nOne more paragraph at the end, about nothing in particular."
    announced = preview(pipeline)
    assert announced.new_passages <= 2 < announced.passages


def test_what_lies_behind_the_last_passage_is_said() -> None:
    pipeline = cutting({1: long_text("pumps", 60)}, replace(SETTINGS, max_passages=5))
    report = sync(pipeline)
    assert (report.passages, report.truncated) == (5, 1)
    assert rows_of(pipeline).status().truncated == 1
    assert preview(cutting({1: long_text("pumps", 60)}, replace(SETTINGS, max_passages=5))).truncated == 1


def test_a_vector_is_given_for_a_passage_and_not_for_a_row_of_several() -> None:
    pipeline = cutting({1: long_text("pumps")})
    sync(pipeline)
    generation: GenerationHandle = rows_of(pipeline)
    row = pipeline.documents(next(iter(pipeline.source.pages(1)))[0]).text_hash
    assert generation.vectors_of_texts([row]) == {}
