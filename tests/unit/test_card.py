"""What a row is called, wherever it is shown."""

from __future__ import annotations

import pytest

from rowvec.pipeline import Card


@pytest.mark.parametrize(
    ("title", "columns", "found"),
    [
        (None, ["price", "Name"], "Name"),
        (None, ["name", "title"], "title"),
        ("brand", ["name", "brand"], "brand"),
        ("brand", ["name"], "name"),
        (None, ["price"], None),
    ],
)
def test_the_column_of_the_card_comes_before_those_with_usual_names(
    title: str | None, columns: list[str], found: str | None
) -> None:
    assert Card(title=title).title_column(columns) == found


def test_a_row_is_called_by_the_text_of_that_column() -> None:
    card = Card(title="number")
    assert card.title_of({"name": "lamp", "number": 7}) == "7"
    assert card.title_of({"name": "lamp", "number": None}) == ""
    assert card.title_of({"price": 2.5}) == ""
    assert card.title_of({"name": {"en": "lamp"}}) == ""
