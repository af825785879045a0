"""What happens to a table, a config or a store between two syncs, and what the next ones have to make of it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from rowvec.errors import DeletionGuard, RowvecError
from rowvec.pipeline import Options
from rowvec.syncing.run import sync
from tests.differential import files
from tests.differential.case import Case, refuse
from tests.differential.databases import Sql
from tests.differential.values import Told
from tests.differential.worlds import Key


def back(case: Case) -> None:
    """A deleted row comes again."""
    key, told = case.gone.popitem() if case.gone else (None, None)
    if key is None or told is None or len(told) != len(case.table.columns):
        return
    case.table.rows[key] = told
    case.net.world.insert(case.table, [key])
    with case.pipeline() as pipeline:
        third = sync(pipeline)
    assert third.failed == 0 and third.inserted <= 1, third.reasons


def renamed(case: Case) -> None:
    place = case.chance.randrange(len(case.table.columns))
    before, kind = case.table.columns[place]
    case.table.columns[place] = ("another_name", kind)
    case.table.renamed(before, "another_name")
    case.net.kept = ["another_name" if name == before else name for name in case.net.kept]
    case.written_again()


def retyped(case: Case) -> None:
    """A column gets another type, and each of its values."""
    table, world = case.table, case.net.world
    place = case.chance.randrange(len(table.columns))
    name, before = table.columns[place]
    kind = case.chance.choice(list(world.kinds_of(table)))
    table.columns[place] = (name, kind)
    for told in table.rows.values():
        told[place] = world.value(case.chance, table, kind)
    _settled(case, {place: before})
    case.gone.clear()
    case.written_again()


def swapped(case: Case) -> None:
    """Two columns take each other's names."""
    table = case.table
    if len(table.columns) < 2:
        return
    one, other = case.chance.sample(range(len(table.columns)), 2)
    (first, kind), (second, sort) = table.columns[one], table.columns[other]
    table.columns[one], table.columns[other] = (second, kind), (first, sort)
    _settled(case, {one: sort, other: kind})
    case.gone.clear()
    case.written_again()


def _settled(case: Case, before: Mapping[int, str]) -> None:
    """What a column was told to be once, it stays: of such a one only that it is read alike is known."""
    table, world = case.table, case.net.world
    for place, former in before.items():
        name, kind = table.columns[place]
        if world.remembers(former) or world.remembers(kind):
            table.open_columns.add(name)
        if name in table.open_columns:
            for told in table.rows.values():
                told[place] = (told[place][0], None)
    if isinstance(world, files.Csv):
        world.settle(table)


def widened(case: Case) -> None:
    """A column comes."""
    table, world = case.table, case.net.world
    kind = case.chance.choice(list(world.kinds_of(table)))
    table.columns.append(("one_more", kind))
    table.renamed("", "one_more")
    for told in table.rows.values():
        told.append(world.value(case.chance, table, kind))
    _settled(case, {})
    if case.chance.random() < 0.5:
        case.net.kept.append("one_more")
    case.written_again()


def narrowed(case: Case) -> None:
    """A column goes."""
    table = case.table
    if len(table.columns) < 2:
        return
    name, _ = table.columns.pop()
    for told in table.rows.values():
        told.pop()
    table.renamed(name, "")
    case.net.kept = [each for each in case.net.kept if each != name]
    case.gone.clear()
    case.written_again()


def rearranged(case: Case) -> None:
    """Rows and columns in another order are nothing new."""
    table = case.table
    case.declare()
    order = case.chance.sample(range(len(table.columns)), len(table.columns))
    keys = case.chance.sample(list(table.rows), len(table.rows))
    told = {key: [table.rows[key][place] for place in order] for key in keys}
    case.net.world.write(replace(table, columns=[table.columns[place] for place in order], rows=told))
    case.nothing_to_do()


def damaged(case: Case) -> None:
    """What cannot be read changes nothing; when it is whole again, there is nothing to do."""
    case.net.world.damage(case.table, case.chance)
    _refused_to(case, 0, RowvecError)
    case.compare()
    case.net.world.write(case.table)
    case.nothing_to_do()


def emptied(case: Case) -> None:
    """All rows go, as while a table is loaded again: that is refused however often it is tried, and nothing is lost."""
    table, world = case.table, case.net.world
    stored = case.net.stored([])
    world.write(replace(table, rows={}))
    for time in range(3 if stored else 0):
        # A file of types that its values tell says nothing at all where it has no rows.
        _refused_to(case, time, RowvecError)
    assert set(case.net.stored([])) == set(stored)
    world.write(table)
    case.nothing_to_do()


def exchanged(case: Case) -> None:
    """Every row gets another key: what is new is embedded, and what is gone stays until its deletion is allowed."""
    table, world = case.table, case.net.world
    fresh = [key for key in _more_keys(case) if str(key) not in set(map(str, table.rows))]
    before = case.net.stored([])
    if not fresh:
        return
    values = list(table.rows.values())
    first = next(iter(table.rows))
    # The first row of a CSV file holds its columns to their types.
    rows: dict[Key, list[Told]] = {first: values[0]} if isinstance(world, files.Csv) else {}
    rows.update(zip(fresh, values[len(rows) :], strict=False))
    lost = len(set(before) - set(map(str, rows)))
    table.rows = rows
    case.gone.clear()
    world.write(table)
    for time in range(2 if 2 * lost > len(before) else 0):
        _refused_to(case, time, DeletionGuard)
    with case.pipeline() as pipeline:
        assert sync(pipeline, Options(allow_delete=True)).failed == 0


def _refused_to(case: Case, time: int, error: type[RowvecError]) -> None:
    try:
        with case.pipeline() as pipeline:
            refuse(pipeline, time, error)
    except error:
        # Already where the pipeline is put together, such as for a file that is gone.
        pass


