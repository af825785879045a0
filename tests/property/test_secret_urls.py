"""A password of any characters, written into a URL as it is, is shown in no error, log line or repr, nor a part."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowvec import assemble
from rowvec.config import load
from rowvec.errors import RowvecError
from rowvec.sources.databases import open_database
from rowvec.sources.propose import propose_files
from rowvec.sources.storage import find
from rowvec.stores.libsql.local import LocalDatabase
from rowvec.support.logs import JsonLines
from rowvec.support.redaction import redact, redact_text, unclear

PIECES = ("hunter", "sesame", "swordfish")
"""Between any other characters: whichever of them a program takes for a host, a port or a path."""
between = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(
    [
        "@",
        "/",
        ":",
        "?",
        "#",
        "%",
        "%4",
        "%40",
        "@h/",
        "/x@",
        ":1/",
        "[",
        "]",
        " ",
        "\\",
        "'",
        '"',
        "=",
        "&",
        "//",
        "@@",
    ]
)
passwords = st.tuples(between, between, between).map(
    lambda parts: "".join(part + piece for part, piece in zip(parts, PIECES, strict=True))
)
SHAPES = [
    "{scheme}://me:{password}@127.0.0.1:1/shop",
    "{scheme}://:{password}@127.0.0.1:1/shop?connect_timeout=1",
    "{scheme}://me:{password}@127.0.0.1:1",
]
MISTYPED = [
    "postgres:/me:{password}@127.0.0.1:1/shop",
    "postgres//me:{password}@127.0.0.1:1/shop",
    "postgresql;//me:{password}@127.0.0.1:1/shop",
    "postgres:\\\\me:{password}@127.0.0.1:1",
    "postgresql:///me:{password}@127.0.0.1:1/shop",
    "me:x{password}@127.0.0.1:1/shop",
    "me:x{password}@127.0.0.1",
]
"""URLs that a part is missing of, or that one is wrong in."""
HOMES = ["source postgresql", "source mysql", "store postgresql", "store libsql", "broker amqp", "broker redis"]


def safe(text: str) -> None:
    for piece in PIECES:
        assert piece not in text, text


def told(error: BaseException | None) -> Iterator[str]:
    """All that an error can show, with what it came from."""
    while error is not None:
        yield f"{error} {error!r} {getattr(error, '__notes__', '')}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(password=passwords, shape=st.sampled_from(SHAPES), home=st.sampled_from(HOMES))
def test_by_every_way_through_a_config(tmp_path: Path, password: str, shape: str, home: str) -> None:
    part, scheme = home.split()
    url = json.dumps(shape.format(scheme=scheme, password=password), ensure_ascii=False).replace("\x7f", "\\u007f")
    urls = {"source": '"sqlite:///none.db"', "store": '"v.db"', "broker": '""', part: url.replace("${", "$${")}
    kind = "libsql" if scheme == "libsql" or part != "store" else "postgres"
    (tmp_path / "rowvec.toml").write_text(
        f"""
        [workers]
        broker = {urls["broker"]}
        [pipelines.p]
        source = {{ kind = "sql", url = {urls["source"]}, table = "t", key = "id" }}
        embedder = {{ kind = "openai", model = "text-embedding-3-small", api_key = "k" }}
        store = {{ kind = "{kind}", url = {urls["store"]} }}
        """,
        encoding="utf-8",
    )
    try:
        config = load(tmp_path)
        safe(repr(config) + repr(config.pipeline()) + repr(config.workers))
        if part != "broker":
            with suppress(NotImplementedError):
                assemble.build_source(config.pipeline()) if part == "source" else _look(config, config.pipeline())
    except RowvecError as error:
        for text in told(error):
            safe(text)


def _look(config: object, declared: object) -> None:
    store = assemble.build_store(config, declared)  # type: ignore[arg-type]
    try:
        safe(repr(store) + store.location)
    finally:
        store.close()


@settings(max_examples=300, deadline=None)
@given(password=passwords, shape=st.sampled_from(SHAPES), scheme=st.sampled_from(["postgresql", "mysql+pymysql", "x"]))
def test_as_an_argument_of_a_command(password: str, shape: str, scheme: str) -> None:
    url = shape.format(scheme=scheme, password=password)
    safe(redact(url))
    try:
        safe(open_database(url, Path.cwd()).location)
    except RowvecError as error:
        for text in told(error):
            safe(text)


@settings(max_examples=300, deadline=None)
@given(password=passwords, shape=st.sampled_from(MISTYPED))
def test_where_a_path_is_expected_instead(password: str, shape: str) -> None:
    text = shape.format(password=password)
    if "\0" in text:
        return  # That no command line can hold.
    for look in (
        lambda: propose_files(text, base=Path("/nowhere")), lambda: find([text], Path("/nowhere")),
        lambda: LocalDatabase(f"/nowhere/{text}").create(), lambda: open_database(text, Path("/nowhere")),
    ):  # fmt: skip
        with pytest.raises(RowvecError) as caught:
            look()
        for said in told(caught.value):
            safe(said)


@given(password=passwords, shape=st.sampled_from(SHAPES))
def test_in_a_log_line(password: str, shape: str) -> None:
    if set(password) & set(" \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\"'<>") or any(each.isspace() for each in password):
        return  # Where an address ends in a text nobody can tell; a config refuses such a password.
    url = shape.format(scheme="postgresql", password=password)
    record = logging.LogRecord("x", logging.INFO, "", 0, "cannot reach %s now, as anna@example.com said", (url,), None)
    line = json.loads(JsonLines().format(record))["message"]
    safe(line)
    assert line.endswith(" now, as anna@example.com said")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_password_that_is_percent_encoded_is_always_clear(password: str) -> None:
    assert unclear(f"postgresql://me:{quote(password, safe='')}@host:5432/shop?sslmode=require") is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///shop", "postgresql:///shop?user=a:b&host=/tmp/a@b", "SQLite:///a:b@c.db",
        "sqlite:////home/me/a:b@c/shop.db", "postgresql:///shop?host=/tmp/a@b", "https://host/@scope/x", "v=1.db",
        "host=localhost password='a b' dbname=x", "postgresql://host:5432/db", "redis://:pw@host/0", "vectors.db",
    ],
)  # fmt: skip
def test_what_is_clear_is_not_refused(url: str) -> None:
    assert unclear(url) is None


@pytest.mark.parametrize("url", ["host=h password=a b", "host=h password='a", "postgresql://me:1/2@host/db"])
def test_what_is_not_is(url: str) -> None:
    assert unclear(url) is not None


def test_an_address_in_a_sentence_ends_where_it_does() -> None:
    assert redact_text('Failed at "redis://:a@b@host/0" for x@y.z') == 'Failed at "redis://:***@host/0" for x@y.z'
