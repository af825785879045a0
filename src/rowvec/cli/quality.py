"""`rowvec quality`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rowvec.api.project import opened
from rowvec.auditing.neighbours import LISTED, Quality
from rowvec.cli import output, progress
from rowvec.generations.lifecycle import live_rows
from rowvec.pipeline import Card
from rowvec.types import Key

TITLE = 50
"""Characters."""
KEYS = 8


def quality(config: Path | None, name: str | None, *, rows: int, bound: float, seconds: float, as_json: bool) -> None:
    with opened(config, name) as door:
        with progress.phases("Nothing is changed.") as tell:
            found = door.quality(rows=rows, bound=bound, seconds=seconds, progress=tell)
        if as_json:
            output.print_json(found.as_dict())
            return
        pipeline = door.assembled
        metadata = live_rows(pipeline.store, pipeline.spec)[1].metadata(found.keys)
    _print(found, _titles(pipeline.card, metadata))


def _titles(card: Card, metadata: Mapping[Key, Mapping[str, Any]]) -> dict[Key, str]:
    """Key and title, as far as a column says it."""
    titles = {key: output.clip(output.cell(card.title_of(values)), TITLE) for key, values in metadata.items()}
    return {key: f"{output.key(key)}  {title}" for key, title in titles.items() if title}


def _print(found: Quality, titles: Mapping[Key, str]) -> None:
    near = found.neighbours
    output.line(f"{found.pipeline}: {output.count(near.rows, 'row')}")
    output.line()
    output.line(f"Texts longer than the model's window: {found.truncated:,}")
    if found.cut:
        output.line(f"  {_keys(found.cut, found.truncated)}")
    more = " or more" if len(found.repeated) >= LISTED else ""
    output.line(f"Texts that several rows have: {len(found.repeated):,}{more}")
    for group in found.repeated[:KEYS]:
        output.line(f"  {output.count(group.rows, 'row')}: {_keys(group.keys, group.rows)}")
    output.line(f"Nearly the same, by a cosine of {near.bound:g} or more: {output.count(near.near_found, 'pair')}")
    pairs = [
        (f"{each.similarity:.4f}", titles.get(each.a, output.key(each.a)), titles.get(each.b, output.key(each.b)))
        for each in near.near
    ]
    _table(["  cosine", "row", "and"], pairs)
    output.line(f"Far from all others: {output.count(near.odd_found, 'row')}{_usual(found)}")
    far = [
        (f"{each.similarity:.4f}", titles.get(each.key, output.key(each.key)), output.key(each.nearest))
        for each in near.odd
    ]
    _table(["  cosine", "row", "nearest"], far)
    output.note(looked(found))


def _usual(found: Quality) -> str:
    near = found.neighbours
    if near.usual is None or near.fence is None:
        return ", for there are too few rows to say what is usual" if near.asked else ""
    return f", below {near.fence:.3f} where {near.usual:.3f} is usual"


def looked(found: Quality) -> str:
    """What it is based on, and what it took."""
    near = found.neighbours
    asked = f"{near.asked:,} of {output.count(near.rows, 'row')}" if near.asked < near.rows else "Every row"
    verb = "were" if near.asked < near.rows and near.rows != 1 else "was"
    more = " --rows and --seconds look at more." if near.asked < near.rows else ""
    return f"{asked} {verb} compared with the nearest, in {output.seconds(near.seconds)}.{more}"


def _keys(keys: Sequence[Key], total: int) -> str:
    rest = total - min(len(keys), KEYS)
    return ", ".join(map(output.key, keys[:KEYS])) + (f" and {rest:,} more" if rest else "")


def _table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    listed = list(rows)
    if listed:
        output.table(headers, listed, right=[0])
