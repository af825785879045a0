"""rowvec.toml: how it is found, what it means, which pipeline of it is meant, which variables it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rowvec.config import (
    LibsqlStoreConfig,
    LocalEmbedderConfig,
    OpenAIEmbedderConfig,
    PostgresStoreConfig,
    SentenceTransformersEmbedderConfig,
    SqlSourceConfig,
    TextConfig,
    load,
)
from rowvec.config import models as known_models
from rowvec.errors import ConfigError
from tests.unit.configs import SOURCE, complaint, pipeline, written

# What it means


def test_a_pipeline_is_its_source_and_defaults_for_the_rest(tmp_path: Path) -> None:
    found = pipeline(tmp_path)
    assert found.name == "products"
    assert isinstance(found.source, SqlSourceConfig)
    assert found.source.page_size == 2000
    assert found.text == TextConfig(columns="*")
    assert found.embedder == LocalEmbedderConfig(model="sentence-transformers/all-MiniLM-L6-v2", precision="float32")
    assert found.store == PostgresStoreConfig(table="products_embeddings", metric="cosine", language="english")
    assert found.store.url.get_secret_value() == "embedded"
    assert found.on_missing == "delete"


def test_the_example_of_the_design_page_means_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGING_URL", "postgresql://u:p@h/d")
    found = pipeline(
        tmp_path,
        'text = { columns = "*", exclude = ["updated_at", "deleted"], repeat = { name = 2 } }',
        'embedder = { kind = "local", model = "sentence-transformers/all-MiniLM-L6-v2" }',
        'store = { kind = "postgres", url = "${PGVECTOR_URL:-embedded}", table = "analytics.products",'
        ' metadata = ["name", "price"] }',
        source='source = { kind = "sql", url = "${STAGING_URL}", table = "s.stg_product", key = "product_id",'
        ' where = "not deleted", cursor = "ingested_at" }',
    )
    assert found.source.url.get_secret_value() == "postgresql://u:p@h/d"
    assert (found.source.where, found.source.cursor) == ("not deleted", "ingested_at")
    assert (found.text.exclude, found.text.repeat) == (("updated_at", "deleted"), {"name": 2})
    assert found.store.url.get_secret_value() == "embedded"
    assert (found.store.table, found.store.metadata) == ("analytics.products", ("name", "price"))


@pytest.mark.parametrize(
    ("embedder", "meant"),
    [
        ('kind = "local", precision = "int8", workers = 3', LocalEmbedderConfig(precision="int8", workers=3)),
        (
            'kind = "sentence-transformers", model = "a/b", device = "cuda:1"',
            SentenceTransformersEmbedderConfig(model="a/b", device="cuda:1"),
        ),
        ('kind = "openai", model = "m", dimensions = 256', OpenAIEmbedderConfig(model="m", dimensions=256)),
    ],
)
def test_a_kind_chooses_the_embedder(tmp_path: Path, embedder: str, meant: object) -> None:
    assert pipeline(tmp_path, f"embedder = {{ {embedder} }}").embedder == meant


@pytest.mark.parametrize(
    ("text", "form", "value"),
    [
        ('{ columns = ["a", "b"] }', "columns", ("a", "b")),
        ('{ exclude = ["a"] }', "columns", "*"),
        ('{ template = "Costs ${{ price }}" }', "template", "Costs ${{ price }}"),
        ('{ lines = ["Title: {t}", "By: {b}"] }', "lines", ("Title: {t}", "By: {b}")),
        ('{ lines = """\nTitle: {t}\n\nBy: {b}\n""" }', "lines", ("Title: {t}", "", "By: {b}")),
        ('{ lines = """Price: $${price}""" }', "lines", ("Price: ${price}",)),
    ],
)
def test_a_text_has_one_form_and_the_others_are_none(tmp_path: Path, text: str, form: str, value: object) -> None:
    found = pipeline(tmp_path, f"text = {text}").text
    assert {name: getattr(found, name) for name in known_models.FORMS} == {
        name: value if name == form else None for name in known_models.FORMS
    }


def test_strings_from_the_environment_become_numbers_and_booleans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"N": "32", "F": "1.5", "B": "false", "R": "2", "M": "l2"}.items():
        monkeypatch.setenv(name, value)
    found = pipeline(
        tmp_path,
        'embedder = { kind = "openai", model = "m", batch_size = "${N}", timeout = "${F}" }',
        'store = { kind = "postgres", create_extension = "${B}", metric = "${M}" }',
        'text = { repeat = { name = "${R}" } }',
    )
    assert isinstance(found.embedder, OpenAIEmbedderConfig)
    assert isinstance(found.store, PostgresStoreConfig)
    assert (found.embedder.batch_size, found.embedder.timeout) == (32, 1.5)
    assert (found.store.create_extension, found.store.metric) == (False, "l2")
    assert found.text.repeat == {"name": 2}


@pytest.mark.parametrize("text", ["1_0", "+5", " 5", "\u0665", "0x10", "nan", "inf"])
def test_a_variable_that_is_not_written_as_a_number_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Python's own parser takes 1_0 for 10."""
    monkeypatch.setenv("N", text)
    for setting, named in (
        ('embedder = { kind = "openai", model = "m", batch_size = "${N}" }', "embedder.batch_size"),
        ('embedder = { kind = "openai", model = "m", timeout = "${N}" }', "embedder.timeout"),
        ('search = { semantic_weight = "${N}" }', "search.semantic_weight"),
        ('store = { kind = "libsql", url = "v.db", partitions = "${N}" }', "store.partitions"),
        ('schedule = { every = "${N}h" }', "schedule.every"),
    ):
        with pytest.raises(ConfigError, match=named) as caught:
            pipeline(tmp_path, setting)
        assert text not in str(caught.value) or text in ("nan", "inf")


