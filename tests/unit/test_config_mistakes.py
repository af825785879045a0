"""What is said about a rowvec.toml that is wrong: which key, what is wrong with it, what to do."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from rowvec.config import TextConfig, kinds, load
from rowvec.config import models as known_models
from rowvec.config.load import PARTS
from rowvec.config.problems import LIMITS, WRONG_NUMBERS, WRONG_TYPES, dotted, explain, quoted
from rowvec.config.rerank import RerankConfig
from rowvec.errors import ConfigError
from tests.unit.configs import SOURCE, complaint, written

_, *BLOCKS = Path(__file__).with_name("config_mistakes.txt").read_text(encoding="utf-8").strip().split("\n\n")


@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[0] for block in BLOCKS])
def test_a_mistake_is_named_with_its_key_and_what_to_do(tmp_path: Path, block: str) -> None:
    line, what, fix = block.splitlines()
    said = complaint(tmp_path, line, source="" if line.startswith("source") else SOURCE)
    assert said == f"{what.strip()}\n  {fix.strip()}"


def test_a_pipeline_without_a_source_says_how_to_add_one(tmp_path: Path) -> None:
    assert complaint(tmp_path, source="") == (
        'pipelines.products.source is missing.\n  Add source = { kind = "sql", url = "sqlite:///shop.db" }.'
    )


@pytest.mark.parametrize(
    ("heading", "said"),
    [
        ("pipeline.a", "pipeline is not a known key.\n  Did you mean 'pipelines'?"),
        ("products", "products is not a known key.\n  Pipelines are written [pipelines.NAME]."),
        ('pipelines."a b"', 'pipelines."a b" is not a valid pipeline name.\n  Use letters, digits, _ and - only.'),
    ],
)
def test_a_wrong_heading_says_how_one_is_written(tmp_path: Path, heading: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, f"[{heading}]\n{SOURCE}"))
    assert str(caught.value) == f"{tmp_path}/rowvec.toml: {said}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "pipelines is empty.\n  Add [pipelines.NAME]; `rowvec init` writes an example."),
        ("[pipelines]", "pipelines is empty.\n  Add [pipelines.NAME]; `rowvec init` writes an example."),
        ("pipelines = 1", "pipelines is not a table.\n  Write [pipelines.NAME]."),
        ("pipelines.a = 1", "pipelines.a is not a table.\n  Write [pipelines.a]."),
    ],
)
def test_a_config_without_pipelines_says_how_to_add_one(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))
    assert str(caught.value) == f"{tmp_path}/rowvec.toml: {said}"


def test_two_pipelines_in_one_table_are_refused_since_each_would_delete_the_others_rows(tmp_path: Path) -> None:
    store = 'store = { kind = "postgres", table = "public.a_b_embeddings" }'
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, f"[pipelines.a-b]\n{SOURCE}\n[pipelines.c]\n{SOURCE}\n{store}"))
    assert str(caught.value) == (
        f"{tmp_path}/rowvec.toml: pipelines.c.store.table is also the table of pipeline 'a-b'"
        " in the same database.\n  Give each pipeline a table of its own."
    )


@pytest.mark.parametrize(
    ("again", "said"),
    [
        ("[pipelines.a]", "line 3, column 13: Cannot declare pipelines.a twice."),
        (SOURCE, "Cannot overwrite a value."),
        ("[pipelines.a.source]", "pipelines.a.source"),
    ],
)
def test_what_stands_in_the_file_twice_is_named(tmp_path: Path, again: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, f"[pipelines.a]\n{SOURCE}\n{again}\n"))
    assert said in caught.value.message
    assert caught.value.hint == "It is in the file twice: keep one of them, or rename it."


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = """
    speed = 3
    [pipelines.a]
    source = { kind = "sql", url = "sqlite:///x.db", table = "t", key = "id", page_size = 0 }
    store = { kind = "postgres", metric = "cosin", tabel = "x" }
    on_mising = "keep"
    [pipelines.b]
    source = 1
    embedder = { kind = "lokal" }
    """
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("rowvec.toml: 7 things are wrong.")
    assert [line.split()[0] for line in lines[1:]] == [
        "speed",
        "pipelines.a.on_mising",
        "pipelines.a.source.page_size",
        "pipelines.a.store.metric",
        "pipelines.a.store.tabel",
        "pipelines.b.source",
        "pipelines.b.embedder.kind",
    ]
    assert not any(word in str(caught.value).lower() for word in ("pydantic", "http", "validation", "input"))


def test_every_mistake_that_the_models_can_find_has_words() -> None:
    values: list[Any] = [None, "", "x", 0, -1, 1.5, True, [], ["x"], [1], {}, {"a": 1}, {"a": "b"}, 10**400]
    values += [float("nan"), float("inf"), "1" * 5000, dt.date(2026, 1, 1)]
    seen = set()
    for model in (
        TextConfig,
        known_models.PipelineTable,
        known_models.SearchConfig,
        *(model for models in KINDS.values() for model in models.values()),
    ):
        for name in model.model_fields:
            for value in values:
                try:
                    model.model_validate({name: value})
                except ValidationError as error:
                    seen |= {details["type"] for details in error.errors()}
    assert seen - {"extra_forbidden", "missing", "value_error", "literal_error"} == {
        *WRONG_TYPES,
        *WRONG_NUMBERS,
        *LIMITS,
    }


def test_every_setting_that_takes_a_number_says_which_with_an_example_that_it_takes() -> None:
    """For every setting there is, also those that are added later."""
    tried = 0
    for model in (
        TextConfig,
        known_models.EvalConfig,
        known_models.PassagesConfig,
        known_models.SearchConfig,
        RerankConfig,
        *(model for models in KINDS.values() for model in models.values()),
    ):
        for name in model.model_fields:
            try:
                model.model_validate({name: float("inf")})
            except ValidationError as error:
                found = [problem for problem in explain(error, model, (), {}) if problem.at == (name,)]
                kinds_of = {details["type"] for details in error.errors() if details["loc"] == (name,)}
                if kinds_of & {*WRONG_NUMBERS, *LIMITS}:
                    example = re.search(rf"such as {name} = ([\d.]+)\.$", found[0].fix)
                    assert example, found[0].fix
                    assert _fits(model, name, float(example[1])), found[0].fix
                    tried += 1
    assert tried > 20


def _fits(model: type[BaseModel], name: str, value: float) -> bool:
    try:
        model.model_validate({name: value})
    except ValidationError as error:
        return all(details["loc"] != (name,) for details in error.errors())
    return True


@pytest.mark.parametrize(
    ("at", "shown"),
    [(("a", "b-c_1"), "a.b-c_1"), (("a", "b c"), 'a."b c"'), (("a", 'q"'), 'a."q\\""'), (("a", 2, "b"), "a[2].b")],
)
def test_a_key_is_shown_as_toml_writes_it(at: tuple[str | int, ...], shown: str) -> None:
    assert dotted(at) == shown


def as_toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{quoted(name)} = {as_toml(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return value.isoformat() if isinstance(value, dt.date) else quoted(value)


VALUES = st.recursive(
    st.text(max_size=5)
    | st.sampled_from(
        ["sqlite:///x", "${X}", "~nobody/x", "../x", "\0", "x" * 5000, "1" * 5000, "http://[", True, 0, 1.5]
    )
    | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
KINDS: dict[str, Any] = {part: kinds.own(part) for part in PARTS}
PART_AND_KIND = st.sampled_from([(part, kind) for part in KINDS for kind in KINDS[part]])


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """Parts of a pipeline, one of them with settings that exist and values that may not suit them."""
    part, kind = draw(PART_AND_KIND)
    settings_there_are = sorted(KINDS[part][kind].model_fields)
    table = draw(st.dictionaries(st.sampled_from(settings_there_are), VALUES))
    others = draw(st.dictionaries(st.sampled_from(["text", "store", "on_missing"]), VALUES, max_size=1))
    return {**others, part: {**table, "kind": kind}}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(table=tables())
def test_any_value_anywhere_gives_a_config_or_a_config_error(tmp_path: Path, table: dict[str, Any]) -> None:
    source = {"kind": "sql", "url": "sqlite:///x.db", "table": "t", "key": "id"}
    text = "\n".join(f"{name} = {as_toml(value)}" for name, value in {"source": source, **table}.items())
    written(tmp_path, f"[pipelines.a]\n{text}")
    try:
        found = load(tmp_path).pipeline()
    except ConfigError as error:
        assert "toml: " in error.message  # noqa: PT017
        assert "pipelines.a" in error.message  # noqa: PT017
    else:
        assert found.name == "a"
