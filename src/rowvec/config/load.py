"""Find, read and check a rowvec.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from rowvec.config import kinds
from rowvec.config.bases import EmbedderConfig, SourceConfig, StoreConfig
from rowvec.config.environment import DOTENV, At, Environment, Unset, expand
from rowvec.config.fields import Context, Section
from rowvec.config.models import EvalConfig, PipelineTable, SearchConfig, TextConfig
from rowvec.config.problems import Problem, explain, report, shown_path, unknown_kind, unset_variable
from rowvec.config.serve import ServeConfig
from rowvec.config.trust import check_ours, owner
from rowvec.config.workers import ScheduleConfig, WorkersConfig
from rowvec.errors import ConfigError
from rowvec.support.redaction import redact
from rowvec.support.suggestions import suggestion

NAME = "rowvec.toml"
STATE = ".rowvec"
BROKER_VARIABLE = "ROWVEC_BROKER"
TOP = ("pipelines", "serve", "workers")
QUERIES = "queries.db"
PARTS: tuple[kinds.Part, ...] = ("source", "embedder", "store")
DEFAULTS = {"embedder": {"kind": "local"}, "store": {"kind": "postgres"}}

S = TypeVar("S", bound=Section)


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """One declared mapping source -> text -> embedder -> store."""

    name: str
    source: SourceConfig
    text: TextConfig
    embedder: EmbedderConfig
    store: StoreConfig
    on_missing: Literal["delete", "keep"] = "delete"
    search: SearchConfig = SearchConfig()
    schedule: ScheduleConfig | None = None
    eval: EvalConfig | None = None
    query_embedder: EmbedderConfig | None = None


@dataclass(frozen=True)
class Config:
    """A rowvec.toml in which every pipeline is well formed, and those with all their variables are ready."""

    path: Path
    _declared: Mapping[str, PipelineConfig | list[Problem]] = field(repr=False)
    _workers: WorkersConfig | list[Problem] = field(default_factory=WorkersConfig, repr=False)
    _serve: ServeConfig | list[Problem] = field(default_factory=ServeConfig, repr=False)

    @property
    def folder(self) -> Path:
        """Relative paths of the config start here."""
        return self.path.parent

    @property
    def state(self) -> Path:
        """Where rowvec keeps what is its own, such as the embedded server's data."""
        return self.folder / STATE

    @property
    def names(self) -> list[str]:
        return list(self._declared)

    @property
    def workers(self) -> WorkersConfig:
        """Raises ConfigError when [workers] needs a variable that is not set."""
        if isinstance(self._workers, WorkersConfig):
            return self._workers
        raise report(self.path, self._workers)

    @property
    def serve(self) -> ServeConfig:
        """Raises ConfigError when [serve] needs a variable that is not set."""
        if isinstance(self._serve, ServeConfig):
            return self._serve
        raise report(self.path, self._serve)

    @property
    def query_log(self) -> Path:
        """Where the log of queries is, where one is kept."""
        return (self.serve.queries and self.serve.queries.file) or self.state / QUERIES

    @property
    def pipelines(self) -> dict[str, PipelineConfig]:
        """All of them.

        Raises:
            ConfigError: one of them needs a variable that is not set.
        """
        return {name: self.pipeline(name) for name in self._declared}

    def pipeline(self, name: str | None = None) -> PipelineConfig:
        """The pipeline `name`; None means the only one there is.

        Raises:
            ConfigError: no pipeline has that name, or there are several and no name; a variable it needs is not set.
        """
        if name is None and len(self._declared) > 1:
            raise ConfigError(
                f"{shown_path(self.path)} has {len(self._declared)} pipelines: {', '.join(self._declared)}.",
                hint=f"Name one, for example -p {self.names[0]}; most commands also take --all.",
            )
        if name is not None and name not in self._declared:
            raise ConfigError(
                f"{shown_path(self.path)}: there is no pipeline {redact(name)!r}.",
                hint=suggestion(name, self._declared),
            )
        found = self._declared[name or self.names[0]]
        if isinstance(found, PipelineConfig):
            return found
        raise report(self.path, found)


def load(path: Path | None = None) -> Config:
    """The config at `path`, a file or its folder; None looks here, then in the folders above up to the home folder.

    Variables are looked up per pipeline: one that is missing stops only the pipeline that needs it. Who names a file
    believes its owner; one that was found, and the .env file beside it, must be ours or root's.

    Raises:
        ConfigError: no such file, one that another user could have written, or everything that is wrong with it at
            once.
    """
    file = _find() if path is None else path.absolute() / NAME if path.is_dir() else path.absolute()
    named = owner(file) if path is not None else None
    for each in (file, file.with_name(DOTENV)):
        check_ours(each, () if named is None else (named,))
    document = _parse(file)
    declared, problems = _read(file, document)
    broker = Environment(file.parent).get(BROKER_VARIABLE)
    workers, more = _read_section(file, document, "workers", WorkersConfig, {"broker": broker} if broker else {})
    serve, others = _read_section(file, document, "serve", ServeConfig, {})
    if problems or more or others:
        raise report(file, problems + more + others)
    return Config(file, declared, workers, serve)


