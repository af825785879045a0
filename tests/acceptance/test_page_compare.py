"""Two settings side by side in a real browser: what moves, what is judged, what it says of all judged queries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from typer.testing import CliRunner

from rowvec.evaluation.files import read_judgements
from rowvec.evaluation.judged import JudgementsFile
from rowvec.pipeline import Pipeline
from rowvec.serve import ServeSettings, Service, create_app
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from tests.acceptance.axe import violations
from tests.acceptance.browser_rig import faultless
from tests.integration.serve_rig import KEY, product_pipeline, serving
from tests.models import Known

pytestmark = pytest.mark.slow

QUERY = "disc rotor 8"


class Former(Known):
    """Remembers how the rows of products become text."""

    def documents(self, settings: str, model: Any) -> Any:
        return product_pipeline(synced=False).to_document, ("name",)


def two_generations() -> Pipeline:
    """The live generation was made by another model than the previous one."""
    old, new = HashEmbedder(16, model="old"), HashEmbedder(24, model="new")
    pipeline = product_pipeline(embedder=old, synced=False)
    pipeline = replace(pipeline, spec=replace(pipeline.spec, settings="old"), former=Former(old, new))
    sync(pipeline)
    spec = replace(pipeline.spec, fingerprint=new.fingerprint, dimension=24, settings="new")
    changed = replace(pipeline, embedder=new, spec=spec)
    sync(changed)
    return changed


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    return tmp_path / "products.csv"


@pytest.fixture
def url(judged: Path) -> Iterator[str]:
    with serving(create_app({"products": Service(two_generations(), judgements_file=judged)})) as address:
        yield address


def address(query: str = QUERY, **sides: Any) -> str:
    return f"/ui/compare?query={quote(query)}" + "".join(
        f"&{side}={quote(json.dumps(each))}" for side, each in sides.items()
    )


def titles(page: Page, side: str) -> list[str]:
    expect(page.locator(f"#hits-{side} .hit").first).to_be_visible()
    return page.locator(f"#hits-{side} .hit h2").all_inner_texts()


def found(page: Page, **body: Any) -> list[str]:
    mode = body.pop("mode", "hybrid")
    reply = page.request.post(f"/search/{mode}", data={"query": QUERY, "limit": 10, **body})
    return [hit["metadata"]["name"] for hit in reply.json()["results"]]


def test_two_generations_are_compared_first(page: Page) -> None:
    page.goto(address())
    left, right = titles(page, "a"), titles(page, "b")
    assert left == found(page)
    assert right == found(page, generation="previous") != left
    shared = len(set(left) & set(right))
    expect(page.locator("#summary")).to_have_text(f"overlap@10: {shared} of 10 hits are on both sides.")


@pytest.mark.parametrize(
    "setting",
    [
        {"mode": "keyword"},
        {"ranking": {"semantic_weight": 0.1}},
        {"ranking": {"fusion": "rrf"}},
        {"ranking": {"static": "price / 10", "static_weight": 5}},
        {"ranking": {"decay": "added", "half_life_days": 2}, "mode": "semantic"},
    ],
)
def test_a_setting_of_the_address_is_that_of_its_side(page: Page, setting: dict[str, Any]) -> None:
    page.goto(address(b=setting))
    assert titles(page, "b") == found(page, **setting)
    assert titles(page, "a") == found(page)
    page.get_by_role("button", name="Compare").click()
    assert json.loads(parse_qs(urlsplit(page.url).query)["b"][0]) == setting


def test_two_sides_that_are_alike_outlive_a_reload(page: Page) -> None:
    page.goto(address())
    titles(page, "b")
    page.locator("#b [name=generation]").select_option("live")
    same = "The same 10 hits in the same order."
    expect(page.locator("#summary")).to_have_text(same)
    page.reload()
    expect(page.locator("#summary")).to_have_text(same)
    expect(page.locator("#b [name=generation]")).to_have_value("live")


def test_hits_that_moved_have_arrows(page: Page) -> None:
    page.goto(address(b={"ranking": {"static": "price / 10", "static_weight": 5}}))
    left, right = titles(page, "a"), titles(page, "b")
    for place, title in enumerate(right):
        move = page.locator("#hits-b .hit").nth(place).locator(".move")
        if title not in left:
            expect(move).to_have_text("only here")
        elif left.index(title) != place:
            expect(move).to_contain_text(
                f"{'▲' if left.index(title) > place else '▼'} {abs(left.index(title) - place)}"
            )
        else:
            expect(move).to_have_count(0)


def test_judgements_go_into_a_file_that_eval_reads_and_both_sides_are_scored_by_it(page: Page, judged: Path) -> None:
    page.goto(address(b={"ranking": {"static": "price / 10", "static_weight": 5}}))
    expect(page.locator("#score")).to_contain_text("No query is judged yet")
    first = page.locator("#hits-a .hit").first
    first.get_by_role("button", name="Good").click()
    expect(page.locator("#score")).to_contain_text("nDCG@10 1.000 → 0.")
    expect(page.locator("#score")).to_contain_text("over 1 judged query: on the right 0 won, 1 lost")
    assert read_judgements(judged) == {QUERY: {"8": 1}}
    page.reload()
    expect(first.get_by_role("button", name="Good")).to_have_attribute("aria-pressed", "true")
    first.get_by_role("button", name="Bad").click()
    expect(first.get_by_role("button", name="Good")).to_have_attribute("aria-pressed", "false")
    assert read_judgements(judged) == {QUERY: {"8": 0}}
    first.get_by_role("button", name="Bad").click()
    expect(page.locator("#score")).to_contain_text("No query is judged yet")
    assert JudgementsFile(judged).read() == {}


def test_a_judgement_is_of_the_query_whose_hits_are_shown(page: Page, judged: Path) -> None:
    page.goto(address())
    titles(page, "a")
    page.locator("#query").fill("another query, not yet asked")
    page.locator("#hits-a .hit").first.get_by_role("button", name="Good").click()
    expect(page.locator("#score")).to_contain_text("over 1 judged query")
    assert list(read_judgements(judged)) == [QUERY]


def test_what_is_typed_while_the_server_is_slow_stays(page: Page) -> None:
    held: list[Route] = []
    page.route("**/pipelines", lambda route: held.append(route))
    page.goto(address("belt"))
    page.locator("#query").fill(QUERY)
    page.keyboard.press("Enter")
    page.wait_for_timeout(50)
    held[0].continue_()
    expect(page).to_have_title(f"{QUERY} · Compare · rowvec")
    expect(page.locator("#query")).to_have_value(QUERY)
    assert parse_qs(urlsplit(page.url).query)["query"] == [QUERY]


def test_a_setting_is_copied_as_toml(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(address(b={"ranking": {"fusion": "rrf"}}))
    titles(page, "b")
    page.locator("#b .copy").click()
    expect(page.locator("#b .copy")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith('[pipelines.products.search]\nfusion = "rrf"\n')


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (address(b={"ranking": {"fusoin": "rrf"}}), "b: fusoin"),
        (address(b={"mode": "fuzzy"}), "b: mode"),
        (address(b={'"]': 1}), 'b: "]'),
        (address(a={"generation": "building"}), "a: generation"),
        ("/ui/compare?query=x&b={", "cannot have: b"),
        (address(b={"ranking": {"static": "pirce"}}), "no column 'pirce'"),
        ("/ui/compare?pipeline=y", 'no pipeline "y"'),
    ],
)
def test_what_an_address_cannot_have_is_said(browser: Browser, url: str, sent: str, said: str) -> None:
    with browser.new_context(base_url=url) as context:
        page = context.new_page()
        page.goto(sent)
        expect(page.locator("#notice")).to_contain_text(said)
        expect(page.locator(".hit")).to_have_count(0)


def test_a_wrong_weight_is_said(page: Page) -> None:
    page.goto(address())
    titles(page, "a")
    page.locator("#a summary").first.click()
    page.locator("#a").get_by_label("Weight of meaning").fill("7")
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_contain_text('"Weight of meaning" has a value that cannot be')


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, url: str, scheme: Any, width: int) -> None:
    with faultless(browser, url, color_scheme=scheme, viewport={"width": width, "height": 900}) as page:
        page.goto(address(b={"ranking": {"static": "price / 10"}}))
        titles(page, "b")
        page.locator("#hits-a .hit").first.get_by_role("button", name="Good").click()
        expect(page.locator("#score table, #score p").first).to_be_visible()
        page.locator(".why summary").first.click()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_judgement_needs_the_key_and_a_row_that_there_is(judged: Path, browser: Browser) -> None:
    app = create_app({"products": Service(product_pipeline(), judgements_file=judged)}, ServeSettings(api_keys=(KEY,)))
    body = {"query": QUERY, "id": 8, "rating": 1}
    with serving(app) as address, browser.new_context(base_url=address) as context:
        path, keyed = "/ui/compare/judgements", {"X-API-Key": KEY}
        assert context.request.post(path, data=body).status == 401
        assert context.request.post(path, data={**body, "id": 999}, headers=keyed).status == 404
        assert context.request.post(path, data={**body, "rating": 9}, headers=keyed).status == 422
        assert not judged.exists()
        assert context.request.post(path, data=body, headers=keyed).json() == {"ratings": {"8": 1}, "queries": 1}
        judged.write_text("query,docid,rating\nx,1,good\n")
        reply = context.request.post(path, data=body, headers=keyed)
        assert (reply.status, "not a whole number" in reply.text()) == (409, True)
        assert judged.read_text() == "query,docid,rating\nx,1,good\n"


def test_eval_without_files_says_where_judgements_come_from(tmp_path: Path) -> None:
    from rowvec.cli.app import app

    config = tmp_path / "rowvec.toml"
    config.write_text('[pipelines.p]\nsource = { kind = "sql", url = "sqlite:///x.db", table = "t", key = "id" }\n')
    found = CliRunner().invoke(app, ["eval", "--config", str(config)])
    assert found.exit_code != 0
    assert re.search(r"Nothing of 'p' was judged", str(found.exception or found.output))


def test_on_a_phone_each_side_has_its_name_above_its_hits(browser: Browser, url: str) -> None:
    for width, seen in ((390, True), (1440, False)):
        with faultless(browser, url, viewport={"width": width, "height": 800}) as page:
            page.goto("/ui/compare")
            expect(page.locator("#summary")).not_to_be_empty()
            names = page.locator(".side-name")
            expect(names).to_have_text(["Left", "Right"])
            expect(names.first).to_be_hidden()
            page.goto(f"/ui/compare?query={quote(QUERY)}")
            expect(page.locator("#hits-b .hit").first).to_be_visible()
            for name in names.all():
                expect(name).to_be_visible(visible=seen)
