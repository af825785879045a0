"""What is wrong with a config, in words: every problem says where, what, and what to do."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rowvec.config import numbers
from rowvec.config.environment import At, Environment, Expanded, Unset
from rowvec.errors import ConfigError
from rowvec.support.suggestions import suggestion

WRONG_TYPES = {
    "bool_type": ("is neither true nor false", "Write {name} = true or {name} = false."),
    "bool_parsing": ("is neither true nor false", "Write {name} = true or {name} = false."),
    "string_type": ("is not text", 'Write it in quotes: {name} = "…".'),
    "string_too_short": ("is empty", "Give it a value, or leave the line out if it is optional."),
    "too_short": ("is empty", "Give it a value, or leave the line out if it is optional."),
    "path_type": ("is not a path", 'Write it in quotes: {name} = "…".'),
    "tuple_type": ("is not a list", 'Write {name} = ["…", "…"].'),
    "dict_type": ("is not a table", "Write {name} = {{ … }}."),
    "model_type": ("is not a table", "Write {name} = {{ … }}."),
}
WRONG_NUMBERS = {
    "int_type": "is not a whole number",
    "int_parsing": "is not a whole number",
    "int_parsing_size": "is too large",
    "int_from_float": "is not a whole number",
    "float_type": "is not a number",
    "float_parsing": "is not a number",
    "finite_number": "is not a finite number",
}
LIMITS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
}
LONGEST_SHOWN = 40
UNKNOWN = ("has a value that does not fit", "See `rowvec init` for an example.")


class Problem(NamedTuple):
    at: At
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{dotted(self.at)} {self.what}."


def report(file: Path, problems: Sequence[Problem]) -> ConfigError:
    """One error for all that is wrong with a file."""
    if len(problems) == 1:
        return ConfigError(f"{shown_path(file)}: {problems[0]}", hint=problems[0].fix)
    lines = [f"\n  {problem} {problem.fix}" for problem in problems]
    return ConfigError(f"{shown_path(file)}: {len(lines)} things are wrong." + "".join(lines))


def explain(error: ValidationError, model: type[BaseModel], at: At, elsewhere: Mapping[str, str]) -> list[Problem]:
    """The problems that `model` found in the table at `at`.

    Args:
        elsewhere: keys that are known, but not here, each with what to do about it.
    """
    return [_explain(details, model, at, elsewhere) for details in error.errors(include_url=False)]


def _explain(details: ErrorDetails, model: type[BaseModel], at: At, elsewhere: Mapping[str, str]) -> Problem:
    kind, loc, value = details["type"], details["loc"], details["input"]
    place = (*at, *loc)
    while len(loc) > 1 and (inner := _table_of(model, str(loc[0]))) is not None:
        model, loc = inner, loc[1:]
    name = str(loc[0]) if loc else ""
    if kind == "extra_forbidden":
        near, home = suggestion(name, model.model_fields), elsewhere.get(name)
        if home is not None:
            near = f"{near} Or: {home}" if near.startswith("Did") else home
        return Problem(place, "is not a known key", near)
    if kind == "missing":
        example = (model.model_fields[name].examples or ["…"])[0]
        return Problem(place, "is missing", f"Add {name} = {quoted(example)}.")
    if kind == "value_error":
        said = details["ctx"]["error"].args
        return Problem(place, *(said if len(said) == len(UNKNOWN) else UNKNOWN))
    if kind == "literal_error":
        choices = _choices(model.model_fields[name].annotation)
        near = suggestion(value, choices) if isinstance(value, str) else ""
        what = f"{_is(value)}, which is not one of {', '.join(choices)}"
        return Problem(place, what, near if near.startswith("Did") else f"Write {name} = {quoted(choices[0])}.")
    written = place[-1] if isinstance(place[-1], str) else name
    if kind in WRONG_NUMBERS or kind in LIMITS:
        what = WRONG_NUMBERS.get(kind) or _beyond(kind, details)
        return Problem(place, what, numbers.wanted(model.model_fields[name], written))
    what, fix = WRONG_TYPES.get(kind, UNKNOWN)
    if kind == "string_type" and isinstance(place[-1], int):
        fix = 'Write each in quotes: {name} = ["…"].'
    return Problem(place, what, fix.format(name=written))


def _beyond(kind: str, details: ErrorDetails) -> str:
    value = details["input"]
    if isinstance(value, float) and not math.isfinite(value):
        return WRONG_NUMBERS["finite_number"]
    words, limit = LIMITS[kind]
    return f"{_is(value)}; it must be {words} {details['ctx'][limit]:g}"


def _table_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The model of a table within a table."""
    annotation = model.model_fields[name].annotation if name in model.model_fields else None
    kinds = [each for each in (annotation, *get_args(annotation)) if isinstance(each, type)]
    return next((each for each in kinds if issubclass(each, BaseModel)), None)


def unset_variable(unset: Unset, environment: Environment) -> Problem:
    if unset.variable is None:
        fix = "Write ${NAME} or ${NAME:-default}; for a literal ${, write $${."
        return Problem(unset.at, "holds a ${ that is not followed by a name and }", fix)
    what = f"needs the variable {unset.variable}, which is not set"
    fix = f"{environment.hint(unset.variable)} ${{{unset.variable}:-…}} gives it a default."
    return Problem(unset.at, what, fix)


def unknown_kind(table: Mapping[str, Any], kinds: Iterable[str], at: At) -> Problem:
    """For a table without a `kind`, or with one that does not exist."""
    known = list(kinds)
    choice = " or ".join(f"kind = {quoted(kind)}" for kind in known)
    if "kind" not in table:
        return Problem((*at, "kind"), "is missing", f"Add {choice}.")
    near = suggestion(table["kind"], known) if isinstance(table["kind"], str) else ""
    what = f"{_is(table['kind'])}, which is not one of {', '.join(known)}"
    return Problem((*at, "kind"), what, near if near.startswith("Did") else f"Write {choice}.")


def dotted(at: At) -> str:
    """As a user would write it in TOML, list positions in brackets: `pipelines.products.store.metadata[0]`."""
    text = ""
    for part in at:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += "." * bool(text) + (part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else quoted(part))
    return text


def quoted(value: Any) -> str:
    """A value as TOML writes it; a string ends where it should, whatever it holds."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {quoted(each)}" for name, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def shown_path(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _is(value: Any) -> str:
    """The value, unless it may hold a secret: what came out of the environment, addresses, long strings."""
    if isinstance(value, str):
        secret = isinstance(value, Expanded) or "://" in value or len(value) > LONGEST_SHOWN
        return "has a value" if secret else f"is {value!r}"
    if isinstance(value, bool):
        return f"is {str(value).lower()}"
    if isinstance(value, int) and abs(value) >= 10**LONGEST_SHOWN:
        return "is too large"
    return f"is {value}" if isinstance(value, int | float) else "has a value"


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in _choices(part)]
