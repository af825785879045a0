"""How the page shows a row: the roles of its metadata columns."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from rowvec.config.fields import Names, OptionalText, Section, wrong

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
ORIGIN = re.compile(r"https?://(\*\.)?[A-Za-z0-9.-]+(:\d{1,5})?")


def _url(value: Any) -> Any:
    if not isinstance(value, str) or not PLACEHOLDER.search(value):
        return value
    if urlsplit(PLACEHOLDER.sub("x", value)).scheme not in ("http", "https"):
        raise wrong("is not a web address", 'Write "https://shop.example/products/{id}", or the name of a column.')
    return value


def _origins(value: Any) -> Any:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list | tuple) or not all(
        isinstance(each, str) and ORIGIN.fullmatch(each) for each in given
    ):
        raise wrong("is not a list of origins", 'Write image_hosts = ["https://images.example"], without a path.')
    return tuple(given)


class CardConfig(Section):
    """Roles of the metadata columns on the page."""

    title: OptionalText = None
    """Column that says what a row is called; by default one named `title`, `name`, `label`, `subject` or `headline`."""
    image: OptionalText = None
    """Column with the address of a picture."""
    image_hosts: Annotated[tuple[str, ...], BeforeValidator(_origins)] = Field(
        default=(), examples=[["https://images.example"]]
    )
    """Where pictures may come from. The page loads nothing from any other server."""
    url: Annotated[str | None, BeforeValidator(_url)] = Field(default=None, examples=["https://shop.example/p/{id}"])
    """Where the row itself is seen: a column with an address, or an address with columns or the key in braces."""
    snippet: OptionalText = None
    """Column whose text is shown below the title where a hit has no passage."""
    fields: Names = ()
    """Columns that are shown, in this order; by default all, with ids and long values folded away."""
