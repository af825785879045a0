"""The rowvec.toml that `rowvec init` writes: ready to use, with what people change most often in comments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rowvec.config.environment import REFERENCE
from rowvec.config.models import MINILM
from rowvec.config.problems import dotted, quoted
from rowvec.embedders.known_languages import MULTILINGUAL, foreign, languages_of
from rowvec.support.redaction import redact

if TYPE_CHECKING:
    from rowvec.sources.propose import Files, Proposal

URL_VARIABLE = "ROWVEC_SOURCE_URL"
EXTRA = "pip install 'rowvec[multilingual]' brings it"
GROWS = "grows with each change, so that a sync reads only what is new"
WINDOWS = {MINILM: 256, MULTILINGUAL: 512}
"""Tokens that the models read at once."""
CHARACTERS = 5
"""Of a token in a text of words: a longer text is likely not read at once. `rowvec check` counts."""
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
# A setting behind a # shows its default, or an example: remove the # to change it.
"""

EMBEDDER = """\
[pipelines.{name}.embedder]
kind = "local"                                # runs here, without a service or a key
{model}
# precision = "float32"                       # "int8" is about twice as fast, its vectors a little off
# device = "auto"                             # "cpu" or "cuda"
# overflow = "mean"                           # of windows, for a long text; "truncate" leaves out its end
#
# A paid service instead; the key of OpenAI is read from OPENAI_API_KEY:
# kind = "openai"
# model = "text-embedding-3-small"
# base_url = "https://api.openai.com/v1"      # or of any service that speaks the same language
# api_key = "${{SERVICE_KEY:-}}"                # of a service that is not OpenAI or OpenRouter
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
{language}
#
# A single file, or Turso, instead:
# kind = "libsql"
# url = "vectors.db"                          # or libsql://name.turso.io
# token = "${{TURSO_AUTH_TOKEN}}"
"""


def starter(proposals: Sequence[Proposal] | None = None, url: str | None = None) -> str:
    """The text of a rowvec.toml that loads as it is.

    Args:
        proposals: the tables of the database at `url`, best first: that one gets the pipeline, the others a comment.
        url: written into the file, unless it holds a password: then the file refers to a variable. A reference to a
            variable stays as it is.
    """
    if not proposals:
        source = _example_source(url)
        if proposals is not None:
            source.insert(0, "# No table was found there: this is an example.")
        return _assembled("products", source, _example_text(), ["name", "price"])
    first, *others = proposals
    name = _pipeline_name(first.table)
    model = MULTILINGUAL if unknown_to_default(first)[0] else MINILM
    return _assembled(
        name, _source(first, url), [*_passages(first, model), *_text(first)], list(first.metadata), _others(others),
        language=first.language, model=model,
    )  # fmt: skip


def unknown_to_default(table: Proposal) -> tuple[str, float]:
    """See `known_languages.foreign`: what of the rows the default model was not made for."""
    return foreign(table.texts, languages_of(MINILM) or ())


def _assembled(
    name: str,
    source: list[str],
    text: list[str],
    metadata: list[str],
    others: Sequence[str] = (),
    *,
    language: str = "english",
    model: str = MINILM,
) -> str:
    parts = [
        HEAD,
        _lines(
            f"[pipelines.{name}]", _option('on_missing = "delete"', '"keep" leaves the vectors of rows that are gone')
        ),
        _lines(f"[pipelines.{name}.source]", *source),
        _lines(f"[pipelines.{name}.text]", *text),
        EMBEDDER.format(name=name, model=_model(model)),
        STORE.format(
            name=name,
            table=_behind(_value(name.replace("-", "_") + "_embeddings"), "made by the first sync", WIDTH - 8),
            metadata=_behind(_value(metadata), "kept beside the vectors, for filters", WIDTH - 11),
            language=_language(language),
        ),
    ]
    return "\n".join([*parts, _lines(*others)] if others else parts)


def _model(model: str) -> str:
    if model == MINILM:
        return f"model = {_value(model)}"
    centre = _behind("query_centre = 0.5", "finds more by queries in another language than the rows")
    return f"{_behind(f'model = {_value(model)}', EXTRA)}\n{centre}"


def _language(found: str) -> str:
    if found == "english":
        return _option('language = "english"', 'of keyword search: "german", "russian", "auto"; "simple"; "" for none')
    listed = found.split("+")
    return _behind(
        f"language = {_value(listed if len(listed) > 1 else found)}", "of keyword search, by what the rows say"
    )


