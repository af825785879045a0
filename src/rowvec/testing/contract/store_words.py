"""Which words keyword search finds: one list for every store, `word_pairs.txt`.

A line is a text, a query, and whether the query finds the text; `PAIRS` is read by tests of other stores too.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import pytest

from rowvec.testing.contract.samples import SPEC, Opener, entry, rows, write
from rowvec.words import analyzer

BOTH = "<>"
"""Either finds the other."""
FINDS = "<-"
"""The query on the right finds the text on the left."""
NOT = "x"
"""It does not."""

_MARKS = {
    "{ad}": "\u00ad", "{zwsp}": "\u200b", "{zwnj}": "\u200c", "{zwj}": "\u200d", "{wj}": "\u2060", "{bom}": "\ufeff",
    "{lrm}": "\u200e", "{nbsp}": "\u00a0", "{nnbsp}": "\u202f", "{acute}": "\u0301", "{umlaut}": "\u0308",
}  # fmt: skip


def _read() -> list[tuple[str, str, bool]]:
    found = []
    for line in files(__package__).joinpath("word_pairs.txt").read_text("utf-8").split("\n"):
        for sign, both, hit in ((BOTH, True, True), (FINDS, False, True), (NOT, True, False)):
            text, between, query = line.partition(f" {sign} ")
            if between and not line.startswith("# "):
                for name, mark in _MARKS.items():
                    text, query = text.replace(name, mark), query.replace(name, mark)
                found += [(text, query, hit), *([(query, text, hit)] if both and text != query else [])]
                break
    return list(dict.fromkeys(found))


PAIRS = _read()
"""(text, query, whether it is found), of language `english`."""


def test_every_store_finds_the_same_words(opened: Opener) -> None:
    store = opened(SPEC)
    texts = list(dict.fromkeys(text for text, _, _ in PAIRS))
    write(store, *(entry(key, text) for key, text in enumerate(texts)))
    wrong = []
    for text, query, hit in PAIRS:
        found = rows(store).keyword(query, len(texts)).keys
        if (texts.index(text) in found) != hit:
            wrong.append(f"{query!r} {'does not find' if hit else 'finds'} {text!r}")
    assert wrong == []
    assert len(PAIRS) >= 300


@pytest.mark.parametrize("query", ["rust rust rust lamp", "lamp rust rust rust"])
def test_a_repeated_word_of_a_query_weighs_more(opened: Opener, query: str) -> None:
    store = opened(SPEC)
    write(store, entry(1, "lamp one"), entry(2, "rust two"), *(entry(key, f"filler {key}") for key in range(3, 20)))
    once = dict(zip(*rows(store).keyword("rust lamp", 5)[:2], strict=True))
    assert once[1] == pytest.approx(once[2])
    often = dict(zip(*rows(store).keyword(query, 5)[:2], strict=True))
    assert often[1] == pytest.approx(once[1])
    assert often[2] == pytest.approx(once[2] * (1 + 1.0986122886681098))


def test_another_language_stems_its_own_words(opened: Opener) -> None:
    spec = replace(SPEC, language="polish")
    store = opened(spec)
    write(store, entry(1, "czerwone samochody osobowe"), entry(2, "rowery"), spec=spec)
    assert rows(store, spec).keyword("samochodami", 5).keys == [1]
    assert rows(store, spec).keyword("rowerem", 5).keys == [2]


def test_an_unknown_language_is_refused_with_a_suggestion(unprepared: Opener) -> None:
    spec = replace(SPEC, language="polsih")
    store = unprepared(spec)
    with pytest.raises(Exception, match=r'polsih.*"polish"'):
        store.prepare(spec)


def test_tokens_say_where_the_words_stand() -> None:
    text = "Red lam\u00adps, SABO-520067.C and Cafe\u0301 5 GHz 日本語"
    found = {token.term: text[token.start : token.end] for token in analyzer("english").tokens(text)}
    assert found["lamp"] == "lam\u00adps"
    assert found["sabo520067c"] == "SABO-520067.C"
    assert found["520067"] == "520067"
    assert found["cafe"] == "Cafe\u0301"
    assert found["5ghz"] == "5 GHz"
    assert found["日本"] == "日本"
    assert found["本語"] == "本語"
    assert "and" not in found
