"""What a search is asked beside its hits, and the cursors that lead from one page of them to the next."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple, Self
from uuid import UUID

from rowvec.errors import SearchError
from rowvec.filters import Filter, Order, Place, facet_columns, parse_order, place_value, unknown_column
from rowvec.filters.facets import COUNTED, ValueFacet
from rowvec.filters.ordering import UNORDERED
from rowvec.filters.values import CONVERT, clipped
from rowvec.searcher.candidates import score_of
from rowvec.stores.base import RowsHandle
from rowvec.support.keys import parse_key
from rowvec.types import Column, ColumnType, Hit, Key

MAX_DEPTH = 10_000
"""Up to this place the hits of a query can be paged through. Browsing has no such end."""
MAX_OFFSET = 2**31 - 1
_LONGEST = 100_000
"""Characters of a cursor: it holds a key and a value."""
_VERSION = 3
_CHECK = 6
"""Bytes that tell a cursor that was cut or changed by hand. They are not secret: a cursor grants nothing."""


@dataclass(frozen=True, slots=True)
class Refine:
    """What a search is asked beside its hits.

    Attributes:
        facets: metadata columns whose values are counted over all rows that pass the filter.
        facet_limit: number of values that a facet lists.
        distinct: a metadata column; each of its values has one hit, the best. A row without a value is its own.
        offset: this many hits are left out first.
        after: a cursor, `next` of the page before; in place of an offset.
        order: of rows that are browsed, such as `price desc`. By key where it is None.
    """

    facets: Sequence[str] = ()
    facet_limit: int = 10
    distinct: str | None = None
    offset: int = 0
    after: str | None = None
    order: str | None = None

    def check(self, *, browses: bool) -> None:
        """What is wrong whatever the columns are.

        Args:
            browses: the search has no query.

        Raises:
            SearchError: a page that cannot be, or what suits no query or needs one.
        """
        if self.order is not None and not browses:
            raise SearchError(
                "The hits of a query are ordered by their score, so that it takes no `order`.",
                hint="Leave the query out to browse the rows in that order, or leave the order out.",
            )
        if self.distinct is not None and browses:
            raise SearchError("One hit a value needs a query: without one, no row is better than another.")
        if self.after is not None and self.offset:
            raise SearchError("The search has both an offset and a cursor.", hint="Leave one of them out.")
        if not 0 <= self.offset <= MAX_OFFSET:
            raise SearchError(f"offset is {self.offset:,}; it must be between 0 and {MAX_OFFSET:,}.")

    def bound(self, columns: Sequence[Column], key_type: ColumnType, *, browses: bool) -> Bound:
        """
        Args:
            browses: the search has no query.

        Raises:
            SearchError: a column that there is not or that does not suit, or a page that cannot be.
        """
        self.check(browses=browses)
        counted = facet_columns(self.facets, columns, self.facet_limit)
        distinct = None if self.distinct is None else _comparable(self.distinct, columns)
        order = None if self.order is None else parse_order(self.order, columns)
        cursor = None if self.after is None else Cursor.read(self.after, key_type)
        return Bound(counted, self.facet_limit, distinct, self.offset, cursor, order)


PLAIN = Refine()


@dataclass(frozen=True, slots=True)
class Bound:
    """The same, with the columns and the cursor that it names."""

    facets: Sequence[Column]
    facet_limit: int
    distinct: Order | None
    """As values are compared in this order, they are the same or not."""
    offset: int
    after: Cursor | None
    order: Order | None

    @property
    def start(self) -> int:
        """The number of hits before the page."""
        return self.offset if self.after is None else self.after.position

    @property
    def looks_deeper(self) -> bool:
        """Rows that are found may not be shown: those of a value that a better one has, or those that came since."""
        return self.distinct is not None or self.after is not None

    def check_depth(self, limit: int) -> None:
        if self.start + limit > MAX_DEPTH:
            raise SearchError(
                f"The page ends at hit {self.start + limit:,}; {MAX_DEPTH:,} are the most that a query gives.",
                hint="Narrow the filter or the query, or leave the query out to browse all rows.",
            )

    def one_each(self, hits: Sequence[Hit]) -> list[Hit]:
        """The first hit of each value of the column that is to be distinct."""
        if self.distinct is None:
            return list(hits)
        seen: set[Any] = set()
        kept = []
        for hit in hits:
            value = place_value(hit.metadata[self.distinct.column.name], self.distinct)
            if value is None or value not in seen:
                seen.add(value)
                kept.append(hit)
        return kept

    def values(self, rows: RowsHandle, where: Filter | None) -> float:
        """The most hits that there can be: one for each value, and one for each row without one."""
        if self.distinct is None or self.distinct.column.type not in {*COUNTED, ColumnType.INTEGER}:
            return math.inf
        found = rows.facets([self.distinct.column], where, most=1).columns[self.distinct.column.name]
        if isinstance(found, ValueFacet):
            return found.distinct + found.missing
        # A bin of whole numbers has no more values than rows, and no more than numbers between its ends.
        return found.missing + sum(min(each.count, max(1, int(each.end - each.start))) for each in found.bins)

    def next_hit(self, origin: Origin, position: int, first: int, last: Hit) -> str:
        return Cursor.at(origin, position, first, last.key, last.score)

    def next_row(self, origin: Origin, shown: Sequence[Hit]) -> str | None:
        """The cursor after rows that were browsed."""
        if not shown:
            return None
        last, order = shown[-1], self.order
        value = None if order is None else place_value(last.metadata[order.column.name], order)
        return Cursor.at(origin, self.start + len(shown), 0, last.key, value)

    def first(self, hits: Sequence[Hit]) -> int:
        """Where the page begins among all hits, the best first."""
        if self.after is None:
            return self.offset
        last = self.after
        for place, hit in enumerate(hits):
            if hit.key == last.key:
                return place + 1
        # Its last row is gone: the page begins after where it was.
        keys: Sequence[Any] = [hit.key for hit in hits]
        level = [at for at, hit in enumerate(hits) if score_of(hit) == last.score]
        if any(keys[one] > keys[next_] for one, next_ in pairwise(level)):
            # Hits that are held below those before them have one score, and are not in the order of their keys.
            return min(max(last.position - 1, level[0]), level[-1] + 1)
        before = (-last.score, last.key)
        return next((at for at, hit in enumerate(hits) if (-score_of(hit), keys[at]) > before), len(hits))


def _comparable(name: str, columns: Sequence[Column]) -> Order:
    known = {column.name: column for column in columns}
    if name not in known:
        raise unknown_column(name, known)
    if known[name].type in UNORDERED:
        raise SearchError(
            f"The column {clipped(name)} holds {known[name].type} values, which `distinct` does not compare.",
            hint="Use a column of texts, numbers, booleans, dates, times, durations or UUIDs.",
        )
    return Order(known[name])


class Origin(NamedTuple):
    """What a cursor belongs to. A page of anything else would repeat rows or leave some out."""

    pipeline: str
    missing: Sequence[int]
    """Parts of the store that did not answer."""
    generation: str
    query: tuple[Any, ...]
    """With everything that has a say in the order of the hits."""
    where: Filter | None

    @property
    def digests(self) -> list[str]:
        return [
            hashlib.blake2b(repr(part).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest() for part in self
        ]


_OTHERS = (
    ("another pipeline", "Use it with the pipeline that gave it."),
    (
        "an answer of other parts of the store: since then a part has stopped answering, or answers again",
        "Begin again with the first page.",
    ),
    ("another generation: the vectors were replaced since", "Begin again with the first page."),
    ("another query, mode, order or choice of hits", "Ask the same again, with nothing but `after` changed."),
    ("another filter", "Ask the same again, with nothing but `after` changed."),
)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The end of a page."""

    of: Sequence[str]
    """See `Origin.digests`."""
    position: int
    """Hits up to here."""
    first: int
    """Rows that the first page looked at; 0 where all were compared, or are browsed."""
    key: Key
    """Of the last hit."""
    value: Any
    """Its score, or what it was browsed by."""

    @classmethod
    def at(cls, origin: Origin, position: int, first: int, key: Key, value: Any) -> str:
        """As it goes out."""
        plain_key = str(key) if isinstance(key, UUID) else key
        said = [_VERSION, *origin.digests, position, first, plain_key, _plain(value)]
        body = json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()
        return base64.urlsafe_b64encode(body + _checked(body)).decode().rstrip("=")

    @classmethod
    def read(cls, text: str, key_type: ColumnType) -> Self:
        """
        Raises:
            SearchError: it is not a cursor, or not whole.
        """
        try:
            if len(text) > _LONGEST:
                raise ValueError("too long")
            raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
            body, check = raw[:-_CHECK], raw[-_CHECK:]
            if check != _checked(body):
                raise ValueError("changed")
            version, *of, position, first, key, value = json.loads(body.decode())
            if version != _VERSION:
                raise SearchError(
                    "The cursor is of another version of rowvec.", hint="Begin again with the first page."
                )
            if len(of) != len(_OTHERS):
                raise ValueError("not of one search")
            if type(position) is not int or type(first) is not int:
                raise ValueError("not a place")
            return cls(of, position, first, _key(_held(key), key_type), _held(value))
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise _no_cursor(clipped(text)) from None

    def check(self, origin: Origin, rows: RowsHandle) -> None:
        """
        Args:
            rows: of all parts that the search asks.

        Raises:
            SearchError: it belongs to something else; says to what.
        """
        if self.of[1] != origin.digests[1]:
            # Whether all of them answer is not known yet: where one does not, the search is made again without it.
            rows.browse(1)
        for mine, its, (what, hint) in zip(self.of, origin.digests, _OTHERS, strict=True):
            if mine != its:
                raise SearchError(f"The cursor belongs to {what}.", hint=hint)

    def place(self, order: Order | None) -> Place:
        if order is None or self.value is None:
            return Place(None, self.key)
        try:
            return Place(_READ[order.column.type](self.value), self.key)
        except (ValueError, TypeError, ArithmeticError):
            raise _no_cursor("This") from None

    @property
    def score(self) -> float:
        """Of the last hit."""
        if not isinstance(self.value, int | float):
            raise _no_cursor("This")
        return self.value


