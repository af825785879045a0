"""Tables and files that are drawn from a seed, written by the bare driver, and changed by it."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
)  # fmt: skip
KEY_NAMES = ("id", "Key", "order", "a b", "żółć", 'q"x', "%s", "x'y", "100%", "a.b", "[b]", "{z}", ":x")


@dataclass
class Table:
    """What is held, and what its texts are.

    Attributes:
        columns: name and type of each column besides the key.
        shape: how it is kept, such as a view; of files, how they are written.
        form: of the text, "lines" or "template".
        rows: for each key, as what each column was written and its text.
    """

    key_type: str
    columns: list[tuple[str, str]]
    name: str = "thing"
    key: str = "id"
    shape: str = ""
    form: str = "lines"
    rows: dict[Key, list[Told]] = field(default_factory=dict)

    def texts(self) -> dict[str, str | None]:
        """By key as text: the text that is embedded, "" for none, None where the docs leave a value open."""
        return {str(key): self._text(told) for key, told in self.rows.items()}

    def _text(self, told: Sequence[Told]) -> str | None:
        shown = [text for _, text in told if text is not None]
        if len(shown) < len(told):
            return None
        if self.form == "template":
            return " ".join(shown).strip()
        return "\n".join(f"{name}: {text}" for (name, _), text in zip(self.columns, shown, strict=True) if text)


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
            plain: columns of plain names, whose texts are compared.
        """
        count = chance.randint(1, 4)
        names = [f"c{number}" for number in range(count)] if plain else chance.sample(self.names, count)
        key_type = chance.choice(["integer", "text", *self.keys])
        table = Table(key_type, [], form=chance.choice(("lines", "lines", "template")))
        table.name, table.shape = chance.choice(self.table_names), chance.choice(self.shapes)
        table.key = chance.choice([each for each in self.key_names if each.lower() not in map(str.lower, names)])
        kinds = list(self.kinds_of(table))
        table.columns = [(name, chance.choice(kinds)) for name in names]
        for key in self.draw_keys(chance, table, chance.randint(3, 9)):
            table.rows[key] = self.row(chance, table)
        return table

    def kinds_of(self, table: Table) -> Mapping[str, Sequence[Told]]:
        return self.kinds

    def draw_keys(self, chance: random.Random, table: Table, count: int) -> list[Key]:
        if table.key_type == "integer":
            return chance.sample([*range(1, 20), -5, 0, 2**40, 2**63 - 1, -(2**63)], count)
        if table.key_type == "uuid":
            return [str(UUID(int=chance.getrandbits(128), version=4)) for _ in range(count)]
        known = self.keys.get(table.key_type, [text for text in TRICKY if text])
        return chance.sample(list(known), min(count, len(known)))

    def row(self, chance: random.Random, table: Table) -> list[Told]:
        return [self.value(chance, table, kind) for _, kind in table.columns]

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
