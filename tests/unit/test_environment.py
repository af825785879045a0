"""${VAR} in a config."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowvec.config.environment import Environment, Expanded, Unset, expand
from rowvec.errors import ConfigError


def environment(folder: Path, dotenv: str | bytes | None = None, **process: str) -> Environment:
    if dotenv is not None:
        (folder / ".env").write_bytes(dotenv.encode() if isinstance(dotenv, str) else dotenv)
    return Environment(folder, process)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("${NAME}", "Ada"),
        ("a ${NAME} b ${NAME}", "a Ada b Ada"),
        ("${NAME:-Bob}", "Ada"),
        ("${NONE:-Bob}", "Bob"),
        ("${NONE:-}", ""),
        ("${EMPTY:-Bob}", "Bob"),
        ("${EMPTY}", ""),
        ("${URL:-sqlite:///a-b.db}", "sqlite:///a-b.db"),
        ("${NONE:-${NAME}}", "Ada"),
        ("${NONE:-${EMPTY:-Bob}}!", "Bob!"),
        ("${NONE:-${NO:-${NAME}}}!", "Ada!"),
        ("${NONE:-<${NO:-a${NOT:-b${NEVER:-c}}}> $}", "<abc> $"),
        ("${NONE:-$${NAME}}", "${NAME}"),
        ("${NONE:-${{ price }}}", "${{ price }}"),
        ("${NONE:-to ${NAME} and ${NAME}}", "to Ada and Ada"),
        ("${NAME:-${NONE}}", "Ada"),
        ("$${NAME}", "${NAME}"),
        ("$NAME costs 5$", "$NAME costs 5$"),
        ("Costs ${{ price }}", "Costs ${{ price }}"),
        ("{NAME}", "{NAME}"),
    ],
)
def test_a_reference_becomes_its_value(tmp_path: Path, written: str, meant: str) -> None:
    assert expand(written, environment(tmp_path, NAME="Ada", EMPTY="")) == (meant, [])


def test_strings_are_replaced_however_deep_and_nothing_else_changes(tmp_path: Path) -> None:
    table = {"a": ["${X}", 3, {"b": "${X}"}], "${X}": True, "c": 1.5}
    assert expand(table, environment(tmp_path, X="x")) == ({"a": ["x", 3, {"b": "x"}], "${X}": True, "c": 1.5}, [])


def test_a_value_is_not_looked_into_again(tmp_path: Path) -> None:
    assert expand("${A}", environment(tmp_path, A="${B}", B="no")) == ("${B}", [])


def test_every_missing_variable_is_named_with_its_place(tmp_path: Path) -> None:
    written = {"url": "${HOST}:${PORT}", "list": ["x", "${HOST}"]}
    assert expand(written, environment(tmp_path), ("top",)) == (
        written,
        [Unset(("top", "url"), "HOST"), Unset(("top", "url"), "PORT"), Unset(("top", "list", 1), "HOST")],
    )


def test_a_default_that_is_a_reference_may_be_missing_and_its_value_is_not_shown(tmp_path: Path) -> None:
    assert expand("${A:-${B}}", environment(tmp_path), ("k",)) == ("${A:-${B}}", [Unset(("k",), "B")])
    value, _ = expand("${A:-${B}}", environment(tmp_path, B="secret"))
    assert isinstance(value, Expanded)


@pytest.mark.parametrize("written", ["${", "${1A}", "${A-x}", "${A:x}", "${ A }", "${A", "${A:-x", "${B:-${A}"])
def test_a_malformed_reference_is_not_taken_for_text(tmp_path: Path, written: str) -> None:
    assert expand(written, environment(tmp_path, A="a"), ("k",)) == (written, [Unset(("k",), None)])


def test_the_process_environment_comes_before_the_env_file(tmp_path: Path) -> None:
    both = environment(tmp_path, "A=file\nB='from file'\n# a comment\nexport C=\"c # c\"\n", A="process")
    assert [both.get(name) for name in "ABCD"] == ["process", "from file", "c # c", None]


def test_values_of_the_env_file_may_use_each_other_and_the_process_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROWVEC_TEST_HOST", "db")
    found = environment(tmp_path, "PW=x\nURL=postgresql://u:${PW}@${ROWVEC_TEST_HOST}/d\n").get("URL")
    assert found == "postgresql://u:x@db/d"


def test_the_env_file_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert environment(tmp_path, "\ufeffA=1\n").get("A") == "1"


def test_a_name_without_a_value_in_the_env_file_is_not_set(tmp_path: Path) -> None:
    assert environment(tmp_path, "A\n").get("A") is None


def test_a_broken_env_file_names_the_line_and_does_not_show_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        environment(tmp_path, "A=1\nPW='hunter2\n").get("B")
    assert str(caught.value).startswith(f"{tmp_path / '.env'}, line 2: this is not a setting.")
    assert "hunter2" not in str(caught.value)


def test_an_env_file_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.env is not UTF-8 text"):
        environment(tmp_path, b"A=\xff\n").get("A")


def test_an_env_file_that_is_a_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(ConfigError, match=r"\.env cannot be read: Is a directory"):
        environment(tmp_path).get("A")


def test_the_env_file_is_not_read_when_nothing_asks_for_it(tmp_path: Path) -> None:
    assert expand("${A}", environment(tmp_path, "= broken", A="a")) == ("a", [])


def test_a_hint_names_the_nearest_variable_of_the_env_file(tmp_path: Path) -> None:
    hint = environment(tmp_path, "STAGING_URL=x\n").hint("STAGNG_URL")
    assert hint == "Did you mean 'STAGING_URL'? Set STAGNG_URL, or put a line STAGNG_URL=… into .env beside the config."


def test_what_came_from_the_environment_is_marked_as_not_to_be_shown(tmp_path: Path) -> None:
    known = environment(tmp_path, A="a")
    assert isinstance(expand("x${A}", known)[0], Expanded)
    assert not isinstance(expand("${B:-x}", known)[0], Expanded)


def test_the_repr_shows_no_value(tmp_path: Path) -> None:
    known = environment(tmp_path, "A=hunter2\n", B="hunter3")
    assert known.get("A") == "hunter2"
    assert "hunter" not in repr(known)


@given(text=st.text(alphabet="${}:-AB{ x"))
def test_any_text_expands_or_names_what_is_missing(text: str) -> None:
    result, unset = expand(text, Environment(Path("/nonexistent"), {"A": "a"}))
    assert result == text if unset else ("${A}" not in result or "$${A}" in text)


@given(text=st.text())
def test_an_escaped_text_comes_back_as_it_was(text: str) -> None:
    assert expand(text.replace("${", "$${"), Environment(Path("/nonexistent"), {})) == (text, [])
