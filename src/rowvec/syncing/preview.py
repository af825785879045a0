"""The dry run: what a sync would do, why, and what it would cost. Nothing is written."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rowvec.embedders.base import Embedder, KnowsWindow, PaidEmbedder
from rowvec.embedders.known_languages import SAMPLE, Misfit, misfit
from rowvec.embedders.pricing import Estimate
from rowvec.generations.kept_settings import column_changes
from rowvec.generations.lifecycle import Course, course
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Selection
from rowvec.stores.abilities import IndexesWords, MovesRows
from rowvec.stores.base import GenerationHandle, TableSpec
from rowvec.stores.guarding import Refusal
from rowvec.support.figures import count
from rowvec.support.many_hashes import ManyHashes
from rowvec.syncing import cursor
from rowvec.syncing.deletion import knows_share, missing, too_many
from rowvec.syncing.divided import Divided, as_whole, divided
from rowvec.syncing.former_keys import generation_of
from rowvec.syncing.pages import Page, circumstances, missing_keys, planned_pages
from rowvec.syncing.reuse import Reuse
from rowvec.types import Change, Document, Key, Kind, Progress, Reason, TextVector

EXAMPLES = 5
COUNTED_TEXTS = 20_000
"""Up to this many texts are counted token by token where tokens cost nothing; the rest is extrapolated."""


@dataclass(slots=True)
class Preview:
    """What a sync would do now."""

    comparison: str = ""
    """Which rows are compared, and why those; empty where the source has no cursor."""
    incremental: bool = False
    generation: str = ""
    """What becomes of generations, and of what is kept beside their vectors, in sentences; empty where the sync fills
    the live one, as nearly always."""
    columns: list[str] = field(default_factory=list)
    """What is of another type than at the last sync, new, or gone, in sentences."""
    rows: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Key]] = field(default_factory=dict)
    """A few keys for each reason."""
    texts: int = 0
    """Texts that would be embedded, identical ones once."""
    divided: int = 0
    """Rows whose text is cut into passages."""
    passages: int = 0
    """Of these rows."""
    new_passages: int = 0
    """Of these passages, how many would be embedded: the others have a vector already."""
    tokens: int = 0
    tokens_counted: bool = True
    """False when `tokens` is extrapolated from the first texts."""
    truncated: int = 0
    """Texts of which the end would be left out."""
    cut: list[Key] = field(default_factory=list)
    """A few keys of these."""
    filled: Counter[str] = field(default_factory=Counter)
    """How many rows have something in each text column."""
    samples: list[Document] = field(default_factory=list)
    estimate: Estimate | None = None
    """What a paid model would bill, and how long it would take."""
    seconds: float | None = None
    """Expected for the embedding; None where no earlier run and no latency tells."""
    deletion_guard: bool = False
    """The sync would stop before deleting: more than half of the vectors would go."""
    misfit: Misfit | None = None
    """What is wrong with the model, or the keyword language, for the texts to embed."""
    refusal: Refusal | None = None
    """A deletion that an earlier sync refused; it stands until it is allowed or resolved."""
    rerank_cost: float = 0.0
    """US dollars that searches have spent on the reranker so far; no sync adds to it."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "comparison": self.comparison, "incremental": self.incremental,
            "generation": self.generation, "columns": self.columns,
            "rows": self.rows, "changes": dict(self.kinds), "reasons": dict(self.reasons),
            "examples": {reason: [_plain(key) for key in keys] for reason, keys in self.examples.items()},
            "texts": self.texts, "divided": self.divided, "passages": self.passages,
            "new_passages": self.new_passages, "tokens": self.tokens, "tokens_counted": self.tokens_counted,
            "estimate": self.estimate.as_dict() if self.estimate else None, "seconds": self.seconds,
            "truncated": self.truncated, "cut": [_plain(key) for key in self.cut],
            "filled": dict(self.filled), "deletion_guard": self.deletion_guard,
            "misfit": self.misfit.as_dict() if self.misfit else None,
            "refusal": self.refusal.as_dict() if self.refusal else None, "rerank_cost": self.rerank_cost,
            "samples": [{"key": _plain(document.key), "text": document.text} for document in self.samples],
        }  # fmt: skip


