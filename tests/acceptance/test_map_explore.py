"""The map as an explorer in a real browser: names of clusters, areas by lasso and keys, colours by state, filters."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from rowvec.maps.draw import SIDE, EmbeddingMap
from rowvec.serve import create_app
from tests.acceptance.axe import violations
from tests.acceptance.browser_rig import faultless
from tests.acceptance.test_map_page import service, settled
from tests.integration.serve_rig import product_pipeline, rows, serving

pytestmark = pytest.mark.slow

COUNT = 120
TOPICS = ("desk lamp", "oak chair", "green teapot", "wall clock")


def in_corners(count: int) -> EmbeddingMap:
    """A corner of the map for each topic."""
    corners = np.array([[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]])[np.arange(1, count + 1) % 4]
    spread = np.random.default_rng(5).normal(scale=SIDE / 60, size=(count, 2))
    places = (corners + spread).clip(0, SIDE).astype(np.uint16)
    return EmbeddingMap(list(range(1, count + 1)), places, dt.datetime.now(dt.UTC), "hash")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = rows(COUNT)
    for number, values in data.items():
        values["name"] = f"{TOPICS[number % 4]} number{number}"
    pipeline = product_pipeline(data=data)
    app = create_app({"products": service(tmp_path_factory.mktemp("map"), pipeline, in_corners(COUNT))})
    with serving(app) as address:
        yield address


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    with faultless(browser, url, viewport={"width": 1000, "height": 1000}) as page:
        opened(page, "/ui/map")
        yield page


def opened(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("#canvas")).to_be_visible()
    expect(page.locator("#names button").first).to_be_attached()
    settled(page)


def shown(page: Page) -> list[dict[str, float]]:
    """The boxes of the names that are seen, and of the tools beside them."""
    script = "all => all.map((each) => each.getBoundingClientRect().toJSON())"
    found: list[dict[str, float]] = page.eval_on_selector_all("#names li:not([hidden]) button, .zoom", script)
    return found


def lasso(page: Page, left: float, top: float, right: float, bottom: float) -> None:
    """Around a part of the canvas, in shares of its size."""
    page.get_by_label("Choose rows with a lasso").click()
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def test_clusters_are_named_by_their_own_words_without_an_overlap(page: Page) -> None:
    names = page.locator("#names li:not([hidden]) button")
    expect(names).to_have_count(4)
    said = " ".join(names.all_inner_texts())
    for topic in TOPICS:
        assert any(word in said for word in topic.split()), said
    boxes = shown(page)
    for at, one in enumerate(boxes):
        for other in boxes[at + 1 :]:
            assert (
                one["right"] <= other["left"] or other["right"] <= one["left"]
                or one["bottom"] <= other["top"] or other["bottom"] <= one["top"]
            )  # fmt: skip


def test_a_click_on_a_name_goes_nearer_and_names_can_be_put_away(page: Page) -> None:
    page.locator("#names button").first.click()
    page.wait_for_url(re.compile("view="))
    page.get_by_label("Names of the clusters").click()
    expect(page.locator("#names")).to_be_hidden()
    page.wait_for_url(re.compile("names=no"))
    page.reload()
    expect(page.get_by_label("Names of the clusters")).to_have_attribute("aria-pressed", "false")
    page.get_by_label("Names of the clusters").click()
    expect(page.locator("#names button").first).to_be_visible()


def test_a_lasso_lists_the_rows_inside_as_a_link(browser: Browser, url: str, page: Page) -> None:
    lasso(page, 0.02, 0.02, 0.4, 0.4)
    expect(page.locator("#area-title")).to_have_text("30 rows inside")
    expect(page.locator("#area-rows li")).to_have_count(20)
    page.locator("#area-more").click()
    expect(page.locator("#area-rows li")).to_have_count(30)
    expect(page.locator("#area-rows a").nth(20)).to_be_focused()
    titles = page.locator("#area-rows").inner_text().splitlines()
    assert all("desk lamp" in title for title in titles if title.strip())
    expect(page.locator("#area-mix")).to_contain_text("stock: ")
    assert "view=" not in page.url, "drawing does not move the map"
    with faultless(browser, url) as other:
        opened(other, page.url)
        expect(other.locator("#area-title")).to_have_text("30 rows inside")
    page.locator("#area-rows a").first.click()
    expect(page.locator("h1")).to_contain_text("desk lamp")
    page.go_back()
    expect(page.locator("#area-title")).to_have_text("30 rows inside")


def test_only_the_rows_inside_can_be_shown(page: Page) -> None:
    lasso(page, 0.02, 0.02, 0.4, 0.4)
    expect(page.locator("#area-title")).to_be_visible()
    page.get_by_role("button", name="Only these").click()
    page.wait_for_url(re.compile("only=yes"))
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    page.locator("#canvas").click(position={"x": box["width"] - 60, "y": box["height"] - 24})
    expect(page.locator("#card")).to_be_hidden()
    page.reload()
    expect(page.get_by_role("button", name="Only these")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(page.locator("#area")).to_be_hidden()
    assert "area=" not in page.url and "only=" not in page.url
    expect(page.locator("#canvas")).to_be_focused()


def test_a_rectangle_is_chosen_by_keys_alone(page: Page) -> None:
    canvas = page.locator("#canvas")
    canvas.focus()
    canvas.press("r")
    expect(page.locator("#summary")).to_contain_text("A rectangle with 0 rows.")
    for _ in range(30):
        canvas.press("ArrowUp")
        canvas.press("ArrowLeft")
    expect(page.locator("#summary")).to_contain_text("A rectangle with 0 rows.")
    for _ in range(20):
        canvas.press("ArrowDown")
        canvas.press("ArrowRight")
    for _ in range(30):
        canvas.press("Shift+ArrowRight")
        canvas.press("Shift+ArrowDown")
    expect(page.locator("#summary")).not_to_contain_text("with 0 rows")
    canvas.press("Enter")
    expect(page.locator("#area-title")).to_contain_text("inside")
    assert "area=" in page.url and "view=" not in page.url
    expect(page.locator("#summary")).to_contain_text("120 rows, drawn")
    canvas.press("r")
    canvas.press("Escape")
    expect(page.locator("#summary")).to_contain_text("120 rows, drawn")
    expect(page.get_by_label("Choose rows with a rectangle")).to_have_attribute("aria-pressed", "false")


def test_a_click_with_the_lasso_chooses_nothing(page: Page) -> None:
    page.get_by_label("Choose rows with a lasso").click()
    expect(page.locator("#summary")).to_contain_text("Draw around the rows")
    page.locator("#canvas").click(position={"x": 300, "y": 300})
    expect(page.locator("#area")).to_be_hidden()
    expect(page.locator("#summary")).to_contain_text("120 rows, drawn")


def test_colours_by_state_are_in_the_address(page: Page) -> None:
    page.get_by_label("Colour by").select_option(label="length of text")
    expect(page.locator("#legend button")).to_have_text(["within the window120"])
    page.wait_for_url(re.compile("by=cut"))
    page.reload()
    expect(page.get_by_label("Colour by")).to_have_value("by:cut")
    page.get_by_label("Colour by").select_option(label="failure")
    expect(page.locator("#legend button")).to_have_text(["no failure120"])
    page.go_back()
    expect(page.get_by_label("Colour by")).to_have_value("by:cut")


def test_a_filter_of_the_address_stays_until_it_is_taken_away(page: Page) -> None:
    opened(page, "/ui/map?column=stock&filters=" + quote('{"stock": 7}'))
    expect(page.locator("#summary")).to_contain_text("12 of 120 rows match")
    expect(page.locator("#legend button")).to_have_text(["712"])
    page.locator("#query").fill("lamp")
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_contain_text("12 nearest rows are lit")
    assert "filters=" in page.url
    page.get_by_role("button", name="Remove:").click()
    expect(page.locator("#chips")).to_be_hidden()
    expect(page.locator("#legend button")).to_have_count(10)
    expect(page).not_to_have_url(re.compile("filters="))


def test_the_filter_goes_along_between_the_search_and_the_map(page: Page) -> None:
    page.goto("/?query=lamp&filters=" + quote('{"stock":7}'))
    expect(page.locator(".hit").first).to_be_visible()
    page.get_by_role("link", name="Map").click()
    expect(page.locator("#summary")).to_contain_text("12 nearest rows are lit")
    page.get_by_role("link", name="Search", exact=True).click()
    expect(page.locator("#chips")).to_contain_text("stock 7")


@pytest.mark.parametrize(
    ("address", "said"),
    [("/ui/map?area=1,2,3", "has an area that cannot be"), ("/ui/map?by=colour", "cannot be coloured by"),
     ("/ui/map?filters=stock+<", "The filter"), ('/ui/map?filters={"x":1}', "no metadata column 'x'")],
)  # fmt: skip
def test_what_an_address_cannot_have_is_said(browser: Browser, url: str, address: str, said: str) -> None:
    with browser.new_context(base_url=url) as context:
        page = context.new_page()
        page.goto(address)
        expect(page.locator("#notice")).to_contain_text(said)


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("options", [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"forced_colors": "active"}])
def test_axe_finds_nothing(browser: Browser, url: str, options: dict[str, Any], width: int) -> None:
    with faultless(browser, url, viewport={"width": width, "height": 900}, **options) as page:
        opened(
            page, "/ui/map?by=age&query=lamp&filters=" + quote('{"stock":{"<":8}}') + "&area=0,0,60000,0,60000,60000"
        )
        expect(page.locator("#area-rows a").first).to_be_visible()
        expect(page.locator("#hits a").first).to_be_visible()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
