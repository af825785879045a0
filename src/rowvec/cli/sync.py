"""`rowvec plan` and `rowvec sync`."""

from __future__ import annotations

import csv
import gc
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from itertools import chain
from pathlib import Path
from types import FrameType

from rowvec.api.project import opened
from rowvec.assemble import parse_key
from rowvec.cli import output, progress
from rowvec.cli.codes import INTERRUPTED, SOME_FAILED
from rowvec.documents.long_texts import long_texts
from rowvec.embedders.pricing import dollars
from rowvec.errors import ConfigError, SourceError
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Selection
from rowvec.sources.events.stream import UNREADABLE, has_table
from rowvec.stores.guarding import HINT
from rowvec.stores.runs import Report
from rowvec.support.figures import percent
from rowvec.syncing.events import events_of
from rowvec.syncing.preview import Preview, preview
from rowvec.syncing.run import sync as carry_out
from rowvec.types import ColumnType, Kind

SHOWN_KEYS = 10
SHOW_CURSOR = b"\x1b[?25h"
"""A progress bar hides it; a process that ends at once has to bring it back."""


def plan(
    config: Path | None,
    name: str | None,
    keys: str | None,
    limit: int | None,
    *,
    force: bool = False,
    retry_failed: bool = False,
    full: bool = False,
    as_json: bool = False,
) -> int:
    """Returns the exit code.

    Raises:
        ConfigError: the pipeline follows change events.
    """
    with opened(config, name) as door, interruptible() as stop:
        pipeline = door.assembled
        options = Options(
            selection(keys, pipeline.source.key_type), limit, force=force, retry_failed=retry_failed, full=full
        )
        if events_of(pipeline, options) is not None:
            compares = "; `rowvec plan --full` compares with the table" if has_table(pipeline.source) else ""
            raise ConfigError(
                f"{pipeline.name} follows change events, which are not planned: what they do shows as they are read.",
                hint=f"`rowvec sync` carries out those that are there{compares}.",
            )
        with progress.phases("Nothing was written.") as tell:
            result = preview(pipeline, options, stop=stop, progress=progress.late(tell))
        if stop.is_set():
            output.note("Interrupted: what was counted is not all, so it is not shown.")
            return INTERRUPTED
        if as_json:
            output.print_json({"pipeline": pipeline.name, **result.as_dict()})
        else:
            _print_plan(pipeline, result)
            tell_unknown_keys(pipeline, options.selection)
        return 0


def sync(
    config: Path | None,
    name: str | None,
    keys: str | None,
    limit: int | None,
    *,
    force: bool = False,
    retry_failed: bool = False,
    allow_delete: bool = False,
    max_cost: float | None = None,
    full: bool = False,
    from_start: bool = False,
    accept: bool = False,
    as_json: bool = False,
) -> int:
    """Returns the exit code.

    Args:
        accept: put a new generation live although it is worse, lacks rows or was rolled back.
        full: compare all rows, whatever a cursor or change events say.
        from_start: of change events: those that were read before too.

    Raises:
        ConfigError: `from_start`, and there are no events to read.
    """
    with opened(config, name, max_cost=max_cost) as door, interruptible() as stop:
        with progress.shown() as callback:
            pipeline = door.assembled
            # What was imported stays to the end: looking through it for garbage, again and again, is a third of a sync
            # that finds nothing to do.
            gc.freeze()
            chosen = selection(keys, pipeline.source.key_type)
            options = Options(
                chosen, limit, force=force, retry_failed=retry_failed, allow_delete=allow_delete,
                full=full,
            )  # fmt: skip
            follows_events = events_of(pipeline, options) is not None
            report = carry_out(
                pipeline, options, from_start=from_start, accept=accept, progress=callback, tell=output.note, stop=stop
            )
        if as_json:
            output.print_json({"pipeline": pipeline.name, "interrupted": stop.is_set(), **report.as_dict()})
        else:
            print_report(pipeline, report, interrupted=stop.is_set())
            if follows_events:
                print_events(report)
            if not stop.is_set():
                tell_unknown_keys(pipeline, options.selection)
        if stop.is_set():
            return INTERRUPTED
        return SOME_FAILED if report.failed or report.waiting else 0


