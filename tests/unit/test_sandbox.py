"""What a template or a score expression may not do, whoever wrote it, and that values of rows are never code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rowvec.config import load
from rowvec.documents.text import Documents, build_recipe
from rowvec.embedders.model_files import find
from rowvec.errors import ConfigError, EmbedderError, RowvecError
from rowvec.ranking import Ranking
from rowvec.types import Column, ColumnType, Row
from tests.support_tiny_models import tiny_model

COLUMNS = [Column("id", ColumnType.INTEGER), Column("name", ColumnType.TEXT), Column("note", ColumnType.TEXT)]
ESCAPES = [
    "name.__class__",
    "name.__class__.__mro__",
    "name.__class__.__base__.__subclasses__()",
    "''.__class__.__mro__[1].__subclasses__()",
    "name|attr('__class__')",
    "(name|attr('__cl' ~ 'ass__'))|attr('__init__')",
    "name['__class__']",
    "name.format.__globals__",
    "'{0.__class__.__init__.__globals__}'.format(name)",
    "'%s'|format(name.__class__)",
    "name.upper.__self__.__class__",
    "self.__init__.__globals__",
    "self._TemplateReference__context",
    "cycler.__init__.__globals__.os.popen('touch CANARY').read()",
    "lipsum.__globals__['os'].popen('touch CANARY').read()",
    "joiner.__init__.__globals__",
    "namespace.__init__.__globals__",
    "url_for.__globals__",
    "get_flashed_messages.__globals__",
    "config.items()",
    "request.application.__globals__",
    "(name|map(attribute='__class__')|list)[0]",
    "[name]|map('attr', '__class__')|list",
    "name.encode().decode.__self__.__class__",
    "x for x in ().__class__.__base__.__subclasses__()",
]
STATEMENTS = [
    "{% include '/etc/passwd' %}{{ name }}",
    "{% import 'os' as os %}{{ name }}",
    "{% from 'os' import popen %}{{ name }}",
    "{% extends name %}",
    "{% set x = name.__class__ %}{{ x }}",
    "{% for c in name.__class__.__mro__ %}{{ c }}{% endfor %}",
    "{% macro m() %}{{ caller.__globals__ }}{% endmacro %}{{ m() }}{{ name }}",
    "{{ name }}{% do name.__class__ %}",
]
INSIDE = ("<class", "<module", "<function", "builtin", "object at", "environ", "root:")


def rendered(template: str, name: str = "lamp") -> str:
    """The text; "" where the template is refused, or fails on the row."""
    try:
        recipe = build_recipe(COLUMNS, "id", template=template)
        return Documents(recipe, ())(Row(1, {"id": 1, "name": name, "note": "n"})).text
    except RowvecError:
        return ""


@pytest.mark.parametrize("template", [*("{{ " + escape + " }}{{ name }}" for escape in ESCAPES), *STATEMENTS])
def test_a_template_gets_nowhere(template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = rendered(template)
    assert not any(word in text for word in INSIDE), text
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", ["{{ 7 * 7 }}", "{% include 'x' %}", "{{ name.__class__ }}", "{# x #}", "${SECRET}"])
def test_what_a_row_holds_is_never_a_template(value: str) -> None:
    assert rendered("{{ name }}", value) == value
    assert rendered("Title: {{ name }} {{ note }}", value) == f"Title: {value} n"


def test_a_template_cannot_count_for_ever() -> None:
    assert rendered("{{ name }}{% for i in range(10000000000) %}x{% endfor %}") == ""


@pytest.mark.parametrize("expression", ESCAPES)
def test_a_score_expression_gets_nowhere(expression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ranking = Ranking(static=expression, static_weight=1.0)
    try:
        ranking.check([Column("name", ColumnType.TEXT)])
    except ConfigError:
        return
    assert ranking.static_score({"name": "lamp"}) == 0.0
    assert os.listdir(tmp_path) == []


def test_a_score_expression_has_no_more_than_arithmetic() -> None:
    for name in ("range", "dict", "lipsum", "cycler", "joiner", "namespace", "open", "eval"):
        with pytest.raises(ConfigError):
            Ranking(static=f"{name}(1)").check([Column("price", ColumnType.NUMBER)])
    assert Ranking(static="log(1 + price)").static_score({"price": 0}) == 0.0


# Models


@pytest.mark.parametrize(
    "name", ["../../etc", "a/../b", "a/b/c", "..", "a//b", "a/b/../../c", "/etc", "~root", "./x", "a\0b", "a b", "a\\b",
             "https://example.org/m", "-x"],
)  # fmt: skip
def test_the_name_of_a_model_leads_nowhere_else(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises((ConfigError, EmbedderError)):
        find(name, tmp_path / "cache")
    assert os.listdir(tmp_path) == []


def test_a_model_is_never_code(tmp_path: Path) -> None:
    """Weights are safetensors: a pickle, which can hold code, is not looked at."""
    folder = tiny_model(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(EmbedderError, match=r"no model\.safetensors"):
        find(str(folder), tmp_path / "cache")


def test_a_config_reads_no_file_but_itself_and_its_env(tmp_path: Path) -> None:
    (tmp_path / "rowvec.toml").write_text('[pipelines.p]\nsource = { kind = "sql", url = "${file:/etc/passwd}" }')
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert "root:" not in str(caught.value)


@pytest.mark.parametrize("value", ["lamp", ["a", "b"], [1]], ids=str)
def test_a_score_expression_multiplies_no_text_and_no_list(value: object) -> None:
    """Anybody who may search can ask for one, and a text times a large number fills the memory."""
    for expression in ("held * 1000000000000", "1000000000000 * held", "(held + held) * 1000000000000"):
        assert Ranking(static=expression, static_weight=1.0).static_score({"held": value}) == 0.0
    assert Ranking(static="held * 2").static_score({"held": 4}) == 8.0
