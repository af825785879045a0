"""Row -> document: the text that is embedded, the metadata beside it, and a hash of each.

A recipe turns a row into text in one of three forms.

`columns`: `name: value. name: value`, in the order given (`"*"`: the source's own). `repeat` says a column
several times, which weights it. The key column is left out unless it is named.

`template`: a Jinja2 template in a sandbox. Columns are its variables; a null is an empty string, which
`is none` recognises.

`lines`: lines such as `Mood: {mood}, {second_mood}` or `Energy: {energy:.2f}`, see `rowvec.documents.lines`. A line
whose columns are all empty disappears.

Values become text by the rule of `rowvec.documents.values`: an empty one (null, blank string, NaN, empty list) is
left out. A column declared boolean says yes or no even where the database keeps 0 and 1.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from rowvec.documents.conversion import CONVERSION_ERRORS, metadata_converter, misfit, truth
from rowvec.documents.lines import parse_line
from rowvec.documents.values import RENDERING, SHOWERS, clean, without_nul
from rowvec.errors import ConfigError, SourceError
from rowvec.support.hashes import HASH_BYTES, mask_of, masked
from rowvec.support.hashes import digest as _hash
from rowvec.support.suggestions import check_column
from rowvec.types import Column, Document, Fingerprint, Row, Unfit


class Recipe(ABC):
    """How one row becomes text."""

    form: str
    columns: tuple[str, ...]
    """The columns it reads, each once."""
    fingerprint: str
    """Hash of every setting that decides the text, a dot, and the number of the rules by which values become text:
    equal fingerprints give equal texts."""

    def __init__(self, columns: Sequence[str], booleans: frozenset[str], *settings: Any) -> None:
        self.columns = tuple(columns)
        settled = json.dumps([self.form, *settings, sorted(booleans.intersection(columns))])
        self.fingerprint = f"{blake2b(settled.encode(), digest_size=HASH_BYTES).hexdigest()}.{RENDERING}"

    def render(self, row: Row) -> str:
        """The text of a row, "" where it says nothing. Valid UTF-8, without NUL, no white space at its ends.

        Raises:
            SourceError: this row cannot be rendered; the message names its key and never a value.
        """
        values = row.values
        try:
            text = self._compose(row.key, values)
            if "\0" in text:
                # Once more without them, since a value of nothing but NULs is an empty one.
                text = self._compose(row.key, {name: without_nul(value) for name, value in values.items()})
        except CONVERSION_ERRORS as error:
            what = "is nested too deep" if isinstance(error, RecursionError) else f"fails: {type(error).__name__}"
            raise SourceError(
                f"Row {row.key!r}: a value {what}, so that it has no text.",
                hint="Correct the value, or leave its column out of the text.",
            ) from error
        return text if text.isascii() else clean(text)

    @abstractmethod
    def _compose(self, key: Any, values: Mapping[str, Any]) -> str: ...


def settings_and_rendering(fingerprint: str) -> tuple[str, str]:
    """The two halves of a recipe's fingerprint. One without a number is of the first rules."""
    settings, _, rendering = fingerprint.partition(".")
    return settings, rendering or "1"


def by_todays_rules(fingerprint: str) -> str:
    """The fingerprint that a recipe of those settings has now."""
    settings, rendering = settings_and_rendering(fingerprint)
    return fingerprint if rendering == str(RENDERING) else f"{settings}.{RENDERING}"


