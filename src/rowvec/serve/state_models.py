"""Replies of the HTTP API about the state of pipelines: health, what there is to search, status."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from rowvec.ranking import Fusion


class PipelineHealth(BaseModel):
    ready: bool
    problem: str | None


class HealthReply(BaseModel):
    live: bool
    ready: bool = Field(description="Every pipeline can be searched.")
    details: dict[str, PipelineHealth] | None = Field(
        description="By pipeline; null for callers without the API key of a server that has one."
    )


class MetadataColumn(BaseModel):
    name: str
    type: str


class RankingInfo(BaseModel):
    """`[search]` of rowvec.toml."""

    fusion: Fusion
    semantic_weight: float
    static: str | None
    static_weight: float
    decay: str | None
    half_life_days: float | None


class CardInfo(BaseModel):
    """`[search.card]` of rowvec.toml: which columns have a role on the page."""

    title: str | None
    image: str | None
    image_hosts: list[str]
    url: str | None
    snippet: str | None
    fields: list[str]


class PipelineInfo(BaseModel):
    name: str
    key: str
    model: str
    dimension: int
    modes: list[str]
    columns: list[MetadataColumn] = Field(description="The metadata columns: what filters may use.")
    ranking: RankingInfo
    reranks: bool = Field(description="It has a reranker.")
    billed: bool = Field(
        description="A query may cost money or time: its model is a paid service, or a reranker reads its hits."
    )
    card: CardInfo


class PipelinesReply(BaseModel):
    pipelines: list[PipelineInfo]


class RunInfo(BaseModel):
    id: int
    started_at: dt.datetime
    ended_at: dt.datetime | None
    outcome: str
    report: Mapping[str, Any]
    error: str | None
    stopping: bool = Field(description="It was asked to stop, and has not ended yet.")


class TotalsInfo(BaseModel):
    runs: int
    texts: int
    tokens: int
    cost: float = Field(description="US dollars.")
    outcomes: dict[str, tuple[int, float]] = Field(description="Of each outcome, how many runs and their seconds.")
    rerank_cost: float = Field(description="US dollars that searches spent on a reranker, beside `cost`.")


class IndexInfo(BaseModel):
    kind: str
    name: str | None
    precision: str | None
    operators: str | None
    definition: str | None
    valid: bool
    bytes: int | None
    effort: int | None = Field(description="hnsw.ef_search or ivfflat.probes, as tuned.")
    recall: float | None = Field(description="Between 0 and 1, as measured at that effort.")
    measured_at: dt.datetime | None


class RefusalInfo(BaseModel):
    since: dt.datetime
    said: str


class WaitingInfo(BaseModel):
    rows: int
    by: str = Field(description="What tells: the cursor column, or the number of rows.")
    at_least: bool = Field(description="There may be more of them.")


class VerdictInfo(BaseModel):
    tone: Literal["good", "old", "busy", "warn"]
    text: str = Field(description="One line; never `in step` without `as of`.")
    reasons: list[str]


class WorkInfo(BaseModel):
    run: int
    started_at: dt.datetime
    phase: str
    rows: int = Field(description="Rows that need nothing more.")
    total: int | None
    share: float | None = Field(description="Between 0 and 1.")
    per_second: float = Field(description="Rows, over the last few seconds.")
    seconds_left: float | None
    failed: int
    texts: int
    tokens: int
    cost: float = Field(description="US dollars.")
    budget: float | None = Field(description="What `--max-cost` allows, in US dollars.")
    seen_at: dt.datetime | None = Field(description="When the sync said so.")
    holder: str | None = Field(description="Who holds the lock, and since when.")
    stopping: bool


class ReasonInfo(BaseModel):
    rows: int
    error: str
    keys: list[int | str] = Field(description="Some of these rows.")
    next_try: dt.datetime


class GenerationInfo(BaseModel):
    state: Literal["live", "building", "previous"]
    fingerprint: dict[str, Any] | None
    rows: int
    failures: int
    stale: int
    bytes: int | None
    since: dt.datetime
    undone: bool
    lost: int


class StatusReply(BaseModel):
    pipeline: str
    verdict: VerdictInfo
    as_of: dt.datetime | None = Field(
        description="When the last sync of all rows began: `current` is true of that moment. Null before the first."
    )
    waiting: WaitingInfo | None = Field(description="Rows changed since then; null where nothing can tell.")
    rows: int = Field(description="Rows that the source holds now.")
    current: int = Field(description="Rows whose vector is that of their text, as of `as_of`.")
    coverage: float = Field(description="`current` / `rows`.")
    lag_seconds: float | None = Field(
        description="Since when a row may be without a current vector, as far as is known; null where none is known."
    )
    settings_changed: str = Field(description='What the config says otherwise than at the last sync, or "".')
    failures: int
    stale: int
    truncated: int
    divided: int = Field(description="Rows that are cut into passages.")
    passages: int
    unfit: int = Field(description="Metadata values that are null because they do not fit their column.")
    bytes: int = Field(description="Of the live generation, with its texts, passages and indexes.")
    all_bytes: int = Field(description="Of all generations.")
    generations: list[GenerationInfo]
    work: WorkInfo | None = Field(description="The sync at work now.")
    reasons: list[ReasonInfo] = Field(description="Why rows failed, the reason with most rows first.")
    model: str | None
    runs: list[RunInfo]
    totals: TotalsInfo
    index: IndexInfo | None = Field(description="None if searches compare every row.")
    engine: str = Field(description="What compares vectors, with its version.")
    refusal: RefusalInfo | None = Field(description="A deletion that a sync refused, until it is allowed or resolved.")
