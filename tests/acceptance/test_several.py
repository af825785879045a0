"""One config with several pipelines, and command lines as people type them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.shop import Shop
from tests.servers.openai import EmbeddingServer

PIPELINE = """
[pipelines.{name}]
source = {{ kind = "sql", url = "sqlite:///shop.db", table = "{table}", key = "id" }}
text = {{ columns = ["name"] }}
store = {{ kind = "libsql", url = "vectors.db", table = "{name}_vectors", metadata = ["price"] }}
[pipelines.{name}.embedder]
kind = "openai"
model = "text-embedding-3-small"
base_url = "${{MODEL_URL}}"
api_key = "test-key"
dimensions = 16
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Two pipelines: `lamps`, and `chairs` over half of as many rows."""
    with EmbeddingServer() as service:
        shop = Shop(tmp_path, {"MODEL_URL": service.url})
        shop.stock(10)
        shop.sql("create table few as select * from products where id <= 5")
        (tmp_path / "rowvec.toml").write_text(
            PIPELINE.format(name="lamps", table="products") + PIPELINE.format(name="chairs", table="few")
        )
        yield shop


def test_what_only_looks_shows_every_pipeline(shop: Shop) -> None:
    checked = shop.run("check")
    assert checked.code == 0, checked.out
    assert [line for line in checked.out.splitlines() if " config " in line] == [
        f"OK     config    {shop.folder}/rowvec.toml, pipeline {name}" for name in ("lamps", "chairs")
    ]
    planned = shop.run("plan")
    assert "lamps: 10 rows" in planned.out
    assert "chairs: 5 rows" in planned.out
    assert shop.run("sync", "--all").out.count(" new; ") == 2
    status = shop.run("status", "--all")
    assert [line.split(":")[0] for line in status.out.splitlines() if "vectors.db" in line] == ["lamps", "chairs"]


def test_status_without_a_name_is_one_line_for_each_pipeline(shop: Shop) -> None:
    never = shop.run("status")
    assert [line.split() for line in never.out.splitlines()[1:]] == [
        ["lamps", "10", "never", "synced"], ["chairs", "5", "never", "synced"],
    ]  # fmt: skip
    shop.run("sync", "-p", "lamps")
    shop.sql("drop table few")
    found = shop.run("status")
    assert found.code == 1
    lines = found.out.splitlines()
    assert "in step as of the last sync, " in lines[1]
    assert lines[2].startswith("chairs")
    assert "Error: " in lines[2]
    assert set(json.loads(shop.run("status", "--json").out)) == {"lamps", "chairs"}


def test_a_sync_wants_to_know_which(shop: Shop) -> None:
    answer = shop.run("sync")
    assert answer.code == 2
    assert "has 2 pipelines: lamps, chairs." in answer.err
    assert "-p lamps; most commands also take --all" in answer.err


def test_all_as_json_is_one_document(shop: Shop) -> None:
    found = json.loads(shop.run("sync", "--all", "--json").out)
    assert {name: each["inserted"] for name, each in found.items()} == {"lamps": 10, "chairs": 5}
    found = json.loads(shop.run("plan", "--json").out)
    assert {name: each["rows"] for name, each in found.items()} == {"lamps": 10, "chairs": 5}
    assert set(json.loads(shop.run("check", "--all", "--json").out)) == {"lamps", "chairs"}
    assert set(json.loads(shop.run("audit", "--all", "--json").out)) == {"lamps", "chairs"}


def test_all_as_json_has_one_shape_however_many_pipelines_there_are(shop: Shop) -> None:
    (shop.folder / "rowvec.toml").write_text(PIPELINE.format(name="lamps", table="products"))
    for command in ("plan", "sync", "status", "check", "audit"):
        assert set(json.loads(shop.run(command, "--all", "--json").out)) == {"lamps"}, command
    assert json.loads(shop.run("status", "--json").out)["pipeline"] == "lamps"
    assert shop.run("plan", "--all").out.startswith("lamps: 10 rows")


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_pipeline_that_fails_does_not_keep_the_others_from_their_turn(shop: Shop, form: list[str]) -> None:
    shop.sql("alter table products rename to elsewhere")
    answer = shop.run("sync", "--all", *form)
    assert answer.code == 1
    if form:
        found = json.loads(answer.out)
        assert "products" in found["lamps"]["error"]
        assert found["chairs"]["inserted"] == 5
    else:
        assert "chairs: 5 new" in answer.out
        assert "Error: lamps:" in answer.err
        assert "Traceback" not in answer.err


def test_all_and_a_name_contradict_each_other(shop: Shop) -> None:
    answer = shop.run("sync", "--all", "-p", "lamps")
    assert (answer.code, answer.out) == (2, "")
    assert "--all and -p lamps contradict each other" in answer.err


@pytest.mark.parametrize("command", ["check", "plan", "sync", "status", "failures", "audit", "generations"])
def test_every_command_takes_its_pipeline_in_the_same_way(shop: Shop, command: str) -> None:
    assert shop.run("sync", "--all").code == 0
    named, short = shop.run(command, "--pipeline", "chairs"), shop.run(command, "chairs")
    assert named.code == short.code == 0, named.err + short.err
    assert shop.run(command, "nothing").code == 2
    assert "no pipeline 'nothing'" in (answer := shop.run(command, "-p", "nothing")).err + answer.out


def test_search_is_told_the_pipeline_like_every_other_command(shop: Shop) -> None:
    assert shop.run("sync", "--all").code == 0
    assert shop.run("search", "lamp", "-p", "chairs", "--limit", "1").code == 0


@pytest.mark.parametrize("command", ["", "sync", "search", "embedded", "embedded stop"])
def test_help_has_a_short_form_and_whole_sentences(tmp_path: Path, command: str) -> None:
    answer = Shop(tmp_path).run(*command.split(), "-h")
    assert answer.code == 0
    assert answer.out == Shop(tmp_path).run(*command.split(), "--help").out
    assert "…" not in answer.out
    assert "..." not in answer.out.replace("[ARGS]...", "")


def test_a_query_without_quotes_is_told_of_them(shop: Shop) -> None:
    answer = shop.run("search", "quiet", "office", "chair", "-p", "lamps")
    assert answer.code == 2
    assert 'in quotes: rowvec search "quiet office chair"' in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sync", "lamps", "chairs"), "Not expected here: lamps chairs"),
        (("sync", "-p", "lamps", "chairs"), "Name one pipeline: lamps or chairs."),
        (("similar", "1", "2"), "Not expected here: 2"),
        (("embedded", "stop", "now"), "Not expected here: now"),
        (("init", "shop.db"), "Name what to look at with --from: rowvec init --from shop.db"),
        (("init", "mysql://ann:secret-7@db/shop"), "rowvec init --from mysql://ann:***@db/shop"),
    ],
)
def test_words_too_many_are_named(shop: Shop, words: tuple[str, ...], said: str) -> None:
    answer = shop.run(*words)
    assert answer.code == 2
    assert said in answer.err
    assert "secret-7" not in answer.err


def test_no_hits_have_no_heading(shop: Shop) -> None:
    shop.run("sync", "--all")
    answer = shop.run("search", "zebra", "-p", "lamps", "-m", "keyword")
    assert (answer.code, answer.out, answer.err) == (0, "", "No hits.\n")


@pytest.mark.parametrize("command", ["plan", "sync"])
def test_keys_that_are_not_in_the_source_are_named(shop: Shop, command: str) -> None:
    answer = shop.run(command, "-p", "lamps", "--keys", "1,99,7-8,100")
    assert answer.code == 0
    assert "Not in the source: 99, 100." in answer.err


def test_a_filter_on_a_column_that_is_not_kept_says_how_to_keep_it(shop: Shop) -> None:
    shop.run("sync", "--all")
    answer = shop.run("search", "lamp", "-p", "lamps", "--where", "description = 'x'")
    assert answer.code == 2
    assert "The metadata columns are: price. To use another column of the rows, add it to store.metadata" in (
        answer.err
    )


def test_an_empty_filter_is_refused(shop: Shop) -> None:
    shop.run("sync", "--all")
    answer = shop.run("search", "lamp", "-p", "lamps", "--where", "")
    assert answer.code == 2
    assert "The filter is empty." in answer.err


def test_init_takes_a_path_and_the_table_that_is_named(shop: Shop) -> None:
    shop.sql("create view all_products as select * from products")
    for source in ("shop.db", "./shop.db", str(shop.folder / "shop.db"), "sqlite:///shop.db"):
        answer = shop.run("init", "--force", "--from", source)
        assert (answer.code, answer.err) == (0, "")
        assert '\ntable = "products"' in config_of(shop), "the table, and not its view"
    answer = shop.run("init", "--force", "--from", "shop.db", "--table", "few")
    assert answer.code == 0, answer.err
    assert '\ntable = "few"' in config_of(shop)
    answer = shop.run("init", "--force", "--from", "shop.db", "--table", "fwe")
    assert answer.code == 2
    assert "there is no table or view 'fwe'" in answer.err
    assert "Did you mean 'few'?" in answer.err
    assert '\ntable = "few"' in config_of(shop), "what was there is left"


def config_of(shop: Shop) -> str:
    return (shop.folder / "rowvec.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["a%20b", "a?b#c", "a*b [c]", "50% off"])
def test_a_folder_may_have_any_name(shop: Shop, name: str) -> None:
    project = Shop(shop.folder / name, shop.variables)
    project.folder.mkdir()
    project.stock(3)
    written = PIPELINE.format(name="lamps", table="products")
    whole = json.dumps(f"sqlite:///{project.folder}/shop.db")
    for config in (written, written.replace('"sqlite:///shop.db"', whole)):
        (project.folder / "rowvec.toml").write_text(config)
        answer = project.run("sync")
        assert answer.code == 0, answer.err
        assert "lamp 2" in project.run("search", "lamp 2", "-m", "keyword").out
    assert (project.folder / "vectors.db").is_file()
    config = written.replace(
        'kind = "sql", url = "sqlite:///shop.db", table = "products"', 'kind = "files", paths = "r.csv"'
    )
    (project.folder / "r.csv").write_text("id,name,price\n1,lamp,2\n2,lamp,2\n3,desk,2\n")
    (project.folder / "rowvec.toml").write_text(config)
    assert "3 changed" in project.run("sync").out
