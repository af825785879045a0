"""What a setting takes where it takes a number: said wherever one is wrong."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic.fields import FieldInfo

USUAL = {int: 100, float: 1.5}
"""Examples for settings without one of their own."""
OF_A_TABLE = 2
BOUNDS: dict[str, Callable[[Any, Any], bool]] = {
    "ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt,
}  # fmt: skip


def wanted(field: FieldInfo, name: str) -> str:
    """`Write a number from 0 to 1 without quotes, such as semantic_weight = 0.6.`

    Args:
        name: as it is written, which is not the field's where that is a table of numbers.
    """
    bounds = dict(_bounds(field))
    whole = float not in set(_types(field.annotation))
    kind = "whole number" if whole else "number"
    return f"Write a {kind}{_range(bounds)} without quotes, such as {name} = {_example(field, bounds, whole=whole)}."


def _example(field: FieldInfo, bounds: dict[str, float], *, whole: bool) -> str:
    table = dict in set(_types(field.annotation))
    offered = [*(field.examples or ()), field.default, OF_A_TABLE if table else USUAL[int if whole else float]]
    # The last is for settings between bounds that the usual number does not keep.
    offered.append(bounds.get("le", bounds.get("ge", 1)))
    numbers = (each for each in offered if isinstance(each, int | float) and not isinstance(each, bool))
    found = next(each for each in numbers if all(BOUNDS[bound](each, limit) for bound, limit in bounds.items()))
    return str(int(found)) if whole else f"{found:g}"


def _range(bounds: dict[str, float]) -> str:
    above, least = bounds.get("gt"), bounds.get("ge")
    below, most = bounds.get("lt"), bounds.get("le")
    if least is not None and most is not None:
        return f" from {_shown(least)} to {_shown(most)}"
    said = [
        f"above {_shown(above)}" if above is not None else f"of {_shown(least)} or more" if least is not None else "",
        f"below {_shown(below)}" if below is not None else f"up to {_shown(most)}" if most is not None else "",
    ]
    return "".join(f" {each}" for each in [" and ".join(filter(None, said))] if each)


def _shown(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else str(bound)


def _bounds(field: FieldInfo) -> Iterator[tuple[str, float]]:
    """Of the field and of the types that it is made of."""
    for each in (*field.metadata, *_metadata(field.annotation)):
        for bound in BOUNDS:
            if (limit := getattr(each, bound, None)) is not None:
                yield bound, limit


def _metadata(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        for each in annotation.__metadata__:
            yield from each.metadata if isinstance(each, FieldInfo) else (each,)
    for part in get_args(annotation):
        yield from _metadata(part)


def _types(annotation: Any) -> Iterator[Any]:
    yield get_origin(annotation) or annotation
    for part in get_args(annotation):
        yield from _types(part)
