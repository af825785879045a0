"""Filters as people write them: `price < 100 and supplier in ('HP', 'Canon') and not discontinued`.

    filter     = every {"or" every}
    every      = single {"and" single}
    single     = "not" single | "(" filter ")" | "true" | "false" | condition
    condition  = column [ sign value
                        | ["not"] "in" "(" [value {"," value}] ")"
                        | ["not"] "between" value "and" value
                        | ["not"] "contains" value
                        | ["not"] "like" pattern
                        | "is" ["not"] "null" ]
    sign       = "=" | "!=" | "<>" | "<" | "<=" | ">" | ">=" | "~="
    value      = 'text' | number | "true" | "false" | "null"
    column     = name {"." (name | number)}
    name       = a word, or anything in "double quotes"

`attrs.color` is what the JSON column `attrs` has at `color`. `~=` is equal but for the case of letters.
A quote within quotes is doubled. Words of the language are known in any case, and are columns only in double quotes.
A column alone asks whether it is true. `true` matches every row, `false` none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

from rowvec.errors import SearchError
from rowvec.filters.json_form import from_json
from rowvec.filters.paths import QUOTED, quoted, reference
from rowvec.filters.tree import And, Compare, Filter, Not, Op, Or, check, check_depth, comparison
from rowvec.filters.values import NAMES_OF_NULL, printable
from rowvec.support.decimals import as_number, loads
from rowvec.support.json_objects import RepeatedName, once

Scalar = str | int | float | Decimal | bool | None

_TOKEN = re.compile(
    r"""\s* (?: (?P<text> '[^']*(?:''[^']*)*' )
              | (?P<name> {quoted} {steps} )
              | (?P<number> [-+]?\.?\d (?:[eE][-+] | [\w.:-])* )
              | (?P<word> [^\W\d]\w* {steps} )
              | (?P<sign> <= | >= | != | <> | ~= | [=<>(),] )
              | (?P<end> \Z ) )""".format(quoted=QUOTED, steps=rf"(?:\.(?:\w+|{QUOTED}))*"),
    re.VERBOSE,
)
_NUMBER = re.compile(r"[-+]?(?:\d+(?P<fraction>\.\d*)?|(?P<bare>\.\d+))(?P<exponent>[eE][-+]?\d+)?", re.ASCII)
_PLAIN = re.compile(r"[^\W\d]\w*(?:\.\w+)*")
_LANGUAGE = frozenset({"and", "or", "not", "in", "between", "contains", "like", "is", "null", "true", "false"})
_SIGNS = {op.value: op for op in (Op.EQ, Op.NE, Op.LT, Op.LE, Op.GT, Op.GE, Op.SAME)} | {"<>": Op.NE}
_CONSTANTS: dict[str, Scalar] = {"true": True, "false": False, "null": None}
_OTHER_LANGUAGES = {
    "&": "Two conditions are joined by `and`.",
    "|": "Two conditions are joined by `or`.",
    "!": "A condition is negated by `not` before it, a comparison by `!=`.",
    "=": "Equality has one sign: =",
}
"""What to write instead of a sign of another language, by its first character."""
_LONGEST_NUMBER = 400
_WINDOW = 60
"""Characters shown on either side of an error."""


class _Token(NamedTuple):
    kind: str
    text: str
    at: int
    """Its first character, counted from the start of the expression."""

    @property
    def word(self) -> str:
        """The word or sign of the language that it is, or "" for a name or value."""
        if self.kind == "sign":
            return self.text
        return self.text.lower() if self.kind == "word" and self.text.lower() in _LANGUAGE else ""

    @property
    def unquoted(self) -> str:
        quote = self.text[0]
        return self.text[1:-1].replace(quote * 2, quote)


def parse(expression: str) -> Filter:
    """The filter that an expression says. Bind it before it is used. One that begins with a brace is JSON.

    Raises:
        SearchError: the expression cannot be read, and where; or it is beyond the limits.
    """
    if not expression.strip():
        raise SearchError("The filter is empty.", hint="Write a condition, such as: price < 100")
    if expression.lstrip().startswith("{"):
        return from_json(_json(expression))
    where = _Parser(expression).whole()
    check(where)
    return where


def _json(text: str) -> Any:
    try:
        return loads(text, once)
    except RepeatedName as error:
        # Of two conditions on one column the last one would count.
        raise SearchError(
            f"The filter has {printable(error.name, _WINDOW)!r} twice in one object.",
            hint='Write {"and": [{…}, {…}]}, or both in one: {"price": {">": 5, "<": 10}}',
        ) from None
    except (ValueError, RecursionError):
        raise SearchError(
            "The filter begins with a brace, but is not JSON.", hint='Write {"price": {"<": 100}}, or: price < 100'
        ) from None


def _fail(expression: str, at: int, message: str, hint: str | None = None) -> NoReturn:
    start, stop = max(0, at - _WINDOW), at + _WINDOW
    shown = printable(expression[start:stop], stop - start)
    before, after = "..." if start else "", "..." if stop < len(expression) else ""
    raise SearchError(
        f"The filter cannot be read: {message}\n  {before}{shown}{after}\n  {' ' * (len(before) + at - start)}^",
        hint=hint,
    )


def _tokens(expression: str) -> Iterator[_Token]:
    at = 0
    while True:
        found = _TOKEN.match(expression, at)
        if found is None:
            at = len(expression) - len(expression[at:].lstrip())
            quoted = expression[at] in "'\""
            unexpected = "this quote is never closed." if quoted else f"unexpected {expression[at]!r}."
            _fail(expression, at, unexpected, _OTHER_LANGUAGES.get(expression[at]))
        kind = str(found.lastgroup)
        yield _Token(kind, found[kind], found.start(kind))
        if kind == "end":
            return
        at = found.end()


class _Parser:
    """Recursive descent over the grammar above; each method reads what it is named after."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens = list(_tokens(expression))
        self.next = 0
        self.depth = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.next]

    def fail(self, expected: str, hint: str | None = None) -> NoReturn:
        what = f"found {printable(self.token.text)}" if self.token.text else "the filter ends here"
        _fail(self.expression, self.token.at, f"expected {expected}, {what}", hint)

    def take(self, *words: str) -> bool:
        """Step over one of these words, if it comes next."""
        if self.token.word not in words:
            return False
        self.next += 1
        return True

    def require(self, word: str) -> None:
        if not self.take(word):
            self.fail(f"`{word}`")

    @contextmanager
    def deeper(self) -> Iterator[None]:
        self.depth += 1
        check_depth(self.depth)
        yield
        self.depth -= 1

    def whole(self) -> Filter:
        where = self.any()
        if self.token.kind != "end":
            self.fail("`and`, `or` or the end")
        return where

    def any(self) -> Filter:
        parts = self.series("or", self.every)
        return parts[0] if len(parts) == 1 else Or(parts)

    def every(self) -> Filter:
        parts = self.series("and", self.single)
        return parts[0] if len(parts) == 1 else And(parts)

    def series(self, word: str, part: Callable[[], Filter]) -> tuple[Filter, ...]:
        parts = [part()]
        while self.take(word):
            parts.append(part())
        return tuple(parts)

    def single(self) -> Filter:
        if self.take("not"):
            with self.deeper():
                return Not(self.single())
        if self.take("("):
            with self.deeper():
                where = self.any()
            self.require(")")
            return where
        if self.take("true"):
            return And(())
        if self.take("false"):
            return Or(())
        return self.condition()

    def condition(self) -> Filter:
        column = self.column()
        if self.token.text in _SIGNS:
            sign = _SIGNS[self.token.text]
            self.next += 1
            return comparison(column, sign, self.value())
        if self.take("is"):
            negated = self.take("not")
            if not self.take("null"):
                self.fail(
                    "`null`", "Rows without a value: `is null`, and those with one: `is not null`. Else use = or !=."
                )
            where: Filter = Compare(column, Op.IS_NULL)
        elif self.token.kind == "end" or self.token.word in ("and", "or", ")"):
            return Compare(column, Op.EQ, True)
        else:
            negated = self.take("not")
            where = self.membership(column)
        return Not(where) if negated else where

    def column(self) -> str:
        token = self.token
        if token.kind == "name":
            self.next += 1
            return reference(token.text)
        if token.kind != "word" or token.word:
            in_quotes = f'A column of this name is written "{printable(token.text)}".' if token.kind == "word" else None
            self.fail("a column", in_quotes)
        self.next += 1
        return token.text

    def membership(self, column: str) -> Filter:
        if self.take("in"):
            self.require("(")
            return comparison(column, Op.IN, self.values())
        if self.take("between"):
            low = self.value()
            self.require("and")
            return comparison(column, Op.BETWEEN, (low, self.value()))
        if self.take("contains"):
            return comparison(column, Op.CONTAINS, self.value())
        if self.take("like"):
            return comparison(column, Op.LIKE, self.value())
        return self.fail("an operator (=, !=, ~=, <, <=, >, >=, in, between, contains, like, is null)")

    def values(self) -> tuple[Scalar, ...]:
        values: list[Scalar] = []
        if self.take(")"):
            return ()
        while True:
            values.append(self.value())
            if self.take(")"):
                return tuple(values)
            if not self.take(","):
                self.fail("`,` or `)`")

    def value(self) -> Scalar:
        token = self.token
        if token.kind == "text":
            value: Scalar = token.unquoted
        elif token.kind == "number":
            value = self.number(token)
        elif token.word in _CONSTANTS:
            value = _CONSTANTS[token.word]
        else:
            inner = token.unquoted if token.kind == "name" else token.text
            text = f"Text is written {_quoted(printable(inner))}." if token.kind in ("name", "word") else None
            if inner.lower() in NAMES_OF_NULL and text:
                text = f"For rows without a value, write `… is null`. {text}"
            self.fail("a value", text or _OTHER_LANGUAGES.get(token.text))
        self.next += 1
        return value

    def number(self, token: _Token) -> int | float | Decimal:
        found = _NUMBER.fullmatch(token.text)
        if found is None or len(token.text) > _LONGEST_NUMBER:
            hint = f"Dates and codes are text: write {_quoted(token.text)}." if len(token.text) <= _WINDOW else None
            self.fail("a number", hint)
        whole = not any(found.group("fraction", "bare", "exponent"))
        # A decimal of the database may have more digits than a float.
        return int(token.text) if whole else as_number(token.text)


