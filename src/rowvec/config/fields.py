"""What the models of a rowvec.toml have in common: their base, and the types of their fields."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from rowvec.config.environment import Environment
from rowvec.support.plain_numbers import is_plain
from rowvec.support.redaction import ENCODE, redact, unclear
from rowvec.words import problem as unknown_language

LONGEST_NAME = 255
"""Bytes, on the file systems of Linux and macOS."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Context:
    """What a model must know besides its own table; without one, paths and names stay as they are."""

    pipeline: str
    folder: Path
    environment: Environment

    def path(self, text: str) -> Path:
        """A relative path means beside the config, wherever the command was started."""
        if "\0" in text:
            raise wrong("holds a NUL, which no path does", "Write the path without it.")
        if any(len(os.fsencode(part)) > LONGEST_NAME for part in text.split("/")):
            raise wrong("is longer than the name of a file can be", "Write a path; is it the content of a file?")
        try:
            return self.folder / Path(text).expanduser()
        except RuntimeError:
            # A ~ with no such user behind it is part of a name.
            return self.folder / text


class Section(BaseModel):
    """A table of the config. Its repr shows no secret, its errors no value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def absolute(value: Any, info: ValidationInfo) -> Any:
    """A path, beside the config where it is relative."""
    return info.context.path(value) if isinstance(value, str) and info.context else value


def wrong(what: str, fix: str) -> ValueError:
    return ValueError(what, fix)


def clear_url(value: SecretStr | None) -> SecretStr | None:
    """For every setting that may hold a password: refused where programs would read another host out of it."""
    problem = unclear(value.get_secret_value()) if value is not None else None
    if problem is not None:
        raise wrong(problem, ENCODE)
    return value


def without_password(value: str) -> str:
    """For names, which logs and pages show: a URL with a secret that was put in the place of one is refused."""
    if redact(value) != value:
        raise wrong("holds a password or a token, and is shown in logs", "Write the name alone, without a URL.")
    return value


def in_clear(base_url: str) -> bool:
    """What is sent there can be read on the way."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost" or host.endswith(".localhost")
    return parts.scheme == "http" and not here


def key_of(variables: Mapping[str, str], url: str) -> str | None:
    """The variable whose key is for that address, by its host; a subdomain counts too."""
    host = urlsplit(url).hostname or ""
    found = (variable for home, variable in variables.items() if host == home or host.endswith(f".{home}"))
    return next(found, None)


def number(value: Any) -> Any:
    if isinstance(value, bool):
        raise wrong("is not a number", "Write a number without quotes.")
    if isinstance(value, str) and not is_plain(value):
        # As an environment variable gives it: pydantic would take 1_0 for 10. What is not a number for pydantic either
        # has an error that knows whether it has to be whole.
        try:
            float(value)
        except ValueError:
            return value
        raise PydanticCustomError("float_parsing", "not written as a number")
    return value


def blank_is_none(value: Any) -> Any:
    return None if value == "" else value


def path_or_name(value: str, info: ValidationInfo) -> str:
    """Of a model: a path becomes absolute; a name on a hub stays."""
    if not info.context:
        return value
    path = str(info.context.path(value))
    return path if value.startswith((".", "~", "/")) or os.path.isdir(path) else value


def duration(value: Any) -> Any:
    """`30s`, `30m`, `12h` and `7d`; parts may follow each other: `1h30m`."""
    if isinstance(value, dt.timedelta):
        return value
    text = value if isinstance(value, str) else ""
    parts = re.findall(r"([0-9]{1,6})([smhd])", text)
    if not parts or "".join(map("".join, parts)) != text:
        raise wrong("is not a length of time", 'Write for example "30m", "12h", "1h30m" or "7d".')
    length = sum((dt.timedelta(**{_UNITS[unit]: int(count)}) for count, unit in parts), dt.timedelta())
    if not length:
        raise wrong("must be longer than zero", 'Write for example "30m".')
    return length


def seconds(value: Any) -> Any:
    """A number of them, or text: `300ms`, `2s`, `1m`."""
    if not isinstance(value, str):
        return number(value)
    found = re.fullmatch(r"([0-9]{1,6})(ms|s|m)", value)
    if found is None:
        raise wrong("is not a length of time", 'Write for example "300ms", "2s" or a number of seconds.')
    return int(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0}[found[2]]


def _language(value: Any) -> Any:
    """A name, or a list of them, as the store keeps it: `english+polish`."""
    if value in (None, ""):
        return None
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not listed or not all(isinstance(each, str) for each in listed):
        raise wrong("is not a language", 'Write "english", or several: ["english", "polish"].')
    language = "+".join(sorted({name.strip() for each in listed for name in each.split("+")}))
    problem = unknown_language(language)
    if problem:
        raise wrong("is not a language that rowvec knows", problem)
    return language


def _one_is_a_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) and value else value


Text_: TypeAlias = Annotated[str, Field(min_length=1)]
Name: TypeAlias = Annotated[Text_, AfterValidator(without_password)]
"""Of a model, a table or a queue."""
OptionalText: TypeAlias = Annotated[str | None, BeforeValidator(blank_is_none)]
Language: TypeAlias = Annotated[str | None, BeforeValidator(_language)]
"""Of the words of a text; several are joined by "+"."""
Count: TypeAlias = Annotated[int, BeforeValidator(number), Field(ge=1)]
OptionalCount: TypeAlias = Annotated[Count | None, BeforeValidator(blank_is_none)]
Price: TypeAlias = Annotated[float, BeforeValidator(number), Field(ge=0, allow_inf_nan=False)]
Names: TypeAlias = tuple[Text_, ...]
NameOrNames: TypeAlias = Annotated[Names, Field(min_length=1), BeforeValidator(_one_is_a_list)]
"""At least one; a single one needs no brackets."""