def selection(keys: str | None, kind: ColumnType) -> Selection | None:
    """Parse `--keys 1,5,10-20`; ranges need integer keys, both ends count. A key with a comma is quoted as in CSV.

    Raises:
        ConfigError: a part is not a key of this pipeline, a quote is not closed, or a range runs backwards.
    """
    if keys is None:
        return None
    single, ranges = [], []
    try:
        parts = list(chain.from_iterable(csv.reader(StringIO(keys), skipinitialspace=True, strict=True)))
    except csv.Error as error:
        raise ConfigError(
            f"--keys: {error}.", hint="Write a key with a comma as in CSV: --keys '\"a,b\",c'."
        ) from error
    for part in filter(None, (part.strip() for part in parts)):
        low, dash, high = part.partition("-")
        if kind == "integer" and dash and low:
            bounds = parse_key(low.strip(), kind), parse_key(high.strip(), kind)
            if bounds[0] > bounds[1]:  # type: ignore[operator]
                raise ConfigError(f"--keys {part}: the range runs backwards.", hint=f"Write {high}-{low}.")
            ranges.append(bounds)
        else:
            single.append(parse_key(part, kind))
    if not single and not ranges:
        raise ConfigError("--keys names no key.", hint="Write for example --keys 1,5,10-20.")
    return Selection(tuple(single), tuple(ranges))


