"""The map in a real browser: points, colours, hits, the row under the pointer, touch, and that it is behind."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from rowvec.maps.draw import SIDE, EmbeddingMap, map_file
from rowvec.pipeline import Pipeline
from rowvec.serve import ServeSettings, Service, create_app
from rowvec.testing.generation import MemoryGeneration
from rowvec.types import Key
from tests.acceptance.browser_rig import CONTRASTS, faultless
from tests.integration.serve_rig import KEY, product_pipeline, rows, serving

COUNT = 60
MANY = 100_000


def on_a_line(count: int) -> EmbeddingMap:
    """The products from left to right, in the middle of the height."""
    x = np.linspace(0, SIDE, count).round()
    places = np.stack([x, np.full(count, SIDE // 2)], axis=1).astype(np.uint16)
    return EmbeddingMap(list(range(1, count + 1)), places, dt.datetime.now(dt.UTC), "hash")


def service(folder: Path, pipeline: Pipeline, made: EmbeddingMap | None) -> Service:
    path = map_file(folder, pipeline.name)
    if made is not None:
        made.save(path)
    return Service(pipeline, map_file=path)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pipeline = product_pipeline(count=COUNT)
    made = on_a_line(COUNT - 2)
    with serving(create_app({"products": service(tmp_path_factory.mktemp("map"), pipeline, made)})) as address:
        yield address


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    with faultless(browser, url) as page:
        page.goto("/ui/map")
        expect(page.locator("#canvas")).to_be_visible()
        expect(page.locator("#summary")).to_contain_text("58 rows, drawn")
        yield page


def place_of(page: Page, number: int) -> tuple[float, float]:
    """Where product `number` is drawn, in pixels of the canvas."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    return 24 + (box["width"] - 48) * (number - 1) / (COUNT - 3), box["height"] / 2


def pixel(page: Page, place: tuple[float, float]) -> list[int]:
    script = "([x, y]) => [...document.querySelector('#canvas').getContext('2d').getImageData(x, y, 1, 1).data]"
    found: list[int] = page.evaluate(script, [round(each) for each in place])
    return found


def painted(page: Page) -> int:
    """Pixels of the canvas that are not its ground."""
    script = """() => {
      const canvas = document.querySelector("#canvas");
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const pixels = new Uint32Array(data.buffer);
      return pixels.reduce((count, pixel) => count + (pixel !== pixels[0]), 0);
    }"""
    count: int = page.evaluate(script)
    return count


def point_to(page: Page, number: int) -> Locator:
    x, y = place_of(page, number)
    page.locator("#canvas").hover(position={"x": x, "y": y})
    card = page.locator("#card")
    expect(card).to_be_visible()
    return card


def settled(page: Page) -> None:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_points_are_drawn_where_the_map_says(page: Page) -> None:
    settled(page)
    ground = pixel(page, (place_of(page, 20)[0], 5))
    assert pixel(page, place_of(page, 20)) != ground
    x, y = place_of(page, 20)
    assert pixel(page, (x, y + 40)) == ground


def test_the_pointer_shows_the_row_and_a_click_its_similar_rows(page: Page) -> None:
    names = rows(COUNT)
    card = point_to(page, 20)
    expect(card.locator("strong")).to_have_text(names[20]["name"])
    expect(card).to_contain_text("price")
    expect(point_to(page, 41).locator("strong")).to_have_text(names[41]["name"])
    x, y = place_of(page, 41)
    page.locator("#canvas").hover(position={"x": x, "y": y + 100})
    expect(card).to_be_hidden()
    page.locator("#canvas").click(position={"x": x, "y": y})
    expect(card.locator("strong")).to_have_text(names[41]["name"])
    page.wait_for_url(re.compile("row=41"))
    card.get_by_role("link", name="Similar rows").click()
    expect(page.locator("#summary")).to_contain_text(f"Rows similar to {names[41]['name']}")
    assert parse_qs(urlsplit(page.url).query)["like"] == ["41"]


def test_hits_of_a_query_are_lit_and_listed(page: Page) -> None:
    settled(page)
    before = painted(page)
    page.locator("#query").fill("disc rotor 8")
    page.keyboard.press("Enter")
    expect(page.locator("#hits a").first).to_have_text("disc rotor 8")
    expect(page.locator("#summary")).to_contain_text("rows are lit; 2 of them are not on the map")
    settled(page)
    assert painted(page) > before
    page.keyboard.press("Escape")
    expect(page.locator("#hits a")).to_have_count(0)
    settled(page)
    assert painted(page) == before
    page.locator("#query").fill("disc rotor 8")
    page.keyboard.press("Enter")
    page.locator("#hits a").first.click()
    expect(page.get_by_role("heading", name="disc rotor 8").first).to_be_visible()


