"""`rowvec check`: one line for each part of a pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from rich.text import Text

from rowvec import assemble
from rowvec.assemble_checks import METRICS
from rowvec.cli import embedded, output
from rowvec.cli.codes import code_of
from rowvec.config import EMBEDDED, OpenAIEmbedderConfig, PipelineConfig, PostgresStoreConfig, load
from rowvec.config.environment import DOTENV
from rowvec.config.trust import is_open_to_all
from rowvec.documents.passages import Cutter, PassageSettings
from rowvec.embedders.base import OtherQueries, PaidEmbedder, similarity_of
from rowvec.embedders.known_languages import SAMPLE, misfit
from rowvec.embedders.pricing import WITH_KEY, dollars
from rowvec.errors import EmbedderError, RowvecError, SourceError, StoreError
from rowvec.generations.lifecycle import live_spec
from rowvec.pipeline import Pipeline
from rowvec.pipeline_status.replica import replica_status
from rowvec.rerankers.base import Reranker
from rowvec.sources.base import Checked
from rowvec.sources.events.stream import first_rows, has_table
from rowvec.stores.abilities import AltersTable
from rowvec.stores.guarding import HINT
from rowvec.support import clocks
from rowvec.types import Check, Document, Row

LEAST_PARITY = 0.99
"""Cosine of a query's vector to the one in the precision of the rows. Of MiniLM in int8 it is 0.995 to 0.999."""
TRIAL = "a text to try the model with"
MOST_CUT = 50
"""Long texts that are cut to say what passages would be: some take a tenth of a second each."""
LANGUAGE = "language"
"""Of the line on texts that a model was not made for: it works, and finds little."""
CLOCK = "clock"
NARROWEST = 9
"""Characters of the column of labels."""
STEPS = ("config", "source", "text", "model", "store")
PARTS = {SourceError: "source", EmbedderError: "model", StoreError: "store"}
LABELS = {"source": "source", "text": "text", "embedder": "model", "query_embedder": "queries", "store": "store"}
"""Of the line on each table of a pipeline."""


def check(path: Path | None, name: str | None, *, apply: bool = False, as_json: bool) -> int:
    """Returns the exit code.

    Args:
        apply: make the columns that a table of the user's own lacks.
    """
    lines: list[Check] = []
    code = 0
    try:
        for line in _lines(path, name, apply=apply):
            lines.append(line)
    except RowvecError as error:
        # A part is named by its error or its setting; else the step that raised follows the last that went through.
        after = STEPS[min(len({line.what for line in lines} & set(STEPS)), len(STEPS) - 1)]
        setting = re.search(rf"\b({'|'.join(LABELS)})\.\w+", error.message) if lines else None
        named = LABELS[setting[1]] if setting else after
        what = next((part for kind, part in PARTS.items() if isinstance(error, kind)), named)
        lines.append(Check(what, False, error.message, error.hint))
        code = code_of(error)
    if any(not line.ok for line in lines):
        code = code or 1
    if as_json:
        output.print_json([{"what": c.what, "ok": c.ok, "detail": c.detail, "fix": c.fix, **c.more} for c in lines])
        return code
    width = max([NARROWEST, *(len(line.what) for line in lines)])
    for line in lines:
        word, style = _verdict(line)
        output.hanging(Text.assemble((word, style), f"  {line.what:<{width}} "), line.detail)
        if line.fix:
            output.hanging(Text(f"       {'':<{width}} "), line.fix)
    return code


def _verdict(line: Check) -> tuple[str, str]:
    """The word, and its colour."""
    if not line.ok:
        return "WRONG", "bold red"
    return ("NOTE ", "yellow") if line.what in (LANGUAGE, CLOCK) else ("OK   ", "green")


def _lines(path: Path | None, name: str | None, *, apply: bool) -> Iterator[Check]:
    """What a sync would meet, in its order; each step stands on those before."""
    loaded = load(path)
    declared = loaded.pipeline(name)
    dotenv = loaded.folder / DOTENV
    remark = f"Every user of this machine can read {dotenv}: chmod 600 {dotenv}" if is_open_to_all(dotenv) else None
    yield Check("config", True, f"{loaded.path}, pipeline {declared.name}", remark)
    source = assemble.build_source(declared)
    extent = output.count(source.count(), "row") if has_table(source) else "change events"
    yield Check("source", True, f"{extent}, key {source.key} ({source.key_type})")
    if isinstance(source, Checked):
        yield from source.checks()
    source.close()
    pipeline = assemble.assemble(loaded, declared)
    try:
        documents, text = _texts(pipeline, first_rows(pipeline.source, SAMPLE))
        yield text
        unset = _missing_key(declared)
        yield unset or _model(pipeline)
        yield from _queries(pipeline)
        if unset is None:
            yield from _language(pipeline, documents)
        yield from _metric(declared, pipeline)
        yield from _long_texts(pipeline, documents)
        yield from _reranker(declared, pipeline.reranker)
        if apply and isinstance(pipeline.store, AltersTable):
            for statement in pipeline.store.apply(pipeline.spec):
                yield Check("applied", True, statement)
        yield from pipeline.store.checks(pipeline.spec)
        yield from _clocks(pipeline)
        yield from _replica(pipeline)
        yield from _standing_refusal(pipeline)
        if isinstance(declared.store, PostgresStoreConfig) and declared.store.url.get_secret_value() == EMBEDDED:
            yield from embedded.checks(loaded.state)
    finally:
        pipeline.close()


