"""Who may ask: API keys, and what keeps pages of other sites away from a server on this machine."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from rowvec.serve.problems import Problem
from rowvec.serve.settings import ServeSettings

Headers = Mapping[bytes, bytes]

PAGES = frozenset({"/", "/docs", "/ui/compare", "/ui/map", "/ui/row", "/ui/status"})
PUBLIC = PAGES | {"/health", "/health/live", "/openapi.json", "/favicon.ico"}
"""Paths without data of a pipeline: the pages' frames, the API's description, whether the server lives."""
OURS = frozenset({b"same-origin", b"none"})
"""What a browser says of a request by a page of this server, and of an address that its user typed."""


def is_public(path: str) -> bool:
    return path in PUBLIC or path.startswith("/static/")


class Keys:
    """The API keys that open the server; with none of them, everybody may ask."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def caller(self, headers: Headers) -> str | None:
        """A name for whoever holds the key that was sent; None if the key is missing or wrong.

        Digests are compared, all of them and in constant time: how long it takes says nothing about a key.
        """
        given = headers.get(b"x-api-key")
        if given is None:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer":
                return None
        digest = hashlib.sha256(given.strip()).digest()
        found = [index for index, key in enumerate(self._digests) if hmac.compare_digest(digest, key)]
        return f"key {found[0]}" if found else None

    def __bool__(self) -> bool:
        return bool(self._digests)


class Visitors:
    """Which Host and Origin headers are answered.

    A page of another site can make its own name point at this machine and so reach a server on loopback (DNS
    rebinding): the Host header gives it away. It can also send a form here, or name an address here as that of a
    picture, which embeds a query: Origin and Sec-Fetch-Site give that away.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._hosts = settings.host_names
        self._origins = frozenset(origin.rstrip("/").lower() for origin in settings.cors_origins)

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
