"""How a filter names what is inside a JSON column: `attrs.color`, `attrs."a.b".2024`.

Each step is the key of an object. A step that is not one word or number is in double quotes, a quote within it doubled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

QUOTED = r'"[^"]*(?:""[^"]*)*"'
_FIRST = re.compile(rf"{QUOTED}(?=\.|\Z)")
_STEP = re.compile(rf"(?:\A|\.)({QUOTED}(?=\.|\Z)|[^.]*)")
_PLAIN = re.compile(r"\w+")


def unquoted(text: str) -> str:
    return text[1:-1].replace('""', '"')


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def reference(written: str) -> str:
    """A name as a filter keeps it: without the quotes around a column, or around all of it."""
    found = _FIRST.match(written)
    return written if found is None else unquoted(found[0]) + written[found.end() :]


def divisions(name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A column and the steps inside it, in every way that the name can be read; the longest column first."""
    steps = _STEP.findall(name)
    read = [unquoted(step) if _FIRST.fullmatch(step) else step for step in steps]
    for end in range(len(steps) - 1, 0, -1):
        yield ".".join(steps[:end]), tuple(read[end:])


def written(column: str, path: Sequence[str]) -> str:
    return ".".join([column, *(step if _PLAIN.fullmatch(step) else quoted(step) for step in path)])
