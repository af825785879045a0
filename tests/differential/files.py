# ruff: noqa: E501  A table reads best with its cells side by side.
"""Files of CSV, JSON Lines and Parquet that are drawn; each is written again for each change."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from tests.differential import file_values as values
from tests.differential.values import Told
from tests.differential.worlds import NAMES, Key, Table, World


class Files(World):
    suffix: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder / f"{self.kind} files"
        self.folder.mkdir()

    def write(self, table: Table) -> None:
        self._clear()
        packed = ".gz" if "packed" in table.shape else ""
        parts = 2 if "parts" in table.shape and len(table.rows) > 1 else 1
        keys = list(table.rows)
        for number in range(parts):
            raw = self.content(table, keys[number::parts])
            path = self.folder / f"rows {number}{self.suffix}{packed}"
            path.write_bytes(gzip.compress(raw, 1) if packed else raw)

    def put(self, table: Table, raw: bytes) -> None:
        """This instead of what is there."""
        self._clear()
        packed = "packed" in table.shape
        name = f"rows 0{self.suffix}{'.gz' if packed else ''}"
        (self.folder / name).write_bytes(gzip.compress(raw, 1) if packed else raw)

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()

    def content(self, table: Table, keys: Sequence[Key]) -> bytes:
        raise NotImplementedError

    def remembers(self, kind: str) -> bool:
        return kind in ("boolean", "truth")

    def insert(self, table: Table, keys: Iterable[Key]) -> None:
        self.write(table)

    def delete(self, table: Table, key: Key) -> None:
        self.write(table)

    def damage(self, table: Table, chance: random.Random) -> None:
        raw = self.content(table, list(table.rows))
        self._clear()
        damaged = chance.choice(self.damages(raw))
        if damaged is not None:
            (self.folder / f"rows 0{self.suffix}").write_bytes(damaged)

    def damages(self, raw: bytes) -> list[bytes | None]:
        """None for a file that is gone."""
        return [
            None,
            b"",
            raw.decode("utf-8", "replace").encode("utf-16"),
            b"\x1f\x8b" + raw,
            raw[: len(raw) // 3] + b"\xff\xfe\xff",
        ]

    def source(self, table: Table) -> dict[str, Any]:
        packed = ".gz" if "packed" in table.shape else ""
        return {"kind": "files", "paths": [str(self.folder / f"*{self.suffix}{packed}")], "key": table.key}


class Csv(Files):
    kind, suffix, kinds = "csv", ".csv", values.CSV
    literal = frozenset({"text", "uuid", "odd number", "code"})
    delimiter = ","
    # White space at the ends of a name in a header is not part of it.
    names = tuple(name for name in NAMES if name == name.strip())
    shapes = (
        "",
        "",
        "bom",
        "crlf",
        "cr",
        "quoted",
        "semicolon",
        "bar",
        "packed",
        "parts",
        "open end",
        "parts quoted bom crlf",
    )

    def draw(self, chance: random.Random, plain: bool) -> Table:
        table = super().draw(chance, plain)
        self.settle(table)
        return table

    def settle(self, table: Table) -> None:
        """A column in which every value looks like a number is one: the first row says that these are texts."""
        first = next(iter(table.rows))
        table.rows[first] = [
            ("some words", "some words") if kind in ("text", "odd number", "code") else cell
            for cell, (_, kind) in zip(table.rows[first], table.columns, strict=True)
        ]

    def draw_keys(self, chance: random.Random, table: Table, count: int) -> list[Key]:
        found = super().draw_keys(chance, table, count)
        return found if table.key_type == "integer" else ["k0", *found[1:]]

    def content(self, table: Table, keys: Sequence[Key]) -> bytes:
        ends = "\r\n" if "crlf" in table.shape else "\r" if "cr" in table.shape else "\n"
        cells: list[list[object]] = [[table.key, *(name for name, _ in table.columns)]]
        cells += [[key, *(written for written, _ in table.rows[key])] for key in keys]
        lines = ends.join(self._line(table, each) for each in cells)
        text = lines if "open end" in table.shape else lines + ends
        return text.encode("utf-8-sig" if "bom" in table.shape else "utf-8")

    def _line(self, table: Table, cells: Sequence[object]) -> str:
        # Only with both characters as its line's end, the writer puts quotes around either of them.
        stream = io.StringIO(newline="")
        quoting: Any = csv.QUOTE_ALL if "quoted" in table.shape else csv.QUOTE_MINIMAL
        csv.writer(stream, delimiter=self.between(table), lineterminator="\r\n", quoting=quoting).writerow(cells)
        return stream.getvalue().removesuffix("\r\n")

    def between(self, table: Table) -> str:
        return ";" if "semicolon" in table.shape else "|" if "bar" in table.shape else self.delimiter

    def damages(self, raw: bytes) -> list[bytes | None]:
        return [
            *super().damages(raw),
            raw.rstrip() + b'\n"never closed',
            raw + b"\n1\n",
            raw + b"\n" + raw.partition(b"\n")[2] * 2,
        ]

    def source(self, table: Table) -> dict[str, Any]:
        found = super().source(table)
        return found if self.between(table) == self.delimiter else {**found, "delimiter": self.between(table)}


class Tsv(Csv):
    kind, suffix, delimiter = "tsv", ".tsv", "\t"


class Jsonl(Files):
    kind, suffix, kinds = "jsonl", ".jsonl", values.JSONL
    literal = frozenset({"half"})
    shapes = ("", "", "bom", "crlf", "letters", "spaces", "blank lines", "packed", "parts", "shuffled", "open end")

    def order(self, table: Table) -> list[str]:
        # The first object may leave a member out.
        return [] if any(kind == "optional" for _, kind in table.columns) else super().order(table)

    def content(self, table: Table, keys: Sequence[Key]) -> bytes:
        shape = table.shape
        lines = [self._line(table, key, number) for number, key in enumerate(keys)]
        ends = "\r\n" if "crlf" in shape else "\n\n \n" if "blank" in shape else "\n"
        text = ends.join(lines) + ("" if "open end" in shape else ends)
        return text.encode("utf-8-sig" if "bom" in shape else "utf-8", "surrogatepass")

    def _line(self, table: Table, key: Key, number: int) -> str:
        letters = "letters" in table.shape
        members = [
            (table.key, key),
            *((name, told[0]) for (name, _), told in zip(table.columns, table.rows[key], strict=True)),
        ]
        if "shuffled" in table.shape:
            members = members[number % len(members) :] + members[: number % len(members)]
        between, after = (" , ", " : ") if "spaces" in table.shape else (",", ":")
        told = [
            (name, value if isinstance(value, values.Source) else json.dumps(value, ensure_ascii=not letters))
            for name, value in members
        ]
        inside = between.join(
            f"{json.dumps(name, ensure_ascii=not letters)}{after}{value}" for name, value in told if value
        )
        return "{" + inside + "}"

    def damages(self, raw: bytes) -> list[bytes | None]:
        return [*super().damages(raw), raw + b"\n[1]\n", raw.rstrip()[:-1], raw.rstrip() + b"\n" + raw, b"[" + raw]


class Parquet(Files):
    kind, suffix = "parquet", ".parquet"
    kinds: Mapping[str, Sequence[Told]] = {name: told for name, (_, told) in values.PARQUET.items()}
    literal = frozenset(
        {
            "text",
            "uuid",
            "decimal",
            "category",
            "large text",
            "view",
            "decimal64",
            "tiny",
            "small unsigned",
            "category of numbers",
        }
    )
    shapes = (
        "",
        "",
        "parts",
        "zstd",
        "small groups",
        "no dictionary",
        "old",
        "pages of two",
        "int96",
        "delta",
        "checked",
    )
    keys: Mapping[str, Sequence[Key]] = {
        "int32": range(-4, 5), "uint32": (1, 2, 2**32 - 1), "uint8": range(9), "large": ["a", "A", "ż", "007", "10"], "view": ["a", "A", "😀"],
        "category": ["a", "b", "10", "9"], "date": ["2024-01-01", "2024-01-02"], "uuid": (),
    }  # fmt: skip
    key_kinds: ClassVar = {
        "integer": pa.int64(), "text": pa.string(), "int32": pa.int32(), "uint32": pa.uint32(), "uint8": pa.uint8(), "large": pa.large_string(),
        "view": pa.string_view(), "category": pa.dictionary(pa.int32(), pa.string()), "date": pa.string(), "uuid": pa.string(),
    }  # fmt: skip

    def content(self, table: Table, keys: Sequence[Key]) -> bytes:
        fields = [
            (table.key, self.key_kinds[table.key_type]),
            *((name, values.PARQUET[kind][0]) for name, kind in table.columns),
        ]
        arrays = [pa.array(list(keys), fields[0][1])]
        for number, (_, kind) in enumerate(table.columns):
            arrays.append(pa.array([table.rows[key][number][0] for key in keys], values.PARQUET[kind][0]))
        options: dict[str, dict[str, Any]] = {
            "zstd": {"compression": "zstd"}, "small groups": {"row_group_size": 2}, "no dictionary": {"use_dictionary": False},
            "old": {"store_schema": True, "data_page_version": "2.0"}, "pages of two": {"data_page_size": 64, "write_batch_size": 2}, "int96": {"use_deprecated_int96_timestamps": True},
            "delta": {"use_dictionary": False, "version": "1.0"}, "checked": {"write_page_checksum": True, "compression": "gzip"},
        }  # fmt: skip
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), sink, **options.get(table.shape, {}))
        return sink.getvalue()

    def damages(self, raw: bytes) -> list[bytes | None]:
        return [None, b"", raw[: len(raw) // 2], raw[:-1], b"PAR1", raw[4:], b"id,c0\n1,2\n", raw + b"\0"]

    def source(self, table: Table) -> dict[str, Any]:
        return super().source(Table(table.key_type, [], key=table.key))
