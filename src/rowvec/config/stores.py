"""Stores as rowvec.toml declares them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, model_validator

from rowvec.config.bases import StoreConfig
from rowvec.config.fields import Language, OptionalText, blank_is_none, clear_url, number, without_password, wrong
from rowvec.config.partitions import Drain, Partitions, check_drain, each_url, first_url, places_of

EMBEDDED = "embedded"
LONGEST_COLUMN = 40
LONGEST_TABLE = 50
"""Bytes. PostgreSQL cuts names at 63; the tables of other generations and the indexes put something behind."""


def _postgres_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    if url != EMBEDDED and not re.match(r"postgres(ql)?://|\w+\s*=", url):
        raise wrong(
            "is not a PostgreSQL URL",
            f'Write postgresql://user@host/database, or "{EMBEDDED}" for the one rowvec brings.',
        )
    return value


def _replica_url(value: SecretStr | None) -> SecretStr | None:
    if value is None:
        return None
    if value.get_secret_value() == EMBEDDED:
        raise wrong("is not a PostgreSQL URL", "The embedded server has no replica: leave store.search_url out.")
    return _postgres_url(value)


def _libsql_url(value: SecretStr, info: ValidationInfo) -> SecretStr:
    url = value.get_secret_value()
    scheme, remote, _ = url.partition("://")
    if remote and scheme not in {"libsql", "http", "https", "ws", "wss", "file"}:
        raise wrong("is not a libSQL address", "Write a path such as vectors.db, or libsql://name.turso.io.")
    if ":memory:" in url:
        raise wrong("is in memory, so its vectors are lost when the command ends", "Write a path such as vectors.db.")
    if remote and scheme != "file":
        _has_host(url)
    if (remote and scheme != "file") or not info.context:
        return value
    path, mark, options = url.removeprefix("file:").partition("?")
    full = str(info.context.path(re.sub("^//(?=/)", "", path)))
    return SecretStr(f"file:{full}?{options}" if mark else full)


def _has_host(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and not re.search(r"\s", parts.netloc) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise wrong("has no host, or a port that is not a number", "Write libsql://name.turso.io, or http://host:8080.")


def _table(value: Any, info: ValidationInfo) -> Any:
    """Defaults to a name after the pipeline."""
    if value == "" and info.context:
        value = info.context.pipeline.replace("-", "_") + "_embeddings"
    if not isinstance(value, str):
        return value
    parts = value.split(".")
    if len(parts) > 2 or not all(parts):
        raise wrong("is not a table name", "Write table, or schema.table.")
    if max(len(part.encode("utf-8", "surrogatepass")) for part in parts) > LONGEST_TABLE:
        raise wrong(f"is longer than {LONGEST_TABLE} bytes", 'Choose a shorter name: table = "…".')
    return without_password(value)


def _column(value: str | None) -> str | None:
    if value is not None and len(value.encode("utf-8", "surrogatepass")) > LONGEST_COLUMN:
        raise wrong(f"is longer than {LONGEST_COLUMN} bytes", 'Choose a shorter name: column = "…".')
    return value if value is None else without_password(value)


TableName: TypeAlias = Annotated[str, BeforeValidator(_table)]


Metric: TypeAlias = Literal["cosine", "l2", "ip"]
Seconds: TypeAlias = Annotated[float, BeforeValidator(number), Field(ge=1, le=600, allow_inf_nan=False)]


class PostgresStoreConfig(StoreConfig):
    """PostgreSQL with pgvector: the embedded one, or a server."""

    kind: Literal["postgres"] = "postgres"
    partitions: Annotated[Partitions, AfterValidator(each_url(_postgres_url))] = None
    """Split the rows by a hash of their key: over that many tables, or over the servers of a list of URLs. The next
    sync moves the rows that a change of it concerns."""
    drain: Annotated[Drain, AfterValidator(each_url(_postgres_url))] = None
    """Servers that were the last of `partitions`: the next sync moves their rows to those that are left there."""
    url: Annotated[SecretStr, AfterValidator(clear_url), AfterValidator(_postgres_url)] = SecretStr(EMBEDDED)
    """`"embedded"` is the PostgreSQL that rowvec brings; or `postgresql://user@host/database`."""
    search_url: Annotated[
        SecretStr | None, BeforeValidator(blank_is_none), AfterValidator(clear_url), AfterValidator(_replica_url)
    ] = None
    """Read replicas that searches ask instead: `postgresql://user@replica1,replica2,primary/database` takes the first
    that answers."""
    table: TableName = Field(default="", validate_default=True)
    """`table` or `schema.table`; by default made from the pipeline's name."""
    metric: Metric = "cosine"
    """How vectors are compared: cosine, Euclidean distance, inner product."""
    storage: Literal["vector", "halfvec"] = "vector"
    """`halfvec` takes half the space."""
    column: Annotated[str | None, AfterValidator(_column), BeforeValidator(blank_is_none)] = None
    """Column of a table of your own to write vectors into, instead of a separate table."""
    language: Language = "english"
    """Language of keyword search: `"german"`, several in a list, `"auto"`, or `"simple"` for none; `""` for no keyword
    index."""
    create_extension: bool = True
    """Create the extension `vector` if it is missing."""
    index: Literal["auto", "hnsw", "hnsw-bit", "ivfflat", "none"] = "auto"
    """Kind of vector index; `auto` builds HNSW from 10,000 rows on. `hnsw-bit` holds one to three bits of a number."""
    partial_index: OptionalText = None
    """A metadata column such as `tenant_id`: each value that 10,000 rows have gets a vector index of its own too."""
    timeout: Seconds = 10.0
    """Seconds after which a server that says nothing, not even to a new connection, counts as down for searches."""

    @model_validator(mode="after")
    def _partial_beside_whole(self) -> PostgresStoreConfig:
        if self.partial_index is not None and self.index == "none":
            raise wrong('has partial_index beside index = "none"', "Leave one of them out.")
        return self

    _first = model_validator(mode="before")(first_url)

    @model_validator(mode="after")
    def _can_be_split(self) -> PostgresStoreConfig:
        if self.partitions is not None and self.column is not None:
            raise wrong("has partitions beside column", "A table of your own is not split: leave one of them out.")
        if self.partitions is not None and self.search_url is not None:
            raise wrong("has partitions beside search_url", "Searches ask the parts themselves: leave one of them out.")
        servers = (*self.partitions, *(self.drain or ())) if isinstance(self.partitions, tuple) else ()
        if EMBEDDED in map(SecretStr.get_secret_value, servers):
            raise wrong(
                "has the embedded PostgreSQL in partitions",
                "Write the number of tables, or the URLs of servers: partitions = 4.",
            )
        check_drain(self.partitions, self.drain)
        return self

    @property
    def target(self) -> tuple[str, ...]:
        return (self.url.get_secret_value(), self.table.removeprefix("public."), self.column or "")

    @property
    def targets(self) -> list[tuple[str, ...]]:
        places = places_of(self.url, self.table.removeprefix("public."), self.partitions, self.drain)
        return [self.target, *((url, table, "") for url, table in places[1:])]

    @property
    def own_column(self) -> str | None:
        return self.column

    @property
    def replica(self) -> PostgresStoreConfig | None:
        return None if self.search_url is None else self.model_copy(update={"url": self.search_url, "search_url": None})


