"""`rowvec search` and `rowvec similar`."""

from __future__ import annotations

from pathlib import Path

from rowvec.api.project import opened
from rowvec.assemble import parse_key
from rowvec.cli import output
from rowvec.errors import ConfigError, SearchError
from rowvec.filters import Filter, bind, parse
from rowvec.pipeline import Pipeline
from rowvec.searcher import Mode, SearchResult

MODES: tuple[Mode, ...] = ("semantic", "keyword", "hybrid")


def search(
    config: Path | None,
    name: str | None,
    query: str,
    *,
    mode: str,
    where: str | None,
    limit: int,
    explain: bool,
    exact: bool,
    as_json: bool,
) -> None:
    with opened(config, name) as pipeline:
        condition = _condition(pipeline.searchable, where)
        result = pipeline.search(
            query, mode=mode_named(mode), limit=limit, where=condition, explain=explain, exact=exact
        )
        _print(pipeline.searchable, result, explain=explain, as_json=as_json)


def similar(config: Path | None, name: str | None, key: str, *, where: str | None, limit: int, as_json: bool) -> None:
    with opened(config, name) as pipeline:
        wanted = parse_key(key, pipeline.searchable.spec.key_type)
        result = pipeline.similar(wanted, limit=limit, where=_condition(pipeline.searchable, where))
        _print(pipeline.searchable, result, explain=False, as_json=as_json)


def mode_named(mode: str) -> Mode:
    for known in MODES:
        if mode == known:
            return known
    raise ConfigError(f"There is no mode {mode!r}.", hint=f"Use one of {', '.join(MODES)}.")


def _condition(pipeline: Pipeline, where: str | None) -> Filter | None:
    """Raises ConfigError: for a command a wrong filter is an option that is wrong."""
    try:
        return bind(parse(where), pipeline.spec.metadata) if where is not None else None
    except SearchError as error:
        raise ConfigError(error.message, hint=error.hint) from None


def _print(pipeline: Pipeline, result: SearchResult, *, explain: bool, as_json: bool) -> None:
    if as_json:
        output.print_json(result.as_dict())
        return
    if not result.hits:
        output.note("No hits.")
    names = [column.name for column in pipeline.spec.metadata]
    parts = ["semantic", "keyword", "static", "decay"] if explain else []
    output.table(
        ["score", *parts, pipeline.spec.key, *names],
        [
            (
                hit.score,
                *((hit.parts or {}).get(part) for part in parts),
                str(hit.key),
                *(output.clip(output.cell(hit.metadata.get(name)), 80) for name in names),
            )
            for hit in result.hits
        ],
        right=range(len(parts) + 1),
    )
    if not result.complete:
        output.note("There may be more rows that match.")