def _no_cursor(what: str) -> SearchError:
    return SearchError(
        f"{what} is not a cursor, or not a whole one.",
        hint="Give `next` of the page before as it is. For the first page, leave the cursor out.",
    )


def _key(value: Any, kind: ColumnType) -> Key:
    """Raises ValueError or OverflowError for one of another kind."""
    if type(value) is not (int if kind is ColumnType.INTEGER else str):
        raise ValueError("not a key of this pipeline")
    return parse_key(str(value), kind)


def _held(value: Any) -> Any:
    """Raises ValueError for a text that no database holds: anybody can make a cursor."""
    if isinstance(value, str) and b"\0" in value.encode():
        raise ValueError("not a text")
    return value


def _checked(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECK).digest()


def _plain(value: Any) -> Any:
    """A value of an order as JSON holds it; `_READ` makes it what it was."""
    match value:
        case dt.timedelta():
            return value // dt.timedelta(microseconds=1)
        case Decimal() | UUID():
            return str(value)
        case dt.date() | dt.time():
            return value.isoformat()
    return value


def _decimal(value: Any) -> Decimal:
    """Raises ValueError for one that no column holds."""
    return Decimal(value) if value in ("Infinity", "-Infinity") else CONVERT[ColumnType.DECIMAL](value)


_READ: Mapping[ColumnType, Callable[[Any], Any]] = {
    ColumnType.INTEGER: CONVERT[ColumnType.INTEGER],
    ColumnType.NUMBER: float,
    ColumnType.DECIMAL: _decimal,
    ColumnType.BOOLEAN: bool,
    ColumnType.TEXT: str,
    ColumnType.DATE: dt.date.fromisoformat,
    ColumnType.TIME: dt.time.fromisoformat,
    ColumnType.TIMESTAMP: dt.datetime.fromisoformat,
    ColumnType.INTERVAL: lambda microseconds: dt.timedelta(microseconds=microseconds),
    ColumnType.UUID: UUID,
}
