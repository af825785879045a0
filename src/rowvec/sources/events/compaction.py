"""Of many change events the newest one of each row. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from rowvec.sources.events.envelope import Effect, Event
from rowvec.sources.events.position import Position, is_older
from rowvec.types import Key

OLDER = "older than what is known of the row"
FOLLOWED = "followed by another event of the row"


def compacted(events: Iterable[Event], known: Mapping[Key, Position | None]) -> tuple[dict[Key, Event], Counter[str]]:
    """The event to carry out for each row, and how many were left out, by reason.

    `known` holds the positions of the events that were carried out before. Events without a position count in the
    order in which they come. An event that does not tell a value takes it from the one before, where that told it.
    """
    newest: dict[Key, Event] = {}
    left_out: Counter[str] = Counter()
    for event in events:
        before = newest.get(event.key)
        if is_older(event.position, known.get(event.key)) or (before and is_older(event.position, before.position)):
            left_out[OLDER] += 1
            continue
        if before is not None:
            left_out[FOLLOWED] += 1
            event = _filled(event, before)
        newest[event.key] = event
    return newest, left_out


def _filled(event: Event, before: Event) -> Event:
    told = event.missing & before.values.keys()
    if not told or event.effect is not Effect.PUT:
        return event
    values = {**event.values, **{name: before.values[name] for name in told}}
    return event._replace(values=values, missing=event.missing - told)
