"""`rowvec search` and `rowvec similar`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from rowvec.api.project import opened
from rowvec.assemble import parse_key
from rowvec.cli import facets as counts
from rowvec.cli import hits, output
from rowvec.cli.complete import MODES
from rowvec.errors import ConfigError, SearchError
from rowvec.filters import Filter, bind, parse
from rowvec.pipeline import Pipeline
from rowvec.searcher import Mode, Refine, SearchResult

T = TypeVar("T")


def search(
    config: Path | None,
    name: str | None,
    query: str | None,
    *,
    mode: str,
    where: str | None,
    limit: int,
    explain: bool,
    exact: bool,
    passages: int,
    rerank: bool | None,
    ranking: Sequence[str],
    generation: str,
    typos: bool | None,
    prefix: bool | None,
    partial: bool | None,
    facets: Sequence[str],
    facet_limit: int,
    distinct: str | None,
    offset: int,
    after: str | None,
    order: str | None,
    columns: str | None,
    as_json: bool,
) -> None:
    """
    Args:
        ranking: changes as KEY=VALUE.
    """
    changes, state = _changes(ranking), _state(generation)
    with opened(config, name) as pipeline:
        condition, shown = _condition(pipeline.searchable, where), _columns(pipeline.searchable, columns)
        refine = Refine(facets, facet_limit, distinct, offset, after, order)
        spec = pipeline.searchable.spec
        _check(lambda: refine.bound(spec.metadata, spec.key_type, browses=query is None))
        result = pipeline.search(
            query, mode=mode_named(mode), limit=limit, where=condition, explain=explain, exact=exact,
            passages=passages, rerank=rerank, ranking=changes, generation=state, facets=facets,
            facet_limit=facet_limit, distinct=distinct, offset=offset, after=after, order=order, typos=typos,
            prefix=prefix, partial=partial,
        )  # fmt: skip
        if result.corrected is not None and not as_json:
            output.note(f"Searched for {result.corrected!r} instead of {query!r}; --no-typos searches as written.")
        _print(pipeline.searchable, result, columns=shown, explain=explain, as_json=as_json)
        if result.next and not as_json and (query is None or offset):
            output.note(f"There are more: --offset {offset + len(result.hits)}" if not after else "There are more.")


def similar(
    config: Path | None,
    name: str | None,
    key: str,
    *,
    where: str | None,
    limit: int,
    passages: int,
    partial: bool | None,
    columns: str | None,
    as_json: bool,
) -> None:
    with opened(config, name) as pipeline:
        wanted, shown = parse_key(key, pipeline.searchable.spec.key_type), _columns(pipeline.searchable, columns)
        condition = _condition(pipeline.searchable, where)
        result = pipeline.similar(wanted, limit=limit, where=condition, passages=passages, partial=partial)
        _print(pipeline.searchable, result, columns=shown, explain=False, as_json=as_json)


def mode_named(mode: str) -> Mode:
    for known in MODES:
        if mode == known:
            return known
    raise ConfigError(f"There is no mode {mode!r}.", hint=f"Use one of {', '.join(MODES)}.")


def _changes(given: Sequence[str]) -> dict[str, Any]:
    """`semantic_weight=0.8` and the like; nothing behind the sign means none."""
    found: dict[str, Any] = {}
    for each in given:
        name, sign, value = (part.strip() for part in each.partition("="))
        if not sign:
            raise ConfigError(f"--ranking {each}: there is no value.", hint="Write --ranking semantic_weight=0.8")
        try:
            found[name] = float(value) if value else None
        except ValueError:
            found[name] = value
    return found


def _state(name: str) -> Literal["live", "previous", "building"]:
    for known in ("live", "previous", "building"):
        if name == known:
            return known
    raise ConfigError(f"There is no generation {name!r}.", hint="Use one of live, previous, building.")


def _condition(pipeline: Pipeline, where: str | None) -> Filter | None:
    return None if where is None else _check(lambda: bind(parse(where), pipeline.spec.metadata, pipeline.spec.key))


def _check(read: Callable[[], T]) -> T:
    """Raises ConfigError: for a command a wrong filter is an option that is wrong."""
    try:
        return read()
    except SearchError as error:
        raise ConfigError(error.message, hint=error.hint) from None


def _print(pipeline: Pipeline, result: SearchResult, *, columns: Sequence[str], explain: bool, as_json: bool) -> None:
    if as_json:
        output.print_json(result.as_dict())
        return
    if result.hits:
        hits.show(result, pipeline.spec.key, pipeline.card, columns, explain=explain)
    else:
        output.note(f"No hits. {result.advice}" if result.advice else "No hits.")
        hits.note_missing(result)
    if result.facets:
        counts.show(result.facets, filtered=result.filtered)
    elif result.total is not None:
        output.note(f"{output.count(result.total, 'row')} in all.")


def _columns(pipeline: Pipeline, asked: str | None) -> list[str]:
    return hits.chosen_columns(asked, [column.name for column in pipeline.spec.metadata])