class LibsqlStoreConfig(StoreConfig):
    """libSQL: a file, or a Turso database."""

    kind: Literal["libsql"] = "libsql"
    partitions: Annotated[Partitions, AfterValidator(each_url(_libsql_url))] = None
    """Split the rows by a hash of their key: over that many tables, or over the databases of a list. The next
    sync moves the rows that a change of it concerns."""
    drain: Annotated[Drain, AfterValidator(each_url(_libsql_url))] = None
    """Databases that were the last of `partitions`: the next sync moves their rows to those that are left there."""
    url: Annotated[SecretStr, Field(min_length=1), AfterValidator(clear_url), AfterValidator(_libsql_url)] = Field(
        examples=["vectors.db"]
    )
    """A file, or `libsql://name.turso.io`."""
    token: Annotated[SecretStr | None, BeforeValidator(blank_is_none)] = None
    """Access token of a remote database."""
    table: TableName = Field(default="", validate_default=True)
    """Name of the table; by default made from the pipeline's name."""
    metric: Metric = "cosine"
    """How vectors are compared: cosine, Euclidean distance, inner product."""
    timeout: Seconds = 10.0
    """Seconds after which a remote database that says nothing, not even to a new connection, counts as down for
    searches."""

    _first = model_validator(mode="before")(first_url)

    @model_validator(mode="after")
    def _can_be_drained(self) -> LibsqlStoreConfig:
        check_drain(self.partitions, self.drain)
        return self

    @property
    def target(self) -> tuple[str, ...]:
        return (self.url.get_secret_value(), self.table)

    @property
    def targets(self) -> list[tuple[str, ...]]:
        return [*places_of(self.url, self.table, self.partitions, self.drain)]
