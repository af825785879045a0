"""Where long texts are cut."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rowvec.documents.graphemes import within_cluster
from rowvec.documents.passages import Cut, Cutter, PassageSettings
from rowvec.errors import ConfigError
from rowvec.testing import HashEmbedder
from tests.unit.configs import complaint, pipeline

SETTINGS = PassageSettings(tokens=40, overlap=5)
PARAGRAPH = "The pump stands in the cellar. It was made in the year {n}. Nobody has opened it since, and it still runs."


class Bytes(HashEmbedder):
    """Each byte is a token, as for the worst of byte-level tokenizers."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.encode()) + 2 for text in texts]


def cut(
    text: str, settings: PassageSettings = SETTINGS, embedder: HashEmbedder | None = None, context: str = ""
) -> Cut:
    (found,) = Cutter(settings, embedder or HashEmbedder()).cut([text], [context])
    assert found is not None
    return found


def said(text: str, found: Cut) -> list[str]:
    return [text[piece.start : piece.end] for piece in found.pieces]


def check(text: str, found: Cut) -> None:
    """Nothing is lost between passages, nothing is blank, no character is taken apart."""
    behind = 0
    for piece in found.pieces:
        assert text[min(behind, piece.start) : piece.start].strip() == "" or piece.start <= behind
        assert text[piece.start : piece.end].strip()
        assert not within_cluster(text, piece.start)
        assert not within_cluster(text, piece.end)
        behind = piece.end
    assert found.truncated or text[behind:].strip() == ""


def test_a_text_that_fits_is_one_passage() -> None:
    assert Cutter(SETTINGS, HashEmbedder()).cut(["short", "word " * 37, ""], ["", "", ""]) == [None, None, None]


def test_passages_keep_to_their_tokens_and_end_with_sentences() -> None:
    text = "\n\n".join(PARAGRAPH.format(n=n) for n in range(30))
    found = cut(text)
    check(text, found)
    assert all(len(piece.embedded.split()) <= SETTINGS.tokens for piece in found.pieces)
    assert all(part.endswith(".") for part in said(text, found))


def test_a_passage_repeats_the_end_of_the_one_before() -> None:
    text = " ".join(f"word{n}" for n in range(400))
    found = cut(text)
    for one, other in zip(found.pieces, found.pieces[1:], strict=False):
        shared = text[other.start : one.end].split()
        assert 1 <= len(shared) <= SETTINGS.overlap


def test_a_paragraph_in_front_leaves_most_passages_as_they_were() -> None:
    text = "\n\n".join(PARAGRAPH.format(n=n) for n in range(80))
    settings = replace(SETTINGS, tokens=100)
    before = {piece.embedded for piece in cut(text, settings).pieces}
    after = {piece.embedded for piece in cut("Something new stands here. It is short.\n\n" + text, settings).pieces}
    assert 1 <= len(after - before) <= 2


ODD = {
    "one word": "x" * 1_000_000,
    "chinese": "天地玄黄宇宙洪荒日月盈昃辰宿列张" * 500,
    "thai": "สวัสดีครับผมชื่อสมชายยินดีที่ได้รู้จัก" * 100,
    "emoji": "👨‍👩‍👧‍👦🇩🇪🇫🇷👍🏽" * 100,
    "marks": "e\u0301a\u0308" * 500,
    "jamo": "각" * 300,
    "zalgo": "a" + "\u0301" * 5000,
    "blank lines": "one" + "\n" * 10_000 + "two " * 200,
    "blanks": " \n" * 5000 + "words " * 300 + "\t\n" * 5000,
    "table": "| a | b | 12.5 |\n" * 300,
    "code": "def f(x):\n    return x + 1\n\n" * 100,
}
"""Texts that are hard to cut."""


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_any_text_is_cut_without_losing_or_breaking_anything(text: str) -> None:
    found = cut(text, embedder=Bytes())
    if not text.startswith("a\u0301"):
        check(text, found)


def test_of_five_megabytes_only_what_the_passages_reach_is_read() -> None:
    text = (PARAGRAPH + "\n\n") * 46_000
    began = time.perf_counter()
    found = cut(text, replace(SETTINGS, max_passages=8))
    assert time.perf_counter() - began < 5
    assert (len(found.pieces), found.truncated) == (8, True)


def test_a_context_is_put_before_all_but_the_first_and_takes_half_at_most() -> None:
    text = "\n\n".join(PARAGRAPH.format(n=n) for n in range(10))
    found = cut(text, context="Pumps of the cellar")
    first, *others = found.pieces
    assert first.embedded == text[first.start : first.end]
    assert all(piece.embedded == "Pumps of the cellar\n" + text[piece.start : piece.end] for piece in others)
    long = cut(text, context="cellar " * 500)
    assert all(piece.embedded.count("cellar ") <= 21 for piece in long.pieces)
    assert all(len(piece.embedded.split()) <= SETTINGS.tokens for piece in long.pieces)


def test_markdown_is_cut_before_headings_and_not_in_code() -> None:
    text = "\n\n".join(f"## Part {n}\n\n{PARAGRAPH.format(n=n)}\n\n```\nx = {n}\n\ny = 2\n```" for n in range(12))
    found = cut(text, replace(SETTINGS, overlap=0, split="markdown"))
    check(text, found)
    assert all(part.count("```") % 2 == 0 for part in said(text, found))
    assert sum(part.startswith("## Part") for part in said(text, found)) > len(found.pieces) / 2


def test_without_structure_a_passage_is_as_full_as_it_can_be() -> None:
    text = "\n\n".join(PARAGRAPH.format(n=n) for n in range(30))
    found = cut(text, replace(SETTINGS, overlap=0, split="none"))
    check(text, found)
    assert len(found.pieces) <= len(cut(text, replace(SETTINGS, overlap=0)).pieces)


def test_passages_longer_than_the_window_are_refused() -> None:
    embedder = HashEmbedder()
    embedder.fingerprint = replace(embedder.fingerprint, max_tokens=40)
    with pytest.raises(ConfigError, match=r"text\.passages\.tokens is 40") as caught:
        Cutter(SETTINGS, embedder)
    assert "tokens = 30 or less" in str(caught.value.hint)


def test_every_setting_is_part_of_the_identity() -> None:
    others = [
        replace(SETTINGS, tokens=41), replace(SETTINGS, overlap=6), replace(SETTINGS, split="none"),
        replace(SETTINGS, context="x"), replace(SETTINGS, max_passages=3),
    ]  # fmt: skip
    assert len({each.identity for each in (SETTINGS, *others)}) == 6


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("{ tokens = 0 }", "it must be at least 1"),
        ("{ tokens = 20, overlap = 20 }", "has an overlap of 20 in passages of 20 tokens"),
        ("{ overlap = -1 }", "it must be at least 0"),
        ('{ split = "sentences" }', "which is not one of auto, markdown, none"),
        ("{ token = 5 }", "is not a known key"),
        ("{ max_passages = 0 }", "it must be at least 1"),
        ("200", "is not a table"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, said: str, words: str) -> None:
    found = complaint(tmp_path, f'text = {{ columns = "*", passages = {said} }}')
    assert "pipelines.products.text.passages" in found
    assert words in found


def test_the_usual_settings_are_an_empty_table(tmp_path: Path) -> None:
    found = pipeline(tmp_path, 'text = { columns = "*", passages = {} }').text.passages
    assert found is not None
    assert (found.tokens, found.overlap, found.split, found.max_passages) == (200, 20, "auto", 64)
    assert pipeline(tmp_path).text.passages is None
