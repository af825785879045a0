"""URLs of databases and services in messages, without what is secret in them."""

from __future__ import annotations

import re
from urllib.parse import unquote

_USERINFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<user>[^:@/?]*):.*@", re.IGNORECASE | re.DOTALL)
_SECRET_NAME = r"[\w.-]*(?:password|passwd|pwd|secret|token|apikey|api_key|jwt)[\w.-]*"  # noqa: S105 (a pattern)
_PARAMETER = re.compile(rf"(?P<name>[?&]{_SECRET_NAME}=)[^&#\s]*", re.IGNORECASE)
_KEYWORD = re.compile(rf"(?P<name>\b{_SECRET_NAME}\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s&]+)", re.IGNORECASE)

HIDDEN = "***"


def redact(url: str) -> str:
    """`url` with every password and token in it replaced by `***`.

    Takes a URL or a libpq connection string (`host=… password=…`). A password may hold any character,
    escaped or not: everything from the first colon of the user part to the last `@` is hidden.
    """
    url = _USERINFO.sub(rf"\g<scheme>\g<user>:{HIDDEN}@", url)
    url = _PARAMETER.sub(rf"\g<name>{HIDDEN}", url)
    return _KEYWORD.sub(rf"\g<name>{HIDDEN}", url)


def scrub(message: str, url: str) -> str:
    """`message` of a driver without the secrets that `url` holds, in case it repeats them."""
    secrets = [match[0].removeprefix(match["name"]) for match in _PARAMETER.finditer(url)]
    userinfo = _USERINFO.match(url)
    if userinfo:
        secrets.append(userinfo[0][len(userinfo["scheme"]) + len(userinfo["user"]) + 1 : -1])
    for secret in secrets:
        for form in (secret, unquote(secret)):
            if len(form) > 2:
                message = message.replace(form, HIDDEN)
    return message
