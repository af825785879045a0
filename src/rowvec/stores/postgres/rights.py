"""What a role may not do, and the statements that an administrator runs so that it may."""

from __future__ import annotations

from typing import Any

import psycopg

from rowvec.errors import StoreError
from rowvec.stores.postgres.connect import single
from rowvec.stores.postgres.names import Names

Connection = psycopg.Connection[Any]

READS, SPENDS = "SELECT", "SELECT, INSERT, UPDATE"
_RELATIONS = """
select n.nspname, n.oid, c.oid, format('%%I.%%I', n.nspname, c.relname), pg_get_userbyid(c.relowner)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v') and (n.nspname = 'rowvec' or (n.nspname = %(schema)s
    and (c.relname in (%(table)s, %(family)s) or starts_with(c.relname, %(family)s || '__'))))
order by 1, 4
"""
_LACKS_SCHEMA = """select quote_ident(nspname) from pg_namespace
    where oid = any(%s) and not has_schema_privilege(oid, 'usage')"""


def explain(connection: Connection, error: StoreError, names: Names, location: str, *, writes: bool) -> None:
    """Say which statements let the role do what the server has just refused.

    Args:
        writes: it was refused to write; a role that only searches needs that for what searches spend.

    Raises:
        StoreError: the same with that advice.
    """
    refused = error.__cause__
    if not isinstance(refused, psycopg.errors.InsufficientPrivilege):
        return
    said = str(refused).splitlines()[0]
    statements = grants(connection, names)
    if writes and not statements:
        statements = _writing(connection, names, said)
    if statements:
        raise StoreError(
            f"No permission in {location}: {said}",
            hint=f"Let an administrator run: {' '.join(statements)}",
        ) from refused


def grants(connection: Connection, names: Names) -> list[str]:
    """Statements that let this role read everything of the store, as far as it may not yet."""
    (role,) = single(connection.execute("select quote_ident(current_user)"))
    about = {"schema": names.schema, "table": names.table, "family": names.family}
    found = connection.execute(_RELATIONS, about).fetchall()
    schemas = list({oid for _, oid, *_ in found})
    closed = [name for (name,) in connection.execute(_LACKS_SCHEMA, [schemas]).fetchall()]
    tables = [oid for _, _, oid, *_ in found]
    asked = "select oid from pg_class where oid = any(%s) and not has_table_privilege(oid, 'select')"
    hidden = {oid for (oid,) in connection.execute(asked, [tables]).fetchall()}
    statements = [f"GRANT USAGE ON SCHEMA {', '.join(sorted(closed))} TO {role};"] if closed else []
    if hidden:
        unread = ", ".join(name for _, _, oid, name, _ in found if oid in hidden)
        statements.append(f"GRANT {READS} ON {unread} TO {role};")
        for owner in sorted({owner for _, _, oid, _, owner in found if oid in hidden}):
            # A later sync makes more tables.
            where = ", ".join(sorted({_quoted(connection, name) for name, _, oid, *_ in found if oid in hidden}))
            statements.append(
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {_quoted(connection, owner)} IN SCHEMA {where}"
                f" GRANT {READS} ON TABLES TO {role};"
            )
    return statements


def is_owned(connection: Connection, names: Names) -> bool:
    """Whether the role may rename a table, add columns to it and index it; True where there is no such table."""
    owned = "select pg_has_role(relowner, 'usage') from pg_class where oid = to_regclass(%s)"
    row = connection.execute(owned, [names.sql.as_string(connection)]).fetchone()
    return row is None or bool(row[0])


def _writing(connection: Connection, names: Names, said: str) -> list[str]:
    """What a role that may read everything lacks to write."""
    (role,) = single(connection.execute("select quote_ident(current_user)"))
    if "spending" in said:
        return [f"GRANT {SPENDS} ON rowvec.spending TO {role};"]
    if names.column is not None and said.startswith("must be owner"):
        return _membership(connection, names, role)
    # What a sync makes, renames and drops has to be its own.
    if foreign := _of_others(connection, names):
        return _made_own(foreign, role)
    temporary = "select has_database_privilege(current_database(), 'temporary'), quote_ident(current_database())"
    allowed, database = single(connection.execute(temporary))
    if not allowed:
        return [f"GRANT TEMPORARY ON DATABASE {database} TO {role};"]
    return _rights_in_schemas(connection, names, role)


def _membership(connection: Connection, names: Names, role: str) -> list[str]:
    """For what the owner of a table alone may do. Whoever may be a superuser may do anything, so that is not told."""
    asked = (
        "select quote_ident(rolname) from pg_class join pg_roles r on r.oid = relowner"
        " where pg_class.oid = to_regclass(%s) and not rolsuper"
    )
    owner = connection.execute(asked, [names.sql.as_string(connection)]).fetchone()
    return [] if owner is None else [f"GRANT {owner[0]} TO {role};"]


def _of_others(connection: Connection, names: Names) -> list[tuple[str, str, bool]]:
    """What rowvec has made under roles that this one is not a member of: (name, owner, owner is a superuser). A table
    of the user's own is not asked for: rights to some of its columns are enough."""
    found = connection.execute(
        f"select made.name, quote_ident(rolname), rolsuper from ({_RELATIONS.replace('order by 1, 4', '')})"
        " made (schema, space, id, name, owner) join pg_roles r on r.rolname = made.owner"
        " where not pg_has_role(r.oid, 'usage') and (made.id <> to_regclass(%(whole)s) or not %(own)s) order by 1",
        {
            "schema": names.schema, "table": names.table, "family": names.family,
            "whole": names.sql.as_string(connection), "own": names.column is not None,
        },
    )  # fmt: skip
    return found.fetchall()


def _made_own(foreign: list[tuple[str, str, bool]], role: str) -> list[str]:
    """Membership is enough. In a superuser it would be the right to everything: there the tables get another owner."""
    members = sorted({owner for _, owner, above in foreign if not above})
    return [
        *(f"GRANT {owner} TO {role};" for owner in members),
        *(f"ALTER TABLE {name} OWNER TO {role};" for name, _, above in foreign if above),
    ]


def _rights_in_schemas(connection: Connection, names: Names, role: str) -> list[str]:
    statements = [f"GRANT USAGE, CREATE ON SCHEMA {_quoted(connection, names.schema)} TO {role};"]
    if connection.execute("select to_regnamespace('rowvec')").fetchone() == (None,):
        return [*statements, f"CREATE SCHEMA rowvec AUTHORIZATION {role};"]
    allowed = "select has_schema_privilege('rowvec', 'usage') and has_schema_privilege('rowvec', 'create')"
    if not single(connection.execute(allowed))[0]:
        statements.append(f"GRANT USAGE, CREATE ON SCHEMA rowvec TO {role};")
    return statements


def _quoted(connection: Connection, name: str) -> str:
    return str(single(connection.execute("select quote_ident(%s)", [name]))[0])
