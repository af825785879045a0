"""Change values in a rowvec.toml and leave everything else as it was written, comments too.

The text is changed line by line, and then read again: unless it says exactly what was wanted, the file stays as it is.
"""

from __future__ import annotations

import copy
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from rowvec.config.load import load
from rowvec.errors import ConfigError

Changes = Mapping[str, Any]
"""Key -> its new value; None takes the key out."""


RERANK = "rerank."
"""How a key of the reranker's table begins."""
SEARCH = r"\s*\.\s*search"


def set_search(path: Path, pipeline: str, changes: Changes) -> None:
    """Set keys of `[pipelines.NAME.search]`; `rerank.weight` is one of the table in it.

    Raises:
        ConfigError: the file cannot be written, or is written in a way that is not changed here; it is as it was.
    """
    path = path.resolve()
    try:
        before = path.read_bytes().decode("utf-8")
        wanted = _wanted(tomllib.loads(before), pipeline, changes)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from None
    for after in _candidates(before, pipeline, changes):
        try:
            said = tomllib.loads(after)
        except tomllib.TOMLDecodeError:
            continue
        if said == wanted:
            _replace(path, after)
            return
    lines = "\n".join(_lines(changes))
    raise ConfigError(
        f"{path} was not changed: its table of searches is written in a way that rowvec does not edit.",
        hint=f"Write this into [pipelines.{pipeline}.search] yourself:\n{lines}",
    )


def _wanted(said: Mapping[str, Any], pipeline: str, changes: Changes) -> dict[str, Any]:
    wanted = copy.deepcopy(dict(said))
    search = wanted["pipelines"][pipeline].setdefault("search", {})
    for key, value in changes.items():
        *inner, last = key.split(".")
        table = search
        for step in inner:
            table = table.setdefault(step, {})
        table.pop(last, None)
        if value is not None:
            table[last] = value
    return wanted


def _lines(changes: Changes) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in changes.items() if value is not None]


def _candidates(text: str, pipeline: str, changes: Changes) -> Iterator[str]:
    """The text changed in each way that may be the right one for how it is written."""
    inner = {key.removeprefix(RERANK): value for key, value in changes.items() if key.startswith(RERANK)}
    outer = {key: value for key, value in changes.items() if not key.startswith(RERANK)}
    if inner:
        for after in _of_reranker(text, pipeline, inner):
            yield from _candidates(after, pipeline, outer) if outer else [after]
        return
    own, whole = (_block(text, pipeline, more) for more in (SEARCH, ""))
    if own is not None:
        yield _in_table(text, own, changes)
    end = len(text), len(text)
    if whole is not None:
        yield _in_inline_table(text, whole, "search", changes)
        yield _with_table(text, whole, pipeline, changes)
        yield _in_table(text, whole, changes, prefix="search.")
    yield _with_table(text, end, pipeline, changes)


def _of_reranker(text: str, pipeline: str, changes: Changes) -> Iterator[str]:
    """The same for the table of the reranker."""
    own, search, whole = (_block(text, pipeline, more) for more in (rf"{SEARCH}\s*\.\s*rerank", SEARCH, ""))
    if own is not None:
        yield _in_table(text, own, changes)
    for block, name in ((search, "rerank"), (whole, r"search\.rerank")):
        if block is not None:
            yield _in_inline_table(text, block, name, changes)
            yield _in_table(text, block, changes, prefix=name.replace("\\", "") + ".")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _block(text: str, pipeline: str, more: str) -> tuple[int, int] | None:
    """Where the lines of a table begin, behind its header, and where they end."""
    name = "|".join(re.escape(each) for each in (pipeline, f'"{pipeline}"', f"'{pipeline}'"))
    header = re.search(rf"^[ \t]*\[\s*pipelines\s*\.\s*(?:{name}){more}\s*\][^\n]*(?:\n|\Z)", text, re.MULTILINE)
    if header is None:
        return None
    following = re.compile(r"^[ \t]*\[", re.MULTILINE).search(text, header.end())
    return header.end(), following.start() if following else len(text)


def _in_table(text: str, block: tuple[int, int], changes: Changes, prefix: str = "") -> str:
    """In the lines of a table. What is new stands first, where no other table can claim it."""
    start, end = block
    head, body, new = text[:start], text[start:end], []
    for key, value in changes.items():
        name = re.escape(prefix + key)
        line = re.search(rf"^([ \t]*{name}[ \t]*=[ \t]*)([^#\r\n]*?)([ \t]*(?:#.*)?\r?(?:\n|\Z))", body, re.MULTILINE)
        if line is None:
            new += [] if value is None else [f"{prefix}{key} = {json.dumps(value)}"]
            continue
        written = "" if value is None else f"{line[1]}{json.dumps(value)}{line[3]}"
        body = body[: line.start()] + written + body[line.end() :]
    newline = _newline(text)
    if new and not head.endswith("\n"):
        head += newline
    return head + "".join(each + newline for each in new) + body + text[end:]


def _with_table(text: str, block: tuple[int, int], pipeline: str, changes: Changes) -> str:
    """With a table of its own behind that of the pipeline; a comment of the next table stays with that."""
    start, end = block
    lines = text[start:end].splitlines(keepends=True)
    while lines and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        lines.pop()
    at, newline = start + sum(map(len, lines)), _newline(text)
    before = text[:at] if text[:at].endswith("\n") else text[:at] + newline
    table = newline.join([f"[pipelines.{_key(pipeline)}.search]", *_lines(changes), ""])
    return before + newline + table + text[at:]


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _in_inline_table(text: str, block: tuple[int, int], name: str, changes: Changes) -> str:
    """In `search = { … }`, also one whose `rerank = { … }` stands in it.

    Args:
        name: of the key, as a regular expression.
    """
    start, end = block
    opened = re.compile(rf"^[ \t]*{name}[ \t]*=[ \t]*\{{", re.MULTILINE).search(text, start, end)
    if opened is None:
        return text
    depth, close = 1, opened.end()
    while close < end and depth:
        depth += {"{": 1, "}": -1}.get(text[close], 0)
        close += 1
    inside = text[opened.end() : close - 1]
    for key, value in changes.items():
        pair = re.compile(rf"(?<![\w.-]){re.escape(key)}\s*=\s*(\"[^\"]*\"|[^,{{}}]*[^,{{}}\s])(\s*,\s*)?")
        found = pair.search(inside)
        if found is not None and value is None:
            inside = (inside[: found.start()] + inside[found.end() :]).rstrip().removesuffix(",") + " "
        elif found is not None:
            inside = inside[: found.start(1)] + json.dumps(value) + inside[found.end(1) :]
        elif value is not None:
            kept = inside.rstrip().removesuffix(",")
            inside = f"{kept}{',' if kept.strip() else ''} {key} = {json.dumps(value)} "
    return text[: opened.end()] + inside + text[close - 1 :]


def _replace(path: Path, text: str) -> None:
    """The file appears whole, and only if it can be loaded."""
    scratch = path.with_name(f".{path.stem}.{uuid4().hex}.toml")
    try:
        scratch.write_bytes(text.encode("utf-8"))
        os.chmod(scratch, stat.S_IMODE(path.stat().st_mode))
        load(scratch)
        os.replace(scratch, path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        scratch.unlink(missing_ok=True)
