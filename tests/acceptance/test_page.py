"""The page in a real browser: searching, filters, keyboard, key, phone, dark, and no request to anywhere else."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from rowvec.errors import StoreUnavailable
from rowvec.serve.context import Context
from rowvec.stores.base import TableSpec
from rowvec.stores.partitioned import PartitionedStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemoryStore
from tests.acceptance.browser_rig import CONTRASTS, faultless
from tests.integration.serve_rig import KEY, application, product_pipeline, rows, serving

pytestmark = pytest.mark.slow

BIG = 2**53 + 1


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    embedder = HashEmbedder(16)
    embedder.refused = {"spark plug 3"}
    other = {"price": 1.0, "stock": 1, "new": True, "added": None}
    data = rows(60) | {BIG: {"name": "far away", **other, "stock": BIG}, 0: {"name": "the first row", **other}}
    with serving(application(product_pipeline(data=data, embedder=embedder))) as address:
        yield address


def search(page: Page, query: str) -> None:
    page.goto("/")
    expect(page.locator(".modes input").first).to_be_attached()
    page.locator("#query").fill(query)
    page.keyboard.press("Enter")
    expect(page.locator(".hit").first).to_be_visible()


def titles(page: Page) -> list[str]:
    return page.locator(".hit h2").all_inner_texts()


def test_a_search_shows_hits_with_metadata_and_the_parts_of_their_score(page: Page) -> None:
    search(page, "disc rotor 8")
    first = page.locator(".hit").first
    expect(first.locator("h2")).to_have_text("disc rotor 8")
    expect(first.locator("dl")).to_contain_text("price")
    expect(first.locator(".why summary")).to_contain_text("meaning 1st, words 1st")
    expect(page.locator("#summary")).to_contain_text("20 hits")


def test_text_of_rows_is_never_markup(page: Page) -> None:
    search(page, "<b>clutch</b> & kit 6")
    assert titles(page)[0] == "<b>clutch</b> & kit 6"
    assert page.locator(".hit b").count() == 0


def test_lists_of_objects_are_shown_as_what_they_hold(page: Page) -> None:
    page.goto("/")
    value = [1, "two", None, {"three": 3}, [4]]
    assert page.evaluate("async (value) => (await import('/static/hits.js')).shown(value)", value) == (
        '1, two, , {"three":3}, [4]'
    )


def test_the_mode_can_be_switched(page: Page) -> None:
    search(page, "oil filter 9")
    page.get_by_text("Words", exact=True).click()
    expect(page.locator(".hit .why summary").first).to_have_text("words 1st")
    assert all("oil filter" in title or title.endswith(" 9") for title in titles(page))
    page.get_by_text("Meaning", exact=True).click()
    expect(page.locator(".hit .why summary").first).to_have_text("meaning 1st")


def test_filters_are_built_from_the_metadata_columns(page: Page) -> None:
    search(page, "brake pads")
    page.get_by_role("button", name="Filters").click()
    fields = page.locator("#filter-fields legend")
    expect(fields).to_contain_text(["name", "price", "stock", "new", "added"])
    page.get_by_label("price to").fill("30")
    page.get_by_label("stock from").fill("3")
    page.get_by_label("new", exact=True).select_option("yes")
    page.get_by_label("added from").fill("2024-01-05T00:00")
    page.get_by_label("name", exact=True).fill("ROTOR")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#filter-count")).to_have_text("5")
    allowed = {
        values["name"]
        for values in rows(60).values()
        if values["price"] <= 30 and values["stock"] >= 3 and values["new"] and "rotor" in values["name"]
        and values["added"].isoformat() >= "2024-01-05"
    }  # fmt: skip
    assert allowed
    expect(page.locator(".hit")).to_have_count(len(allowed))
    assert set(titles(page)) == allowed
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".hit")).to_have_count(20)


def test_nothing_found_is_said_and_explained(page: Page) -> None:
    search(page, "brake pads")
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("price from").fill("100000")
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_contain_text("Nothing found. Loosen a filter")


def test_a_corrected_search_says_so_and_links_to_the_search_as_written(browser: Browser) -> None:
    spelled = product_pipeline()
    spelled = replace(spelled, spec=replace(spelled.spec, keeps_words=True), typos=True)
    sync(spelled)
    with serving(application(spelled)) as address, faultless(browser, address) as page:
        search(page, "<braek> pads")
        expect(page.locator("#summary .corrected strong")).to_have_text("<brake> pads")
        assert titles(page)[0].startswith("brake pads")
        page.locator("#summary .corrected a").click()
        expect(page.locator("#summary .corrected")).to_have_count(0)
        assert "typos=no" in page.url
        expect(page.locator("#query")).to_have_value("<braek> pads")
        expect(page.locator("#summary")).to_contain_text(re.compile("hits|Nothing found"))
        expect(page.locator("#notice")).to_be_hidden()
        page.get_by_text("Words", exact=True).click()
        page.wait_for_url(re.compile("mode=keyword"))
        assert "typos=no" in page.url, "the query is the same"
        page.go_back()
        page.go_back()
        expect(page.locator("#summary .corrected strong")).to_have_text("<brake> pads")


def test_an_answer_without_a_part_of_the_store_says_so(browser: Browser) -> None:
    tables = [MemoryStore() for _ in range(3)]
    filled = product_pipeline(PartitionedStore(lambda number: MemoryStore(share=tables[number]), 3))

    class Away(MemoryStore):
        def generation(self, spec: TableSpec) -> Any:
            raise StoreUnavailable("no answer from host-2")

    def part(number: int) -> MemoryStore:
        return (Away if number == 1 else MemoryStore)(share=tables[number])

    left = replace(filled, store=PartitionedStore(part, 3), partial=True)
    with serving(application(left)) as address, faultless(browser, address) as page:
        search(page, "brake pads")
        said = "Part 2 of the store does not answer: the rows there are missing."
        expect(page.locator("#summary .missing")).to_have_text(re.compile(said))
        expect(page.locator("#summary")).to_contain_text("hits")
        page.goto("/ui/compare?query=brake+pads")
        expect(page.locator("#summary .missing")).to_have_text(re.compile(said))


def test_the_keyboard_is_enough(page: Page) -> None:
    search(page, "disc rotor 8")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".hit").nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.locator(".hit").nth(0)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_contain_text("Rows similar to disc rotor 8")
    assert "disc rotor 8" not in titles(page)
    page.keyboard.press("Tab")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    expect(page.locator("#query")).to_have_value("")


def test_similar_rows_are_a_link_and_the_back_button_returns(page: Page) -> None:
    search(page, "disc rotor 8")
    before = titles(page)
    page.locator(".similar").nth(1).click()
    expect(page.locator("#summary")).to_contain_text(f"Rows similar to {before[1]}")
    page.go_back()
    expect(page.locator(".hit h2")).to_have_text(before)


def test_the_row_with_the_key_0_has_a_link_to_its_similar_rows(page: Page) -> None:
    search(page, "the first row")
    link = page.locator(".similar").first.get_attribute("href")
    page.goto(f"/{link}")
    expect(page.locator("#summary")).to_contain_text("Rows similar to the first row")


def test_the_back_button_returns_to_the_pipeline_of_the_address(browser: Browser) -> None:
    other = {1: {"name": "an article", "price": 1.0, "stock": 1, "new": True, "added": None}}
    two = product_pipeline(name="products"), product_pipeline(name="articles", data=other)
    with serving(application(*two)) as address, faultless(browser, address) as page:
        search(page, "disc rotor 8")
        page.get_by_label("Pipeline").select_option("articles")
        expect(page.locator(".hit h2")).to_have_text(["an article"])
        page.go_back()
        expect(page.locator(".hit h2").first).to_have_text("disc rotor 8")
        expect(page.get_by_label("Pipeline")).to_have_value("products")


def test_a_search_is_in_the_address(page: Page) -> None:
    search(page, "disc rotor 8")
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("stock to").fill("8")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("filters="))
    expect(page.locator("#filter-count")).to_have_text("1")
    page.wait_for_load_state("networkidle")
    address, before = page.url, titles(page)
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator(".hit h2")).to_have_text(before)
    expect(page.locator("#filter-count")).to_have_text("1")


def test_keys_beyond_the_integers_of_javascript_are_not_changed(page: Page) -> None:
    search(page, "far away")
    expect(page.locator(".hit").first.locator(".key")).to_have_text(f"#{BIG}")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_contain_text("Rows similar to far away")
    expect(page.locator("#notice")).to_be_hidden()


def test_filters_beyond_them_are_not_changed_either(page: Page) -> None:
    search(page, "far away")
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("stock from").fill(str(BIG))
    page.keyboard.press("Enter")
    expect(page.locator(".hit h2")).to_have_text(["far away"])
    page.get_by_label("stock from").fill(str(BIG + 1))
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_contain_text("Nothing found")
    page.go_back()
    expect(page.locator(".hit h2")).to_have_text(["far away"])
    expect(page.get_by_label("stock from")).to_have_value(str(BIG))


def test_the_status_page_draws_coverage_runs_and_failures(page: Page) -> None:
    page.goto("/ui/status")
    expect(page.locator("svg.ring").first).to_have_attribute("aria-label", re.compile(r"^Coverage 98\.3 %"))
    expect(page.locator("svg.runs rect.new")).to_have_count(1)
    expect(page.locator("svg.runs rect.failed")).to_have_count(1)
    expect(page.get_by_role("region", name="Table of failures")).to_contain_text("refuses a text")


def test_the_documentation_needs_no_other_server(page: Page) -> None:
    page.goto("/docs")
    page.get_by_text("/search/semantic", exact=True).click()
    expect(page.locator("details[open]")).to_contain_text("at most 10,000 characters")


def test_a_server_that_went_away_is_said(browser: Browser) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        with serving(application(product_pipeline())) as address:
            page.goto(address)
            expect(page.locator(".modes input").first).to_be_attached()
        page.locator("#query").fill("x")
        page.keyboard.press("Enter")
        expect(page.locator("#notice")).to_contain_text("The server does not answer.")


def test_a_search_that_fails_leaves_the_hits_before_it_below_the_error(browser: Browser) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        pipeline = product_pipeline()
        with serving(application(pipeline)) as address:
            page.goto(f"{address}/?query=brake+pads")
            expect(page.locator(".hit").first).to_be_visible()
            found = titles(page)
            page.route("**/search/hybrid", lambda route: route.abort())
            page.locator("#query").fill("disc rotor")
            page.keyboard.press("Enter")
            expect(page.locator("#notice")).to_be_visible()
            expect(page.locator("#summary")).to_have_text("Below is what the search before found.")
            assert titles(page) == found
            assert page.locator(".hits.former").count() == 1
            page.unroute("**/search/hybrid")
            page.keyboard.press("Enter")
            expect(page.locator("#summary")).to_contain_text("20 hits")
            assert page.locator(".hits.former").count() == 0
            expect(page.locator("#notice")).to_be_hidden()


def test_a_filter_on_the_text_null_says_how_missing_values_are_asked_for(page: Page) -> None:
    page.goto('/?query=brake+pads&filters={"name":"null"}')
    expect(page.locator("#summary")).to_contain_text("For rows without a value, write name is null")


def test_a_long_key_takes_two_lines_of_a_hit(browser: Browser) -> None:
    long = "k" * 2000
    data = {long: rows(1)[next(iter(rows(1)))]}
    with serving(application(product_pipeline(data=data))) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}/?query=brake+pads")
        shown = page.locator(".hit .key")
        expect(shown).to_have_attribute("title", long)
        assert shown.evaluate("each => each.clientHeight < 3 * parseFloat(getComputedStyle(each).lineHeight || 20)")


def test_the_key_is_asked_for_and_kept_for_the_tab(browser: Browser) -> None:
    with serving(application(product_pipeline(), api_keys=(KEY,))) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        dialog = page.get_by_role("dialog")
        # A header cannot hold the first one; the last comes with a blank, as copied ones do.
        for key in ("wrong…", "wrong", f"{KEY} "):
            expect(dialog).to_be_visible()
            dialog.get_by_label("API key").fill(key)
            page.keyboard.press("Enter")
            expect(page.locator("#notice")).to_be_hidden()
        expect(page.locator(".modes input").first).to_be_attached()
        expect(dialog).to_be_hidden()
        page.goto(f"{address}/ui/status")
        expect(page.locator(".cards")).to_be_visible()
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/?query=disc+rotor+8", "/ui/status", "/docs"])
def test_text_is_readable_in_both_themes(browser: Browser, url: str, path: str, scheme: Any) -> None:
    with browser.new_context(base_url=url, color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(path)
        expect(page.locator(".hit, .card, .operation").first).to_be_visible()
        # WCAG 2.2, success criterion 1.4.3: 4.5 to 1 for text.
        assert [found for found in page.evaluate(CONTRASTS) if found["ratio"] < 4.5] == []


@pytest.mark.parametrize("path", ["/?query=disc+rotor+8", "/ui/status", "/docs"])
def test_a_phone_needs_no_sideways_scrolling(browser: Browser, url: str, path: str) -> None:
    with browser.new_context(base_url=url, viewport={"width": 360, "height": 740}) as context:
        page = context.new_page()
        page.goto(path)
        expect(page.locator(".hit, .card, .operation").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_addresses_work_below_a_path_of_a_proxy(page: Page, url: str) -> None:
    for path in ("/", "/ui/status", "/docs"):
        page.goto(path)
        links = page.eval_on_selector_all(
            "[href], [src]", "all => all.map(e => e.getAttribute('href') || e.getAttribute('src'))"
        )
        assert [link for link in links if link.startswith("/") or urlsplit(link).netloc] == []


def test_a_page_of_another_site_makes_no_request_that_costs(browser: Browser, tmp_path: Path) -> None:
    app = application(product_pipeline(count=5))
    context: Context = app.state.context
    with serving(app) as url, files_of(tmp_path) as evil, browser.new_context() as visitor:
        pictures = "".join(f'<img src="{url}/search?query=stolen+{number}">' for number in range(5))
        (tmp_path / "index.html").write_text(f'{pictures}<iframe src="{url}/?query=framed"></iframe>')
        before = context.services["products"].embedder.misses
        visitor.new_page().goto(evil, wait_until="load")
        refused = re.search(rb'route="other",status="403"} (\S+)', context.metrics.exposition())
        assert refused is not None
        assert float(refused[1]) == 5
        assert context.services["products"].embedder.misses == before


@contextmanager
def files_of(folder: Path) -> Iterator[str]:
    """Another site: the same machine under another name."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