def _clocks(pipeline: Pipeline) -> Iterator[Check]:
    """Of hosts that do not agree on the time. No sync depends on it, and what people read does."""
    for part, whose in ((pipeline.store, "the store"), (pipeline.source, "the source")):
        differs = None
        # Whoever does not answer has a line of its own.
        with suppress(StoreError, SourceError):
            differs = clocks.difference(clocks.ahead(part), whose)
        if differs is not None:
            yield Check(CLOCK, True, differs, clocks.SET)


def _replica(pipeline: Pipeline) -> Iterator[Check]:
    found = replica_status(pipeline)
    if found is None:
        return
    if found.problem is not None:
        yield Check("searches", False, found.problem, "Correct store.search_url, or leave it out.", found.as_dict())
        return
    primary = found.lag is not None and not found.lag.standby
    fix = "It follows no other server: is store.search_url that of the replica?" if primary else None
    yield Check("searches", True, found.text, fix, found.as_dict())


def _model(pipeline: Pipeline) -> Check:
    """Of a model on this machine, after it has embedded a text: what a sync would meet is met here."""
    embedder = pipeline.embedder
    model = embedder.fingerprint
    if not isinstance(embedder, PaidEmbedder):
        tried = embedder.embed([TRIAL])
        for problem in tried.problems.values():
            raise problem
        if not np.isfinite(tried.vectors).all():
            return Check("model", False, f"{model.model} gives vectors that are not finite", "Fetch the model again.")
    known = [getattr(embedder, name, "") for name in ("how", "prompt_note")]
    said = [model.model, f"{model.dimension} dimensions", model.precision, *known]
    return Check("model", True, ", ".join(filter(None, said)))


def _queries(pipeline: Pipeline) -> Iterator[Check]:
    """Where queries are computed elsewhere or in another precision than rows: whether their vectors agree."""
    embedder, separate = pipeline.embedder, pipeline.query_embedder
    if separate is not None:
        lowest, text = agreement = separate.compare()
        said = f"by {separate.queries.fingerprint.model}, at a cosine of {lowest:.4f} or more to those of the embedder"
        fix = None if agreement.passed else f"Leave out query_embedder: {text!r} has another vector by it."
        yield Check("queries", fix is None, said, fix, {"cosine": round(lowest, 6)})
        return
    if not isinstance(embedder, OtherQueries) or embedder.query_precision == embedder.fingerprint.precision:
        return
    parity = embedder.query_parity(TRIAL)
    said = f"in {embedder.query_precision}, at a cosine of {parity:.4f} to {embedder.fingerprint.precision}"
    fix = None if parity >= LEAST_PARITY else "Leave out embedder.query_precision: queries would find other rows."
    yield Check("queries", fix is None, said, fix, {"precision": embedder.query_precision, "cosine": round(parity, 6)})


