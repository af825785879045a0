"""Whether judgements are about the rows that a search can find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from rowvec.stores.base import RowsHandle
from rowvec.support.keys import parse_key

LOOKED_UP = 2_000
"""Rows judged relevant that are looked up at most; the first ones of each query come first."""
AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class JudgedRows:
    """Of the rows that are judged relevant: how many were looked up, and which of them are not there."""

    looked_up: int
    missing: Sequence[str]


def judged_rows(rows: RowsHandle, judgements: Mapping[str, Mapping[str, int]]) -> JudgedRows:
    relevant = [[key for key, rating in judged.items() if rating > 0] for judged in judgements.values()]
    longest = max(map(len, relevant), default=0)
    in_turn = (keys[place] for place in range(longest) for keys in relevant if place < len(keys))
    asked = list(islice(dict.fromkeys(in_turn), LOOKED_UP))
    missing: list[str] = []
    for start in range(0, len(asked), AT_ONCE):
        some, keys = asked[start : start + AT_ONCE], {}
        for text in some:
            try:
                keys[text] = parse_key(text, rows.spec.key_type)
            except (ValueError, OverflowError):
                continue
        there = {str(key) for key in rows.metadata(list(dict.fromkeys(keys.values())))}
        missing += [text for text in some if text not in there]
    return JudgedRows(len(asked), missing)