def test_colours_follow_a_column_and_a_legend_that_hides_them(page: Page) -> None:
    legend = page.locator("#legend button")
    expect(page.get_by_label("Colour by")).to_have_value("stock")
    expect(legend).to_have_count(10)
    page.get_by_label("Colour by").select_option("new")
    expect(legend).to_have_text(["no29", "yes29"])
    settled(page)
    yes, no = pixel(page, place_of(page, 20)), pixel(page, place_of(page, 21))
    assert yes != no
    legend.first.click()
    expect(legend.first).to_have_attribute("aria-pressed", "false")
    settled(page)
    assert pixel(page, place_of(page, 21)) == pixel(page, (5, 5)), "hidden"
    assert pixel(page, place_of(page, 20)) == yes
    page.get_by_label("Colour by").select_option("price")
    expect(legend).to_have_count(7)
    page.get_by_label("Colour by").select_option("nothing")
    expect(legend).to_have_count(0)


def test_moving_and_zooming_by_mouse_and_keyboard(page: Page) -> None:
    names = rows(COUNT)
    canvas = page.locator("#canvas")
    x, y = place_of(page, 20)
    canvas.focus()
    canvas.hover(position={"x": x, "y": y})
    page.mouse.wheel(0, -500)
    settled(page)
    expect(point_to(page, 20).locator("strong")).to_have_text(names[20]["name"])
    page.mouse.down()
    page.mouse.move(x, y)
    page.mouse.up()
    assert "row=" not in page.url, "a drag is not a click"
    canvas.press("0")
    settled(page)
    expect(point_to(page, 45).locator("strong")).to_have_text(names[45]["name"])
    canvas.press("ArrowLeft")
    settled(page)
    canvas.hover(position={"x": place_of(page, 20)[0] + 60, "y": y})
    expect(page.locator("#card strong")).to_have_text(names[20]["name"])
    page.get_by_label("The whole map").click()
    settled(page)
    expect(point_to(page, 20).locator("strong")).to_have_text(names[20]["name"])


def test_rows_that_are_not_on_the_map_are_said(page: Page) -> None:
    expect(page.locator("#stale")).to_have_text("2 rows are not on the map. rowvec map -p products draws it again.")


def test_a_touch_shows_the_row_and_the_way_to_similar_ones(browser: Browser, url: str) -> None:
    with faultless(browser, url, viewport={"width": 360, "height": 740}, has_touch=True) as page:
        page.goto("/ui/map")
        expect(page.locator("#summary")).to_contain_text("58 rows")
        x, y = place_of(page, 1)
        page.locator("#canvas").tap(position={"x": x, "y": y})
        expect(page.locator("#card strong")).to_have_text(rows(COUNT)[1]["name"])
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.locator("#card a").last.click()
        expect(page.locator("#summary")).to_contain_text("Rows similar to")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_themes(browser: Browser, url: str, scheme: Any) -> None:
    with faultless(browser, url, color_scheme=scheme) as page:
        page.goto("/ui/map")
        page.locator("#query").fill("disc rotor 8")
        page.keyboard.press("Enter")
        expect(page.locator("#hits a").first).to_be_visible()
        assert [found for found in page.evaluate(CONTRASTS) if found["ratio"] < 4.5] == []


def test_without_a_map_the_page_says_how_to_draw_one(browser: Browser, tmp_path: Path) -> None:
    app = create_app({"products": service(tmp_path, product_pipeline(), None)})
    with serving(app) as address, browser.new_context(base_url=address) as context:
        page = context.new_page()
        page.goto("/ui/map")
        expect(page.locator("#notice")).to_contain_text("There is no map of 'products' yet.")
        expect(page.locator("#notice")).to_contain_text("rowvec map -p products")
        expect(page.locator("#canvas")).to_be_hidden()
        expect(page.locator("#query")).to_be_disabled()


def test_the_map_asks_for_the_key(browser: Browser, tmp_path: Path) -> None:
    services = {"products": service(tmp_path, product_pipeline(count=COUNT), on_a_line(COUNT))}
    with serving(create_app(services, ServeSettings(api_keys=(KEY,)))) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}/ui/map")
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("API key").fill(KEY)
        page.keyboard.press("Enter")
        expect(page.locator("#summary")).to_contain_text("60 rows")


@pytest.mark.slow
def test_a_hundred_thousand_points(browser: Browser, tmp_path: Path) -> None:
    pipeline = product_pipeline(count=COUNT)
    random = np.random.default_rng(1)
    places = random.integers(0, SIDE + 1, size=(MANY, 2)).astype(np.uint16)
    places[-1] = [SIDE, SIDE]
    made = EmbeddingMap(list(range(1, MANY + 1)), places, dt.datetime.now(dt.UTC), "hash")
    pipeline.store.handle = Everywhere
    app = create_app({"products": service(tmp_path, pipeline, made)})
    with serving(app) as address, faultless(browser, address) as page:
        page.goto("/ui/map")
        expect(page.locator("#summary")).to_contain_text("100,000 rows")
        settled(page)
        assert painted(page) > MANY
        assert page.locator("#legend button").count() > 1