class Documents:
    """Rows to documents, for one recipe and the metadata columns of one store.

    A metadata value is converted to its column's type (SQLite gives a date as a string and a boolean as 0
    or 1), strings are cleaned as text is. One that does not fit becomes null, and `unfit` says why: it never costs the
    row its vector. `row_hash` covers the metadata, with what is said of those, and nothing else.

    Args:
        context: makes the context of the passages of a text.
        long: a text of at most this many characters has none: it is one passage, or nearly so. Of a longer one both
            hashes are made, and whoever cuts it says which it is: a text that is one passage has no context, and
            shares its vector whatever the contexts are.
        mask: of the model that the text hashes cover too, see `covering`.
    """

    def __init__(
        self,
        recipe: Recipe,
        metadata: Sequence[Column],
        context: Recipe | None = None,
        long: int = 0,
        mask: int = 0,
    ) -> None:
        self.recipe = recipe
        self.context, self.long = context, long
        self._mask = mask
        self.metadata = tuple(metadata)
        self._converters = [(column.name, metadata_converter(column.type)) for column in metadata]

    def __call__(self, row: Row) -> Document:
        """
        Raises:
            SourceError: the recipe fails on this row.
        """
        key, values = row
        text = self.recipe.render(row)
        metadata: list[Any] = []
        unfit: tuple[Unfit, ...] = ()
        hashed: list[Any] = metadata
        try:
            for name, convert in self._converters:
                value = values[name]
                metadata.append(None if value is None else convert(value))
        except CONVERSION_ERRORS:
            metadata, unfit = self._fitting(row)
            hashed = [*metadata, *unfit]
        text_hash = _hash(text.encode(), self._mask)
        context, whole_hash = "", None
        if self.context is not None and len(text) > self.long:
            context = self.context.render(row)
            # No text holds a NUL. An empty context counts too: one that comes later is a change of a text that is cut.
            text_hash, whole_hash = _hash(f"{text}\0{context}".encode(), self._mask), text_hash
        # tuple.__new__ is what Document() calls, without its step of Python for each row.
        return tuple.__new__(
            Document, (key, text, tuple(metadata), text_hash, metadata_hash(hashed), unfit, context, whole_hash)
        )

    def _fitting(self, row: Row) -> tuple[list[Any], tuple[Unfit, ...]]:
        """The metadata with null for what does not fit, and what that is."""
        metadata: list[Any] = []
        unfit = []
        for column, (name, convert) in zip(self.metadata, self._converters, strict=True):
            value = row.values[name]
            try:
                metadata.append(None if value is None else convert(value))
            except CONVERSION_ERRORS as error:
                metadata.append(None)
                unfit.append(Unfit(name, misfit(value, column.type, error)))
        return metadata, tuple(unfit)


def covering(to_document: Callable[[Row], Document], fingerprint: Fingerprint | None) -> Callable[[Row], Document]:
    """The same, its text hashes covering the fingerprint (`rowvec.support.hashes`)."""
    if fingerprint is None:
        return to_document
    mask = mask_of(fingerprint)
    if isinstance(to_document, Documents):
        # In one step with the rest: a sync in which nothing has changed spends its time here.
        plain = to_document
        return Documents(plain.recipe, plain.metadata, plain.context, plain.long, mask)

    def make(row: Row) -> Document:
        key, text, metadata, text_hash, row_hash, unfit, context, whole_hash = to_document(row)
        whole_hash = whole_hash and masked(whole_hash, mask)
        # tuple.__new__ is what Document() calls, without its step of Python for each row.
        return tuple.__new__(
            Document, (key, text, metadata, masked(text_hash, mask), row_hash, unfit, context, whole_hash)
        )

    return make


def metadata_hash(values: list[Any]) -> bytes:
    """16 bytes over values of known types, in order.

    `ascii` tells types apart (1, True, '1', Decimal('1')) and lists of values too, and unlike `repr` does not
    depend on which characters a version of Python holds for printable.
    """
    return _hash(ascii(values).encode())


def build_recipe(
    available: Sequence[Column],
    key: str,
    *,
    columns: str | Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    repeat: Mapping[str, int] | None = None,
    template: str | None = None,
    lines: Sequence[str] | None = None,
) -> Recipe:
    """The recipe that the settings describe, checked against the columns the source has.

    Raises:
        ConfigError: a column that is not there, a template that does not compile, or settings of two forms.
    """
    forms = {"columns": columns, "template": template, "lines": lines}
    given = [name for name, value in forms.items() if value is not None]
    if len(given) != 1:
        raise ConfigError(
            f"text has {' and '.join(given) if given else 'no form'}.",
            hint="Give exactly one of columns, template and lines.",
        )
    if (exclude or repeat) and columns is None:
        raise ConfigError(
            "text.exclude and text.repeat go with text.columns only.", hint=f"Put it into the {given[0]}."
        )
    names = [column.name for column in available]
    booleans = frozenset(column.name for column in available if column.yes_no)
    if template is not None:
        return _template(template, names, booleans)
    if lines is not None:
        return _Lines(lines, available, booleans)
    assert columns is not None
    return _Columns(_chosen(columns, exclude, repeat or {}, names, key), repeat or {}, booleans)


