"""The weights of a model: one safetensors file, or several that an index names.

A safetensors file is the length of its header (8 bytes, little-endian), the header (JSON: of each tensor its type, its
shape and its first and last byte) and the tensors. It is read here, and not by the library of that name, because numpy
has no bfloat16, in which many models are published: a bfloat16 is the first half of a float32.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rowvec.embedders.model_json import Settings, damaged
from rowvec.errors import EmbedderError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARDS = "model-*.safetensors"
LONGEST_HEADER = 100 * 2**20
"""Bytes: the limit of the format."""
TYPES: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(kind) for name, kind in (("F64", "<f8"), ("F32", "<f4"), ("F16", "<f2"), ("BF16", "<u2"))
}
"""As they lie in the file."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tensor:
    path: Path
    type: str
    shape: tuple[int, ...]
    start: int
    """Byte of the file."""

    def read(self) -> Array:
        kind = TYPES[self.type]
        raw = np.fromfile(self.path, kind, math.prod(self.shape), offset=self.start).reshape(self.shape)
        if self.type == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        found: Array = np.ascontiguousarray(raw, np.float32)
        return found


class SafeTensors:
    """Every tensor of a model by its name. Making one reads the headers only, and compares them with the files' sizes.

    Raises:
        EmbedderError: a file is missing, cut off or damaged.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._tensors: dict[str, Tensor] = {}
        for path in paths:
            self._tensors |= _tensors(path)

    def keys(self) -> list[str]:
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def type(self, name: str) -> str:
        return self._tensors[name].type

    def get_tensor(self, name: str) -> Array:
        """
        Raises:
            EmbedderError: it is of a type that is not read, or the file is gone.
        """
        tensor = self._tensors[name]
        if tensor.type not in TYPES:
            raise EmbedderError(
                f"The weight {name!r} in {tensor.path} is of the type {tensor.type}, which is not read here.",
                hint=f"Save the model in one of {', '.join(TYPES)}.",
            )
        try:
            return tensor.read()
        except (OSError, ValueError) as error:
            raise damaged(tensor.path, str(error)) from error


def files_of(folder: Path) -> list[Path]:
    """The files with the weights of the model in a folder: one, or those that its index names; none where it has
    neither.

    Raises:
        EmbedderError: the index names a file that is not there, or one outside the folder.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if not index.is_file():
        return []
    names = sorted({str(name) for name in Settings(index).mapping("weight_map").values()})
    if not names:
        raise damaged(index, "it names no files")
    for name in names:
        if Path(name).name != name:
            raise damaged(index, f"it names {name!r}, which is not a file beside it")
        if not (folder / name).is_file():
            raise EmbedderError(
                f"The weights of the model in {folder} lie in {len(names)} files, and {name} is missing.",
                hint="The model is half downloaded: fetch it again.",
            )
    return [folder / name for name in names]


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(LONGEST_HEADER, size - 8):
                raise ValueError("it is cut off within its header, or not a safetensors file")
            header = json.loads(file.read(length))
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    except RecursionError as error:
        raise damaged(path, "its header is nested too deeply") from error
    if not isinstance(header, Mapping):
        raise damaged(path, "its header is not an object")
    found = {name: _tensor(path, name, said, 8 + length) for name, said in header.items() if name != "__metadata__"}
    wanted = max((tensor.start + _bytes(tensor) for tensor in found.values()), default=0)
    if size < wanted:
        raise damaged(path, f"it has {size:,} bytes, and its header speaks of {wanted:,}")
    return found


def _tensor(path: Path, name: str, said: Any, base: int) -> Tensor:
    try:
        kind, shape, (start, end) = said["dtype"], said["shape"], said["data_offsets"]
        whole = all(type(each) is int and each >= 0 for each in (*shape, start, end))
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"its header does not say where {name!r} lies") from error
    tensor = Tensor(path, str(kind), tuple(shape), base + start)
    if not whole or end < start or (kind in TYPES and end - start != _bytes(tensor)):
        raise damaged(path, f"its header gives {name!r} a size that does not fit its shape")
    return tensor


def _bytes(tensor: Tensor) -> int:
    """0 for a type that is not read, whose size is not known."""
    kind = TYPES.get(tensor.type)
    return math.prod(tensor.shape) * kind.itemsize if kind else 0
