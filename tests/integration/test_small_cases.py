"""Small inputs that products got wrong, in the project's shared data: what is embedded, stored and said of each."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rowvec.api.project import Project
from rowvec.auditing.audit import audit
from rowvec.errors import SourceError
from rowvec.stores.postgres.embedded import embedded_url
from tests.acceptance.shop import Shop as Commands
from tests.integration.sql_rig import Open, keys, postgres_database
from tests.integration.test_remembered_columns import Shop, shop

__all__ = ["shop"]

pytestmark = pytest.mark.slow


@pytest.fixture
def cases(data: Path) -> Path:
    return data / "cases"


def put(shop: Shop, case: Path, name: str | None = None) -> str:
    """The input in the project's folder; its name there."""
    shutil.copyfile(case, shop.folder / (name or case.name))
    return name or case.name


def texts(shop: Shop) -> set[str]:
    return set(shop.model.billed_texts) - {"rowvec"}


def drift(shop: Shop) -> dict[Any, Any]:
    with Project(shop.folder) as project:
        return dict(audit(project.pipeline().assembled, settle=0).findings)


TEXTS: dict[str, set[str]] = {
    "int96_9999.parquet": {"u: 9999-12-31 00:00:00", "u: 2024-01-01 00:00:00"},
    "float32.parquet": {"price: 19.99", "price: 0.1"},
    "nul_in_list.jsonl": {"n: a. tags: ab, c"},
    "cr_only.csv": {"n: a", "n: b"},
    "UPPER.TSV": {"n: a"},
    "far_dates.jsonl": {
        "n: a. u: 9999-12-31T23:59:59-05:00", "n: b. u: 0001-01-01T00:00:00+01:00", "n: c. u: 2024-01-01T00:00:00Z",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_of_each_row_says_what_its_file_says(shop: Shop, cases: Path, name: str) -> None:
    shop.files(put(shop, cases / name))
    assert shop.sync() == {"inserted": len(TEXTS[name])}
    assert texts(shop) == TEXTS[name]
    assert shop.sync() == {"unchanged": len(TEXTS[name])}
    assert drift(shop) == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("latin1_in_string.parquet", r"latin1_in_string\.parquet, row 2: the column 'n' is not UTF-8"),
        ("unclosed_quote.csv", r"unclosed_quote\.csv, line 3: a quotation mark opens in this row and is not closed"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_row(shop: Shop, cases: Path, name: str, said: str) -> None:
    shop.files(put(shop, cases / name))
    with pytest.raises(SourceError, match=said) as caught:
        shop.sync()
    assert caught.value.hint
    assert texts(shop) == set()


@pytest.mark.parametrize("name", ["late_leading_zeros.csv", "late_json_values.jsonl"])
def test_late_keys_of_another_form_stay_as_they_are_written(shop: Shop, cases: Path, name: str) -> None:
    lines = (cases / name).read_text().splitlines()
    if name.endswith("csv"):
        written = [line.partition(",")[0] for line in lines[1:]]
    else:
        written = [found if isinstance(found := json.loads(line)["id"], str) else json.dumps(found) for line in lines]
    shop.files(put(shop, cases / name))
    assert shop.sync()["inserted"] == len(written) == len(set(written))
    assert set(shop.stored()) == set(written)
    assert shop.sync() == {"unchanged": len(written)}


def test_ids_of_19_digits_are_two_values_and_found_apart(shop: Shop, cases: Path) -> None:
    shop.files(put(shop, cases / "snowflake_ids.csv"), "tweet")
    assert shop.sync() == {"inserted": 2}
    assert shop.stored() == {1: {"tweet": 1234567890123456789}, 2: {"tweet": 1234567890123456788}}
    assert shop.search("tweet = 1234567890123456789") == [1]
    assert drift(shop) == {}


def test_an_integer_that_becomes_a_fraction_stops_no_sync(shop: Shop, cases: Path) -> None:
    name = put(shop, cases / "type_before.csv")
    shop.files(name, "v")
    assert shop.sync() == {"inserted": 1}
    put(shop, cases / "type_after.csv", name)
    assert shop.plan().columns == ["The column 'v' is number now, and was integer."]
    assert shop.sync() == {"embedded": 1}
    assert shop.stored() == {1: {"v": 5.5}}
    assert shop.sync() == {"unchanged": 1}


def test_a_file_that_has_only_a_header_first_settles_nothing(shop: Shop, cases: Path) -> None:
    name = put(shop, cases / "header_only.csv")
    shop.files(name, "n")
    assert shop.sync() == {}
    (shop.folder / name).write_text("id,n\n1,5\n2,6\n")
    assert shop.sync() == {"inserted": 2}
    assert shop.stored() == {1: {"n": 5}, 2: {"n": 6}}


def test_a_row_that_goes_embeds_no_other_row_again(shop: Shop, cases: Path) -> None:
    name = put(shop, cases / "sparse_before.jsonl")
    shop.files(name, "price")
    assert shop.sync() == {"inserted": 3}
    put(shop, cases / "sparse_after.jsonl", name)
    assert shop.sync() == {"unchanged": 2, "deleted": 1}
    assert shop.model.billed_texts.total() == 3


def test_a_long_header_is_the_name_of_its_column_in_every_sync(shop: Shop, cases: Path) -> None:
    header = (cases / "long_header.csv").read_text().splitlines()[0].partition(",")[2]
    assert len(header.encode()) > 63
    shop.files(put(shop, cases / "long_header.csv"), header)
    assert shop.sync() == {"inserted": 2}
    assert shop.sync() == {"unchanged": 2}
    assert shop.stored() == {1: {header: 5}, 2: {header: 3}}
    assert shop.search(f'"{header}" > 4') == [1]


def test_a_key_of_3000_characters_costs_at_most_itself(shop: Shop, cases: Path) -> None:
    """PostgreSQL's index refuses it; libSQL takes it."""
    with (cases / "long_key.csv").open(newline="") as file:
        written = {row["id"] for row in csv.DictReader(file)}
    shop.files(put(shop, cases / "long_key.csv"))
    fits = {key for key in written if len(key) < 2700} if "postgres" in shop.store else written
    refused = len(written) - len(fits)
    assert shop.sync() == {"inserted": len(fits), **({"failed": refused} if refused else {})}
    paid = shop.model.billed_texts.total()
    assert shop.sync() == {"unchanged": len(fits)}, "what the store refused waits"
    assert shop.model.billed_texts.total() == paid
    with Project(shop.folder) as project:
        assert {failure.key for failure in project.pipeline().failures()} == written - fits


def test_a_cloudevent_is_a_row_of_its_table_until_it_is_deleted(shop: Shop, cases: Path) -> None:
    name = put(shop, cases / "cloudevents.jsonl")
    event = json.loads((cases / name).read_text())

    def told(number: int, op: str, before: object, after: object) -> str:
        attributes = {"id": f"name:shop;lsn:{number};txId:{number}", "iodebeziumop": op}
        return json.dumps({**event, **attributes, "data": {"before": before, "after": after}}) + "\n"

    with (shop.folder / name).open("a") as file:
        file.writelines(told(10 + key, "c", None, {"id": key, "n": "desk"}) for key in (2, 3))
    shop.configure(f'{{ kind = "debezium", paths = "{name}", key = "id" }}', "n", text='columns = ["n"]')
    assert shop.sync() == {"inserted": 3}
    assert shop.stored()[1] == {"n": "chair"}
    with (shop.folder / name).open("a") as file:
        file.write(told(14, "d", {"id": 1, "n": "chair"}, None))
    assert shop.sync() == {"deleted": 1}
    assert shop.stored() == {2: {"n": "desk"}, 3: {"n": "desk"}}


KEYS = {
    "inet": "10.0.0.1", "macaddr": "08:00:2b:01:02:03", "ltree": "Top.Science", "isbn13": "978-0-393-04002-9",
    '"char"': "x", "interval": "1 day", "xid8": "10",
}  # fmt: skip
"""Of the types that the case names beside its enum."""


def test_keys_of_types_without_a_collation_are_followed(cases: Path, source: Open) -> None:
    create, insert = (line.partition("--")[0] for line in (cases / "postgres_keys.sql").read_text().splitlines())
    with postgres_database() as (url, run):
        run("create extension isn; create extension ltree")
        statements = {"e": (create, insert, "zeta")}
        for number, (kind, key) in enumerate(KEYS.items()):
            assert kind in (cases / "postgres_keys.sql").read_text()
            name = f"k{number}"
            made = f"create table {name} (id {kind} primary key, n text)"
            statements[name] = (made, f"insert into {name} values ('{key}', 'x')", key)
        for name, (made, filled, key) in statements.items():
            run(made)
            some = source(url, table=name)
            assert keys(some) == []
            run(filled)
            assert keys(some) == keys(source(url, table=name)) == [key]
            assert some.existing([key]) == {key}


PREPARING = """
import sys, pathlib, psycopg
from rowvec.stores.postgres.embedded import embedded_url, stop_embedded
folder = pathlib.Path(sys.argv[1])
with psycopg.connect(embedded_url(folder), autocommit=True) as connection:
    connection.execute("alter system set max_prepared_transactions = 2")
stop_embedded(folder)
"""


@pytest.fixture
def preparing(state_folder: Path) -> str:
    """URL of a server that keeps prepared transactions."""
    # In a process of its own: the setting counts from the server's start.
    subprocess.run([sys.executable, "-c", PREPARING, str(state_folder)], check=True)
    return embedded_url(state_folder)


def test_a_trigger_that_forbids_prepared_transactions_is_told(
    cases: Path, preparing: str, source: Open, tmp_path: Path
) -> None:
    """Nothing in the trigger can prevent it."""
    commands = Commands(tmp_path)
    commands.declare(
        source=f'url = "{preparing}", table = "t", key = "id"', text='columns = ["n"]',
        embedder='kind = "openai", model = "text-embedding-3-small", api_key = "none"',
        store='kind = "libsql", url = "vectors.db"',
    )  # fmt: skip
    prepare = (cases / "watch_2pc.sql").read_text().splitlines()[1].partition("--")[0].encode()
    with psycopg.connect(preparing, autocommit=True) as application:
        application.execute("create table t (id int primary key, n text)")
        application.execute("insert into t values (1, 'a')")
        some = source(preparing, table="t")
        notifier = some.notifier()
        application.execute(prepare)
        application.execute("rollback prepared 'x'")
        assert (notifier.prepares(), some.checks()) == (True, [])
        assert "PREPARE TRANSACTION" in commands.run("watch", "--install").err
        (line,) = some.checks()
        assert "makes PREPARE TRANSACTION fail" in line.detail
        assert "--uninstall" in str(line.fix)
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="cannot PREPARE"):
            application.execute(prepare)
        application.execute("rollback")
        application.execute("update t set n = 'a plain write' where id = 1")
        assert "makes PREPARE TRANSACTION fail" in " ".join(commands.run("check").out.split())
        assert commands.run("watch", "--uninstall").code == 0
        application.execute(prepare)
        application.execute("rollback prepared 'x'")
        assert some.checks() == []


def test_no_input_of_the_shared_data_is_left_out(cases: Path) -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in cases.iterdir() if path.name not in here] == []
