"""`rowvec audit` as a user meets it."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.acceptance.shop import Shop
from tests.servers.openai import EmbeddingServer

ROWS = 30


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """In step, but for what the test does to it."""
    assert shop.run("sync").code == 0
    return shop


def damage(shop: Shop, *statements: str) -> None:
    with psycopg.connect(shop.variables["STORE_URL"], autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line]


def test_what_is_in_step_says_so(shop: Shop) -> None:
    answer = shop.run("audit")
    assert answer.code == 0, answer.err
    assert answer.out.startswith(f"products: {ROWS} rows and public.products_vectors in ")
    assert "\nNo drift.\n" in answer.out
    assert f"{ROWS} rows embedded again" in answer.out


@pytest.mark.slow
def test_drift_is_shown_repaired_and_gone(shop: Shop, model: EmbeddingServer) -> None:
    damage(
        shop,
        "delete from products_vectors where id in (3, 4, 5, 6, 7, 8)",
        "update products_vectors set price = 1000 where id = 20",
    )
    shop.sql("delete from products where id = 9")
    before = model.billed_tokens
    answer = shop.run("audit", "--sample", "0")
    assert answer.code == 4
    assert model.billed_tokens == before
    table = lines(answer.out)
    assert ["missing", "6", "3,", "4,", "5,", "6,", "7,", "…", "embed"] in table
    assert ["metadata", "1", "20", "write", "the", "metadata", "again"] in table
    assert ["orphaned", "1", "9", "delete"] in table
    assert "rowvec audit --repair" in answer.err

    answer = shop.run("audit", "--repair", "--sample", "0")
    assert answer.code == 0, answer.err
    assert answer.out.endswith("\nRepaired.\n")
    answer = shop.run("audit")
    assert answer.code == 0, answer.out
    assert shop.run("sync").out.startswith(f"products: {ROWS - 1} unchanged;")


def test_json_is_one_document(shop: Shop) -> None:
    answer = shop.run("audit", "--json")
    assert (answer.code, json.loads(answer.out)["findings"]) == (0, [])
    damage(shop, "update products_vectors set embedding = (select embedding from products_vectors where id = 2)")
    answer = shop.run("audit", "--json", "--repair")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    (finding,) = told["findings"]
    assert finding["kind"] == "wrong vector"
    assert (finding["count"], finding["examples"], finding["repair"]) == (ROWS - 1, [1, 3, 4, 5, 6], "embed again")
    assert (told["drift"], told["sample"]["rows"], told["repaired"]["left"]) == (True, ROWS, [])
    assert told["sample"]["cost"] > 0


@pytest.mark.slow
def test_a_repair_never_wipes_the_vectors_of_an_empty_table(shop: Shop) -> None:
    shop.sql("delete from products")
    answer = shop.run("audit", "--repair")
    assert answer.code == 1
    assert "--allow-delete" in answer.err
    answer = shop.run("audit")
    assert answer.code == 4
    assert ["orphaned", str(ROWS), "1,", "2,", "3,", "4,", "5,", "…", "delete"] in lines(answer.out)
    answer = shop.run("audit", "--repair", "--allow-delete")
    assert answer.code == 0, answer.err


def test_rows_that_a_repair_cannot_embed_make_the_exit_code_three(shop: Shop, model: EmbeddingServer) -> None:
    damage(shop, "delete from products_vectors where id in (3, 4)")
    model.refuse = lambda text: "lamp 3." in text
    answer = shop.run("audit", "--repair", "--sample", "0")
    assert answer.code == 3
    assert "1 row could not be embedded" in answer.err
    answer = shop.run("audit", "--sample", "0")
    assert answer.code == 3, "it is on record as a failure now"
    assert f"\n1 of {ROWS} rows could not be embedded.\n" in answer.out


def test_before_the_first_sync_there_is_nothing_to_audit(shop: Shop) -> None:
    damage(shop, "drop table products_vectors")
    answer = shop.run("audit")
    assert answer.code == 1
    assert "Run `rowvec sync` first." in answer.err


@pytest.mark.slow
def test_one_wrong_vector_in_the_sample_has_every_row_compared_and_repaired(shop: Shop) -> None:
    damage(shop, "update products_vectors set embedding = (select embedding from products_vectors where id = 2)")
    answer = shop.run("audit", "--sample", "5")
    assert answer.code == 4
    assert "rows of 30 were not, and may be wrong too" in " ".join(answer.err.split())
    answer = shop.run("audit", "--sample", "5", "--repair")
    assert answer.code == 0, answer.err
    assert f"All rows were embedded again: {ROWS - 1} of {ROWS} had a wrong vector.\nRepaired.\n" in answer.out
    answer = shop.run("audit", "--sample", "1000")
    assert answer.code == 0, answer.out
    assert "\nNo drift.\n" in answer.out


def test_an_audit_of_rows_that_all_failed_does_not_say_that_nothing_drifted(shop: Shop, model: EmbeddingServer) -> None:
    damage(shop, "delete from products_vectors")
    answer = shop.run("audit")
    assert answer.code == 4
    assert ["missing", str(ROWS), "1,", "2,", "3,", "4,", "5,", "…", "embed"] in lines(answer.out)
    model.refuse = lambda text: " " in text
    assert shop.run("sync").code == 3
    answer = shop.run("audit")
    assert answer.code == 3
    assert "No drift." not in answer.out
    assert f"{ROWS} of {ROWS} rows could not be embedded." in answer.out
    assert "rowvec sync --retry-failed" in answer.err
    told = json.loads(shop.run("audit", "--json").out)
    assert (told["rows"], told["failed"], told["drift"]) == (ROWS, ROWS, False)


def test_rows_without_a_text_are_counted(shop: Shop) -> None:
    shop.sql("update products set name = '', description = '' where id < 4")
    assert shop.run("sync").code == 0
    answer = shop.run("audit")
    assert answer.code == 0, answer.out
    assert f"3 of {ROWS} rows have no text, and so no vector." in answer.out
