"""Tables and files that are drawn from a seed, written by the bare driver, and changed by it."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID

from tests.differential.values import Told
from tests.integration.sql_rig import TRICKY

Key = int | str

POSTGRES_SETTINGS = (
    "datestyle = 'German'", "datestyle = 'SQL, DMY'", "datestyle = 'Postgres'", "intervalstyle = 'sql_standard'",
    "intervalstyle = 'iso_8601'", "timezone = 'America/New_York'", "timezone = 'Asia/Kolkata'",
    "bytea_output = 'escape'",
    "extra_float_digits = -15", "extra_float_digits = 0", "client_encoding = 'LATIN1'", "client_encoding = 'SQL_ASCII'",
    "standard_conforming_strings = off", "backslash_quote = off", "quote_all_identifiers = on", "array_nulls = off",
    "transform_null_equals = on", "xmloption = 'document'", "search_path = 'pg_catalog'", "lock_timeout = 2000",
    "default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on", "enable_seqscan = off",
    "row_security = off", "lc_messages = 'C'", "idle_in_transaction_session_timeout = 60000", "jit = off",
    "plan_cache_mode = 'force_generic_plan'", "default_transaction_read_only = off", "xmlbinary = 'hex'",
    "enable_indexscan = off", "cursor_tuple_fraction = 1", "escape_string_warning = on", "timezone = 'Asia/Kathmandu'",
)  # fmt: skip
"""What a database or a role of other people may set."""

NAMES = (
    "name", "Select", "a b", 'q"x', "żółć", "UPPER", "100%", "a.b", "created_at", "updated_at", "text", "%s", "x'y",
    "{z}", "2024", "$x", "order", "group", "user", "null", "table", "end", "from", "key", "ß", "Ä", " lead", "a\tb",
    'two""quotes', "`tick`", "[b]", "back\\slash", "emoji😀", "a-b", "c:d", "e?f", "-- g", "embedding", "row_hash",
    "truncated", "source_updated_at", "l" * 60, "ż" * 31, "rowid", "oid", "%(x)s", "h;", "@i", "#j", "k,l", "'", "é",
    "n" * 63 + "1", "n" * 63 + "2", "ż" * 64, "a long heading of a spreadsheet " * 8, "id_", "text_hash", "and", "not",
    "a..b",
)  # fmt: skip
KEY_NAMES = ("id", "Key", "order", "a b", "żółć", 'q"x', "%s", "x'y", "100%", "a.b", "[b]", "{z}", ":x")


@dataclass
class Table:
    """What is held, and what its texts are.

    Attributes:
        columns: name and type of each column besides the key.
        shape: how it is kept, such as a view; of files, how they are written.
        form: of the text: "lines", "template", "columns", or "every" where no column is named.
        rows: for each key, as what each column was written and its text.
        remembered: the names of the columns as the source was first seen to have them, later ones last; empty where
            that is not known.
        open_columns: names of columns that were of another type once, which decides what their values say.
        cursor: type of a column `stamp`, which grows with each row that is written; "" for none.
        clock: gives each stamp once.
    """

    key_type: str
    columns: list[tuple[str, str]]
    name: str = "thing"
    key: str = "id"
    shape: str = ""
    form: str = "lines"
    rows: dict[Key, list[Told]] = field(default_factory=dict)
    remembered: list[str] = field(default_factory=list)
    open_columns: set[str] = field(default_factory=set)
    cursor: str = ""
    clock: Iterator[int] = field(default_factory=partial(count, 1))

    def renamed(self, before: str, after: str) -> None:
        """The column of one name is gone, and one of another name is there; "" for none."""
        if before and before in self.remembered:
            self.remembered.remove(before)
        if after and self.remembered:
            self.remembered.append(after)

    def texts(self) -> dict[str, str | None]:
        """By key as text: the text that is embedded, "" for none, None where the docs leave a value open."""
        return {str(key): self._text(told) for key, told in self.rows.items()}

    def _text(self, told: Sequence[Told]) -> str | None:
        by_name = {name: text for (name, _), (_, text) in zip(self.columns, told, strict=True)}
        names = self.remembered if self.form == "every" else [name for name, _ in self.columns]
        shown = [(name, text) for name in names if (text := by_name[name]) is not None]
        if len(shown) < len(told):
            return None
        if self.form == "template":
            return " ".join(text for _, text in shown).strip()
        between = "\n" if self.form == "lines" else ". "
        return between.join(f"{name}: {text}" for name, text in shown if text)


class World(ABC):
    """A source of one kind: what can be drawn for it, and how it is written.

    Attributes:
        literal: types of columns whose metadata is the text of the value, and never null for one.
    """

    kind: str
    kinds: Mapping[str, Sequence[Told]]
    literal: frozenset[str] = frozenset()
    keys: Mapping[str, Sequence[Key]] = {}
    names: Sequence[str] = NAMES
    key_names: Sequence[str] = KEY_NAMES
    table_names: Sequence[str] = ("thing",)
    shapes: Sequence[str] = ("",)

    def draw(self, chance: random.Random, plain: bool) -> Table:
        """
        Args:
            plain: columns of plain names, which every form of text takes.
        """
        columns = chance.randint(1, 4)
        names = [f"c{number}" for number in range(columns)] if plain else chance.sample(self.names, columns)
        key_type = chance.choice(["integer", "text", *self.keys])
        forms = ("lines", "lines", "template", "columns") if plain else ("columns", "columns", "every")
        table = Table(key_type, [], form=chance.choice(forms))
        table.name, table.shape = chance.choice(self.table_names), chance.choice(self.shapes)
        table.key = chance.choice([each for each in self.key_names if each.lower() not in map(str.lower, names)])
        kinds = list(self.kinds_of(table))
        table.columns = [(name, chance.choice(kinds)) for name in names]
        for key in self.draw_keys(chance, table, chance.randint(3, 9)):
            table.rows[key] = self.row(chance, table)
        table.remembered = self.order(table)
        return table

    def order(self, table: Table) -> list[str]:
        """Of the columns, as they are first seen; empty where the docs leave that open."""
        return [name for name, _ in table.columns]

    def fits(self, text: object) -> bool:
        """It can be written where the rows are."""
        return True

    def kinds_of(self, table: Table) -> Mapping[str, Sequence[Told]]:
        return self.kinds

    def draw_keys(self, chance: random.Random, table: Table, count: int) -> list[Key]:
        if table.key_type == "integer":
            return chance.sample([*range(1, 20), -5, 0, 2**40, 2**63 - 1, -(2**63)], count)
        if table.key_type == "uuid":
            return [str(UUID(int=chance.getrandbits(128), version=4)) for _ in range(count)]
        known = [key for key in self.keys.get(table.key_type, [text for text in TRICKY if text]) if self.fits(key)]
        return chance.sample(known, min(count, len(known)))

    def row(self, chance: random.Random, table: Table) -> list[Told]:
        told = [self.value(chance, table, kind) for _, kind in table.columns]
        names = [name for name, _ in table.columns]
        return [
            (written, None if name in table.open_columns else text)
            for name, (written, text) in zip(names, told, strict=True)
        ]

    def value(self, chance: random.Random, table: Table, kind: str) -> Told:
        return chance.choice(self.kinds_of(table)[kind])

    def remembers(self, kind: str) -> bool:
        """A column that was of this kind once changes what its later values say."""
        return False

    @abstractmethod
    def write(self, table: Table) -> None:
        """All of it, in the place of what was there."""

    @abstractmethod
    def insert(self, table: Table, keys: Iterable[Key]) -> None:
        """Rows that the table has by now."""

    @abstractmethod
    def delete(self, table: Table, key: Key) -> None: ...

    @abstractmethod
    def damage(self, table: Table, chance: random.Random) -> None:
        """Make of it what cannot be read; `write` makes it whole again."""

    @abstractmethod
    def source(self, table: Table) -> dict[str, Any]:
        """The source's part of rowvec.toml."""
