"""Fields of one's own in the body of a request for embeddings: what they may be called, and what they may hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

OURS = frozenset(
    {"model", "input", "inputs", "texts", "images", "content", "contents", "requests", "dimensions",
     "outputDimensionality", "output_dimensionality", "output_dimension"}
)  # fmt: skip
"""rowvec writes these itself, whatever the service calls them."""
FORMS = frozenset(
    {"encoding_format", "embedding_type", "embedding_types", "output_dtype", "return_multivector", "stream"}
)
"""An answer in another form could not be read."""
JOINING = frozenset({"late_chunking"})
"""One text would get another vector with other texts beside it in a request."""
SECRET = re.compile(r"(^|[_-])(api_?key|key|token|secret|password|passwd|authorization|bearer|credentials?)$", re.I)


def problem_of(params: Mapping[str, Any], key: str | None = None) -> tuple[str, str] | None:
    """What is wrong with them, and what to do; None if nothing is.

    Args:
        key: the API key, which must not be among the values.
    """
    for name in params:
        if name in OURS:
            return (
                f"holds {name!r}, which rowvec sets itself",
                "Leave it out: the table has `model` and `dimensions`.",
            )
        if name in FORMS:
            return f"holds {name!r}, which changes the form of the answer", "Leave it out."
        if name in JOINING:
            return f"holds {name!r}, which embeds the texts of a request as one", "Leave it out."
    for name, value in _leaves(params):
        if SECRET.search(name) or (key and isinstance(value, str) and key in value):
            # Params are kept in the store and are part of a fingerprint, so that messages show them.
            return f"holds a secret in {name!r}", "Put the key into api_key: it is kept nowhere."
    try:
        json.dumps(params, allow_nan=False)
    except (TypeError, ValueError):
        return (
            "holds a value that JSON has no form for",
            "Write text, numbers, true, false, lists or tables.",
        )
    return None


def identity(params: Mapping[str, Any]) -> str:
    """One line, the same for equal params; empty for none."""
    return json.dumps(params, sort_keys=True, separators=(",", ":")) if params else ""


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for inner, each in value.items():
            yield inner, None
            yield from _leaves(each, inner)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each, name)
    else:
        yield name, value
