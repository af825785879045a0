"""Numbers written where all is text: an address, a command line, an environment variable.

Python's own parsers also take `1_0`, ` 5 `, `٥`, `nan` and UUIDs with an underscore. Whoever writes those has made a
mistake, and would get an answer to another question.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

_NUMBER = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_UUID = re.compile(r"(?:urn:uuid:)?\{?(?:[0-9a-f]{4}-?){7}[0-9a-f]{4}\}?", re.IGNORECASE)
NOT_PLAIN = "it is not written as a number; write digits, such as 10"


def is_plain(text: str) -> bool:
    """Digits, a minus sign, a point and an exponent, and nothing else."""
    return _NUMBER.fullmatch(text) is not None


def plain(value: Any) -> Any:
    """For `BeforeValidator`: a text that stands for a number, or any other value, as it is.

    Raises:
        ValueError: it is a text that is not written as a number, or a boolean.
    """
    if isinstance(value, bool) or (isinstance(value, str) and not is_plain(value)):
        raise ValueError(NOT_PLAIN)
    return value


def uuid_of(text: str) -> UUID:
    """
    Raises:
        ValueError: it is not 32 hexadecimal digits, with hyphens between groups of four or without.
    """
    if _UUID.fullmatch(text) is None:
        raise ValueError("not written as a UUID")
    return UUID(text)
