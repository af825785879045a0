"""The arguments that a class of LangChain's takes. Pydantic drops others without a word, and with them a filter."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rowvec.errors import ConfigError
from rowvec.support.suggestions import suggestion


def check_names(of: str, given: Any, known: Collection[str]) -> Any:
    """
    Args:
        of: the class, for the error.
        given: by name.

    Returns:
        `given`.

    Raises:
        ConfigError: one of them has another name.
    """
    for name in given if isinstance(given, dict) else ():
        if name not in known:
            raise ConfigError(f"{of} has no argument {name!r}.", hint=suggestion(name, known))
    return given
