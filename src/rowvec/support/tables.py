"""Results that are rows: as dictionaries, as a data frame, and as a table in a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from rowvec.errors import ConfigError

if TYPE_CHECKING:
    import pandas
    import polars

T = TypeVar("T")

SHOWN_ROWS = 100
"""A notebook shows up to this many rows of a table."""


class Tabular(ABC):
    """A result that can be read as rows."""

    __slots__ = ()

    @abstractmethod
    def to_dicts(self) -> list[dict[str, Any]]:
        """One dictionary for each row, the columns in their order."""

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame of the rows.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ConfigError("to_pandas() needs pandas, which is not installed.", hint="pip install pandas") from None
        return pandas.DataFrame(self.to_dicts())

    def to_polars(self) -> polars.DataFrame:
        """A data frame of the rows.

        Raises:
            ConfigError: polars is not installed.
        """
        try:
            import polars
        except ImportError:
            raise ConfigError("to_polars() needs polars, which is not installed.", hint="pip install polars") from None
        return polars.DataFrame(self.to_dicts(), infer_schema_length=None)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = self.to_dicts()
        names = list(dict.fromkeys(name for row in rows for name in row))
        head = _line("th", names)
        body = "".join(_line("td", [row.get(name) for name in names]) for row in rows[:SHOWN_ROWS])
        more = f"<p>{len(rows) - SHOWN_ROWS:,} more rows</p>" if len(rows) > SHOWN_ROWS else ""
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>{more}"


@dataclass(frozen=True, slots=True)
class Rows(Sequence[T], Tabular, Generic[T]):
    """A list of values of one kind that can also be read as a table."""

    values: tuple[T, ...] = ()

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Rows[T]: ...
    def __getitem__(self, index: int | slice) -> T | Rows[T]:
        return Rows(self.values[index]) if isinstance(index, slice) else self.values[index]

    def __len__(self) -> int:
        return len(self.values)

    def to_dicts(self) -> list[dict[str, Any]]:
        return [as_row(value) for value in self.values]


def as_row(value: Any) -> dict[str, Any]:
    """The fields of a value as one row of a table."""
    if hasattr(value, "as_dict"):
        return dict(value.as_dict())
    assert is_dataclass(value)
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _line(tag: str, cells: Iterable[Any]) -> str:
    return "<tr>" + "".join(f"<{tag}>{_cell(cell)}</{tag}>" for cell in cells) + "</tr>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))
