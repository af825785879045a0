"""Typed filters on metadata columns, as values. Parsing them is not here yet; stores compile them to bound SQL."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, TypeAlias


class Op(enum.StrEnum):
    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    IN = "in"
    BETWEEN = "between"
    IS_NULL = "is null"
    CONTAINS = "contains"


@dataclass(frozen=True, slots=True)
class Compare:
    """`column op value`; the value is a tuple for IN and BETWEEN, None for IS_NULL."""

    column: str
    op: Op
    value: Any = None


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter


Filter: TypeAlias = Compare | And | Or | Not
