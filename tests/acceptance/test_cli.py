"""The command line as a user meets it: every command a process of its own."""

from __future__ import annotations

import datetime as dt
import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from rowvec.evaluation.query_log import QueryLog
from tests.acceptance.shop import PARTS, ROWVEC, Shop, wait_until
from tests.servers.openai import EmbeddingServer
from tests.support import as_role

HEAVY = ("numpy", "sqlalchemy", "psycopg", "pydantic", "rich.progress", "jinja2", "ctranslate2", "tokenizers", "torch")
ROWS = 30


def stored(url: str) -> int:
    with psycopg.connect(url) as connection:
        if connection.execute("select to_regclass('products_vectors')").fetchone() == (None,):
            return 0
        row = connection.execute("select count(*) from products_vectors where embedding is not null").fetchone()
    assert row is not None
    return int(row[0])


# Starting


def test_help_lists_every_command_and_the_exit_codes(tmp_path: Path) -> None:
    answer = Shop(tmp_path).run_anew("--help")
    assert answer.code == 0
    for command in ("init", "check", "plan", "sync", "status", "failures", "search", "demo"):
        assert f"\n  {command} " in answer.out
    assert "3 done but some rows" in answer.out


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom rowvec.cli.commands import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "Commands" in answer.stdout
    assert answer.stdout.endswith("heavy: []\n")


def test_a_wrong_option_is_a_usage_error(tmp_path: Path) -> None:
    answer = Shop(tmp_path).run_anew("sync", "--fource")
    assert (answer.code, answer.out) == (2, "")
    assert "--fource" in answer.err
    assert "--force" in answer.err


# The way from a database to a search


def test_from_a_database_to_a_search(shop: Shop, model: EmbeddingServer) -> None:
    (shop.folder / "rowvec.toml").unlink()
    answer = shop.run("init", "--from", "sqlite:///shop.db")
    assert answer.code == 0, answer.err
    assert "rowvec check" in answer.out
    written = (shop.folder / "rowvec.toml").read_text(encoding="utf-8")
    assert 'table = "products"' in written
    assert 'key = "id"' in written

    shop.declare()
    answer = shop.run("check")
    assert answer.code == 0, answer.out
    assert [line.split()[:2] for line in answer.out.splitlines()][:4] == [
        ["OK", "config"], ["OK", "source"], ["OK", "text"], ["OK", "model"],
    ]  # fmt: skip
    assert stored(shop.variables["STORE_URL"]) == 0, "check creates nothing"

    answer = shop.run("plan")
    assert answer.code == 0
    assert f"products: {ROWS} rows" in answer.out
    assert "new row" in answer.out
    assert model.billed_tokens == 0

    answer = shop.run("sync")
    assert answer.code == 0, answer.err
    assert answer.out.startswith(f"products: {ROWS} new; {ROWS} texts embedded")

    shop.sql("update products set name = 'a red lantern' where id = 7")
    answer = shop.run("sync")
    assert answer.out.startswith(f"products: 1 changed, {ROWS - 1} unchanged; 1 text embedded")

    shop.sql("update products set price = 99 where id = 8")
    answer = shop.run("sync")
    assert answer.out.startswith(f"products: 1 metadata only, {ROWS - 1} unchanged; 0 texts embedded")

    answer = shop.run("status")
    assert f"100 % ({ROWS} of {ROWS} rows" in answer.out

    answer = shop.run("search", "name: a red lantern. description: number 7 of many", "--limit", "3")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[1].split()[1] == "7"


def test_init_says_what_it_did_not_find(shop: Shop) -> None:
    config = shop.folder / "rowvec.toml"
    config.unlink()
    answer = shop.run("init", "--from", "")
    assert (answer.code, answer.err.splitlines()[0]) == (2, "Error: --from is empty.")
    assert not config.exists()
    shop.sql("drop table products")
    answer = shop.run("init", "--from", "shop.db")
    assert answer.code == 0, answer.err
    assert "No table was found there: the pipeline in it is an example." in answer.out


