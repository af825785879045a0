"""`rowvec check` finds the commonest mistakes of a first set-up: the line it prints, and what it says to do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.shop import Finished, Shop
from tests.servers.pgbouncer import pgbouncer
from tests.support import as_role
from tests.support_tiny_models import module, tiny_model
from tests.unit.test_model_damage import bfloat16

ROWS = 12
SOURCE = 'url = "{url}", table = "{table}", key = "{key}"'
STORE = 'kind = "postgres", url = "{url}", table = "v", metadata = ["price"], language = ""'
SHOP = "sqlite:///shop.db"
NOWHERE = "postgresql://shop:s3cret@127.0.0.1:1/shop"


def wrong(answer: Finished) -> list[tuple[str, str, str]]:
    """(part, what is wrong, what to do) of each line that is not OK; the lines of one check, in their order."""
    found = re.findall(r"^WRONG  (\S+) +(.*)\n {16,}(.*)$", answer.out, re.MULTILINE)
    assert len(found) == answer.out.count("WRONG"), "each says what to do"
    return [(part, what, fix) for part, what, fix in found]


def test_what_is_right_is_said_part_by_part(shop: Shop) -> None:
    answer = shop.run("check")
    assert answer.code == 0, answer.out
    assert [line.split()[:2] for line in answer.out.splitlines()] == [
        ["OK", part] for part in ("config", "source", "text", "model", "store", "pgvector", "state", "table")
    ]


MISTAKES = {
    "a wrong port of the source": (
        {"source": SOURCE.format(url=NOWHERE, table="products", key="id")},
        "source", "127.0.0.1:1/shop does not answer", "source.url",
    ),
    "a wrong port of the store": (
        {"store": STORE.format(url=NOWHERE)},
        "store", "127.0.0.1:1/shop does not answer: Connection refused", "store.url",
    ),
    "a host that is not there": (
        {"store": STORE.format(url="postgresql://shop@nowhere.invalid/shop")},
        "store", "nowhere.invalid", "store.url",
    ),
    "a file that is not there": (
        {"source": SOURCE.format(url="sqlite:///shp.db", table="products", key="id")},
        "source", "There is no file", "Did you mean 'shop.db'?",
    ),
    "a folder of the store that is not there": (
        {"store": 'kind = "libsql", url = "nowhere/vectors.db"'},
        "store", "nowhere does not exist", "give the store another path",
    ),
    "a table with a typing error": (
        {"source": SOURCE.format(url=SHOP, table="product", key="id")},
        "source", "has no table 'product'", "Did you mean 'products'?",
    ),
    "a key with a typing error": (
        {"source": SOURCE.format(url=SHOP, table="products", key="idd")},
        "source", "source.key: there is no column 'idd'.", "Did you mean 'id'?",
    ),
    "a store in the file of the rows": (
        {"store": 'kind = "libsql", url = "shop.db"'},
        "store", "holds the rows and cannot hold the vectors too", "Give the store a file of its own",
    ),
    "a token that no header carries": (
        {"store": 'kind = "libsql", url = "libsql://shop.turso.io", token = "s3cret…"'},
        "store", "The key in store.token holds characters that keys cannot hold.", "no sign such as “…”",
    ),
    "a key that no header carries": (
        {"embedder": 'kind = "openai", model = "m", base_url = "http://127.0.0.1:1/v1", api_key = "s3cret\\nmore"'},
        "model", "The key in embedder.api_key holds characters that keys cannot hold.", "no line break",
    ),
    "a column with a typing error": (
        {"text": 'columns = ["nme"]'},
        "text", "text.columns: there is no column 'nme'.", "Did you mean 'name'?",
    ),
    "a variable that is not set": (
        {"store": STORE.format(url="${NO_SUCH_URL}")},
        "config", "needs the variable NO_SUCH_URL, which is not set.", "into .env beside the config",
    ),
    "a paid model without a key": (
        {"embedder": 'kind = "openai", model = "text-embedding-3-small", api_key = ""'},
        "model", "api.openai.com wants an API key, and OPENAI_API_KEY is not set.", "Set OPENAI_API_KEY",
    ),
    "a language that nobody stems": (
        {"store": STORE.format(url="${STORE_URL}").replace('language = ""', 'language = "klingon"')},
        "config", "store.language is not a language that rowvec knows", "english",
    ),
    "a model that is nowhere": (
        {"embedder": 'kind = "local", model = "./no-such-folder"'},
        "model", "no-such-folder", "Give the folder",
    ),
    "a model's address that does not answer": (
        {"embedder": 'kind = "openai", model = "m", base_url = "http://127.0.0.1:1/v1", api_key = "k"'},
        "model", "http://127.0.0.1:1/v1 cannot be reached", "Check base_url",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_what_to_do(mistake: str, shop: Shop) -> None:
    parts, part, what, fix = MISTAKES[mistake]
    shop.declare(**parts)
    answer = shop.run("check")
    assert answer.code in (1, 2)
    found = wrong(answer)
    assert [name for name, _, _ in found] == [part], answer.out
    assert what in found[0][1]
    assert fix in found[0][2]
    assert "s3cret" not in answer.out + answer.err


def test_a_row_whose_text_fails_does_not_hide_the_other_lines(shop: Shop) -> None:
    shop.sql("update products set price = null where id in (1, 5)")
    shop.declare(text='template = "{{ name }}, {{ price / 2 }} EUR"')
    answer = shop.run("check")
    assert answer.code == 0, answer.out
    assert "row 2: lamp 2, 0.25 EUR" in answer.out
    assert "2 of the first 12 rows would be listed by `rowvec failures`. Row 1: text.template fails" in answer.out
    assert [line.split()[1] for line in answer.out.splitlines() if line.startswith("OK")][-1] == "table"
    shop.sql("update products set price = null")
    assert [part for part, _, _ in wrong(shop.run("check"))] == ["source"]


def model_of(shop: Shop, **parts: Any) -> Path:
    return tiny_model(shop.folder / "model", **parts)


LOCAL = 'kind = "local", model = "./model", cache_dir = "./cache"'
DOT = {"modules": [module("Transformer", ""), module("Pooling", "1_Pooling")], "prompts": {"similarity_fn_name": "dot"}}


@pytest.mark.parametrize("command", ["check", "plan", "sync"])
def test_weights_that_are_cut_off(shop: Shop, command: str) -> None:
    weights = model_of(shop) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    shop.declare(embedder=LOCAL)
    answer = shop.run(command)
    assert answer.code == 1
    assert "model.safetensors cannot be read" in answer.out + answer.err
    assert "fetch it again" in answer.out + answer.err


def test_weights_in_bfloat16_are_right_for_check_and_for_sync(shop: Shop) -> None:
    bfloat16(model_of(shop))
    shop.declare(embedder=LOCAL)
    assert [shop.run(command).code for command in ("check", "plan", "sync", "check")] == [0] * 4


def test_a_device_that_is_not_there(shop: Shop) -> None:
    model_of(shop)
    shop.declare(embedder=f'{LOCAL}, device = "cuda"')
    ((part, what, fix),) = wrong(shop.run("check"))
    assert (part, fix) == ("model", 'Set device = "cpu".')
    assert "no CUDA device is visible" in what


def test_a_tokenizer_of_another_model(shop: Shop) -> None:
    """It gives tokens that the model has no vectors for."""
    model_of(shop, config={"vocab_size": 10})
    shop.declare(embedder=LOCAL)
    ((part, what, _),) = wrong(shop.run("check"))
    assert part == "model"
    assert "the model has only 10 words" in what


def test_long_texts_are_counted_and_some_of_them_cut(shop: Shop) -> None:
    model_of(shop)
    shop.declare(text='columns = ["name"]', embedder=LOCAL)
    found = {}
    for count in (40, 100):
        shop.sql("delete from products")
        rows = [(number, "lamp " * (60 if number % 2 else 3)) for number in range(2 * count)]
        shop.sql("insert into products (id, name) values (?, ?)", *rows)
        (found[count],) = (each for each in json.loads(shop.run("check", "--json").out) if each["what"] == "long texts")
        assert (found[count]["ok"], found[count]["long"], found[count]["sample"]) == (True, count, 2 * count)
    assert "about" in found[100]["fix"] and "about" not in found[40]["fix"]
    assert found[100]["tokens"] / 100 == found[40]["tokens"] / 40 > 60


@pytest.mark.parametrize("command", ["check", "plan", "sync"])
def test_a_model_for_dot_products_is_not_compared_by_cosine_unasked(shop: Shop, command: str) -> None:
    model_of(shop, **DOT)
    shop.declare(embedder=LOCAL)
    answer = shop.run(command)
    assert answer.code == 2
    assert "store.metric: the model model was trained for the similarity 'dot'" in answer.out + answer.err
    assert 'Write metric = "ip" in the store, or metric = "cosine"' in answer.out + answer.err
    if command == "check":
        assert wrong(answer)[0][0] == "store"


@pytest.mark.parametrize(("metric", "said"), [("ip", "ip; the model was trained for dot"), ("cosine", "which differs")])
def test_a_metric_that_was_chosen_is_used_and_said(shop: Shop, metric: str, said: str) -> None:
    model_of(shop, **DOT)
    shop.declare(embedder=LOCAL, store=STORE.format(url="${STORE_URL}") + f', metric = "{metric}"')
    answer = shop.run("check")
    assert answer.code == 0, answer.out
    assert said in next(line for line in answer.out.splitlines() if line.startswith("OK     metric"))


@pytest.mark.parametrize(
    ("mistake", "what", "fix"),
    [
        ("name = 'x'", "the key name = 'x' on more than one row", "GROUP BY"),
        ("name = null where id = 3", "has a row whose key 'name' is null", "name is not null"),
    ],
)
def test_a_key_that_is_none(mistake: str, what: str, fix: str, shop: Shop) -> None:
    shop.sql(f"update products set {mistake}")
    shop.declare(source=SOURCE.format(url=SHOP, table="products", key="name"))
    found = wrong(shop.run("check"))
    assert len(found) == 1
    assert what in found[0][1]
    assert fix in found[0][2]


def test_a_database_that_does_not_exist(shop: Shop, postgres_url: str) -> None:
    shop.declare(store=STORE.format(url=re.sub(r"/test_\w+\?", "/nosuch?", postgres_url)))
    ((part, what, fix),) = wrong(shop.run("check"))
    assert (part, fix) == ("store", "Create it, or correct store.url.")
    assert 'database "nosuch" does not exist' in what


def test_a_column_of_another_dimension(shop: Shop, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create extension vector")
        connection.execute("create table v (id bigint primary key, embedding vector(768))")
    shop.declare(store=STORE.format(url="${STORE_URL}"))
    ((part, what, fix),) = wrong(shop.run("check"))
    assert part == "store"
    assert "holds vectors of 768 dimensions, but the model gives 16" in what
    assert "store.table" in fix


def test_a_role_that_may_not_create_the_table(shop: Shop, postgres_url: str, server: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create extension vector")
        connection.execute("create role reader login password 'pw'")
        try:
            shop.declare(store=STORE.format(url=as_role(postgres_url, "reader", "pw")))
            ((_, what, fix),) = wrong(shop.run("check"))
        finally:
            connection.execute("drop role reader")
    assert "The role may not create public.v" in what
    assert "GRANT CREATE, USAGE ON SCHEMA public" in fix


def test_an_old_pgvector(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowvec.stores.postgres.checks.LACKS", [((99, 1), "answers before they are asked")])
    answer = shop.run("check")
    assert answer.code == 0
    said = re.search(r"pgvector +\d+\.\d+\.\d+: everything works but for what it lacks: (.+)", answer.out)
    assert said is not None
    assert said[1].startswith("answers before they are asked")
    assert "Update pgvector to 99.1 or newer, then: ALTER EXTENSION vector UPDATE;" in answer.out


def test_a_pooler_in_transaction_mode(shop: Shop, postgres_url: str) -> None:
    with pgbouncer(postgres_url, "transaction") as pooled:
        shop.declare(store=STORE.format(url=pooled))
        answer = shop.run("check")
    assert answer.code == 0
    assert "a pooler in transaction mode: a sync holds its lock as a lease" in answer.out


def test_a_pooler_in_statement_mode(shop: Shop, postgres_url: str) -> None:
    with pgbouncer(postgres_url, "statement") as pooled:
        shop.declare(store=STORE.format(url=pooled))
        ((part, what, fix),) = wrong(shop.run("check"))
    assert part == "pooler"
    assert what == "a pooler in statement mode: searches work, a sync does not."
    assert "transaction mode" in fix


def test_as_json_it_is_one_document(shop: Shop) -> None:
    shop.declare(text='columns = ["nme"]')
    answer = shop.run("check", "--json")
    assert answer.code == 2
    assert json.loads(answer.out)[-1] == {
        "what": "text", "ok": False, "detail": "text.columns: there is no column 'nme'.", "fix": "Did you mean 'name'?",
    }  # fmt: skip
