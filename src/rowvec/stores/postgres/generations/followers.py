"""One generation takes the name of another: what SQL users rely on goes with the name.

Views, grants and indexes belong to a table and not to its name, so a rename alone would leave them with the former
generation. What cannot go along is told before anything is embedded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from rowvec.errors import StoreError
from rowvec.stores.postgres import counting, facet_index, rights, schema
from rowvec.stores.postgres.connect import single
from rowvec.stores.postgres.names import LEDGER_COLUMNS, Names
from rowvec.stores.postgres.vector_index import index
from rowvec.support.identifiers import shortened

Connection = psycopg.Connection[Any]


class View(NamedTuple):
    name: str
    """Quoted, as SQL wants it."""
    definition: str
    options: str | None


class Grant(NamedTuple):
    role: str | None
    """None for everybody."""
    privilege: str
    option: bool
    """The role may grant it to others."""


def check_followers(connection: Connection, live: Names) -> None:
    """
    Raises:
        StoreError: something depends on the live generation that could not go over to another one.
    """
    obstacles = [what for (what,) in connection.execute(_OBSTACLES, _about(connection, live))]
    if obstacles:
        raise StoreError(
            f"{live.scope} cannot be put in another generation's place: {', '.join(obstacles)} would stay behind.",
            hint="Drop it and create it again when the new generation is live, or name another table in store.table.",
        )


def check_owner(connection: Connection, live: Names) -> None:
    """Raises StoreError when the role could not rename the live generation in the end."""
    if not rights.is_owned(connection, live):
        (role,) = single(connection.execute("select current_user"))
        raise StoreError(
            f"The model has changed. Its vectors are made beside the live ones, and the role {role!r} could not put"
            f" them in their place in the end: it does not own {live.schema}.{live.table}.",
            hint="Run this sync once as the owner of the table.",
        )


def views(connection: Connection, live: Names) -> list[View]:
    """The views that show the live generation. Their definitions name it by the name it has now."""
    rows = connection.execute(
        "select v.oid::regclass::text, pg_get_viewdef(v.oid), array_to_string(v.reloptions, ', ')"
        f" {_FOLLOWERS} and v.relkind = 'v' order by v.oid",
        _about(connection, live),
    )
    return [View(*row) for row in rows]


def repoint(connection: Connection, shown: Sequence[View]) -> None:
    """Let views show what has the name now that their definitions speak of."""
    for name, definition, options in shown:
        extra = f" with ({options})" if options else ""
        try:
            connection.execute(f"create or replace view {name}{extra} as {definition}".encode())
        except psycopg.errors.LockNotAvailable:
            raise
        except psycopg.Error as error:
            raise StoreError(
                f"The view {name} cannot show the new generation: {str(error).splitlines()[0]}.",
                hint="Drop the view, run `rowvec sync` again, and create it again; nothing is embedded again.",
            ) from error


def copy_grants(connection: Connection, old: Names, new: Names) -> None:
    """Whoever may read or write the old generation may read or write the new one."""
    grant(connection, new, grants(connection, old))
    names = LEDGER_COLUMNS if old.column else sorted(schema.table_columns(connection, new))
    own = {old.own(name): new.own(name) for name in names}
    for column, role, privilege, option in connection.execute(_COLUMN_GRANTS, _about(connection, old)).fetchall():
        if column in own:
            _grant(connection, new.sql, privilege, own[column], role, option)


def copy_side_grants(connection: Connection, old: Sequence[sql.Composable], new: Sequence[sql.Composable]) -> None:
    """The same for tables beside the generations, as far as both are there."""
    for before, after in zip(old, new, strict=True):
        there = [each.as_string(connection) for each in (before, after)]
        if None in single(connection.execute("select to_regclass(%s)::text, to_regclass(%s)::text", there)):
            continue
        for role, privilege, option in connection.execute(_GRANTS, {"table": there[0], "own": None}).fetchall():
            _grant(connection, after, privilege, None, role, option)


def grants(connection: Connection, names: Names) -> list[Grant]:
    """Of the whole table or view, but for what its owner may do."""
    return [Grant(*row) for row in connection.execute(_GRANTS, _about(connection, names))]


def grant(connection: Connection, names: Names, granted: Sequence[Grant]) -> None:
    for role, privilege, option in granted:
        _grant(connection, names.sql, privilege, None, role, option)


def _grant(
    connection: Connection, table: sql.Composable, privilege: str, column: str | None, role: str | None, option: bool
) -> None:
    columns = sql.SQL(" ({})").format(sql.Identifier(column)) if column else sql.SQL("")
    statement = sql.SQL("grant {}{} on {} to {}").format(
        sql.SQL(privilege), columns, table, sql.SQL("public") if role is None else sql.Identifier(role)
    )
    connection.execute(statement + sql.SQL(" with grant option") if option else statement)


def rename_indexes(connection: Connection, old: Names, new: Names) -> None:
    """The indexes of a generation that is called `new` now and was called `old` are named after it again."""
    if new.column:
        names = [found.name for found in index.find(connection, new)]
    else:
        rows = connection.execute(
            "select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid"
            " where i.indrelid = to_regclass(%(table)s)",
            _about(connection, new),
        )
        names = [name for (name,) in rows]
    for name in names:
        wanted = shortened(new.family + name[len(old.family) :])
        if not name.startswith(old.family) or name == wanted or _taken(connection, new, wanted):
            continue
        connection.execute(
            sql.SQL("alter index {} rename to {}").format(sql.Identifier(new.schema, name), sql.Identifier(wanted))
        )


def copy_indexes(connection: Connection, live: Names, new: Names) -> None:
    """Indexes that users made on the live table are made on the new one; those for vectors and for facets are built
    elsewhere."""
    if live.column is not None:
        return
    there = {how for _, _, how in _indexes(connection, new)}
    for name, unique, how in _indexes(connection, live):
        wanted = shortened(new.family + name.removeprefix(live.family))
        if how in there or _taken(connection, new, wanted):
            continue
        try:
            connection.execute(
                sql.SQL("create {} index {} on {} using {}").format(
                    sql.SQL("unique" if unique else ""), sql.Identifier(wanted), new.sql, sql.SQL(how)
                )
            )
        except psycopg.errors.UndefinedColumn:
            continue  # Of a column that the user added to the live table.


def _indexes(connection: Connection, names: Names) -> list[tuple[str, bool, str]]:
    return connection.execute(
        "select c.relname, i.indisunique, regexp_replace(pg_get_indexdef(c.oid), '^.* USING ', '')"
        " from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am am on am.oid = c.relam"
        " where i.indrelid = to_regclass(%s) and am.amname not in ('hnsw', 'ivfflat') and i.indisvalid"
        " and not starts_with(c.relname, %s) and not starts_with(c.relname, %s)"
        " and not exists (select from pg_constraint where conindid = c.oid) order by c.oid",
        [names.sql.as_string(connection), facet_index.MARK, counting.MARK],
    ).fetchall()


def _taken(connection: Connection, names: Names, name: str) -> bool:
    shown = sql.Identifier(names.schema, name).as_string(connection)
    return connection.execute("select to_regclass(%s)", [shown]).fetchone() != (None,)


def _about(connection: Connection, names: Names) -> dict[str, Any]:
    """Values for the statements below."""
    own = [names.own(name) for name in LEDGER_COLUMNS] if names.column else None
    return {"table": names.sql.as_string(connection), "own": own}


_FOLLOWERS = """from pg_class v where exists (select from pg_rewrite r
    join pg_depend d on d.objid = r.oid and d.classid = 'pg_rewrite'::regclass
        and d.refclassid = 'pg_class'::regclass
    left join pg_attribute a on (a.attrelid, a.attnum) = (d.refobjid, d.refobjsubid)
    where r.ev_class = v.oid and d.refobjid = to_regclass(%(table)s)
        and (%(own)s::text[] is null or a.attname = any(%(own)s)))"""
_OBSTACLES = f"""select 'the materialized view ' || v.oid::regclass {_FOLLOWERS} and v.relkind = 'm'
    union all select format('the foreign key %%s of %%s', conname, conrelid::regclass) from pg_constraint
    where contype = 'f' and confrelid = to_regclass(%(table)s) and %(own)s::text[] is null
    union all select format('the trigger %%s', tgname) from pg_trigger
    where tgrelid = to_regclass(%(table)s) and not tgisinternal and %(own)s::text[] is null
    union all select format('the publication %%s', pubname) from pg_publication_rel r
    join pg_publication p on p.oid = r.prpubid where prrelid = to_regclass(%(table)s) and %(own)s::text[] is null
    union all select 'row-level security' from pg_class
    where oid = to_regclass(%(table)s) and relrowsecurity and %(own)s::text[] is null"""
_GRANTS = """select case when a.grantee <> 0 then pg_get_userbyid(a.grantee) end, a.privilege_type, a.is_grantable
    from pg_class c, aclexplode(c.relacl) a
    where c.oid = to_regclass(%(table)s) and a.grantee <> c.relowner and %(own)s::text[] is null"""
_COLUMN_GRANTS = """select t.attname, case when a.grantee <> 0 then pg_get_userbyid(a.grantee) end, a.privilege_type,
    a.is_grantable from pg_attribute t, aclexplode(t.attacl) a
    where t.attrelid = to_regclass(%(table)s) and not t.attisdropped"""
