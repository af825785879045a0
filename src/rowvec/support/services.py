"""What the clients of paid services have in common: connections, keys, and what a service said without its key."""

from __future__ import annotations

import datetime as dt
import email.utils
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from rowvec.errors import ConfigError
from rowvec.support.plain_numbers import is_plain
from rowvec.support.redaction import HIDDEN
from rowvec.support.tracing import pass_on

if TYPE_CHECKING:
    import httpx2

SHOWN_OF_KEY = 4
LONGEST_QUOTE = 300
_PART_OF_KEY = re.compile(r"[\w*.…-]*[\w*…]")


def checked_key(api_key: str | None, key_env: str) -> str | None:
    """
    Args:
        key_env: where the key came from, for the error.

    Raises:
        ConfigError: no header can carry it.
    """
    key = (api_key or "").strip()
    if not key:
        return None
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(
            f"The key in {key_env} holds characters that keys cannot hold.",
            hint=f"Set {key_env} again, to the whole key: it has no blank, no line break and no sign such as “…”.",
        )
    return key


def quoted(message: str, key: str | None) -> str:
    """What a service said, short, on one line and without the key."""
    said = " ".join(message.split())
    if key:
        said = said.replace(key, HIDDEN)
        # Some services repeat a key with its middle left out.
        said = _PART_OF_KEY.sub(lambda found: HIDDEN if _is_part(found[0], key) else found[0], said)
    return said if len(said) <= LONGEST_QUOTE else said[:LONGEST_QUOTE] + " …"


def _is_part(word: str, key: str) -> bool:
    return word.startswith(key[:SHOWN_OF_KEY]) or word.endswith(key[-SHOWN_OF_KEY:])


def number_in(text: str | None) -> float | None:
    """A number of 0 or more, None where the text is not one."""
    number = float(text) if text and is_plain(text.strip()) else -1.0
    return number if 0 <= number < float("inf") else None


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or as a date (RFC 9110, 10.2.3); None where it says neither.

    Args:
        headers: with lower-case names, or a mapping that ignores case. The date of the answer counts as now.
        now: seconds since 1970, for an answer without a date.
    """
    said = headers.get("retry-after")
    if (seconds := number_in(said)) is not None:
        return seconds
    until, answered = _moment(said), _moment(headers.get("date"))
    return None if until is None else max(0.0, until - (now if answered is None else answered))


def _moment(text: str | None) -> float | None:
    try:
        date = email.utils.parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):  # The latter of a number with many digits in its place.
        return None
    return date.replace(tzinfo=date.tzinfo or dt.UTC).timestamp()


class Answer(NamedTuple):
    """What a service answered, all of it."""

    status: int
    headers: Mapping[str, str]
    """They ignore case."""
    content: bytes


class EndlessAnswer(Exception):
    """An answer that is larger, or takes longer, than one can be. The message goes on after the name of a service."""


def exchanged(
    client: httpx2.Client, method: str, url: str, *, most_bytes: int, seconds: float,
    heard: Callable[[], None] | None = None, **request: Any,
) -> Answer:  # fmt: skip
    """The answer to a request, unless it is endless: the client's own timeout only counts from one byte to the next.

    Args:
        most_bytes: of the answer, unpacked.
        seconds: from now until the answer ends.
        heard: called whenever the service has said something.
        request: as for `client.request`.

    Raises:
        EndlessAnswer: it is larger, or takes longer. httpx2.RequestError: none came.
    """
    until, content = time.monotonic() + seconds, bytearray()
    with client.stream(method, url, **request) as response:
        if heard is not None:
            heard()
        for part in response.iter_bytes():
            if heard is not None:
                heard()
            content += part
            if len(content) > most_bytes:
                raise EndlessAnswer(f"answered with more than {most_bytes:,} bytes")
            if time.monotonic() > until:
                within = f"{seconds:,.0f} s" if seconds >= 10 else f"{1000 * seconds:,.0f} ms"
                raise EndlessAnswer(f"did not end its answer within {within}")
        return Answer(response.status_code, response.headers, bytes(content))


def http_client(
    url: str, key: str | None, timeout: float, connections: int, *, key_header: str = "Authorization"
) -> httpx2.Client:
    """
    Args:
        connections: kept open between requests; there may be more of them.
        key_header: the header that carries the key; `Authorization` says "Bearer" before it.

    Raises:
        ConfigError: the environment asks for a proxy or for certificates that cannot be used.
    """
    import httpx2

    bearer = "Bearer " if key_header == "Authorization" else ""
    try:
        return httpx2.Client(
            headers={key_header: bearer + key} if key else {},
            event_hooks={"request": [lambda request: pass_on(request.headers)]},
            # Loading the certificates takes 0.1 s, and plain http does not need them.
            verify=urlsplit(url).scheme == "https",
            timeout=httpx2.Timeout(timeout, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=connections),
        )
    # What the environment asks for: a proxy of a kind that it does not know, certificates that are not there.
    except (ImportError, ValueError, OSError) as error:
        raise ConfigError(
            f"No client for {url} can be set up: {quoted(str(error), key)}",
            hint="Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR in the environment.",
        ) from error
