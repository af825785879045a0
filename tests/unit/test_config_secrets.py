"""Passwords, keys and tokens of a rowvec.toml appear in no repr and no error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowvec.config import load
from rowvec.errors import ConfigError
from tests.unit.configs import pipeline

SECRET = "hunter2-s3cr3t"
FORMS = [
    f'"{SECRET}"',
    f'"postgresql://u:{SECRET}@h/d"',
    f'"sqlite:///{SECRET}"',
    f'["{SECRET}"]',
    f'{{ a = "{SECRET}" }}',
    f'"{SECRET}" x',
    '"${HIDDEN}"',
    '"postgresql://u:${HIDDEN}@h/d"',
]
KEYS = ["source.url", "store.url", "store.token", "embedder.api_key"]
MISSPELT = ["embedder.apikey", "store.tokn", "source.password", "source.urll"]
PLAIN = ["source.kind", "source.page_size", "source.key", "source.table", "text.columns", "text.lines", "text.template"]
PLAIN += ["embedder.kind", "embedder.batch_size", "embedder.base_url", "store.kind", "store.metric", "store.metadata"]


def shown(folder: Path, values: dict[str, str]) -> str:
    """All that a config with these settings, or the error about it, can show."""
    tables = {
        "source": {"kind": '"sql"', "table": '"t"', "key": '"id"', "url": '"sqlite:///x.db"'},
        "text": {},
        "embedder": {"kind": '"openai"', "model": '"m"'},
        "store": {"kind": '"libsql"', "url": '"v.db"'},
    }
    for setting, value in values.items():
        part, _, name = setting.partition(".")
        tables[part][name] = value
    lines = []
    for part, table in tables.items():
        lines += [f"[pipelines.p.{part}]", *(f"{name} = {value}" for name, value in table.items())]
    (folder / "rowvec.toml").write_text("\n".join(lines), encoding="utf-8")
    try:
        config = load(folder)
        found = config.pipeline()
        return f"{config!r} {config} {found!r} {found.source} {found.embedder} {found.store}"
    except ConfigError as error:
        chain = [error, error.__cause__, None if error.__suppress_context__ else error.__context__]
        return " ".join(f"{each} {each!r}" for each in chain)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    secrets=st.dictionaries(st.sampled_from(KEYS + MISSPELT), st.sampled_from(FORMS), min_size=1, max_size=4),
    others=st.fixed_dictionaries(
        {},
        optional={
            "source.key": st.sampled_from(['["a", "b"]', "5"]),
            "embedder.kind": st.sampled_from(['"local"', '"opnai"']),
            "store.kind": st.sampled_from(['"postgres"', '"postgre"']),
            "store.metric": st.just('"cosin"'),
        },
    ),
)
def test_no_secret_is_ever_shown(tmp_path: Path, secrets: dict[str, str], others: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HIDDEN", SECRET)
        patch.setenv("OPENAI_API_KEY", SECRET)
        assert SECRET not in shown(tmp_path, {**secrets, **others})


@pytest.mark.parametrize("setting", PLAIN)
@pytest.mark.parametrize("form", ['"${HIDDEN}"', '["${HIDDEN}"]', '{ x = "${HIDDEN}" }', '"a${HIDDEN}", x'])
def test_an_error_does_not_show_the_value_of_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, form: str
) -> None:
    monkeypatch.setenv("HIDDEN", SECRET)
    # One more mistake makes sure that there is an error.
    said = shown(tmp_path, {setting: form, "store.zzz": "1"})
    assert "ConfigError" in said
    assert SECRET not in said


def test_a_literal_address_in_the_wrong_place_is_not_shown(tmp_path: Path) -> None:
    said = shown(tmp_path, {"source.kind": f'"postgresql://u:{SECRET}@h/d"'})
    assert "pipelines.p.source.kind has a value, which is not one of sql" in said
    assert SECRET not in said


@pytest.mark.parametrize("setting", ["embedder.model", "store.table"])
def test_an_address_in_the_place_of_a_name_is_refused(tmp_path: Path, setting: str) -> None:
    said = shown(tmp_path, {setting: f'"postgresql://u:{SECRET}@h/d"'})
    assert f"pipelines.p.{setting} holds a password or a token" in said
    assert SECRET not in said
    assert "ConfigError" not in shown(tmp_path, {setting: '"hub:name@v1"'})


def test_a_secret_is_there_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIDDEN", SECRET)
    store = pipeline(tmp_path, 'store = { kind = "postgres", url = "postgresql://u:${HIDDEN}@h/d" }').store
    assert store.url.get_secret_value() == f"postgresql://u:{SECRET}@h/d"