def test_an_empty_string_is_an_optional_setting_left_out(tmp_path: Path) -> None:
    source = SOURCE.replace(" }", ', where = "${NO:-}", cursor = "" }')
    found = pipeline(
        tmp_path,
        'embedder = { kind = "local", max_tokens = "${NO:-}", query_prompt = "" }',
        'store = { kind = "postgres", language = "" }',
        source=source,
    )
    assert (found.source.where, found.source.cursor) == (None, None)
    assert found.store.language is None
    assert isinstance(found.embedder, LocalEmbedderConfig)
    assert found.embedder.max_tokens is None
    # An empty prompt is a choice: none, whatever the model's own files say.
    assert found.embedder.query_prompt == ""


def test_relative_paths_start_beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", "/home/ada")
    (tmp_path / "models" / "mine").mkdir(parents=True)
    source = SOURCE.replace("sqlite:///shop.db", "sqlite:///data/shop.db")
    found = pipeline(
        tmp_path,
        'embedder = { kind = "local", model = "models/mine", cache_dir = "~/cache" }',
        'store = { kind = "libsql", url = "vectors.db" }',
        source=source,
    )
    assert isinstance(found.embedder, LocalEmbedderConfig)
    assert found.source.url.get_secret_value() == f"sqlite:///{tmp_path}/data/shop.db"
    assert found.embedder.model == f"{tmp_path}/models/mine"
    assert found.embedder.cache_dir == Path("/home/ada/cache")
    assert found.store.url.get_secret_value() == f"{tmp_path}/vectors.db"


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("sqlite:////srv/shop.db", "sqlite:////srv/shop.db"),
        ("sqlite+pysqlite:///a.db?mode=ro", "sqlite+pysqlite:///{folder}/a.db?mode=ro"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("mysql://u@h/a.db", "mysql://u@h/a.db"),
    ],
)
def test_only_a_relative_sqlite_file_changes_a_source_url(tmp_path: Path, url: str, meant: str) -> None:
    found = pipeline(tmp_path, source=SOURCE.replace("sqlite:///shop.db", url))
    assert found.source.url.get_secret_value() == meant.format(folder=tmp_path)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("/srv/v.db", "/srv/v.db"),
        ("file:v.db", "{folder}/v.db"),
        ("file:v.db?mode=ro", "file:{folder}/v.db?mode=ro"),
        ("file:///srv/v.db", "/srv/v.db"),
        ("libsql://name.turso.io", "libsql://name.turso.io"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_a_libsql_store_is_a_file_or_an_address(tmp_path: Path, url: str, meant: str) -> None:
    store = pipeline(tmp_path, f'store = {{ kind = "libsql", url = "{url}" }}').store
    assert isinstance(store, LibsqlStoreConfig)
    assert store.url.get_secret_value() == meant.format(folder=tmp_path)


@pytest.mark.parametrize("url", ["libsql://", "http://host:abc", "http://host:99999", "http://[::1", "https://a b"])
def test_an_address_that_no_server_can_have_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="no host, or a port"):
        pipeline(tmp_path, f'store = {{ kind = "libsql", url = "{url}" }}')