def tell_unknown_keys(pipeline: Pipeline, selection: Selection | None) -> None:
    """Say which of the keys that the user named the source does not have. Ranges may have gaps."""
    if selection is None or not selection.keys:
        return
    try:
        there = pipeline.source.existing(selection.keys)
    except SourceError:
        return  # What was asked for is done: this is a remark.
    unknown = [output.key(key) for key in selection.keys if key not in there]
    if unknown:
        more = f" and {len(unknown) - SHOWN_KEYS:,} more" if len(unknown) > SHOWN_KEYS else ""
        output.note(f"Not in the source: {', '.join(unknown[:SHOWN_KEYS])}{more}.")


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """The first Ctrl-C (or SIGTERM) asks to stop after the batches in hand; the second ends the process."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        # Not through rich: its lock may be held by what was interrupted.
        if stop.is_set():
            if output.err.is_terminal:
                os.write(2, SHOW_CURSOR)
            os._exit(INTERRUPTED)
        stop.set()
        os.write(2, b"\nFinishing the batches in hand; what is embedded is kept. Ctrl-C again stops at once.\n")

    former = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


_KINDS = [
    (Kind.INSERT, "embed, new"),
    (Kind.EMBED, "embed again"),
    (Kind.UPDATE, "update metadata only"),
    (Kind.DELETE, "delete"),
    (Kind.EMPTY, "skip, empty text"),
    (Kind.FAILED, "skip, failed before"),
    (Kind.UNCHANGED, "leave alone"),
]


def _print_plan(pipeline: Pipeline, result: Preview) -> None:
    output.line(f"{pipeline.name}: {output.count(result.rows, 'row')} -> {pipeline.store.location}")
    if result.comparison:
        output.line(f"Compared: {result.comparison}")
    if result.generation:
        output.line(result.generation)
    for sentence in result.columns:
        output.line(sentence)
    if result.rerank_cost:
        output.line(
            f"Searches have spent {dollars(result.rerank_cost)} on the reranker so far; a sync adds nothing to it."
        )
    output.line()
    if result.refusal is not None:
        output.line(f"Refused: {result.refusal.words}")
        output.line(f"  {HINT}")
        output.line()
    if not any(result.kinds.values()):
        output.line("Nothing to do.")
        return
    output.table(
        ["what", "rows"], [(label, result.kinds[kind]) for kind, label in _KINDS if result.kinds[kind]], right=[1]
    )
    reasons = [
        (reason, number, ", ".join(map(output.key, result.examples.get(reason, []))))
        for reason, number in result.reasons.most_common()
        if reason in result.examples
    ]
    if reasons:
        output.line()
        output.table(["why", "rows", "for example"], reasons, right=[1])
    if result.texts:
        _print_texts(pipeline, result)
    if result.deletion_guard:
        output.line()
        output.line("More than half of the vectors would be deleted: a sync stops before that without --allow-delete.")


def _print_texts(pipeline: Pipeline, result: Preview) -> None:
    """What is to be embedded, and what that costs."""
    output.line()
    about = "" if result.tokens_counted else "about "
    output.line(f"{output.count(result.texts, 'text')} to embed, {about}{output.count(result.tokens, 'token')}.")
    if result.divided:
        output.line(
            f"{output.count(result.divided, 'row')} cut into passages:"
            f" {result.new_passages:,} of {output.count(result.passages, 'passage')} to embed."
        )
    _print_price(result)
    if result.misfit:
        output.line(result.misfit.problem)
        output.line(f"  {result.misfit.fix}")
    if result.truncated:
        keys = ", ".join(map(output.key, result.cut)) + (", …" if result.truncated > len(result.cut) else "")
        output.line(f"{_too_long(pipeline, result.truncated)} For example: {keys}.")
    output.line()
    rows = max(result.rows, 1)
    filled = [(name, number, percent(number / rows)) for name, number in result.filled.items()]
    output.table(["text column", "filled", ""], filled, right=[1, 2])
    output.line()
    for document in result.samples[:3]:
        output.line(f"  {output.key(document.key)}: {output.clip(document.text, 200)}")


def _too_long(pipeline: Pipeline, number: int) -> str:
    sentence = long_texts(pipeline.spec.fingerprint)
    return f"{output.count(number, 'text')} longer than the model's window. {sentence}"


def _print_price(result: Preview) -> None:
    estimate = result.estimate
    if estimate is not None:
        per_row = "" if estimate.cost_per_row is None else f", {dollars(estimate.cost_per_row)} a row"
        price = "of unknown price (set embedder.price_per_million)" if estimate.cost is None else dollars(estimate.cost)
        counted = "tokens counted by the model's tokenizer"
        if not estimate.exact_tokens:
            counted = f"tokens estimated, off by at most about {100 * estimate.error:.0f} %"
        output.line(f"Price: {price}{per_row}; {counted}.")
    if result.seconds is not None:
        output.line(f"Expected time: {output.seconds(result.seconds)}.")


def print_events(report: Report) -> None:
    output.line(f"{output.count(report.read, 'event')} read.")
    unreadable = report.reasons.get(UNREADABLE, 0)
    if unreadable:
        output.note(f"{output.count(unreadable, 'event')} could not be read and were left out.")


def print_report(pipeline: Pipeline, report: Report, *, interrupted: bool) -> None:
    parts = [
        (report.inserted, "new"), (report.embedded, "changed"), (report.updated, "metadata only"),
        (report.deleted, "deleted"), (report.unchanged, "unchanged"), (report.empty, "empty"),
        (report.failed, "failed"), (report.waiting, "waiting after a failure"),
    ]  # fmt: skip
    said = ", ".join(f"{number:,} {label}" for number, label in parts if number) or "no rows"
    price = f", {dollars(report.cost)}" if report.cost else ""
    sent = f"{output.count(report.texts, 'text')} embedded ({output.count(report.tokens, 'token')}{price})"
    output.line(f"{pipeline.name}: {said}; {sent}.")
    if report.comparison:
        output.line(f"Compared: {report.comparison}")
    if report.reused:
        output.line(f"{output.count(report.reused, 'row')} got the vector of an identical text.")
    if report.divided:
        output.line(f"{output.count(report.divided, 'row')} cut into {output.count(report.passages, 'passage')}.")
    if report.truncated:
        output.line(_too_long(pipeline, report.truncated))
    if report.unfit:
        values = output.count(report.unfit, "metadata value")
        output.note(f"{values} did not fit: null is stored, and `rowvec failures` lists why.")
    if report.failed or report.waiting:
        output.note("Some rows have no current vector: `rowvec failures` lists them with their errors.")
    if interrupted:
        output.note("Interrupted. Everything embedded so far is stored; run `rowvec sync` again to go on.")
