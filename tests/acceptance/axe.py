"""The rules of axe-core over a page, as a browser shows it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from playwright.sync_api import Page

RUN = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .map(({ id, nodes }) => [id, nodes.length, nodes[0].html.slice(0, 200)])"""


@cache
def _script() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


def violations(page: Page) -> Any:
    """Each rule that is broken, with the number of places and the first of them."""
    page.evaluate(_script())
    return page.evaluate(RUN)