STORES = {"postgres": PARTS["store"], "libsql": 'kind = "libsql", url = "vectors.db"'}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("words", [["rollback"], ["generations", "--drop", "previous"]])
def test_before_the_first_sync_there_is_no_generation(shop: Shop, store: str, words: list[str]) -> None:
    shop.declare(store=STORES[store])
    answer = shop.run(*words)
    assert answer.code == 1
    assert "holds no vectors yet." in answer.err
    assert "Run `rowvec sync` first." in answer.err
    assert not (shop.folder / "vectors.db").exists()


def test_a_table_without_rows_has_nothing_to_tune(shop: Shop) -> None:
    shop.sql("delete from products")
    assert shop.run("sync").code == 0
    assert shop.run("index", "build").code == 0
    answer = shop.run("index", "tune")
    assert (answer.code, answer.out) == (0, "")
    assert "nothing to tune" in answer.err


def test_from_files_to_a_sync(shop: Shop) -> None:
    config = shop.folder / "rowvec.toml"
    config.unlink()
    names = ["sku", "name", "price", "ean", "deleted"]
    rows = [[f"A-{n}", f"a lamp number {n}", f"{n}.50", f"{n:013d}", str(n == 7).lower()] for n in range(1, 31)]
    for number, part in enumerate((rows[:20], rows[20:])):
        lines = [";".join(row) for row in [names, *part]]
        (shop.folder / f"products-{number}.csv").write_text("\n".join(lines), encoding="utf-8")
    answer = shop.run("init", "--from", "products-*.csv")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] == "Next: rowvec check, rowvec plan, rowvec sync."

    head, _, rest = config.read_text(encoding="utf-8").partition("[pipelines.products.embedder]")
    store = rest[rest.index("[pipelines.products.store]") :].replace('"embedded"', '"${STORE_URL}"', 1)
    embedder = PARTS["embedder"].replace(", ", "\n")
    config.write_text(f"{head}[pipelines.products.embedder]\n{embedder}\n\n{store}", encoding="utf-8")
    answer = shop.run("check")
    assert answer.code == 0, answer.out
    assert "29 rows, key sku (text)" in answer.out
    answer = shop.run("plan")
    assert answer.code == 0, answer.err
    assert "products: 29 rows" in answer.out
    answer = shop.run("sync")
    assert answer.out.startswith("products: 29 new; 29 texts embedded"), answer.err


def test_init_means_a_relative_path_as_seen_from_the_config(shop: Shop) -> None:
    (shop.folder / "elsewhere").mkdir()
    elsewhere = Shop(shop.folder / "elsewhere", shop.variables)
    answer = elsewhere.run("init", "--from", "sqlite:///shop.db", "--config", "../new.toml")
    assert answer.code == 0, answer.err
    answer = elsewhere.run("check", "--config", "../new.toml")
    assert f"{ROWS} rows, key id (integer)" in answer.out


def test_init_keeps_a_password_out_of_the_file_and_of_the_screen(shop: Shop, postgres_url: str) -> None:
    (shop.folder / "rowvec.toml").unlink()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create role looker superuser login password 's3cret'")
        try:
            answer = shop.run("init", "--from", as_role(postgres_url, "looker", "s3cret"))
        finally:
            connection.execute("drop role looker")
    assert answer.code == 0, answer.err
    assert "ROWVEC_SOURCE_URL=" in answer.out
    assert ".env" in answer.out
    assert "s3cret" not in answer.out + answer.err + (shop.folder / "rowvec.toml").read_text(encoding="utf-8")


def test_init_does_not_overwrite_a_config(shop: Shop) -> None:
    before = (shop.folder / "rowvec.toml").read_text(encoding="utf-8")
    answer = shop.run("init")
    assert answer.code == 2
    assert "--force" in answer.err
    assert (shop.folder / "rowvec.toml").read_text(encoding="utf-8") == before


# What is printed where


def test_json_is_the_only_thing_on_stdout(shop: Shop) -> None:
    for arguments in (["plan"], ["sync"], ["check"], ["status"], ["failures"], ["search", "lamp"]):
        answer = shop.run(*arguments, "--json")
        assert answer.code == 0, answer.err
        assert json.loads(answer.out) is not None, arguments


def test_json_of_an_error_leaves_stdout_empty(shop: Shop) -> None:
    shop.declare(source='url = "sqlite:///shop.db", table = "product", key = "id"')
    answer = shop.run("sync", "--json")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Error: ")


