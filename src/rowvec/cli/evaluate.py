"""`rowvec eval`: measure the ranking of a pipeline by judged queries."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rowvec.api.project import opened
from rowvec.cli import output, progress
from rowvec.cli.search import mode_named
from rowvec.config import load
from rowvec.embedders.pricing import dollars
from rowvec.errors import ConfigError, StoreError
from rowvec.pipeline import Pipeline
from rowvec.searcher import Mode, Searcher
from rowvec.searcher.kept import keep_evaluation
from rowvec.types import Key, Progress

if TYPE_CHECKING:
    from rowvec.evaluation.measures import Evaluation

RERANKED = "+rerank"
"""Behind the name of a mode that is measured with the reranker beside itself without."""
SHOWN_IDS = 3
WIDTH = 60
"""Of a query's text."""


def evaluate(
    config: Path | None,
    name: str | None,
    queries: Path | None,
    judgements: Path | None,
    *,
    modes: Sequence[str],
    measures: Sequence[str],
    condensed: bool,
    rerank: bool | None,
    worst: int,
    run_file: Path | None,
    as_json: bool,
) -> None:
    """
    Args:
        queries: None for what was judged on the page of `rowvec serve`.
        judgements: None where `queries` is a file of judgements that name the queries by their text.
        worst: maximum number of queries that are listed with the lowest values.
        run_file: where the rankings of the one mode are written.

    Raises:
        ConfigError: a file that cannot be read or written, a measure that does not exist, judgements of other rows.
    """
    from rowvec.evaluation.measures import evaluate as score
    from rowvec.evaluation.run_file import check_names, write_run

    wanted = [mode_named(mode) for mode in modes]
    asked, judged = judged_queries(config, name, queries, judgements)
    if run_file is not None:
        if len(wanted) != 1:
            raise ConfigError("A run file holds the rankings of one mode.", hint="Name it, such as --mode hybrid.")
        check_names(run_file, asked, "the query")
    note_unmatched(asked, judged)
    found: dict[str, Evaluation] = {}
    with opened(config, name) as door:
        pipeline = door.assembled
        searcher, reranks = Searcher.of(pipeline, False).whole, _Reranks()
        check_rows(searcher, judged)
        with progress.phases("An evaluation changes no row.") as tell:
            for label, mode, choice in _runs(wanted, rerank):
                run = _run(searcher, mode, tell, len(asked.keys() & judged.keys()), choice, reranks)
                found[label] = score(run, asked, judged, measures, condensed=condensed)
        _note_reranks(pipeline, reranks)
        try:
            keep_evaluation(pipeline, found, asked)
        except StoreError as error:
            output.note(f"The result is not kept: {error.message}")
    if run_file is not None:
        # With the reranker, where it is measured beside.
        label, last = list(found.items())[-1]
        write_run(run_file, last.rankings, f"rowvec-{label}")
        output.note(f"{run_file}: the rankings of {output.count(last.queries, 'query', 'queries')}, {label}.")
    if as_json:
        output.print_json({label: evaluation.as_dict() for label, evaluation in found.items()})
        return
    _show(found, asked, worst)


def _runs(modes: Sequence[Mode], rerank: bool | None) -> list[tuple[str, Mode, bool | None]]:
    """What each run is called, its mode, and whether the reranker is asked; who asks for it sees what it changes."""
    if rerank:
        return [run for mode in modes for run in ((mode, mode, False), (f"{mode}{RERANKED}", mode, True))]
    return [(mode, mode, rerank) for mode in modes]


def _show(found: Mapping[str, Evaluation], asked: Mapping[str, str], worst: int) -> None:
    rows = [
        (label, measure, value, str(evaluation.intervals[measure]))
        for label, evaluation in found.items()
        for measure, value in evaluation.means.items()
    ]
    output.table(["mode", "measure", "mean", "95 % interval"], rows, right=[2])
    first = next(iter(found.values()))
    output.note(f"{output.count(first.queries, 'query', 'queries')} judged.")
    for label, evaluation in found.items():
        if label.endswith(RERANKED):
            _note_gain(label.removesuffix(RERANKED), found[label.removesuffix(RERANKED)], evaluation)
    if worst:
        best = max(found, key=lambda label: next(iter(found[label].means.values())))
        output.line()
        listed = [(value, query, output.clip(asked[query], WIDTH)) for query, value in found[best].worst(worst)]
        output.table([next(iter(first.means)), f"worst queries, {best}", ""], listed, right=[0])


