"""`rowvec generations` and `rowvec rollback`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rowvec.api.project import opened
from rowvec.cli import output
from rowvec.errors import ConfigError
from rowvec.generations.lifecycle import words
from rowvec.pipeline import Pipeline
from rowvec.sources.events.stream import has_table
from rowvec.support.figures import percent, size
from rowvec.types import Generation, State


def generations(config: Path | None, name: str | None, *, drop: str | None, as_json: bool) -> None:
    """
    Raises:
        ConfigError: `drop` is not the name of a state. StoreError: there is no such generation, or it is the live one.
        Locked: a sync is at work, so that nothing can be dropped.
    """
    if drop is not None and drop not in list(State):
        raise ConfigError(f"There is no generation {drop!r}.", hint="--drop previous or --drop building")
    with opened(config, name) as pipeline:
        if drop is not None:
            pipeline.drop_generation(State(drop))
            output.note(f"The {drop} generation is dropped.")
        found = pipeline.generations()
        if as_json:
            output.print_json([_as_dict(pipeline.assembled, each) for each in found])
        else:
            _print(pipeline.assembled, found)


def rollback(config: Path | None, name: str | None, *, as_json: bool) -> None:
    """
    Raises:
        StoreError: there is no previous generation. EmbedderError: its model cannot be loaded.
        Locked: a sync is at work.
    """
    with opened(config, name) as pipeline:
        found = {each.state: each for each in pipeline.rollback()}
        live, previous = found[State.LIVE], found[State.PREVIOUS]
        if as_json:
            output.print_json([_as_dict(pipeline.assembled, each) for each in found.values()])
        output.note(f"Live is the generation of {_model(live, previous)} again, as of {_ago(previous.since)}.")
        output.note(
            "`rowvec sync` brings it in step with the rows. `rowvec rollback` once more returns to the other one."
        )


def _print(pipeline: Pipeline, found: Sequence[Generation]) -> None:
    if not found:
        output.line("No vectors yet: `rowvec sync` makes them.")
        return
    others = {State.LIVE: State.BUILDING if len(found) > 1 and found[1].state is State.BUILDING else State.PREVIOUS}
    known = {each.state: each for each in found}
    rows = [
        (
            _state(each),
            _model(each, known.get(others.get(each.state, State.LIVE))),
            each.rows,
            each.failures,
            None if each.bytes is None else size(each.bytes),
            each.since,
        )
        for each in found
    ]
    output.table(["state", "model", "rows", "failures", "size", "since"], rows, right=[2, 3, 4])
    if State.BUILDING in known and has_table(pipeline.source):
        done, total = known[State.BUILDING].rows, pipeline.source.count()
        share = percent(done / max(total, 1))
        output.note(f"{done:,} of {output.count(total, 'row')} ({share}) have a vector of the one being built.")


def _state(generation: Generation) -> str:
    return f"{generation.state}, rolled back" if generation.undone else str(generation.state)


def _model(generation: Generation, other: Generation | None) -> str:
    if generation.fingerprint is None:
        return "not known"
    return words(generation.fingerprint, other.fingerprint if other else None)


def _ago(since: dt.datetime) -> str:
    return f"{since:%Y-%m-%d %H:%M} UTC"


def _as_dict(pipeline: Pipeline, generation: Generation) -> dict[str, Any]:
    found = generation.as_dict()
    found["model"] = _model(generation, None)
    if generation.state is State.BUILDING and has_table(pipeline.source):
        found["total"] = pipeline.source.count()
    return found
