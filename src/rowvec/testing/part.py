"""What a generation in memory answers where it holds one of several parts of the rows; see `rowvec.stores.part`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rowvec.errors import SearchError
from rowvec.filters import Filter
from rowvec.stores.base import REPEATED_KEYS, LastWord
from rowvec.stores.part import Carried, Created, WordCounts
from rowvec.support.clocks import here
from rowvec.testing.ranking import bm25, counted, ranked
from rowvec.types import Key, Ranked, Vector
from rowvec.words import analyzer

if TYPE_CHECKING:
    from rowvec.testing.tables import Made


class MemoryPart:
    """The methods that `stores.part.PartHandle` has beside those of a generation."""

    _made: Made

    def passing(self, where: Filter | None, keys: Sequence[Key]) -> list[Key]:
        raise NotImplementedError

    def matching(self, query: str, last: LastWord | None) -> MemoryMatching:
        if self._made.spec.language is None:
            raise SearchError("This pipeline has no keyword index.", hint="Set store.language.")
        words = analyzer(self._made.spec.language)
        texts = {key: words.terms(record.document.text) for key, record in list(self._made.records.items())}
        asked = words.query(query)
        if last is not None:
            others = {term for form in last.forms for term in words.query(form)}
            for key, terms in texts.items():
                texts[key] = [*terms, *("" for term in terms if term.startswith(last.beginning) or term in others)]
            asked[""] = 1.0
        return MemoryMatching(self, texts, asked, counted(texts, asked))

    def sample(self, most: int) -> list[tuple[bytes, Vector]]:
        vectors = {record.document.text_hash: record.vector for record in list(self._made.records.values())}
        return sorted(vectors.items(), key=lambda pair: pair[0])[:most]

    def counted_texts(self, after: bytes | None, limit: int) -> list[tuple[bytes, list[Key], int]]:
        by_text: dict[bytes, list[Any]] = {}
        for key, record in list(self._made.records.items()):
            by_text.setdefault(record.document.text_hash, []).append(key)
        wanted = sorted(each for each in by_text if after is None or each > after)[:limit]
        return [(each, sorted(by_text[each])[:REPEATED_KEYS], len(by_text[each])) for each in wanted]

    def created(self, keys: Sequence[Key]) -> Created:
        return Created(here(), [self._made.records[key].born for key in keys if key in self._made.records])

    def carried(self, keys: Sequence[Key]) -> dict[Key, Carried]:
        records = self._made.records
        return {key: Carried(records[key].vector, records[key].passages) for key in keys if key in records}

    def compact(self) -> None:
        """There is nothing of rows that are gone."""


@dataclass(frozen=True, slots=True)
class MemoryMatching:
    """See stores.part.Matching."""

    part: MemoryPart
    texts: Mapping[Key, Sequence[str]]
    asked: Mapping[str, float]
    counts: WordCounts

    def best(self, total: WordCounts, limit: int, where: Filter | None) -> Ranked:
        scores = bm25(self.texts, self.asked, total)
        kept = set(self.part.passing(where, list(scores)))
        return ranked({key: score for key, score in scores.items() if key in kept}, limit)
