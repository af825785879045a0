"""Where rows come from, as a rowvec.toml says it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, model_validator

from rowvec.config.bases import SourceConfig
from rowvec.config.fields import (
    Count,
    NameOrNames,
    Names,
    OptionalText,
    Section,
    Text_,
    blank_is_none,
    clear_url,
    duration,
    number,
    wrong,
)
from rowvec.errors import SearchError
from rowvec.support.suggestions import suggestion

if TYPE_CHECKING:
    from rowvec.sources.base import CursorSettings

OURS = frozenset(
    {"group.id", "enable.auto.commit", "enable.auto.offset.store", "enable.partition.eof", "auto.offset.reset"}
)
"""Options of the Kafka client that say how far it has read, which the store knows."""


def _url(value: SecretStr, info: ValidationInfo) -> SecretStr:
    url = value.get_secret_value()
    if "://" not in url:
        raise wrong(
            "is not a database URL",
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
                f"is not a filter: {what}", error.hint or "Write a condition, such as price < 100 and brand = 'HP'."
            ) from None
    return value


def _column_type(value: Any) -> Any:
    from rowvec.types import ColumnType

    words = [str(each) for each in ColumnType]
    if value in words:
        return value
    near = suggestion(value, words) if isinstance(value, str) else f"Write one of {', '.join(words)}."
    raise wrong("is not a column type", near)


def _delimiter(value: str | None) -> str | None:
    if value is not None and (len(value) != 1 or value in '"\r\n'):
        raise wrong("is not one character", r'Write delimiter = ";", or "\t" for a tab.')
    return value


def _lag(value: Any) -> Any:
    """A length of time, or an amount of an integer cursor."""
    if not isinstance(value, bool | int):
        return None if value is None else duration(value)
    if not 1 <= number(value) < 2**63:
        # Without this it would be taken for seconds.
        what = "is less than 1" if value < 1 else "is more than 64 bits hold"
        raise wrong(what, 'Write a length of time such as "5m", or an amount such as 1000.')
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


class SqlRowsConfig(Section):
    """Rows of a table or of a query."""

    kind: Literal["sql"] = "sql"
    url: Annotated[SecretStr, Field(min_length=1), AfterValidator(clear_url), AfterValidator(_url)] = Field(
        examples=["sqlite:///shop.db"]
    )
    """The database: `sqlite:///shop.db`, `postgresql://user@host/db`, `mysql://user@host/db`."""
    table: OptionalText = None
    """A table or view, `table` or `schema.table`."""
    query: OptionalText = None
    """Any SELECT, instead of `table`."""
    key: Annotated[Text_, BeforeValidator(_key)] = Field(examples=["id"])
    """The key column: unique, never null."""
    where: OptionalText = None
    """Read only rows that meet this condition, in the database's own SQL."""

    @model_validator(mode="after")
    def _one_of_table_and_query(self) -> SqlRowsConfig:
        if self.table and self.query:
            raise wrong("has both table and query", "Keep one of them.")
        if not self.table and not self.query:
            raise wrong("has neither table nor query", 'Add table = "products", or query = "select …".')
        return self


class _CursorConfig(SourceConfig):
    """A column that grows with each change, and how far it is trusted."""

    cursor: OptionalText = None
    """A column that grows with each change: only rows above its last value are compared."""
    cursor_lag: Annotated[dt.timedelta | Count | None, BeforeValidator(_lag), BeforeValidator(blank_is_none)] = None
    """How far below the last value a sync starts to read, for rows that commit late: `5m`, or 1000 for integers."""
    full_every: Annotated[dt.timedelta, BeforeValidator(duration)] = dt.timedelta(days=1)
    """How often all rows are compared."""

    @property
    def cursor_settings(self) -> CursorSettings:
        from rowvec.sources.base import CursorSettings

        return CursorSettings(self.cursor_lag, self.full_every)

    @model_validator(mode="after")
    def _used(self) -> _CursorConfig:
        for name in ("cursor_lag", "full_every"):
            if self.cursor is None and name in self.model_fields_set and getattr(self, name) is not None:
                raise wrong(f"has {name}, but no cursor", 'Add cursor = "updated_at", or leave it out.')
        return self


