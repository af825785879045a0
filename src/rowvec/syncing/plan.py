"""The difference between the source and the ledger, decided without any I/O."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rowvec.types import Change, Document, Key, Kind, Reason, Stored

LONGEST_WAIT = dt.timedelta(days=1)
"""Between two tries of a row that failed."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What decides beside a row and its hashes."""

    now: dt.datetime
    force: bool = False
    """Embed again even what has not changed."""
    retry: bool = False
    """Try failed rows again before their time."""
    recipe_changed: bool = False
    """The text settings are not those that the ledger was filled with."""
    rendering_changed: bool = False
    """The settings are the same, and the rules by which values become text are others."""
    model_changed: bool = False
    """A new generation is being filled: every row that it lacks is there because the model changed."""


def plan(documents: Iterable[Document], stored: Mapping[Key, Stored], circumstances: Circumstances) -> list[Change]:
    """One change for each document, in the documents' order.

    `stored` holds what the ledger knows of their keys. Rows that are in the ledger and in no document are not
    seen here: a sweep finds them when every document has passed.
    """
    return [_change(document, stored.get(document.key), circumstances) for document in documents]


def is_current(document: Document, before: Stored, at: Circumstances) -> bool:
    """Vector and metadata are those of the document: so it is with nearly every row of most syncs."""
    return (
        before.row_hash == document.row_hash
        and before.text_hash == document.text_hash
        and document.text != ""
        and not at.force
    )


def _change(document: Document, before: Stored | None, at: Circumstances) -> Change:
    if not document.text:
        kind = Kind.DELETE if before is not None else Kind.EMPTY
        return Change(kind, Reason.EMPTY_TEXT, document, before)
    if before is None:
        return Change(Kind.INSERT, _reason_new(at), document, before)
    if is_current(document, before, at):
        return Change(Kind.UNCHANGED, Reason.SAME, document, before)

    reason = _reason_to_embed(document, before, at)
    if reason is None:
        return Change(Kind.UPDATE, Reason.METADATA_CHANGED, document, before)

    failure = before.failure
    if failure is not None and failure.text_hash == document.text_hash:
        # Further away than any failure waits: the clock was put back since.
        due = not at.now < failure.next_try <= at.now + LONGEST_WAIT
        if not due and not (at.retry or at.force):
            return Change(Kind.FAILED, Reason.WAITING, document, before)
        reason = Reason.RETRY
    known = before.text_hash is not None or before.row_hash is not None
    return Change(Kind.EMBED if known else Kind.INSERT, reason, document, before)


def _reason_to_embed(document: Document, before: Stored, at: Circumstances) -> Reason | None:
    if at.force:
        return Reason.FORCED
    if before.text_hash is None:
        return Reason.VECTOR_MISSING if before.row_hash is not None else _reason_new(at)
    if before.text_hash != document.text_hash:
        return _reason_of_text(at)
    return None


def _reason_of_text(at: Circumstances) -> Reason:
    if at.recipe_changed:
        return Reason.RECIPE_CHANGED
    return Reason.RENDERING_CHANGED if at.rendering_changed else Reason.TEXT_CHANGED


def _reason_new(at: Circumstances) -> Reason:
    return Reason.MODEL_CHANGED if at.model_changed else Reason.NEW
