"""The pages about the state of pipelines in a real browser: what they say, live work, and that nothing flickers."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from rowvec.auditing.quality import quality
from rowvec.pipeline import Pipeline
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource, MemoryStore
from tests.acceptance.axe import violations
from tests.acceptance.browser_rig import CONTRASTS, faultless
from tests.integration.serve_rig import KEY, application, product_pipeline, rows, serving

pytestmark = pytest.mark.slow

PANELS = ("/ui/", "/ui/status", "/ui/runs", "/ui/eval", "/ui/quality")


def source_of(pipeline: Pipeline) -> MemorySource:
    assert isinstance(pipeline.source, MemorySource)
    return pipeline.source


def troubled() -> Pipeline:
    """Products of which some failed, some have one text, and one came after the last sync."""
    embedder = HashEmbedder(16, price=2000.0)
    embedder.refused = {f"spark plug {number}" for number in (3, 10, 17)}
    data = rows(60)
    data[41]["name"] = data[42]["name"] = data[43]["name"] = "the same"
    pipeline = product_pipeline(data=data, embedder=embedder)
    source_of(pipeline).rows[99] = {**source_of(pipeline).rows[1], "id": 99}
    return pipeline


def evaluated(pipeline: Pipeline) -> Pipeline:
    for value in (0.61, 0.66):
        worst = [{"id": "q1", "query": "brake pads", "value": 0.1}]
        mode = {"means": {"nDCG@10": value}, "judged": 0.5, "worst": worst}
        pipeline.store.save_evaluation({"model": "hash", "version": "1", "queries": 30, "modes": {"hybrid": mode}})
    return pipeline


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(application(evaluated(troubled()), product_pipeline(name="never", synced=False))) as address:
        yield address


@contextmanager
def syncing(pipeline: Pipeline) -> Iterator[threading.Event]:
    """A sync at work in another thread, as another process would be; asked to stop at the end."""
    stop = threading.Event()
    thread = threading.Thread(target=sync, args=(pipeline,), kwargs={"stop": stop})
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A sync of it takes minutes, and says every moment how far it is."""
    monkeypatch.setattr("rowvec.syncing.recorder.FIRST_RECORD_SECONDS", 0.0)
    monkeypatch.setattr("rowvec.syncing.recorder.RECORD_SECONDS", 0.1)
    embedder = HashEmbedder(16, seconds=0.4, chunk_texts=10, price=1000.0)
    return product_pipeline(data=rows(6000), embedder=embedder, synced=False)


def test_the_overview_has_one_verdict_for_each_pipeline(page: Page) -> None:
    page.goto("/ui/")
    cards = page.locator(".pipelines > li")
    expect(cards).to_have_count(2)
    first = cards.nth(0)
    expect(first.locator("h2")).to_have_text("products")
    expect(first.locator(".verdict")).to_have_class(re.compile("warn"))
    expect(first.locator(".verdict")).to_contain_text("behind by at least 1 row changed since the last sync")
    expect(first.locator(".why")).to_contain_text("3 rows failed: The hash embedder refuses a text")
    expect(first.locator("svg.spark rect")).to_have_count(1)
    expect(cards.nth(1).locator(".verdict")).to_have_text("never synced")
    page.get_by_role("link", name="products").click()
    expect(page).to_have_url(re.compile(r"/ui/status\?pipeline=products"))
    expect(page.locator("h1")).to_have_text("products")


def test_it_never_says_in_step_without_as_of(page: Page) -> None:
    for path in ("/ui/", "/ui/status?pipeline=products", "/ui/status?pipeline=never"):
        page.goto(path)
        expect(page.locator(".verdict").first).to_be_visible()
        text = page.locator("main").inner_text()
        for said in re.finditer("in step|have a current vector", text):
            assert re.search("as of the last sync|so far", text[said.start() : said.start() + 60])


def test_a_pipeline_that_was_never_synced_claims_nothing(page: Page) -> None:
    page.goto("/ui/status?pipeline=never")
    expect(page.locator(".verdict")).to_have_text("never synced")
    cards = page.locator(".cards")
    expect(cards).to_contain_text("never synced")
    for claim in ("every row could be embedded", "nothing is missed", "0.0 s", "100 %"):
        expect(cards).not_to_contain_text(claim)


