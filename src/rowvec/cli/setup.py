"""`rowvec init` and `rowvec check`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from rowvec import assemble
from rowvec import config as settings
from rowvec.cli import embedded, show
from rowvec.embedders.openai_wire import WITH_KEY
from rowvec.errors import ConfigError, EmbedderError, RowvecError, SourceError, StoreError
from rowvec.sources.event_stream import first_row, has_table
from rowvec.stores.base import AltersTable
from rowvec.stream import Pipeline
from rowvec.types import Check
from rowvec.urls import redact

CONFIG_WRONG = 2
STEPS = ("config", "source", "text", "model", "store")
PARTS = {SourceError: "source", EmbedderError: "model", StoreError: "store"}


def init(source: str | None, path: Path, *, force: bool) -> None:
    """
    Raises:
        ConfigError: the file exists, or cannot be written. SourceError: the database cannot be read.
    """
    if path.exists() and not force:
        raise ConfigError(f"{path} exists.", hint="Write elsewhere with --config, or overwrite it with --force.")
    from rowvec.sources.propose import propose
    from rowvec.starter import URL_VARIABLE, starter

    proposals = propose(source, base=path.absolute().parent) if source else None
    try:
        path.write_text(starter(proposals, source), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.", hint="Give a file in a folder of yours with --config."
        ) from None
    show.line(f"Wrote {path}.")
    if proposals and proposals[0].key is None:
        show.line(f"No key was found for {proposals[0].table}: set source.key there before anything else.")
    if source and redact(source) != source:
        show.line(f"Its password is not in the file. Put this line, with the password, into {path.parent / '.env'}:")
        show.line(f"  {URL_VARIABLE}={redact(source)}")
    show.line("Next: rowvec check, rowvec plan, rowvec sync.")


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
        # A part is named by its error; else the step that raised is the one after the last that went through.
        after = STEPS[len({line.what for line in lines} & set(STEPS))]
        what = next((part for kind, part in PARTS.items() if isinstance(error, kind)), after)
        lines.append(Check(what, False, error.message, error.hint))
        code = CONFIG_WRONG if isinstance(error, ConfigError) else 1
    if any(not line.ok for line in lines):
        code = code or 1
    if as_json:
        show.print_json([{"what": c.what, "ok": c.ok, "detail": c.detail, "fix": c.fix} for c in lines])
        return code
    for line in lines:
        show.line(f"{'OK   ' if line.ok else 'WRONG'}  {line.what:<9} {line.detail}")
        if line.fix:
            show.line(f"       {'':<9} {line.fix}")
    return code


def _lines(path: Path | None, name: str | None, *, apply: bool) -> Iterator[Check]:
    """What a sync would meet, in its order; each step stands on those before."""
    loaded = settings.load(path)
    declared = loaded.pipeline(name)
    yield Check("config", True, f"{loaded.path}, pipeline {declared.name}")
    source = assemble.build_source(declared)
    extent = show.count(source.count(), "row") if has_table(source) else "change events"
    yield Check("source", True, f"{extent}, key {source.key} ({source.key_type})")
    source.close()
    pipeline = assemble.assemble(loaded, declared)
    try:
        yield Check("text", True, _sample_text(pipeline))
        model = pipeline.embedder.fingerprint
        yield _missing_key(declared) or Check(
            "model", True, f"{model.model}, {model.dimension} dimensions, {model.precision}"
        )
        if apply and isinstance(pipeline.store, AltersTable):
            for statement in pipeline.store.apply(pipeline.spec):
                yield Check("applied", True, statement)
        yield from pipeline.store.checks(pipeline.spec)
        if (
            isinstance(declared.store, settings.PostgresStore)
            and declared.store.url.get_secret_value() == settings.EMBEDDED
        ):
            yield from embedded.checks(loaded.state)
    finally:
        pipeline.close()


def _missing_key(declared: settings.Pipeline) -> Check | None:
    chosen = declared.embedder
    if not isinstance(chosen, settings.OpenAIEmbedder) or chosen.api_key is not None:
        return None
    host = urlsplit(chosen.base_url).hostname
    if host not in WITH_KEY:
        return None
    variable = chosen.key_variable
    return Check(
        "model", False, f"{host} wants an API key, and {variable} is not set.",
        f"Set {variable}, or put a line {variable}=… into .env beside the config.",
    )  # fmt: skip


def _sample_text(pipeline: Pipeline) -> str:
    source = pipeline.source
    row = next((row for page in source.pages(1) for row in page), None) if has_table(source) else first_row(source)
    if row is None:
        return "no rows yet"
    document = pipeline.to_document(row)
    return f"row {document.key}: {show.clip(document.text, 100) or '(empty)'}"
