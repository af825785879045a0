"""What a server may do, and for whom."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, field

from rowvec.api.tokens import SHORTEST_KEY
from rowvec.errors import ConfigError

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s*]+/?")
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How a server listens and what it refuses.

    Attributes:
        api_keys: any of them opens the server; several, so that one can be replaced while both are in use.
        insecure: listen beyond this machine although no key protects the server.
        allowed_hosts: names that a request's Host header may have besides those of the loopback interface.
            Without them, a server that listens beyond this machine answers to every name.
        cors_origins: origins such as `https://shop.example` whose pages may call the server.
        trusted_proxies: addresses or networks of proxies whose X-Forwarded-For says who the caller is.
        rate: requests a second for each key, and for each address where there is none; twice as many at once.
        cached_queries: number of latest queries whose vectors are kept, for each pipeline.
        threads: searches worked on at once; None for as many as the machine deserves.
        waiting: further requests that may wait for a thread; more are sent away with 503.
        embedding_places: requests for embeddings worked on at once, and as many that may wait; the searches' threads
            are not theirs.
        max_body, max_embeddings_body: bytes.

    Raises:
        ConfigError: the server would be open to the network, a key is too short to protect it, or an origin or a
            proxy cannot be one.
    """

    host: str = "127.0.0.1"
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    insecure: bool = False
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    rate: float = 500.0
    cached_queries: int = 4096
    threads: int | None = None
    waiting: int = 200
    embedding_places: int = 2
    max_body: int = 1_000_000
    max_embeddings_body: int = 5_000_000

    def __post_init__(self) -> None:
        if not self.loopback and not self.api_keys and not self.insecure:
            raise ConfigError(
                f"Listening on {self.host} would let everybody on the network search without a key.",
                hint="Set ROWVEC_API_KEY, listen on 127.0.0.1, or say --insecure if that is what you want.",
            )
        if any(len(key) < SHORTEST_KEY for key in self.api_keys):
            raise ConfigError(
                f"An API key is shorter than {SHORTEST_KEY} characters, so that it could be guessed.",
                hint='Make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"',
            )
        for origin in self.cors_origins:
            if not ORIGIN.fullmatch(origin.lower()):
                raise ConfigError(
                    f"--cors-origin {origin}: this is not an origin.",
                    hint="Write one such as https://shop.example, without a path. Name each; there is no wildcard.",
                )
        for proxy in self.trusted_proxies:
            try:
                ipaddress.ip_network(proxy, strict=False)
            except ValueError:
                raise ConfigError(
                    f"--trusted-proxy {proxy}: this is not an address.",
                    hint="Write one such as 127.0.0.1 or 10.0.0.0/8.",
                ) from None

    @property
    def loopback(self) -> bool:
        """Only programs on this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def host_names(self) -> frozenset[str] | None:
        """Host headers that are answered, without port and in lower case; None for all of them."""
        allowed = frozenset(name.lower() for name in self.allowed_hosts)
        if self.loopback:
            return allowed | LOOPBACK_NAMES | {self.host.lower()}
        return allowed or None

    @property
    def origins(self) -> frozenset[str]:
        """`cors_origins` as browsers write them: in lower case, without a slash behind."""
        return frozenset(origin.lower().rstrip("/") for origin in self.cors_origins)

    @property
    def workers(self) -> int:
        # A search is part computing, part waiting for the database; more threads than this only contend.
        return self.threads or 2 * (os.cpu_count() or 1) + 2