def test_a_store_table_is_named_after_its_pipeline(tmp_path: Path) -> None:
    config = load(written(tmp_path, f"[pipelines.my-items_2]\n{SOURCE}"))
    assert config.pipeline().store.table == "my_items_2_embeddings"


@pytest.mark.parametrize(
    ("base_url", "variable"),
    [
        ("https://api.openai.com/v1", "OPENAI_API_KEY"),
        ("https://API.OpenAI.com:443/v1", "OPENAI_API_KEY"),
        ("https://eu.api.openai.com/v1", "OPENAI_API_KEY"),
        ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        ("http://localhost:11434/v1", None),
        ("https://api.mistral.ai/v1", None),
        ("https://openrouter.ai.example.com/v1", None),
        ("https://notopenrouter.ai/v1", None),
        ("https://api.openai.com.evil.example/v1", None),
        ("https://evil.example/api.openai.com/v1", None),
        ("https://evil.example#.api.openai.com/v1", None),
        ("https://evil.example?.openrouter.ai", None),
    ],
)
def test_a_key_of_the_environment_goes_only_to_the_host_that_it_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_url: str, variable: str | None
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    (tmp_path / ".env").write_text("OPENAI_API_KEY=one\nOPENROUTER_API_KEY=two\n")
    embedder = pipeline(tmp_path, f'embedder = {{ kind = "openai", model = "m", base_url = "{base_url}" }}').embedder
    assert isinstance(embedder, OpenAIEmbedderConfig)
    assert embedder.key_variable == variable
    found = embedder.api_key.get_secret_value() if embedder.api_key else None
    assert found == {"OPENAI_API_KEY": "one", "OPENROUTER_API_KEY": "two", None: None}[variable]


@pytest.mark.parametrize("host", ["example.com", "10.0.0.5:8000", "[2001:db8::1]", "localhost.example.com"])
def test_a_key_is_not_sent_in_clear_unless_that_is_wanted(tmp_path: Path, host: str) -> None:
    settings = f'kind = "openai", model = "m", base_url = "http://{host}/v1"'
    with pytest.raises(ConfigError, match="would send its key over http"):
        pipeline(tmp_path, f'embedder = {{ {settings}, api_key = "k" }}')
    for allowed in (settings, f'{settings}, api_key = "k", allow_http = true'):
        pipeline(tmp_path, f"embedder = {{ {allowed} }}")


@pytest.mark.parametrize("host", ["localhost:11434", "127.0.0.1", "127.8.8.8:1", "[::1]:80", "model.localhost"])
def test_on_this_machine_nobody_reads_it(tmp_path: Path, host: str) -> None:
    pipeline(tmp_path, f'embedder = {{ kind = "openai", model = "m", base_url = "http://{host}/v1", api_key = "k" }}')


