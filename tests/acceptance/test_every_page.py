"""What holds for every page and state: axe finds nothing in any theme and width, and nothing jumps while it loads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from rowvec.auditing.neighbours import BOUND, ROWS
from rowvec.serve import Service, create_app
from tests.acceptance.axe import violations
from tests.acceptance.browser_rig import faultless
from tests.acceptance.test_map_page import on_a_line, service
from tests.acceptance.test_panels import evaluated, troubled
from tests.integration.serve_rig import product_pipeline, serving

pytestmark = pytest.mark.slow

P = "pipeline=products"
STATES = {
    "/": "#welcome:not([hidden])",
    "/?query=disc+rotor+8&limit=50": ".hit",
    "/?browse=all": ".hit",
    "/?query=zebra&mode=keyword": "#summary strong",
    "/?query=brake&filters=" + quote('{"stock":{">":3},"name":{"like":"brake%"}}'): ".chip",
    "/?like=8": ".hit",
    "/?like=4711": "#notice:not([hidden])",
    "/ui/compare": "#summary:not(:empty)",
    "/ui/compare?query=disc+rotor+8&b=" + quote('{"mode":"keyword"}'): "#hits-b .hit",
    "/ui/map": "#legend button",
    "/ui/map?query=disc&row=12&area=0,0,60000,0,60000,65535,0,65535": "#area-rows a",
    "/ui/map?by=failure&only=yes&area=0,0,9,0,9,9": "#area-title",
    "/ui/row?id=8": "#hits .hit",
    "/ui/row?id=3": "#failure",
    "/ui/": ".pipelines .verdict",
    f"/ui/status?{P}": ".cards",
    "/ui/status?pipeline=never": ".cards",
    f"/ui/runs?{P}": "details.run",
    "/ui/runs?pipeline=never": "#live[aria-busy=false]",
    f"/ui/eval?{P}": "table",
    "/ui/eval?pipeline=never": "#live[aria-busy=false]",
    f"/ui/quality?{P}": '[data-key="odd"]',
    "/ui/quality?pipeline=never": "#live[aria-busy=false]",
    "/docs#get-quality": "details[open]",
    "/ui/stauts": "h1",
}
"""Addresses, and what is there once they are shown."""
LOOKS: tuple[tuple[int, Any, Any], ...] = ((390, "dark", "none"), (1440, "light", "none"), (390, "light", "active"))
"""Width, colour scheme and forced colours."""
MISSING = ("/?like=4711", "/ui/stauts")
"""The server answers that there is no such thing, and a browser logs it."""
SHIFT = """() => new Promise((done) => {
  let sum = 0;
  const add = ({ value, hadRecentInput }) => { sum += hadRecentInput ? 0 : value; };
  new PerformanceObserver((list) => list.getEntries().forEach(add)).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(sum), 300);
})"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("map")
    products = service(folder, evaluated(troubled()), on_a_line(60))
    products.warm()
    products.looks.look(ROWS, BOUND)
    never = Service(product_pipeline(name="never", synced=False))
    with serving(create_app({"products": products, "never": never})) as address:
        yield address


def shown(page: Page, path: str) -> None:
    page.goto(path)
    expect(page.locator(STATES[path]).first).to_be_visible()


@pytest.mark.parametrize("path", STATES)
def test_axe_finds_nothing(browser: Browser, url: str, path: str) -> None:
    with browser.new_context(base_url=url) as context:
        page = context.new_page()
        shown(page, path)
        page.evaluate("document.querySelectorAll('details').forEach((each, at) => { each.open = at < 3; })")
        for width, scheme, forced in LOOKS:
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme, forced_colors=forced)
            assert violations(page) == [], (width, scheme, forced)
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("path", STATES)
def test_nothing_jumps_and_no_error_is_logged(browser: Browser, url: str, path: str, width: int) -> None:
    options: Any = {"viewport": {"width": width, "height": 900}}
    with faultless(browser, url, **options) if path not in MISSING else tolerant(browser, url, **options) as page:
        shown(page, path)
        # Half of what Core Web Vitals call good.
        assert page.evaluate(SHIFT) < 0.05


@contextmanager
def tolerant(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    with browser.new_context(base_url=url, **options) as context:
        yield context.new_page()
