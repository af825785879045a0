"""`rowvec eval --fit`: weights of a search from judged queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rowvec.api.project import opened
from rowvec.cli import output, progress
from rowvec.cli.evaluate import check_rows, judged_queries, note_unmatched
from rowvec.cli.search import mode_named
from rowvec.errors import ConfigError
from rowvec.searcher import Searcher

if TYPE_CHECKING:
    from rowvec.answers import Fit


def fit(
    config: Path | None,
    name: str | None,
    queries: Path | None,
    judgements: Path | None,
    *,
    modes: Sequence[str],
    measures: Sequence[str],
    condensed: bool,
    folds: int,
    rerank: bool,
    write: bool,
    as_json: bool,
) -> None:
    """
    Args:
        modes, measures: one of each at most.
        rerank: ask the reranker, and fit its weight too.
        folds: parts into which the queries are divided.
        write: change the config, where a gain shows.

    Raises:
        SearchError: there is no reranker, or it gives no answer.
        ConfigError: see `rowvec.searcher.fitting.fit`; the config cannot be changed.
    """
    for what, given in (("mode", modes), ("measure", measures)):
        if len(given) > 1:
            raise ConfigError(f"Weights are fitted to one {what}.", hint=f"Give --{what} once.")
    mode, measure = mode_named(modes[0] if modes else "hybrid"), measures[0] if measures else "nDCG@10"
    asked, judged = judged_queries(config, name, queries, judgements)
    note_unmatched(asked, judged)
    with opened(config, name) as door:
        check_rows(Searcher.of(door.searchable, False).whole, judged)
        with progress.phases("A fit changes nothing before its end.") as tell:
            found = door.fit(
                asked,
                judged,
                mode=mode,
                measure=measure,
                folds=folds,
                condensed=condensed,
                rerank=rerank,
                write=write,
                tell=tell,
            )
    written = write and found.better
    if as_json:
        output.print_json({**found.as_dict(), "written": written})
        return
    _show(found)
    if written:
        output.note("Written to the config.")
    elif write:
        output.note("Nothing was written.")


def _show(found: Fit) -> None:
    rows = [(key, found.now[key], value) for key, value in found.changes.items()]
    if rows:
        output.table(["search setting", "now", "proposed"], rows, right=[1, 2])
    queries = output.count(found.queries, "query", "queries")
    output.line(
        f"{found.measure} of {found.mode} over {queries}: {found.before:.4f} now."
        f" On queries by which no weight was chosen ({found.folds} folds):"
        f" {found.before + found.gain.mean:.4f}, a gain of {found.gain}."
    )
    output.line(_verdict(found))
    for part, why in found.not_fitted.items():
        output.note(f"{part} was not fitted: {why}.")


def _verdict(found: Fit) -> str:
    if not found.changes:
        return "No other weights are better: keep yours."
    if found.better:
        return "The gain shows on queries that were left out: the proposed weights are better for queries like these."
    return "The interval does not lie above 0: these queries show no gain. Keep your weights, or judge more queries."
