"""What may stand in a rowvec.toml; its sources are in `sources.py`, its stores in `stores.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from rowvec.config.bases import EmbedderConfig
from rowvec.config.card import CardConfig
from rowvec.config.fields import (
    Count,
    Name,
    Names,
    OptionalCount,
    OptionalText,
    Section,
    Text_,
    absolute,
    blank_is_none,
    number,
    path_or_name,
    wrong,
)
from rowvec.config.rerank import RerankConfig

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def _columns(value: Any) -> Any:
    if value is None or value == "*":
        return value
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise wrong('is neither "*" nor a list of names', 'Write columns = "*", or columns = ["title", "description"].')
    if not value:
        raise wrong("is empty", 'Name a column, or write columns = "*".')
    return tuple(str(name) for name in value)


def _lines(value: Any) -> Any:
    if value is None:
        return None
    lines = value.strip("\n").splitlines() if isinstance(value, str) else value
    if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
        raise wrong("is not a list of lines", 'Write lines = ["Title: {title}", "Tags: {tags}"].')
    if not any(line.strip() for line in lines):
        raise wrong("is empty", 'Write lines = ["Title: {title}", "Tags: {tags}"].')
    return tuple(str(line) for line in lines)


ModelName: TypeAlias = Annotated[Name, AfterValidator(path_or_name)]


class PassagesConfig(Section):
    """How a text that does not fit the model's window is cut, each part with a vector of its own."""

    tokens: Count = 200
    """Maximum number of tokens in a passage, its context and overlap included."""
    overlap: Annotated[int, BeforeValidator(number), Field(ge=0)] = 20
    """Maximum number of tokens that repeat the end of the passage before."""
    split: Literal["auto", "markdown", "none"] = "auto"
    """Where to cut: `auto` between paragraphs, lines, sentences or words; `markdown` also before headings, and not in
    code; `none` between words only."""
    context: OptionalText = Field(default=None, examples=["{{ title }}"])
    """A Jinja2 template; its text is put before each passage but the first."""
    max_passages: Count = 64
    """Maximum number of passages of a row. What lies behind them is not read."""

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> PassagesConfig:
        if self.overlap * 2 > self.tokens:
            raise wrong(
                f"has an overlap of {self.overlap} in passages of {self.tokens} tokens",
                f"Write overlap = {self.tokens // 10}, or up to half of tokens.",
            )
        return self


class TextConfig(Section):
    """How a row becomes text. One of `columns`, `template` and `lines` is set, the other two are None."""

    columns: Annotated[tuple[str, ...] | Literal["*"] | None, PlainValidator(_columns)] = None
    """A list of columns, or `"*"` for all: `name: value. name: value`. The default form."""
    exclude: Names = ()
    """Columns that `columns = "*"` leaves out."""
    repeat: dict[str, Count] = Field(default_factory=dict)
    """How often a column is repeated in the text: `{ name = 2 }` gives it more weight."""
    template: OptionalText = None
    """Instead of columns: a Jinja2 template, such as `"{{ title }}. {{ description }}"`."""
    lines: Annotated[tuple[str, ...] | None, PlainValidator(_lines)] = None
    """Instead of columns: labelled lines, such as `"Title: {title}"`. A line without any value is left out."""
    passages: PassagesConfig | None = None
    """Cut a text that does not fit the model's window into passages with a vector each: `{ tokens = 200 }`, or `{}` for
    the usual ones."""

    @model_validator(mode="before")
    @classmethod
    def _all_columns_by_default(cls, table: Any) -> Any:
        given = isinstance(table, Mapping) and any(table.get(form) not in (None, "") for form in FORMS)
        return table if given or not isinstance(table, Mapping) else {**table, "columns": "*"}

    @model_validator(mode="after")
    def _one_form(self) -> TextConfig:
        given = [form for form in FORMS if getattr(self, form) is not None]
        if len(given) > 1:
            raise wrong(f"has {' and '.join(given)}", "Keep one of them: each makes the whole text.")
        if self.columns is None:
            for name in ("exclude", "repeat"):
                if getattr(self, name):
                    raise wrong(f"has {name} beside {given[0]}", f"{name} goes with columns only: leave it out.")
        return self


FORMS = ("columns", "template", "lines")


class LocalEmbedderConfig(EmbedderConfig):
    """A model that runs in this process."""

    kind: Literal["local"] = "local"
    model: ModelName = MINILM
    """Name of the model on the Hugging Face hub, or a folder that holds it."""
    precision: Literal["float32", "bfloat16", "int8", "float16"] = "float32"
    """`int8` is about twice as fast, its vectors a little off. `bfloat16` needs a processor with units for it and the
    extra `openvino`; `float16` needs a GPU."""
    query_precision: Literal["auto", "float32", "bfloat16", "int8", "float16"] | None = None
    """Precision of queries, where it shall be another one than that of the rows. `auto` takes `bfloat16` for `float32`
    rows where the processor has units for it; `rowvec check` compares the two."""
    engine: Literal["auto", "ctranslate2", "openvino"] = "auto"
    """What computes: `auto` takes OpenVINO for `bfloat16` on a processor, and CTranslate2 for everything else."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses a GPU if there is one."""
    overflow: Literal["mean", "truncate"] = "mean"
    """A text longer than the window is embedded in windows whose mean is taken, or cut off at the window's end."""
    dimensions: OptionalCount = None
    """Dimension of the vectors, to make them shorter than the model's own: its first numbers, scaled to length 1."""
    max_tokens: OptionalCount = None
    """Window in tokens, to make it smaller than the model's own."""
    query_prompt: str | None = None
    """Prefix of a query; by default what the model's files say."""
    passage_prompt: str | None = None
    """Prefix of the text of a row; by default what the model's files say."""
    query_centre: Annotated[float, BeforeValidator(number), Field(ge=0, le=1, examples=[0.5])] = 0.0
    """Share of what all queries have in common that is taken off each, 0 to 1. With `0.5`,
    `multilingual-e5-small` finds more rows in other languages."""
    workers: OptionalCount = None
    """Batches computed at once; by default one for each core."""
    batch_size: OptionalCount = None
    """Maximum number of texts in a batch; by default what fits a budget of tokens."""
    cache_dir: Annotated[Path | None, BeforeValidator(absolute), BeforeValidator(blank_is_none)] = None
    """Folder in which downloaded and converted models are kept."""

    of_the_machine: ClassVar = frozenset({"query_precision", "engine", "device", "workers", "batch_size", "cache_dir"})


