"""The reference pages of the docs, written from the code each time the docs are built: a hook of mkdocs.

reference/cli.md       from the commands themselves
reference/config.md    from the models of rowvec.toml; a key's meaning is the docstring below it
reference/http.md      from the application's OpenAPI document
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import griffe
import typer
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).parents[1]
UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
RUN_WORDS = re.compile(r"^(```\w+) (?:no-)?run\b", re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    for name, write in {"cli": cli, "config": config_keys, "http": http}.items():
        files.append(File.generated(config, f"reference/{name}.md", content=write()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What a code block says to the tests of the docs, readers need not see."""
    return RUN_WORDS.sub(r"\1", markdown)


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


# Commands


def commands() -> dict[str, Any]:
    """By name, in the order of `rowvec --help`."""
    from rowvec.cli.commands import app

    group: Any = typer.main.get_command(app)
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        parts = getattr(command, "commands", None)
        found |= {f"{name} {part}": each for part, each in parts.items()} if parts else {name: command}
    return found


def cli() -> str:
    from rowvec.cli.commands import app

    parts = [f"# Commands\n\n{app.info.epilog}\n"]
    for name, command in commands().items():
        context = typer.Context(command, info_name=f"rowvec {name}")
        usage = command.get_usage(context).removeprefix("Usage: ")
        options = filter(None, (each.get_help_record(context) for each in command.params))
        parts += [f"## rowvec {name}\n\n{command.help}\n", f"```text\n{usage}\n```\n"]
        parts.append(_table(("option", "meaning"), ((f"`{option}`", meaning) for option, meaning in options)))
    return "\n".join(parts)


# rowvec.toml


def sections() -> dict[str, type[BaseModel]]:
    """The tables of a rowvec.toml, as they are written, and their models."""
    from rowvec.config import kinds, models
    from rowvec.config.card import CardConfig
    from rowvec.config.load import PARTS
    from rowvec.config.rerank import RerankConfig
    from rowvec.config.serve import QueriesConfig
    from rowvec.config.workers import ScheduleConfig, WorkersConfig

    found: dict[str, type[BaseModel]] = {"[pipelines.NAME]": models.PipelineTable}
    for part in PARTS:
        for kind, model in kinds.own(part).items():
            found[f'[pipelines.NAME.{part}] kind = "{kind}"'] = model
        if part == "source":
            found["[pipelines.NAME.text]"] = models.TextConfig
            found["[pipelines.NAME.text.passages]"] = models.PassagesConfig
    found["[pipelines.NAME.search]"] = models.SearchConfig
    found["[pipelines.NAME.search.card]"] = CardConfig
    found["[pipelines.NAME.search.rerank]"] = RerankConfig
    found["[pipelines.NAME.schedule]"] = ScheduleConfig
    found["[pipelines.NAME.eval]"] = models.EvalConfig
    found["[serve.queries]"] = QueriesConfig
    found["[workers]"] = WorkersConfig
    return found


def config_keys() -> str:
    parts = [
        "# Every key of rowvec.toml\n\n"
        "`${VAR}` and `${VAR:-default}` are read from the environment, then from a `.env` file beside rowvec.toml."
        " Relative paths start beside it. A key that is not listed here is an error.\n"
    ]
    for title, model in sections().items():
        summary = (model.__doc__ or "").split("\n\n")[0].partition("; see rowvec.")[0].rstrip(".")
        parts.append(f"## `{title}`\n\n{summary}.\n")
        schema = model.model_json_schema()
        rows = (_key(name, field, schema, meanings(model)) for name, field in model.model_fields.items())
        parts.append(_table(("key", "type", "default", "meaning"), rows))
    return "\n".join(parts)


