"""The small JSON files of a model, read with care: whoever made the model may have written anything into them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rowvec.errors import EmbedderError

LARGEST = 2**26
"""Bytes of a tokenizer, with room to spare: that of 250,000 words in a hundred languages has 17 million."""


def read_json(path: Path, missing: Any = None) -> Any:
    """The content of a JSON file; `missing`, where given, for one that is not there.

    Raises:
        EmbedderError: not there, too large, or not JSON.
    """
    if missing is not None and not path.exists():
        return missing
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST // 2**20} MB")
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    except RecursionError as error:
        raise damaged(path, "it is nested too deeply") from error


class Settings:
    """One of those files, whose content must be an object.

    Args:
        optional: a file that is not there says nothing, and is not an error.

    Raises:
        EmbedderError: the file cannot be read, or is not an object.
    """

    def __init__(self, path: Path, *, optional: bool = False) -> None:
        self.path = path
        said = read_json(path, missing={} if optional else None)
        self.values = self._object(said, "it")

    def whole(self, name: str, default: int | None, *, lowest: int = 1) -> int | None:
        """A whole number; `default` where there is none, or null. A limit that nothing reaches may be a float."""
        value = self.values.get(name)
        if value is None:
            return default
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or value != int(value) or value < lowest:
            raise damaged(self.path, f"{name} is {shown(value)}, not a whole number from {lowest} on")
        return int(value)

    def number(self, name: str, default: float) -> float:
        """A number above 0."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise damaged(self.path, f"{name} is {shown(value)}, not a number above 0")
        return float(value)

    def flag(self, name: str, default: bool | None = False) -> bool | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise damaged(self.path, f"{name} is {shown(value)}, not true or false")
        return default if value is None else value

    def text(self, name: str, default: str = "", *, among: tuple[str, ...] = ()) -> str:
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise damaged(self.path, f"{name} is {shown(value)}, not a text")
        if among and value not in among:
            raise damaged(self.path, f"{name} is {shown(value)}, not one of {', '.join(among)}")
        return value

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object within the file; an empty one where there is none, or null."""
        value = self.values.get(name)
        return {} if value is None else self._object(value, name)

    def _object(self, value: Any, what: str) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise damaged(self.path, f"{what} is {shown(value)}, not an object")
        return value


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}…"


def damaged(path: Path, why: str) -> EmbedderError:
    return EmbedderError(
        f"The model file {path} cannot be read: {why}.",
        hint="The model is damaged or half downloaded: fetch it again.",
    )
