"""What an audit finds of passages and kept texts, without the source."""

from __future__ import annotations

from rowvec.stores.auditor import FURTHEST_MEAN, Drift, Fault
from rowvec.stores.base import TableSpec
from rowvec.stores.libsql.database import Database, Statement, Values
from rowvec.stores.libsql.schema import Tables, columns_of
from rowvec.stores.libsql.values import quoted
from rowvec.support.keys import key_of


def faults(database: Database, tables: Tables, spec: TableSpec, most: int) -> list[Fault]:
    beside = _beside(database, tables)
    found = []
    if spec.keeps_texts and tables.kept_texts in beside:
        condition = f"t.embedding is not null and t.rowid not in (select id from {tables.kept_texts})"
        found.append((Drift.NO_TEXT, _of_rows(database, tables, spec, condition, (), most)))
    if spec.has_passages and tables.passages in beside:
        condition, values = _broken(tables, spec, texts=tables.kept_texts in beside)
        found.append((Drift.PASSAGES, _of_rows(database, tables, spec, condition, values, most)))
        # A table that an older rowvec made says nothing of weights until the next sync.
        if "tokens" in columns_of(database, tables.plain("passages")):
            another, more = _another_mean(tables, spec)
            both = f"{another} and not ({condition})"
            found.append((Drift.MEAN, _of_rows(database, tables, spec, both, (*more, *values), most)))
    lost = sum(database.query(f"select count(*) {_lost(tables, each, beside[each])}")[0][0] for each in beside)
    made = [Fault(drift, rows[0][1], [key_of(key, spec.key_type) for key, _ in rows]) for drift, rows in found if rows]
    return [*made, Fault(Drift.LOST_PASSAGES, lost)] if lost else made


def without_row(database: Database, tables: Tables) -> list[Statement]:
    """The statements that delete what has no row."""
    return [Statement(f"delete {_lost(tables, name, column)}") for name, column in _beside(database, tables).items()]


def _beside(database: Database, tables: Tables) -> dict[str, str]:
    """Those of the two tables that are there, and the column of each that names the row."""
    columns = {"kept_texts": "id", "passages": '"row"'}
    names = tuple(tables.plain(what) for what in columns)
    there = {name for (name,) in database.query("select name from sqlite_master where name in (?, ?)", names)}
    return {tables.named(what): column for what, column in columns.items() if tables.plain(what) in there}


def _lost(tables: Tables, name: str, column: str) -> str:
    return f"from {name} where {column} not in (select rowid from {tables.vectors} where embedding is not null)"


def _of_rows(
    database: Database, tables: Tables, spec: TableSpec, condition: str, values: Values, most: int
) -> list[Values]:
    key = f"t.{quoted(spec.key)}"
    sql = f"select {key}, count(*) over () from {tables.vectors} as t where {condition} order by 1 limit ?"
    return database.query(sql, (*values, most))


def _broken(tables: Tables, spec: TableSpec, *, texts: bool) -> tuple[str, Values]:
    """A condition on rows `t`."""
    passages, size = tables.passages, 4 * spec.dimension
    before = f'(select b.start from {passages} as b where b."row" = p."row" and b.n = p.n - 1)'
    # The distance to the origin is null for a vector with NaN; the function refuses one of another size.
    sound = f"""iif(typeof(p.embedding) = 'blob' and length(p.embedding) = {size},
        ifnull(nullif(vector_distance_l2(p.embedding, ?), 0), 1e300) < 1e300, false)"""
    beyond = f'or max(p."end") > (select length(x.text) from {tables.kept_texts} as x where x.id = p."row")'
    return (
        f"""t.rowid in (select p."row" from {passages} as p group by p."row"
            having min(p.n) <> 0 or max(p.n) <> count(*) - 1
            or min(p.start >= ifnull({before}, 0) and p."end" > p.start and {sound}) = 0 {beyond if texts else ""})""",
        (bytes(size),),
    )


def _another_mean(tables: Tables, spec: TableSpec) -> tuple[str, Values]:
    """A condition on rows `t`: the cosine of its own vector and the sum of its passages, each times its tokens.

    Anything but a vector of that size is null, which leaves the row to other findings.
    """
    size = 4 * spec.dimension
    # The distance to the origin is the norm.
    weighed = f"""(select "row", tokens, embedding, iif(typeof(embedding) = 'blob' and length(embedding) = {size},
        tokens * vector_distance_l2(embedding, ?), null) as weight from {tables.passages})"""
    own = f"typeof(v.embedding) = 'blob' and length(v.embedding) = {size} and p.weight > 0"
    return (
        f"""t.rowid in (select id from (
            select p."row" as id, min(p.tokens) as least, count(*) - count(p.weight) as unsound,
                sum(p.weight * iif({own}, 1 - vector_distance_cos(v.embedding, p.embedding), null)) as along,
                sum(p.weight * (
                    select sum(o.weight * iif(o.weight > 0 and p.weight > 0,
                        1 - vector_distance_cos(o.embedding, p.embedding), null))
                    from {weighed} as o where o."row" = p."row")) as square
            from {weighed} as p join {tables.vectors} as v on v.rowid = p."row" group by p."row")
            where least > 0 and unsound = 0 and square > 0 and not along > {1 - FURTHEST_MEAN} * sqrt(square))""",
        (bytes(size), bytes(size)),
    )