def test_the_index_of_libsql_is_priced_built_shown_and_dropped(shop: Shop) -> None:
    shop.declare(store='kind = "libsql", url = "vectors.db", metadata = ["price"]')
    assert shop.run("sync").code == 0
    assert shop.run("index").out == "Vector index: none, all rows are compared.\n"
    answer = shop.run("index", "build")
    assert answer.err.startswith(f"DiskANN over {ROWS} different vectors: about ")
    assert answer.out == "Vector index: diskann.\n"
    (shown,) = json.loads(shop.run("index", "--json").out)
    assert (shown["kind"], shown["valid"], shown["recall"]) == ("diskann", True, None)
    assert "\nindex      diskann\n" in shop.run("status").out
    assert shop.run("index", "tune").code == 1
    assert shop.run("index", "drop").out == "Vector index: none, all rows are compared.\n"


def test_status_shows_the_recall_that_was_measured(shop: Shop) -> None:
    assert shop.run("sync").code == 0
    assert "\nindex      none, all rows are compared\n" in shop.run("status").out
    assert shop.run("index", "build").code == 0
    assert "\nindex      hnsw, halfvec, recall@10 not measured\n" in shop.run("status").out
    assert shop.run("index", "tune").code == 0
    assert "\nindex      hnsw, halfvec, recall@10 1.000\n" in shop.run("status").out


def test_tuning_takes_the_queries_of_a_file(shop: Shop) -> None:
    assert shop.run("sync").code == 0
    assert shop.run("index", "build").code == 0
    (shop.folder / "queries.csv").write_text("id,query\n1,red lamp\n2,lamp for the desk\n")
    found = json.loads(shop.run("index", "tune", "--queries-from", "queries.csv", "--json").out)
    assert found[0]["recall"] == 1.0
    answer = shop.run("index", "tune", "--queries-from", "missing.csv")
    assert answer.code == 2
    assert "missing.csv cannot be read" in answer.err


def test_tuning_takes_the_queries_of_the_log_where_there_are_enough(shop: Shop) -> None:
    assert shop.run("sync").code == 0
    assert shop.run("index", "build").code == 0
    for known, count in ((99, None), (140, 140)):
        log = QueryLog(shop.folder / ".rowvec" / "queries.db", dt.timedelta(days=30))
        for number in range(known):
            log.record("products", "hybrid", f"lamp {number}", None, [], 1.0)
        log.close()
        answer = shop.run("index", "tune", "--target", "0.9", "--json")
        assert json.loads(answer.out)[-1]["recall"] == 1.0
        assert (f"Tuning by {count} queries of the log" in answer.err) == (count is not None)
    assert "of the log" not in shop.run("index", "tune", "--queries", "50").err


def test_nouns_agree_with_their_numbers(shop: Shop) -> None:
    assert shop.run("sync").code == 0
    assert shop.run("index", "drop").err == "0 indexes dropped.\n"
    (shop.folder / "queries.csv").write_text("id,query\n1,lamp 1\n2,lamp 2\n")
    (shop.folder / "judgements.csv").write_text("query,docid,rating\n1,1,1\n2,2,1\n")
    assert "2 queries judged.\n" in shop.run("eval", "queries.csv", "judgements.csv", "--mode", "semantic").err


def test_letters_that_the_terminal_has_not(shop: Shop) -> None:
    shop.stock(1, word="Лампа 💡")
    shop.declare(store='kind = "libsql", url = "vectors.db", metadata = ["name"]')
    assert shop.run("sync").code == 0
    plain = Shop(shop.folder, {**shop.variables, "PYTHONIOENCODING": "ascii"})
    assert r"\u041b\u0430\u043c\u043f\u0430" in plain.run_anew("search", "lamp").out
    (hit,) = json.loads(plain.run_anew("search", "lamp", "--json").out)["results"]
    assert hit["metadata"] == {"name": "Лампа 💡 1"}