def build_context(available: Sequence[Column], template: str) -> Recipe:
    """What is put before the passages of a row.

    Raises:
        ConfigError: a column that is not there, or a template that does not compile.
    """
    names = [column.name for column in available]
    booleans = frozenset(column.name for column in available if column.yes_no)
    return _template(template, names, booleans, "text.passages.context")


def _template(*given: Any) -> Recipe:
    # Jinja takes a fiftieth of what a command imports, and most pipelines have no template.
    from rowvec.documents.template import Template

    return Template(*given)


class _Columns(Recipe):
    form = "columns"

    def __init__(self, names: Sequence[str], repeat: Mapping[str, int], booleans: frozenset[str]) -> None:
        fields = [(name, repeat.get(name, 1)) for name in names]
        super().__init__(names, booleans, fields)
        self._fields = [(name, f"{name}: ", times, name in booleans) for name, times in fields]

    def _compose(self, key: Any, values: Mapping[str, Any]) -> str:
        parts = []
        for name, label, times, boolean in self._fields:
            value = values[name]
            if value is None:
                continue
            if boolean:
                value = truth(value)
            # `shown` without the call: this loop runs once for each value of the source.
            text = SHOWERS[type(value)](value)
            if text:
                parts.append(label + text)
                if times > 1:
                    parts.extend(parts[-1:] * (times - 1))
        return ". ".join(parts)


def _chosen(
    columns: str | Sequence[str], exclude: Sequence[str], repeat: Mapping[str, int], names: Sequence[str], key: str
) -> list[str]:
    if isinstance(columns, str) and columns != "*":
        raise ConfigError(f"text.columns is {columns!r}.", hint=f'Write "*", or a list: ["{columns}"].')
    wanted = [name for name in names if name != key] if columns == "*" else list(columns)
    known = dict.fromkeys(names)
    for setting, listed in (("columns", wanted), ("exclude", list(exclude))):
        for name in listed:
            check_column(name, known, f"text.{setting}")
        twice = sorted(name for name, times in Counter(listed).items() if times > 1)
        if twice:
            raise ConfigError(f"text.{setting} names {twice[0]!r} twice.", hint="text.repeat weights a column.")
    left_out = set(exclude)
    chosen = [name for name in wanted if name not in left_out]
    for name, times in repeat.items():
        check_column(name, chosen, "text.repeat")
        if times < 1:
            raise ConfigError(
                f"text.repeat.{name} is {times}.", hint="It is 1 or more; text.exclude leaves a column out."
            )
    if not chosen:
        raise ConfigError("text.columns leaves no column.", hint="Name one, or exclude fewer.")
    return chosen


class _Lines(Recipe):
    form = "lines"

    def __init__(self, lines: Sequence[str], available: Sequence[Column], booleans: frozenset[str]) -> None:
        if isinstance(lines, str) or not lines:
            raise ConfigError(
                "text.lines is not a list of lines.", hint='For example ["Title: {title}", "Genre: {genre}"].'
            )
        self._lines = [parse_line(line, available) for line in lines]
        used = {field.name for line in self._lines for field in line.fields}
        super().__init__([column.name for column in available if column.name in used], booleans, list(lines))

    def _compose(self, key: Any, values: Mapping[str, Any]) -> str:
        composed = []
        for line in self._lines:
            text = ""
            for field in line.fields:
                value = values[field.name]
                try:
                    said = "" if value is None else field.show(value)
                except CONVERSION_ERRORS as error:
                    raise SourceError(
                        f"Row {key!r}: column {field.name!r} holds a value of type {type(value).__name__},"
                        " which its format in text.lines does not take.",
                        hint="Correct the value, or leave the format out.",
                    ) from error
                if said:
                    text += f"{field.mark if text else ''}{field.before}{said}{field.after}"
            if text:
                composed.append(line.label + text)
        return "\n".join(composed)
