"""A headless Chromium, and pages in it that must not fail."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip

# An expectation that holds ends at once; this is for machines that are busy with other tests.
expect.set_options(timeout=30_000)


@contextmanager
def chromium() -> Iterator[Browser]:
    # The shell without the browser around it takes a third of the time.
    known = filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome")))
    path = os.environ.get("ROWVEC_TEST_CHROMIUM") or next(known, None)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no chromium, which CI must have: apt-get install chromium")
        pytest.skip("there is no chromium on this machine; install it or set ROWVEC_TEST_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def faultless(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A page that fails the test when it logs an error or asks another server for something."""
    with browser.new_context(base_url=url, **options) as context:
        page = context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda asked: None if asked.url.startswith(url) else wrong.append(asked.url))
        yield page
        assert wrong == []


CONTRASTS = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = channels(getComputedStyle(at).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll("body *")].filter((element) =>
    element.checkVisibility() && !element.closest("svg")
    && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  return texts.map((element) => {
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(ground(element))];
    return { text: element.textContent.trim().slice(0, 40), ratio: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) };
  });
}"""