def _long_texts(pipeline: Pipeline, documents: Sequence[Document]) -> Iterator[Check]:
    """Where texts do not fit the window, and have one vector each all the same."""
    embedder, window = pipeline.embedder, pipeline.embedder.fingerprint.max_tokens
    if pipeline.passages is not None or window is None:
        return
    texts = [document.text for document in documents]
    usual = PassageSettings()
    cutter = Cutter(replace(usual, tokens=min(usual.tokens, max(1, window * 3 // 4))), embedder)
    long = [texts[place] for place in cutter.too_long(texts)]
    if not long:
        return
    tried = long[:MOST_CUT]
    cuts = [cut for cut in cutter.cut(tried, [""] * len(tried)) if cut is not None]
    if not cuts:
        return
    share, about = len(long) / len(tried), "about " if len(long) > len(tried) else ""
    tokens = round(share * sum(piece.tokens for cut in cuts for piece in cut.pieces))
    pieces = round(share * sum(len(cut.pieces) for cut in cuts))
    price = embedder.price if isinstance(embedder, PaidEmbedder) else None
    cost = f", {dollars(price.cost(tokens))}" if price is not None else ""
    yield Check(
        "long texts", True,
        f"{len(long):,} of the first {output.count(len(texts), 'text')} do not fit the window of {window} tokens",
        f"text.passages = {{}} gives each part of them a vector: {about}{output.count(pieces, 'passage')},"
        f" {output.count(tokens, 'token')}{cost}",
        {"long": len(long), "sample": len(texts), "tokens": tokens},
    )  # fmt: skip


def _reranker(declared: PipelineConfig, reranker: Reranker | None) -> Iterator[Check]:
    """A model on this machine scores a text. A service is not asked: a request may be billed."""
    chosen = declared.search.rerank
    if chosen is None or reranker is None:
        return
    first = f"the first {chosen.top} hits of a search"
    if chosen.kind == "local":
        from rowvec.embedders.cross_encoder_files import find_cross_encoder

        try:
            files = find_cross_encoder(str(chosen.model)).files
        except EmbedderError as error:
            yield Check("rerank", False, error.message, error.hint)
            return
        said = f"local, {files.name} ({files.family.name}, pairs of {files.recipe.max_tokens} tokens), {first}"
        problem = reranker.scores(TRIAL, [TRIAL]).problem
        waits = f"within {1000 * chosen.timeout:,.0f} ms"
        yield Check("rerank", not problem, f"{said}, {waits}" if not problem else f"{said}. {problem}")
        return
    said = f"{chosen.kind}, {chosen.model or 'its own model'} at {chosen.url}, {first}"
    variable = chosen.key_variable
    if variable is not None and chosen.api_key is None:
        yield Check("rerank", False, f"{said}: {variable} is not set", f"export {variable}=…, or put it in .env.")
        return
    yield Check("rerank", True, f"{said}, within {1000 * chosen.timeout:,.0f} ms")


def _metric(declared: PipelineConfig, pipeline: Pipeline) -> Iterator[Check]:
    """Where the store compares in another way than the model was trained for; it was chosen, or it is refused."""
    wanted, chosen = similarity_of(pipeline.embedder), getattr(declared.store, "metric", None)
    if wanted != "cosine" and chosen is not None:
        fits = METRICS.get(wanted) == chosen
        yield Check("metric", True, f"{chosen}; the model was trained for {wanted}{'' if fits else ', which differs'}")


def _standing_refusal(pipeline: Pipeline) -> Iterator[Check]:
    try:
        ledger = pipeline.store.ledger()
        live = pipeline.store.generation(live_spec(pipeline.spec, ledger)) if ledger.exists else None
        refusal = None if live is None else live.refusal()
    except RowvecError:
        return  # The lines of the store say what is wrong with it.
    if refusal is not None:
        yield Check("deletions", False, refusal.words, HINT, {"since": refusal.since})


def _missing_key(declared: PipelineConfig) -> Check | None:
    chosen = declared.embedder
    if not isinstance(chosen, OpenAIEmbedderConfig) or chosen.api_key is not None:
        return None
    host, variable = urlsplit(chosen.base_url).hostname, chosen.key_variable
    if host not in WITH_KEY:
        return None
    if variable is None:
        return Check(
            "model", False, f"{host} wants an API key, and embedder.api_key is not set.",
            'Write api_key = "${YOUR_KEY}" beside base_url.',
        )  # fmt: skip
    return Check(
        "model", False, f"{host} wants an API key, and {variable} is not set.",
        f"Set {variable}, or put a line {variable}=… into .env beside the config.",
    )  # fmt: skip


def _texts(pipeline: Pipeline, rows: Sequence[Row]) -> tuple[list[Document], Check]:
    """What these rows become, and the line that says so.

    Raises:
        SourceError: the text settings fail on all of them.
    """
    documents, failed = [], list[SourceError]()
    for row in rows:
        try:
            documents.append(pipeline.to_document(row))
        except SourceError as error:
            failed.append(error)
    if not documents:
        if failed:
            raise failed[0]
        return [], Check("text", True, "no rows yet")
    first, fix = documents[0], None
    if failed:
        many = f"{len(failed):,} of the first {output.count(len(rows), 'row')}"
        fix = f"{many} would be listed by `rowvec failures`. {failed[0].message}"
    return documents, Check(
        "text", True, f"row {output.key(first.key)}: {output.clip(first.text, 100) or '(empty)'}", fix
    )


def _language(pipeline: Pipeline, documents: Sequence[Document]) -> Iterator[Check]:
    """Whether the model and the keyword index were made for texts like those of the first rows."""
    found = misfit(pipeline.embedder, pipeline.spec.language, [document.text for document in documents])
    if found is not None:
        yield Check(LANGUAGE, True, found.problem, found.fix, found.figures)
