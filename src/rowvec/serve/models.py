"""Requests of the HTTP API, and replies of searches. What is too long, too large or misspelled is refused here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from rowvec.filters.facets import MAX_FACET_VALUES, MAX_FACETS
from rowvec.ranking import LONGEST_EXPRESSION, MOST_DAYS, MOST_WEIGHT, Fusion
from rowvec.searcher import MAX_LIMIT, MAX_OFFSET, MAX_PASSAGES, MAX_QUERY, MAX_TEXTS, Mode, Refine
from rowvec.support.plain_numbers import plain


def _searchable(query: str) -> str:
    if not query.strip():
        raise ValueError("it is empty; describe in a few words what you are looking for")
    if "\0" in query:
        raise ValueError("it holds a NUL character")
    return query


QueryText = Annotated[
    str,
    Field(min_length=1, max_length=MAX_QUERY, description="What to look for, in plain words.", examples=["brake pads"]),
    AfterValidator(_searchable),
]
Plain = BeforeValidator(plain)
"""Of each number that may come as text, in an address or from an agent."""
Limit = Annotated[int, Plain, Field(ge=1, le=MAX_LIMIT, description="Maximum number of hits.", examples=[20])]
Explain = Annotated[bool, Field(description="Give each hit the parts of its score.")]
Passages = Annotated[
    int, Plain, Field(ge=0, le=MAX_PASSAGES, description="Maximum number of passages that are shown of each hit.")
]
Rerank = Annotated[
    bool | None,
    Field(description="False leaves out the pipeline's reranker. True is refused where there is none."),
]
Typos = Annotated[
    bool | None,
    Field(
        description="Correct words that no row holds; false searches as written. By default what the pipeline says."
        " True is refused where the words of the rows are not kept."
    ),
]
Prefix = Annotated[
    bool | None,
    Field(
        description="Take the last word as the beginning of one, as while somebody types; a blank behind it ends it. By"
        " default what the pipeline says. True is refused where the words of the rows are not kept."
    ),
]
Partial = Annotated[
    bool | None,
    Field(
        description="Answer from the parts of a split store that answer, where others do not; `missing_parts` names"
        " those. By default what the pipeline says."
    ),
]
WhichGeneration = Annotated[
    Literal["live", "previous", "building"],
    Field(description="Vectors of another generation than the live one, to compare the two."),
]
SearchMode = Annotated[Mode, Field(description="Search by meaning, by words, or by both.")]


def _key(given: Any) -> Any:
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise ValueError("it must be a whole number or a text")
    return given


RowKey = Annotated[int | str, BeforeValidator(_key)]


def _condition(given: Any) -> Any:
    if not isinstance(given, dict | str):
        raise ValueError('it must be an object, such as {"price": {"<": 100}}, or a text, such as "price < 100"')
    return given


Filters = Annotated[
    dict[str, Any] | str,
    BeforeValidator(_condition),
    Field(
        description="Conditions on metadata columns, as an object or as text; a row must meet all of them.",
        examples=[{"price": {"<": 100}, "brand": "Brembo"}],
    ),
]


Facets = Annotated[
    list[str],
    Field(
        max_length=MAX_FACETS,
        description="Metadata columns whose values are counted over all rows that pass the filter, not only the hits.",
        examples=[["brand", "price"]],
    ),
]
FacetLimit = Annotated[
    int, Plain, Field(ge=1, le=MAX_FACET_VALUES, description="Maximum number of values that a facet lists.")
]
Distinct = Annotated[
    str | None,
    Field(description="A metadata column: each of its values has one hit, the best. A row without a value is its own."),
]
Offset = Annotated[int, Plain, Field(ge=0, le=MAX_OFFSET, description="This many hits are left out first.")]
After = Annotated[
    str | None, Field(description="`next` of the page before, in place of an offset; everything else as it was.")
]
Order = Annotated[
    str | None,
    Field(
        description="A metadata column and asc or desc; rows without a value come last, equal ones by key. By key where"
        " it is left out.",
        examples=["price desc"],
    ),
]


class Request(BaseModel):
    # A misspelled field is refused, not ignored: without its filters a search would look right and be wrong.
    model_config = ConfigDict(extra="forbid", strict=True)


class RankingChanges(Request):
    """Other values for keys of `[search]` in rowvec.toml, for this search. What is left out stays as it is there."""

    fusion: Annotated[Fusion, Field(description="How a hybrid search joins its halves.")] = "convex"
    semantic_weight: Annotated[float, Field(ge=0, le=1, description="Of meaning; the words have the rest.")] = 0.6
    static: Annotated[
        str | None,
        Field(
            max_length=LONGEST_EXPRESSION,
            description="An expression over metadata columns: numbers, columns, functions, + - * /. Null for none.",
            examples=["log(1 + downloads) / 20"],
        ),
    ] = None
    static_weight: Annotated[float, Field(ge=0, le=MOST_WEIGHT)] = 0.2
    title: Annotated[
        str | None, Field(description="A metadata column: how many of the query's words stand in it. Null for none.")
    ] = None
    title_weight: Annotated[float, Field(ge=0, le=MOST_WEIGHT)] = 0.2
    decay: Annotated[str | None, Field(description="A date or timestamp column. Null for none.")] = None
    half_life_days: Annotated[float | None, Field(gt=0, le=MOST_DAYS, description="Null for no decay.")] = None


class PageRequest(Request):
    limit: Limit = 10
    filters: Filters | None = None
    passages: Passages = 1
    facets: Facets = []
    facet_limit: FacetLimit = 10
    offset: Offset = 0
    after: After = None
    partial: Partial = None


class SearchRequest(PageRequest):
    query: QueryText
    explain: Explain = False
    rerank: Rerank = None
    typos: Typos = None
    prefix: Prefix = None
    distinct: Distinct = None
    ranking: RankingChanges | None = Field(
        None,
        description="Other values for keys of [search] in rowvec.toml, for this search: `fusion`, `semantic_weight`,"
        " `static`, `static_weight`, `title`, `title_weight`, `decay`, `half_life_days`. What is left out stays as it"
        " is there; null switches `static`, `title`, `decay` and `half_life_days` off.",
        examples=[{"semantic_weight": 0.8}],
    )
    generation: WhichGeneration = "live"

    @property
    def changes(self) -> dict[str, Any] | None:
        return None if self.ranking is None else self.ranking.model_dump(exclude_unset=True)

    @property
    def refine(self) -> Refine:
        return Refine(self.facets, self.facet_limit, self.distinct, self.offset, self.after)


class BrowseRequest(PageRequest):
    order: Order = None

    @property
    def refine(self) -> Refine:
        return Refine(self.facets, self.facet_limit, None, self.offset, self.after, self.order)


class EventRequest(Request):
    query_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$", description="As the reply of the search gave it.")]
    key: Annotated[RowKey, Field(description="The id of a hit of that reply.")]
    type: Annotated[Literal["click", "conversion"], Field(description="It was opened, or it was what they wanted.")]
    position: Annotated[int | None, Field(ge=1, le=MAX_LIMIT, description="Its place in the list, from 1.")] = None


class EventReply(BaseModel):
    recorded: bool


class TextsRequest(Request):
    ids: Annotated[list[RowKey], Field(max_length=MAX_TEXTS, description="Of rows.", examples=[[4711, 4712]])]


class RowText(BaseModel):
    id: int | str
    text: str


class TextsReply(BaseModel):
    texts: list[RowText] = Field(description="Of those rows whose text is kept, in the order of `ids`.")


class FilteredRequest(SearchRequest):
    filters: Filters


class Passage(BaseModel):
    text: str
    start: int = Field(description="Where it begins in the text of the row, in characters.")
    end: int
    score: float | None = Field(None, description="Its similarity to the query; null in a search by words.")
    marks: list[tuple[int, int]] = Field(
        description="Where words of the query stand in `text`: pairs of characters, from and up to."
    )


class Hit(BaseModel):
    id: int | str
    score: float | None = Field(description="Null for rows that are browsed: nothing was looked for.")
    metadata: dict[str, Any]
    passages: list[Passage] | None = Field(
        None, description="Parts of the row's text that answer the query, the best first. Left out where none is kept."
    )
    explain: dict[str, float | None] | None = Field(
        None,
        description="The parts of the score. semantic, keyword, static, title, decay, rerank: as they were measured."
        " semantic_rank, keyword_rank: the place in each half, from 1. semantic_part, keyword_part, static_part,"
        " title_part, rerank_part, capped_part: what each adds to the score after normalising, with its weight and the"
        " decay; together they are the score. fused: the halves together. final: the score.",
    )


class FacetValue(BaseModel):
    value: str | bool
    count: int


class FacetBin(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    start: int | float | str = Field(alias="from")
    end: int | float | str = Field(alias="to", description="It belongs to the next bin. The last bin has its end too.")
    count: int


class FacetReply(BaseModel):
    kind: Literal["values", "numbers", "dates"] = Field(
        description="values: texts, booleans, UUIDs, times of day. numbers and dates have bins."
    )
    missing: int = Field(description="Rows without a value; NaN and infinity count as none.")
    values: list[FacetValue] | None = Field(None, description="values: the most frequent first.")
    other: int | None = Field(None, description="values: rows with a value that is not listed.")
    distinct: int | None = Field(None, description="values: number of different values.")
    min: int | float | str | None = Field(None, description="numbers, dates: null where no row has a value.")
    max: int | float | str | None = None
    mean: float | None = Field(None, description="numbers.")
    unit: str | None = Field(None, description="dates: second, minute, hour, day, week, month, quarter, year, …")
    bins: list[FacetBin] | None = Field(None, description="numbers, dates: from the least value to the greatest.")


class FacetsReply(BaseModel):
    scope: Literal["filtered rows", "all rows"] = Field(
        description="What is counted: every row with a vector that passes the filter, or every row with a vector."
    )
    rows: int = Field(description="How many those are.")
    columns: dict[str, FacetReply]


class SearchReply(BaseModel):
    results: list[Hit]
    exact: bool = Field(description="Every matching row was compared; false where an approximate index answered.")
    complete: bool = Field(description="There are `limit` hits, or as many as there are matching rows.")
    execution_time_ms: float
    embed_ms: float = Field(description="Turning the query into a vector; about 0 where it was cached.")
    search_ms: float
    reranked: bool | None = Field(
        None,
        description="The reranker put the best hits into order; false where it gave no usable answer in time, and the"
        " order is that of the search alone. Left out where it was not asked.",
    )
    corrected: str | None = Field(
        None,
        description="What was searched for in place of the query, which has words that no row holds. Left out where"
        " nothing was corrected.",
    )
    rerank_ms: float | None = Field(None, description="Waiting for the reranker. Left out where it was not asked.")
    rerank_problem: str | None = Field(None, description="Why `reranked` is false.")
    query_id: str | None = Field(None, description="For POST /events. Left out where no queries are logged.")
    total: int | None = Field(
        None, description="Rows that pass the filter. Given with facets, and for rows that are browsed."
    )
    facets: FacetsReply | None = Field(None, description="Left out where none were asked for.")
    next: str | None = Field(None, description="Cursor of the next page, for `after`. Null where this is the last one.")
    partial: bool | None = Field(
        None, description="True where parts of the store did not answer, and all is said of the others. Else left out."
    )
    missing_parts: list[int] | None = Field(None, description="The numbers of those parts, from 1 on.")
    advice: str | None = Field(
        None, description="What the filter may have been meant to be, where nothing was found with it. Else left out."
    )


class ErrorBody(BaseModel):
    message: str
    hint: str | None


class ErrorReply(BaseModel):
    error: ErrorBody
