"""What stands beside the vectors of a generation: the texts of its rows, and the passages of those that have several.

    <table>__texts       key -> the text as it was embedded, as far as it is kept
    <table>__passages    (key, n) -> where in the text, hash of what was embedded, vector, tokens; n counts from 0

Both are written in the transaction that writes the vector, and after it: whoever writes a row holds its lock by then.
SQL users read the view `<table>_passages`, which is always of the live generation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.sql import Composable

from rowvec.errors import StoreError
from rowvec.stores.base import TEXT_KEPT, TableSpec
from rowvec.stores.postgres import schema
from rowvec.stores.postgres.arrays import key_array
from rowvec.stores.postgres.connect import single
from rowvec.stores.postgres.generations import followers
from rowvec.stores.postgres.locks import brief_lock
from rowvec.stores.postgres.names import Names, text_index
from rowvec.stores.postgres.schema import KEY_TYPES
from rowvec.stores.postgres.statements import Statements
from rowvec.stores.postgres.vector_index.nearest import Condition
from rowvec.stores.postgres.writes import packer
from rowvec.support.identifiers import shortened
from rowvec.types import Document, Entry, Key, ScoredPassage, StoredText

Connection = psycopg.Connection[Any]

OURS = "made by rowvec"
"""The comment of its views."""


class Beside:
    """The two side tables of a generation.

    Args:
        names: of the vectors.
    """

    def __init__(self, names: Names, spec: TableSpec) -> None:
        self.names = names
        self.spec = spec
        self.passages = Names(names.schema, shortened(names.family, "__passages"))
        self.texts = Names(names.schema, shortened(names.family, "__texts"))
        self.view = Names(names.schema, shortened(names.family, "_passages"))
        self._parts: dict[str, Composable] = {
            **names.parts,
            "passages": self.passages.sql,
            "texts": self.texts.sql,
            "view": self.view.sql,
            "key": sql.Identifier(spec.key),
            "type": sql.SQL(KEY_TYPES[spec.key_type]),
        }
        self._known = Statements()

    @property
    def tables(self) -> list[Composable]:
        return [self.passages.sql, self.texts.sql]

    def format(self, statement: str, **more: Composable) -> sql.Composed:
        return sql.SQL(statement).format(**self._parts, **more)

    # Made, named, dropped

    def ensure(self, connection: Connection) -> None:
        """Make what the spec asks for, and have every row pass again where texts were not kept so far.

        Texts that are not wanted any more are dropped: what is written from now on would be missing from them.

        Raises:
            StoreError: the role may not create a table there.
        """
        kept = schema.table_exists(connection, self.texts)
        try:
            if self.spec.has_passages:
                self.make_passages(connection)
            if self.spec.keeps_texts and not kept:
                connection.execute(self.format(_TEXTS))
                schema.forget_row_hashes(connection, self.names)
        except psycopg.errors.InsufficientPrivilege as error:
            raise StoreError(
                f"The role may not create tables beside {self.names.scope}, where texts are kept:"
                f" {error.diag.message_primary}.",
                hint=f"Grant it: GRANT CREATE, USAGE ON SCHEMA {self.names.schema} TO <role>; or set store.texts ="
                " false.",
            ) from error
        if kept and not self.spec.keeps_texts:
            if self.shown(connection):
                self.show(connection, texts=False)
            schema.drop_table(connection, self.texts)

    def make_passages(self, connection: Connection) -> None:
        columns = schema.table_columns(connection, self.passages)
        if not columns:
            index = sql.Identifier(text_index(self.passages))
            connection.execute(self.format(_PASSAGES, index=index))
        elif "tokens" not in columns:
            connection.execute(self.format("alter table {passages} add column tokens integer not null default 0"))

    def drop(self, connection: Connection) -> None:
        brief_lock(connection, self.tables)
        self._unshow(connection)
        for names in (self.passages, self.texts):
            connection.execute(sql.SQL("drop table if exists {}").format(names.sql))

    def rename(self, connection: Connection, new: Names) -> None:
        """Follow the vectors to another name in the same schema."""
        there = Beside(new, self.spec)
        for old, now in ((self.passages, there.passages), (self.texts, there.texts)):
            if schema.table_exists(connection, old):
                schema.rename_table(connection, old, now)
                followers.rename_indexes(connection, old, now)

    def follow(self, connection: Connection, previous: Names) -> None:
        """Another generation has these names now: whoever could read the former one's tables may read these."""
        former = Beside(previous, self.spec)
        for old, new in ((former.passages, self.passages), (former.texts, self.texts)):
            if schema.table_exists(connection, old) and schema.table_exists(connection, new):
                followers.copy_grants(connection, old, new)
        self.show(connection)

    def retype_keys(self, connection: Connection) -> None:
        """Follow the key of the vectors to another type."""
        rights = followers.grants(connection, self.view)
        self._unshow(connection)
        empty = schema.is_empty(connection, self.names)
        clause = schema.other_key(sql.Identifier("key"), self.spec.key_type)
        for names in (self.passages, self.texts):
            if schema.table_exists(connection, names):
                if empty:
                    connection.execute(sql.SQL("delete from {}").format(names.sql))
                connection.execute(sql.SQL("alter table {} {}").format(names.sql, clause))
        if rights:
            self.show(connection)
            followers.grant(connection, self.view, rights)

    # The view

    def show(self, connection: Connection, *, texts: bool = True) -> None:
        """Let the view show these passages. A relation of that name that rowvec did not make is left alone.

        Raises:
            StoreError: a view of somebody else depends on it and cannot go along.
        """
        if not schema.table_exists(connection, self.passages) or self._view(connection) is False:
            return
        texts = texts and schema.table_exists(connection, self.texts)
        made = self.format(_VIEW_OF_TEXTS if texts else _VIEW)
        try:
            with connection.transaction():
                connection.execute(self.format("create or replace view {view} as ") + made)
        except psycopg.errors.InvalidTableDefinition:
            # Keys or vectors are of another type now.
            rights = followers.grants(connection, self.view)
            self._unshow(connection)
            connection.execute(self.format("create view {view} as ") + made)
            followers.grant(connection, self.view, rights)
        connection.execute(self.format("comment on view {view} is {ours}", ours=sql.Literal(OURS)))

    def shown(self, connection: Connection) -> bool:
        return self._view(connection) is True

    def _view(self, connection: Connection) -> bool | None:
        """Whether what has its name is rowvec's; None where nothing has it."""
        statement = (
            "select relkind = 'v' and coalesce(obj_description(oid, 'pg_class'), '') = %s from pg_class"
            " where oid = to_regclass(%s)"
        )
        found = connection.execute(statement, [OURS, self.view.sql.as_string(connection)]).fetchone()
        return None if found is None else bool(found[0])

    def _unshow(self, connection: Connection) -> None:
        if not self.shown(connection):
            return
        try:
            connection.execute(self.format("drop view {view}"))
        except psycopg.errors.DependentObjectsStillExist as error:
            raise StoreError(
                f"The view {self.view.sql.as_string(connection)} has to be made again, and others depend on it:"
                f" {error.diag.message_detail}.",
                hint="Drop those, run it again, and create them again; nothing is embedded for that.",
            ) from error

    # Written

    def write(self, connection: Connection, entries: Iterable[Entry], storage: str) -> None:
        """Put passages and texts of these rows in the place of those they had."""
        written = {entry.document.key: entry for entry in entries}
        if not written:
            return
        self.delete(connection, list(written))
        if self.spec.has_passages:
            self._copy_passages(connection, written.values(), storage)
        if self.spec.keeps_texts:
            self._copy_texts(
                connection,
                (
                    (key, each.document.text, max((p.end for p in each.passages), default=0))
                    for key, each in written.items()
                ),
            )

    def complete(self, connection: Connection, documents: Sequence[Document]) -> None:
        """Keep the texts of rows that were written when none were kept."""
        if not self.spec.keeps_texts or not documents:
            return
        covered = '(select max("end") from {passages} p where p.key = t.{key})' if self.spec.has_passages else "0"
        lacking = self.format(
            f"select t.{{key}}, t.{{text_hash}}, coalesce({covered}, 0) from {{table}} t"
            " where t.{key} = any(%s::{type}[]) and {known}"
            " and not exists (select from {texts} x where x.key = t.{key})"
        )
        rows = connection.execute(lacking, [[document.key for document in documents]]).fetchall()
        given = {(document.key, document.text_hash): document.text for document in documents} if rows else {}
        texts = [(key, given[key, found], end) for key, found, end in rows if (key, found) in given]
        if texts:
            self._copy_texts(connection, texts)

    def delete(self, connection: Connection, keys: Sequence[Key]) -> None:
        for wanted, names in ((self.spec.has_passages, self.passages), (self.spec.keeps_texts, self.texts)):
            if wanted and keys:
                statement = self.format("delete from {side} where key = any(%s::{type}[])", side=names.sql)
                connection.execute(statement, [key_array(keys)])

    def _copy_passages(self, connection: Connection, entries: Iterable[Entry], storage: str) -> None:
        divided = [entry for entry in entries if entry.passages]
        if not divided:
            return
        pack = packer(storage)
        statement = self.format(
            'copy {passages} (key, n, start, "end", text_hash, embedding, tokens) from stdin (format binary)'
        )
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types([KEY_TYPES[self.spec.key_type], "int4", "int4", "int4", "bytea", "bytea", "int4"])
            for entry in divided:
                for number, passage in enumerate(entry.passages):
                    start, end, text_hash, vector, tokens = passage
                    copy.write_row((entry.document.key, number, start, end, text_hash, pack(vector), tokens))

    def _copy_texts(self, connection: Connection, texts: Iterable[tuple[Key, str, int]]) -> None:
        """
        Args:
            texts: each with its key and the end of what has to be kept of it in any case.
        """
        with connection.cursor() as cursor, cursor.copy(self.format("copy {texts} from stdin (format binary)")) as copy:
            copy.set_types([KEY_TYPES[self.spec.key_type], "text"])
            for key, text, end in texts:
                copy.write_row((key, storable(text[: max(TEXT_KEPT, end)])))

    # Read

    def filled(self, connection: Connection) -> bool:
        """There are passages."""
        return bool(single(connection.execute(self.format("select exists (select from {passages})")))[0])

    def of_texts(self) -> sql.Composed:
        """Selects hash, vector and truncation of one row or passage for each of `hashes` that has one."""
        rows = (
            "select t.{text_hash} as hash, t.{embedding} as vector, t.{truncated} as truncated from {table} t"
            " where t.{text_hash} = any(%(hashes)s) and t.{embedding} is not null"
        )
        if self.spec.has_passages:
            rows += (
                " and not exists (select from {passages} p where p.key = t.{key}) union all"
                " select text_hash, embedding, false from {passages} where text_hash = any(%(hashes)s)"
            )
        return self.format(f"select distinct on (hash) hash, vector, truncated from ({rows}) known")

    def readable(self, connection: Connection) -> bool:
        """Texts are kept, and the role may see them."""
        found = "select has_table_privilege(to_regclass(%s), 'select')"
        return single(connection.execute(found, [self.texts.sql.as_string(connection)])) == (True,)

    def read(
        self, connection: Connection, keys: Sequence[Key], distance: str, vector: Any, where: Condition
    ) -> dict[Key, StoredText]:
        """Kept texts of rows that have a vector, in the caller's snapshot.

        Args:
            distance: pgvector's operator.
            vector: what passages are compared with; None for nothing.
            where: over the table of the rows, `t`.
        """
        passages: dict[Key, list[tuple[int, int, float | None]]] = {}
        if self.spec.has_passages:
            compared = "null" if vector is None else f"embedding {distance} %b"
            text = f'select key, start, "end", {compared} from {{passages}} where key = any(%s::{{type}}[])'
            statement = self._known.text(text, lambda: self.format(f"{text} order by key, n"))
            values = [list(keys)] if vector is None else [vector, list(keys)]
            for key, *passage in connection.execute(statement, values, binary=True):
                passages.setdefault(key, []).append((passage[0], passage[1], passage[2]))
        statement = self._known.text(("texts", where.text), lambda: self.format(_TEXTS_OF, where=where.sql))
        rows = connection.execute(statement, [list(keys), *where.values], binary=True).fetchall()
        return {
            key: StoredText(
                text,
                tuple(
                    ScoredPassage(start, end, None if far is None else 1 - far if distance == "<=>" else -far)
                    for start, end, far in passages.get(key, ())
                ),
            )
            for key, text in rows
        }

    def sizes(self, connection: Connection) -> tuple[int, int, int]:
        """Passages, rows that have some, and bytes of both tables."""
        passages = divided = 0
        if self.spec.has_passages and schema.table_exists(connection, self.passages):
            counted = "select count(*), count(*) filter (where n = 0) from {passages}"
            passages, divided = single(connection.execute(self.format(counted)))
        names = [each.as_string(connection) for each in self.tables]
        size = "select coalesce(sum(pg_total_relation_size(to_regclass(name))), 0)::bigint from unnest(%s::text[]) name"
        return passages, divided, int(single(connection.execute(size, [names]))[0])

    def forget_texts(self, connection: Connection, keys: Sequence[Key]) -> None:
        """Have the next write of metadata keep the texts of these rows again."""
        if self.spec.keeps_texts and schema.table_exists(connection, self.texts):
            connection.execute(self.format("delete from {texts} where key = any(%s::{type}[])"), [list(keys)])

    def there(self, connection: Connection) -> list[Names]:
        """Those of the two tables that there are."""
        return [names for names in (self.passages, self.texts) if schema.table_exists(connection, names)]

    def drop_lost(self, connection: Connection) -> None:
        """Delete what has no vector any more."""
        for names in self.there(connection):
            connection.execute(self.format(f"delete from {{side}} s where {LOST}", side=names.sql))


