"""Search tokens: who holds one may search some pipelines, and sees only the rows that a filter of each finds.

A token is a JSON Web Token (RFC 7519), signed with HMAC-SHA256 (`HS256`, RFC 7518), so that any backend can make one:

    {"alg": "HS256", "typ": "JWT", "kid": "rowvec-…"}
    {"exp": 1790000000, "rowvec": {"pipelines": {"products": {"tenant_id": 7}}}}

Neither the key that signs nor the key id gives the API key away. Both come from PBKDF2 (RFC 8018), because everybody
who holds a token can try API keys against it: each try shall cost time.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NoReturn

from rowvec import filters
from rowvec.api.spans import time_span
from rowvec.errors import ConfigError, SearchError, TokenRefused
from rowvec.filters import Filter
from rowvec.support.json_objects import once

SALT = b"rowvec search token"
ITERATIONS = 100_000
KEY_ID = "rowvec-"
KEY_VARIABLE = "ROWVEC_API_KEY"
LONGEST = dt.timedelta(days=366)
SHORTEST_KEY = 16
"""Characters of an API key."""
LARGEST = 8_192
"""Bytes of a token."""
LEEWAY = 30
"""Seconds that the clocks of two machines may differ."""
LATEST = 2**53
KEPT = 1_000
"""Tokens that were found right, and need not be read again: only their times are compared."""
_PART = re.compile(rb"[A-Za-z0-9_-]+")
_AGAIN = "Ask whoever gave it to you for a new one."


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token opens.

    Attributes:
        pipelines: the filter of each, not bound yet.
        holder: a name for whoever sent it, for the limit of requests.
    """

    pipelines: Mapping[str, Filter]
    holder: str = field(repr=False)


@lru_cache(maxsize=64)
def signing_key(api_key: str) -> bytes:
    """The key that tokens are signed with: 32 bytes. Takes about 0.1 s the first time."""
    return hashlib.pbkdf2_hmac("sha256", api_key.encode(), SALT, ITERATIONS)


def key_id(signing: bytes) -> str:
    return KEY_ID + hashlib.sha256(signing).hexdigest()[:16]


def own_key() -> str | None:
    """The first key that ROWVEC_API_KEY holds, which names several with commas between them; None without one."""
    return next((key.strip() for key in os.environ.get(KEY_VARIABLE, "").split(",") if key.strip()), None)


def token(
    pipelines: Mapping[str, str | Mapping[str, Any]],
    *,
    expires: str | dt.timedelta = "1h",
    api_key: str | None = None,
) -> str:
    """A search token: whoever holds it can search these pipelines of a server, and sees only the rows of its filters.

    Nothing is connected. `Project.token` also checks the filters against the columns.

    Args:
        pipelines: a filter for each pipeline, as text or as JSON: `{"products": {"tenant_id": 7}}`. `{}` is every row.
        expires: how long it is valid, such as "30m", "12h" or "7d"; up to 366 days.
        api_key: an API key of the server; by default the first one of ROWVEC_API_KEY.

    Raises:
        ConfigError: no key or one that is too short, no length of time, a filter that cannot be read.
    """
    key = api_key.strip() if api_key is not None else own_key() or ""
    if len(key) < SHORTEST_KEY:
        what = f"The API key is shorter than {SHORTEST_KEY} characters." if key else "There is no API key to sign with."
        raise ConfigError(what, hint=f"Set {KEY_VARIABLE} to a key of the server.")
    length = time_span(expires)
    if not dt.timedelta(0) < length <= LONGEST:
        raise ConfigError(f"A token is valid for up to {LONGEST.days} days.", hint='Write for example "12h".')
    try:
        return sign(key, pipelines, int(time.time() + length.total_seconds()))
    except TokenRefused as error:
        raise ConfigError(error.message, hint=error.hint) from None


