"""How well the searches of one pipeline of a project rank, and what people ask."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rowvec.answers import Fit, Mode
from rowvec.api.calls import method
from rowvec.api.opened_pipeline import OpenedPipeline
from rowvec.api.spans import time_span
from rowvec.evaluation.logged import LoggedQuery, Order
from rowvec.evaluation.measures import MEASURES, Evaluation, evaluate
from rowvec.support.tables import Rows
from rowvec.types import Key, Progress


class Measuring(OpenedPipeline):
    """What `ProjectPipeline` measures by judgements, and the log of queries."""

    @method
    def eval(
        self,
        queries: Path | str | Mapping[str, str],
        judgements: Path | str | Mapping[str, Mapping[str, int]],
        *,
        modes: Sequence[Mode] = ("semantic", "keyword", "hybrid"),
        measures: Sequence[str] = MEASURES,
        condensed: bool = False,
        rerank: bool | None = None,
        keep: bool = False,
    ) -> Mapping[Mode, Evaluation]:
        """Measure the ranking by human judgements; one evaluation for each mode.

        Args:
            queries: texts by query id, or a file of them (CSV, JSONL or TREC).
            judgements: grades by key by query id, or a file of them (CSV, JSONL or TREC qrels).
            measures: such as "nDCG@10", "recall@100", "MRR@10", "precision@5", "MAP".
            condensed: leave unjudged rows out of the rankings.
            rerank: False leaves out the reranker of `search.rerank`. None asks it where there is one.
            keep: keep the means and the worst queries in the store, for the page and for later comparison.

        Raises:
            SearchError: `rerank` without a reranker.
            StoreError: with `keep`, the store cannot be written.
            ConfigError: a file that cannot be read, no such measure, no query has a judgement.
            MissingExtraError: ir_measures is not installed.
        """
        from rowvec.evaluation.files import read_judgements, read_queries
        from rowvec.searcher.kept import keep_evaluation

        asked = read_queries(Path(queries)) if isinstance(queries, Path | str) else queries
        judged = read_judgements(Path(judgements)) if isinstance(judgements, Path | str) else judgements
        searcher = self._ready(False).whole

        def ranker(mode: Mode) -> Callable[[str, int], list[Key]]:
            return lambda query, depth: [
                hit.key for hit in searcher.search(query, mode=mode, limit=depth, rerank=rerank).hits
            ]

        found = {mode: evaluate(ranker(mode), asked, judged, measures, condensed=condensed) for mode in modes}
        if keep:
            keep_evaluation(self.assembled, {str(mode): each for mode, each in found.items()}, asked)
        return found

    @method
    def queries(
        self, order: Order = "latest", *, since: str | dt.timedelta | None = None, limit: int = 20
    ) -> Rows[LoggedQuery]:
        """What people asked a server of this project that logs queries (`[serve.queries]`).

        Args:
            order: "latest", "slow", "no-hits" or "top"; the two last count the same words together.
            since: only the queries of this time until now, such as "7d".
            limit: up to this many.

        Raises:
            ConfigError: there is no log.
        """
        from rowvec.evaluation.asked import asked

        path = self._project.config.query_log
        return Rows(tuple(asked(path, self.name, order, time_span(since), limit)))

    @method
    def export_queries(
        self,
        queries: Path | str,
        judgements: Path | str,
        *,
        since: str | dt.timedelta | None = None,
        force: bool = False,
    ) -> tuple[int, int]:
        """Write the logged queries that have clicks or conversions, and these as judgements: files for `eval`.

        Args:
            since: only the queries of this time until now, such as "7d".
            force: overwrite the files.

        Returns:
            The number of queries and that of judgements.

        Raises:
            ConfigError: there is no log, it has no clicks, or a file cannot be written.
        """
        from rowvec.evaluation.asked import export

        path = self._project.config.query_log
        return export(path, self.name, time_span(since), Path(queries), Path(judgements), force=force)

    @method
    def fit(
        self,
        queries: Path | str | Mapping[str, str],
        judgements: Path | str | Mapping[str, Mapping[str, int]],
        *,
        mode: Mode = "hybrid",
        measure: str = "nDCG@10",
        folds: int = 5,
        condensed: bool = False,
        rerank: bool = False,
        write: bool = False,
        tell: Progress = lambda *_: None,
    ) -> Fit:
        """Propose weights for the search, and measure what they gain on queries by which none was chosen.

        Args:
            queries, judgements, condensed: as for `eval`.
            folds: parts into which the queries are divided; each part is measured with weights of the others.
            rerank: ask the pipeline's reranker, and fit its weight too. It reads each text of a query once.
            write: set the weights in rowvec.toml if their gain shows. Searches of this object keep the old ones.
            tell: called with how far it is.

        Raises:
            ConfigError: as for `eval`; one query only; nothing has a weight; rowvec.toml cannot be changed.
            MissingExtraError: ir_measures is not installed.
        """
        from rowvec.config.edit import set_search
        from rowvec.evaluation.files import read_judgements, read_queries
        from rowvec.searcher.fitting import fit

        asked = read_queries(Path(queries)) if isinstance(queries, Path | str) else queries
        judged = read_judgements(Path(judgements)) if isinstance(judgements, Path | str) else judgements
        found = fit(
            self._ready(False).whole,
            asked,
            judged,
            mode=mode,
            measure=measure,
            folds=folds,
            condensed=condensed,
            rerank=rerank,
            tell=tell,
        )
        if write and found.better:
            set_search(self._project.config.path, self.name, found.changes)
        return found
