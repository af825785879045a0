"""What the page that compares two settings asks for: the generations there are, judgements, and both scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import Query
from pydantic import Field
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from rowvec.errors import ConfigError, MissingExtraError
from rowvec.evaluation.files import read_judgements, read_queries
from rowvec.evaluation.judged import HIGHEST, JudgementsFile
from rowvec.evaluation.measures import Judgements, evaluate
from rowvec.generations.lifecycle import words
from rowvec.serve.choosing import choose_or_first
from rowvec.serve.context import context_of
from rowvec.serve.models import QueryText, RankingChanges, Request, SearchMode, WhichGeneration
from rowvec.serve.parameters import Router
from rowvec.serve.problems import Problem
from rowvec.serve.replies import json_reply
from rowvec.serve.service import Service
from rowvec.types import Key

MEASURE = "nDCG@10"
DEPTH = 10
MOST_QUERIES = 200
"""Judged queries that one comparison runs, in each of its settings."""


class Setting(Request):
    """One side of a comparison, named as in the request of a search."""

    mode: SearchMode = "hybrid"
    ranking: RankingChanges | None = None
    generation: WhichGeneration = "live"
    rerank: bool = False

    def ranker(self, service: Service) -> Callable[[str, int], list[Key]]:
        changes = None if self.ranking is None else self.ranking.model_dump(exclude_unset=True)

        def run(query: str, limit: int) -> list[Key]:
            asked = None if self.rerank else False
            found = service.search(query, self.mode, limit, rerank=asked, ranking=changes, generation=self.generation)
            return [hit.key for hit in found.hits]

        return run


class ScoreRequest(Request):
    pipeline: str | None = None
    a: Setting
    b: Setting


class JudgementRequest(Request):
    pipeline: str | None = None
    query: QueryText
    id: int | str
    rating: Annotated[int, Field(ge=0, le=HIGHEST)] | None


def compare_routes() -> Router:
    router = Router(prefix="/ui/compare", include_in_schema=False)

    def picked(request: HttpRequest, pipeline: str | None) -> Service:
        services = context_of(request).services
        return choose_or_first(services, pipeline)

    @router.get("/about")
    async def about(request: HttpRequest, pipeline: str | None = None) -> Response:
        return json_reply(await context_of(request).side_threads.run(_about, picked(request, pipeline)))

    @router.get("/judgements")
    async def judgements(
        request: HttpRequest, query: Annotated[QueryText, Query()], pipeline: str | None = None
    ) -> Response:
        return json_reply(await context_of(request).side_threads.run(_judgements, picked(request, pipeline), query))

    @router.post("/judgements")
    async def judge(request: HttpRequest, body: JudgementRequest) -> Response:
        return json_reply(await context_of(request).side_threads.run(_judge, picked(request, body.pipeline), body))

    @router.post("/score")
    async def score(request: HttpRequest, body: ScoreRequest) -> Response:
        return json_reply(await context_of(request).side_threads.run(_score, picked(request, body.pipeline), body))

    return router


def _about(service: Service) -> dict[str, Any]:
    """Judgements and what both sides score by them are of all rows."""
    return {
        "generations": [
            {"state": each.state, "model": words(each.fingerprint), "rows": None if service.limited else each.rows}
            for each in service.generations() if each.fingerprint is not None
        ],
        "judges": service.judgements is not None and not service.limited,
        "scores": not service.limited,
    }  # fmt: skip


def _judgements(service: Service, query: str) -> dict[str, Any]:
    known = _known(service)
    return {"ratings": known.get(" ".join(query.split()), {}), "queries": len(known)}


def _judge(service: Service, body: JudgementRequest) -> dict[str, Any]:
    service.ready()
    key = str(body.id)
    if body.rating is not None:
        service.row(key)
    try:
        _file(service).rate(body.query, key, body.rating)
    except ConfigError as error:
        raise Problem(409, error.message, error.hint) from error
    return _judgements(service, body.query)


def _file(service: Service) -> JudgementsFile:
    if service.judgements is None:
        raise Problem(409, "This server has no folder to keep judgements in.", "`rowvec serve` with a config has one.")
    return service.judgements


def _known(service: Service) -> Judgements:
    """What was judged here, on top of the files of `eval` in rowvec.toml, by the text of the query.

    Raises:
        Problem: 409, one of the files cannot be read.
    """
    gate, known = service.pipeline.gate, dict[str, dict[str, int]]()
    try:
        if gate is not None:
            judged = read_judgements(gate.judgements)
            for query, text in read_queries(gate.queries).items():
                known.setdefault(" ".join(text.split()), {}).update(judged.get(query, {}))
        for query, ratings in (service.judgements.read() if service.judgements else {}).items():
            known.setdefault(query, {}).update(ratings)
    except ConfigError as error:
        raise Problem(409, error.message, error.hint) from error
    return {query: ratings for query, ratings in known.items() if ratings}


def _score(service: Service, body: ScoreRequest) -> dict[str, Any]:
    service.ready()
    known = dict(list(_known(service).items())[:MOST_QUERIES])
    if not known:
        return {"measure": MEASURE, "queries": []}
    queries = {query: query for query in known}
    try:
        a, b = (
            evaluate(side.ranker(service), queries, known, [MEASURE], depth=DEPTH).per_query[MEASURE]
            for side in (body.a, body.b)
        )
    except MissingExtraError as error:
        raise Problem(422, error.message, error.hint) from error
    return {"measure": MEASURE, **_compared(a, b)}


def _compared(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, Any]:
    """Means, and each query with what both sides scored: those that the second lost first."""
    worst_first = sorted(a, key=lambda query: b[query] - a[query])
    queries = [{"query": query, "a": a[query], "b": b[query]} for query in worst_first]
    return {"a": sum(a.values()) / len(a), "b": sum(b.values()) / len(b), "queries": queries}
