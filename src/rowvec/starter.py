"""The rowvec.toml that `rowvec init` writes: ready to use, with what people change most often in comments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from rowvec.config.problems import quoted
from rowvec.urls import redact

URL_VARIABLE = "ROWVEC_SOURCE_URL"
WIDTH = 46
"""Comments behind a setting start in this column."""

HEAD = """\
# rowvec.toml: which rows get vectors, and where those are kept.
#
#   rowvec check    are the connections and the model right?
#   rowvec plan     what would a sync do, and what would it cost?
#   rowvec sync     do it; run it again whenever rows have changed
#   rowvec search "words"
#
# ${VAR} and ${VAR:-default} are read from the environment, then from a .env file beside this one.
# A setting behind a # shows its default, or an example: take the # away to change it.
"""

EMBEDDER = """\
[pipelines.{name}.embedder]
kind = "local"                                # runs here, without a service or a key
model = "sentence-transformers/all-MiniLM-L6-v2"
# precision = "float32"                       # "int8" is about 1.5 times as fast, its vectors a little off
# device = "auto"                             # "cpu" or "cuda"
# overflow = "truncate"                       # "mean" embeds a long text in windows, and averages them
#
# A paid service instead; its key is read from OPENAI_API_KEY:
# kind = "openai"
# model = "text-embedding-3-small"
# base_url = "https://api.openai.com/v1"      # or of any service that speaks the same language
# batch_size = 100                            # texts in one request
# concurrency = 4                             # requests at once
# requests_per_minute = 3000                  # no limit by default
"""

STORE = """\
[pipelines.{name}.store]
kind = "postgres"
url = "embedded"                              # rowvec's own PostgreSQL in .rowvec/; or postgresql://user@host/database
table = {table}
metadata = {metadata}
# metric = "cosine"                           # "l2" or "ip"
# storage = "vector"                          # "halfvec" takes half the space
# language = "english"                        # of keyword search: "german", "russian", "simple"; "" for none
#
# A single file, or Turso, instead:
# kind = "libsql"
# url = "vectors.db"                          # or libsql://name.turso.io
# token = "${{TURSO_AUTH_TOKEN}}"
"""


class Column(Protocol):
    @property
    def name(self) -> str: ...


class Proposal(Protocol):
    """What was found out about one table of a database."""

    @property
    def schema(self) -> str | None: ...
    @property
    def name(self) -> str: ...
    @property
    def rows(self) -> int | None: ...
    @property
    def key(self) -> str | None: ...
    @property
    def key_problem(self) -> str | None: ...
    @property
    def columns(self) -> Sequence[Column]: ...
    @property
    def text_columns(self) -> Sequence[str]: ...
    @property
    def metadata_columns(self) -> Sequence[str]: ...
    @property
    def cursor(self) -> str | None: ...
    @property
    def where(self) -> str | None: ...


def starter(proposals: Sequence[Proposal] | None = None, url: str | None = None) -> str:
    """The text of a rowvec.toml that loads as it is.

    Args:
        proposals: the tables of the database at `url`; the best of them gets the pipeline, the others a comment.
        url: written into the file, unless it holds a password: then the file refers to a variable.
    """
    if not proposals:
        return _assembled("products", _example_source(url), _example_text(), ["name", "price"])
    first, *others = sorted(proposals, key=_promise, reverse=True)
    name = _pipeline_name(first.name)
    return _assembled(name, _source(first, url), _text(first), list(first.metadata_columns), _others(others))


def _promise(table: Proposal) -> tuple[bool, bool, int]:
    return bool(table.key) and not table.key_problem, bool(table.text_columns), table.rows or 0


def _assembled(name: str, source: list[str], text: list[str], metadata: list[str], others: Sequence[str] = ()) -> str:
    parts = [
        HEAD,
        _lines(
            f"[pipelines.{name}]", _option('on_missing = "delete"', '"keep" leaves the vectors of rows that are gone')
        ),
        _lines(f"[pipelines.{name}.source]", *source),
        _lines(f"[pipelines.{name}.text]", *text),
        EMBEDDER.format(name=name),
        STORE.format(
            name=name,
            table=_behind(_value(name.replace("-", "_") + "_embeddings"), "made by the first sync", WIDTH - 8),
            metadata=_behind(_value(metadata), "kept beside the vectors, for filters", WIDTH - 11),
        ),
    ]
    return "\n".join([*parts, _lines(*others)] if others else parts)


def _example_source(url: str | None) -> list[str]:
    return [
        'kind = "sql"',
        *_url(url or "sqlite:///shop.db", "or postgresql://user@host/database, mysql://user@host/database"),
        _behind('table = "products"', 'or query = "select …"'),
        _behind('key = "id"', "one column, unique and never null"),
        _option('where = "not deleted"', "only these rows"),
        _option('cursor = "updated_at"', "grows with each change, so that a sync reads only what is new"),
        _option("page_size = 2000", "rows read at once"),
    ]


def _example_text() -> list[str]:
    return [
        _behind('columns = "*"', 'or ["name", "description"]; becomes "name: …. description: …"'),
        _option('exclude = ["created_at", "updated_at"]', 'with "*"'),
        _option("repeat = { name = 2 }", "a column said twice weighs more"),
        *_other_forms("name", "description"),
    ]


def _other_forms(first: str, second: str) -> list[str]:
    template = f"{{{{ {first} }}}}. {{{{ {second} }}}}"
    lines = [f"{each.replace('_', ' ').strip().capitalize()}: {{{each}}}" for each in (first, second)]
    return [
        "#",
        "# Or one of these instead of columns:",
        f"# template = {_value(template)}",
        f"# lines = {_value(lines)}",
    ]


def _source(table: Proposal, url: str | None) -> list[str]:
    key = table.key or (table.columns[0].name if table.columns else "id")
    lines = [
        'kind = "sql"',
        *_url(url or "sqlite:///shop.db"),
        _behind(f"table = {_value(_qualified(table))}", _rows(table)),
    ]
    if table.key_problem or not table.key:
        query = f"select a || '-' || b as id, * from {_qualified(table)}"
        problem = table.key_problem or "no column is known to be unique and never null"
        lines += [
            f"# The key needs a look: {_one_line(problem)}",
            "# If no column will do, make one in a query, and leave table out:",
            f"# query = {_value(query)}",
        ]
    lines.append(_behind(f"key = {_value(key)}", "one column, unique and never null"))
    where, cursor = table.where, table.cursor
    lines.append(
        _behind(f"where = {_value(where)}", "only these rows") if where else _option('where = "…"', "only these rows")
    )
    grows = "grows with each change, so that a sync reads only what is new"
    lines.append(_behind(f"cursor = {_value(cursor)}", grows) if cursor else _option('cursor = "…"', grows))
    return [*lines, _option("page_size = 2000", "rows read at once")]


def _text(table: Proposal) -> list[str]:
    chosen = list(table.text_columns)
    left = [column.name for column in table.columns if column.name not in {*chosen, table.key}]
    lines = [_behind(f"columns = {_value(chosen)}", '"*" takes all of them') if chosen else 'columns = "*"']
    if chosen and left:
        lines.append(f"# also there: {_one_line(', '.join(left))}")
    first, second = (chosen + left + ["name", "description"])[:2]
    lines.append(_option(f"repeat = {{ {_value(first)} = 2 }}", "a column said twice weighs more"))
    plain = all(re.fullmatch(r"[A-Za-z_]\w*", each) for each in (first, second))
    return [*lines, *_other_forms(first, second)] if plain else lines


def _others(tables: Sequence[Proposal]) -> list[str]:
    if not tables:
        return []
    lines = ["# The other tables. Each may get a pipeline of its own, written as the one above:"]
    for table in tables:
        problem = table.key_problem or ("" if table.key else "no key was found")
        key = f"no usable key: {_one_line(problem)}" if problem else f"key {_value(table.key)}"
        text = ", ".join(map(_value, table.text_columns)) or "none"
        lines.append(f"#   {_value(_qualified(table))}: {_rows(table)}; {key}; text: {text}")
    return lines


def _url(url: str, comment: str = "") -> list[str]:
    masked = redact(url)
    if masked == url:
        return [_behind(f"url = {_value(url)}", comment)]
    return [
        "# Its password stays out of this file. Put this line into .env, with the password instead of ***:",
        f"#   {URL_VARIABLE}={_one_line(masked)}",
        f'url = "${{{URL_VARIABLE}}}"',
    ]


def _qualified(table: Proposal) -> str:
    """As source.table takes it: a part that is no plain word stands in double quotes."""
    parts = [part for part in (table.schema, table.name) if part]
    return ".".join(part if re.fullmatch(r"\w+", part) else '"' + part.replace('"', '""') + '"' for part in parts)


def _rows(table: Proposal) -> str:
    if table.rows is None:
        return "rows not counted"
    return f"{table.rows:,} row{'' if table.rows == 1 else 's'}"


def _pipeline_name(table: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "_", table.lower()).strip("_-")[:35] or "rows"


def _value(value: str | Sequence[str] | None) -> str:
    """As TOML, so that load() gives it back: `${` would be a variable."""
    if value is None or isinstance(value, str):
        return quoted((value or "").replace("${", "$${"))
    return "[" + ", ".join(map(_value, value)) + "]"


def _one_line(text: str) -> str:
    """Fit for a comment, which a line break would end."""
    return "".join(char if char.isprintable() else " " for char in text)


def _option(setting: str, comment: str) -> str:
    return _behind(f"# {setting}", comment)


def _behind(setting: str, comment: str, width: int = WIDTH) -> str:
    return f"{setting:<{width - 1}} # {comment}" if comment else setting


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)
