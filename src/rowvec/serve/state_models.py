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
    missing_parts: list[int] | None = Field(
        None, description="Parts of the store, from 1 on, that searches go on without. Left out where there is none."
    )


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
    title: str | None
    title_weight: float
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
    key_type: str = Field(description="What the ids of hits are: integer, text or uuid.")
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


class ForecastInfo(BaseModel):
    per_month: float | None = Field(description="US dollars for 30 days; null where `too_little` says why.")
    texts_per_month: int | None
    since: dt.datetime | None = Field(description="Runs that began after this moment are counted.")
    days: float = Field(description="From then until now.")
    runs: int = Field(description="How many there were.")
    cost: float = Field(description="What they cost for rows that were new or had changed, in US dollars.")
    too_little: str = Field(description='Why nothing can be said yet, or "".')


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
    aside: str = Field(description="Which value of the cursor is not relied on; empty where all are.")


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


class LagInfo(BaseModel):
    standby: bool
    seconds: float | None = Field(description="Behind by so much at most; 0 where it has all; null where unknown.")
    bytes: int | None = Field(description="Of the primary's log that it has not carried out.")


class ReplicaInfo(BaseModel):
    where: str
    lag: LagInfo | None
    problem: str | None = Field(description="Why searches do not work there.")


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
    replica: ReplicaInfo | None = Field(description="Which searches ask; null where they ask the store itself.")
    reasons: list[ReasonInfo] = Field(description="Why rows failed, the reason with most rows first.")
    model: str | None
    runs: list[RunInfo]
    totals: TotalsInfo
    forecast: ForecastInfo | None = Field(description="What embedding costs a month; null where nothing was billed.")
    index: IndexInfo | None = Field(description="None if searches compare every row.")
    engine: str = Field(description="What compares vectors, with its version.")
    refusal: RefusalInfo | None = Field(description="A deletion that a sync refused, until it is allowed or resolved.")


class RepeatedInfo(BaseModel):
    rows: int
    keys: list[int | str] = Field(description="Some of them.")


class NearInfo(BaseModel):
    a: int | str
    b: int | str
    similarity: float = Field(description="Cosine of their vectors.")


class OddInfo(BaseModel):
    key: int | str
    similarity: float = Field(description="Mean cosine to its five nearest rows.")
    nearest: int | str


class QualityReply(BaseModel):
    """Lists of rows, each with up to 50 entries."""

    pipeline: str
    at: dt.datetime = Field(description="When they were looked for.")
    truncated: int = Field(description="Texts longer than the model's window.")
    cut: list[int | str] = Field(description="Keys of some of these rows.")
    repeated: list[RepeatedInfo] = Field(description="Texts that several rows have.")
    rows: int = Field(description="In the store, those without a vector too.")
    asked: int = Field(description="Rows that were compared with their nearest.")
    bound: float
    seconds: float = Field(description="That it took.")
    near: list[NearInfo] = Field(description="Pairs of different texts from `bound` on, the most similar first.")
    near_found: int
    odd: list[OddInfo] = Field(description="Rows below `fence`, the farthest first.")
    odd_found: int
    usual: float | None = Field(description="The median similarity; null where there are too few rows.")
    fence: float | None = Field(description="One and a half times the middle half's width below the middle half.")
