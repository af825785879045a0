"""The code blocks and inline commands of the docs, and what checks each kind of them.

What stands behind a block's language says what is done with it:

    ```console run           its `$ ` lines are run in order, after the page's earlier `run` blocks, and must print this
    ```toml title="x.toml"   checked as any other, and written to that file for the commands of the page
    ```sql no-run            neither run nor checked, because it cannot be; few blocks may say so
    ```sh                    checked without being run: commands and options exist, configs load, names can be imported
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import inspect
import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from tools import reference

from rowvec import config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "examples").glob("*/README.md"))

FENCE = re.compile(r"^( *)(```+)([\w-]*)(.*)\n((?:.*\n)*?)\1\2 *$", re.MULTILINE)
SHELL = frozenset({"sh", "bash", "console"})
OUR_URL = re.compile(r"(?:https?://)?(?:localhost|127\.0\.0\.1|[\w.-]+\.example)(?::\d+)?(/[^?]*)?(?:\?.*)?")
STATEMENT = re.compile(r"(alter|analyze|copy|create|drop|explain|grant|insert|select|set|update|with)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Block:
    page: Path
    line: int
    language: str
    said: str
    text: str

    @property
    def title(self) -> str | None:
        found = re.search(r'title="([^"]+)"', self.said)
        return found[1] if found else None

    @property
    def run(self) -> bool:
        return "run" in self.said.split()

    @property
    def unchecked(self) -> bool:
        return "no-run" in self.said.split()

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line} {self.language or 'text'}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent, _, language, said, body = match.groups()
        body = re.sub(f"^{indent}", "", body, flags=re.MULTILINE)
        found.append(Block(page, text.count("\n", 0, match.start()) + 1, language, said, body))
    return found


def inline(page: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of each `code` in the prose and the tables of a page."""
    text = FENCE.sub(lambda match: "\n" * match[0].count("\n"), page.read_text(encoding="utf-8"))
    for match in re.finditer(r"(?<!`)`([^`\n]+)`(?!`)", text):
        yield text.count("\n", 0, match.start()) + 1, match[1].replace(r"\|", "|")


def wrong(block: Block) -> str | None:
    """What is wrong with a block, as far as that shows without running it."""
    checks = {"toml": _toml, "python": _python, "json": _json, "yaml": _yaml, "sql": _sql}
    if block.unchecked:
        return None
    if block.language in SHELL:
        return next(filter(None, map(command_mistake, commands(block))), None)
    if block.language in ("", "text"):
        ours = re.findall(r"^(?:\$ )?(rowvec .*)$", block.text, re.MULTILINE)
        return next(filter(None, map(command_mistake, ours)), None)
    if block.language not in checks:
        return f"there is no check for {block.language}; say no-run"
    try:
        return checks[block.language](block.text)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


# Commands


def commands(block: Block) -> list[str]:
    """The command lines of a block; of a console block those behind a `$`."""
    text = block.text.replace("\\\n", " ")
    if block.language == "console":
        return re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def command_mistake(line: str) -> str | None:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[list[str]] = [[]]
    for token in lexer:
        if token in ("&&", "||", "|", ";", "&"):
            words.append([])
        else:
            words[-1].append(token)
    for each in words:
        while each and (re.fullmatch(r"[A-Z_]+=.*", each[0]) or each[0] in ("exec", "uv", "poetry")):
            each = each[1:]
        mistake = _mistake(each) if each else None
        if mistake:
            return f"{line}: {mistake}"
    return None


def _mistake(words: list[str]) -> str | None:
    name, *rest = words
    rest = rest[: next((at for at, word in enumerate(rest) if word in (">", ">>", "<", "2>")), None)]
    if name == "rowvec":
        return rowvec_mistake(rest)
    if name == "make":
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        return next((f"no target {word}" for word in rest if "=" not in word and word not in targets), None)
    if name == "pip" or (name.startswith("python") and rest[:2] == ["-m", "pip"]):
        return _pip_mistake(rest)
    if name == "curl":
        return _curl_mistake(rest)
    if name.startswith("python"):
        return _python_mistake(rest)
    if name == "celery":
        return next((f"no module {word}" for word in rest if word.startswith("rowvec.") and not _exists(word)), None)
    return None


def rowvec_mistake(words: list[str]) -> str | None:
    known = reference.commands()
    while words and words[0].startswith("-"):
        if words[0] not in ("--version", "--help", "--verbose", "-v", "--install-completion", "--show-completion"):
            return f"rowvec has no option {words[0]}"
        words = words[1:]
    if not words:
        return None
    if words[0] not in known:
        return f"there is no command {words[0]}"
    try:
        known[words[0]].make_context(words[0], [word for word in words[1:] if word != "…"])
    except Exception as error:
        return str(getattr(error, "format_message", error.__str__)())
    return None


def _exists(name: str) -> bool:
    """A module of ours, or a task."""
    tasks = ("rowvec.generate_embeddings", "rowvec.sync", "rowvec.sync_range")
    return name in tasks or importlib.util.find_spec(name) is not None


def _pip_mistake(words: list[str]) -> str | None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = re.findall(r"(?:rowvec|\.)\[([^\]]*)\]", " ".join(words))
    return next((f"no extra {extra}" for group in asked for extra in group.split(",") if extra not in known), None)


@cache
def _paths() -> list[str]:
    return [re.sub(r"\{\w+\}", "[^/]+", path) for path in reference.openapi()["paths"]]


def _curl_mistake(words: list[str]) -> str | None:
    for word in words:
        found = OUR_URL.fullmatch(word)
        if found and found[1] not in (None, "/") and not any(re.fullmatch(path, found[1]) for path in _paths()):
            return f"the API has no {found[1]}"
    return None


