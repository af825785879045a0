"""The page of a row, and cards by the roles of their columns, in a real browser."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from rowvec.errors import ConfigError
from rowvec.pipeline import Card
from rowvec.testing import HashEmbedder
from rowvec.types import Embedded
from tests.acceptance.axe import violations
from tests.acceptance.browser_rig import faultless
from tests.integration.serve_rig import application, product_pipeline, rows, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    embedder = HashEmbedder(16)
    embedder.refused = {"spark plug 3"}
    data = rows(40)
    data[7]["name"] = "<b>one & two</b> 7"
    data[1]["added"] = dt.datetime.now(dt.UTC) - dt.timedelta(days=3, hours=1)
    pipeline = product_pipeline(data=data, embedder=embedder)
    card = Card(title="name", url="https://shop.example/p/{id}?n={name}", fields=("added", "price"))
    with serving(application(replace(pipeline, card=card))) as address:
        yield address


def test_the_title_of_a_hit_leads_to_its_page(page: Page) -> None:
    page.goto("/?query=disc+rotor+8")
    page.get_by_role("link", name="disc rotor 8", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("disc rotor 8")
    expect(page).to_have_title("disc rotor 8 · rowvec")
    expect(page.locator("#facts")).to_contain_text("by hash (16 dimensions")
    expect(page.locator("#facts")).to_contain_text("just now")
    expect(page.locator("#text pre")).to_have_text("disc rotor 8")
    expect(page.locator("#values")).to_contain_text("stock")
    expect(page.locator("#hits .hit")).to_have_count(10)
    assert "disc rotor 8" not in page.locator("#hits h2").all_inner_texts()
    page.locator("#hits h2 a").first.click()
    expect(page.get_by_role("heading", level=1)).not_to_have_text("disc rotor 8")


def test_text_of_a_row_is_never_markup(page: Page) -> None:
    page.goto("/ui/row?id=7")
    expect(page.get_by_role("heading", level=1)).to_have_text("<b>one & two</b> 7")
    expect(page.locator("#text pre")).to_have_text("<b>one & two</b> 7")
    assert page.locator("main b").count() == 0


def test_a_row_that_failed_says_why_and_what_comes_next(page: Page) -> None:
    page.goto("/ui/row?id=3")
    expect(page.locator("#failure")).to_contain_text("It could not be embedded.")
    expect(page.locator("#failure")).to_contain_text("refuses a text")
    expect(page.locator("#failure")).to_contain_text("1 try, the last")
    expect(page.locator("#near-summary")).to_have_text("A row without a vector has no neighbours.")


@pytest.mark.parametrize(
    ("address", "said"),
    [("/ui/row?id=999", "There is no row '999'"), ("/ui/row", "The address names no row"),
     ("/ui/row?id=x", "not an integer"),
     ("/ui/row?id=1&pipeline=x", 'no pipeline "x"')],
)  # fmt: skip
def test_a_row_that_there_is_not_is_said(browser: Browser, url: str, address: str, said: str) -> None:
    with browser.new_context(base_url=url) as context:
        page = context.new_page()
        page.goto(address)
        expect(page.locator("#notice")).to_contain_text(said)
        expect(page.locator("#row")).to_be_hidden()


def test_a_card_shows_the_columns_of_the_config_and_links_to_the_source(page: Page) -> None:
    page.goto("/?query=spark+plug+10&limit=50")
    first = page.locator(".hit", has=page.get_by_role("link", name="disc rotor 8", exact=True))
    expect(first.locator("dt")).to_have_text(["added", "price"])
    expect(first.get_by_role("link", name="Open the source")).to_have_attribute(
        "href", "https://shop.example/p/8?n=disc%20rotor%208"
    )
    young = page.locator(".hit", has=page.get_by_role("link", name="disc rotor 1", exact=True)).locator("time")
    expect(young).to_have_text("3 days ago")


def test_pictures_come_from_the_hosts_of_the_config_only(browser: Browser) -> None:
    names = ("https://images.example/1.png", "https://evil.example/2.png", "javascript:alert(1)")
    data = {key: {**rows(3)[key], "name": name} for key, name in enumerate(names, 1)}
    pipeline = product_pipeline(data=data)
    pipeline = replace(
        pipeline, card=Card(image="name", title="price", url="name", image_hosts=("https://images.example",))
    )
    with serving(application(pipeline)) as address, browser.new_context(base_url=address) as context:
        page = context.new_page()
        asked: list[str] = []
        context.route("https://*.example/**", lambda route: (asked.append(route.request.url), route.abort())[1])
        reply = page.goto("/?query=png")
        assert reply is not None
        assert "img-src 'self' https://images.example;" in reply.headers["content-security-policy"]
        expect(page.locator(".hit")).to_have_count(3)
        page.wait_for_timeout(100)
        assert asked == ["https://images.example/1.png"]
        assert page.locator("a[href^=javascript]").count() == 0


class ShortSighted(HashEmbedder):
    """Reads the first twelve characters."""

    READ = 12

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self.fingerprint = replace(self.fingerprint, max_tokens=self.READ, overflow="truncate")

    def fits(self, texts: Sequence[str]) -> list[bool]:
        return [len(text) <= self.READ for text in texts]

    def tokenizer(self) -> Any:
        raise NotImplementedError

    def embed(self, texts: Sequence[str]) -> Embedded:
        found = super().embed([text[: self.READ] for text in texts])
        return found._replace(truncated=[place for place, fits in enumerate(self.fits(texts)) if not fits])


def test_where_the_window_ends_is_marked(browser: Browser) -> None:
    pipeline = product_pipeline(count=7, embedder=ShortSighted(16))
    with serving(application(pipeline)) as address, faultless(browser, address) as page:
        page.goto("/ui/row?id=7")
        expect(page.locator("#text pre")).to_have_text("brake pads 7")
        page.goto("/ui/row?id=6")
        expect(page.locator("#text .cut")).to_have_text("the model reads no further")
        expect(page.locator("#text .unread")).to_have_text("> & kit 6")
        expect(page.locator("#facts")).to_contain_text("of a window of 12")


def test_passages_are_marked(browser: Browser) -> None:
    text = "The lamp is red. The chair is blue."
    pipeline = product_pipeline(count=2)
    with serving(application(pipeline)) as address, faultless(browser, address) as page:
        page.route(
            "**/ui/row/data?**",
            lambda route: route.fulfill(json={**route.fetch().json(), "text": text, "passages": [[0, 17], [17, 35]]}),
        )
        page.goto("/ui/row?id=1")
        expect(page.locator("#text .cut")).to_have_text(["passage 1", "passage 2"])
        expect(page.locator("#text pre")).to_contain_text("The lamp is red.")


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/ui/row?id=8", "/ui/row?id=3", "/?query=disc+rotor+8", "/?like=8", "/"])
def test_axe_finds_nothing(browser: Browser, url: str, path: str, scheme: Any, width: int) -> None:
    with faultless(browser, url, color_scheme=scheme, viewport={"width": width, "height": 900}) as page:
        page.goto(path)
        expect(page.locator("#facts, .hit, #summary:not(:empty)").first).to_be_visible()
        for summary in page.locator(".hit summary").all()[:2]:
            summary.click()
        if page.locator("#filters-toggle").is_visible():
            page.locator("#filters-toggle").click()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("path", ["/", "/ui/compare", "/ui/row?id=8", "/ui/map"])
def test_a_page_is_small(browser: Browser, url: str, path: str) -> None:
    with browser.new_context(base_url=url) as context:
        page, sizes = context.new_page(), list[int]()
        page.on("response", lambda reply: sizes.append(len(reply.body())) if reply.ok else None)
        page.goto(path)
        page.wait_for_load_state("networkidle")
        assert 0 < sum(sizes) < 120 * 1024


CARD = """
[pipelines.p]
source = { kind = "sql", url = "sqlite:///x.db", table = "t", key = "id" }
store = { kind = "libsql", url = "v.db", metadata = ["title", "image"] }
[pipelines.p.search.card]
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('title = "titel"', "search.card.title: there is no column 'titel'"),
        ('fields = ["title", "x"]', "search.card.fields: there is no column 'x'"),
        ('url = "https://shop.example/{sku}"', "search.card.url: there is no column 'sku'"),
        ('url = "shop.example/{id}"', "is not a web address"),
        ('image_hosts = ["https://a.example/path"]', "is not a list of origins"),
        ('image_hosts = ["*; script-src *"]', "is not a list of origins"),
        ('titel = "title"', "titel"),
    ],
)
def test_a_mistake_in_the_table_of_a_card_is_said(tmp_path: Path, line: str, said: str) -> None:
    from rowvec.assemble import build_card
    from rowvec.config import load

    (tmp_path / "rowvec.toml").write_text(CARD + line)
    with pytest.raises(ConfigError) as raised:
        build_card(load(tmp_path).pipeline())
    assert said in str(raised.value)


def test_a_card_of_the_config(tmp_path: Path) -> None:
    from rowvec.assemble import build_card
    from rowvec.config import load

    (tmp_path / "rowvec.toml").write_text(
        CARD + 'image = "image"\nimage_hosts = "https://*.example"\nurl = "https://shop.example/{id}/{title}"\n'
    )
    card = build_card(load(tmp_path).pipeline())
    assert card == Card(image="image", image_hosts=("https://*.example",), url="https://shop.example/{id}/{title}")
