"""What a search token says, who signed it, and what is refused."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
import time
from typing import Any

import pytest

import rowvec
from rowvec.api.tokens import ITERATIONS, LARGEST, LEEWAY, SALT, Verifier, expiry, key_id, sign, signing_key
from rowvec.errors import ConfigError, TokenRefused
from rowvec.filters import And, Compare, Op

KEY, OTHER = "a-key-of-sixteen-characters-or-more", "another-key-of-some-length"
NOW = 1_790_000_000
GOOD = {"exp": NOW + 3600, "rowvec": {"pipelines": {"products": {"tenant_id": 7}}}}
HEADER = {"alg": "HS256", "typ": "JWT", "kid": key_id(signing_key(KEY))}


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def made(claims: Any = GOOD, header: Any = HEADER, key: str = KEY) -> bytes:
    """A token as a backend in any language makes it."""
    parts = [part if isinstance(part, str) else json.dumps(part) for part in (header, claims)]
    signed = ".".join(encoded(part.encode("utf-8", "surrogatepass")) for part in parts)
    signing = hashlib.pbkdf2_hmac("sha256", key.encode(), SALT, ITERATIONS)
    return f"{signed}.{encoded(hmac.new(signing, signed.encode(), hashlib.sha256).digest())}".encode()


def refused(token: bytes, now: float = NOW) -> str:
    with pytest.raises(TokenRefused) as caught:
        Verifier([OTHER, KEY]).grant(token, now)
    return str(caught.value)


def test_a_token_says_which_rows_of_which_pipelines() -> None:
    given = sign(KEY, {"products": {"tenant_id": 7}, "notes": "owner = 'me' and not secret"}, NOW + 60)
    grant = Verifier([OTHER, KEY]).grant(given.encode(), NOW)
    assert grant.pipelines["products"] == Compare("tenant_id", Op.EQ, 7)
    assert isinstance(grant.pipelines["notes"], And)
    assert expiry(given) == dt.datetime.fromtimestamp(NOW + 60, dt.UTC)


def test_any_backend_can_make_one() -> None:
    assert Verifier([KEY]).grant(made(), NOW).pipelines == {"products": Compare("tenant_id", Op.EQ, 7)}
    more = {**GOOD, "iat": NOW, "nbf": NOW + LEEWAY, "sub": "somebody"}
    assert Verifier([KEY]).grant(made(more), NOW)


def test_neither_the_token_nor_the_key_id_holds_the_key() -> None:
    token = sign(KEY, {"products": {}}, NOW)
    assert KEY not in token and signing_key(KEY).hex() not in token
    assert key_id(signing_key(KEY)) != key_id(signing_key(OTHER))
    grant = Verifier([KEY]).grant(token.encode(), NOW - 1)
    assert grant.holder not in repr(grant)


def test_a_token_ends_and_begins_at_its_times() -> None:
    verifier = Verifier([KEY])
    assert verifier.grant(made(), NOW + 3600 + LEEWAY - 1)
    assert "expired" in refused(made(), NOW + 3600 + LEEWAY)
    assert "not valid yet" in refused(made({**GOOD, "nbf": NOW + LEEWAY + 1}))


def test_another_key_does_not_sign() -> None:
    assert "No API key of this server" in refused(made(header={**HEADER, "kid": key_id(signing_key("x" * 20))}))
    # The id of the right key beside the signature of another one.
    assert "The signature of the search token is wrong" in refused(made(key=OTHER))
    assert "No API key" in refused(made(header={"alg": "HS256", "typ": "JWT"}))
    with pytest.raises(TokenRefused):
        Verifier([]).grant(made(), NOW)


def test_a_token_that_was_widened_by_hand_is_refused() -> None:
    header, _, signature = made().decode().split(".")
    wider = {"exp": NOW + 3600, "rowvec": {"pipelines": {"products": {}}}}
    assert "signature" in refused(f"{header}.{encoded(json.dumps(wider).encode())}.{signature}".encode())
    whole = made()
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] = ord("A") if changed[place] != ord("A") else ord("B")
        refused(bytes(changed))


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "hs256", "HS384", "HS512", "RS256", "", None, 7, ["HS256"]])
def test_no_other_algorithm_counts(alg: Any) -> None:
    assert "header" in refused(made(header={**HEADER, "alg": alg}))
    unsigned = made(header={**HEADER, "alg": alg}).decode().rpartition(".")[0]
    for signature in ("", "AA"):
        refused(f"{unsigned}.{signature}".encode())


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "HS256", "kid": HEADER["kid"]},
        {**HEADER, "typ": "JWE"},
        {**HEADER, "crit": ["exp"]},
        {**HEADER, "jwk": {"kty": "oct", "k": "AAAA"}},
        {**HEADER, "kid": [HEADER["kid"]]},
        {**HEADER, "kid": "\ud800"},
        [],
        "{",
        '{"alg": "HS256", "alg": "none", "typ": "JWT"}',
        "[" * 3000,
    ],
)
def test_a_header_says_what_it_must_and_no_more(header: Any) -> None:
    refused(made(header=header))


@pytest.mark.parametrize("value", [None, "soon", True, -1, float("inf"), float("nan"), 10**400, [], {}])
@pytest.mark.parametrize("claim", ["exp", "nbf"])
def test_times_are_numbers(claim: str, value: Any) -> None:
    refused(made({**GOOD, claim: value}))


def test_a_token_without_an_end_is_refused() -> None:
    assert "exp" in refused(made({"rowvec": GOOD["rowvec"]}))


@pytest.mark.parametrize(
    "own",
    [
        None,
        {},
        [],
        {"pipelines": {}},
        {"pipelines": []},
        {"pipelines": {"products": None}},
        {"pipelines": {"products": []}},
        {"pipelines": {"products": 7}},
        {"pipelines": {"products": True}},
        {"pipelines": {"products": "tenant_id ="}},
        {"pipelines": {"products": ""}},
        {"pipelines": {"products": {"tenant_id": {"is": 7}}}},
        {"pipelines": {"products": {"tenant_id": 7}, "notes": "("}},
        {"pipelines": {"products": {}}, "pipeline": {}},
    ],
)
def test_what_it_opens_can_be_read_or_nothing_is_opened(own: Any) -> None:
    refused(made({"exp": NOW + 60, "rowvec": own}))


@pytest.mark.parametrize(
    "claims", [{**GOOD, "aud": "billing"}, [], "{", "7", '{"exp": 1790003600, "exp": 9}', "{}", '{"exp": NaN}']
)
def test_what_is_not_for_us_is_refused(claims: Any) -> None:
    refused(made(claims))


@pytest.mark.parametrize(
    "token", [b"", b"..", b"a.b", b"a.b.c", b"a.b.c.d", b"\xff.\xff.\xff", b"e30.e30.e30", b"====.=.="]
)
def test_what_is_not_a_token_is_refused(token: bytes) -> None:
    assert "cannot be read" in refused(token) or "header" in refused(token)


def test_one_that_is_too_long_is_refused_before_it_is_read() -> None:
    long = {"exp": NOW + 60, "rowvec": {"pipelines": {"products": {"name": ["x" * 90] * 100}}}}
    assert f"longer than {LARGEST:,} bytes" in refused(made(long))
    with pytest.raises(ConfigError, match="longer than"):
        rowvec.token({"products": {"name": ["x" * 90] * 100}}, api_key=KEY)


def test_a_refusal_repeats_nothing_of_the_token() -> None:
    for token in (made(key=OTHER), made(), made(header={**HEADER, "alg": "none"})):
        assert token.decode().split(".")[1] not in refused(token, NOW + 10**6)


def test_python_makes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWVEC_API_KEY", f"{KEY}, {OTHER}")
    began = int(time.time())
    given = rowvec.token({"products": "tenant_id = 7"}, expires="1h30m")
    assert 0 <= expiry(given).timestamp() - began - 5400 <= 60
    assert Verifier([KEY]).grant(given.encode()).pipelines == {"products": Compare("tenant_id", Op.EQ, 7)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"expires": "soon"}, "not a length of time"),
        ({"expires": "367d"}, "up to 366 days"),
        ({"expires": dt.timedelta(seconds=-1)}, "up to 366 days"),
        ({"api_key": ""}, "no API key"),
        ({"api_key": "short"}, "shorter than 16"),
        ({"pipelines": {}}, "opens no pipeline"),
        ({"pipelines": {"products": "tenant_id ="}}, "products"),
        ({"pipelines": {"products": 7}}, "expected an object or a text"),
    ],
)
def test_python_says_what_is_wrong(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        rowvec.token(**{"pipelines": {"products": {}}, "api_key": KEY, **change})
    assert KEY not in str(caught.value)
