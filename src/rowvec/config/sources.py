"""Where rows come from, as a rowvec.toml says it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, model_validator

from rowvec.config.fields import Count, NameOrNames, Names, OptionalText, Section, Text_, blank_is_none, wrong
from rowvec.errors import SearchError
from rowvec.naming import suggestion

OURS = frozenset(
    {"group.id", "enable.auto.commit", "enable.auto.offset.store", "enable.partition.eof", "auto.offset.reset"}
)
"""Options of the Kafka client that say how far it has read, which the store knows."""


def _url(value: SecretStr, info: ValidationInfo) -> SecretStr:
    url = value.get_secret_value()
    if "://" not in url:
        raise wrong(
            "is no database URL",
            "Write sqlite:///shop.db, postgresql://user@host/database or mysql://user@host/database.",
        )
    file = re.fullmatch(r"(sqlite(?:\+\w+)?:///)(?!:memory:|file:)(.+)", url, re.DOTALL)
    return SecretStr(file[1] + str(info.context.path(file[2]))) if file and info.context else value


def _key(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    if len(value) == 1:
        raise wrong("is a list", 'Write one name without brackets: key = "id".')
    raise wrong(
        "is a list, and a key is one column",
        "Make one column out of them in a query instead of a table:"
        """ query = "select a || '-' || b as id, title from orders", key = "id".""",
    )


def _single_key(value: Any) -> Any:
    if isinstance(value, list | tuple):
        raise wrong("is a list, and a key is one column", 'Write one name without brackets: key = "id".')
    return value


def _paths(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """Relative ones start beside the config; URLs stay."""
    if not info.context:
        return value
    return tuple(path if "://" in path else str(info.context.path(path)) for path in value)


def _condition(value: str | None) -> str | None:
    if value is not None:
        # Here, as column types below: configs without any are read without numpy.
        from rowvec.filters import parse

        try:
            parse(value)
        except SearchError as error:
            what = error.message.splitlines()[0].removeprefix("The filter cannot be read: ").rstrip(".")
            raise wrong(
                f"is no filter: {what}", error.hint or "Write a condition, such as price < 100 and brand = 'HP'."
            ) from None
    return value


def _column_type(value: Any) -> Any:
    from rowvec.types import ColumnType

    words = [str(each) for each in ColumnType]
    if value in words:
        return value
    near = suggestion(value, words) if isinstance(value, str) else f"Write one of {', '.join(words)}."
    raise wrong("is no type of a column", near)


def _delimiter(value: str | None) -> str | None:
    if value is not None and (len(value) != 1 or value in '"\r\n'):
        raise wrong("is not one character", r'Write delimiter = ";", or "\t" for a tab.')
    return value


def _options(value: Any) -> Any:
    """As the Kafka client wants them, one text each: `sasl.username = "me"` is a table within a table in TOML."""
    if not isinstance(value, Mapping):
        return value
    options = dict(_flattened(value))
    for name, each in options.items():
        if name == "bootstrap.servers":
            raise wrong("has bootstrap.servers", 'Write brokers = "host:9092" beside options.')
        if name in OURS:
            raise wrong(f"has {name}, which is rowvec's own", "Leave it out: the store keeps how far was read.")
        if not isinstance(each, str):
            raise wrong(f"has no text for {name}", f'Write {{ "{name}" = "…" }}.')
    return options


def _flattened(table: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        elif isinstance(value, bool | int | float):
            yield f"{prefix}{name}", str(value).lower()
        else:
            yield f"{prefix}{name}", value


Key: TypeAlias = Annotated[Text_, BeforeValidator(_single_key)]
Paths: TypeAlias = Annotated[NameOrNames, AfterValidator(_paths)]
Condition: TypeAlias = Annotated[OptionalText, AfterValidator(_condition)]
Type: TypeAlias = Annotated[str, BeforeValidator(_column_type)]
"""The value of a ColumnType."""


class SqlRows(Section):
    """Rows of a table or of a query."""

    kind: Literal["sql"] = "sql"
    url: Annotated[SecretStr, Field(min_length=1), AfterValidator(_url)] = Field(examples=["sqlite:///shop.db"])
    table: OptionalText = None
    query: OptionalText = None
    key: Annotated[Text_, BeforeValidator(_key)] = Field(examples=["id"])
    where: OptionalText = None

    @model_validator(mode="after")
    def _one_of_table_and_query(self) -> SqlRows:
        if self.table and self.query:
            raise wrong("has both table and query", "Keep one of them.")
        if not self.table and not self.query:
            raise wrong("has neither table nor query", 'Add table = "products", or query = "select …".')
        return self


class SqlSource(SqlRows):
    """A database that is read again and again."""

    cursor: OptionalText = None
    page_size: Count = 2000


class FilesSource(Section):
    """Parquet, CSV and JSON Lines files; see rowvec.sources.files.FilesSource."""

    kind: Literal["files"] = "files"
    # Not in a repr: an S3 URL can hold a key and its secret.
    paths: Paths = Field(repr=False, examples=["rows/*.parquet"])
    key: Key = Field(examples=["id"])
    format: Annotated[Literal["parquet", "csv", "jsonl"] | None, BeforeValidator(blank_is_none)] = None
    where: Condition = None
    columns: Annotated[Names, Field(min_length=1)] | None = None
    types: dict[Text_, Type] = Field(default_factory=dict)
    cursor: OptionalText = None
    delimiter: Annotated[OptionalText, AfterValidator(_delimiter)] = None
    page_size: Count = 2000


class DebeziumSource(Section):
    """Change events in files or in Kafka; see rowvec.sources.event_stream.EventSettings.

    `rows` is the table that the events are of, for comparing all of it and for values that events leave out.
    """

    kind: Literal["debezium"] = "debezium"
    paths: Paths | None = Field(default=None, repr=False)
    brokers: OptionalText = None
    topics: NameOrNames | None = None
    options: Annotated[dict[Text_, SecretStr], BeforeValidator(_options)] = Field(default_factory=dict)
    key: Key = Field(examples=["id"])
    key_type: Annotated[Literal["integer", "text", "uuid"] | None, BeforeValidator(blank_is_none)] = None
    table: OptionalText = None
    columns: Annotated[dict[Text_, Type], Field(min_length=1)] | None = None
    types: dict[Text_, Text_] = Field(default_factory=dict)
    where: Condition = None
    placeholder: OptionalText = None
    skip_bad: bool = False
    rows: SqlRows | None = None
    page_size: Count = 2000

    @model_validator(mode="before")
    @classmethod
    def _one_key(cls, table: Any) -> Any:
        """The table's key is that of its events."""
        rows = table.get("rows") if isinstance(table, Mapping) else None
        if not isinstance(rows, Mapping) or "key" in rows or "key" not in table:
            return table
        return {**table, "rows": {**rows, "key": table["key"]}}

    @model_validator(mode="after")
    def _one_place(self) -> DebeziumSource:
        if self.paths and self.brokers:
            raise wrong("has both paths and brokers", "Keep one of them.")
        if self.brokers and not self.topics:
            raise wrong("has brokers, but no topics", 'Add topics = "shop.public.products".')
        if self.paths or not self.brokers:
            for name in ("topics", "options"):
                if getattr(self, name):
                    raise wrong(f"has {name}, but no brokers", 'Add brokers = "localhost:9092", or leave it out.')
        if not self.paths and not self.brokers:
            raise wrong(
                "has neither paths nor brokers",
                'Add paths = "events/*.jsonl", or brokers = "localhost:9092" and topics = "shop.public.products".',
            )
        if self.rows is not None and self.rows.key != self.key:
            raise wrong("has another key than its rows", "The events and the table have the same key: leave one out.")
        return self


Source: TypeAlias = SqlSource | FilesSource | DebeziumSource
SOURCES: dict[str, type[Source]] = {"sql": SqlSource, "files": FilesSource, "debezium": DebeziumSource}