class Everywhere(MemoryGeneration):
    """Has metadata for any key: embedding 100,000 rows would take the test's time and show nothing."""

    def metadata(self, keys: Sequence[Key], where: Any = None) -> dict[Key, Mapping[str, Any]]:
        known = rows(COUNT)
        return {key: known[int(key) % COUNT + 1] for key in keys}


def test_the_address_holds_what_is_seen(browser: Browser, url: str, page: Page) -> None:
    page.get_by_label("Colour by").select_option("new")
    page.wait_for_url(re.compile("column=new"))
    page.locator("#legend button").first.click()
    page.locator("#query").fill("disc rotor 8")
    page.keyboard.press("Enter")
    expect(page.locator("#hits a").first).to_be_visible()
    page.get_by_label("Closer").click()
    page.wait_for_url(re.compile(r"view="))
    with faultless(browser, url) as other:
        other.goto(page.url)
        expect(other.locator("#hits a").first).to_have_text("disc rotor 8")
        expect(other.get_by_label("Colour by")).to_have_value("new")
        expect(other.locator("#legend button").first).to_have_attribute("aria-pressed", "false")
        expect(other).to_have_title("disc rotor 8 · Map · rowvec")
        settled(other)
        settled(page)
        x, y = place_of(page, 30)
        assert pixel(other, (x, y)) == pytest.approx(pixel(page, (x, y)), abs=4)
    page.go_back()
    expect(page.locator("#query")).to_have_value("")
    expect(page.get_by_label("Colour by")).to_have_value("new")


def test_points_are_reached_by_keys(page: Page) -> None:
    canvas, names = page.locator("#canvas"), rows(COUNT)
    canvas.press("Shift+ArrowRight")
    expect(page.locator("#card strong")).to_have_text(names[30]["name"])
    canvas.press("Shift+ArrowRight")
    expect(page.locator("#card strong")).to_have_text(names[31]["name"])
    page.wait_for_url(re.compile("row=31"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Open the row")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#card")).to_be_hidden()
    assert "row=" not in page.url


def test_a_row_of_the_address_is_shown(page: Page) -> None:
    page.goto("/ui/map?row=12")
    expect(page.locator("#card strong")).to_have_text(rows(COUNT)[12]["name"])
    before = page.locator("#card").bounding_box()
    page.get_by_label("Closer").click()
    settled(page)
    assert before != page.locator("#card").bounding_box(), "the card goes with its point"


def test_hits_of_a_hidden_class_are_not_drawn(page: Page) -> None:
    page.get_by_label("Colour by").select_option("new")
    expect(page.locator("#legend button")).to_have_count(2)
    page.locator("#query").fill("disc rotor 8")
    page.keyboard.press("Enter")
    expect(page.locator("#hits a").first).to_be_visible()
    for button in page.locator("#legend button").all():
        button.click()
    settled(page)
    assert painted(page) == 0


def test_one_search_for_one_enter_and_none_for_leaving_the_box(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/ui/map/search" in request.url else None)
    page.locator("#query").fill("disc rotor 8")
    page.keyboard.press("Enter")
    expect(page.locator("#hits a").first).to_be_visible()
    page.keyboard.press("Tab")
    page.locator("#query").fill("spark plug")
    page.keyboard.press("Tab")
    page.wait_for_timeout(100)
    assert len(asked) == 1


def test_a_pointer_that_passes_asks_for_no_rows(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/ui/map/row" in request.url else None)
    # In one go, so that the pointer rests nowhere but at the end, however busy the machine is.
    page.locator("#canvas").evaluate("""(canvas) => {
      const { left, top, width, height } = canvas.getBoundingClientRect();
      for (let step = 0; step <= 40; step += 1) {
        const clientX = left + 30 + (step * (width - 60)) / 40;
        const where = { clientX, clientY: top + height / 2, pointerType: "mouse" };
        canvas.dispatchEvent(new PointerEvent("pointermove", where));
      }
    }""")
    expect(page.locator("#card")).to_be_visible()
    assert len(asked) == 1


def test_the_wheel_scrolls_the_page_until_the_map_was_clicked(page: Page) -> None:
    page.set_viewport_size({"width": 800, "height": 420})
    settled(page)
    page.locator("#canvas").hover(position={"x": 200, "y": 40})
    page.mouse.wheel(0, 200)
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") > 0
    assert "view=" not in page.url


@pytest.mark.parametrize(
    ("address", "said"),
    [("/ui/map?column=nosuch", "no metadata column 'nosuch'"), ("/ui/map?pipeline=x", 'no pipeline "x"'),
     ("/ui/map?row=60", "no such point"), ("/ui/map?mode=x", 'no mode "x"'),
     ("/ui/map?colour=x", "does not know: colour")],
)  # fmt: skip
def test_what_an_address_cannot_have_is_said(browser: Browser, url: str, address: str, said: str) -> None:
    with browser.new_context(base_url=url) as context:
        other = context.new_page()
        other.goto(address)
        expect(other.locator("#notice")).to_contain_text(said)