def test_money_is_on_the_page_and_a_click_on_a_run_opens_its_reasons(page: Page) -> None:
    page.goto("/ui/status?pipeline=products")
    expect(page.locator(".cards")).to_contain_text("$")
    page.goto("/ui/runs?pipeline=products")
    page.locator("svg.runs a").first.click()
    expect(page.locator("details#run-1")).to_have_attribute("open", "")
    expect(page.locator("details#run-1")).to_contain_text("new row")
    address = page.url
    assert address.endswith("#run-1")
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator("details#run-1")).to_have_attribute("open", "")


def test_evaluations_show_what_became_better_and_the_worst_queries_first(page: Page) -> None:
    page.goto("/ui/eval?pipeline=products")
    expect(page.get_by_role("region", name="Results of hash")).to_contain_text("0.660 +0.050")
    link = page.get_by_role("link", name="brake pads")
    link.click()
    expect(page.locator(".hit").first).to_be_visible()


def test_the_page_about_the_data_names_the_rows(page: Page) -> None:
    page.goto("/ui/quality?pipeline=products")
    expect(page.get_by_role("region", name="Rows with the same text")).to_contain_text("41, 42, 43")
    expect(page.get_by_role("region", name="Rows that failed")).to_contain_text("refuses a text")


def test_near_duplicates_and_odd_rows_are_looked_for_when_asked(browser: Browser) -> None:
    pipeline = troubled()
    with serving(application(pipeline)) as address, faultless(browser, address) as page:
        page.goto("/ui/quality")
        expect(page.locator("main")).to_contain_text("Compares 57 rows with the nearest")
        page.get_by_role("button", name="Look for them, and for odd rows").click()
        expect(page.get_by_role("button", name="Look again")).to_be_visible()
        found = quality(pipeline).neighbours
        card = page.locator('[data-key="near"]')
        expect(card.locator(".big")).to_have_text(f"{found.near_found} pairs" if found.near_found else "none")
        expect(card.locator("tbody tr")).to_have_count(len(found.near))
        expect(page.locator('[data-key="odd"] tbody tr')).to_have_count(len(found.odd))
        page.reload()
        expect(page.get_by_role("button", name="Look again")).to_be_visible()
        assert violations(page) == []


def test_the_forecast_says_what_it_is_based_on(page: Page) -> None:
    page.goto("/ui/runs?pipeline=products")
    expect(page.locator('[data-key="forecast"]')).to_contain_text("No forecast yet: ")
    expect(page.locator('[data-key="forecast"]')).to_contain_text("a day is the least")


def test_a_sync_at_work_is_followed_and_can_be_stopped(browser: Browser, slow: Pipeline) -> None:
    with serving(application(slow)) as url, syncing(slow) as _, faultless(browser, url) as page:
        page.goto("/ui/status")
        work = page.locator(".work")
        expect(work).to_contain_text("embedding")
        expect(work).to_contain_text("of 6,000 rows")
        expect(work).to_contain_text(re.compile(r"about .* left"))
        expect(work).to_contain_text("the lock is held by")
        expect(page.locator(".verdict")).to_contain_text("syncing")
        before = work.locator("p").nth(1).inner_text()
        # By the events alone: the whole page is looked at every ten seconds.
        expect(work.locator("p").nth(1)).not_to_have_text(before, timeout=6000)
        page.get_by_role("button", name="Stop").press("Enter")
        expect(work).to_have_count(0, timeout=15_000)
        # Where the button was, the keyboard goes on.
        expect(page.locator(".work-place")).to_be_focused()
        expect(page.locator(".outcome").first).to_have_text("interrupted")


def test_focus_selection_and_place_outlive_every_refresh(browser: Browser, slow: Pipeline) -> None:
    with serving(application(slow)) as url, syncing(slow) as _, faultless(browser, url) as page:
        page.goto("/ui/status")
        expect(page.locator(".work")).to_be_visible()
        page.get_by_role("region", name="Table of runs").focus()
        page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
        page.evaluate("document.querySelector('.cards').marked = true")
        shown = page.locator(".cards").inner_text()
        page.wait_for_timeout(1000)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(page.locator(".cards")).not_to_have_text(shown, timeout=15_000)
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Table of runs"
        assert page.evaluate("getSelection().toString()") == "products"
        assert page.evaluate("document.querySelector('.cards').marked"), "the nodes are the same ones"


