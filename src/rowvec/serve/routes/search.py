"""The searches."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Query
from fastapi import Path as PathParameter
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from rowvec.searcher import Mode, Refine
from rowvec.serve.context import Pick, context_of
from rowvec.serve.models import (
    After,
    BrowseRequest,
    Distinct,
    Explain,
    FacetLimit,
    Facets,
    FilteredRequest,
    Limit,
    Offset,
    Partial,
    Passages,
    Prefix,
    QueryText,
    Rerank,
    SearchMode,
    SearchReply,
    SearchRequest,
    TextsReply,
    TextsRequest,
    Typos,
)
from rowvec.serve.parameters import Router
from rowvec.serve.problems import RESPONSES
from rowvec.serve.replies import json_reply, search_reply
from rowvec.serve.service import Service

PASSAGE = {"text": "Brake pads for the front axle.", "start": 0, "end": 30, "score": 0.8312, "marks": [[0, 5], [6, 10]]}
HIT = {
    "id": 4711,
    "score": 0.8312,
    "metadata": {"name": "Brake pads, front axle", "price": 39.9},
    "passages": [PASSAGE],
}
FOUND = {
    "results": [HIT],
    "exact": False,
    "complete": True,
    "execution_time_ms": 5.1,
    "embed_ms": 3.9,
    "search_ms": 1.2,
    "next": None,
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The hits, best first", "content": {"application/json": {"example": FOUND}}},
    **RESPONSES,
}

TEXTS: dict[int | str, dict[str, Any]] = {200: {"description": "The texts", "content": {"application/json": {
    "example": {"texts": [{"id": 4711, "text": "name: Brake pads, front axle. price: 39.9"}]}
}}}}  # fmt: skip


class _Key(PathConvertor):
    """A key to the end of the path, with its line breaks: a dot matches none, and a dollar overlooks a last one."""

    regex = "(?s:.*)"


register_url_convertor("key", _Key())

Where = Annotated[
    str | None, Query(max_length=10_000, description="A filter as text or as JSON.", examples=["price < 100"])
]


def search_routes(pick: Pick) -> Router:
    """The routes for the pipeline that `pick` gives.

    A route returns its response ready made: validating our own reply again would cost more than finding it.
    """
    router = Router(tags=["search"], responses=ANSWERS)

    @router.post("/search/semantic", response_model=SearchReply, summary="Search by meaning")
    async def semantic(request: Request, body: SearchRequest, service: Service = Depends(pick)) -> Response:
        return await _answer(request, service, "semantic", body)

    @router.post("/search/filtered", response_model=SearchReply, summary="Search by meaning among rows that match")
    async def filtered(request: Request, body: FilteredRequest, service: Service = Depends(pick)) -> Response:
        return await _answer(request, service, "semantic", body)

    @router.post("/search/keyword", response_model=SearchReply, summary="Search by words (BM25)")
    async def keyword(request: Request, body: SearchRequest, service: Service = Depends(pick)) -> Response:
        return await _answer(request, service, "keyword", body)

    @router.post("/search/hybrid", response_model=SearchReply, summary="Search by meaning and words together")
    async def hybrid(request: Request, body: SearchRequest, service: Service = Depends(pick)) -> Response:
        return await _answer(request, service, "hybrid", body)

    @router.post("/search/browse", response_model=SearchReply, summary="Browse the rows that match, in an order")
    async def browse(request: Request, body: BrowseRequest, service: Service = Depends(pick)) -> Response:
        context = context_of(request)
        asked = body.limit, body.filters, body.passages, body.refine, body.partial
        result = await context.threads.run(service.browse, *asked)
        return search_reply(result, context.searched(service, "browse", "", body.filters, result))

    @router.post("/texts", response_model=TextsReply, responses=TEXTS, summary="The texts of rows, as embedded")
    async def texts(request: Request, body: TextsRequest, service: Service = Depends(pick)) -> Response:
        found = await context_of(request).threads.run(service.texts, body.ids)
        return json_reply({"texts": [{"id": key, "text": text} for key, text in found]})

    _add_gets(router, pick)
    return router


def _add_gets(router: Router, pick: Pick) -> None:
    """The searches with everything in the address."""

    @router.get("/search", response_model=SearchReply, summary="Search, with everything in the address")
    async def simple(
        request: Request,
        query: Annotated[QueryText, Query()],
        limit: Annotated[Limit, Query()] = 10,
        mode: Annotated[SearchMode, Query()] = "semantic",
        where: Where = None,
        explain: Annotated[Explain, Query()] = False,
        passages: Annotated[Passages, Query()] = 1,
        rerank: Annotated[Rerank, Query()] = None,
        facets: Annotated[Facets, Query()] = [],  # noqa: B006
        facet_limit: Annotated[FacetLimit, Query()] = 10,
        distinct: Annotated[Distinct, Query()] = None,
        offset: Annotated[Offset, Query()] = 0,
        after: Annotated[After, Query()] = None,
        typos: Annotated[Typos, Query()] = None,
        prefix: Annotated[Prefix, Query()] = None,
        partial: Annotated[Partial, Query()] = None,
        service: Service = Depends(pick),
    ) -> Response:
        refine = Refine(facets, facet_limit, distinct, offset, after)
        asked = _Asked(
            query, mode, limit, where, explain, passages, rerank, refine, None, "live", typos, prefix, partial
        )
        return await _search(request, service, asked)

    @router.get("/search/similar/{id:key}", response_model=SearchReply, summary="The rows nearest to a row")
    async def similar(
        request: Request,
        id: Annotated[str, PathParameter(description="The key of the row.")],
        limit: Annotated[Limit, Query()] = 10,
        explain: Annotated[Explain, Query()] = False,
        passages: Annotated[Passages, Query()] = 1,
        where: Where = None,
        partial: Annotated[Partial, Query()] = None,
        service: Service = Depends(pick),
    ) -> Response:
        context = context_of(request)
        result = await context.threads.run(service.similar, id, limit, explain, passages, where, partial)
        return search_reply(result, context.searched(service, "similar", id, where, result))


class _Asked(NamedTuple):
    """What a request asks, in the order in which `Service.search` takes it."""

    query: str
    mode: Mode
    limit: int
    conditions: dict[str, Any] | str | None
    explain: bool
    passages: int
    rerank: bool | None
    refine: Refine
    ranking: dict[str, Any] | None
    generation: str
    typos: bool | None
    prefix: bool | None
    partial: bool | None


async def _answer(request: Request, service: Service, mode: Mode, body: SearchRequest) -> Response:
    asked = _Asked(
        body.query, mode, body.limit, body.filters, body.explain, body.passages, body.rerank, body.refine,
        body.changes, body.generation, body.typos, body.prefix,
        body.partial,
    )  # fmt: skip
    return await _search(request, service, asked)


async def _search(request: Request, service: Service, asked: _Asked) -> Response:
    context = context_of(request)
    result = await context.threads.run(service.search, *asked)
    return search_reply(result, context.searched(service, asked.mode, asked.query, asked.conditions, result))