def test_an_api_key_that_is_given_wins_and_none_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    without = pipeline(tmp_path, 'embedder = { kind = "openai", model = "m" }').embedder
    assert isinstance(without, OpenAIEmbedderConfig)
    assert without.api_key is None
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    given_key = pipeline(tmp_path, 'embedder = { kind = "openai", model = "m", api_key = "mine" }').embedder
    assert isinstance(given_key, OpenAIEmbedderConfig)
    assert given_key.api_key is not None
    assert given_key.api_key.get_secret_value() == "mine"


def test_a_config_does_not_change_once_it_is_loaded(tmp_path: Path) -> None:
    found = pipeline(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        found.source.key = "other"
    with pytest.raises(AttributeError):
        found.name = "other"  # type: ignore[misc]


# Finding it


def test_the_config_is_found_in_a_folder_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, f"[pipelines.a]\n{SOURCE}")
    (tmp_path / "deep" / "down").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "down")
    config = load()
    assert (config.path, config.folder, config.state) == (path, tmp_path, tmp_path / ".rowvec")


def test_the_search_ends_at_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, f"[pipelines.a]\n{SOURCE}")
    home = tmp_path / "home"
    (home / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home / "work")
    with pytest.raises(ConfigError) as caught:
        load()
    assert str(caught.value) == (
        f"There is no rowvec.toml in {home / 'work'} or a folder above it.\n"
        "  `rowvec init` writes one; --config names one that is elsewhere."
    )


def test_a_folder_stands_for_the_config_in_it(tmp_path: Path) -> None:
    path = written(tmp_path, f"[pipelines.a]\n{SOURCE}")
    assert load(tmp_path).path == path


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"shop\.toml does not exist\.\n  `rowvec init` writes one\."):
        load(tmp_path / "shop.toml")


def test_a_path_below_the_working_folder_is_shown_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^conf/x\.toml does not exist"):
        load(Path("conf/x.toml"))


def test_a_file_in_another_encoding_gives_the_line(tmp_path: Path) -> None:
    (tmp_path / "rowvec.toml").write_bytes(b"[pipelines.a]\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"rowvec\.toml, line 2: this is not UTF-8 text\.\n  Save the file as UTF-8"):
        load(tmp_path)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "rowvec.toml").write_text(f"\ufeff[pipelines.a]\n{SOURCE}", encoding="utf-8")
    assert load(tmp_path).names == ["a"]


def test_a_number_of_more_digits_than_python_reads_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rowvec\.toml holds a number of thousands of digits"):
        load(written(tmp_path, f"a = {'1' * 5000}"))