def test_a_new_generation_has_its_own_bar(browser: Browser) -> None:
    store = MemoryStore()
    product_pipeline(store)
    other = product_pipeline(MemoryStore(share=store), embedder=HashEmbedder(16, model="another"), synced=False)
    handle = other.store.prepare(other.spec)
    assert handle is not None
    with serving(application(other)) as url, faultless(browser, url) as page:
        page.goto("/ui/status")
        bar = page.get_by_role("img", name="New generation: 0 %")
        expect(bar).to_be_visible()
        expect(page.locator(".cards")).to_contain_text("0 of 60 rows, 0 %, have a vector of another")
        expect(page.locator(".verdict")).to_contain_text("the model of the config has changed")


def test_failed_rows_can_be_made_due(browser: Browser) -> None:
    pipeline = troubled()
    with serving(application(pipeline)) as url, faultless(browser, url) as page:
        page.goto("/ui/status")
        before = pipeline.store.generation(pipeline.spec).failures()
        again = page.locator("[data-post$=retry]")
        again.press("Enter")
        expect(again).to_have_text(re.compile("They are due now"))
        expect(again).to_be_focused()
        after = pipeline.store.generation(pipeline.spec).failures()
        assert [(each.key, each.attempts) for each in after] == [(each.key, each.attempts) for each in before]
        assert max(each.next_try for each in after) < min(each.next_try for each in before)
        # It can be pressed again without a reload.
        expect(again).to_have_text("Try again")
        expect(again).to_be_enabled()


def test_when_the_server_goes_away_the_figures_say_of_when_they_are_and_it_comes_back(browser: Browser) -> None:
    pipeline = product_pipeline()
    with browser.new_context() as context:
        page = context.new_page()
        with serving(application(pipeline)) as address:
            page.goto(f"{address}/ui/status")
            expect(page.locator(".cards")).to_be_visible()
        expect(page.locator("#notice")).to_contain_text("The server does not answer.", timeout=15_000)
        expect(page.locator("#aged")).to_contain_text("These figures are as of")
        expect(page.locator(".cards")).to_be_visible()


def test_buttons_are_behind_the_key(browser: Browser) -> None:
    with serving(application(troubled(), api_keys=(KEY,))) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}/ui/status")
        page.get_by_role("dialog").get_by_label("API key").fill(KEY)
        page.keyboard.press("Enter")
        expect(page.locator(".cards")).to_be_visible()
        answer = context.request.post(f"{address}/failures/retry")
        assert answer.status == 401
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("button", name="They are due now")).to_be_visible()


@pytest.mark.parametrize(
    ("typed", "shown"), [("/ui", "/ui/"), ("/ui/status/", "/ui/status"), ("/ui/runs/", "/ui/runs")]
)
def test_an_address_with_a_slash_more_or_less_leads_to_the_page(page: Page, url: str, typed: str, shown: str) -> None:
    page.goto(typed)
    expect(page).to_have_url(re.compile(re.escape(url + shown) + r"(\?.*)?$"))
    expect(page.locator("main h1")).to_be_visible()


@pytest.mark.parametrize("keys", [(), (KEY,)])
def test_a_mistyped_address_gives_a_person_a_page_and_a_program_json(browser: Browser, keys: tuple[str, ...]) -> None:
    with serving(application(product_pipeline(), api_keys=keys)) as url, browser.new_context() as context:
        page = context.new_page()
        answer = page.goto(f"{url}/ui/stauts/deep")
        assert answer is not None
        assert answer.status == (401 if keys else 404)
        expect(page.locator("h1")).to_have_text("There is nothing at this address")
        page.get_by_role("link", name="Status").last.click()
        expect(page).to_have_url(f"{url}/ui/status")
        for accept in ("*/*", "application/json"):
            answered = context.request.get(f"{url}/ui/stauts/deep", headers={"Accept": accept})
            assert answered.json()["error"]["message"]


def test_a_link_to_an_entry_of_the_api_opens_it(page: Page) -> None:
    page.goto("/docs#post-search-hybrid")
    expect(page.locator("details#post-search-hybrid")).to_have_attribute("open", "")
    page.locator("#get-status > summary").click()
    expect(page).to_have_url(re.compile("#get-status$"))
    page.reload()
    expect(page.locator("details#get-status")).to_have_attribute("open", "")


