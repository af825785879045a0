"""The tables of one pipeline in a libSQL database, and the check that those which exist are what they should be.

The vector table has the key, the hashes and the metadata before the embedding, which comes last: a vector of more than
about 900 dimensions is kept on overflow pages, and whatever stands behind it could only be read through them.

`rowid` identifies a row to the keyword index. With integer keys it is the key; else it is a column of its own,
because an implicit rowid may change when the file is vacuumed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass, field

from rowvec.errors import StoreError
from rowvec.stores.base import TableSpec
from rowvec.stores.columns import folded, stored_spec
from rowvec.stores.libsql.database import Database, Statement
from rowvec.stores.libsql.values import DECLARED, quoted
from rowvec.types import ColumnType, State

HASHES = ("text_hash", "row_hash")
OWN = (*HASHES, "truncated", "vector_hash", "created_at", "updated_at", "embedding")
_RESERVED = {*OWN, "rowid", "oid", "_rowid_", "rowvec_id", "rowvec_expected", "rowvec_text"}
"""Also what a batch has beside the columns of its rows: SQLite would take the one for the other without a word."""
TOKENIZER = "ascii tokenchars '.+#'"
"""FTS5 is given the terms of `rowvec.words`, blanks between them: it leaves every letter beyond ASCII as it is."""

BOOKKEEPING = (
    """create table if not exists rowvec_generations (
        target text not null, state text not null, number integer not null, pipeline text not null,
        "key" text not null, key_type text not null, dimension integer not null, metric text not null,
        metadata text not null, language text, fingerprint text, recipe text not null, settings text not null,
        since text not null, undone integer not null, vector_index text,
        primary key (target, state)
    )""",
    """create table if not exists rowvec_runs (
        id integer primary key, token text not null unique, target text not null, pipeline text not null, lease text,
        started_at text not null, ended_at text, outcome text not null, report text not null, error text
    )""",
    """create table if not exists rowvec_totals (
        target text not null, outcome text not null, runs integer not null, seconds real not null,
        texts integer not null, tokens integer not null, cost real not null, primary key (target, outcome)
    )""",
    """create table if not exists rowvec_locks (
        target text primary key, token text not null, place text not null, pid integer not null,
        holder text not null, since text not null, beat real not null
    )""",
    """create table if not exists rowvec_offsets (
        target text not null, stream text not null, next text not null, primary key (target, stream)
    )""",
    """create table if not exists rowvec_positions (
        target text not null, "key" text not null, position text not null, primary key (target, "key")
    ) without rowid""",
)


WORDS = {State.LIVE: "live", State.BUILDING: "next", State.PREVIOUS: "previous"}
"""What a state is called in the books and in the names of tables."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Names, quoted and ready for SQL, of what belongs to one generation of a vector table.

    A generation that becomes the live one takes over the name of the vector table; what stands beside it keeps the
    number of its generation, because SQLite can rename tables but neither indexes nor triggers.
    """

    target: str
    state: str = WORDS[State.LIVE]
    number: int = 1
    since: str = field(default="", compare=False)
    """When the generation came into its state; "" where the books do not list it."""

    @property
    def name(self) -> str:
        """The vector table, not quoted."""
        return self.target if self.state == "live" else f"{self.target}_{self.state}"

    @property
    def vectors(self) -> str:
        return quoted(self.name)

    @property
    def keywords(self) -> str:
        return self.named("keywords")

    @property
    def kept_words(self) -> str:
        return self.named("kept_words")

    @property
    def kept_texts(self) -> str:
        return self.named("kept_texts")

    @property
    def passages(self) -> str:
        return self.named("passages")

    @property
    def failures(self) -> str:
        """What one model refuses another may take."""
        return self.named("failures")

    @property
    def index(self) -> str:
        """The vector index, not quoted: libSQL takes its name as a value too. It makes none whose name needs quotes."""
        plain = re.sub(r"\W", "_", self.target)
        if plain != self.target:
            plain += f"_{hashlib.blake2b(self.target.encode(), digest_size=4).hexdigest()}"
        return f"rowvec_diskann_{plain}_{self.number}"

    @property
    def owner(self) -> str:
        """Of offsets, which are those of a generation: after a rollback events are read again from where that one had
        come to. Positions are of the rows, whatever generation."""
        return f"{self.target} {self.number}"

    def named(self, what: str) -> str:
        """An index or trigger of this generation, or a table beside it."""
        return quoted(self.plain(what))

    def plain(self, what: str) -> str:
        """The same, not quoted."""
        return f"rowvec_{what}_{self.target}_{self.number}"


def creation(tables: Tables, spec: TableSpec) -> list[Statement]:
    """Every table, index and trigger of a pipeline, each made only where it is missing."""
    made = [
        vector_table(tables.vectors, spec),
        f"create index if not exists {tables.named('texts')} on {tables.vectors} (text_hash)",
        failure_table(tables.failures, spec),
    ]
    if spec.language is not None:
        # Without content: the words alone are kept, and a row can still be deleted or replaced.
        made += [
            f"""create virtual table if not exists {tables.keywords} using fts5(
                text, content='', contentless_delete=1, tokenize="{TOKENIZER}"
            )""",
            f"""create trigger if not exists {tables.named("forget")} after delete on {tables.vectors}
                begin delete from {tables.keywords} where rowid = old.rowid; end""",
        ]
    if keeps_words(spec):
        made.append(f"create table if not exists {tables.kept_words} (part integer primary key, words text not null)")
    made += text_table(tables) if spec.keeps_texts else _without_texts(tables)
    if spec.has_passages:
        made += _passage_tables(tables, spec)
    return [Statement(sql) for sql in made]


def keeps_words(spec: TableSpec) -> bool:
    return spec.keeps_words and spec.language is not None


def text_table(tables: Tables) -> list[str]:
    return [
        f"create table if not exists {tables.kept_texts} (id integer primary key, text text not null)",
        f"""create trigger if not exists {tables.named("forget_text")} after delete on {tables.vectors}
            begin delete from {tables.kept_texts} where id = old.rowid; end""",
    ]


def _without_texts(tables: Tables) -> list[str]:
    """What is there is of texts that the rows may not have any more when texts are kept again."""
    return [
        f"drop trigger if exists {tables.named('forget_text')}",
        f"drop table if exists {tables.kept_texts}",
    ]


def _passage_tables(tables: Tables, spec: TableSpec) -> list[str]:
    return [
        f"""create table if not exists {tables.passages} (
            "row" integer not null, n integer not null, start integer not null, "end" integer not null,
            text_hash blob not null, vector_hash integer not null, embedding f32_blob({spec.dimension}),
            tokens integer not null default 0, primary key ("row", n)
        )""",
        f"create index if not exists {tables.named('passage_texts')} on {tables.passages} (text_hash)",
        f"""create trigger if not exists {tables.named("forget_passages")} after delete on {tables.vectors}
            begin delete from {tables.passages} where "row" = old.rowid; end""",
    ]


def lost(tables: Tables, spec: TableSpec, there: Collection[str]) -> list[Statement]:
    """What the rows have to be written again for, because a table beside them has to be made again.

    Args:
        there: names of tables.
    """
    made = []
    if spec.keeps_texts and tables.plain("kept_texts") not in there:
        made.append(Statement(f"update {tables.vectors} set row_hash = zeroblob(16)"))
    if not spec.keeps_texts and tables.plain("kept_texts") in there:
        made += [Statement(sql) for sql in _without_texts(tables)]
    if keeps_words(spec) and tables.plain("kept_words") not in there:
        made.append(Statement(f"update {tables.vectors} set row_hash = zeroblob(16)"))
    if not keeps_words(spec) and tables.plain("kept_words") in there:
        # Words that are written from now on would be missing from it.
        made.append(Statement(f"drop table {tables.kept_words}"))
    if spec.has_passages and tables.plain("passages") not in there:
        # Nobody knows which of the rows had passages.
        made.append(Statement(f"update {tables.vectors} set text_hash = zeroblob(16)"))
    return made


def passage_repairs(tables: Tables, columns: Collection[str]) -> list[Statement]:
    """The statements that give a table of passages the columns that it lacks.

    Args:
        columns: those that it has; none where there is no such table.
    """
    if not columns or "tokens" in columns:
        return []
    return [Statement(f"alter table {tables.passages} add column tokens integer not null default 0")]


def vector_table(name: str, spec: TableSpec) -> str:
    key = quoted(spec.key)
    integer = spec.key_type is ColumnType.INTEGER
    key_column = (
        f"{key} integer primary key" if integer else f"rowvec_id integer primary key, {key} text not null unique"
    )
    metadata = "".join(f"{quoted(c.name)} {DECLARED.get(c.type, 'TEXT')}, " for c in spec.metadata)
    return f"""create table if not exists {name} (
            {key_column}, text_hash blob not null, row_hash blob not null, truncated integer not null,
            vector_hash integer not null, created_at text not null, updated_at text not null,
            {metadata}embedding f32_blob({spec.dimension})
        )"""


def failure_table(name: str, spec: TableSpec) -> str:
    kind = "integer" if spec.key_type is ColumnType.INTEGER else "text"
    return f"""create table if not exists {name} (
            "key" {kind} not null primary key, error text not null, attempts integer not null,
            failed_at text not null, next_try text not null, text_hash blob not null
        )"""


def removal(tables: Tables) -> list[Statement]:
    """Indexes and triggers go with their table."""
    beside = (
        tables.kept_texts, tables.kept_words, tables.passages, tables.keywords, tables.failures,
        tables.named("distinct"),
    )  # fmt: skip
    kept = ("rowvec_offsets", "rowvec_unfit", "rowvec_deletions", "rowvec_refusals")
    forgotten = [Statement(f"delete from {table} where target = ?", (tables.owner,)) for table in kept]
    return [*forgotten, *(Statement(f"drop table if exists {name}") for name in (tables.vectors, *beside))]


def new_keywords(tables: Tables) -> list[Statement]:
    """Words are stemmed by language. The texts are not here: rows without a row hash are brought by the next sync."""
    return [
        Statement(f"drop trigger if exists {tables.named('forget')}"),
        Statement(f"drop table if exists {tables.keywords}"),
        Statement(f"update {tables.vectors} set row_hash = zeroblob(16)"),
    ]


def carried_keywords(tables: Tables, spec: TableSpec) -> list[Statement]:
    """The same where only the format is another one. Rows that the next sync may not write, those of events and those
    that failed, keep the words that they have. The others do not: FTS5 goes on counting a row that was replaced."""
    vocabulary, kept = tables.named("vocabulary"), tables.named("kept")
    unread = f"""exists (
        select 1 from rowvec_offsets where target = ? and stream <> 'cursor') or doc in (
        select t.rowid from {tables.vectors} as t join {tables.failures} as f on f."key" = t.{quoted(spec.key)})"""
    return [
        Statement(f"create virtual table {vocabulary} using fts5vocab({tables.keywords}, 'instance')"),
        Statement(
            f"""create table {kept} as select doc, group_concat(term, ' ') as terms
                from (select doc, term from {vocabulary} where {unread} order by doc, offset) group by doc""",
            (tables.owner,),
        ),
        Statement(f"drop table {vocabulary}"),
        *new_keywords(tables),
        *creation(tables, spec),
        Statement(f"insert into {tables.keywords} (rowid, text) select doc, terms from {kept}"),
        Statement(f"drop table {kept}"),
    ]


def recounted_keywords(tables: Tables) -> list[Statement]:
    """The same words of the same rows, written again: then nothing counts that is gone."""
    vocabulary, kept = tables.named("vocabulary"), tables.named("kept")
    return [
        Statement(f"create virtual table {vocabulary} using fts5vocab({tables.keywords}, 'instance')"),
        Statement(
            f"""create table {kept} as select doc, group_concat(term, ' ') as terms
                from (select doc, term from {vocabulary} order by doc, offset) group by doc"""
        ),
        Statement(f"drop table {vocabulary}"),
        Statement(f"insert into {tables.keywords} ({tables.keywords}) values ('delete-all')"),
        Statement(
            f"""insert into {tables.keywords} (rowid, text) select doc, terms from {kept}
                where doc in (select rowid from {tables.vectors})"""
        ),
        Statement(f"drop table {kept}"),
    ]


def columns_of(database: Database, table: str) -> dict[str, str]:
    """Declared types by column name; empty where there is no such table."""
    return dict(database.query("select name, type from pragma_table_info(?)", (table,)))


def numbers(database: Database, target: str) -> dict[str, int]:
    """The number of each generation whose tables are there, by the name of its vector table: it is part of the names
    of its indexes, and so it is known where the books are lost."""
    begin = f"rowvec_texts_{target}_"
    found = database.query(
        "select tbl_name, substr(name, ?) from sqlite_master where type = 'index' and substr(name, 1, ?) = ?",
        (len(begin) + 1, len(begin), begin),
    )
    return {table: int(number) for table, number in found if number.isdecimal()}


def stored(spec: TableSpec, location: str) -> TableSpec:
    """The same with the columns as the vector table calls them.

    Raises:
        ConfigError: see `stored_spec`.
    """
    return stored_spec(spec, _RESERVED, location, fold=True)


def repairs(tables: Tables, columns: dict[str, str], spec: TableSpec, location: str) -> list[Statement]:
    """The statements that add the metadata columns which a table, of declared types by name, does not have yet.

    Raises:
        StoreError: the table is not one of ours, or has another dimension or key.
    """
    _check_ours(columns, spec, location)
    there = set(map(folded, columns))
    return [
        Statement(f"alter table {tables.vectors} add column {quoted(column.name)} {DECLARED.get(column.type, 'TEXT')}")
        for column in spec.metadata
        if folded(column.name) not in there
    ]


def unwritten(tables: Tables, before: Collection[str], spec: TableSpec) -> list[Statement]:
    """What has every row written again where a metadata column is new or in another place: the hash of a row knows its
    values, and not whose they are.

    Args:
        before: names of the columns that rows were written with, in order.
    """
    names = [column.name for column in spec.metadata]
    if names == [name for name in before if name in names]:
        return []
    return [Statement(f"update {tables.vectors} set row_hash = zeroblob(16)")]


def _check_ours(columns: dict[str, str], spec: TableSpec, location: str) -> None:
    missing = [name for name in OWN if name not in columns]
    if missing:
        raise StoreError(
            f"{location} is there and was not made by rowvec: it has no column {', '.join(missing)}.",
            hint="Give the store another table name.",
        )
    if spec.key not in columns:
        raise StoreError(
            f"{location} holds the vectors of another key: it has no column {spec.key!r}.",
            hint="Name the key that it was made for, or give the store another table name.",
        )
    found = re.fullmatch(r"f32_blob\((\d+)\)", columns["embedding"].lower())
    if not found or int(found[1]) != spec.dimension:
        held = f"vectors of {found[1]} dimensions" if found else f"a column of type {columns['embedding']}"
        raise StoreError(
            f"{location} holds {held}, the embedder gives {spec.dimension}.",
            hint="Give the store another table name, or use the model that the table was made with.",
        )