def storable(text: str) -> str:
    """The same with another character for each that PostgreSQL does not take, so that offsets stay right."""
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text if text.isascii() else text.encode(errors="replace").decode()


LOST = "not exists (select from {table} t where t.{key} = s.key and t.{embedding} is not null)"
"""True of a row `s` of a side table that has no vector."""
_TEXTS = """create table {texts} as select {key}::{type} as key, ''::text as text from {table} with no data;
alter table {texts} add primary key (key), alter column text set not null, alter column text set statistics 0"""
_PASSAGES = """create table {passages} as select {key}::{type} as key, 0::integer as n, 0::integer as start,
    0::integer as "end", ''::bytea as text_hash, {embedding} as embedding, 0::integer as tokens from {table}
    with no data;
alter table {passages} add primary key (key, n), alter column start set not null, alter column "end" set not null,
    alter column text_hash set not null, alter column embedding set not null, alter column tokens set not null,
    alter column tokens set default 0, alter column embedding set statistics 0;
create index {index} on {passages} (text_hash)"""
_TEXTS_OF = """select x.key, x.text from {texts} x join {table} t on t.{key} = x.key
    where x.key = any(%s::{type}[]) and t.{embedding} is not null and {where}"""
# Reading the vectors is what makes ANALYZE slow, and no estimate comes from them.
_VIEW = 'select p.key, p.n, null::text as text, p.start, p."end", p.embedding from {passages} p'
_VIEW_OF_TEXTS = """select p.key, p.n, substr(x.text, p.start + 1, p."end" - p.start) as text, p.start, p."end",
    p.embedding from {passages} p left join {texts} x on x.key = p.key"""
