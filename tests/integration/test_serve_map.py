"""What the page of the map is sent: points, colours, rows, hits, and how far the map is behind."""

from __future__ import annotations

import datetime as dt
import json
import math
import struct
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from rowvec.maps.draw import EmbeddingMap, map_file
from rowvec.pipeline import Pipeline
from rowvec.serve import ServeSettings, Service, create_app
from rowvec.serve.page.colours import GONE, LEFT_OUT, NONE, OTHER, best_column, colour
from rowvec.stores.write_batch import WriteBatch
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource, MemoryStore
from rowvec.types import Column, ColumnType, Entry, Row
from tests.integration.serve_rig import KEY, client_of, product_pipeline, rows

COUNT = 60


def drawn(pipeline: Pipeline, *, model: str = "hash", count: int = COUNT) -> EmbeddingMap:
    """A map of the products, numbered along the diagonal."""
    places = np.repeat(np.arange(count, dtype=np.uint16)[:, None] * 1000, 2, axis=1)
    return EmbeddingMap(list(range(1, count + 1)), places, dt.datetime.now(dt.UTC), model)


@pytest.fixture
def pipeline() -> Pipeline:
    return product_pipeline(count=COUNT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return map_file(tmp_path, "products")


@pytest.fixture
def client(pipeline: Pipeline, path: Path) -> Iterator[httpx.Client]:
    drawn(pipeline, model=pipeline.embedder.fingerprint.model).save(path)
    with client_of(create_app({"products": Service(pipeline, map_file=path)})) as client:
        yield client


def points(client: httpx.Client, **asked: Any) -> tuple[dict[str, Any], list[list[int]], list[int]]:
    """Header, places and colours of the binary reply."""
    answer = client.get("/ui/map/points", params=asked)
    assert answer.status_code == 200, answer.text
    (length,) = struct.unpack_from("<I", answer.content)
    assert length % 4 == 0, "what follows is aligned"
    header = json.loads(answer.content[4 : 4 + length])
    count = header["points"]
    places = np.frombuffer(answer.content, "<u2", 2 * count, 4 + length).reshape(-1, 2)
    codes = np.frombuffer(answer.content, np.uint8, count, 4 + length + 4 * count)
    assert len(answer.content) == 4 + length + 5 * count
    return header, places.tolist(), codes.tolist()


def test_points_and_colours_by_a_column(client: httpx.Client) -> None:
    header, places, codes = points(client, column="stock")
    assert places[:3] == [[0, 0], [1000, 1000], [2000, 2000]]
    assert (header["column"], header["kind"], header["points"]) == ("stock", "names", COUNT)
    assert header["legend"] == [{"label": str(stock), "rows": 6} for stock in range(10)]
    assert codes == [number % 10 for number in range(1, COUNT + 1)]
    assert header["columns"] == ["name", "price", "stock", "new", "added"]
    assert not any(header[name] for name in ("other", "none", "gone", "missing", "changed", "other_model"))


def test_a_column_of_many_numbers_or_dates_is_cut_into_steps(client: httpx.Client) -> None:
    for column, first in (("price", "1.5 – "), ("added", "2024-01-02 – ")):
        header, _, codes = points(client, column=column)
        assert header["kind"] == "steps"
        assert codes == sorted(codes), "prices and dates rise with the number"
        assert header["legend"][0]["label"].startswith(first)
        assert sum(step["rows"] for step in header["legend"]) == COUNT
        assert max(step["rows"] for step in header["legend"]) <= 10, "steps with as many rows each"


def test_the_first_colours_are_those_that_tell_most_apart(client: httpx.Client) -> None:
    assert points(client)[0]["column"] == "stock"
    header, _, codes = points(client, column="")
    assert (header["column"], header["legend"], set(codes)) == (None, [], {OTHER})


def test_an_unknown_column_is_answered_with_the_nearest(client: httpx.Client) -> None:
    answer = client.get("/ui/map/points", params={"column": "prise"})
    assert answer.status_code == 422
    assert answer.json()["error"]["hint"] == "Did you mean 'price'?"


def test_a_point_is_a_row(client: httpx.Client) -> None:
    version = points(client)[0]["version"]
    answer = client.get("/ui/map/row", params={"point": 7, "version": version}).json()
    assert answer["id"] == 8
    assert answer["metadata"]["name"] == rows(COUNT)[8]["name"]
    assert client.get("/ui/map/row", params={"point": COUNT, "version": version}).status_code == 404
    assert client.get("/ui/map/row", params={"point": -1, "version": version}).status_code == 422


def test_hits_of_a_query_are_points(client: httpx.Client) -> None:
    version = points(client)[0]["version"]
    asked = {"query": "disc rotor 8", "mode": "hybrid", "limit": 5, "version": version}
    hits = client.get("/ui/map/search", params=asked).json()["hits"]
    assert len(hits) == 5
    assert (hits[0]["id"], hits[0]["point"]) == (8, 7)
    assert all(hit["point"] == hit["id"] - 1 for hit in hits)
    assert client.get("/ui/map/search", params={**asked, "query": " "}).status_code == 422


def test_a_map_behind_its_rows_says_by_how_much(client: httpx.Client, pipeline: Pipeline, path: Path) -> None:
    source = pipeline.source
    assert isinstance(source, MemorySource)
    data = rows(COUNT + 5)
    del source.rows[3]
    source.rows.update({key: data[key] for key in range(COUNT + 1, COUNT + 6)})
    source.rows[9] = {**data[9], "name": "another name"}
    sync(pipeline)
    header, _, codes = points(client, column="new")
    assert codes[2] == GONE
    assert [header[name] for name in ("missing", "changed", "gone")] == [5, 1, 1]
    asked = {"query": data[COUNT + 3]["name"], "limit": 1, "version": header["version"]}
    assert client.get("/ui/map/search", params=asked).json()["hits"][0]["point"] is None
    answer = client.get("/ui/map/row", params={"point": 2, "version": header["version"]})
    assert answer.status_code == 404
    assert "`rowvec map`" in answer.json()["error"]["hint"]


def test_rows_that_chance_left_out_are_not_missing(client: httpx.Client, pipeline: Pipeline, path: Path) -> None:
    whole = drawn(pipeline)
    EmbeddingMap(whole.keys[:10], whole.places[:10], whole.made_at, whole.model, COUNT - 2).save(path)
    header, places, _ = points(client)
    assert (len(places), header["points"], header["rows"], header["missing"]) == (10, 10, COUNT - 2, 2)


def test_a_map_drawn_anew_is_served_without_a_restart(client: httpx.Client, pipeline: Pipeline, path: Path) -> None:
    before = points(client)[0]["version"]
    drawn(pipeline, model="of another kind", count=10).save(path)
    answer = client.get("/ui/map/row", params={"point": 1, "version": before})
    assert answer.status_code == 409
    header, places, _ = points(client)
    assert header["version"] != before
    assert (len(places), header["missing"], header["other_model"]) == (10, COUNT - 10, True)
    path.unlink()
    assert client.get("/ui/map/points").status_code == 404


def test_without_a_map_the_command_is_told(pipeline: Pipeline, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with client_of(create_app({"products": Service(pipeline, map_file=path)})) as client:
        assert client.get("/ui/map").status_code == 200
        answer = client.get("/ui/map/points")
        assert answer.status_code == 404
        assert answer.json()["error"] == {
            "message": "There is no map of 'products' yet.", "hint": "`rowvec map -p products` draws it.",
        }  # fmt: skip
        monkeypatch.setattr("rowvec.serve.routes.map.find_spec", lambda name: None)
        hint = client.get("/ui/map/points").json()["error"]["hint"]
        assert hint == "pip install 'rowvec[map]', then `rowvec map -p products` draws it."


def test_the_frame_is_open_and_the_data_needs_the_key(pipeline: Pipeline, path: Path) -> None:
    drawn(pipeline).save(path)
    app = create_app({"products": Service(pipeline, map_file=path)}, ServeSettings(api_keys=(KEY,)))
    with client_of(app) as client:
        assert client.get("/ui/map").status_code == 200
        for address in ("points", "row?point=1&version=1", "search?query=x&version=1"):
            assert client.get(f"/ui/map/{address}").status_code == 401
            assert client.get(f"/ui/map/{address}", headers={"X-API-Key": KEY}).status_code in (200, 409)


# Colours


def test_common_values_have_colours_and_rare_ones_share_one() -> None:
    values = ["a"] * 5 + ["b"] * 4 + [None] + [f"rare {number}" for number in range(30)]
    present = np.ones(len(values), bool)
    present[0] = False
    found = colour(values, present, Column("label", ColumnType.TEXT))
    assert found.legend[:2] == [("a", 5), ("b", 4)]
    assert len(found.legend) == 10
    assert found.codes[[0, 1, 5, 9]].tolist() == [GONE, 0, 1, NONE]
    assert found.count(OTHER) == 22


@pytest.mark.parametrize(
    ("kind", "values", "label"),
    [
        (ColumnType.BOOLEAN, [True, True, False], "yes"),
        (ColumnType.DECIMAL, [Decimal(n) / 4 for n in range(28)], "0 – 0.75"),
        (ColumnType.INTEGER, [n * 10**6 for n in range(14)], "0 – 1,000,000"),
        (ColumnType.DATE, [dt.date(2024, 1, 1 + n) for n in range(14)], "2024-01-01 – 2024-01-02"),
        (ColumnType.TIME, [dt.time(n) for n in range(14)], "00:00:00 – 01:00:00"),
        (ColumnType.NUMBER, [0.0] * 90 + [float(n) for n in range(1, 11)], "0"),
        (ColumnType.TEXT, ["x" * 100, "x" * 100], "x" * 39 + "…"),
        (ColumnType.INTEGER, [None, None], None),
        (ColumnType.DECIMAL, [Decimal("NaN"), Decimal(1), Decimal(2)], "1"),
        (ColumnType.DECIMAL, [Decimal("NaN"), *map(Decimal, range(28))], "0 – 3"),
        (ColumnType.NUMBER, [math.nan, 1.0], "1"),
        (ColumnType.TIMESTAMP, [dt.datetime(1, 1, 1), dt.datetime(2024, 1, 2, tzinfo=dt.UTC)], "1-01-01"),
    ],
)
def test_the_legend_of_every_type(kind: ColumnType, values: list[Any], label: str | None) -> None:
    found = colour(values, np.ones(len(values), bool), Column("x", kind))
    assert (found.legend[0][0] if found.legend else None) == label
    assert sum(rows for _, rows in found.legend) + found.count(NONE) + found.count(OTHER) == len(values)


def test_the_best_column_tells_rows_apart() -> None:
    columns = [
        Column("id", ColumnType.TEXT), Column("same", ColumnType.TEXT), Column("kind", ColumnType.TEXT),
        Column("ok", ColumnType.BOOLEAN), Column("tags", ColumnType.ARRAY),
    ]  # fmt: skip
    sample = [{"id": str(n), "same": "x", "kind": "abc"[n % 3], "ok": n % 2 == 0, "tags": [n % 5]} for n in range(100)]
    assert best_column(sample, columns) == columns[2]
    assert best_column(sample, columns[:2]) is None
    assert best_column([], columns) is None


def test_rows_are_coloured_by_when_they_were_embedded(client: httpx.Client) -> None:
    header, _, codes = points(client, by="age")
    assert (header["by"], header["column"], header["aspects"]["age"]) == ("age", None, "when embedded")
    assert sum(entry["rows"] for entry in header["legend"]) == COUNT
    assert max(codes) < len(header["legend"])


def test_rows_are_coloured_by_their_failure(pipeline: Pipeline, path: Path) -> None:
    drawn(pipeline).save(path)
    assert isinstance(pipeline.source, MemorySource)
    assert isinstance(pipeline.embedder, HashEmbedder)
    pipeline.source.rows[7] = {**pipeline.source.rows[7], "name": "refused"}
    pipeline.embedder.refused = {"refused"}
    sync(pipeline)
    with client_of(create_app({"products": Service(pipeline, map_file=path)})) as client:
        header, _, codes = points(client, by="failure")
    assert [entry["rows"] for entry in header["legend"]] == [1]
    assert "refuses a text" in header["legend"][0]["label"]
    assert (codes[6], codes[5], header["none"], header["nothing"]) == (0, NONE, COUNT - 1, "no failure")


def test_rows_are_coloured_by_their_cut_and_generation(client: httpx.Client) -> None:
    assert points(client, by="cut")[0]["legend"] == [{"label": "within the window", "rows": COUNT}]
    assert points(client, by="generation")[0]["legend"] == [{"label": "live only", "rows": COUNT}]


def test_a_new_generation_is_seen_on_the_map(path: Path) -> None:
    store = MemoryStore()
    live = product_pipeline(store, count=COUNT)
    drawn(live).save(path)
    other = product_pipeline(MemoryStore(share=store), embedder=HashEmbedder(16, model="another"), synced=False)
    filling = other.store.prepare(other.spec)
    entry = Entry(live.to_document(Row(3, {"id": 3, **rows(3)[3]})), np.ones(16, np.float32), None)
    filling.write(WriteBatch(entries=[entry]))
    with client_of(create_app({"products": Service(live, map_file=path)})) as client:
        header, _, codes = points(client, by="generation")
    assert {entry["label"]: entry["rows"] for entry in header["legend"]} == {"live only": 59, "live and building": 1}
    assert codes[2] == [entry["label"] for entry in header["legend"]].index("live and building")


def test_rows_that_do_not_pass_a_filter_are_left_out(client: httpx.Client) -> None:
    for where in ("stock = 7", '{"stock": 7}'):
        header, _, codes = points(client, column="new", filters=where)
        assert [number for number, code in enumerate(codes, 1) if code != LEFT_OUT] == [7, 17, 27, 37, 47, 57]
        assert header["left_out"] == COUNT - 6
        assert [entry["rows"] for entry in header["legend"]] == [6]
    found = client.get(
        "/ui/map/search", params={"query": "brake", "version": header["version"], "filters": "stock = 7"}
    ).json()
    assert {hit["id"] for hit in found["hits"]} == {7, 17, 27, 37, 47, 57}
    wrong = client.get("/ui/map/points", params={"filters": "nosuch = 7"})
    assert wrong.status_code == 422


def test_rows_of_points_are_given_together(client: httpx.Client) -> None:
    version = points(client)[0]["version"]
    found = client.get("/ui/map/rows", params={"version": version, "points": "0,5,5000"}).json()["rows"]
    assert [(row["id"], row["point"], row["metadata"]["stock"]) for row in found] == [(1, 0, 1), (6, 5, 6)]
    for wrong in ("", "x", "1,,2", ",".join("1" * 101)):
        assert client.get("/ui/map/rows", params={"version": version, "points": wrong}).status_code == 422
    assert client.get("/ui/map/rows", params={"version": 1, "points": "0"}).status_code == 409


def test_clusters_are_named_once_for_each_map(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    version = points(client)[0]["version"]
    first = client.get("/ui/map/names", params={"version": version})
    assert first.status_code == 200
    assert all(each["words"] and each["rows"] for each in first.json())
    monkeypatch.setattr("rowvec.serve.routes.map.named", None)
    assert client.get("/ui/map/names", params={"version": version}).json() == first.json()
    assert client.get("/ui/map/names", params={"version": 1}).status_code == 409


def test_what_a_map_cannot_be_coloured_by_is_said(client: httpx.Client) -> None:
    reply = client.get("/ui/map/points", params={"by": "aeg"})
    assert (reply.status_code, "age" in reply.json()["error"]["hint"]) == (422, True)
