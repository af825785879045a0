"""What a user is told when something is wrong: what it is, where, and what to do; never a secret, never a traceback."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from rowvec.cli.main import main
from tests.acceptance.shop import Finished, Shop
from tests.integration.sql_rig import POSTGRES, postgres_database
from tests.servers.openai import EmbeddingServer
from tests.support import as_role

Told = Callable[..., Finished]
STORE = 'kind = "postgres", url = "{url}", table = "{table}", metadata = ["price"], language = ""'
SOURCE = 'url = "{url}", table = "{table}", key = "{key}"'
ROWS = 12


@pytest.fixture
def shop(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.chdir(shop.folder)
    for name, value in shop.variables.items():
        monkeypatch.setenv(name, value)
    return shop


@pytest.fixture
def rowvec(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    """The command in this process, which is what a test of many messages has the time for."""

    def run(*arguments: str) -> Finished:
        monkeypatch.setattr(sys, "argv", ["rowvec", *arguments])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Finished(code, printed.out, printed.err)

    return run


# The config


def test_no_config(shop: Shop, rowvec: Told) -> None:
    (shop.folder / "rowvec.toml").unlink()
    answer = rowvec("sync")
    assert answer.code == 2
    assert "rowvec.toml" in answer.err
    assert "rowvec init" in answer.err


def test_a_config_that_is_not_there(shop: Shop, rowvec: Told) -> None:
    answer = rowvec("sync", "--config", "shop.toml")
    assert answer.code == 2
    assert "shop.toml" in answer.err


def test_a_pipeline_that_is_not_there(shop: Shop, rowvec: Told) -> None:
    answer = rowvec("sync", "product")
    assert answer.code == 2
    assert "Did you mean 'products'?" in answer.err


# The source


def test_no_such_database_file(shop: Shop, rowvec: Told) -> None:
    shop.declare(source=SOURCE.format(url="sqlite:///shopp.db", table="products", key="id"))
    answer = rowvec("sync")
    assert answer.code == 1
    assert "There is no file" in answer.err
    assert "Did you mean 'shop.db'?" in answer.err
    assert not (shop.folder / "shopp.db").exists(), "reading creates nothing"


def test_a_file_that_is_no_database(shop: Shop, rowvec: Told) -> None:
    (shop.folder / "notes.db").write_text("These are notes. " * 100)
    shop.declare(source=SOURCE.format(url="sqlite:///notes.db", table="products", key="id"))
    answer = rowvec("sync")
    assert answer.code == 1
    assert "notes.db is not a SQLite database" in answer.err


def test_an_unknown_table_is_answered_with_the_nearest_one(shop: Shop, rowvec: Told) -> None:
    shop.declare(source=SOURCE.format(url="sqlite:///shop.db", table="product", key="id"))
    answer = rowvec("sync")
    assert answer.code == 1
    assert "has no table 'product'" in answer.err
    assert "Did you mean 'products'?" in answer.err


@pytest.mark.parametrize(
    ("part", "setting", "named"),
    [
        ("source", SOURCE.format(url="sqlite:///shop.db", table="products", key="prize"), "source.key"),
        ("text", 'columns = ["name", "descripton"]', "text.columns"),
        ("text", 'template = "{{ nmae }}"', "text.template"),
        ("store", STORE.format(url="${STORE_URL}", table="v").replace("price", "prize"), "store.metadata"),
    ],
)
def test_an_unknown_column_is_answered_with_the_nearest_one(
    part: str, setting: str, named: str, shop: Shop, rowvec: Told
) -> None:
    shop.declare(**{part: setting})
    answer = rowvec("sync")
    assert answer.code == 2
    assert named in answer.err
    assert "Did you mean" in answer.err


def test_a_condition_that_the_database_refuses(shop: Shop, rowvec: Told) -> None:
    shop.declare(source=SOURCE.format(url="sqlite:///shop.db", table="products", key="id") + ', where = "colour = 1"')
    answer = rowvec("sync")
    assert answer.code == 1
    assert "no such column: colour" in answer.err
    assert "source.where" in answer.err


def test_a_key_that_is_not_unique(shop: Shop, rowvec: Told) -> None:
    shop.sql("update products set name = 'lamp 1'")
    shop.declare(source=SOURCE.format(url="sqlite:///shop.db", table="products", key="name"))
    answer = rowvec("sync")
    assert answer.code == 1
    assert "the key name = 'lamp 1' on more than one row" in answer.err
    assert "GROUP BY" in answer.err


def test_a_null_key(shop: Shop, rowvec: Told) -> None:
    shop.sql("update products set name = null where id = 3")
    shop.declare(source=SOURCE.format(url="sqlite:///shop.db", table="products", key="name"))
    answer = rowvec("sync")
    assert answer.code == 1
    assert "has a row whose key 'name' is null" in answer.err
    assert "name is not null" in answer.err


def test_a_composite_key(shop: Shop, rowvec: Told) -> None:
    shop.sql("create table offers (shop integer, product integer, name text, description text, price real,"
             " primary key (shop, product))")  # fmt: skip
    shop.sql("insert into offers values (?, ?, 'lamp', 'bright', 1)", (1, 1), (1, 2), (2, 1))
    shop.declare(source=SOURCE.format(url="sqlite:///shop.db", table="offers", key="shop"))
    answer = rowvec("sync")
    assert answer.code == 1
    assert "(shop, product)" in answer.err
    assert "shop || '-' || product AS key" in answer.err


@pytest.mark.parametrize("part", ["source", "store"])
def test_an_unreachable_database(part: str, shop: Shop, rowvec: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowvec.support.retry.PATIENCE", 0.1)
    url = "postgresql://shop:s3cret@127.0.0.1:1/shop"
    form = SOURCE.format(url=url, table="products", key="id") if part == "source" else STORE.format(url=url, table="v")
    shop.declare(**{part: form})
    answer = rowvec("sync")
    assert answer.code == 1
    assert "127.0.0.1:1" in answer.err
    assert "does not answer" in answer.err
    assert "Connection refused" in answer.err
    assert "Is the" in answer.err
    assert f"{part}.url" in answer.err
    assert "s3cret" not in answer.err


@pytest.fixture
def guarded(server: str) -> Iterator[str]:
    """URL, but for the password, of a role `guest` that has to give it and may do nothing of its own."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("create role guest login password 'right'")
        try:
            yield as_role(server, "guest", "{password}")
        finally:
            connection.execute("drop owned by guest")
            connection.execute("drop role guest")


