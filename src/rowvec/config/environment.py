"""`${VAR}` in a config: values of the process environment, then of a .env file beside the config.

`${VAR}` must be set, `${VAR:-default}` need not be: as in a shell, an empty variable gets the default too. The default
may be a reference itself: `${MODEL_PATH:-${MODEL:-minilm}}`.
`$${` is a literal `${`. `${{` is left alone, since a template may well say `Costs ${{ price }}`.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from dotenv.main import DotEnv
from dotenv.parser import parse_stream

from rowvec.errors import ConfigError
from rowvec.support.suggestions import suggestion

DOTENV = ".env"
_DEPTH = 10
"""Defaults may be nested up to this deep."""


def _default(depth: int) -> str:
    nested = rf"\$\{{{_default(depth - 1)}\}}|" if depth else ""
    return rf"(?:{nested}\$(?!\{{)|[^}}$])*"


REFERENCE = re.compile(
    r"(?P<escaped>\$\$\{)"
    rf"|\$\{{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>{_default(_DEPTH)}))?\}}"
    r"|(?P<malformed>\$\{(?!\{))"
)

At = tuple[str | int, ...]
"""Where a value stands in a config: its keys and list positions from the top."""


class Expanded(str):
    """A value that came out of the environment, at least in part. No message may show it."""

    __slots__ = ()


class Unset(NamedTuple):
    """A reference that cannot be replaced."""

    at: At
    variable: str | None
    """None if the reference is malformed."""


class Environment:
    """Variables by name. The repr shows no value."""

    def __init__(self, folder: Path, process: Mapping[str, str] | None = None) -> None:
        self.file = folder / DOTENV
        self._process = os.environ if process is None else process

    def __repr__(self) -> str:
        return f"Environment({str(self.file)!r})"

    def get(self, name: str) -> str | None:
        """
        Raises:
            ConfigError: the .env file cannot be read.
        """
        value = self._process.get(name)
        return self._dotenv.get(name) if value is None else value

    def hint(self, name: str) -> str:
        """How to set `name`, with the nearest name of the .env file if there is one."""
        near = suggestion(name, self._dotenv, limit=0)
        advice = f"Set {name}, or put a line {name}=… into {self.file.name} beside the config."
        return f"{near} {advice}" if near.startswith("Did you mean") else advice

    @cached_property
    def _dotenv(self) -> Mapping[str, str | None]:
        try:
            text = self.file.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            return {}
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self.file} is not UTF-8 text.", hint="Save it as UTF-8.") from error
        except OSError as error:
            raise ConfigError(
                f"{self.file} cannot be read: {error.strerror}.", hint="Fix its permissions, or move it elsewhere."
            ) from error
        for binding in parse_stream(io.StringIO(text)):
            if binding.error:
                # The line itself may hold a password.
                raise ConfigError(
                    f"{self.file}, line {binding.original.line}: this is not a setting.",
                    hint='Write NAME=value, in quotes if the value holds spaces or #: NAME="some value".',
                )
        return DotEnv(None, stream=io.StringIO(text), override=False).dict()


def expand(value: Any, environment: Environment, at: At = ()) -> tuple[Any, list[Unset]]:
    """`value` with the references in all its strings replaced, however deep; and those that could not be.

    A string that holds one of the latter stays as it was written.
    """
    if isinstance(value, str):
        return _expand_text(value, environment, at)
    if isinstance(value, Mapping):
        return _expand_all(dict, value.items(), environment, at)
    if isinstance(value, list):
        return _expand_all(lambda pairs: [item for _, item in pairs], enumerate(value), environment, at)
    return value, []


def _expand_all(
    build: Any, items: Iterable[tuple[str | int, Any]], environment: Environment, at: At
) -> tuple[Any, list[Unset]]:
    unset: list[Unset] = []
    pairs = []
    for key, item in items:
        expanded, missing = expand(item, environment, (*at, key))
        pairs.append((key, expanded))
        unset += missing
    return build(pairs), unset


def _expand_text(text: str, environment: Environment, at: At) -> tuple[str, list[Unset]]:
    unset: list[Unset] = []
    substituted = False

    def replaced(match: re.Match[str]) -> str:
        nonlocal substituted
        if match["escaped"]:
            return "${"
        if match["malformed"]:
            unset.append(Unset(at, None))
            return ""
        value, default = environment.get(match["name"]), match["default"]
        if default is not None and not value:
            inner, missing = _expand_text(default, environment, at)
            unset.extend(missing)
            substituted = substituted or isinstance(inner, Expanded)
            return inner
        substituted = True
        if value is None:
            unset.append(Unset(at, match["name"]))
            return ""
        return value

    result = REFERENCE.sub(replaced, text)
    if unset:
        return Expanded(text), unset
    return (Expanded(result) if substituted else result), []
