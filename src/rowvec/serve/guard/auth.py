"""Who may ask: API keys, search tokens, and what keeps pages of other sites away from a server on this machine."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from rowvec.api.tokens import Grant, Verifier, looks_like_a_token
from rowvec.errors import TokenRefused
from rowvec.serve.problems import Problem
from rowvec.serve.settings import ServeSettings

Headers = Mapping[bytes, bytes]

PANELS = ("overview", "status", "runs", "eval", "quality")
"""The pages about the state of pipelines; the first of them is `/ui/`."""
PUBLIC = frozenset(
    {
        "/",
        "/docs",
        "/ui",
        "/ui/",
        "/ui/compare",
        "/ui/map",
        "/ui/row",
        "/health",
        "/health/live",
        "/openapi.json",
        "/favicon.ico",
    }
    | {f"/ui/{name}" for name in PANELS}
)
"""Paths without data of a pipeline: the pages' frames, the API's description, whether the server lives."""
TOKENS_OPEN = re.compile(
    r"(/pipelines/[^/]+)?/search(/(semantic|filtered|keyword|hybrid|browse)|/similar/.*)?|(/pipelines/[^/]+)?/texts"
    r"|/pipelines|/events|/mcp|/ui/compare/about|/ui/row/(data|metadata)",
    re.DOTALL,
)
"""Paths that a search token opens, and no others: what they answer comes from `context_of(request).services`, which
sees the rows of the token and no others."""
OURS = frozenset({b"same-origin", b"none"})
"""What a browser says of a request by a page of this server, and of an address that its user typed."""


def is_public(path: str) -> bool:
    return path in PUBLIC or path.startswith("/static/")


def opens(path: str) -> bool:
    """A search token opens it."""
    return TOKENS_OPEN.fullmatch(path) is not None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        name: for the limit of requests; None for somebody whom only an address tells.
        whole: may see everything that the server has.
        grant: what a search token opens for somebody who may not.
        refusal: why the credential that was sent opens nothing.
    """

    name: str | None = None
    whole: bool = False
    grant: Grant | None = None
    refusal: Problem | None = None


class Keys:
    """The API keys that open the server, and the tokens signed with them; without a key, everybody may ask."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]
        self._tokens = Verifier(keys)

    def caller(self, headers: Headers) -> Caller:
        given = _credential(headers)
        named = self._holder(given) if given else None
        if named is not None:
            return Caller(named, whole=True)
        if not self._digests:
            # Whoever sends a token expects that only its rows are shown.
            if looks_like_a_token(given) and self._tokens.is_ours(given):
                hint = "Set ROWVEC_API_KEY, or send no token."
                return Caller(refusal=Problem(401, "This server has no API key to check a search token with.", hint))
            return Caller(whole=True)
        if looks_like_a_token(given):
            try:
                grant = self._tokens.grant(given)
            except TokenRefused as error:
                return Caller(refusal=Problem(401, error.message, error.hint))
            return Caller(grant.holder, grant=grant)
        hint = "Send it as `Authorization: Bearer KEY` or as `X-API-Key: KEY`."
        return Caller(refusal=Problem(401, "The API key is missing or wrong.", hint))

    def _holder(self, given: bytes) -> str | None:
        """A name for whoever holds that key; None if it is wrong.

        Digests are compared, all of them and in constant time: how long it takes says nothing about a key.
        """
        digest = hashlib.sha256(given).digest()
        found = [index for index, key in enumerate(self._digests) if hmac.compare_digest(digest, key)]
        return f"key {found[0]}" if found else None


def _credential(headers: Headers) -> bytes:
    """The key or token that was sent; empty where there is none."""
    given = headers.get(b"x-api-key")
    if given is None:
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return b""
    return given.strip()


class Visitors:
    """Which Host and Origin headers are answered.

    A page of another site can make its own name point at this machine and so reach a server on loopback (DNS
    rebinding): the Host header gives it away. It can also send a form here, or name an address here as that of a
    picture, which embeds a query: Origin and Sec-Fetch-Site give that away.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._hosts = settings.host_names
        self._origins = settings.origins

    def check(self, path: str, headers: Headers) -> None:
        """
        Raises:
            Problem: 400 for a Host that is not served; 403 for a page of another site that asks for more than the
                frames of pages.
        """
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self._hosts is not None and _without_port(host) not in self._hosts:
            raise Problem(400, "This server does not answer to that Host.", "Allow it with --allowed-host.")
        if is_public(path):
            return
        origin = headers.get(b"origin")
        if origin is None:
            theirs = headers.get(b"sec-fetch-site", b"none") not in OURS
        else:
            text = origin.decode("latin-1").lower()
            theirs = text not in self._origins and _netloc(text) != host
        if theirs:
            raise Problem(403, "Pages of other origins may not call this server.", "Allow one with --cors-origin.")


HOST = re.compile(r"(\[[0-9a-f:.%]+\]|[^:\[\]@/]*)(:[0-9]{1,5})?")


def _without_port(host: str) -> str | None:
    found = HOST.fullmatch(host)
    return found[1] if found else None


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