def test_examples_name_a_pipeline_where_there_are_several_and_the_key_where_there_is_one(browser: Browser) -> None:
    two = product_pipeline(), product_pipeline(name="articles")
    with serving(application(*two, api_keys=(KEY,))) as url, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{url}/docs#post-search-hybrid")
        shown = page.locator("#post-search-hybrid pre").first.inner_text()
        assert shown.startswith('curl -s -H "Authorization: Bearer $KEY" "$URL/pipelines/$PIPELINE/search/hybrid"')


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PANELS)
def test_text_is_readable_in_both_themes(browser: Browser, url: str, path: str, scheme: Any) -> None:
    with browser.new_context(base_url=url, color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(path)
        expect(page.locator("#live")).to_have_attribute("aria-busy", "false")
        # WCAG 2.2, success criterion 1.4.3: 4.5 to 1 for text.
        assert [found for found in page.evaluate(CONTRASTS) if found["ratio"] < 4.5] == []


def looked(page: Page) -> None:
    """The figures are there, where a page has some."""
    expect(page.locator("h1").first).to_be_visible()
    expect(page.locator("#live[aria-busy=true]")).to_have_count(0)


def test_another_pipeline_can_be_chosen_where_the_address_names_none(browser: Browser, url: str) -> None:
    with browser.new_context(base_url=url) as context:
        page = context.new_page()
        page.goto("/ui/status?pipeline=nosuch")
        expect(page.locator("#notice")).to_contain_text('There is no pipeline "nosuch"')
        expect(page.locator("main")).not_to_contain_text("Looking")
        page.locator("#pipeline option").first.evaluate("option => { option.marked = true; }")
        page.wait_for_timeout(3500)
        assert page.locator("#pipeline option").first.evaluate("option => option.marked"), "not made again meanwhile"
        page.locator("#pipeline").select_option("products")
        expect(page.locator("h1")).to_have_text("products")
        expect(page.locator("#notice")).to_be_hidden()


def test_a_slow_reply_of_the_pipeline_before_is_not_shown(page: Page) -> None:
    held: list[Route] = []
    page.route("**/ui/status/body?pipeline=products", lambda route: held.append(route))
    page.goto("/ui/status?pipeline=products")
    expect(page.locator("#pipeline")).to_have_value("products")
    page.locator("#pipeline").select_option("never")
    expect(page.locator("h1")).to_have_text("never")
    with page.expect_response("**/ui/status/body?pipeline=products"):
        held[0].continue_()
    page.wait_for_timeout(200)
    expect(page.locator("h1")).to_have_text("never")


@pytest.mark.parametrize("width", [320, 768])
@pytest.mark.parametrize("path", [*PANELS, "/docs"])
def test_no_width_needs_sideways_scrolling(browser: Browser, url: str, path: str, width: int) -> None:
    with browser.new_context(base_url=url, viewport={"width": width, "height": 740}) as context:
        page = context.new_page()
        page.goto(path)
        looked(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("path", [*PANELS, "/docs"])
def test_a_page_is_light_and_comes_from_here_alone(browser: Browser, url: str, path: str) -> None:
    sizes: list[int] = []
    with faultless(browser, url) as page:
        page.on("response", lambda answer: sizes.append(_size(answer)))
        page.goto(path, wait_until="load")
        looked(page)
    assert 0 < sum(sizes) < 120 * 1024


def _size(answer: Any) -> int:
    # Events have no end that could be waited for.
    return 0 if "ui/events" in answer.url else len(answer.body())


def test_a_long_name_does_not_widen_the_page(browser: Browser) -> None:
    name = "products_of_all_shops_in_every_country_without_a_break"
    never = "never_" + name
    with serving(application(product_pipeline(name=name), product_pipeline(name=never, synced=False))) as url:
        shown = [(path, name) for path in PANELS]
        shown += [(path, never) for path in (*PANELS, "/?query=rotor", "/ui/compare?query=rotor", "/ui/map")]
        with browser.new_context(base_url=url, viewport={"width": 390, "height": 800}) as context:
            page = context.new_page()
            for path, which in shown:
                page.goto(f"{path}{'&' if '?' in path else '?'}pipeline={which}")
                expect(page.locator("main")).to_contain_text(which)
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, which)