def _read_section(
    file: Path, document: Mapping[str, Any], name: str, model: type[S], defaults: Mapping[str, Any]
) -> tuple[S | list[Problem], list[Problem]]:
    """The section, or the variables it waits for; and what is wrong with it."""
    at: At = (name,)
    written = document.get(name, {})
    if not isinstance(written, dict):
        return [], [Problem(at, "is not a table", f"Write [{name}].")]
    environment = Environment(file.parent)
    table, unset = expand(written, environment, at)
    if unset:
        return [unset_variable(each, environment) for each in unset], []
    try:
        return model.model_validate({**defaults, **table}, context=Context("", file.parent, environment)), []
    except ValidationError as error:
        return [], explain(error, model, at, {})


def _read(file: Path, document: dict[str, Any]) -> tuple[dict[str, PipelineConfig | list[Problem]], list[Problem]]:
    """The pipelines of a parsed file, and what must be fixed before any of them is used."""
    problems = []
    for name in document:
        if name not in TOP:
            fix = suggestion(name, TOP)
            fix = fix if fix.startswith("Did") else "Pipelines are written [pipelines.NAME]."
            problems.append(Problem((name,), "is not a known key", fix))
    tables = document.get("pipelines", {})
    if not isinstance(tables, dict):
        problems.append(Problem(("pipelines",), "is not a table", "Write [pipelines.NAME]."))
        return {}, problems
    if not tables and not problems:
        fix = "Add [pipelines.NAME]; `rowvec init` writes an example."
        problems.append(Problem(("pipelines",), "is empty", fix))
    environment = Environment(file.parent)
    declared: dict[str, PipelineConfig | list[Problem]] = {}
    for name, written in tables.items():
        reader = _Reader(Context(name, file.parent, environment))
        declared[name] = reader.read(written) or [unset_variable(each, environment) for each in reader.unset]
        problems += reader.problems
    return declared, problems + _shared_targets(declared)


class _Reader:
    """Turns the table of one pipeline into models, and collects what is wrong on the way."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._at: At = ("pipelines", context.pipeline)
        self._homes = _homes(context.pipeline)
        self.problems: list[Problem] = []
        self.unset: list[Unset] = []

    def read(self, written: Any) -> PipelineConfig | None:
        """None when there are problems or variables that are not set."""
        name = self._context.pipeline
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            self.problems.append(
                Problem(self._at, "is not a valid pipeline name", "Use letters, digits, _ and - only.")
            )
        if not isinstance(written, dict):
            self.problems.append(Problem(self._at, "is not a table", f"Write [pipelines.{name}]."))
            return None
        table, unset = expand(written, self._context.environment, self._at)
        self.unset = list(dict.fromkeys(unset))
        shared = _in_place(table)
        outline = self._validated(PipelineTable, table, self._at, self._homes)
        text = self._validated(TextConfig, _table(table, "text"), (*self._at, "text"), self._homes)
        search = self._validated(SearchConfig, _table(table, "search"), (*self._at, "search"), self._homes)
        parts: dict[str, Any] = {
            part: self._part(part, _table(table, part))
            for part in PARTS
            if outline or isinstance(table.get(part), dict)
        }
        schedule = gate = None
        if isinstance(table.get("schedule"), dict):
            schedule = self._validated(ScheduleConfig, table["schedule"], (*self._at, "schedule"), self._homes)
        if isinstance(table.get("eval"), dict):
            gate = self._validated(EvalConfig, table["eval"], (*self._at, "eval"), self._homes)
        queries: Any = None
        if isinstance(table.get("query_embedder"), dict):
            queries = self._part("embedder", table["query_embedder"], "query_embedder")
        if shared:
            self._tell_shared_url_once()
        if outline is None or self.problems or self.unset:
            return None
        known: dict[str, Any] = {"text": text, "search": search, "schedule": schedule, "eval": gate}
        return PipelineConfig(name=name, on_missing=outline.on_missing, query_embedder=queries, **known, **parts)

    def _tell_shared_url_once(self) -> None:
        """What is wrong with the URL of the source is wrong with the store's, which nobody has written."""
        source, store = (*self._at, "source", "url"), (*self._at, "store", "url")
        if source in [*(each.at for each in self.unset), *(each.at for each in self.problems)]:
            self.problems = [each for each in self.problems if each.at != store]

    def _part(self, part: kinds.Part, table: dict[str, Any], name: str = "") -> Section | None:
        """
        Args:
            name: of the table, where that is not the name of the part.
        """
        at = (*self._at, name or part)
        kind = table.get("kind")
        found = kinds.find(part, kind) if isinstance(kind, str) else None
        if found is None:
            if (*at, "kind") not in [each.at for each in self.unset]:
                self.problems.append(unknown_kind(table, kinds.names(part), at))
            return None
        others: dict[str, list[str]] = {}
        for other, model in kinds.own(part).items():
            for key in model.model_fields:
                others.setdefault(key, []).append(f'kind = "{other}"')
        belongs = {key: f"It belongs to {' or '.join(there)}." for key, there in others.items()}
        return self._validated(found.config, table, at, {**self._homes, **belongs})

    def _validated(self, model: type[S], table: dict[str, Any], at: At, elsewhere: Mapping[str, str]) -> S | None:
        try:
            return model.model_validate(table, context=self._context)
        except ValidationError as error:
            found = explain(error, model, at, elsewhere)
        # A value that waits for its variable cannot be judged yet; a table that holds one can.
        waiting = [each.at for each in self.unset]
        self.problems += [
            each for each in found if each.at == at or all(spot[: len(each.at)] != each.at for spot in waiting)
        ]
        return None


