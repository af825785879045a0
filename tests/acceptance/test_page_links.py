"""The search page does what its address says, or says what it cannot do: nothing of a link is dropped in silence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from rowvec.filters import bind, from_json, matches
from tests.integration.serve_rig import COLUMNS, KEY, application, product_pipeline, rows, serving

pytestmark = pytest.mark.slow

DATA = rows(60) | {90: {"name": "  ", "price": 1.0, "stock": 1, "new": True, "added": None}}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    other = {1: {"name": "an article", "price": 1.0, "stock": 1, "new": True, "added": None}}
    pipelines = product_pipeline(data=DATA), product_pipeline(name="articles", data=other)
    with serving(application(*pipelines)) as address:
        yield address


@contextmanager
def refused(browser: Browser, url: str) -> Iterator[Page]:
    """A page whose console may say that the server refused something."""
    with browser.new_context(base_url=url) as context:
        yield context.new_page()


def titles(page: Page) -> list[str]:
    return page.locator(".hit h2").all_inner_texts()


def link(filters: Any, **more: Any) -> str:
    text = filters if isinstance(filters, str) else json.dumps(filters)
    return f"/?query=brake&limit=100&filters={quote(text)}" + "".join(
        f"&{name}={value}" for name, value in more.items()
    )


@pytest.mark.parametrize(
    "filters",
    [
        {"price": {"<": 20}},
        {"price": 21},
        {"stock": {">=": 1.5}},
        {"stock": [1, 2]},
        {"name": "brake pads 7"},
        {"name": {"like": "brake%"}},
        {"name": {"contains": "brake", "!=": "brake pads 7"}},
        {"or": [{"stock": 4}, {"price": {">": 80}}]},
        {"not": {"new": True}},
        {"added": None},
        {"stock": {"between": [2, 3]}, "new": True},
    ],
)
def test_a_filter_of_a_link_filters_whether_it_can_be_drawn_or_not(page: Page, filters: dict[str, Any]) -> None:
    where = bind(from_json(filters), COLUMNS)
    expected = {values["name"].strip() or f"Row {key}" for key, values in DATA.items() if matches(where, values)}
    page.goto(link(filters))
    expect(page.locator(".hit")).to_have_count(len(expected))
    assert set(titles(page)) == expected
    expect(page.locator("#chips button")).to_have_count(len(filters))
    assert json.loads(parse_qs(urlsplit(page.url).query)["filters"][0]) == filters


def test_a_filter_as_text_is_taken_too(page: Page) -> None:
    page.goto(link("stock in (1, 2) and not new"))
    expect(page.locator("#chips")).to_contain_text("stock in (1, 2) and not new")
    expect(page.locator(".hit").first).to_be_visible()
    assert all(int(title.rsplit(" ", 1)[1]) % 10 in (1, 2) for title in titles(page))
    page.get_by_role("button", name="Filters").click()
    expect(page.get_by_label("price from")).to_be_disabled()
    page.get_by_role("button", name="Remove: stock in").click()
    expect(page.locator(".hit")).to_have_count(61)
    expect(page.get_by_label("price from")).to_be_enabled()


def test_a_filter_that_cannot_be_drawn_stays_beside_one_of_the_panel_and_can_be_taken_away(page: Page) -> None:
    page.goto(link({"stock": {"<": 5}}))
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("stock from").fill("3")
    page.keyboard.press("Enter")
    expect(page.locator(".hit")).to_have_count(sum(3 <= values["stock"] < 5 for values in DATA.values()))
    page.get_by_role("button", name="Remove: stock < 5").click()
    expect(page.locator(".hit")).to_have_count(sum(values["stock"] >= 3 for values in DATA.values()))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (link({"nosuch": 5}), "There is no metadata column 'nosuch'"),
        (link("price <"), "The filter cannot be read"),
        (link('{"price": {"<'), "The filter begins with a brace"),
        (link([1]), "The filter cannot be read"),
        ("/?pipeline=nope&query=brake", 'There is no pipeline "nope"'),
        ("/?query=brake&mode=fuzzy", 'no mode "fuzzy"'),
        ("/?query=brake&limit=5000", 'asks for "5000" hits'),
        ("/?query=brake&limit=two", 'asks for "two" hits'),
        ("/?like=999", "There is no row '999'"),
        ("/?query=brake&filter=x", "does not know: filter"),
    ],
)
def test_what_a_link_cannot_have_is_said(browser: Browser, url: str, address: str, said: str) -> None:
    with refused(browser, url) as page:
        page.goto(address)
        expect(page.locator("#notice")).to_contain_text(said)
        if "filter=x" not in address:
            expect(page.locator(".hit")).to_have_count(0)


def test_another_pipeline_can_be_chosen_where_a_link_names_none(page: Page) -> None:
    page.goto("/?pipeline=nope&query=article")
    expect(page.locator("#notice")).to_contain_text("There is: products, articles")
    page.get_by_label("Pipeline").select_option("articles")
    expect(page.locator("#notice")).to_be_hidden()


def test_a_link_that_is_wrong_leaves_nothing_of_the_search_before(browser: Browser, url: str) -> None:
    with refused(browser, url) as page:
        page.goto("/?query=brake&limit=10")
        expect(page.locator("#more")).to_be_visible()
        expect(page.locator(".facet").first).to_be_visible()
        page.evaluate(
            "history.pushState(null, '', '?query=brake&limit=two'); dispatchEvent(new PopStateEvent('popstate'))"
        )
        expect(page.locator("#notice")).to_contain_text('asks for "two" hits')
        for rest in ("#more", "#facets", ".hit"):
            expect(page.locator(rest).first).to_be_hidden()


@pytest.mark.parametrize("name", ["query", "q"])
def test_a_query_has_the_name_of_the_api_or_a_short_one(page: Page, name: str) -> None:
    page.goto(f"/?{name}=brake&limit=7")
    expect(page.locator(".hit")).to_have_count(7)
    expect(page.locator("#query")).to_have_value("brake")
    page.locator("#query").fill("brake pads")
    page.locator("#query").press("Enter")
    expect(page).to_have_url(re.compile(r"[?&]query=brake\+pads"))


@pytest.mark.parametrize("limit", [7, 33])
def test_any_number_of_hits_can_be_asked_for(page: Page, limit: int) -> None:
    page.goto(f"/?q=brake&limit={limit}")
    expect(page.locator(".hit")).to_have_count(limit)
    expect(page.locator("#limit")).to_have_value(str(limit))


def test_a_wrong_value_in_the_closed_panel_is_said(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("stock from").fill("1.5")
    page.get_by_role("button", name="Filters").click()
    page.locator("#query").fill("brake")
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_contain_text('The filter "stock from" has a value that cannot be')
    expect(page.get_by_label("stock from")).to_be_focused()
    page.get_by_label("stock from").fill("2")
    page.keyboard.press("Enter")
    expect(page.locator(".hit").first).to_be_visible()
    expect(page.locator("#notice")).to_be_hidden()


def test_similar_rows_keep_the_filter(page: Page) -> None:
    page.goto("/?query=disc+rotor+8&filters=" + quote('{"stock":{">=":7}}'))
    page.get_by_role("link", name="Similar rows").first.click()
    expect(page.locator("#summary")).to_contain_text("Rows similar to")
    expect(page.locator("#chips button")).to_have_count(2)
    assert all(int(title.rsplit(" ", 1)[1]) % 10 >= 7 for title in titles(page))
    page.locator("#limit").select_option("10")
    expect(page.locator(".hit")).to_have_count(10)
    expect(page.locator("#summary")).to_contain_text("Rows similar to")


def test_the_title_of_a_link_cannot_put_words_into_the_page(page: Page) -> None:
    page.goto("/?like=8&title=Your+account+was+closed")
    expect(page.locator("#summary")).to_contain_text("Rows similar to disc rotor 8")
    assert "account" not in page.locator("body").inner_text() + page.title()


def test_the_tab_is_named_after_the_search_and_one_search_is_one_entry_of_the_history(page: Page) -> None:
    page.goto("/")
    expect(page).to_have_title("Search · rowvec")
    page.locator("#query").fill("brake pads")
    for _ in range(3):
        page.keyboard.press("Enter")
        expect(page.locator(".hit").first).to_be_visible()
    expect(page).to_have_title("brake pads · rowvec")
    page.go_back()
    expect(page).to_have_title("Search · rowvec")
    expect(page.locator("#query")).to_have_value("")


def test_hits_appear_while_one_types(page: Page) -> None:
    page.goto("/")
    expect(page.locator(".modes input").first).to_be_attached()
    page.locator("#query").press_sequentially("disc rotor 8", delay=30)
    expect(page.locator(".hit h2").first).to_have_text("disc rotor 8")
    page.go_back()
    expect(page.locator("#query")).to_have_value("")


@pytest.mark.parametrize("address", ["/", "/?query=belt", "/?like=3", "/?browse=all"])
def test_what_is_typed_while_the_server_is_slow_stays(page: Page, address: str) -> None:
    held: list[Route] = []
    page.route("**/pipelines", lambda route: held.append(route))
    page.goto(address)
    page.locator("#query").fill("disc rotor 8")
    page.keyboard.press("Enter")
    page.wait_for_timeout(50)
    held[0].continue_()
    expect(page.locator(".hit h2").first).to_have_text("disc rotor 8")
    expect(page.locator("#query")).to_have_value("disc rotor 8")
    assert parse_qs(urlsplit(page.url).query)["query"] == ["disc rotor 8"]


def test_what_is_typed_before_the_script_is_there_stays(page: Page) -> None:
    held: list[Route] = []
    page.route("**/search.js*", lambda route: held.append(route))
    page.goto("/?query=belt", wait_until="commit")
    page.locator("#query").fill("disc rotor 8")
    held[0].continue_()
    expect(page.locator(".hit h2").first).to_have_text("disc rotor 8")
    expect(page.locator("#query")).to_have_value("disc rotor 8")


def test_the_mode_stays_when_the_pipeline_changes(page: Page) -> None:
    page.goto("/?query=article&mode=keyword")
    expect(page.locator("#summary")).to_contain_text("Nothing found")
    page.get_by_label("Pipeline").select_option("articles")
    expect(page.locator(".hit h2")).to_have_text(["an article"])
    assert parse_qs(urlsplit(page.url).query)["mode"] == ["keyword"]


def test_a_link_keeps_the_pipeline_in_another_tab_too(page: Page) -> None:
    page.goto("/?pipeline=articles&query=article")
    expect(page.locator(".hit")).to_have_count(1)
    for name in ("Status", "rowvec"):
        with page.context.expect_page() as opened:
            page.locator(".bar").get_by_role("link", name=name, exact=True).click(button="middle")
        opened.value.wait_for_url("**pipeline=articles*")


def test_a_slash_goes_to_the_query_from_a_mode_too(page: Page) -> None:
    page.goto("/?query=brake")
    page.locator(".modes input").first.focus()
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()


def test_a_blank_title_is_not_an_empty_heading(page: Page) -> None:
    page.goto("/?like=8&limit=100")
    expect(page.locator(".hit h2", has_text=re.compile(r"^Row 90$"))).to_have_count(1)


def test_similar_rows_can_be_reached_by_tab_and_are_named_as_they_look(page: Page) -> None:
    page.goto("/?query=disc+rotor+8")
    expect(page.get_by_role("link", name="Similar rows: disc rotor 8", exact=True)).to_be_visible()
    page.locator(".hit").first.focus()
    for _ in range(5):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "similar":
            return
    pytest.fail("Tab does not reach it")


def test_a_slow_search_says_so(page: Page) -> None:
    page.goto("/?query=brake")
    expect(page.locator("#summary")).to_contain_text("20 hits")
    held: list[Route] = []
    page.route("**/search/hybrid", lambda route: held.append(route))
    page.locator("#query").fill("disc rotor 8")
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_have_text("Searching …")
    expect(page.locator("#hits")).to_have_attribute("aria-busy", "true")
    held[-1].continue_()
    expect(page.locator("#summary")).to_contain_text("20 hits")
    assert page.locator("#hits").get_attribute("aria-busy") is None


def test_closing_the_dialog_of_the_key_asks_no_further(browser: Browser) -> None:
    with serving(application(product_pipeline(), api_keys=(KEY,))) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        expect(page.locator("#notice")).to_contain_text("Nothing is shown without the API key")


@pytest.mark.parametrize("path", ["/static/search.js", "/static/style.css"])
def test_scripts_are_asked_for_again_and_packed(page: Page, path: str) -> None:
    headers = page.request.get(path).headers
    assert (headers["cache-control"], headers["content-encoding"]) == ("no-cache", "gzip")
    again = page.request.get(path, headers={"If-None-Match": headers["etag"]})
    assert again.status == 304


def test_long_replies_are_packed_and_short_ones_are_not(page: Page) -> None:
    replies = [
        page.request.get(f"/pipelines/products/search?query=brake&limit={limit}&explain=true") for limit in (60, 1)
    ]
    assert [reply.headers.get("content-encoding") for reply in replies] == ["gzip", None]


@pytest.mark.parametrize(
    ("pipeline", "said"), [("never", "has no vectors yet"), ("empty", "empty has no rows yet. rowvec sync embeds")]
)
def test_a_pipeline_without_rows_says_so(browser: Browser, pipeline: str, said: str) -> None:
    never, empty = product_pipeline(name="never", synced=False), product_pipeline(name="empty", data={})
    with serving(application(never, empty)) as address, refused(browser, address) as page:
        page.goto(f"/?pipeline={pipeline}&query=brake")
        place = page.locator("#notice" if pipeline == "never" else "#summary")
        expect(place).to_contain_text(said)
        page.goto(f"/ui/compare?pipeline={pipeline}&query=brake")
        expect(place).to_contain_text(said)
