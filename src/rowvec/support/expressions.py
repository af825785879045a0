"""An expression over the columns of a row that gives a number, such as `log(1 + downloads) / 20`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jinja2
from jinja2 import meta
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

FUNCTIONS: dict[str, Callable[..., float]] = {
    "abs": abs, "exp": math.exp, "log": math.log, "log10": math.log10, "max": max, "min": min, "sqrt": math.sqrt,
}  # fmt: skip


class Expression:
    """
    Attributes:
        names: the columns that it reads.

    Raises:
        ValueError: this is not an expression; the message says why.
    """

    def __init__(self, text: str) -> None:
        environment = _Sandbox(undefined=jinja2.StrictUndefined)
        environment.globals.clear()
        environment.globals.update(FUNCTIONS)
        try:
            names = meta.find_undeclared_variables(environment.parse(f"{{{{ {text} }}}}"))
            self._compiled: Callable[..., Any] = environment.compile_expression(text, undefined_to_none=False)
        except jinja2.TemplateSyntaxError as error:
            raise ValueError(error.message) from None
        self.names: frozenset[str] = frozenset(names - FUNCTIONS.keys())

    def __call__(self, values: Mapping[str, Any]) -> float:
        """0 for values that it cannot be computed from."""
        try:
            found = float(self._compiled(**{name: _number(value) for name, value in values.items()}))
        except (TypeError, ValueError, ArithmeticError, jinja2.TemplateError):
            return 0.0
        return found if math.isfinite(found) else 0.0


class _Sandbox(SandboxedEnvironment):
    """Multiplies numbers only: a text or a list times a large number would fill the memory."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise TypeError(f"{operator} takes numbers")
        return super().call_binop(context, operator, left, right)


def _number(value: Any) -> Any:
    """Decimals do not mix with floats, and a missing number counts as zero."""
    if value is None:
        return 0
    return float(value) if not isinstance(value, bool | int | float | str) and hasattr(value, "__float__") else value
