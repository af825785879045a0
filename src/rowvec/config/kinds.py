"""The kinds of sources, embedders and stores: entry points of installed packages, rowvec's own among them.

A package adds a kind with a line in its pyproject.toml:

    [project.entry-points."rowvec.sources"]
    notion = "rowvec_notion:NOTION"         # a Kind

rowvec's own are looked up first and in its own package only, so that other packages are read when somebody names a
kind of theirs, and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rowvec.config.fields import Section
from rowvec.errors import ConfigError

if TYPE_CHECKING:
    from rowvec.embedders.pricing import Budget
    from rowvec.types import Column

Part: TypeAlias = Literal["source", "embedder", "store"]

USUAL = ("sql", "files", "debezium", "local", "sentence-transformers", "openai", "postgres", "libsql")
"""The order in which messages name rowvec's own kinds: the commonest first."""

GROUPS: Mapping[Part, str] = {"source": "rowvec.sources", "embedder": "rowvec.embedders", "store": "rowvec.stores"}


@dataclass(frozen=True, slots=True)
class Building:
    """What a factory gets besides its own table of the config."""

    pipeline: str
    state: Path | None = None
    """The folder for rowvec's own data, `.rowvec` beside the config."""
    budget: Budget | None = None
    """What a paid embedder may cost."""
    readers: int = 2
    """Threads that may search a store at once."""
    statement_seconds: float | None = None
    """A search that takes longer is cancelled."""
    replica: bool = False
    """A store is opened where others write it, for searches alone."""
    remembered: Sequence[Column] = ()
    """Of a source: its columns as they were at the last sync."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of source, embedder or store.

    Args:
        config: its table in rowvec.toml; a subclass of SourceConfig, EmbedderConfig or StoreConfig whose field `kind`
            is a Literal of the entry point's name.
        build: called with a `config` and a Building; makes the Source, Embedder or Store. What it needs is imported in
            it, so that a config can be read without.
    """

    config: type[Section]
    build: Callable[[Any, Building], Any]
    owns: Callable[[Any, str], bool] = lambda _, __: False
    """Of a store, called with a `config` and the name of a column of the source: whether the store keeps its own there,
    so that it is not part of the text."""


@cache
def own(part: Part) -> Mapping[str, type[Section]]:
    """The tables of rowvec's own kinds, by kind."""
    return {name: _loaded(point).config for name, point in _own_points(part).items()}


def names(part: Part) -> list[str]:
    """Every kind that is installed, rowvec's own first."""
    found = list(_own_points(part))
    return found + sorted({point.name for point in entry_points(group=GROUPS[part])} - set(found))


@cache
def find(part: Part, name: str) -> Kind | None:
    """The kind of that name; None when no installed package has it.

    Raises:
        ConfigError: the package that has it cannot be imported, or two packages have it.
    """
    point = _own_points(part).get(name)
    if point is not None:
        return _loaded(point)
    found = list(entry_points(group=GROUPS[part], name=name))
    if len(found) > 1:
        packages = " and ".join(sorted(point.dist.name if point.dist else point.value for point in found))
        raise ConfigError(f"Two packages have a {part} of kind {name!r}: {packages}.", hint="Uninstall one of them.")
    return _loaded(found[0]) if found else None


def get(part: Part, name: str) -> Kind:
    """The kind of that name.

    Raises:
        ConfigError: no installed package has it.
    """
    found = find(part, name)
    if found is None:
        raise ConfigError(f"No installed package has a {part} of kind {name!r}.", hint="Install the package again.")
    return found


@cache
def _own_points(part: Part) -> Mapping[str, EntryPoint]:
    try:
        points = distribution("rowvec").entry_points.select(group=GROUPS[part])
    except PackageNotFoundError:
        raise ConfigError("The package rowvec is not installed.", hint="pip install -e . in the clone") from None
    return {point.name: point for point in sorted(points, key=lambda point: USUAL.index(point.name))}


def _loaded(point: EntryPoint) -> Kind:
    package = point.dist.name if point.dist else point.value
    try:
        found = point.load()
    except Exception as error:
        # Whatever a package of somebody else raises when it is imported.
        raise ConfigError(
            f"The kind {point.name!r} of the package {package} cannot be loaded: {type(error).__name__}: {error}",
            hint=f"Install {package} again, or ask its authors.",
        ) from error
    if not isinstance(found, Kind):
        raise ConfigError(
            f"The kind {point.name!r} of the package {package} is a {type(found).__name__}, not a rowvec Kind.",
            hint=f"{point.value} must be a rowvec.config.kinds.Kind.",
        )
    return found
