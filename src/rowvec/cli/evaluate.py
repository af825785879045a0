"""`rowvec eval`: measure the ranking of a pipeline by judged queries."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rowvec.api.project import opened
from rowvec.cli import output, progress
from rowvec.cli.search import mode_named
from rowvec.embedders.pricing import dollars
from rowvec.errors import StoreError
from rowvec.searcher import Mode, Searcher
from rowvec.searcher.kept import keep_evaluation
from rowvec.types import Key, Progress


def evaluate(
    config: Path | None,
    name: str | None,
    queries: Path,
    judgements: Path,
    *,
    modes: Sequence[str],
    measures: Sequence[str],
    condensed: bool,
    rerank: bool | None,
    as_json: bool,
) -> None:
    """
    Raises:
        ConfigError: a file that cannot be read, a measure that does not exist.
    """
    from rowvec.evaluation.files import read_judgements, read_queries
    from rowvec.evaluation.measures import evaluate as score

    asked, judged = read_queries(queries), read_judgements(judgements)
    with opened(config, name) as door:
        pipeline = door.assembled
        searcher = Searcher.of(pipeline)
        found, asked_reranker = {}, _Reranks()
        with progress.phases("An evaluation changes no row.") as tell:
            for mode in modes:
                total = len(asked.keys() & judged.keys())
                run = _run(searcher, mode_named(mode), tell, total, rerank, asked_reranker)
                found[mode] = score(run, asked, judged, measures, condensed=condensed)
        if asked_reranker.missed:
            searches = output.count(asked_reranker.searches, "search", "searches")
            output.note(f"Of {searches}, {asked_reranker.missed:,} kept the order without the reranker.")
        if pipeline.reranker is not None and pipeline.reranker.spent:
            output.note(f"The reranker billed {dollars(pipeline.reranker.spent)}.")
        try:
            keep_evaluation(pipeline, found, asked)
        except StoreError as error:
            output.note(f"The result is not kept: {error.message}")
    if as_json:
        output.print_json({mode: evaluation.as_dict() for mode, evaluation in found.items()})
        return
    rows = [(mode, *evaluation.means.values()) for mode, evaluation in found.items()]
    first = next(iter(found.values()))
    output.table(["mode", *first.means], rows, right=range(1, len(first.means) + 1))
    output.note(f"{output.count(first.queries, 'query', 'queries')} judged.")


@dataclass(slots=True)
class _Reranks:
    """How often the reranker was asked, and how often in vain: such a search is judged by the order without it."""

    searches: int = 0
    missed: int = 0


def _run(
    searcher: Searcher, mode: Mode, tell: Progress, total: int, rerank: bool | None, reranks: _Reranks
) -> Callable[[str, int], list[Key]]:
    """A ranking of a query's keys, which tells how many queries it has answered."""
    done = itertools.count()

    def run(query: str, depth: int) -> list[Key]:
        tell(f"{mode} queries", next(done), total)
        found = searcher.search(query, mode=mode, limit=depth, rerank=rerank)
        reranks.searches += found.reranked is not None
        reranks.missed += found.reranked is False
        return [hit.key for hit in found.hits]

    return run
