"""Values of the columns with their counts, histograms, browsing and further hits on the search page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from rowvec.pipeline import Card
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


def test_the_keyboard_stays_on_the_value_that_was_chosen(page: Page) -> None:
    page.goto("/?query=rotor")
    for column in ("new", "price"):
        value = page.get_by_role("group", name=f"Values of {column}", exact=True).get_by_role("button").first
        value.press("Enter")
        expect(page.locator("#chips")).to_contain_text(column)
        expect(value).to_be_focused()
    page.get_by_role("group", name="Values of added").get_by_role("button").last.press("Enter")
    expect(page.locator("#chips button")).to_have_count(3)


def test_more_values_than_are_listed_lead_to_the_field_of_the_column(browser: Browser) -> None:
    # A title has no facet.
    pipeline = replace(product_pipeline(data=data()), card=Card(title="stock"))
    with serving(application(pipeline)) as address, faultless(browser, address) as page:
        page.goto("/?query=rotor")
        page.get_by_role("button", name="1 more value").click()
        expect(page.get_by_label("name", exact=True)).to_be_focused()


def test_a_filter_that_is_not_applied_yet_is_not_said_to_be(page: Page) -> None:
    page.goto("/?query=rotor")
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("new", exact=True).select_option("yes")
    expect(page.locator("#chips")).to_be_hidden()
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#chips button")).to_have_text(["new yes×"])


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
    expect(page.locator("#summary")).to_contain_text(f"{COUNT} of {COUNT} rows")
    page.reload()
    expect(page.locator(".hit")).to_have_count(COUNT)
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
    expect(page.locator("#summary")).to_contain_text("20 hits")
    seen = page.locator(".hit .key").all_inner_texts()
    page.locator(".hit a").first.click()
    page.go_back()
    expect(page.locator(".hit .key")).to_have_text(seen)
    page.locator("#query").fill("brake")
    page.keyboard.press("Enter")
    expect(page).to_have_title("brake · rowvec")
    expect(page.locator(".hit")).to_have_count(10)


@pytest.mark.parametrize("pages", ["0", "two", "51", "1.5"])
def test_pages_that_cannot_be_are_said(page: Page, pages: str) -> None:
    page.goto(f"/?query=rotor&pages={pages}")
    expect(page.locator("#notice")).to_contain_text(f'asks for "{pages}" pages')
    expect(page.locator(".hit")).to_have_count(0)


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


def test_an_empty_value_is_named_where_it_is_chosen(browser: Browser) -> None:
    found = data()
    for key in range(1, 31):
        found[key]["name"] = " "
    pipeline = replace(product_pipeline(data=found), card=Card(title="stock"))
    with serving(application(pipeline)) as address, faultless(browser, address) as page:
        page.goto("/?query=rotor")
        names = page.get_by_role("group", name="Values of name", exact=True)
        names.get_by_role("button", name="(empty) 30").click()
        expect(page.locator("#summary")).to_contain_text("20 hits")
        expect(page.locator("#chips button")).to_have_text(["name is (empty)×"])
