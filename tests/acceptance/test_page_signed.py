"""Signing out, and the pages as the holder of a search token sees them, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

import rowvec
from tests.acceptance.axe import violations
from tests.integration.serve_rig import KEY, application, product_pipeline, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(application(product_pipeline(), api_keys=(KEY,))) as address:
        yield address


@contextmanager
def signed_in(browser: Browser, url: str, credential: str, path: str = "/") -> Iterator[Page]:
    with browser.new_context(base_url=url) as context:
        page = context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(path)
        page.get_by_role("dialog").get_by_label("API key").fill(credential)
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_hidden()
        yield page
        assert wrong == []


def token() -> str:
    return rowvec.token({"products": {"stock": 7}}, api_key=KEY)


def test_signing_out_forgets_the_key_and_leaves_nothing_on_the_screen(browser: Browser, url: str) -> None:
    with signed_in(browser, url, KEY, "/?query=disc+rotor+8") as page:
        expect(page.locator(".hit").first).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        expect(page.locator(".hit")).to_have_count(0)
        assert page.evaluate("sessionStorage.length") == 0
        page.keyboard.press("Escape")
        expect(page.locator("#notice")).to_contain_text("Nothing is shown without the API key")
        expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
        page.goto("/ui/status")
        expect(page.get_by_role("dialog")).to_be_visible()


def test_a_server_without_a_key_has_nobody_to_sign_out(browser: Browser) -> None:
    with serving(application(product_pipeline(count=3))) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}/?query=brake")
        expect(page.locator(".hit").first).to_be_visible()
        expect(page.locator("#sign-out")).to_be_hidden()


def test_the_holder_of_a_token_sees_the_pages_of_their_rows(browser: Browser, url: str) -> None:
    with signed_in(browser, url, token(), "/?query=brake+pads&limit=50") as page:
        expect(page.locator(".hit")).to_have_count(6)
        page.get_by_role("link", name="brake pads 7", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("brake pads 7")
        expect(page.locator("#text pre")).to_have_text("brake pads 7")
        expect(page.locator("#hits .hit")).to_have_count(5)
        expect(page.locator("#facts")).not_to_contain_text("last written")
        assert violations(page) == []
        page.goto("/ui/row?id=8")
        expect(page.locator("#notice")).to_contain_text("There is no row '8'")
        expect(page.locator("#row")).to_be_hidden()


def test_the_holder_of_a_token_compares_among_their_rows_and_judges_nothing(browser: Browser, url: str) -> None:
    with signed_in(browser, url, token(), "/ui/compare?query=brake+pads+7") as page:
        for side in ("a", "b"):
            expect(page.locator(f"#hits-{side} .hit")).to_have_count(6)
        expect(page.locator("#summary")).to_contain_text("6")
        expect(page.locator(".thumbs")).to_have_count(0)
        expect(page.locator("#score")).to_be_hidden()
        expect(page.locator("#a [name=generation] option")).to_have_text(["live: hash (16 dimensions, float32)"])
        expect(page.locator("#notice")).to_be_hidden()
        page.get_by_role("link", name="Status").click()
        expect(page.locator("#notice")).to_contain_text("A search token does not open this.")