def test_brackets_that_are_nested_too_deep_are_an_error_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "rowvec.toml").write_text("a = " + "[" * 5000 + "]" * 5000)
    with pytest.raises(ConfigError, match=r"rowvec\.toml is nested too deep"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[pipelines.a]\nsource = \n", "line 2, column 10"),
        ("[pipelines.a]\nsource = { kind = ", "line 2, column 19"),
        ('[pipelines.a]\nx = "open\n', "line 2, column 10"),
        ("[pipelines.a]\nx = 1\nx = 2\n", "line 3, column 6"),
    ],
)
def test_a_syntax_error_gives_line_and_column(tmp_path: Path, text: str, place: str) -> None:
    (tmp_path / "rowvec.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.message.startswith(f"{tmp_path}/rowvec.toml, {place}: ")
    assert "(at" not in caught.value.message


# Choosing a pipeline

TWO = f"[pipelines.books]\n{SOURCE}\n[pipelines.films]\n{SOURCE}\n"


def test_of_several_pipelines_one_must_be_named(tmp_path: Path) -> None:
    config = load(written(tmp_path, TWO))
    assert config.pipeline("films").name == "films"
    assert list(config.pipelines) == config.names == ["books", "films"]
    with pytest.raises(
        ConfigError,
        match=r"has 2 pipelines: books, films\.\n  Name one, for example -p books; most commands also take --all\.",
    ):
        config.pipeline()


def test_a_pipeline_that_is_not_there_gets_the_nearest_name(tmp_path: Path) -> None:
    config = load(written(tmp_path, TWO))
    with pytest.raises(ConfigError, match=r"there is no pipeline 'book'\.\n  Did you mean 'books'\?"):
        config.pipeline("book")
    with pytest.raises(ConfigError, match=r"there is no pipeline 'zzz'\.\n  Available: books, films\."):
        config.pipeline("zzz")


# Variables


def test_a_missing_variable_names_file_key_and_variable_and_says_where_to_set_it(tmp_path: Path) -> None:
    assert complaint(tmp_path, source=SOURCE.replace("sqlite:///shop.db", "mysql://${SHOP_HOST}/shop")) == (
        "pipelines.products.source.url needs the variable SHOP_HOST, which is not set.\n"
        "  Set SHOP_HOST, or put a line SHOP_HOST=… into .env beside the config. ${SHOP_HOST:-…} gives it a default."
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("${NO_SUCH_URL}", "pipelines.products.source.url needs the variable NO_SUCH_URL, which is not set."),
        ("", "pipelines.products.source.url is empty."),
        ("postgres@host/shop", "pipelines.products.source.url is not a database URL."),
        ("sqlite:///shop.db", "pipelines.products.store.url is not a PostgreSQL URL."),
    ],
)
def test_a_url_that_source_and_store_share_is_told_once(url: str, said: str, tmp_path: Path) -> None:
    source = f'source = {{ kind = "sql", url = "{url}", table = "products", key = "id" }}'
    found = complaint(tmp_path, 'store = { kind = "postgres", column = "embedding" }', source=source)
    assert found.partition("\n")[0] == said


def test_a_missing_variable_stops_only_the_pipeline_that_needs_it(tmp_path: Path) -> None:
    other = SOURCE.replace("sqlite:///shop.db", "${ROWVEC_TEST_NOT_SET}")
    config = load(written(tmp_path, f"[pipelines.a]\n{SOURCE}\n[pipelines.b]\n{other}"))
    assert config.pipeline("a").name == "a"
    with pytest.raises(ConfigError, match=r"pipelines\.b\.source\.url needs the variable ROWVEC_TEST_NOT_SET"):
        config.pipeline("b")
    with pytest.raises(ConfigError, match="ROWVEC_TEST_NOT_SET"):
        _ = config.pipelines


def test_a_setting_that_waits_for_its_variable_is_not_called_wrong_yet(tmp_path: Path) -> None:
    source = 'source = { kind = "${NO_1}", url = "${NO_2}" }'
    said = complaint(tmp_path, 'embedder = { kind = "openai", model = "m", batch_size = "${NO_3}" }', source=source)
    assert said.startswith("3 things are wrong.")
    assert [f"NO_{n}, which is not set" in said for n in (1, 2, 3)] == [True, True, True]
    assert "whole number" not in said


def test_all_else_that_is_wrong_is_said_before_variables_are_missed(tmp_path: Path) -> None:
    source = SOURCE.replace("sqlite:///shop.db", "${NO_1}").replace("key", "kye")
    said = complaint(tmp_path, source=source)
    assert "pipelines.products.source.key is missing" in said
    assert "pipelines.products.source.kye is not a known key. Did you mean 'key'?" in said
    assert "NO_1" not in said


def test_a_malformed_reference_says_how_to_write_one(tmp_path: Path) -> None:
    assert complaint(tmp_path, 'text = { lines = ["Price: ${price"] }') == (
        "pipelines.products.text.lines[0] holds a ${ that is not followed by a name and }.\n"
        "  Write ${NAME} or ${NAME:-default}; for a literal ${, write $${."
    )


# Weight


def test_importing_the_config_imports_no_database_driver_and_no_model_runtime() -> None:
    code = "import sys, rowvec.config; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "numpy",
        "sqlalchemy",
        "psycopg",
        "ctranslate2",
        "tokenizers",
        "jinja2",
        "rich",
        "typer",
        "httpx2",
        "torch",
    }
    assert not heavy & set(done.stdout.split())
