"""Rows that are split over several tables or servers, as rowvec.toml says it.

`store.partitions` is how many parts there are, or where each of them is. `store.drain` names the servers that held the
last parts, and that give their rows to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, SecretStr, ValidationInfo

from rowvec.config.fields import clear_url, wrong
from rowvec.support.parts import table_of

MOST = 64
"""Parts. Each search asks all of them."""
LONGEST = 20
"""Digits of a number that an environment variable holds."""


def _partitions(value: Any) -> Any:
    if value is None or value == "":
        return None
    if isinstance(value, list | tuple) and value and all(isinstance(each, str | SecretStr) for each in value):
        _check(len(value))
        urls = [each.get_secret_value() if isinstance(each, SecretStr) else each for each in value]
        if len(set(urls)) < len(urls):
            raise wrong(
                "names one place twice", "Name each once; for several tables of one database write partitions = 4."
            )
        return tuple(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= LONGEST:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong("is neither a number nor a list of URLs", 'Write partitions = 4, or partitions = ["…", "…"].')
    _check(value)
    return value


def _check(parts: int) -> None:
    if not 1 <= parts <= MOST:
        raise wrong("is not a number of parts", f"Write partitions = 4, or another number from 1 to {MOST}.")


Partitions: TypeAlias = Annotated[int | tuple[SecretStr, ...] | None, BeforeValidator(_partitions)]


def _drain(value: Any) -> Any:
    if value is None or value in ("", []):
        return None
    found = _partitions([value] if isinstance(value, str | SecretStr) else value)
    if not isinstance(found, tuple):
        raise wrong("is not a list of URLs", 'Write drain = ["…"].')
    return found


Drain: TypeAlias = Annotated[tuple[SecretStr, ...] | None, BeforeValidator(_drain)]


def check_drain(partitions: int | tuple[SecretStr, ...] | None, drain: tuple[SecretStr, ...] | None) -> None:
    """
    Raises:
        ValueError: no list of servers takes the rows, or one of them is to be drained.
    """
    if drain is None:
        return
    if not isinstance(partitions, tuple):
        raise wrong(
            "has drain without a list of partitions",
            "Name the servers that keep rows in partitions. A number of parts is only lowered.",
        )
    if set(drain) & set(partitions):
        raise wrong(
            "has one place in drain and in partitions", "Leave it out of partitions: its rows go to the others."
        )
    _check(len(partitions) + len(drain))


def each_url(
    check: Callable[..., SecretStr],
) -> Callable[[int | tuple[SecretStr, ...] | None, ValidationInfo], int | tuple[SecretStr, ...] | None]:
    """What a store demands of its URL, of each URL of a list."""
    takes_info = len(signature(check).parameters) == 2

    def checked(value: int | tuple[SecretStr, ...] | None, info: ValidationInfo) -> int | tuple[SecretStr, ...] | None:
        if not isinstance(value, tuple):
            return value
        for url in value:
            clear_url(url)
        return tuple(check(url, info) if takes_info else check(url) for url in value)

    return checked


def first_url(table: Any) -> Any:
    """Of a list, the first is where the pipeline's own records are: the `url` of the store."""
    if (
        not isinstance(table, Mapping)
        or not isinstance(table.get("partitions"), list | tuple)
        or not table["partitions"]
    ):
        return table
    first = table["partitions"][0]
    if table.get("url") not in (None, first):
        raise wrong("has another url than the first of partitions", "Leave url out: partitions names every server.")
    return {**table, "url": first}


def places_of(
    url: SecretStr, table: str, partitions: int | tuple[SecretStr, ...] | None, drain: tuple[SecretStr, ...] | None
) -> list[tuple[str, str]]:
    """URL and table of each part that has rows or had some."""
    if isinstance(partitions, tuple):
        return [(each.get_secret_value(), table) for each in (*partitions, *(drain or ()))]
    return [(url.get_secret_value(), table_of(table, part)) for part in range(partitions or 1)]