def _example_source(url: str | None) -> list[str]:
    return [
        'kind = "sql"',
        *_url(url or "sqlite:///shop.db", "or postgresql://user@host/database, mysql://user@host/database"),
        _behind('table = "products"', 'or query = "select …"'),
        _behind('key = "id"', "one column, unique and never null"),
        _option('where = "not deleted"', "only these rows"),
        _option('cursor = "updated_at"', GROWS),
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
    if table.files is not None:
        return _files(table, table.files, url)
    lines = [
        'kind = "sql"',
        *_url(url or "sqlite:///shop.db"),
        _behind(f"table = {_value(table.table)}", _rows(table)),
    ]
    key = table.key
    if key is None:
        key = table.columns[0].name if table.columns else "id"
        query = f"select a || '-' || b as id, * from {table.table}"
        lines += [
            f"# The key needs a look: {_one_line(table.key_note)}.",
            "# If no column will do, make one in a query, and leave table out:",
            f"# query = {_value(query)}",
            _behind(f"key = {_value(key)}", "one column, unique and never null"),
        ]
    else:
        lines.append(_behind(f"key = {_value(key)}", _one_line(table.key_note)))
    for name, value, comment in (("where", table.where, "only these rows"), ("cursor", table.cursor, GROWS)):
        lines.append(_behind(f"{name} = {_value(value)}", comment) if value else _option(f'{name} = "…"', comment))
    return [*lines, _option("page_size = 2000", "rows read at once")]


def _files(table: Proposal, files: Files, url: str | None) -> list[str]:
    rows = f"{table.rows or 0:,} row{'s' * (table.rows != 1)}"
    many = f"{files.count:,} files, " if files.count > 1 else ""
    count = f"{many}{rows}" if files.whole else f"{many}more than {rows}"
    lines = ['kind = "files"', *_paths(files, url, count)]
    if files.format:
        lines.append(_behind(f"format = {_value(files.format)}", "the name of the file does not say it"))
    if files.delimiter:
        lines.append(_behind(f"delimiter = {_value(files.delimiter)}", "between the fields of a row"))
    lines.append(_behind(f"key = {_value(table.key)}", _one_line(table.key_note)))
    if files.types:
        types = ", ".join(f"{dotted((name,))} = {_value(str(kind))}" for name, kind in files.types.items())
        lines += ["# So that they do not depend on which rows are read:", f"types = {{ {types} }}"]
    else:
        lines.append(_option('types = { code = "text" }', "where the values give another type"))
    filtered = "only these rows, by a filter as in searches"
    lines.append(
        _behind(f"where = {_value(table.where)}", filtered) if table.where else _option('where = "…"', filtered)
    )
    cursor = _value(files.cursor or "updated_at")
    lines.append(_option(f"cursor = {cursor}", "grows with each change, so that a sync compares only what is new"))
    return [*lines, _option("page_size = 2000", "rows handed on at once")]


def _paths(files: Files, url: str | None, count: str) -> list[str]:
    if url is not None and REFERENCE.fullmatch(url):
        return [_behind(f"paths = {quoted(url)}", count)]
    hidden = secrets(files)
    written = [f'"${{{variable}}}"' for variable, path in hidden]
    written += [_value(path) for path in files.paths if redact(path) == path]
    setting = f"paths = {written[0]}" if len(written) == 1 else f"paths = [{', '.join(written)}]"
    lines = [f"#   {variable}={_one_line(redact(path))}" for variable, path in hidden]
    head = ["# Its secret stays out of this file. Put this into .env, with the secret instead of ***:"] if lines else []
    return [*head, *lines, _behind(setting, count)]


def secrets(files: Files) -> list[tuple[str, str]]:
    """Paths with a secret in them, each with the variable that the config reads it from."""
    hidden = [path for path in files.paths if redact(path) != path]
    return [(URL_VARIABLE + (f"_{number}" if number > 1 else ""), path) for number, path in enumerate(hidden, 1)]


def _text(table: Proposal) -> list[str]:
    chosen = list(table.text)
    left = [column.name for column in table.columns if column.name not in {*chosen, table.key}]
    lines = [_behind(f"columns = {_value(chosen)}", '"*" takes all of them') if chosen else 'columns = "*"']
    if chosen and left:
        lines.append(f"# also there: {_one_line(', '.join(left))}")
    first, second = (chosen + left + ["name", "description"])[:2]
    lines.append(_option(f"repeat = {{ {dotted((first,))} = 2 }}", "a column said twice weighs more"))
    plain = all(re.fullmatch(r"[A-Za-z_]\w*", each) for each in (first, second))
    return [*lines, *_other_forms(first, second)] if plain else lines


def _passages(table: Proposal, model: str) -> list[str]:
    long = sum(length > WINDOWS[model] * CHARACTERS for length in table.lengths)
    if not long:
        return []
    head = f"# {long:,} of the first {len(table.lengths):,} texts are longer than what the model reads at once."
    return [head, _option("passages = {}", "gives each part of such a text a vector of its own")]


def _others(tables: Sequence[Proposal]) -> list[str]:
    if not tables:
        return []
    lines = ["# The other tables. Each may get a pipeline of its own, written as the one above:"]
    for table in tables:
        key = f"no key, {_one_line(table.key_note)}" if table.key is None else f"key {_value(table.key)}"
        text = ", ".join(map(_value, table.text)) or "none"
        lines.append(f"#   {_value(table.table)}: {_rows(table)}; {key}; text: {text}")
    return lines


def _url(url: str, comment: str = "") -> list[str]:
    if REFERENCE.fullmatch(url):
        return [_behind(f"url = {quoted(url)}", comment)]
    masked = redact(url)
    if masked == url:
        return [_behind(f"url = {_value(url)}", comment)]
    return [
        "# Its password stays out of this file. Put this line into .env, with the password instead of ***:",
        f"#   {URL_VARIABLE}={_one_line(masked)}",
        f'url = "${{{URL_VARIABLE}}}"',
    ]


def _rows(table: Proposal) -> str:
    if table.rows is None:
        return "rows not counted"
    return {0: "no rows", 1: "1 row"}.get(table.rows, f"about {table.rows:,} rows")


def _pipeline_name(table: str) -> str:
    """After the last part of the table's name."""
    last = re.split(r'[."]+', table.strip('"'))[-1]
    return re.sub(r"[^a-z0-9_-]+", "_", last.lower()).strip("_-")[:35] or "rows"


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