def preview(
    pipeline: Pipeline,
    options: Options | None = None,
    *,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
) -> Preview:
    """Compare source and ledger as a sync would, without writing, locking or embedding.

    Args:
        progress: called after every page of rows.

    Raises:
        SourceError, StoreError: the rows or the ledger cannot be read.
    """
    options = options or Options()
    stop = stop or threading.Event()
    chosen = course(pipeline)
    pipeline, ledger = chosen.pipeline, chosen.ledger
    generation = generation_of(pipeline, ledger)
    at = circumstances(pipeline, ledger, options, stop)
    refusal = generation.refusal() if generation is not None else None
    present = generation.count() if generation is not None else 0
    reading = cursor.choose(pipeline, generation, options, at, stop, entries=present, refused=refusal is not None)
    options = reading.options
    spent = pipeline.store.totals().rerank_cost if generation is not None else 0.0
    notes = (chosen.note, _older_words(pipeline), _words_to_keep(pipeline.spec, generation), _moves(pipeline))
    note = " ".join(filter(None, notes))
    result = Preview(reading.comparison, reading.incremental, note, refusal=refusal, rerank_cost=spent)
    result.columns = column_changes(ledger.settings, pipeline.spec.settings)
    lengths = _TokenCount(pipeline.embedder)
    needs = _Needs(pipeline, _reuse(chosen, generation, options))
    matched = new = 0
    for page in planned_pages(pipeline, generation, at, options, stop):
        matched += page.known
        new += sum(change.kind is Kind.INSERT and change.before is None for change in page.changes)
        _tally(result, page, pipeline.text_columns)
        lengths.add(needs.texts(result, page))
        if progress is not None:
            progress("comparing rows", result.rows, None)
    result.texts, result.tokens = lengths.texts, lengths.tokens
    result.truncated += lengths.truncated
    result.cut = list(dict.fromkeys(result.cut + lengths.cut))[:EXAMPLES]
    result.tokens_counted = lengths.exact
    result.misfit = misfit(pipeline.embedder, pipeline.spec.language, lengths.sample)
    _add_price(result, pipeline, lengths.sample, known=generation is not None)
    if knows_share(options):
        if generation is not None and not pipeline.keep_missing:
            # With the rows that have lost their text: the source holds them too.
            entries = present + new
            named = options.selection is not None
            gone = None if named else missing(pipeline, reading, present - matched, entries, stop)
            _add_missing(result, pipeline, generation, gone, options.selection, stop)
        result.deletion_guard = too_many(result.kinds[Kind.DELETE], present)
    return result


def _older_words(pipeline: Pipeline) -> str:
    store = pipeline.store
    if not (isinstance(store, IndexesWords) and store.has_other_words(pipeline.spec)):
        return ""
    return (
        "The keyword index is of an older format or another language. The sync passes every row once to make it again,"
        " and embeds nothing for that."
    )


def _words_to_keep(spec: TableSpec, generation: GenerationHandle | None) -> str:
    if generation is None or not spec.keeps_words or spec.language is None or generation.kept_words() is not None:
        return ""
    return (
        "The words of the rows are not kept yet, by which searches correct typos. The sync passes every row once to"
        " keep them, and embeds nothing for that."
    )


def _moves(pipeline: Pipeline) -> str:
    """What becomes of the parts that the rows lie in."""
    store = pipeline.store
    rows = store.moves(pipeline.spec) if isinstance(store, MovesRows) else {}
    if not rows:
        return ""
    said = ", ".join(f"{count(number, 'row moves', 'rows move')} to part {part}" for part, number in rows.items())
    return f"{said}. Their vectors go along, and nothing is embedded for that."


def documents_to_embed(pipeline: Pipeline, options: Options | None = None) -> Iterator[Document]:
    """The documents that a sync would embed now, in key order."""
    options, stop = options or Options(), threading.Event()
    chosen = course(pipeline)
    pipeline, ledger = chosen.pipeline, chosen.ledger
    generation = generation_of(pipeline, ledger)
    at = circumstances(pipeline, ledger, options, stop)
    for page in planned_pages(pipeline, generation, at, options, stop):
        yield from (change.document for change in page.changes if change.kind in (Kind.INSERT, Kind.EMBED))


def _tally(result: Preview, page: Page, text_columns: Sequence[str]) -> None:
    result.rows += len(page.rows)
    if page.unchanged:
        result.kinds[Kind.UNCHANGED] += page.unchanged
        result.reasons[Reason.SAME] += page.unchanged
    for change in page.changes:
        _count(result, change.kind, change.reason, change.document.key)
        if change.kind in (Kind.INSERT, Kind.EMBED) and len(result.samples) < EXAMPLES:
            result.samples.append(change.document)
    for failure in page.failures:
        _count(result, Kind.FAILED, failure.error, failure.key)
    for name in text_columns:
        result.filled[name] += sum(row.values.get(name) not in (None, "") for row in page.rows)


def _count(result: Preview, kind: Kind, reason: str, key: Key) -> None:
    result.kinds[kind] += 1
    result.reasons[reason] += 1
    examples = result.examples.setdefault(reason, [])
    if len(examples) < EXAMPLES:
        examples.append(key)


def _reuse(chosen: Course, generation: GenerationHandle | None, options: Options) -> Reuse:
    fingerprint, live = chosen.pipeline.spec.fingerprint, chosen.live
    if options.force and not options.reuse:
        return Reuse(fingerprint, None)
    return Reuse(fingerprint, generation, live.store.generation(live.spec) if live is not None else None)


