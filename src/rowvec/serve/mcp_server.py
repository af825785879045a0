"""The pipelines as tools of the Model Context Protocol, for chat clients and agents: reading only.

`search` and `fetch` have the two shapes that chat clients look for in a source of documents; an id there is
`pipeline:key`. The other tools are rowvec's own: filters, modes, scores, columns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import chain, zip_longest
from typing import Annotated, Any, TypeVar

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field
from pydantic_core import to_jsonable_python
from starlette.routing import BaseRoute, Route

from rowvec import __version__
from rowvec.errors import RowvecError
from rowvec.searcher import Mode, Refine, SearchResult
from rowvec.serve.choosing import choose
from rowvec.serve.mcp_arguments import Server, in_words, tool
from rowvec.serve.mcp_messages import Once
from rowvec.serve.models import (
    After,
    Distinct,
    FacetLimit,
    Facets,
    Filters,
    Offset,
    Order,
    Passages,
    Plain,
    QueryText,
    RowKey,
    SearchReply,
    Typos,
)
from rowvec.serve.problems import Problem, of_rowvec
from rowvec.serve.replies import numbers
from rowvec.serve.routes.state import pipeline_info, status_dict
from rowvec.serve.service import Service
from rowvec.serve.state_models import PipelineInfo, StatusReply
from rowvec.serve.threads import Threads

T = TypeVar("T")

PATH = "/mcp"
FOUND = 10
"""Results of `search`, which has no parameter for it."""
EXAMPLES = 3
LINKS = ("url", "link", "uri", "href", "permalink")
INSTRUCTIONS = (
    "Rows of databases, searched by meaning, by words, or by both. `describe` says which pipelines there are and which"
    " columns a filter may use. `search_rows` finds rows; `similar` finds rows like one of them. Nothing is changed."
)
READING = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)

Pipeline = Annotated[str | None, Field(description="Name of the pipeline. Optional if there is only one.")]
Limit = Annotated[int, Plain, Field(ge=1, le=100, description="Maximum number of rows.")]
Where = Annotated[
    Filters | None,
    Field(
        description='A filter over the columns that `describe` lists: price < 100 and new, or {"price": {"<": 100}}.'
    ),
]


class Result(BaseModel):
    id: str = Field(description="For `fetch`.")
    title: str
    url: str = Field(description='Empty where the rows have no column such as "url".')
    text: str = Field(description="The part of the row that answers.")


class Results(BaseModel):
    results: list[Result]
    partial: bool = Field(False, description="Some rows could not be searched now: parts of the store do not answer.")


class Fetched(BaseModel):
    id: str
    title: str
    text: str = Field(description="The text of the row, as far as it is kept.")
    url: str
    metadata: dict[str, Any]


class Described(PipelineInfo):
    examples: list[dict[str, Any]] = Field(description="Metadata of a few rows.")


class Pipelines(BaseModel):
    pipelines: list[Described]


Visible = Callable[[Context[Any, Any]], Mapping[str, Service]]
Searched = Callable[[Service, str, str, Mapping[str, Any] | str | None, SearchResult], str | None]


class Tools:
    """
    Args:
        visible: gives the pipelines that a call may see.
        threads: for searches; `side_threads`: for what asks the source of the rows.
        searched: counts and logs a search, and gives its id in the log; None where nobody reads that.
    """

    def __init__(
        self, visible: Visible, threads: Threads, side_threads: Threads, searched: Searched | None = None
    ) -> None:
        self._visible = visible
        self._threads, self._side_threads, self._noted = threads, side_threads, searched

    def server(self) -> MCPServer[Any]:
        functions = (self.search, self.fetch, self.search_rows, self.similar, self.describe, self.status)
        return Server(
            "rowvec", title="rowvec", instructions=INSTRUCTIONS, version=__version__, log_level="WARNING",
            tools=[tool(function, READING) for function in functions],
        )  # fmt: skip

    async def search(self, query: QueryText, ctx: Context[Any, Any]) -> Results:
        """Search all rows by meaning and words. Returns ids for `fetch`."""
        asked = (self._best(service, query) for service in self._services(ctx).values())
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found = [answer for answer in answers if not isinstance(answer, BaseException)]
        for problem in answers:
            # One pipeline that cannot be searched does not hide the others.
            if isinstance(problem, BaseException) and (not found or not isinstance(problem, ToolError)):
                raise problem
        # Scores of different models do not compare: the first of each pipeline come first.
        in_turn = chain.from_iterable(zip_longest(*(results for results, _ in found)))
        return Results(
            results=[result for result in in_turn if result is not None][:FOUND],
            partial=any(partial for _, partial in found),
        )

    async def fetch(
        self,
        id: Annotated[str, Field(max_length=10_000, description="As `search` gave it.")],
        ctx: Context[Any, Any],
    ) -> Fetched:
        """Read one row: its text and its metadata."""
        name, separator, key = id.partition(":")
        services = self._services(ctx)
        if not separator or name not in services:
            raise ToolError(f"There is no row {id[:100]!r}. An id is that of a result of `search`.")
        service = services[name]
        metadata, text = await _told(self._threads.run(service.row, key))
        values = _values(metadata)
        return Fetched(
            id=id,
            title=service.pipeline.card.title_of(values) or key,
            text=text,
            url=_first(values, LINKS),
            metadata=values,
        )

    async def search_rows(
        self,
        ctx: Context[Any, Any],
        query: QueryText | None = None,
        pipeline: Pipeline = None,
        mode: Annotated[Mode, Field(description="By meaning, by words, or by both.")] = "hybrid",
        limit: Limit = 10,
        where: Where = None,
        passages: Passages = 1,
        facets: Facets = [],  # noqa: B006
        facet_limit: FacetLimit = 10,
        distinct: Distinct = None,
        offset: Offset = 0,
        after: After = None,
        order: Order = None,
        typos: Typos = None,
    ) -> SearchReply:
        """Search the rows of one pipeline, with a filter; returns rows with scores, metadata and the passages that
        answer. Without a query: the rows that pass the filter, in an order. Facets count values over all rows that
        pass the filter. `next` leads to the next page. `corrected` says what it searched for in place of typos."""
        service, refine = self._chosen(ctx, pipeline), Refine(facets, facet_limit, distinct, offset, after, order)
        if query is None:
            browsed = service.browse, limit, where, passages, refine
            return _reply(*await self._searched(service, "browse", "", where, *browsed))
        if mode not in service.modes:
            raise ToolError(f"The pipeline {service.name!r} has no keyword index: use the mode semantic.")
        asked = (query, mode, limit, where, False, passages, None, refine, None, "live", typos)
        return _reply(*await self._searched(service, mode, query, where, service.search, *asked))

    async def similar(
        self,
        key: Annotated[RowKey, Field(description="The key of a row: the id in `search_rows`.")],
        ctx: Context[Any, Any],
        pipeline: Pipeline = None,
        limit: Limit = 10,
        passages: Passages = 1,
    ) -> SearchReply:
        """Find the rows nearest to a row."""
        service = self._chosen(ctx, pipeline)
        sought = str(key)
        asked = service.similar, sought, limit, False, passages
        return _reply(*await self._searched(service, "similar", sought, None, *asked))

    async def describe(self, ctx: Context[Any, Any], pipeline: Pipeline = None) -> Pipelines:
        """List the pipelines: their columns with types, the ways to search, and a few rows as examples."""
        chosen = [self._chosen(ctx, pipeline)] if pipeline is not None else list(self._services(ctx).values())
        described = []
        for service in chosen:
            examples = await _told(self._threads.run(service.examples, EXAMPLES))
            info = pipeline_info(service).model_dump()
            described.append(Described(**info, examples=[_values(each) for each in examples]))
        return Pipelines(pipelines=described)

    async def status(self, ctx: Context[Any, Any], pipeline: Pipeline = None) -> StatusReply:
        """Say how far the vectors of a pipeline are in step with its rows."""
        service = self._chosen(ctx, pipeline)
        found = await _told(self._side_threads.run(lambda: service.operations.status()))
        return StatusReply.model_validate(to_jsonable_python(status_dict(found), inf_nan_mode="null", fallback=str))

    async def _best(self, service: Service, query: str) -> tuple[list[Result], bool]:
        """The best hits, and whether parts of the store did not answer."""
        mode: Mode = "hybrid" if "hybrid" in service.modes else "semantic"
        asked = service.search, query, mode, FOUND, None, False, 1
        result, _ = await self._searched(service, mode, query, None, *asked)
        return [_result(service, hit) for hit in result.hits], result.partial

    def _services(self, ctx: Context[Any, Any]) -> Mapping[str, Service]:
        try:
            return self._visible(ctx)
        except Problem as problem:
            raise in_words(problem) from None

    def _chosen(self, ctx: Context[Any, Any], name: str | None) -> Service:
        services = self._services(ctx)
        if name is None and len(services) > 1:
            raise ToolError(f"There are several pipelines. Name one of: {', '.join(services)}.")
        try:
            return choose(services, name)
        except Problem as problem:
            raise in_words(problem) from None

    async def _searched(
        self,
        service: Service,
        mode: str,
        query: str,
        where: Mapping[str, Any] | str | None,
        search: Callable[..., SearchResult],
        *values: Any,
    ) -> tuple[SearchResult, str | None]:
        """What `search` found, and its id in the log of queries."""
        result = await _told(self._threads.run(search, *values))
        return result, None if self._noted is None else self._noted(service, mode, query, where, result)


def routes(server: MCPServer[Any], most: int) -> list[BaseRoute]:
    """The routes of the server over HTTP, without sessions: any process behind a balancer may answer.

    Args:
        most: bytes that a request may have.
    """
    found = list(
        server.streamable_http_app(
            streamable_http_path=PATH,
            stateless_http=True,
            json_response=True,
            max_request_body_size=most,
            # The guard around the whole API checks hosts and origins.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        ).routes
    )
    for route in found:
        if isinstance(route, Route):
            route.app = Once(route.app)
    return found


async def _told(answer: Awaitable[T]) -> T:
    """
    Raises:
        ToolError: what went wrong, as the HTTP API says it.
    """
    try:
        return await answer
    except Problem as problem:
        raise in_words(problem) from None
    except RowvecError as error:
        raise in_words(of_rowvec(error)) from None


def _reply(result: SearchResult, query_id: str | None) -> SearchReply:
    found = {**result.as_dict(), "query_id": query_id}
    for hit in found["results"]:
        hit["metadata"] = _values(hit["metadata"])
    return SearchReply.model_validate(to_jsonable_python(found, inf_nan_mode="null", fallback=str))


def _result(service: Service, hit: Any) -> Result:
    values = _values(hit.metadata)
    text = hit.passages[0].text if hit.passages else ""
    title = service.pipeline.card.title_of(values) or " ".join(text.split())[:80] or str(hit.key)
    return Result(id=f"{service.name}:{hit.key}", title=title, url=_first(values, LINKS), text=text)


def _values(metadata: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = to_jsonable_python(numbers(metadata), inf_nan_mode="null", bytes_mode="hex", fallback=str)
    return values


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The first text that one of those columns holds."""
    folded = {name.lower(): value for name, value in values.items()}
    return next((folded[name] for name in names if isinstance(folded.get(name), str)), "")