def _shared_targets(declared: Mapping[str, PipelineConfig | list[Problem]]) -> list[Problem]:
    """Two pipelines in one table would each delete what the other wrote."""
    problems = []
    owners: dict[tuple[str, ...], str] = {}
    for name, pipeline in declared.items():
        if isinstance(pipeline, PipelineConfig):
            taken = (owners.setdefault(target, name) for target in pipeline.store.targets)
            owner = next((each for each in taken if each != name), name)
            if owner != name:
                at = ("pipelines", name, "store", "table")
                what = f"is also the table of pipeline {owner!r} in the same database"
                problems.append(Problem(at, what, "Give each pipeline a table of its own."))
    return problems


def _in_place(table: dict[str, Any]) -> bool:
    """Vectors in a column of the user's own stand where the rows do, unless the store says otherwise.

    Returns:
        Whether the store has the URL of the source.
    """
    source, store = table.get("source"), table.get("store")
    if isinstance(source, dict) and isinstance(store, dict) and store.get("column"):
        url, name = source.get("url"), source.get("table")
        if isinstance(url, str) and isinstance(name, str):
            # The store's driver does not know SQLAlchemy's dialects.
            url = type(url)(re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", url))
            table["store"] = {"url": url, "table": name, **store}
            return "url" not in store
    return False


def _table(pipeline: dict[str, Any], part: str) -> dict[str, Any]:
    """Of one part, or its default."""
    written = pipeline.get(part)
    return written if isinstance(written, dict) else DEFAULTS.get(part, {})


def _homes(name: str) -> dict[str, str]:
    """Keys that only one part of a pipeline has, for those who write them into another."""
    homes: dict[str, set[str]] = {key: {"text"} for key in TextConfig.model_fields}
    for part in PARTS:
        for model in kinds.own(part).values():
            for key in model.model_fields:
                homes.setdefault(key, set()).add(part)
    return {
        key: f"Put it into [pipelines.{name}.{next(iter(parts))}]." for key, parts in homes.items() if len(parts) == 1
    }


def _find() -> Path:
    here, home = Path.cwd(), Path.home()
    for folder in (here, *here.parents):
        if (folder / NAME).is_file():
            return folder / NAME
        if folder == home:
            break
    raise ConfigError(
        f"There is no {NAME} in {here} or a folder above it.",
        hint="`rowvec init` writes one; --config names one that is elsewhere.",
    )


def _parse(file: Path) -> dict[str, Any]:
    shown = shown_path(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{shown} does not exist.", hint="`rowvec init` writes one.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{shown}, line {line}: this is not UTF-8 text.", hint="Save the file as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{shown} cannot be read: {error.strerror}.", hint="Check its permissions.") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(shown, text, str(error)) from None
    except ValueError:
        # Of Python, which reads no integer of more than 4,300 digits.
        raise ConfigError(f"{shown} holds a number of thousands of digits.", hint="Write a shorter one.") from None
    except RecursionError:
        raise ConfigError(f"{shown} is nested too deep.", hint="Take brackets out: lists hold values here.") from None


def _syntax_error(shown: str, text: str, said: str) -> ConfigError:
    """tomllib puts the place in brackets behind its message, in words where it is the end of the file."""
    message, _, place = said.rpartition(" (at ")
    doubled = message.startswith(("Cannot ", "Duplicate "))
    # A key is a tuple there.
    message = re.sub(r"\('[\w', -]+\)", lambda key: ".".join(re.findall(r"[\w-]+", key[0])), message)
    found = re.fullmatch(r"line (\d+), column (\d+)\)", place)
    lines = text.splitlines() or [""]
    line, column = (int(found[1]), int(found[2])) if found else (len(lines), len(lines[-1]) + 1)
    hint = "A value is text in quotes, a number, true, false, a [list] or a { table }."
    if doubled:
        hint = "It is in the file twice: keep one of them, or rename it."
    return ConfigError(f"{shown}, line {line}, column {column}: {message or said}.", hint=hint)