def _key(name: str, field: FieldInfo, schema: Mapping[str, Any], meant: Mapping[str, str]) -> tuple[str, ...]:
    kind = _type(schema["properties"][name], schema)
    if field.is_required():
        default = "needed"
    else:
        value = field.get_default(call_default_factory=True)
        default = "" if value in (None, "", (), {}, PydanticUndefined) else f"`{_toml(value)}`"
    return f"`{name}`", kind, default, meant.get(name, "Which of them." if name == "kind" else "")


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """The docstring below each field of a model and of those it is made of."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if each.__module__.startswith("rowvec."):
            members = _module(each.__module__)[each.__name__].attributes
            found |= {name: " ".join(it.docstring.value.split()) for name, it in members.items() if it.docstring}
    return found


@cache
def _package() -> Any:
    """Read once: a module that is asked for by its own name has the whole package read for it."""
    return griffe.load("rowvec", search_paths=[ROOT / "src"])


def _module(name: str) -> Any:
    return _package()[name.partition(".")[2]]


def _type(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """A JSON schema in a few words: `text`, `number, 0 to 1`, `one of "a", "b"`."""
    if "anyOf" in schema:
        return " or ".join(_type(each, whole) for each in schema["anyOf"] if each.get("type") != "null")
    if "const" in schema:
        return f'`"{schema["const"]}"`'
    if "enum" in schema:
        return ", ".join(f'`"{each}"`' for each in schema["enum"])
    if "$ref" in schema:
        return "table"
    if schema.get("type") == "array":
        return "list of " + _type(schema["items"], whole)
    words = {"string": "text", "object": "table", "boolean": "true or false"}
    kind = "length of time" if schema.get("format") == "duration" else schema.get("type", "list of text")
    low, high = schema.get("ge", schema.get("minimum")), schema.get("le", schema.get("maximum"))
    bounds = "" if low is None else f", from {low} on" if high is None else f", {low} to {high}"
    return words.get(kind, kind) + bounds


def _toml(value: Any) -> str:
    if isinstance(value, dt.timedelta):
        seconds = int(value.total_seconds())
        size, unit = next((size, unit) for size, unit in UNITS if seconds % size == 0)
        return f'"{seconds // size}{unit}"'
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    return json.dumps(list(value) if isinstance(value, tuple) else value)


# HTTP


def openapi() -> dict[str, Any]:
    """Of an application over one pipeline in memory."""
    from rowvec.pipeline import Pipeline
    from rowvec.serve import Service, create_app
    from rowvec.stores.base import TableSpec
    from rowvec.testing import HashEmbedder, MemorySource, MemoryStore
    from rowvec.types import ColumnType, Document, Row

    def document(row: Row) -> Document:
        return Document(row.key, "", (), b"", b"")

    embedder = HashEmbedder()
    spec = TableSpec(
        pipeline="products", key="id", key_type=ColumnType.INTEGER, dimension=embedder.fingerprint.dimension,
        metadata=(), fingerprint=embedder.fingerprint, recipe="",
    )  # fmt: skip
    pipeline = Pipeline("products", MemorySource({}), document, (), embedder, MemoryStore(), spec)
    return create_app({"products": Service(pipeline)}).openapi()


def http() -> str:
    from rowvec.serve.page.docs import Operation, described

    def fields(title: str, found: Sequence[Any]) -> str:
        rows = ((f"`{each.name}`", each.kind, "needed" if each.required else "", each.text) for each in found)
        return f"{title}\n\n" + _table(("name", "type", "", "meaning"), rows) if found else ""

    def operation(each: Operation) -> str:
        answers = _table(("status", "meaning"), ((status, meaning) for status, meaning in each.answers))
        parts = [f"### {each.method} {each.path}", each.summary + ".", fields("Parameters:", each.parameters)]
        parts += [fields("Body, as JSON:", each.body)]
        if each.request:
            parts.append(f"```sh\n{each.request}\n```")
        if each.reply:
            parts.append(f"```json\n{each.reply}\n```")
        return "\n\n".join(filter(None, [*parts, answers])) + "\n"

    parts = [
        "# HTTP API\n\n`rowvec serve` answers on 127.0.0.1:8000 and has its OpenAPI document at `/openapi.json`."
        " Where several pipelines are served, each path begins with `/pipelines/NAME`."
        ' Errors are JSON: `{"error": {"message": …, "hint": …}}`.\n'
    ]
    for title, operations in described(openapi()):
        parts += [f"## {title}\n", *map(operation, operations)]
    return "\n".join(parts)
