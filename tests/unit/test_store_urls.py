"""A URL of a store that the driver refuses is told in words, and never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from rowvec.errors import StoreError, StoreUnavailable
from rowvec.stores.postgres.connect import connect, describe


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:sekret@127.0.0.1/x?pgbouncer=true", "has the parameter 'pgbouncer'"),
        ("postgresql://u:sekret@127.0.0.1/x?sslmode=disable&schema=shop", "has the parameter 'schema'"),
        ("postgresql://u:sekret@127.0.0.1/x?sslmode=wrong", "invalid sslmode value"),
        ("postgresql://u:sekret@127.0.0.1:a/x", "invalid integer value"),
        ("postgresql://u:p/sekret?sekret=1@127.0.0.1/x", "is not a PostgreSQL connection string"),
        ("postgresql://[sekret/x", "is not a PostgreSQL connection string"),
    ],
)
def test_what_the_driver_cannot_use_is_named(url: str, said: str) -> None:
    with pytest.raises(StoreError) as refused:
        connect(url, "test")
    assert said in str(refused.value)
    assert refused.value.hint
    assert "sekret" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql:///db?service=shop", "service shop, database db"),
        ("service=shop", "service shop"),
        ("postgresql://me@there:1/db?service=shop", "me@there:1/db"),
        ("postgresql://me@there:1,2/db", "me@there:1,2:5432/db"),
        ("postgresql://me@one,two:7/db", "me@one:5432,two:7/db"),
        ("postgresql://me@/db?host=one,two&port=7", "me@one,two:7/db"),
        ("postgresql://me@/db?host=one,two&port=1,2,3", "me@one,two:1,2,3/db"),
        ("postgresql://me@[::1]:7/db", "me@[::1]:7/db"),
    ],
)
def test_messages_name_the_place_that_the_driver_looks_at(url: str, place: str) -> None:
    """libpq takes the 2 of `there:1,2` for a second host; a service says host and port in a file."""
    assert describe(url) == place


def test_a_service_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICE", "shop")
    monkeypatch.setenv("PGHOST", "elsewhere")
    assert describe("postgresql:///db") == "service shop, database db"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql:///db?service=nowhere", 'definition of service "nowhere" not found'),
        ("postgresql:///db?host=one,two&port=1,2,3", "could not match 3 port numbers to 2 hosts"),
        ("postgresql://127.0.0.1/db?connect_timeout=abc", "bad value for connect_timeout"),
    ],
)
def test_what_no_second_try_makes_right_is_not_taken_for_a_server_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    (tmp_path / "services").write_text("[shop]\nhost=127.0.0.1\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    with pytest.raises(StoreError) as refused:
        connect(url, "test")
    assert not isinstance(refused.value, StoreUnavailable)
    assert "store.url cannot be used" in str(refused.value)
    assert said in str(refused.value)