def sign(api_key: str, pipelines: Mapping[str, str | Mapping[str, Any]], expires_at: int) -> str:
    """A token.

    Args:
        pipelines: the filter of each pipeline, as text or as JSON; `{}` is every row.
        expires_at: seconds since 1970.

    Raises:
        TokenRefused: a filter cannot be read, or the token would be too long for a header.
    """
    signing = signing_key(api_key)
    claims = {"exp": expires_at, "rowvec": {"pipelines": dict(pipelines)}}
    header = {"alg": "HS256", "typ": "JWT", "kid": key_id(signing)}
    signed = b".".join(_encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    token = b".".join((signed, _encoded(_signature(signing, signed))))
    # Read as a server reads it: what it would refuse is not given out.
    Verifier([api_key]).grant(token, now=0)
    return token.decode("ascii")


def expiry(token: str) -> dt.datetime:
    """Until when a token of `sign` is valid."""
    return dt.datetime.fromtimestamp(_json(token.split(".")[1].encode())["exp"], dt.UTC)


def looks_like_a_token(credential: bytes) -> bool:
    """It has the form of a JWT, whoever made it."""
    return credential.count(b".") == 2


class Verifier:
    """Reads tokens that were signed with one of some API keys. Safe to use from several threads."""

    def __init__(self, api_keys: Iterable[str]) -> None:
        self._api_keys = tuple(api_keys)
        self._read: OrderedDict[bytes, tuple[Mapping[str, Any], Grant]] = OrderedDict()
        self._reading = threading.Lock()

    def is_ours(self, token: bytes) -> bool:
        """It says that it is rowvec's, true or not. False for tokens of others, which a proxy may have let through."""
        try:
            return str(_json(token.split(b".")[0]).get("kid")).startswith(KEY_ID)
        except ValueError:
            return False

    def grant(self, token: bytes, now: float | None = None) -> Grant:
        """
        Args:
            now: seconds since 1970.

        Raises:
            TokenRefused: it is not valid, for whatever reason. Nothing of the token is repeated.
        """
        now = time.time() if now is None else now
        read = self._read.get(token)
        if read is not None:
            _check_times(read[0], now)
            return read[1]
        claims, grant = self._opened(token, now)
        with self._reading:
            self._read[token] = (claims, grant)
            while len(self._read) > KEPT:
                self._read.popitem(last=False)
        return grant

    def _opened(self, token: bytes, now: float) -> tuple[Mapping[str, Any], Grant]:
        if len(token) > LARGEST:
            raise TokenRefused(f"The search token is longer than {LARGEST:,} bytes.", hint="Use a shorter filter.")
        parts = token.split(b".")
        try:
            header, claims, signature = _json(parts[0]), _json(parts[1]), _decoded(parts[2])
        except (ValueError, IndexError):
            _refuse("The search token cannot be read: it is not a JSON Web Token.")
        signing = self._signing_key(header)
        # Before anything that it claims is looked at.
        if not hmac.compare_digest(_signature(signing, parts[0] + b"." + parts[1]), signature):
            _refuse("The signature of the search token is wrong.", "It was changed, or signed with another key.")
        _check_times(claims, now)
        return claims, Grant(_pipelines(claims), f"token {hashlib.sha256(signature).hexdigest()[:16]}")

    def _signing_key(self, header: Mapping[str, Any]) -> bytes:
        if header.get("alg") != "HS256" or header.get("typ") != "JWT" or header.keys() - {"alg", "typ", "kid"}:
            _refuse("The header of the search token is wrong.", 'It is {"alg": "HS256", "typ": "JWT", "kid": "…"}.')
        named = str(header.get("kid")).encode("utf-8", "surrogatepass")
        found = None
        for api_key in self._api_keys:
            signing = signing_key(api_key)
            if hmac.compare_digest(key_id(signing).encode(), named):
                found = signing
        if found is None:
            _refuse("No API key of this server has signed the search token.", _AGAIN)
        return found


def _refuse(message: str, hint: str | None = None) -> NoReturn:
    raise TokenRefused(message, hint=hint) from None


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    if now >= _seconds(claims.get("exp"), "exp") + LEEWAY:
        _refuse("The search token has expired.", _AGAIN)
    if now < _seconds(claims.get("nbf", 0), "nbf") - LEEWAY:
        _refuse("The search token is not valid yet.", "Compare the clocks of both machines.")


def _seconds(value: Any, claim: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < LATEST:
        _refuse(f"The claim {claim} of the search token is missing or not a time.", "It is in seconds since 1970.")
    return value


def _pipelines(claims: Mapping[str, Any]) -> dict[str, Filter]:
    shape = 'It holds "rowvec": {"pipelines": {"NAME": FILTER}}, and nothing else there.'
    own = claims.get("rowvec")
    if "aud" in claims:
        _refuse("The search token is meant for another service: it has the claim aud.")
    if not isinstance(own, dict) or own.keys() != {"pipelines"} or not isinstance(own["pipelines"], dict):
        _refuse("The search token does not say what it opens.", shape)
    if not own["pipelines"]:
        _refuse("The search token opens no pipeline.", shape)
    found = {}
    for name, where in own["pipelines"].items():
        try:
            if not isinstance(where, str | dict):
                raise SearchError("expected an object or a text.")
            found[name] = filters.parse(where) if isinstance(where, str) else filters.from_json(where)
        except SearchError as error:
            _refuse(f"The search token's filter for the pipeline {name[:100]!r}: {error.message}", error.hint)
    return found


def _signature(signing: bytes, signed: bytes) -> bytes:
    return hmac.digest(signing, signed, "sha256")


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decoded(part: bytes) -> bytes:
    """Raises ValueError for anything but the one form that these bytes have."""
    if not _PART.fullmatch(part):
        raise ValueError("not base64url")
    data = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    if _encoded(data) != part:
        raise ValueError("not canonical")
    return data


def _json(part: bytes) -> dict[str, Any]:
    """Raises ValueError for what is not an object, names a member twice, or holds a number that JSON does not know."""
    try:
        found = json.loads(_decoded(part).decode(), object_pairs_hook=once, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)
