"""Views of the database while tables are renamed, and the view `<table>_passages` for those who query with SQL."""

from __future__ import annotations

from rowvec.stores.libsql.database import Database, Statement
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.values import quoted

_OURS = "rowvec_passages_"
"""In the text of a view that rowvec made: the table of passages that it shows."""


def around(database: Database, moves: list[Statement]) -> list[Statement]:
    """`moves` between taking the views away and putting them back as they were written. Otherwise SQLite would
    write a table's new name into them, so that they go on showing the former generation, and would rename nothing
    while any view of the database is broken."""
    views = database.query("select name, sql from sqlite_master where type = 'view' order by rowid")
    triggers = database.query(
        """select sql from sqlite_master where type = 'trigger'
           and tbl_name in (select name from sqlite_master where type = 'view') order by rowid"""
    )
    dropped = [Statement(f"drop view {quoted(name)}") for name, _ in views]
    return [*dropped, *moves, *(Statement(sql) for _, sql in views), *(Statement(sql) for (sql,) in triggers)]


def texts_kept(database: Database, tables: Tables) -> bool:
    return bool(database.query("select 1 from sqlite_master where name = ?", (tables.plain("kept_texts"),)))


def showing(database: Database, tables: Tables, key: str, *, passages: bool, texts: bool) -> list[Statement]:
    """The statements that let the view show the passages of `tables`, the live ones from now on; none where it does.

    Whatever else has its name is left alone. Without passages there is no view.
    """
    name = f"{tables.target}_passages"
    found = database.query("select type, sql from sqlite_master where name = ?", (name,))
    if found and not (found[0][0] == "view" and _OURS in found[0][1]):
        return []
    view = f"""{quoted(name)} as select t.{quoted(key)} as "key", p.n,
        {'substr(x.text, p.start + 1, p."end" - p.start)' if texts else "null"} as "text", p.start, p."end", p.embedding
        from {tables.passages} as p join {quoted(tables.target)} as t on t.rowid = p."row"
        {f'left join {tables.kept_texts} as x on x.id = p."row"' if texts else ""}"""
    if passages and found and found[0][1].endswith(view):
        return []
    dropped = [Statement(f"drop view {quoted(name)}")] if found else []
    return [*dropped, Statement(f"create view {view}")] if passages else dropped
