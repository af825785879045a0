"""What the URL of a MySQL server says after its question mark, as managed servers write it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import sqlalchemy as sa

from rowvec.errors import ConfigError
from rowvec.sources.databases import open_database
from rowvec.sources.databases.mysql_url import arguments


def asked(query: str) -> dict[str, object]:
    return arguments(sa.make_url(f"mysql://user@host/db?{query}"))


@pytest.mark.parametrize(
    ("query", "verified", "by_name"),
    [
        ("ssl-mode=REQUIRED", ssl.CERT_NONE, False),
        ("ssl_mode=required", ssl.CERT_NONE, False),
        ("sslMode=VERIFY_CA", ssl.CERT_REQUIRED, False),
        ("ssl-mode=VERIFY_IDENTITY", ssl.CERT_REQUIRED, True),
        ("ssl=true", ssl.CERT_NONE, False),
        ("ssl_verify_cert=true", ssl.CERT_REQUIRED, False),
        ("ssl_verify_cert=required", ssl.CERT_REQUIRED, False),
        ("ssl_verify_cert=Optional", ssl.CERT_REQUIRED, False),
        ("ssl_verify_cert=none", ssl.CERT_NONE, False),
        ("ssl-verify-server-cert=1", ssl.CERT_REQUIRED, True),
        ("ssl_verify_identity=true", ssl.CERT_REQUIRED, True),
    ],
)
def test_the_words_of_managed_servers_ask_for_tls(query: str, verified: ssl.VerifyMode, by_name: bool) -> None:
    context = asked(query)["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (verified, by_name)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("ssl-mode=DISABLED", {"ssl_disabled": True}),
        ("ssl=false", {"ssl_disabled": True}),
        ("ssl-mode=PREFERRED", {}),
        ("ssl_disabled=true", {"ssl_disabled": True}),
        ("ssl_disabled=false", {}),
        ("charset=latin1&autocommit=true", {}),
        ("sql_mode=ANSI&client_flag=2&local_infile=1&compress=false&binary_prefix=true", {}),
        ("unix_socket=/run/my.sock&read_timeout=5", {"unix_socket": "/run/my.sock", "read_timeout": 5}),
    ],
)
def test_other_words_become_what_the_driver_takes(query: str, found: dict[str, object]) -> None:
    assert asked(query) == found


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslaccept=strict", "'sslaccept', which the driver of MySQL does not take"),
        ("cursorclass=x", "'cursorclass', which the driver"),
        ("ssl-mode=nope", "ssl-mode is 'nope'"),
        ("ssl_verify_cert=perhaps", "ssl_verify_cert is 'perhaps'"),
        ("ssl-mode=REQUIRED&ssl-mode=DISABLED", "more than once"),
        ("read_timeout=abc", "read_timeout is 'abc'"),
        ("read_timeout=0", "read_timeout is '0'"),
        ("connect_timeout=31536001", "connect_timeout is '31536001'"),
        ("ssl-mode=REQUIRED&ssl_cipher=nope", "ssl_cipher is 'nope'"),
        ("ssl_ca=/nowhere/ca.pem", "/nowhere/ca.pem) cannot be used: No such file"),
    ],
)
def test_what_the_driver_cannot_use_is_refused_by_name(query: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        asked(query)
    assert said in str(error.value)
    assert error.value.hint


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("mysql://me@/shop?unix_socket=/run/my.sock", "MySQL me@/run/my.sock/shop"),
        ("mysql://me@one/shop?host=two&port=7", "MySQL me@two:7/shop"),
        ("postgresql://me@/shop?host=/run/pg&port=6", "PostgreSQL me@/run/pg:6/shop"),
        ("postgresql://me@/shop?host=one&host=two", "PostgreSQL me@one,two:5432/shop"),
    ],
)
def test_messages_name_the_server_that_is_asked(url: str, place: str, tmp_path: Path) -> None:
    assert open_database(url, tmp_path).location == place


def test_messages_name_the_server_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db-1")
    monkeypatch.setenv("PGUSER", "me")
    assert open_database("postgresql:///shop", tmp_path).location == "PostgreSQL me@db-1:5432/shop"


def test_more_ports_than_hosts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hosts and ports"):
        open_database("postgresql://u@h/db?port=1,2", tmp_path)