class SqlSourceConfig(SqlRowsConfig, _CursorConfig):
    """A database that is read again and again."""

    kind: Literal["sql"] = "sql"

    @property
    def rows_url(self) -> str:
        return self.url.get_secret_value()


class FilesSourceConfig(_CursorConfig):
    """Parquet, CSV and JSON Lines files; see rowvec.sources.files.source.FilesSource."""

    kind: Literal["files"] = "files"
    # Not in a repr: an S3 URL can hold a key and its secret.
    paths: Paths = Field(repr=False, examples=["rows/*.parquet"])
    """Paths and `s3://` URLs; `*` is anything within a folder, `**` any folders."""
    key: Key = Field(examples=["id"])
    """The key column: unique, never null."""
    format: Annotated[Literal["parquet", "csv", "jsonl"] | None, BeforeValidator(blank_is_none)] = None
    """File format; needed only if the file names do not show it."""
    where: Condition = None
    """Read only rows that meet this filter, written as in searches and not as SQL."""
    columns: Annotated[Names, Field(min_length=1)] | None = None
    """Columns to read; by default all of them."""
    types: dict[Text_, Type] = Field(default_factory=dict)
    """Column types, if the values suggest wrong ones: `{ sku = "text" }`."""
    delimiter: Annotated[OptionalText, AfterValidator(_delimiter)] = None
    """Delimiter of CSV files; by default a comma, or a tab in `.tsv`."""


class DebeziumSourceConfig(SourceConfig):
    """Change events in files or in Kafka; see rowvec.sources.events.stream.EventSettings.

    `rows` is the table that the events are of, for comparing all of it and for values that events leave out.
    """

    kind: Literal["debezium"] = "debezium"
    paths: Paths | None = Field(default=None, repr=False)
    """Events in JSON Lines, in files or on S3."""
    brokers: OptionalText = None
    """Kafka instead of `paths`: `host:port`, several separated by commas."""
    topics: NameOrNames | None = None
    """Topics to read from `brokers`."""
    options: Annotated[dict[Text_, SecretStr], BeforeValidator(_options)] = Field(default_factory=dict)
    """Settings of librdkafka. They are never shown."""
    key: Key = Field(examples=["id"])
    """The key column."""
    key_type: Annotated[Literal["integer", "text", "uuid"] | None, BeforeValidator(blank_is_none)] = None
    """Type of the key, if the first events suggest a wrong one."""
    table: OptionalText = None
    """Table whose events are read; events of other tables are skipped."""
    columns: Annotated[dict[Text_, Type], Field(min_length=1)] | None = None
    """Column types; needed if there are no events yet and no `rows`."""
    types: dict[Text_, Text_] = Field(default_factory=dict)
    """Debezium's types of columns, for events without a schema."""
    where: Condition = None
    """Read only rows that meet this filter, written as in searches."""
    placeholder: OptionalText = None
    """What the connector sends for a value that it does not know; by default Debezium's own."""
    skip_bad: bool = False
    """Skip events that cannot be read, instead of stopping there."""
    rows: SqlRowsConfig | None = None
    """The table that the events are of, with the keys of `sql`."""

    @property
    def rows_url(self) -> str | None:
        return self.rows.url.get_secret_value() if self.rows else None

    @model_validator(mode="before")
    @classmethod
    def _one_key(cls, table: Any) -> Any:
        """The table's key is that of its events."""
        rows = table.get("rows") if isinstance(table, Mapping) else None
        if not isinstance(rows, Mapping) or "key" in rows or "key" not in table:
            return table
        return {**table, "rows": {**rows, "key": table["key"]}}

    @model_validator(mode="after")
    def _one_place(self) -> DebeziumSourceConfig:
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
            raise wrong(
                "has a key that differs from that of its rows",
                "The events and the table share one key: leave one of the two out.",
            )
        return self