class SentenceTransformersEmbedderConfig(EmbedderConfig):
    """Any model that the sentence-transformers library loads."""

    kind: Literal["sentence-transformers"] = "sentence-transformers"
    model: ModelName = Field(default=MINILM, examples=["sentence-transformers/all-mpnet-base-v2"])
    """Name of the model on the Hugging Face hub, or a folder that holds it."""
    device: OptionalText = None
    """Device as the library names it, such as `cuda:0`; by default the library chooses."""
    batch_size: OptionalCount = None
    """Texts in one batch; by default a number that suits the device."""
    dimensions: OptionalCount = None
    """Dimension of the vectors, to make them shorter than the model's own: its first numbers, scaled to length 1."""
    query_prompt: str | None = None
    """Prefix of a query; by default what the model's files say."""
    passage_prompt: str | None = None
    """Prefix of the text of a row; by default what the model's files say."""
    revision: OptionalText = None
    """A branch, tag or commit of the model on the hub."""
    trust_remote_code: bool = False
    """Run Python that comes with the model."""

    not_kept: ClassVar = frozenset({"trust_remote_code"})
    of_the_machine: ClassVar = frozenset({"device", "batch_size"})


class SearchConfig(Section):
    """How hits are ranked; see rowvec.ranking.Ranking."""

    fusion: Literal["convex", "rrf"] = "convex"
    """How hybrid search joins its two sides: scores added, or reciprocal ranks."""
    semantic_weight: Annotated[float, BeforeValidator(number), Field(ge=0, le=1)] = 0.6
    """Weight of the semantic score in `convex`, 0 to 1; the keyword score gets the rest."""
    static: OptionalText = None
    """An expression over metadata columns that is added to each score, such as `"log(1 + downloads) / 20"`."""
    static_weight: Annotated[float, BeforeValidator(number), Field(ge=0, allow_inf_nan=False)] = 0.2
    """Factor by which `static` is multiplied."""
    title: OptionalText = None
    """A metadata column that names a row: how many of the query's words stand in it is added to each score."""
    title_weight: Annotated[float, BeforeValidator(number), Field(ge=0, allow_inf_nan=False)] = 0.2
    """Factor by which that share, 0 to 1, is multiplied."""
    decay: OptionalText = None
    """A date or timestamp column: older rows count less."""
    half_life_days: Annotated[
        float | None, Field(gt=0, allow_inf_nan=False, examples=[30]), BeforeValidator(number)
    ] = None
    """Age at which a row's score is halved."""
    typos: bool = False
    """Correct words of a query that no row holds, by the words of the rows, which are kept for that."""
    prefix: bool = False
    """Take the last word of a query as the beginning of a word, for results while somebody types."""
    partial: bool = False
    """Answer from the parts of a split store that answer, where others do not, and say so in the answer."""
    rerank: RerankConfig | None = None
    """A service or a model that puts the best hits into a better order; its keys are below."""
    card: CardConfig | None = None
    """How the page shows a row; its keys are below."""

    @property
    def keeps_words(self) -> bool:
        """The store keeps the words of the rows as they are written."""
        return self.typos or self.prefix


class EvalConfig(Section):
    """What a new generation is measured by, before searches see it."""

    queries: Annotated[Path, BeforeValidator(absolute)] = Field(examples=["queries.csv"])
    """File of queries: CSV, JSONL or TREC, as `rowvec eval` reads it."""
    judgements: Annotated[Path, BeforeValidator(absolute)] = Field(examples=["judgements.csv"])
    """File of judgements: CSV, JSONL or TREC qrels."""
    measure: Text_ = "nDCG@10"
    """Measure, as `rowvec eval` names it."""
    tolerance: Annotated[float, BeforeValidator(number), Field(ge=0, le=1)] = 0.01
    """How much lower than the live generation a new one may score."""


class PipelineTable(Section):
    """One pipeline whose parts are not checked yet."""

    source: dict[str, Any] = Field(examples=[{"kind": "sql", "url": "sqlite:///shop.db"}])
    """Where rows come from; its keys depend on `kind`."""
    text: dict[str, Any] = Field(default_factory=dict)
    """How a row becomes text."""
    search: dict[str, Any] = Field(default_factory=dict)
    """How hits are ranked."""
    embedder: dict[str, Any] = Field(default_factory=dict)
    """Which model makes the vectors; its keys depend on `kind`."""
    query_embedder: dict[str, Any] | None = None
    """The same model somewhere else, which embeds queries instead: the same keys as `embedder`. It is refused where the
    two do not agree."""
    store: dict[str, Any] = Field(default_factory=dict)
    """Where vectors are kept; its keys depend on `kind`."""
    eval: dict[str, Any] | None = None
    """What a new generation is measured by, before searches see it."""
    schedule: dict[str, Any] | None = None
    """When `rowvec beat` queues a sync."""
    on_missing: Literal["delete", "keep"] = "delete"
    """What happens to the vector of a row that is gone."""