@pytest.mark.parametrize("part", ["source", "store"])
def test_a_wrong_password_is_not_repeated(part: str, guarded: str, shop: Shop, rowvec: Told) -> None:
    url = guarded.format(password="wr0ng-s3cret")
    form = SOURCE.format(url=url, table="products", key="id") if part == "source" else STORE.format(url=url, table="v")
    shop.declare(**{part: form})
    answer = rowvec("sync")
    assert answer.code == 1
    assert "password" in answer.err
    assert f"{part}.url" in answer.err
    assert "wr0ng-s3cret" not in answer.err + answer.out


# The store


def test_a_server_without_pgvector(shop: Shop, rowvec: Told) -> None:
    with postgres_database() as (url, _):
        with psycopg.connect(url) as connection:
            if connection.execute("select from pg_available_extensions where name = 'vector'").rowcount:
                pytest.skip(f"the server at {POSTGRES} has pgvector")
        shop.declare(store=STORE.format(url=url, table="v"))
        for command in ("sync", "check"):
            answer = rowvec(command)
            assert answer.code == 1
            told = answer.err + answer.out
            assert "has no pgvector" in told
            assert "postgresql-<version>-pgvector" in told


def test_a_role_without_permission(guarded: str, shop: Shop, rowvec: Told, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create extension vector")
    url = as_role(postgres_url, "guest", "right")
    shop.declare(store=STORE.format(url=url, table="v"))
    for command in ("sync", "check"):
        answer = rowvec(command)
        assert answer.code == 1
        told = answer.err + answer.out
        assert "permission" in told or "may not create" in told
        assert "CREATE" in told, "it says what to grant"
        assert "right@" not in told


def test_vectors_of_another_dimension(shop: Shop, rowvec: Told, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create extension vector")
        connection.execute("create table v (id bigint primary key, embedding vector(768))")
    shop.declare(store=STORE.format(url="${STORE_URL}", table="v"))
    answer = rowvec("sync")
    assert answer.code == 1
    assert "holds vectors of 768 dimensions, but the model gives 16" in answer.err
    assert "store.table" in answer.err


def test_a_table_that_is_not_rowvecs(shop: Shop, rowvec: Told, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create table customers (id bigint primary key, name text)")
        connection.execute("insert into customers values (1, 'Ada')")
    shop.declare(store=STORE.format(url="${STORE_URL}", table="customers"))
    answer = rowvec("sync")
    assert answer.code == 1
    assert "Error: public.customers in the embedded PostgreSQL" in answer.err
    assert "is not a table of vectors" in answer.err
    assert "store.table" in answer.err
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select * from customers").fetchall() == [(1, "Ada")]


# The rows


def test_an_empty_source_does_not_empty_the_index(shop: Shop, rowvec: Told) -> None:
    assert rowvec("sync").code == 0
    shop.sql("delete from products")
    answer = rowvec("sync")
    assert answer.code == 1
    assert f"{ROWS} of the {ROWS} rows" in answer.err
    assert "Nothing was deleted" in answer.err
    assert "--allow-delete" in answer.err
    assert "--allow-delete" in rowvec("plan").out
    answer = rowvec("sync", "--allow-delete")
    assert answer.code == 0
    assert f"{ROWS} deleted" in answer.out


def test_renamed_keys_are_refused_again_until_it_is_allowed(shop: Shop, rowvec: Told) -> None:
    assert rowvec("sync").code == 0
    shop.sql("update products set id = id + 100")
    said = f"{ROWS} of the {ROWS} rows"
    for _ in range(3):
        answer = rowvec("sync")
        assert answer.code == 1
        assert said in answer.err
        assert "Nothing was deleted." in answer.err
    assert "Refused since" in answer.err
    assert said in rowvec("status").out
    assert said in rowvec("plan").out
    checked = rowvec("check")
    assert checked.code == 1
    assert said in checked.out
    allowed = rowvec("sync", "--allow-delete")
    assert allowed.code == 0
    assert f"{ROWS} deleted" in allowed.out
    assert "Refused" not in rowvec("status").out
    assert rowvec("check").code == 0


def test_characters_that_no_database_takes_are_left_out_of_the_text(
    shop: Shop, rowvec: Told, model: EmbeddingServer
) -> None:
    shop.sql("update products set name = 'a' || char(0) || 'b' where id = 1")
    # As a surrogate half in UTF-8, which is how a careless program writes one.
    shop.sql("update products set name = cast(x'61eda08062' as text) where id = 2")
    answer = rowvec("sync")
    assert answer.code == 0, answer.err
    assert f"{ROWS} new" in answer.out
    names = {text.removeprefix("name: ").partition(".")[0] for text in model.billed_texts}
    assert "ab" in names
    assert any(name.startswith("a�") for name in names)
    assert f"{ROWS} unchanged" in rowvec("sync").out


def test_a_text_of_five_megabytes_is_a_row_like_another(shop: Shop, rowvec: Told, model: EmbeddingServer) -> None:
    shop.sql("update products set description = ? where id = 5", ("wide " * 1_000_000,))
    model.max_tokens = 10_000_000
    answer = rowvec("sync")
    assert answer.code == 0, answer.err
    assert f"{ROWS} new" in answer.out


def test_a_text_that_the_model_refuses_fails_alone(shop: Shop, rowvec: Told, model: EmbeddingServer) -> None:
    model.refuse = lambda text: "lamp 5." in text
    answer = rowvec("sync")
    assert answer.code == 3
    assert f"{ROWS - 1} new, 1 failed" in answer.out
    assert "5" in rowvec("failures").out


def test_a_row_that_vanishes_while_it_is_embedded_is_gone_after_the_next_sync(
    shop: Shop, rowvec: Told, model: EmbeddingServer, postgres_url: str
) -> None:
    def vanish(text: str) -> bool:
        with closing(sqlite3.connect(shop.folder / "shop.db", timeout=30)) as database, database:
            database.execute("delete from products where id = 4")
        return False

    model.refuse = vanish
    assert rowvec("sync").code == 0
    model.refuse = lambda text: False
    assert rowvec("sync").code == 0
    with psycopg.connect(postgres_url) as connection:
        found = {row[0] for row in connection.execute("select id from products_vectors")}
    assert found == set(range(1, ROWS + 1)) - {4}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path, rowvec: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o500)
    answer = rowvec("init")
    tmp_path.chmod(0o700)
    assert answer.code == 2
    assert "cannot be written" in answer.err


# The options


def test_a_filter_that_cannot_be_read_is_a_usage_error(shop: Shop, rowvec: Told) -> None:
    assert rowvec("sync").code == 0
    for command, wanted in (("search", "lamp"), ("similar", "1")):
        for condition, said in (("price <", "expected a value"), ("prise < 3", "Did you mean 'price'?")):
            answer = rowvec(command, wanted, "--where", condition)
            assert (answer.code, answer.out) == (2, "")
            assert said in answer.err


def test_an_index_that_pgvector_would_refuse_leaves_nothing_behind(shop: Shop, rowvec: Told) -> None:
    assert rowvec("sync").code == 0
    answer = rowvec("index", "build", "--m", "16", "--ef-construction", "31")
    assert answer.code == 2
    assert "Write 32 or more." in answer.err
    assert rowvec("index", "--json").out == "[]\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("build", "--kind", "ivfflat", "--m", "24"), "--m is of another kind of index than ivfflat."),
        (("build", "--kind", "hnsw", "--lists", "5"), "--lists is of another kind of index than hnsw."),
        (("build", "--lists", "5"), "--lists is of another kind of index than hnsw."),
        (("tune", "--queries", "5", "--queries-from", "q.csv"), "--queries and --queries-from contradict each other."),
    ],
)
def test_an_option_that_would_be_passed_over_is_refused(
    words: tuple[str, ...], said: str, shop: Shop, rowvec: Told
) -> None:
    (shop.folder / "q.csv").write_text("id,query\n1,lamp\n")
    answer = rowvec("index", *words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_the_demo_leaves_a_config_that_is_not_its_own(shop: Shop, rowvec: Told) -> None:
    before = (shop.folder / "rowvec.toml").read_bytes()
    answer = rowvec("demo", "--folder", ".", "--rows", "5")
    assert answer.code == 2
    assert "--folder" in answer.err
    assert (shop.folder / "rowvec.toml").read_bytes() == before
    assert not (shop.folder / "stdlib.db").exists()


@pytest.mark.parametrize("folder", ["rowvec.toml", "notes"])
def test_the_demo_in_a_folder_that_it_cannot_use(folder: str, shop: Shop, rowvec: Told) -> None:
    (shop.folder / "notes").mkdir()
    (shop.folder / "notes" / "stdlib.db").write_text("These are notes. " * 100)
    answer = rowvec("demo", "--folder", folder, "--rows", "5")
    assert answer.code == 2
    assert answer.err.startswith(f"Error: The demo cannot write to the folder {folder}: ")
    assert "--folder" in answer.err


@pytest.mark.parametrize("number", ["1_0", "+5", " 5", "\u0665", "nan", "inf"])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("search", "lamp"), "--limit"),
        (("sync",), "--limit"),
        (("serve",), "--port"),
        (("serve",), "--rate"),
        (("quality",), "--seconds"),
        (("quality",), "--bound"),
    ],
)
def test_an_option_takes_only_what_is_written_as_a_number(
    rowvec: Told, command: tuple[str, ...], option: str, number: str
) -> None:
    """Python's own parser takes 1_0 for 10, and nan is above every minimum."""
    told = rowvec(*command, option, number)
    assert told.code == 2 and option in told.err
    assert rowvec(*command, f"{option}={number}").code == 2


def test_bytes_that_are_no_text_are_not_looked_for(rowvec: Told) -> None:
    for arguments in (
        ("search", "la\udcffmp"),
        ("search", "lamp", "--where", "name = '\udcff'"),
        ("similar", "\udcff"),
    ):
        told = rowvec(*arguments)
        assert told.code == 2 and "bytes that are not UTF-8" in told.err