def test_a_full_disk_behind_stdout_is_said(shop: Shop) -> None:
    for arguments in ([], ["--json"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [*ROWVEC, "check", *arguments], cwd=shop.folder, env=shop.environment, stdout=full,
                stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.startswith("Error: What is printed cannot be written: No space left on device.")
        assert "Traceback" not in done.stderr


def test_a_pipe_gets_plain_lines_and_a_terminal_a_bar(shop: Shop) -> None:
    answer = shop.run_on_terminal("sync")
    assert answer.code == 0
    assert "\x1b[?25l" in answer.out, "the bar hides the cursor while it moves"
    assert answer.out.rstrip().endswith(")."), "the last line is the report"
    assert answer.out.count("\x1b[?25h") >= 1, "and brings it back"
    answer = shop.run_anew("sync")
    assert answer.code == 0
    assert "\x1b" not in answer.out + answer.err


def test_a_long_error_stays_on_one_line_in_a_pipe(shop: Shop, model: EmbeddingServer) -> None:
    model.refuse = lambda text: "lamp 3." in text
    assert shop.run("sync").code == 3
    header, row = shop.run("failures").out.splitlines()
    assert header.split() == ["key", "tries", "failed", "next", "try", "error"]
    assert row.startswith("3 ")


def test_a_reader_that_goes_away_is_no_traceback(shop: Shop) -> None:
    process = subprocess.Popen(
        [*ROWVEC, "plan"], cwd=shop.folder, env=shop.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert b"Traceback" not in process.stderr.read()
    assert process.wait(60) in (0, 1)


# Exit codes


def test_rows_that_failed_make_the_exit_code_three_and_are_listed(shop: Shop, model: EmbeddingServer) -> None:
    model.refuse = lambda text: "lamp 3." in text
    answer = shop.run("sync")
    assert answer.code == 3
    assert f"{ROWS - 1} new, 1 failed" in answer.out
    assert "rowvec failures" in answer.err
    assert [failure["key"] for failure in json.loads(shop.run("failures", "--json").out)] == [3]

    model.refuse = lambda text: False
    answer = shop.run("failures", "--retry")
    assert answer.code == 0, answer.err
    assert stored(shop.variables["STORE_URL"]) == ROWS
    assert shop.run("failures").out == "No failures.\n"


def test_keys_and_limit_choose_rows(shop: Shop) -> None:
    assert shop.run("sync", "--keys", "1,5,10-12").code == 0
    assert stored(shop.variables["STORE_URL"]) == 5
    assert shop.run("sync", "--limit", "8").code == 0
    assert stored(shop.variables["STORE_URL"]) == 11
    answer = shop.run("sync", "--keys", "12-10")
    assert answer.code == 2
    assert "10-12" in answer.err


# Stopping


ARRIVING = """
import builtins
real = builtins.__import__
def arriving(name, *rest):
    if name == {module!r}:
        raise KeyboardInterrupt
    return real(name, *rest)
builtins.__import__ = arriving
from rowvec.cli.main import main
main()
"""


@pytest.mark.parametrize("module", ["typer", "rowvec.cli.codes", "rowvec.cli.commands"])
def test_ctrl_c_while_commands_are_imported_says_nothing(module: str) -> None:
    """It was a traceback, in the first half of a second of any command."""
    code = ARRIVING.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_interrupt_keeps_what_is_in_hand(
    number: signal.Signals, shop: Shop, model: EmbeddingServer, postgres_url: str
) -> None:
    shop.stock(400)
    model.latency = 0.3
    process = shop.start("sync")
    wait_until(lambda: model.requests >= 2, "a second batch is on its way")
    process.signal(number)
    answer = process.finish()
    assert answer.code == 130, answer.err
    assert "Ctrl-C again" in answer.err
    assert "Traceback" not in answer.err
    kept = stored(postgres_url)
    assert 0 < kept < 400
    assert kept == sum(model.billed_texts.values()), "whatever was paid for is stored"
    assert json.loads(shop.run("status", "--json").out)["runs"][0]["outcome"] == "interrupted"

    model.latency = 0.0
    assert shop.run("sync").code == 0
    assert stored(postgres_url) == 400
    assert max(model.billed_texts.values()) == 1


def test_a_second_interrupt_ends_it_at_once(shop: Shop, model: EmbeddingServer, postgres_url: str) -> None:
    model.latency = 8.0
    process = shop.start("sync")
    wait_until(lambda: model.most_at_once >= 1, "a batch is on its way")
    process.signal(signal.SIGINT)
    wait_until(lambda: process.has_said("Ctrl-C again"), "the first interrupt is heard")
    assert process.running()
    process.signal(signal.SIGINT)
    assert process.finish().code == 130
    model.latency = 0.0
    answer = shop.run("status", "--json")
    assert json.loads(answer.out)["runs"][0]["outcome"] == "lost"
    assert shop.run("sync").code == 0
    assert stored(postgres_url) == ROWS


def test_an_interrupt_is_heard_while_a_database_does_not_answer(shop: Shop, model: EmbeddingServer) -> None:
    model.latency = 0.2
    shop.stock(200)
    process = shop.start("sync")
    wait_until(lambda: model.requests >= 1, "the sync is under way")
    with closing(sqlite3.connect(shop.folder / "shop.db")) as other:
        other.execute("begin exclusive")
        process.signal(signal.SIGINT)
        answer = process.finish()
    assert answer.code in (1, 130)
    assert "Traceback" not in answer.err


# What a sync that has nothing to do leaves alone


@pytest.mark.slow
def test_a_sync_with_nothing_to_do_loads_no_model(shop: Shop) -> None:
    shop.declare(embedder='kind = "local", precision = "int8"', text='columns = ["name"]')
    assert shop.run("sync").code == 0
    script = (
        "import sys\nfrom rowvec.cli.commands import app\n"
        "try:\n    app(['sync'])\nexcept SystemExit as end:\n    print('code', end.code)\n"
        "print('model:', [name for name in ('ctranslate2', 'tokenizers', 'torch') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=shop.folder, env=shop.environment, capture_output=True, text=True
    )
    assert f"{ROWS} unchanged; 0 texts embedded" in answer.stdout, answer.stderr
    assert answer.stdout.endswith("code 0\nmodel: []\n")


UNUSED = {
    "status": ("auditing.audit", "auditing.quality", "searcher", "syncing", "evaluation.asked", "workers", "serve"),
    "plan": ("auditing.audit", "auditing.quality", "searcher", "syncing.run", "syncing.watch", "workers", "serve"),
}


@pytest.mark.parametrize("command", UNUSED)
def test_a_command_imports_nothing_of_other_commands(shop: Shop, command: str) -> None:
    assert shop.run("sync").code == 0
    script = (
        "import sys\nfrom rowvec.cli.commands import app\n"
        f"try:\n    app([{command!r}])\nexcept SystemExit as end:\n    print('code', end.code)\n"
        f"print('unused:', [name for name in {UNUSED[command]!r} if f'rowvec.{{name}}' in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=shop.folder, env=shop.environment, capture_output=True, text=True
    )
    assert answer.stdout.endswith("code 0\nunused: []\n"), answer.stdout + answer.stderr


@pytest.mark.slow
def test_the_demo_syncs_answers_and_notices_one_changed_row(state_folder: Path) -> None:
    shop = Shop(state_folder)
    answer = shop.run_anew("demo", "--folder", "here", "--rows", "60")
    assert answer.code == 0, answer.err
    assert "60 changed, 60 embedded, 0 unchanged" in answer.out
    assert "1 changed, 1 embedded, 59 unchanged" in answer.out
    assert "What to try next" in answer.out


def test_failures_of_one_reason_are_one_line_unless_all_are_asked_for(shop: Shop, model: EmbeddingServer) -> None:
    model.refuse = lambda text: "lamp" in text and "lamp 3." not in text
    assert shop.run("sync").code == 3
    listed = json.loads(shop.run("failures", "--json").out)
    assert len(listed) > 2
    answer = shop.run("failures")
    header, row = answer.out.splitlines()
    assert header.split() == ["rows", "next", "try", "for", "example", "error"]
    assert row.split()[0] == str(len(listed))
    assert "maximum context length" in row
    assert "--each-row" in answer.err
    assert "`rowvec failures --retry`" in answer.err
    each = shop.run("failures", "--each-row").out.splitlines()
    assert len(each) == 1 + len(listed)
    assert len(shop.run("failures", "--each-row", "--limit", "2").out.splitlines()) == 3