def _more_keys(case: Case) -> list[Key]:
    table, world = case.table, case.net.world
    found: dict[str, Key] = {}
    kind = table.key_type
    for count in (9, 5, 4, 3, 2):
        try:
            found.update({str(key): key for key in world.draw_keys(case.chance, table, count)})
        finally:
            table.key_type = kind
    return list(found.values())


def odd_key(case: Case) -> None:
    """Integers were the keys of a file so far, and now one is not."""
    table, world = case.table, case.net.world
    if table.key_type != "integer" or not isinstance(world, files.Csv | files.Jsonl):
        return
    key = case.chance.choice(("A12", "00123", "1_0", "1.5", "true", "ż"))
    table.rows[key] = world.row(case.chance, table)
    world.write(table)
    with case.pipeline() as pipeline:
        report = sync(pipeline)
    assert report.failed == 0 and report.texts <= 1, report.reasons
    table.key_type = "text"


def refused(case: Case) -> None:
    """The embedder does not take the text of one row: the others are stored, and it later takes that too."""
    table, world = case.table, case.net.world
    key = case.chance.choice(list(table.rows)[1:] or list(table.rows))
    before = {text for text in table.texts().values() if text}
    for _ in range(20):
        row = world.row(case.chance, table)
        text = replace(table, rows={key: row}).texts()[str(key)]
        if text and text not in before:
            break
    else:
        return
    table.rows[key] = row
    world.write(table)
    with case.pipeline([text]) as pipeline:
        report = sync(pipeline)
    assert report.failed == 1, report.reasons
    with case.pipeline() as pipeline:
        report = sync(pipeline, Options(retry_failed=True))
    assert (report.failed, report.texts) == (0, 1), report.reasons


def key_renamed(case: Case) -> None:
    """The key has another name: these vectors are of another table, until it is called as before."""
    table, world = case.table, case.net.world
    other = replace(table, key="another_key")
    world.write(other)
    case.net.declare(other)
    _refused_to(case, 0, RowvecError)
    world.write(table)
    case.declare()
    case.compare()
    case.nothing_to_do()


def key_retyped(case: Case) -> None:
    """Integers become the same digits as text: nothing is embedded for it."""
    table, world = case.table, case.net.world
    if table.key_type != "integer" or table.shape == "composite" or isinstance(world, files.Csv):
        return
    table.key_type = "text"
    table.rows = {str(key): told for key, told in table.rows.items()}
    case.gone = {str(key): told for key, told in case.gone.items()}
    report = case.written_again()
    assert (report.texts, report.inserted, report.deleted) == (0, 0, 0), report.reasons


def long_key(case: Case) -> None:
    """A key is longer than an index of PostgreSQL takes: that row fails alone, until it is gone."""
    table, world = case.table, case.net.world
    if table.key_type != "text" or table.shape == "composite" or (isinstance(world, Sql) and world.kind != "sqlite"):
        return
    key = "".join(case.chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=5000))
    row = world.row(case.chance, table)
    text = replace(table, rows={key: row}).texts()[key]
    world.write(replace(table, rows={**table.rows, key: row}))
    with case.pipeline() as pipeline:
        report = sync(pipeline)
    assert report.failed == (case.net.store == "postgres") or not text, report.reasons
    world.write(table)
    with case.pipeline() as pipeline:
        report = sync(pipeline, Options(allow_delete=True))
    assert (report.failed, report.texts) == (0, 0), report.reasons


def told_otherwise(case: Case) -> None:
    """The text gets another form, and other columns are kept."""
    table = case.table
    names = [name for name, _ in table.columns]
    odd = not all(re.fullmatch(r"c\d|another_name|one_more", name) for name in names)
    table.form = case.chance.choice(["columns"] if odd else ["columns", "lines", "template"])
    case.net.kept = case.chance.sample(names, min(len(names), case.chance.randint(0, 3)))
    case.declare()
    with case.pipeline() as pipeline:
        report = sync(pipeline, Options(allow_delete=True))
    assert report.failed == 0, report.reasons


def lost(case: Case) -> None:
    """A vector is deleted by hand: the next sync makes it again."""
    if not case.net.stored([]) or not case.net.lose():
        return
    with case.pipeline() as pipeline:
        report = sync(pipeline)
    assert report.failed == 0 and report.written == 1, report.reasons


def garbled(case: Case) -> None:
    """Some bytes of a file are others: that is an error, or it is read, and either way the next sync puts it right."""
    table, world = case.table, case.net.world
    if not isinstance(world, files.Csv | files.Jsonl):
        return
    raw = bytearray(world.content(table, list(table.rows)))
    for _ in range(case.chance.randint(1, 5)):
        raw[case.chance.randrange(len(raw))] = case.chance.randrange(256)
    world.put(table, bytes(raw))
    try:
        with case.pipeline() as pipeline:
            sync(pipeline)
    except RowvecError:
        pass
    # Another value makes of a column of yes and no one of texts, which still says yes and no for true and false.
    table.open_columns.update(name for name, kind in table.columns if world.remembers(kind))
    _settled(case, {place: kind for place, (_, kind) in enumerate(table.columns)})
    table.remembered = []
    case.written_again()


STEPS: tuple[Callable[[Case], None], ...] = (
    back, renamed, retyped, swapped, widened, narrowed, rearranged, damaged, emptied, exchanged, odd_key, key_renamed,
    key_retyped, long_key, refused, told_otherwise, lost, garbled,
)  # fmt: skip


def some(chance: random.Random) -> list[Callable[[Case], None]]:
    """Steps of one case, in their order."""
    return chance.sample(STEPS, chance.randint(1, 3))