def _python_mistake(words: list[str]) -> str | None:
    if words[:1] != ["-m"]:
        return None
    if words[1] == "benchmarks" and len(words) > 2:
        return None if (ROOT / "benchmarks" / f"{words[2]}.py").is_file() else f"no benchmark {words[2]}"
    module = words[1].replace(".", "/")
    ours = words[1].startswith(("benchmarks", "tests", "examples"))
    return f"no module {words[1]}" if ours and not (ROOT / f"{module}.py").is_file() else None


# The other languages


def _toml(text: str) -> str | None:
    """A whole rowvec.toml, or a part of one: a source is supplied where there is none."""
    keys = tomllib.loads(text).keys()
    if not keys & {"pipelines", "workers"}:
        text = f"[pipelines.products]\n{text}"
    pipelines = tomllib.loads(text).get("pipelines", {})
    for name in pipelines or ["products"]:
        if "source" not in pipelines.get(name, {}):
            text += f'\n[pipelines.{name}.source]\nkind = "sql"\nurl = "postgresql://u@h/d"\ntable = "t"\nkey = "id"\n'
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        for variable in re.findall(r"\$\{(\w+)\}", text):
            host = variable.lower().replace("_", "-")
            patch.setenv(variable, f"libsql://{host}" if "TURSO" in variable else f"postgresql://u@{host}/d")
        file = Path(folder) / config.NAME
        file.write_text(text, encoding="utf-8")
        loaded = config.load(file)
        assert loaded.pipelines
        assert loaded.workers
    return None


def _python(text: str) -> str | None:
    tree = ast.parse(text)
    known: dict[str, Any] = dict(vars(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            known |= {name.asname or name.name: getattr(module, name.name) for name in node.names}
        elif isinstance(node, ast.Import):
            for name in node.names:
                importlib.import_module(name.name)
                known[(name.asname or name.name).partition(".")[0]] = None
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.setdefault(node.id, None)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            known[node.name] = None
        elif isinstance(node, ast.arg):
            known[node.arg] = None
    unknown = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id not in known}
    if unknown:
        return f"not defined: {', '.join(sorted(unknown))}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and callable(known.get(node.func.id)):
            _bind(known[node.func.id], node)
    return None


def _bind(function: Any, call: ast.Call) -> None:
    """Raises TypeError where the function takes no such arguments."""
    if getattr(function, "__module__", "").startswith("rowvec") and all(word.arg for word in call.keywords):
        arguments = {str(word.arg): None for word in call.keywords}
        inspect.signature(function).bind(*([None] * len(call.args)), **arguments)


def _json(text: str) -> str | None:
    json.loads(text)
    return None


def _yaml(text: str) -> str | None:
    yaml.safe_load(text)
    return None


def _sql(text: str) -> str | None:
    bare = re.sub(r"--.*", "", text)
    each = [statement.strip() for statement in bare.split(";") if statement.strip()]
    return next((f"no statement: {one[:40]}" for one in each if not STATEMENT.match(one)), None)


# Running a page

SQL = "import os, sys, psycopg; psycopg.connect(os.environ['DATABASE_URL'], autocommit=True).execute(sys.stdin.read())"
END = "\x1e"


def script(page: Path) -> tuple[str, list[tuple[str, list[str]]]]:
    """What a shell runs for a page, and (command, lines it should print) of each command whose output is shown."""
    lines = ["set -eu"]
    expected: list[tuple[str, list[str]]] = []
    for block in blocks(page):
        if block.title and not block.unchecked:
            lines.append(f"cat > '{block.title}' <<'ROWVEC_END'\n{block.text}ROWVEC_END")
        elif block.run and block.language == "sql":
            lines.append(f"""python -c "{SQL}" <<'ROWVEC_END'\n{block.text}ROWVEC_END""")
        elif block.run and block.language == "python":
            lines.append(f"python - <<'ROWVEC_END'\n{block.text}ROWVEC_END")
        elif block.run:
            for command, printed in _shown(block):
                # What is not shown is not compared: it goes to stderr.
                lines.append(f"printf '{END}'; {command}" if printed else f"{{ {command}\n}} >&2")
                lines += [f"printf '{END}'"] if printed else []
                expected += [(command, printed)] if printed else []
    return "\n".join(lines) + "\n", expected


def _shown(block: Block) -> list[tuple[str, list[str]]]:
    if block.language != "console":
        return [(block.text.rstrip("\n"), [])]
    shown: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            shown.append((line[2:], []))
        elif line.startswith("> "):
            shown[-1] = (f"{shown[-1][0]}\n{line[2:]}", [])
        elif line.strip():
            shown[-1][1].append(line)
    return shown


def as_shown(printed: str, shown: list[str]) -> bool:
    """What was printed is what is shown: times and other numbers may differ, … stands for anything."""
    pattern = "\n".join(map(_any_numbers, shown))
    lines = [line for line in printed.splitlines() if line.strip()]
    return re.fullmatch(pattern, "\n".join(" ".join(line.split()) for line in lines)) is not None


def _any_numbers(line: str) -> str:
    line = " ".join(line.split())
    if line == "…":
        return r"(?:.|\n)*"
    parts = re.split(r"(\d[\d,.:/T-]*|…)", line)
    kinds: Mapping[bool, str] = {True: r"[^\n]*", False: r"\d[\d,.:/T-]*"}
    return "".join(kinds[part == "…"] if at % 2 else re.escape(part) for at, part in enumerate(parts))
