"""What is done about generations: which one a sync fills, how the live one is kept in step, when a new one goes live.

A sync of a config that names another model than the live vectors were made by fills a generation beside them. The
live one is brought in step meanwhile by the settings that the store kept with it. When every row has its new vector,
the new generation goes live unless it lacks rows that the live one has, or is measured to be worse.

After a rollback the model of the config was decided against: a sync keeps the live generation in step and says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rowvec.documents.text import by_todays_rules
from rowvec.embedders.base import AbsentEmbedder, Embedder
from rowvec.errors import EmbedderError, GenerationHeld, RowvecError
from rowvec.evaluation.gate import Verdict, ranking
from rowvec.evaluation.measures import Ranker
from rowvec.generations.kept_settings import with_columns
from rowvec.pipeline import Pipeline
from rowvec.stores.base import GenerationHandle, SearchedStore, TableSpec, existing, no_vectors
from rowvec.stores.generation_policy import Action, choose, standing
from rowvec.stores.ledger import Ledger
from rowvec.support.figures import count
from rowvec.support.stored import json_object
from rowvec.types import Fingerprint, Generation, State

ACCEPT = "`rowvec sync --accept` puts it live all the same."

Tell = Callable[[str], None]
"""Called with what the user should know, in whole sentences."""


def say_nothing(text: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Course:
    """What a sync is to do.

    Attributes:
        pipeline: to be carried out.
        live: as the live vectors were made, to be kept in step while `pipeline` fills a generation beside them; None
            where it fills none.
        note: what the user must know before it begins; None where a sync is as always.
    """

    pipeline: Pipeline
    ledger: Ledger
    live: Pipeline | None = None
    note: str | None = None


def course(pipeline: Pipeline, *, accept: bool = False) -> Course:
    """Look at the books and decide.

    Args:
        accept: of the user: a rollback does not count, the model of the config is wanted.

    Raises:
        ConfigError: a new generation could not be measured in the end.
    """
    ledger = pipeline.store.ledger()
    former, wanted = ledger.fingerprint, pipeline.spec.fingerprint
    if not ledger.filled or former is None or wanted is None or former == wanted:
        # Nor is a generation listed, which counts its rows, for every change that is followed.
        return Course(pipeline, ledger)
    live = as_live(pipeline, ledger)
    known = {each.state: each for each in pipeline.store.generations(pipeline.spec)}
    if choose(known, wanted, empty=False, accept=accept) is Action.KEEP_LIVE:
        return Course(live, ledger, note=_undone(former, wanted, known[State.PREVIOUS]) + absence(live))
    if pipeline.gate is not None and not accept:
        pipeline.gate.check()
    begun = standing(known, wanted)
    return Course(pipeline, ledger, live, _building(former, wanted, known[begun] if begun else None) + absence(live))


def _undone(live: Fingerprint, wanted: Fingerprint, previous: Generation) -> str:
    return (
        f"The config names {words(wanted, live)}, which was rolled back on {previous.since:%Y-%m-%d %H:%M} UTC."
        f" The live generation of {words(live, wanted)} is kept in step instead. `rowvec rollback` or `rowvec sync"
        " --accept` returns to the model of the config."
    )


def _building(live: Fingerprint, wanted: Fingerprint, begun: Generation | None) -> str:
    if live.agrees(wanted):
        return (
            f"What becomes of texts that do not fit the model's window changes: {_long_texts(live)} before,"
            f" {_long_texts(wanted)} from now on. Texts that fit keep their vectors, and only the others are embedded."
            " The new vectors are made beside the live ones, which searches use until every row has one."
        )
    done = (
        f" {count(begun.rows, 'row')} {'has' if begun.rows == 1 else 'have'} a vector of it already."
        if begun is not None and begun.rows
        else ""
    )
    return (
        f"The model changes from {words(live, wanted)} to {words(wanted, live)}. Its vectors are made beside the live"
        f" ones, which searches use until every row has a new one.{done}"
    )


def _long_texts(fingerprint: Fingerprint) -> str:
    if fingerprint.passages:
        told = json_object(fingerprint.passages)
        return f"passages of up to {told.get('tokens')} tokens"
    return {"mean": "the mean of windows", "refuse": "refused by the service"}.get(fingerprint.overflow, "cut off")


def absence(live: Pipeline) -> str:
    """What it means for the live generation that its model cannot be had; "" where it can."""
    if not isinstance(live.embedder, AbsentEmbedder):
        return ""
    return (
        f" The live generation gets no new vectors, since its model cannot be loaded ({live.embedder.problem.message});"
        " deleted rows and changed metadata still reach it."
    )


def words(fingerprint: Fingerprint, other: Fingerprint | None = None) -> str:
    """A fingerprint for people: the model, and what else tells it from another one."""
    told = [f"{fingerprint.dimension:,} dimensions"]
    labels = {
        "precision": "{}", "pooling": "pooling {}", "prompt": "prompt {!r}", "max_tokens": "window of {} tokens",
        "normalized": "normalised: {}", "kind": "{}", "params": "{}", "revision": "revision {:.12}",
    }  # fmt: skip
    shown = {"precision"} if other is None else {n for n in labels if getattr(other, n) != getattr(fingerprint, n)}
    values = {name: getattr(fingerprint, name) for name in labels if name in shown}
    # A prompt that is empty differs from one that is not. What else is empty is not known.
    known = {name: value for name, value in values.items() if name == "prompt" or value not in ("", None)}
    told += [labels[name].format(value) for name, value in known.items()]
    if other is not None and (fingerprint.passages, fingerprint.overflow) != (other.passages, other.overflow):
        told.append(f"long texts: {_long_texts(fingerprint)}")
    return f"{fingerprint.model} ({', '.join(text for text in told if text.strip())})"


# The live generation


def live_spec(spec: TableSpec, ledger: Ledger) -> TableSpec:
    """The table as the live vectors need it."""
    if ledger.fingerprint is None or ledger.fingerprint == spec.fingerprint:
        return spec
    made, recipe = ledger.fingerprint, by_todays_rules(ledger.recipe)
    settings = with_columns(ledger.settings, spec.settings)
    return replace(spec, fingerprint=made, dimension=made.dimension, recipe=recipe, settings=settings)


def live_embedder(pipeline: Pipeline, ledger: Ledger) -> Embedder:
    """The model that made the live vectors.

    Raises:
        EmbedderError: it cannot be loaded, or is not what it was.
    """
    return _embedder_of(pipeline, ledger.fingerprint, ledger.settings)


def _embedder_of(pipeline: Pipeline, made: Fingerprint | None, settings: str) -> Embedder:
    if made is None or made.of_model == pipeline.embedder.fingerprint:
        return pipeline.embedder
    try:
        if pipeline.former is None or not settings:
            raise EmbedderError("its settings are not known")
        found = pipeline.former.embedder(settings)
        if found.fingerprint != made.of_model:
            raise EmbedderError(f"what is there now is {words(found.fingerprint, made)}")
    except RowvecError as error:
        raise EmbedderError(
            f"Vectors in {pipeline.store.location} were made by {words(made)}, which cannot be loaded:"
            f" {error.message.rstrip('.')}.",
            hint="Put the model back where it was, or run `rowvec sync` to embed the rows with the configured one.",
        ) from error
    return found


def as_live(pipeline: Pipeline, ledger: Ledger) -> Pipeline:
    """The pipeline as it was when the live vectors were made; without an embedder where that cannot be had."""
    spec = live_spec(pipeline.spec, ledger)
    assert spec.fingerprint is not None
    changes: dict[str, Any] = {}
    try:
        # First: without their model too, live rows are judged by the text that their vectors were made of.
        if pipeline.former is not None and ledger.settings:
            made = spec.fingerprint
            changes["to_document"], changes["text_columns"] = pipeline.former.documents(ledger.settings, made)
            changes["passages"] = pipeline.former.passages(ledger.settings) if made.passages else None
        changes["embedder"] = live_embedder(pipeline, ledger)
    except RowvecError as error:
        problem = error if isinstance(error, EmbedderError) else EmbedderError(error.message, hint=error.hint)
        changes["embedder"] = AbsentEmbedder(spec.fingerprint.of_model, problem)
    return replace(pipeline, spec=spec, **changes)


def live_rows(store: SearchedStore, spec: TableSpec) -> tuple[Ledger, GenerationHandle]:
    """The generation that searches see, whatever model `spec` names, and what the books say of it.

    Raises:
        StoreError: there are no vectors yet.
    """
    ledger = store.ledger()
    return ledger, existing(store, live_spec(spec, ledger))


def rows_of(store: SearchedStore, spec: TableSpec, generation: Generation) -> GenerationHandle:
    """The rows of a generation that `Store.generations` lists, whatever model `spec` names.

    Raises:
        StoreError: it is gone.
    """
    made = Ledger(True, True, generation.fingerprint, settings=generation.settings)
    return existing(store, live_spec(spec, made))


# Going live, and back


def known_generations(pipeline: Pipeline) -> dict[State, Generation]:
    """
    Raises:
        NoVectors: there was no sync yet.
    """
    found = {each.state: each for each in pipeline.store.generations(pipeline.spec)}
    if not found:
        raise no_vectors(pipeline.store)
    return found


def drop(pipeline: Pipeline, state: State) -> None:
    """Drop a generation that is not live.

    Raises:
        StoreError: there is no such generation, or it is the live one. Locked: a sync is at work.
    """
    known_generations(pipeline)
    with pipeline.store.lock():
        pipeline.store.drop_generation(state, pipeline.spec)


def roll_back(pipeline: Pipeline) -> None:
    """Swap the previous generation and the live one.

    Raises:
        StoreError: there is no previous generation.
        EmbedderError: its model cannot be loaded, so that it could not be searched.
        Locked: a sync is at work.
    """
    store = pipeline.store
    # Before the lock, which would make the file of a store that is not there yet.
    known_generations(pipeline)
    with store.lock():
        known = known_generations(pipeline)
        previous = known.get(State.PREVIOUS)
        if previous is not None:
            _embedder_of(pipeline, previous.fingerprint, previous.settings)
        store.rollback(pipeline.spec)


def complete(chosen: Course, *, accept: bool, tell: Tell, accounted: float = math.inf) -> None:
    """What was filled is whole now: let searches see it.

    Args:
        accounted: maximum number of rows that may be in the live generation alone, for reasons that are known.

    Raises:
        GenerationHeld: it lacks rows that the live one has, or is worse, and `accept` is not set.
        StoreError: others read the table without a pause.
    """
    pipeline, live, verdict = chosen.pipeline, chosen.live, None
    if live is not None and not accept:
        _check_coverage(pipeline, accounted)
        verdict = _measured(pipeline, live)
    pipeline.store.activate(pipeline.spec)
    if live is None:
        return
    measured = f" It was measured before: {verdict}." if verdict else ""
    tell(f"The new generation is live.{measured} `rowvec rollback` returns to the former one.")


def _check_coverage(pipeline: Pipeline, accounted: float) -> None:
    known = {each.state: each for each in pipeline.store.generations(pipeline.spec)}
    live, new = known[State.LIVE], known.get(State.BUILDING)
    if new is not None and new.lost:
        raise GenerationHeld(
            f"The new generation was not activated: it has current vectors for {count(new.current, 'row')}, the live"
            f" one for {live.current:,}. Rows of the live one that failed in the new one: {new.lost:,}.",
            hint="`rowvec failures` says why rows failed; the next sync tries those that are due. " + ACCEPT,
        )
    if new is not None and live.current - new.current > accounted:
        raise GenerationHeld(
            f"The new generation was not activated: the remaining change events cover {count(new.current, 'row')}, but"
            f" the live generation has current vectors for {live.current:,}. Older events have been deleted.",
            hint="`rowvec sync --full` fills it from the table, where source.rows names that. " + ACCEPT,
        )


def _exact_ranking(pipeline: Pipeline) -> Ranker:
    rows = existing(pipeline.store, pipeline.spec)
    return ranking(pipeline.searching.embed_query, lambda vector, depth: rows.nearest(vector, depth, exact=True))


def _measured(pipeline: Pipeline, live: Pipeline) -> Verdict | None:
    gate = pipeline.gate
    if gate is None:
        return None
    if isinstance(live.embedder, AbsentEmbedder):
        raise GenerationHeld(
            f"The new generation cannot be compared with the live one: {live.embedder.problem.message}",
            hint=ACCEPT,
        )
    verdict = gate.judge(_exact_ranking(live), _exact_ranking(pipeline))
    if not verdict.passed:
        raise GenerationHeld(
            f"The new generation is worse than the live one and was not put live: {verdict}.",
            hint="It stays as it is built; `rowvec generations --drop building` gives it up. " + ACCEPT,
        )
    return verdict
