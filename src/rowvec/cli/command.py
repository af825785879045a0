"""How every command reads its words: one way to name a pipeline, `-h`, and a hint for words that were not expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.core import TyperCommand, TyperGroup

from rowvec.support.plain_numbers import NOT_PLAIN, is_plain
from rowvec.support.redaction import redact

if TYPE_CHECKING:
    from typer._click import Context  # The one that the base class names.
    from typer._click.shell_completion import CompletionItem

WHOLE_SENTENCE = 1000
"""Characters of a command's first sentence that `rowvec --help` shows: all of them, on as many lines as it takes."""


class Command(TyperCommand):
    """A command that takes its pipeline as `-p NAME`, or as its only word if it expects no other."""

    def get_short_help_str(self, limit: int = WHOLE_SENTENCE) -> str:
        return super().get_short_help_str(WHOLE_SENTENCE)

    def shell_complete(self, ctx: Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(ctx, incomplete)
        takes_words = any(param.param_type_name == "argument" for param in self.params)
        pipeline = next((param for param in self.params if param.name == "pipeline"), None)
        if found or takes_words or pipeline is None or incomplete.startswith("-"):
            return found
        return pipeline.shell_complete(ctx, incomplete)

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        ctx.allow_extra_args = True
        given = list(args)
        left = super().parse_args(ctx, args)
        self._check_numbers(ctx, given)
        self._check_texts(ctx)
        takes_words = any(param.param_type_name == "argument" for param in self.params)
        if len(left) == 1 and not takes_words and ctx.params.get("pipeline", "") is None:
            ctx.params["pipeline"] = left.pop()
        if left and not ctx.resilient_parsing:
            ctx.fail(self._unexpected(ctx, left))
        return left

    def _check_numbers(self, ctx: Context, args: list[str]) -> None:
        """Refuse a number that only Python's parsers take for one: 1_0, nan, digits of another script."""
        written, _, _ = self.make_parser(ctx).parse_args(args=args)
        for param in self.params:
            text = written.get(str(param.name))
            if type(ctx.params.get(str(param.name))) in (int, float) and isinstance(text, str) and not is_plain(text):
                ctx.fail(f"{param.opts[0]} {text!r}: {NOT_PLAIN}.")

    def _check_texts(self, ctx: Context) -> None:
        """Refuse bytes that are not text, as HTTP does: something else would be looked for. Paths may have them."""
        for param in self.params:
            value = ctx.params.get(str(param.name))
            for text in value if isinstance(value, list | tuple) else [value]:
                if isinstance(text, str) and any("\ud800" <= letter <= "\udfff" for letter in text):
                    ctx.fail(f"{param.opts[0]}: it has bytes that are not UTF-8.")

    def _unexpected(self, ctx: Context, left: list[str]) -> str:
        first = ctx.params.get("query")
        if isinstance(first, str):
            words = " ".join([first, *left])
            return f'Put a query of several words in quotes: rowvec {self.name} "{words}"'
        if ctx.params.get("pipeline") and len(left) == 1:
            return f"Name one pipeline: {ctx.params['pipeline']} or {left[0]}."
        said = " ".join(map(redact, left))
        if len(left) == 1 and any("--from" in param.opts for param in self.params):
            return f"Name what to look at with --from: rowvec {self.name} --from {said}"
        return f"Not expected here: {said}"


class Group(TyperGroup):
    def get_short_help_str(self, limit: int = WHOLE_SENTENCE) -> str:
        return super().get_short_help_str(WHOLE_SENTENCE)
