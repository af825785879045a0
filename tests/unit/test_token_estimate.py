"""The token estimate against a real tokenizer on real texts, and the bound that a budget relies on."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from rowvec.embedders.openai.tokens import ENGLISH_ERROR, OTHER_ERROR, TokenCounter, counter_for
from tests.integration.openai_rig import minilm_tokenizer
from tests.support_tiny_models import tiny_tokenizer

DATA = Path(os.environ.get("ROWVEC_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the test data (ROWVEC_TEST_DATA) is not there")


def json_lines(name: str) -> Iterator[dict[str, object]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def products() -> Iterator[str]:
    for row in json_lines("icecat/products.jsonl.gz"):
        yield "\n".join(f"{name}: {value}" for name, value in row.items())


def cards() -> Iterator[str]:
    return (str(row["body"] or "none") for row in json_lines("hf_datasets/cards.jsonl.gz"))


def tracks() -> Iterator[str]:
    with (DATA / "tracks" / "tracks.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield f"Title: {row['track_name']}\nGenre: {row['track_genre']}\nBPM: {row['tempo']}\nKey: {row['key']}"


def abstracts() -> Iterator[str]:
    content = (DATA / "vaswani" / "doc-text.trec").read_text(encoding="utf-8")
    return (match.strip() for match in re.findall(r"</DOCNO>(.*?)</DOC>", content, re.DOTALL))


def names_in(language: str) -> Callable[[], Iterator[str]]:
    def read() -> Iterator[str]:
        with (DATA / "cpv" / "cpv_aligned.tsv").open(encoding="utf-8") as file:
            yield from (row[language] for row in csv.DictReader(file, delimiter="\t") if row[language].strip())

    read.__name__ = language
    return read


def both_counts(read: Callable[[], Iterator[str]]) -> tuple[TokenCounter, list[str], list[int], int]:
    texts = list(islice(read(), 0, 3000, 10))
    estimate = counter_for("local-model", None)
    billed = sum(counter_for("local-model", minilm_tokenizer()).count(texts))
    return estimate, texts, estimate.count(texts), billed


@needs_data
@pytest.mark.parametrize("read", [products, cards, tracks, abstracts, names_in("en")], ids=lambda read: read.__name__)
def test_english_is_estimated_within_the_stated_error(read: Callable[[], Iterator[str]]) -> None:
    estimate, texts, counts, billed = both_counts(read)
    assert estimate.error(texts) == ENGLISH_ERROR
    assert abs(sum(counts) - billed) < ENGLISH_ERROR * billed


@needs_data
@pytest.mark.parametrize("language", ["pl", "ru", "uk", "de"])
def test_other_languages_stay_within_their_wider_error_and_below_the_bound(language: str) -> None:
    estimate, texts, counts, billed = both_counts(names_in(language))
    assert estimate.error(texts) == OTHER_ERROR
    assert abs(sum(counts) - billed) < OTHER_ERROR * sum(counts)
    assert billed <= estimate.bound(texts, counts)


def test_the_bound_follows_the_worst_answer_so_far_and_stops_at_the_bytes() -> None:
    counter = TokenCounter()
    texts = ["A quick brown fox jumps over the lazy dog and is gone"] * 10
    counts = counter.count(texts)
    total = sum(counts)
    before_any_answer = counter.bound(texts, counts)
    counter.learn(total, total)
    assert total < counter.bound(texts, counts) < before_any_answer
    counter.learn(total, total * 1.8)
    counter.learn(total, total)
    assert counter.bound(texts, counts) > total * 1.8
    counter.learn(total, total * 100)
    assert counter.bound(texts, counts) == sum(len(text) + 2 for text in texts)


def test_a_tokenizer_that_counts_less_than_the_bill_is_found_out() -> None:
    counter = TokenCounter(lambda texts: [1 for _ in texts])
    texts = ["twice as many tokens as that"] * 10
    assert counter.bound(texts, [1] * 10) == 11
    counter.learn(10, 20)
    assert counter.bound(texts, [1] * 10) == 21


def test_half_a_character_is_counted_as_any_other() -> None:
    counter = counter_for("local-model", tiny_tokenizer())
    assert counter.exact
    assert counter.count(["the \ud800 cat"]) == counter.count(["the \ufffd cat"])
