"""The text of a row by a template of Jinja."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from jinja2 import meta
from jinja2.sandbox import SandboxedEnvironment

from rowvec.documents.conversion import truth
from rowvec.documents.text import Recipe
from rowvec.documents.values import shown
from rowvec.errors import ConfigError, SourceError
from rowvec.support.suggestions import check_column


class _Null(str):
    """Null in a template: Jinja's filters and `~` would write None as the word."""

    __slots__ = ()


_NULL = _Null()


class Template(Recipe):
    form = "template"

    def __init__(
        self, source: str, names: Sequence[str], booleans: frozenset[str], setting: str = "text.template"
    ) -> None:
        self._setting = setting
        environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined, finalize=shown, autoescape=False)
        environment.tests["none"] = lambda value: value is None or value is _NULL
        # A column may be called what Jinja calls one of its functions.
        for name in names:
            environment.globals.pop(name, None)
        try:
            tree = environment.parse(source)
            self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(
                f"{setting}, line {error.lineno}: {error.message}",
                hint="A value is written {{ name }}, a condition {% if name %} … {% endif %}.",
            ) from error
        if any(meta.find_referenced_templates(tree)):
            raise ConfigError(
                f"{setting} uses another template.", hint="Write it out: include and import are not available."
            )
        used = sorted(meta.find_undeclared_variables(tree))
        for name in used:
            check_column(name, names, setting)
        if not used:
            raise ConfigError(f"{setting} uses no column.", hint="A column is written {{ name }}.")
        super().__init__([name for name in names if name in set(used)], booleans, source)
        self._booleans = booleans

    def _compose(self, key: Any, values: Mapping[str, Any]) -> str:
        variables = {name: values[name] for name in self.columns}
        for name, value in variables.items():
            if value is None:
                variables[name] = _NULL
            elif name in self._booleans:
                variables[name] = truth(value)
        try:
            return self._template.render(variables).strip()
        except Exception as error:  # a template can raise whatever its expressions raise
            raise SourceError(
                f"Row {key!r}: {self._setting} fails: {type(error).__name__}: {str(error).rstrip('.')}.",
                hint="A null is an empty string in a template: test for it with {% if column %}.",
            ) from error
