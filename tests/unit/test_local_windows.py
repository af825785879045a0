"""Texts of any length and content to windows of tokens."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from rowvec.embedders.model_files import find
from rowvec.embedders.windows import Tokenized, WindowTokenizer, cut, readable
from rowvec.errors import EmbedderError
from tests.support_tiny_models import WORDS, tiny_model, tiny_tokenizer

FIRST, LAST = 2, 3


def tokenizer(tmp_path: Path, max_tokens: int = 16, max_windows: int = 1, **options: Any) -> WindowTokenizer:
    return WindowTokenizer(find(str(tiny_model(tmp_path / "model", **options)), tmp_path), max_tokens, max_windows)


def everything(text: str) -> list[int]:
    """Every token of a text, without the special ones."""
    plain = tiny_tokenizer()
    plain.no_truncation()
    plain.no_padding()
    ids: list[int] = plain.encode(readable(text), add_special_tokens=False).ids
    return ids


def expected(text: str, max_tokens: int, max_windows: int) -> Tokenized:
    ids, room = everything(text), max_tokens - 2
    windows = [ids[start : start + room] for start in range(0, max(1, len(ids)), room)]
    return Tokenized([[FIRST, *window, LAST] for window in windows[:max_windows]], len(windows) > 1)


def test_the_padding_and_truncation_of_the_file_are_off(tmp_path: Path) -> None:
    short, long = tokenizer(tmp_path, 24).encode(["the cat", "the cat sat on a red mat " * 3])
    assert [len(window) for window in short.windows] == [4]
    assert [len(window) for window in long.windows] == [23]


@pytest.mark.parametrize("max_windows", [1, 3])
def test_windows_are_those_of_the_whole_text_however_little_of_it_is_read(tmp_path: Path, max_windows: int) -> None:
    subject = tokenizer(tmp_path, 16, max_windows)
    draw = random.Random(3)
    makers = [
        lambda: " ".join(draw.choices(WORDS, k=draw.randrange(0, 4000))),
        lambda: "".join(draw.choices([*WORDS, " ", ", ", "\n", "\t", "  "], k=draw.randrange(0, 6000))),
        lambda: "".join(draw.choices("abc.", k=draw.randrange(0, 30_000))),
        lambda: " " * draw.randrange(0, 40_000) + " ".join(draw.choices(WORDS, k=100)),
        lambda: ("z" * draw.randrange(50, 400) + " ") * draw.randrange(1, 300),
        lambda: "漢字" * draw.randrange(1, 9000),
    ]
    texts = [draw.choice(makers)() for _ in range(80)]
    for text, found in zip(texts, subject.encode(texts), strict=True):
        assert found == expected(text, 16, max_windows), text[:200]


@pytest.mark.parametrize("text", ["", " ", "\0\0", "\n\t "])
def test_a_text_of_nothing_has_its_special_tokens(tmp_path: Path, text: str) -> None:
    assert tokenizer(tmp_path).encode([text]) == [Tokenized([[FIRST, LAST]], False)]


@pytest.mark.parametrize("text", ["the \ud800 cat", "\udfff", "the\0cat", "\ud83d\ude00 cat"])
def test_text_that_is_not_valid_unicode_is_taken_as_it_can_be(tmp_path: Path, text: str) -> None:
    (found,) = tokenizer(tmp_path).encode([text])
    assert len(found.windows) == 1
    assert not found.truncated


def test_surrogates_that_belong_together_make_one_character() -> None:
    assert readable("\ud83d\ude00") == "\N{GRINNING FACE}"
    assert readable("a\ud800") == "a\ufffd"


def test_a_text_is_cut_between_words_where_there_are_any() -> None:
    assert cut("the cat sat", 20) == "the cat sat"
    assert cut("the cat sat", 9) == "the cat"
    assert cut("thecatsaton", 9) == "thecatsat"


@pytest.mark.parametrize(
    "text", ["x" * 5_000_000, " " * 5_000_000, "the " * 1_250_000, "字" * 5_000_000, "a." * 2_500_000]
)
@pytest.mark.parametrize("max_windows", [1, 64])
def test_five_million_characters_are_cut_and_count_as_truncated(tmp_path: Path, text: str, max_windows: int) -> None:
    subject = tokenizer(tmp_path, 16, max_windows)
    (found,) = subject.encode([text])
    assert found.truncated
    assert len(found.windows) <= max_windows


def test_lower_case_is_applied_before_a_tokenizer_that_keeps_case(tmp_path: Path) -> None:
    keeping = tiny_model(tmp_path / "keeping")
    lowering = tiny_model(tmp_path / "lowering", settings={"do_lower_case": True})
    for folder in (keeping, lowering):
        inner = tiny_tokenizer()
        inner.normalizer = None
        inner.save(str(folder / "tokenizer.json"))
    as_is, lowered = (
        WindowTokenizer(find(str(folder), tmp_path), 16).encode(["THE Cat"])[0].windows[0]
        for folder in (keeping, lowering)
    )
    assert lowered == [FIRST, *everything("the cat"), LAST]
    assert as_is != lowered


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(EmbedderError, match=r"tokenizer\.json"):
        WindowTokenizer(find(str(folder), tmp_path), 16)


def test_a_tokenizer_without_special_tokens_is_refused(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    content = (folder / "tokenizer.json").read_text()
    start = content.index('"post_processor":')
    end = content.index('"decoder":')
    (folder / "tokenizer.json").write_text(content[:start] + '"post_processor": null,\n' + content[end:])
    with pytest.raises(EmbedderError, match="adds 0 special tokens"):
        WindowTokenizer(find(str(folder), tmp_path), 16)