class _Needs:
    """Which texts a sync would embed."""

    def __init__(self, pipeline: Pipeline, reuse: Reuse) -> None:
        self._cutter, self._fingerprint = pipeline.cutter(), pipeline.spec.fingerprint
        self._reuse, self._seen = reuse, ManyHashes()

    def texts(self, result: Preview, page: Page) -> list[tuple[Key, str]]:
        """Texts and passages of the page that no former text and no vector of the store covers, each with the key of a
        row that has it."""
        changes = [change for change in page.changes if change.kind in (Kind.INSERT, Kind.EMBED)]
        hashes = [as_whole(change).document.text_hash for change in changes]
        known = self._reuse.of_texts(list(set(hashes)))
        unknown = [
            change
            for change, text_hash in zip(changes, hashes, strict=True)
            if text_hash not in known and text_hash not in self._seen
        ]
        rows = divided(self._cutter, unknown, self._fingerprint)
        whole = {row.document.text_hash: row.document for row in rows if isinstance(row, Change)}
        cut = [row for row in rows if isinstance(row, Divided)]
        parts = {
            text_hash: (row.change.document.key, piece.embedded)
            for row in cut
            for text_hash, piece in zip(row.hashes, row.pieces, strict=True)
        }
        stored = self._reuse.of_whole(whole) | self._reuse.of_passages(list(parts))
        new_whole = {text_hash: (each.key, each.text) for text_hash, each in whole.items() if text_hash not in stored}
        new_parts = {text_hash: text for text_hash, text in parts.items() if self._is_new(text_hash, stored)}
        self._seen.update([*whole, *parts])
        result.divided += len(cut)
        result.passages += sum(len(row.pieces) for row in cut)
        result.new_passages += len(new_parts)
        too_long = [row.change.document.key for row in cut if row.cut_off]
        result.truncated += len(too_long)
        result.cut += too_long[:EXAMPLES]
        return list((new_whole | new_parts).values())

    def _is_new(self, text_hash: bytes, stored: Mapping[bytes, TextVector]) -> bool:
        return text_hash not in stored and text_hash not in self._seen


def _add_price(result: Preview, pipeline: Pipeline, sample: Sequence[str], *, known: bool) -> None:
    embedder = pipeline.embedder
    if isinstance(embedder, PaidEmbedder):
        result.seconds = embedder.expected_seconds(result.texts, result.tokens)
        result.estimate = Estimate.of(
            result.texts, result.tokens, embedder.price, seconds=result.seconds,
            exact_tokens=embedder.exact_tokens, error=embedder.token_error(sample),
        )  # fmt: skip
    elif known:
        result.seconds = _seconds_as_before(pipeline, result.tokens)


def _seconds_as_before(pipeline: Pipeline, tokens: int) -> float | None:
    """From the tokens per second of the last run that embedded enough to tell."""
    for run in pipeline.store.runs():
        embedded = run.report.get("tokens", 0)
        if run.ended_at is not None and embedded > 10_000:
            return float(tokens * (run.ended_at - run.started_at).total_seconds() / embedded)
    return None


def _add_missing(
    result: Preview,
    pipeline: Pipeline,
    generation: GenerationHandle,
    gone: int | None,
    selection: Selection | None,
    stop: threading.Event,
) -> None:
    """
    Args:
        gone: the number of rows that are gone; None where only a look at each of them tells.
    """
    if gone == 0:
        return
    found, examples = 0, list[Key]()
    for keys in missing_keys(pipeline, generation, stop, selection):
        found += len(keys)
        examples += keys[: EXAMPLES - len(examples)]
        if gone is not None and len(examples) >= EXAMPLES:
            break
    number = found if gone is None else gone
    if number:
        result.kinds[Kind.DELETE] += number
        result.reasons[Reason.GONE] += number
        result.examples.setdefault(Reason.GONE, []).extend(examples)


class _TokenCount:
    """Tokens of the texts to embed: all of them where they cost money, else a large sample."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._counted = 0
        self._counted_tokens = 0
        self._counted_truncated = 0
        self.texts = 0
        self.cut: list[Key] = []
        """Keys of the first rows whose text is longer than the window."""
        self.sample: list[str] = []
        """Texts that stand for the others."""

    def add(self, keyed: Sequence[tuple[Key, str]]) -> None:
        texts = [text for _, text in keyed]
        self.texts += len(texts)
        self.sample.extend(texts[: SAMPLE - len(self.sample)])
        if not self._embedder.billed:
            texts = texts[: COUNTED_TEXTS - self._counted]
        if not texts:
            return
        tokens = self._embedder.count_tokens(texts)
        self._counted += len(tokens)
        self._counted_tokens += sum(tokens)
        cut = [key for (key, _), fits in zip(keyed, self._fits(texts, tokens), strict=False) if not fits]
        self._counted_truncated += len(cut)
        self.cut += cut[: EXAMPLES - len(self.cut)]

    def _fits(self, texts: Sequence[str], tokens: Sequence[int]) -> list[bool]:
        if isinstance(self._embedder, KnowsWindow):
            return self._embedder.fits(texts)
        window = self._embedder.fingerprint.max_tokens
        return [window is None or count <= window for count in tokens]

    @property
    def exact(self) -> bool:
        return self._counted == self.texts

    @property
    def _scale(self) -> float:
        return self.texts / self._counted if self._counted else 1.0

    @property
    def tokens(self) -> int:
        return round(self._counted_tokens * self._scale)

    @property
    def truncated(self) -> int:
        return round(self._counted_truncated * self._scale)


def _plain(key: Key) -> int | str:
    return key if isinstance(key, int) else str(key)
