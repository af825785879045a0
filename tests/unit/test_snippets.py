"""What a hit shows of its text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowvec.searcher.snippets import LOOKED_AT, READ, STRETCH, WHOLE, Asked, best_passage, between_words
from rowvec.searcher.snippets import passages_of as passages
from rowvec.types import FoundPassage, ScoredPassage, StoredText

BRAKES = Asked.of("brake pads for trains", "english")


def words(found: FoundPassage) -> list[str]:
    return [found.text[start:end] for start, end in found.marks]


def test_a_short_text_is_shown_whole_and_has_the_score_of_its_row() -> None:
    text = "Braking systems. A pad and a train's brakes."
    (found,) = passages(StoredText(text), BRAKES, 3, score=0.5)
    assert (found.text, found.start, found.end, found.score) == (text, 0, len(text), 0.5)
    assert words(found) == ["Braking", "pad", "train", "brakes"]


def test_of_a_long_text_the_stretch_with_most_of_the_query_is_shown() -> None:
    text = "A brake. " + "Nothing of that kind stands here. " * 40 + "Train pads and brakes! " + "More of it. " * 40
    (found,) = passages(StoredText(text), BRAKES, 1)
    assert "Train pads and brakes!" in found.text
    assert found.text == text[found.start : found.end]
    assert len(found.text) <= STRETCH
    assert words(found) == ["Train", "pads", "brakes"]
    assert text[found.start - 1].isspace() and text[found.end - 1].isspace()


def test_without_a_word_of_the_query_the_beginning_is_shown() -> None:
    text = "Nothing of that kind stands here. " * 40
    (found,) = passages(StoredText(text), BRAKES, 1)
    assert (found.start, found.marks) == (0, ())
    assert text.startswith(found.text)


FAR = {
    "words": "A brake. " + "Nothing of that kind stands here. " * 900,
    "blank lines": "A brake." + "\n" * 20_000,
    "the edge": "x" * (LOOKED_AT - 4) + " ",
}


@pytest.mark.parametrize("before", FAR.values(), ids=FAR)
def test_a_stretch_far_behind_in_a_long_text_is_found(before: str) -> None:
    text = f"{before}Train pads and brakes! " + "More of it. " * 900
    (found,) = passages(StoredText(text), BRAKES, 1)
    assert words(found) == ["Train", "pads", "brakes"]
    assert found.text == text[found.start : found.end]
    assert "Train pads and brakes!" in best_passage(StoredText(text), BRAKES)


def test_a_stretch_far_behind_that_says_no_more_than_the_beginning_is_not_shown() -> None:
    text = "A brake for trains. " + "Nothing of that kind. " * 900 + "Some trains brake, or a braking train. Padlocks."
    (found,) = passages(StoredText(text), BRAKES, 1)
    assert (found.start, words(found)) == (0, ["brake", "trains"])


PARTS = ["Brake and pad. ", "Nothing here. ", "Pads of a train with brakes."]
CUT = StoredText("".join(PARTS), (ScoredPassage(0, 15, 0.2), ScoredPassage(15, 29, 0.9), ScoredPassage(29, 57, 0.4)))


def test_passages_come_by_score_or_by_the_words_they_hold() -> None:
    assert [each.text for each in passages(CUT, BRAKES, 2)] == [PARTS[1], PARTS[2]]
    assert [each.text for each in passages(CUT, BRAKES, 2, by_words=True)] == [PARTS[2], PARTS[0]]
    unscored = CUT._replace(passages=tuple(each._replace(score=None) for each in CUT.passages))
    (best,) = passages(unscored, BRAKES, 1)
    assert (best.text, best.score) == (PARTS[2], None)


def test_a_word_that_stands_often_does_not_outdo_two_words() -> None:
    text = StoredText("brake brake brake. pad, train.", (ScoredPassage(0, 19), ScoredPassage(19, 30)))
    (best,) = passages(text, BRAKES, 1)
    assert best.start == 19


def test_an_empty_text_shows_nothing() -> None:
    assert passages(StoredText(""), BRAKES, 3) == ()


@pytest.mark.parametrize(
    "cluster",
    ["👩‍👩‍👧", "🇩🇪", "e\u0301", "👍🏽", "क्षि", "☎️"],
    ids=["family", "flag", "accent", "skin", "vowel", "sign"],
)
def test_what_is_seen_as_one_character_is_not_cut(cluster: str) -> None:
    text = "x" * 60 + cluster
    for place in range(60, len(text)):
        assert between_words(text, place) == 60


def test_marks_are_offsets_into_a_text_of_other_scripts() -> None:
    (found,) = passages(StoredText("Тормозные колодки 🚆 для поезда"), Asked.of("колодка поезд", "russian"), 1)
    assert words(found) == ["колодки", "поезда"]


@given(st.text(max_size=3 * WHOLE), st.text(max_size=40))
def test_what_is_shown_is_what_stands_there(text: str, query: str) -> None:
    for found in passages(StoredText(text), Asked.of(query, "english"), 1):
        assert found.text == text[found.start : found.end]
        places = [place for mark in found.marks for place in mark]
        assert places == sorted(places) and all(0 <= place <= len(found.text) for place in places)


def test_what_is_read_of_a_row_is_its_best_passage_or_what_stands_around_the_words() -> None:
    asked = Asked.of("brake pads", "english")
    assert best_passage(StoredText("one two", (ScoredPassage(0, 3, 0.2), ScoredPassage(4, 7, 0.7))), asked) == "two"
    unscored = StoredText("oil filter. brake pads.", (ScoredPassage(0, 11), ScoredPassage(12, 23)))
    assert best_passage(unscored, asked) == "brake pads."
    short = "word " * (READ // 5)
    assert best_passage(StoredText(short), asked) == short
    read = best_passage(StoredText("word " * 900 + "Brake pads here. " + "more " * 900), asked)
    assert "Brake pads here." in read and READ - 100 < len(read) <= READ
    assert best_passage(StoredText("x" * 10_000), asked) == "x" * READ