def render(where: Filter) -> str:
    """The expression that `parse` reads as this filter. Dates and UUIDs are text in it, until bound again."""
    match where:
        case And(()):
            return "true"
        case Or(()):
            return "false"
        case And((part,)) | Or((part,)):
            return render(part)
        case And(parts):
            return " and ".join(map(_part, parts))
        case Or(parts):
            return " or ".join(map(_part, parts))
        case Not(Compare(op=Op.IS_NULL) as part):
            return f"{_column(part.name)} is not null"
        case Not(Compare(op=Op.IN | Op.BETWEEN | Op.CONTAINS | Op.LIKE) as part):
            return _condition(part, "not ")
        case Not(part):
            return f"not {_part(part)}"
        case Compare():
            return _condition(where)


def _part(part: Filter) -> str:
    # More brackets than the grammar needs, so that nobody has to know what binds tighter.
    return f"({render(part)})" if isinstance(part, And | Or) and part.parts else render(part)


def _condition(where: Compare, negation: str = "") -> str:
    column = _column(where.name)
    match where.op:
        case Op.IS_NULL:
            return f"{column} is null"
        case Op.IN:
            return f"{column} {negation}in ({', '.join(map(_value, where.value))})"
        case Op.BETWEEN:
            low, high = where.value
            return f"{column} {negation}between {_value(low)} and {_value(high)}"
        case _:
            return f"{column} {negation}{where.op.value} {_value(where.value)}"


def _column(name: str) -> str:
    if _PLAIN.fullmatch(name) and name.lower() not in _LANGUAGE:
        return name
    return quoted(name)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal) and value.is_finite():
        return str(value)
    return repr(value) if isinstance(value, int | float) else _quoted(str(value))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
