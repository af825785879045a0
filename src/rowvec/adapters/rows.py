"""What every adapter asks a pipeline, and the rows that it gives, before a framework's own classes hold them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic_core import to_jsonable_python

from rowvec.api.calls import method
from rowvec.api.client import Client
from rowvec.api.project import Project
from rowvec.api.project_pipeline import ProjectPipeline
from rowvec.errors import ConfigError, RowvecError
from rowvec.filters import And, Filter, from_json, parse
from rowvec.searcher import Mode, SearchResult
from rowvec.support import decimals
from rowvec.types import FoundPassage, Hit, Key

logger = logging.getLogger("rowvec.adapters")

Place = ProjectPipeline | Client
"""Where a pipeline is searched: in this process, or at a `rowvec serve`."""
Text = Literal["row", "passages"]
"""What a document says: the whole text of its row, or the passages that answer the query."""
Filters = str | Mapping[str, Any] | Filter
BETWEEN = "\n…\n"
"""Passages of one row, in a document that holds several."""


@dataclass(frozen=True, slots=True)
class FoundRow:
    """One hit, for a framework's document."""

    key: Key
    text: str
    """Where the store keeps none, the metadata columns that are text."""
    score: float | None
    metadata: Mapping[str, Any]
    """The pipeline's metadata columns."""
    passages: tuple[FoundPassage, ...]
    missing_parts: Sequence[int] = ()
    """Numbers, from 1 on, of the parts of the store that the whole answer is without."""

    def described(self, pipeline: str) -> dict[str, Any]:
        """The metadata of a document: that of the row, and `rowvec` with its key, score, pipeline and passages; and, as
        over HTTP, with what the answer is without, if it is."""
        passages = [
            {"text": each.text, "start": each.start, "end": each.end, "score": each.score} for each in self.passages
        ]
        about = {"key": _plain(self.key), "score": self.score, "pipeline": pipeline, "passages": passages}
        if self.missing_parts:
            about |= {"partial": True, "missing_parts": list(self.missing_parts)}
        return {**{name: _plain(value) for name, value in self.metadata.items()}, "rowvec": about}

    def id(self, pipeline: str) -> str:
        """The same for the same row, and another one for each row of every pipeline."""
        return f"{pipeline}/{self.key}"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a pipeline is searched. The names are those of `ProjectPipeline.search`; `filters` is its `where`."""

    mode: Mode = "semantic"
    limit: int = 10
    filters: Filters | None = None
    passages: int = 1
    rerank: bool | None = None
    text: Text = "row"
    partial: bool | None = None

    def __post_init__(self) -> None:
        for name, value, known in (("mode", self.mode, get_args(Mode)), ("text", self.text, get_args(Text))):
            if value not in known:
                raise ConfigError(f"{name} is {value!r}.", hint=f"Write one of {', '.join(known)}.")

    def changed(self, **values: Any) -> Settings:
        """With those values that are not None."""
        return replace(self, **{name: value for name, value in values.items() if value is not None})


class Rows:
    """Searches one pipeline for an adapter. Safe to use from several threads.

    Args:
        pipeline: one that a project gave, a client, or its name; None where there is only one.
        config: where `pipeline` is a name: a rowvec.toml or its folder.
        url: where `pipeline` is a name: the address of a `rowvec serve`, in place of `config`.
        key: of that server, or a search token; by default the first one of ROWVEC_API_KEY.
    """

    def __init__(
        self,
        pipeline: Place | str | None,
        config: Path | str | None = None,
        url: str | None = None,
        key: str | None = None,
    ) -> None:
        given = {"config": config, "url": url, "key": key}
        more = next((name for name, value in given.items() if value is not None), None)
        if isinstance(pipeline, Place) and more is not None:
            raise ConfigError(
                f"{more} goes with the name of a pipeline.", hint=f"Leave {more} out: the pipeline is open."
            )
        if url is not None and config is not None:
            raise ConfigError("url and config name two places.", hint="Leave one of them out.")
        if key is not None and url is None:
            raise ConfigError("key goes with url.", hint="Name the server as url, or leave key out.")
        self._given = pipeline
        self._config = config
        self._url = url
        self._key = key
        self._client: Client | None = None
        self._project: Project | None = None
        self._lock = threading.Lock()

    @property
    def pipeline(self) -> Place:
        """Opened at the first use.

        Raises:
            ConfigError: no such file or pipeline.
        """
        if isinstance(self._given, Place):
            return self._given
        with self._lock:
            if self._url is not None:
                self._client = self._client or Client(self._url, self._given, key=self._key)
                return self._client
            if self._project is None:
                self._project = Project(self._config)
            return self._project.pipeline(self._given)

    @property
    def place(self) -> dict[str, str | None]:
        """What to give `Rows` to have the same rows again, in another process too; without the key."""
        if isinstance(self._given, ProjectPipeline):
            return {"pipeline": self._given.name, "config": str(self._given.config), "url": None}
        if isinstance(self._given, Client):
            return {"pipeline": self._given.pipeline, "config": None, "url": self._given.url}
        config = None if self._config is None else str(self._config)
        return {"pipeline": self._given, "config": config, "url": self._url}

    @method
    def find(self, query: str, asked: Settings) -> list[FoundRow]:
        """The best rows, the best first.

        Raises:
            RowvecError: see `ProjectPipeline.search` and `Client.search`.
        """
        pipeline = self.pipeline
        found, texts = self._found(pipeline, query, asked)
        if found.partial:
            # An answer without rows has no document to say it.
            parts = ", ".join(map(str, found.missing_parts))
            logger.warning(
                "An answer of %s is without part %s of its store, which did not answer.", pipeline.name, parts
            )
        missing = tuple(found.missing_parts)
        return [
            FoundRow(hit.key, texts.get(hit.key) or _text_of(hit), hit.score, hit.metadata, hit.passages, missing)
            for hit in found.hits
        ]

    def _found(
        self, pipeline: Place, query: str, asked: Settings, tries: int = 2
    ) -> tuple[SearchResult, Mapping[Key, str]]:
        """What a search finds, and the texts of those rows where they are asked for."""
        found = pipeline.search(
            query, mode=asked.mode, limit=asked.limit, where=condition(asked.filters), passages=asked.passages,
            rerank=asked.rerank, partial=asked.partial,
        )  # fmt: skip
        if asked.text != "row":
            return found, {}
        try:
            return found, pipeline.texts([hit.key for hit in found.hits])
        except RowvecError as error:
            if not error.transient or asked.partial is False or tries == 1:
                raise
        # A part went away after the search. Another one has the rows that are left, if that is allowed, or says so.
        return self._found(pipeline, query, asked, tries - 1)

    def close(self) -> None:
        """Close what was opened here; a pipeline that was given stays open."""
        with self._lock:
            opened, self._project, self._client = self._project or self._client, None, None
        if opened is not None:
            opened.close()


def _text_of(hit: Hit) -> str:
    if hit.passages:
        return BETWEEN.join(each.text for each in hit.passages)
    return ". ".join(value for value in hit.metadata.values() if isinstance(value, str))


def _plain(value: Any) -> Any:
    """As in a reply over HTTP: frameworks write documents as JSON, and read them again."""
    return (
        decimals.as_json(value)
        if isinstance(value, Decimal)
        else to_jsonable_python(value, bytes_mode="hex", fallback=str)
    )


def condition(filters: Filters | None) -> Filter | None:
    """A filter as text or as JSON, or one that is parsed already.

    Raises:
        SearchError: it cannot be read.
    """
    if filters is None or isinstance(filters, Filter):
        return filters
    return parse(filters) if isinstance(filters, str) else from_json(filters)


def both(one: Filters | None, other: Filters | None) -> Filter | None:
    """Rows that pass both."""
    parts = tuple(part for part in (condition(one), condition(other)) if part is not None)
    return parts[0] if len(parts) == 1 else And(parts) if parts else None
