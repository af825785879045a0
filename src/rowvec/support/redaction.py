"""URLs of databases and services in messages, without what is secret in them.

A password that is not percent-encoded has no end: of `me:a/b@c@host` each program makes another host, and shows it.
Such a URL is refused before anything reads it (`unclear`); what is shown all the same is hidden as far as it may go.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

# A URL without a host, as `postgres:///me:secret@host/db` is by mistake, has slashes before the user. Those of SQLite
# have paths there.
_USERINFO = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<user>(?:(?<!sqlite://)/+)?[^:@/?]*):.*@", re.IGNORECASE | re.DOTALL
)
_LIKE_USERINFO = re.compile(r":.*@", re.DOTALL)
_IN_TEXT = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)
_SECRET_NAME = r"[\w.-]*(?:password|passwd|pwd|secret|token|apikey|api_key|jwt)[\w.-]*"  # noqa: S105 (a pattern)
_PARAMETER = re.compile(rf"(?P<name>[?&]{_SECRET_NAME}=)[^&#\s]*", re.IGNORECASE)
_KEYWORD = re.compile(rf"(?P<name>\b{_SECRET_NAME}\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s&]+)", re.IGNORECASE)
_AUTHORITY = re.compile(r"[a-z][a-z0-9+.-]*://(?P<authority>[^/?#]*)(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_PAIRS = re.compile(r"\s*(?:\w+\s*=\s*(?:'(?:[^'\\]|\\.)*'|(?!')(?:[^\s\\]|\\.)*)(?:\s+|$))+", re.DOTALL)

HIDDEN = "***"


def redact(url: str) -> str:
    """`url` with every password and token in it replaced by `***`.

    Takes a URL or a libpq connection string (`host=… password=…`). A password may hold any character,
    escaped or not: everything from the first colon of the user part to the last `@` is hidden.
    """
    url = _USERINFO.sub(rf"\g<scheme>\g<user>:{HIDDEN}@", url)
    url = _PARAMETER.sub(rf"\g<name>{HIDDEN}", url)
    return _KEYWORD.sub(rf"\g<name>{HIDDEN}", url)


def redact_mistyped(text: str) -> str:
    """What is neither a URL nor a path that is there, for an error: it may be meant as a URL and have a password, as
    `postgres:/me:secret@host/db` has. All from the first colon to the last `@` is hidden."""
    return redact(_LIKE_USERINFO.sub(f":{HIDDEN}@", text))


def redact_text(text: str) -> str:
    """`text` with the URLs in it redacted, each to the next blank or quote."""
    return _IN_TEXT.sub(lambda found: redact(found[0]), text)


def unclear(url: str) -> str | None:
    """Why the end of the password in `url` is not clear, in words that follow the name of a setting; None if it is."""
    found = _AUTHORITY.fullmatch(url)
    if found is None:
        whole = not _KEYWORD.search(url) or _PAIRS.fullmatch(url)
        return None if whole else "is a connection string with a misplaced blank or quote"
    authority, rest = found["authority"], found["rest"]
    if ":" in authority and (authority.count("@") > 1 or "@" in rest):
        return "has a password, or another part, with an @, a / or another such character that is not percent-encoded"
    if not authority and not url.lower().startswith("sqlite") and re.match(r"/+[^:@/?#]*:.*@", rest, re.DOTALL):
        return "has three slashes before its user, where two belong"
    userinfo = authority.rpartition("@")[0]
    if re.search(r"%(?![0-9A-Fa-f]{2})", userinfo) or re.search(r"[\s\x00-\x1f\x7f]", userinfo):
        return "has a password with a % or a blank that is not percent-encoded"
    if re.search(r"[\[\]\\]", userinfo) or not userinfo.isascii():
        return "has a password with a character that URLs cannot hold"
    return None


ENCODE = "Write it percent-encoded: @ as %40, / as %2F, : as %3A, % as %25, a blank as %20."


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
