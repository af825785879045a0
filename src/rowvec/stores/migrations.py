"""The version of what a store keeps, and the steps that bring it up to date.

A step is numbered, small, and carried out in one transaction together with its record: a process that is killed leaves
the store at one version or at the next. Each backend has its own steps, since their statements differ; what is said
of them to a user is said here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from rowvec import __version__
from rowvec.errors import StoreError
from rowvec.support.stored import from_json
from rowvec.types import Check, Fingerprint

Work = TypeVar("Work", bound=Callable[..., Any])
UPGRADE = "Run `rowvec check --apply`, or `rowvec sync` once."
OLDER_WORDS = (
    "of an older format or another language",
    "The next `rowvec sync` makes the keyword index again; it embeds nothing for that.",
)
NO_KEPT_WORDS = (
    "not kept yet: searches do not correct typos",
    "The next `rowvec sync` reads every row once to keep its words; it embeds nothing for that.",
)


@dataclass(frozen=True, slots=True)
class Migration(Generic[Work]):
    number: int
    what: str
    """What it does, for `rowvec check`."""
    work: Work


class Standing(NamedTuple):
    """How far a store is."""

    version: int
    """0 where rowvec wrote it before stores had a version."""
    program: str = ""
    """The version of rowvec that brought it there."""


def latest(migrations: Sequence[Migration[Any]]) -> int:
    return migrations[-1].number


def pending(standing: Standing | None, migrations: Sequence[Migration[Work]]) -> list[Migration[Work]]:
    """Those that a store still needs; all of them where there is none yet."""
    version = standing.version if standing else 0
    return [each for each in migrations if each.number > version]


def refuse_newer(standing: Standing | None, migrations: Sequence[Migration[Any]], location: str) -> None:
    """
    Raises:
        StoreError: a newer rowvec has changed the store.
    """
    known = latest(migrations)
    if standing is None or standing.version <= known:
        return
    wanted = f"rowvec {standing.program}" if standing.program else "the rowvec that wrote it"
    raise StoreError(
        f"{location}: what the store keeps has version {standing.version}, written by {wanted}. This is rowvec"
        f" {__version__}, which knows versions up to {known}; it neither reads nor writes there.",
        hint=f"Install {wanted} or a newer one here.",
    )


def fingerprint_of(said: Any) -> Fingerprint:
    """What made the vectors of a generation, as any version of rowvec may have kept it.

    Raises:
        ValueError: it does not name a model.
    """
    found = from_json(Fingerprint, said)
    if not found.model or not found.dimension:
        raise ValueError("it does not name a model and its dimension")
    return found


def older(location: str, problem: str) -> StoreError:
    """For a reader that met something which a pending step would have brought."""
    return StoreError(f"{location}: an older rowvec wrote what the store keeps ({problem}).", hint=UPGRADE)


def line(standing: Standing | None, migrations: Sequence[Migration[Any]], lacking: Sequence[str] = ()) -> Check:
    """What `rowvec check` says.

    Args:
        lacking: what a store of its version should have and has not.
    """
    wanted, left = latest(migrations), pending(standing, migrations)
    more = {
        "version": standing.version if standing else None,
        "wanted": wanted,
        "pending": [{"number": each.number, "what": each.what} for each in left],
        "lacking": list(lacking),
    }
    if standing is None:
        return Check("state", True, f"version {wanted} will be made by the first sync", more=more)
    if lacking:
        return Check("state", False, f"version {standing.version} lacks {', '.join(lacking)}", UPGRADE, more)
    if not left:
        return Check("state", True, f"version {standing.version}, up to date", more=more)
    steps = "; ".join(f"{each.number}: {each.what}" for each in left)
    return Check("state", True, f"version {standing.version} of {wanted}, pending: {steps}", UPGRADE, more)
