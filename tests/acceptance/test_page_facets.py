"""Values of the columns with their counts, histograms, browsing and further hits on the search page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.axe import violations
from tests.acceptance.browser_rig import faultless
from tests.integration.serve_rig import application, product_pipeline, rows, serving

pytestmark = pytest.mark.slow

COUNT = 70


def data() -> dict[Any, dict[str, Any]]:
    """As products, each with one of seven names."""
    found = rows(COUNT)
    for values in found.values():
        values["name"] = values["name"].rsplit(" ", 1)[0]
    return found


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(application(product_pipeline(data=data()))) as address:
        yield address


def filters(page: Page) -> Any:
    found = parse_qs(urlsplit(page.url).query).get("filters")
    return json.loads(found[0]) if found else None


def test_a_value_is_chosen_with_its_count_and_taken_back(page: Page) -> None:
    page.goto("/?query=rotor")
    yes = page.get_by_role("group", name="Values of new", exact=True).get_by_role("button", name="yes 35")
    yes.click()
    expect(page.locator("#summary")).to_contain_text("20 hits")
    expect(yes).to_have_attribute("aria-pressed", "true")
    assert filters(page) == {"new": True}
    expect(page.locator("#chips button")).to_have_text(["new yes×"])
    page.go_back()
    expect(page.locator("#chips")).to_be_hidden()
    expect(yes).to_have_attribute("aria-pressed", "false")


def test_a_bar_of_a_histogram_takes_its_range(page: Page) -> None:
    page.goto("/?query=rotor&limit=100")
    bars = page.get_by_role("group", name="Values of price", exact=True).get_by_role("button")
    label = bars.nth(2).get_attribute("aria-label") or ""
    bars.nth(2).click()
    condition = filters(page)["price"]
    low, high = condition[">="], condition.get("<", condition.get("<="))
    expected = [values for values in data().values() if low <= values["price"] < high]
    expect(page.locator(".hit")).to_have_count(len(expected))
    assert label.endswith(f": {len(expected)}")


def test_rows_are_browsed_without_words_and_page_by_page(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="Browse all rows").click()
    expect(page.locator("#summary")).to_contain_text(f"20 of {COUNT} rows")
    expect(page.locator(".hit")).to_have_count(20)
    for seen in (40, 60, COUNT):
        page.get_by_role("button", name="Show more").click()
        expect(page.locator(".hit")).to_have_count(seen)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    keys = [int(text[1:]) for text in page.locator(".hit .key").all_inner_texts()]
    assert keys == list(range(1, COUNT + 1))
    assert page.locator(".score").count() == 0
    page.reload()
    expect(page.locator(".hit")).to_have_count(20)
    page.locator("#limit").select_option("10")
    expect(page.locator(".hit")).to_have_count(10)


def test_filters_alone_browse(page: Page) -> None:
    page.goto('/?filters={"stock":3}')
    expected = [values for values in data().values() if values["stock"] == 3]
    expect(page.locator("#summary")).to_contain_text(f"{len(expected)} of {len(expected)} rows that match")
    expect(page.locator(".hit")).to_have_count(len(expected))


def test_more_hits_of_a_query_follow_the_first_and_no_row_comes_twice(page: Page) -> None:
    page.goto("/?query=rotor&limit=10")
    expect(page.locator(".hit")).to_have_count(10)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".hit")).to_have_count(20)
    expect(page.locator(".hit").nth(10)).to_be_focused()
    most = Counter(page.locator(".hit .key").all_inner_texts()).most_common(1)
    assert most[0][1] == 1
    expect(page.locator(".hit").nth(10).locator(".why")).to_be_visible()


def test_values_are_counted_once_for_several_queries(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/browse") else None)
    page.goto("/?query=rotor")
    for query in ("pads", "belt"):
        page.locator("#query").fill(query)
        page.keyboard.press("Enter")
        expect(page).to_have_title(f"{query} · rowvec")
        expect(page.locator(".hit").first).to_be_visible()
    assert len(asked) == 1


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, url: str, scheme: Any, width: int) -> None:
    with faultless(browser, url, color_scheme=scheme, viewport={"width": width, "height": 900}) as page:
        page.goto('/?browse=all&filters={"new":true}')
        expect(page.locator(".facet").first).to_be_visible()
        expect(page.locator(".hit").first).to_be_visible()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
