"""A store on several servers, some of which are stopped: searches fail, or answer from the others and say so."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rowvec.adapters.rows import Rows, Settings
from rowvec.api.client import Client
from rowvec.api.project import Project
from rowvec.cli import search as command
from rowvec.errors import PartUnavailable, RowvecError, SearchError, StoreUnavailable
from rowvec.filters import bind, parse
from rowvec.pipeline import Pipeline
from rowvec.searcher import Mode, Refine, Searcher, SearchResult
from rowvec.stores import away
from rowvec.stores.base import TableSpec
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.part import PartStore
from rowvec.stores.partitioned import PartitionedStore
from rowvec.stores.partitioned.reach import Reach
from rowvec.stores.partitioned.rows import PartitionedRows
from rowvec.stores.placement import Placement, part_of
from rowvec.stores.postgres.store import PostgresStore
from rowvec.testing import HashEmbedder, MemoryStore
from rowvec.types import Key
from tests.acceptance.shop import Shop
from tests.integration.serve_rig import COLUMNS, application, client_of, opening, product_pipeline, project_pipeline
from tests.integration.serve_rig import serving as listening
from tests.servers.hrana import serving
from tests.servers.openai import EmbeddingServer
from tests.servers.standby import Server, alone_with_vectors

COUNT = 90
MODES: tuple[Mode, ...] = ("semantic", "keyword", "hybrid")
_tables = itertools.count()


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[Server]]:
    with alone_with_vectors(3) as servers:
        yield servers


@pytest.fixture
def servers(cluster: list[Server], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Server]]:
    """Stopped ones are started again in the end."""
    monkeypatch.setattr(away, "AGAIN_SECONDS", 0.0)
    yield cluster
    for server in cluster:
        if not server.running:
            server.start()


@contextmanager
def split_over(servers: Sequence[Server], table: str) -> Iterator[PartitionedStore]:
    def part(number: int) -> PostgresStore:
        return PostgresStore(servers[number].url, table, pipeline="products", index=None, alone=False, readers=4)

    with closing(PartitionedStore(part, len(servers))) as store:
        yield store


@pytest.fixture
def products(servers: list[Server]) -> Iterator[Pipeline]:
    with split_over(servers, f"products_{next(_tables)}") as store:
        yield replace(product_pipeline(store, count=COUNT), partial=True)


def rows_without(part: int) -> list[int]:
    return [key for key in range(1, COUNT + 1) if part_of(key, 3) != part]


def keys(result: SearchResult) -> list[Key]:
    return [hit.key for hit in result.hits]


def check_partial(result: SearchResult, *missing: int) -> None:
    assert (result.partial, result.missing_parts) == (True, missing)
    assert (result.exact, result.complete) == (False, False)


@pytest.mark.parametrize("gone", [0, 1])
def test_searches_answer_from_the_parts_that_answer_and_say_so(
    servers: list[Server], products: Pipeline, gone: int
) -> None:
    searcher, left = Searcher.of(products), rows_without(gone)
    whole = {mode: searcher.search("brake pads", mode=mode, limit=COUNT, exact=True) for mode in MODES}
    assert not any(each.partial or "partial" in each.as_dict() for each in whole.values())
    cheap = bind(parse("price < 60"), COLUMNS)
    servers[gone].stop()
    # A process that has just begun, and one that has searched before.
    for each in (searcher, Searcher.of(products)):
        for mode in MODES:
            found = each.search("brake pads", mode=mode, limit=COUNT, exact=True, passages=1)
            check_partial(found, gone + 1)
            assert set(keys(found)) == {key for key in keys(whole[mode]) if key in left}
            assert all(hit.metadata["name"] for hit in found.hits) and found.hits[0].passages
            assert found.as_dict()["missing_parts"] == [gone + 1] and found.as_dict()["partial"] is True
        semantic = each.search("brake pads", limit=COUNT, exact=True)
        assert keys(semantic) == [key for key in keys(whole["semantic"]) if key in left]
        counted = each.search("brake pads", limit=5, where=cheap, refine=Refine(facets=("stock", "new")))
        assert counted.total == sum(key * 1.5 < 60 for key in left)
        assert counted.facets is not None
        assert counted.facets.columns["new"].as_dict()["values"][0]["count"] <= len(left)
        browsed = each.browse(limit=7, refine=Refine(order="price desc"))
        check_partial(browsed, gone + 1)
        assert (browsed.total, keys(browsed)) == (len(left), left[::-1][:7])
        near = each.similar(left[0], limit=COUNT)
        check_partial(near, gone + 1)
        assert set(keys(near)) == set(left[1:])
    servers[gone].start()
    assert keys(searcher.search("brake pads", limit=COUNT, exact=True)) == keys(whole["semantic"])
    assert not searcher.search("brake pads").partial


def test_without_the_setting_it_is_an_error_that_names_the_part(servers: list[Server], products: Pipeline) -> None:
    searcher = Searcher.of(replace(products, partial=False))
    servers[1].stop()
    for ask in (
        lambda: searcher.search("brake pads"),
        lambda: searcher.browse(),
        lambda: Searcher.of(products).search("brake pads", partial=False),
    ):
        with pytest.raises(PartUnavailable, match="Part 2 of 3 does not answer") as caught:
            ask()
        assert caught.value.part == 1
    # A single search may ask for it.
    check_partial(searcher.search("brake pads", partial=True), 2)


def langchain(pipeline: Any, **options: Any) -> list[dict[str, Any]]:
    pytest.importorskip("langchain_core", reason="the extra `langchain` is not installed")
    from rowvec.adapters.langchain import RowvecRetriever

    return [each.metadata for each in RowvecRetriever(pipeline=pipeline, **options).invoke("brake pads")]


def llamaindex(pipeline: Any, **options: Any) -> list[dict[str, Any]]:
    pytest.importorskip("llama_index.core", reason="the extra `llamaindex` is not installed")
    from rowvec.adapters.llamaindex import RowvecRetriever

    return [each.node.metadata for each in RowvecRetriever(pipeline, **options).retrieve("brake pads")]


def haystack(pipeline: Any, **options: Any) -> list[dict[str, Any]]:
    pytest.importorskip("haystack", reason="the extra `haystack` is not installed")
    from rowvec.adapters.haystack import RowvecRetriever

    made = RowvecRetriever.from_dict(RowvecRetriever("products", **options).to_dict())
    assert made.to_dict()["init_parameters"]["partial"] is options.get("partial")
    return [each.meta for each in RowvecRetriever(pipeline, **options).run("brake pads")["documents"]]


@pytest.mark.parametrize("retrieved", [langchain, llamaindex, haystack])
def test_retrievers_of_frameworks_say_it_in_each_document_and_in_the_log(
    servers: list[Server], products: Pipeline, caplog: pytest.LogCaptureFixture, retrieved: Any
) -> None:
    pipeline = project_pipeline(products)
    # Twice as many rows as there are: those that come are all that are left.
    limit, left = 2 * COUNT, rows_without(1)
    with listening(application(products)) as url, Client(url) as client:
        for place in (pipeline, client):
            whole = retrieved(place, limit=limit)
            assert len(whole) == COUNT and not any("partial" in each["rowvec"] for each in whole)
        assert not caplog.records
        servers[1].stop()
        for place in (pipeline, client):
            caplog.clear()
            found = retrieved(place, limit=limit)
            assert {each["rowvec"]["key"] for each in found} == set(left)
            said = {(each["rowvec"]["partial"], tuple(each["rowvec"]["missing_parts"])) for each in found}
            assert said == {(True, (2,))}
            (warning,) = [each for each in caplog.records if each.name == "rowvec.adapters"]
            assert "products is without part 2 of its store" in warning.getMessage()
            with pytest.raises(RowvecError, match="does not answer"):
                retrieved(place, limit=limit, partial=False)


def test_a_part_that_goes_away_between_a_search_and_its_texts_is_left_out(
    servers: list[Server], products: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = project_pipeline(products)
    read = pipeline.texts

    def late(keys: Sequence[Key]) -> Any:
        if servers[1].running:
            servers[1].stop()
        return read(keys)

    monkeypatch.setattr(type(pipeline), "texts", staticmethod(late))
    found = Rows(pipeline).find("brake pads", Settings(limit=2 * COUNT, text="row"))
    assert {each.key for each in found} == set(rows_without(1))
    assert all(each.text and list(each.missing_parts) == [2] for each in found)
    servers[1].start()
    with pytest.raises(StoreUnavailable, match=r"[Pp]art 2 of 3"):
        Rows(pipeline).find("brake pads", Settings(limit=2 * COUNT, text="row", partial=False))


def test_two_parts_are_left_out_and_with_the_last_one_it_is_an_error(servers: list[Server], products: Pipeline) -> None:
    searcher = Searcher.of(products)
    servers[0].stop()
    servers[2].stop()
    check_partial(searcher.search("brake pads"), 1, 3)
    servers[1].stop()
    with pytest.raises(StoreUnavailable, match="answer"):
        searcher.search("brake pads")


def test_a_row_of_a_part_that_does_not_answer_is_not_said_to_be_missing(
    servers: list[Server], products: Pipeline
) -> None:
    searcher, key = Searcher.of(products), next(key for key in range(1, COUNT) if part_of(key, 3) == 2)
    servers[2].stop()
    with pytest.raises(PartUnavailable, match=rf"The row {key} is in part 3 of 3, which does not answer"):
        searcher.similar(key)
    with pytest.raises(SearchError, match="no vector for the key"):
        searcher.similar(next(key for key in range(COUNT + 1, 2 * COUNT) if part_of(key, 3) == 0))


@pytest.mark.parametrize("gone", [0, 2])
def test_a_cursor_leads_on_only_among_the_same_parts(servers: list[Server], products: Pipeline, gone: int) -> None:
    searcher = Searcher.of(products)

    def page(after: str | None, *, browses: bool = False) -> SearchResult:
        refine = Refine(after=after)
        if browses:
            return searcher.browse(limit=20, refine=refine)
        return searcher.search("brake pads", mode="hybrid", limit=20, refine=refine)

    before = [page(None, browses=browses).next for browses in (False, True)]
    servers[gone].stop()
    for cursor, browses in zip(before, (False, True), strict=True):
        with pytest.raises(SearchError, match="a part has stopped answering") as caught:
            page(cursor, browses=browses)
        assert caught.value.hint == "Begin again with the first page."
    for browses in (False, True):
        seen, after = list[Key](), None
        while True:
            found = page(after, browses=browses)
            check_partial(found, gone + 1)
            seen, after = [*seen, *keys(found)], found.next
            if after is None:
                break
        assert sorted(seen) == rows_without(gone)
    partial = page(None).next
    servers[gone].start()
    with pytest.raises(SearchError, match="or answers again"):
        page(partial)


def test_after_rows_have_moved_the_first_part_may_be_away_too(servers: list[Server], products: Pipeline) -> None:
    table = f"products_{next(_tables)}"
    with split_over(servers[:2], table) as two:
        product_pipeline(two, count=COUNT)
    with split_over(servers, table) as three:
        moved = replace(product_pipeline(three, count=COUNT), partial=True)
        servers[0].stop()
        found = Searcher.of(moved).search("brake pads", limit=COUNT, exact=True)
        check_partial(found, 1)
        assert sorted(keys(found)) == rows_without(0)


@pytest.mark.parametrize("former", [None, 2])
def test_rows_of_which_a_part_tells_nothing_are_not_taken_for_missing_ones(
    monkeypatch: pytest.MonkeyPatch, former: int | None
) -> None:
    tables = [MemoryStore() for _ in range(3)]
    store = PartitionedStore(lambda number: MemoryStore(share=tables[number]), 3)
    pipeline = product_pipeline(store, count=COUNT)
    whole = store.generation(pipeline.spec)
    assert whole is not None
    left = {number: part for number, part in whole.reach.parts.items() if number}
    for part in left.values():
        # As where texts are not kept.
        monkeypatch.setattr(part, "texts", lambda *_: {})
    placement = Placement(3, former=former)
    rows = PartitionedRows(Reach(left, placement, whole.reach.pool, frozenset({0})), "cosine")
    known, vector = rows_without(0), HashEmbedder().embed_query("brake pads")
    nothing = bind(parse("price < 0"), COLUMNS)
    assert rows.texts(known, vector) == {}
    assert rows.metadata(known, nothing) == rows.similarities(vector, known, nothing) == {}
    assert rows.metadata(known).keys() == set(known)
    gone = next(key for key in range(1, COUNT + 1) if key not in known)
    for ask in (rows.texts, rows.metadata, lambda keys: rows.metadata(keys, nothing)):
        with pytest.raises(PartUnavailable, match="is in part 1 of 3"):
            ask([gone])


def test_a_part_that_is_lost_in_the_middle_leaves_nothing_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [MemoryStore() for _ in range(3)]

    class Losing(MemoryStore):
        """Finds the nearest rows, and then is gone."""

        def generation(self, spec: TableSpec) -> Any:
            found = super().generation(spec)

            def gone(*_: object) -> Any:
                raise StoreUnavailable("no answer from host-2")

            if found is not None:
                monkeypatch.setattr(found, "metadata", gone)
            return found

    pipeline = product_pipeline(PartitionedStore(lambda number: MemoryStore(share=tables[number]), 3), count=COUNT)

    def part(number: int) -> PartStore:
        return Losing(share=tables[1]) if number == 1 else MemoryStore(share=tables[number])

    searcher = Searcher.of(replace(pipeline, store=PartitionedStore(part, 3), partial=True))
    found = searcher.search("brake pads", limit=COUNT, exact=True)
    check_partial(found, 2)
    assert sorted(keys(found)) == rows_without(1)


def test_every_door_says_which_parts_are_missing(
    servers: list[Server], products: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mcp", reason="the extra `mcp` is not installed")
    from rowvec.serve import Service
    from tests.integration.test_mcp import ask, found

    monkeypatch.setattr(away, "AGAIN_SECONDS", 60.0)
    strict = replace(products, partial=False, name="strict")
    service = Service(products)
    with client_of(application(products, strict)) as client:
        servers[1].stop()
        body = {"query": "brake pads", "limit": 5}
        for address in ("/search/semantic", "/search/keyword", "/search/hybrid"):
            reply = client.post(f"/pipelines/products{address}", json=body).json()
            assert (reply["partial"], reply["missing_parts"]) == (True, [2])
            assert (reply["exact"], reply["complete"]) == (False, False)
        assert client.post("/pipelines/products/search/browse", json={}).json()["missing_parts"] == [2]
        known = rows_without(1)[0]
        assert client.get(f"/pipelines/strict/search/similar/{known}", params={"partial": True}).json()["partial"]
        refused = client.post("/pipelines/products/search/semantic", json={**body, "partial": False})
        assert refused.status_code == 503
        assert refused.json()["error"]["message"] == "Part 2 of the vector store does not answer now."
        assert client.post("/pipelines/strict/search/semantic", json=body).status_code == 503
        reply = client.post("/pipelines/strict/search/semantic", json={**body, "partial": True}).json()
        assert reply["missing_parts"] == [2]
        lost = next(key for key in range(1, COUNT) if part_of(key, 3) == 1)
        assert client.post("/pipelines/products/texts", json={"ids": [known]}).json()["texts"]
        assert client.post("/pipelines/products/texts", json={"ids": [known, lost]}).status_code == 503
        assert client.get(f"/pipelines/products/search/similar/{lost}").status_code == 503
        health = client.get("/pipelines/products/health")
        assert health.status_code == 200
        assert health.json()["details"]["products"] == {"ready": True, "problem": None, "missing_parts": [2]}
        assert 'rowvec_searches_partial_total{pipeline="products"} 4.0' in client.get("/metrics").text
    service.warm()
    agents = {"products": service}
    assert found(ask(agents, "search_rows", query="brake pads"))["missing_parts"] == [2]
    assert found(ask(agents, "search", query="brake pads"))["partial"] is True
    opening(project_pipeline(products), monkeypatch, command)
    command.similar(
        None, None, str(rows_without(1)[0]), where=None, limit=3, passages=0, partial=None, columns=None, as_json=False
    )
    assert "Part 2 of the store does not answer: the rows there are missing." in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.parametrize("gone", [0, 1])
def test_a_command_that_starts_while_a_server_is_down_searches_the_others(
    servers: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: int
) -> None:
    with EmbeddingServer(dimension=16) as model:
        shop = Shop(tmp_path, {"MODEL_URL": model.url})
        monkeypatch.setenv("MODEL_URL", model.url)
        urls, table = ", ".join(f'"{each.url}"' for each in servers), f"shop_{next(_tables)}"
        shop.declare(
            store=f'kind = "postgres", partitions = [{urls}], table = "{table}", metadata = ["name"], language = ""'
        )
        shop.stock(40)
        assert shop.run("sync").code == 0
        servers[gone].stop()
        failed = shop.run("search", "lamp 7")
        assert failed.code != 0 and f"Part {gone + 1} of 3 does not answer" in failed.err
        done = shop.run("search", "lamp 7", "--partial", "--limit", "3")
        assert done.code == 0 and f"Part {gone + 1} of the store does not answer" in done.err
        with (tmp_path / "rowvec.toml").open("a") as config:
            config.write("\n[pipelines.products.search]\npartial = true\n")
        (tmp_path / "shop.db").unlink()
        with Project(tmp_path) as project:
            check_partial(project.pipeline("products").search("lamp 7"), gone + 1)
            with pytest.raises(StoreUnavailable, match=f"Part {gone + 1} of 3"):
                project.pipeline("products").eval({"q": "lamp 7"}, {"q": {"7": 1}}, modes=["semantic"])


def test_databases_of_libsql_on_several_servers_do_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(away, "AGAIN_SECONDS", 0.0)
    with ExitStack() as stack:
        folders = [tmp_path / name for name in ("one", "two")]
        for folder in folders:
            folder.mkdir()
        hosts = [stack.enter_context(serving(folder)) for folder in folders]

        def part(number: int) -> LibsqlStore:
            return LibsqlStore(hosts[number].url("vectors"), table="products", alone=False)

        store = stack.enter_context(closing(PartitionedStore(part, 2)))
        searcher = Searcher.of(replace(product_pipeline(store, count=COUNT), partial=True))
        left = [key for key in range(1, COUNT + 1) if part_of(key, 2) == 0]
        hosts[1].kill()
        for mode in MODES:
            found = searcher.search("brake pads", mode=mode, limit=COUNT)
            check_partial(found, 2)
            assert set(keys(found)) <= set(left)
        assert searcher.browse(limit=COUNT).total == len(left)
        with pytest.raises(PartUnavailable, match="Part 2 of 2 does not answer"):
            searcher.search("brake pads", partial=False)
        hosts[1].start()
        assert not searcher.search("brake pads").partial
