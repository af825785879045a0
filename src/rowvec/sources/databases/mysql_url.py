"""What a URL of MySQL or MariaDB says after its question mark, for PyMySQL.

The driver takes each of these for an argument of its own, so an unknown name or a word in the place of a number ends
in its `TypeError`. Managed servers write TLS as `ssl-mode`, as MySQL's own client does; the driver has no such name.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import URL

from rowvec.errors import ConfigError

_MODES = {
    "disabled": ("disabled", "disable"),
    "preferred": ("preferred", "prefer", "allow"),
    "required": ("required", "require"),
    "verify_ca": ("verify_ca",),
    "verify_identity": ("verify_identity", "verify_full"),
}
_YES = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_CHECK_WORDS = _YES | {"required": True, "optional": True, "none": False}
"""PyMySQL takes names of Python's modes too. `optional` asks the server for a certificate, which each server has."""
_NUMBERS = ("connect_timeout", "max_allowed_packet", "port", "read_timeout", "write_timeout")
_TEXTS = (
    "bind_address", "database", "host", "password", "program_name", "read_default_file", "read_default_group",
    "server_public_key", "unix_socket", "user",
)  # fmt: skip
_CHECKS = ("ssl_check_hostname", "ssl_verify_cert", "ssl_verify_identity")
_TLS = ("ssl_ca", "ssl_capath", "ssl_cert", "ssl_cipher", "ssl_disabled", "ssl_key", "ssl_key_password", *_CHECKS)
_SET_BY_US = (
    "autocommit", "binary_prefix", "charset", "client_flag", "collation", "compress", "init_command", "local_infile",
    "named_pipe", "sql_mode", "use_unicode",
)  # fmt: skip
"""The driver takes them. What is read must not depend on them."""
_KNOWN = ("ssl_mode", *_TLS, *_NUMBERS, *_TEXTS)
_LONGEST = 31_536_000
"""Seconds of a year: the driver waits no longer for a connection."""
_OTHER_NAMES = {
    "sslmode": "ssl_mode", "ssl": "ssl_mode", "tls": "ssl_mode", "db": "database", "passwd": "password",
    "ssl_verify_server_cert": "ssl_verify_identity",
}  # fmt: skip


def arguments(url: URL) -> dict[str, Any]:
    """The driver's arguments for what stands after the question mark.

    Raises:
        ConfigError: a parameter that the driver does not take, or whose value it cannot use.
    """
    told = dict(_named(name, value) for name, value in url.query.items())
    tls = {name: told.pop(name) for name in ("ssl_mode", *_TLS) if name in told}
    found: dict[str, Any] = {name: value for name, value in told.items() if name not in _SET_BY_US}
    found |= {name: _number(name, value) for name, value in found.items() if name in _NUMBERS}
    return found | _tls(tls)


def _named(said: str, value: str | tuple[str, ...]) -> tuple[str, str]:
    name = said.lower().replace("-", "_")
    name = _OTHER_NAMES.get(name, name)
    if name not in (*_KNOWN, *_SET_BY_US):
        raise ConfigError(
            f"source.url has the parameter {said!r}, which the driver of MySQL does not take.",
            hint=f"Leave it out. It takes {', '.join(_KNOWN)}. TLS is ssl-mode=REQUIRED, or VERIFY_IDENTITY.",
        )
    if not isinstance(value, str):
        raise ConfigError(f"source.url has the parameter {said!r} more than once.", hint="Leave one of them.")
    return name, value


def _number(name: str, value: str) -> int:
    most = _LONGEST if name == "connect_timeout" else None
    if value.isascii() and value.isdigit() and 0 < int(value[:12]) <= (most or 10**12):
        return int(value[:12])
    meant = f"from 1 to {most:,}" if most else "above 0"
    raise ConfigError(f"source.url: {name} is {value[:40]!r}.", hint=f"Write a whole number {meant}.")


def _tls(told: Mapping[str, str]) -> dict[str, Any]:
    mode = _mode(told)
    if mode is None or mode == "preferred":
        # The driver encrypts where the server can.
        return {}
    if mode == "disabled":
        return {"ssl_disabled": True}
    try:
        context = ssl.create_default_context(cafile=told.get("ssl_ca"), capath=told.get("ssl_capath"))
        context.check_hostname = mode == "verify_identity"
        context.verify_mode = ssl.CERT_NONE if mode == "required" else ssl.CERT_REQUIRED
        # Certificates that MySQL makes by itself lack what a strict check asks for.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if "ssl_cert" in told:
            context.load_cert_chain(told["ssl_cert"], told.get("ssl_key"), told.get("ssl_key_password"))
    except (OSError, ValueError) as error:
        files = ", ".join(told[name] for name in ("ssl_ca", "ssl_capath", "ssl_cert", "ssl_key") if name in told)
        said = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"source.url: the files for TLS ({files or 'none'}) cannot be used: {said}.",
            hint="Correct ssl_ca, ssl_cert and ssl_key: each is the path of a file in PEM.",
        ) from error
    if "ssl_cipher" in told:
        _set_ciphers(context, told["ssl_cipher"])
    return {"ssl": context}


def _set_ciphers(context: ssl.SSLContext, names: str) -> None:
    try:
        context.set_ciphers(names)
    except ssl.SSLError as error:
        raise ConfigError(
            f"source.url: ssl_cipher is {names[:40]!r}, which names no cipher that OpenSSL knows.",
            hint="Write names of OpenSSL, with colons between them, or leave ssl_cipher out.",
        ) from error


def _mode(told: Mapping[str, str]) -> str | None:
    """How far the server is trusted; None where the URL says nothing of TLS."""
    checks = {name: _yes(name, told[name]) for name in _CHECKS if name in told}
    if "ssl_mode" in told:
        said = told["ssl_mode"].lower().replace("-", "_")
        meant = next((mode for mode, words in _MODES.items() if said in words), None)
        if meant is None and said in _YES:
            meant = "required" if _YES[said] else "disabled"
        if meant is None:
            raise ConfigError(
                f"source.url: ssl-mode is {told['ssl_mode'][:40]!r}.",
                hint="Write DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY.",
            )
        return meant
    if "ssl_disabled" in told and _yes("ssl_disabled", told["ssl_disabled"]):
        return "disabled"
    if told.keys() <= {"ssl_disabled"}:
        return None
    by_name = checks.get("ssl_verify_identity", checks.get("ssl_check_hostname"))
    has_authority = "ssl_ca" in told or "ssl_capath" in told
    certified = checks.get("ssl_verify_cert", has_authority)
    if by_name or (by_name is None and has_authority and certified):
        return "verify_identity"
    return "verify_ca" if certified else "required"


def _yes(name: str, value: str) -> bool:
    words = _CHECK_WORDS if name in _CHECKS else _YES
    if value.lower() not in words:
        raise ConfigError(f"source.url: {name} is {value[:40]!r}.", hint="Write true or false.")
    return words[value.lower()]
