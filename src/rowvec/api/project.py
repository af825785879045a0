"""One rowvec.toml, opened: its pipelines stay connected and their models loaded from one call to the next."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rowvec.api.project_pipeline import ProjectPipeline
from rowvec.api.tokens import token
from rowvec.config import Config, load
from rowvec.errors import ConfigError, SearchError
from rowvec.filters import bind, from_json, parse
from rowvec.support.forks import begins_again


class Project:
    """The pipelines of one rowvec.toml. A context manager; nothing is connected or loaded before it is needed.

    Args:
        config: a rowvec.toml or its folder; by default the nearest one from the working directory upwards.
        readers: this many threads can search a PostgreSQL store at once.
        statement_seconds: a search that takes longer is cancelled; None for no limit.

    Raises:
        ConfigError: the file cannot be found or read.
    """

    def __init__(
        self, config: Path | str | None = None, *, readers: int = 2, statement_seconds: float | None = None
    ) -> None:
        self.config: Config = load(None if config is None else Path(config))
        self.readers = readers
        self.statement_seconds = statement_seconds
        self._opened: dict[tuple[str, float | None], ProjectPipeline] = {}
        self._lock = threading.Lock()
        begins_again(self)

    def begin_again(self) -> None:
        """In a forked process. Each pipeline does the same."""
        self._lock = threading.Lock()

    @property
    def pipelines(self) -> Sequence[str]:
        """The names of the pipelines, in the order of the file."""
        return tuple(self.config.names)

    def pipeline(self, name: str | None = None, *, max_cost: float | None = None) -> ProjectPipeline:
        """The pipeline of that name; optional where the file defines only one.

        Args:
            max_cost: US dollars that a paid model may cost while the pipeline is open.

        Raises:
            ConfigError: no pipeline has that name.
        """
        declared = self.config.pipeline(name)
        with self._lock:
            key = (declared.name, max_cost)
            if key not in self._opened:
                self._opened[key] = ProjectPipeline(self, declared.name, max_cost)
            return self._opened[key]

    def token(
        self,
        pipelines: Mapping[str, str | Mapping[str, Any]],
        *,
        expires: str | dt.timedelta = "1h",
        api_key: str | None = None,
    ) -> str:
        """A search token for pipelines of this project. See `rowvec.token`.

        Raises:
            ConfigError: there is no such pipeline, or its filter does not fit the columns.
            StoreError: the columns cannot be read.
        """
        for name, where in pipelines.items():
            spec = self.pipeline(name).searchable.spec
            try:
                bind(parse(where) if isinstance(where, str) else from_json(where), spec.metadata, spec.key)
            except SearchError as error:
                raise ConfigError(f"{name}: {error.message}", hint=error.hint) from None
        return token(pipelines, expires=expires, api_key=api_key)

    def close(self) -> None:
        """Disconnect every pipeline and unload the models."""
        with self._lock:
            for each in self._opened.values():
                each.close()
            self._opened.clear()

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<rowvec project {str(self.config.path)!r}: {', '.join(self.pipelines)}>"


@contextmanager
def opened(config: Path | str | None, name: str | None, *, max_cost: float | None = None) -> Iterator[ProjectPipeline]:
    """One pipeline of a project, closed when the block ends; the door of the commands too."""
    with Project(config) as project:
        yield project.pipeline(name, max_cost=max_cost)
