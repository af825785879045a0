"""Counts and times for Prometheus, in a registry of the server's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

from rowvec.errors import RowvecError
from rowvec.evaluation.query_log import QueryLog
from rowvec.pipeline_status import Status
from rowvec.searcher import SearchResult
from rowvec.serve.background import Background
from rowvec.serve.service import Service

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
STATUS_SECONDS = 15.0
"""Seconds between two scrapes that ask the databases, at least."""


class Metrics:
    def __init__(
        self,
        services: Mapping[str, Service],
        busy: Callable[[], int],
        background: Background,
        queries: QueryLog | None = None,
    ) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._requests = Counter(
            "rowvec_http_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "rowvec_http_request_seconds", "Time to answer.", ["route"], buckets=SECONDS, registry=self.registry
        )
        self._embed = Histogram(
            "rowvec_search_embed_seconds", "Turning a query into a vector.", ["pipeline"], buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._search = Histogram(
            "rowvec_search_store_seconds", "Finding the hits of a query.", ["pipeline", "mode"], buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._rerank = Histogram(
            "rowvec_search_rerank_seconds", "Waiting for the reranker.", ["pipeline"], buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._reranks = Counter(
            "rowvec_search_reranks", "Searches that asked the reranker, by whether it put their hits into order.",
            ["pipeline", "reranked"], registry=self.registry,
        )  # fmt: skip
        self._incomplete = Counter(
            "rowvec_searches_incomplete", "Searches with fewer hits than there are matching rows.", ["pipeline"],
            registry=self.registry,
        )  # fmt: skip
        self._partial = Counter(
            "rowvec_searches_partial", "Searches that parts of the store did not answer.", ["pipeline"],
            registry=self.registry,
        )  # fmt: skip
        self.registry.register(_States(services, busy))
        self.registry.register(_Tasks(background))
        if queries is not None:
            self.registry.register(_Logged(queries))

    def request(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's pattern and its own methods: a label must not take as many values as callers can think of.
        route = getattr(scope.get("route"), "path", None) or "other"
        method = "other" if route == "other" or status == 405 else scope["method"]
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def searched(self, pipeline: str, mode: str, result: SearchResult) -> None:
        if result.embed_ms:
            self._embed.labels(pipeline).observe(result.embed_ms / 1000)
        self._search.labels(pipeline, mode).observe(result.search_ms / 1000)
        if result.reranked is not None:
            self._rerank.labels(pipeline).observe(result.rerank_ms / 1000)
            self._reranks.labels(pipeline, str(result.reranked).lower()).inc()
        if result.partial:
            self._partial.labels(pipeline).inc()
        elif not result.complete:
            self._incomplete.labels(pipeline).inc()

    def exposition(self) -> bytes:
        """Prometheus' text format. Asks the databases: not for the event loop's thread."""
        return generate_latest(self.registry)


def _recall(status: Status) -> float | None:
    return status.index.recall if status.index else None


GAUGES: list[tuple[str, str, Callable[[Status], float | None]]] = [
    ("rowvec_source_rows", "Rows the source holds.", lambda s: s.rows),
    ("rowvec_current_rows_at_last_sync", "Rows whose vector was that of their text then.", lambda s: s.current),
    ("rowvec_coverage_ratio_at_last_sync", "Rows with a current vector then / rows of now.", lambda s: s.coverage),
    (
        "rowvec_last_sync_timestamp_seconds",
        "When the last sync of all rows began; absent before it.",
        lambda s: s.as_of.timestamp() if s.as_of else None,
    ),
    (
        "rowvec_waiting_rows",
        "Rows changed since the last sync, by a cursor or by their number; else absent.",
        lambda s: s.waiting.rows if s.waiting else None,
    ),
    (
        "rowvec_lag_seconds",
        "Since when a row may be without a current vector, as far as is known; 0 for none.",
        lambda s: s.lag_seconds or 0.0,
    ),
    ("rowvec_failed_rows", "Rows that could not be embedded or stored.", lambda s: s.failures),
    ("rowvec_stale_rows", "Rows that keep an old vector because their new text failed.", lambda s: s.stale),
    ("rowvec_deletion_refused", "1 while the refusal of a deletion stands.", lambda s: s.refusal is not None),
    ("rowvec_truncated_rows", "Rows whose text is longer than the model's window.", lambda s: s.truncated),
    ("rowvec_unfit_values", "Metadata values that are null as they do not fit their column.", lambda s: s.unfit),
    ("rowvec_store_bytes", "Size of all generations with their texts, passages and indexes.", lambda s: s.all_bytes),
    ("rowvec_syncing", "1 while a sync is at work.", lambda s: s.work is not None),
    (
        "rowvec_index_recall_ratio",
        "Last measured recall of the vector index.",
        _recall,
    ),
]


class _States(Collector):
    """What is asked of the services when somebody looks."""

    def __init__(self, services: Mapping[str, Service], busy: Callable[[], int]) -> None:
        self._services = services
        self._busy = busy

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("rowvec_busy", "Calls at work or waiting for a thread.", value=self._busy())
        cache = CounterMetricFamily(
            "rowvec_query_cache", "Queries, by where their vector came from.", labels=["pipeline", "result"]
        )
        spent = CounterMetricFamily(
            "rowvec_rerank_cost_dollars", "What the reranker billed, or may have.", labels=["pipeline"]
        )
        up = GaugeMetricFamily("rowvec_up", "1 where source and store answer and can be searched.", labels=["pipeline"])
        runs = CounterMetricFamily("rowvec_runs", "Runs, by outcome.", labels=["pipeline", "outcome"])
        seconds = CounterMetricFamily("rowvec_run_seconds", "Duration of runs.", labels=["pipeline", "outcome"])
        gauges = [GaugeMetricFamily(name, text, labels=["pipeline"]) for name, text, _ in GAUGES]
        for name, service in self._services.items():
            cache.add_metric([name, "hit"], service.embedder.hits)
            cache.add_metric([name, "miss"], service.embedder.misses)
            if service.pipeline.reranker is not None:
                spent.add_metric([name], service.pipeline.reranker.spent)
            try:
                status = service.operations.status(STATUS_SECONDS)
            except RowvecError:
                up.add_metric([name], 0)
                continue
            up.add_metric([name], float(service.problem is None))
            for outcome, (count, took) in status.totals.outcomes.items():
                runs.add_metric([name, outcome], count)
                seconds.add_metric([name, outcome], took)
            for gauge, (_, _, value) in zip(gauges, GAUGES, strict=True):
                number = value(status)
                if number is not None:
                    gauge.add_metric([name], number)
        yield from (cache, spent, up, runs, seconds, *gauges)


class _Logged(Collector):
    """How the log of queries keeps up."""

    def __init__(self, queries: QueryLog) -> None:
        self._queries = queries

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "rowvec_query_log_written", "Queries and events in the log.", value=self._queries.written
        )
        yield CounterMetricFamily(
            "rowvec_query_log_dropped", "Queries and events that the log lost.", value=self._queries.dropped
        )


class _Tasks(Collector):
    """What waits for the workers and what they are at, where there is a broker."""

    def __init__(self, background: Background) -> None:
        self._background = background

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        if not self._background.used:
            return
        queue = self._background.look()
        answers = float(queue is not None)
        yield GaugeMetricFamily("rowvec_broker_up", "1 where the workers' broker answers.", value=answers)
        if queue is None:
            return
        yield GaugeMetricFamily("rowvec_tasks_waiting", "Tasks that no worker has taken.", value=queue.waiting)
        if queue.workers is None:
            return
        yield GaugeMetricFamily("rowvec_workers", "Workers that listen.", value=queue.workers)
        if queue.active is None:
            return
        yield GaugeMetricFamily(
            "rowvec_task_longest_seconds", "Age of the longest-running task.", value=queue.longest_seconds
        )
        active = GaugeMetricFamily("rowvec_tasks_active", "Tasks being worked on.", labels=["task"])
        for name, count in queue.active.items():
            active.add_metric([name], count)
        yield active