def _note_gain(mode: str, before: Evaluation, after: Evaluation) -> None:
    from rowvec.evaluation.bootstrap import gain

    for measure, values in after.per_query.items():
        changed = gain(list(before.per_query[measure].values()), list(values.values()))
        output.note(f"{mode}: the reranker changes {measure} by {changed}.")


def note_unmatched(asked: Mapping[str, str], judged: Mapping[str, Mapping[str, int]]) -> None:
    """Say where queries and judgements name half of their queries, or fewer, alike."""
    matched = len(asked.keys() & judged.keys())
    if not matched or 2 * matched > max(len(asked), len(judged)):
        return
    lone = [[query for query in ids if query not in others] for ids, others in ((asked, judged), (judged, asked))]
    queries, of = output.count(len(asked), "query", "queries"), f"{len(judged):,} that are judged"
    output.note(f"Query ids that are in both files: {matched:,}, of {queries} and {of}.")
    for what, ids in zip(("Only queries", "Only judgements"), lone, strict=True):
        if ids:
            output.note(f"  {what} name {', '.join(map(repr, ids[:SHOWN_IDS]))}{' …' * (len(ids) > SHOWN_IDS)}")


def check_rows(searcher: Searcher, judged: Mapping[str, Mapping[str, int]]) -> None:
    """Say how many of the rows that are judged relevant are not there.

    Raises:
        ConfigError: none of them is.
    """
    from rowvec.searcher.judged import judged_rows

    found = judged_rows(searcher.rows, judged)
    if not found.missing:
        return
    examples = ", ".join(map(repr, found.missing[:SHOWN_IDS]))
    if len(found.missing) == found.looked_up:
        keys = ", ".join(repr(str(key)) for key in searcher.rows.browse(SHOWN_IDS)) or "none"
        raise ConfigError(
            f"None of the rows that are judged relevant is in {searcher.store.location}: judgements name {examples}.",
            hint=f"The rows there have keys such as {keys}. Judgements name rows by the key of the pipeline.",
        )
    total = output.count(found.looked_up, "row")
    output.note(f"Of {total} judged relevant, {len(found.missing):,} are not there, such as {examples}.")


def judged_queries(
    config: Path | None, name: str | None, queries: Path | None, judgements: Path | None
) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Text of each query, and its judgements, from two files, from one that names queries by their text, or from what
    was judged on the page.

    Raises:
        ConfigError: a file that cannot be read, or nothing was judged.
    """
    from rowvec.evaluation.files import queries_of, read_judgements, read_queries

    if queries is not None and judgements is not None:
        return read_queries(queries), read_judgements(judgements)
    judged = read_judgements(queries or _judged_on_the_page(config, name))
    return queries_of(judged), judged


def _judged_on_the_page(config: Path | None, name: str | None) -> Path:
    from rowvec.evaluation.judged import judgements_file

    loaded = load(config)
    path = judgements_file(loaded.state, loaded.pipeline(name).name)
    if not path.exists():
        raise ConfigError(
            f"Nothing of {loaded.pipeline(name).name!r} was judged on the page yet.",
            hint="Judge hits on /ui/compare of `rowvec serve`, or name two files: queries and judgements.",
        )
    return path


@dataclass(slots=True)
class _Reranks:
    """How often the reranker was asked, and how often in vain: such a search is judged by the order without it."""

    searches: int = 0
    missed: int = 0
    problems: dict[str, None] = field(default_factory=dict)
    """Why, the first reason first."""


def _note_reranks(pipeline: Pipeline, reranks: _Reranks) -> None:
    if reranks.missed:
        searches = output.count(reranks.searches, "search", "searches")
        why = next(iter(reranks.problems))
        output.note(f"Of {searches}, {reranks.missed:,} kept the order without the reranker. {why}")
    if pipeline.reranker is not None and pipeline.reranker.spent:
        output.note(f"The reranker billed {dollars(pipeline.reranker.spent)}.")


def _run(
    searcher: Searcher, mode: Mode, tell: Progress, total: int, rerank: bool | None, reranks: _Reranks
) -> Callable[[str, int], list[Key]]:
    """A ranking of a query's keys, which tells how many queries it has answered."""
    done = itertools.count()

    def run(query: str, depth: int) -> list[Key]:
        tell(f"{mode} queries", next(done), total)
        found = searcher.search(query, mode=mode, limit=depth, rerank=rerank)
        reranks.searches += found.reranked is not None
        if found.reranked is False:
            reranks.missed += 1
            reranks.problems[found.rerank_problem] = None
        return [hit.key for hit in found.hits]

    return run
