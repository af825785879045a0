"""What a connection to PostgreSQL is set to, so that no server, database or role decides what is read and written."""

from __future__ import annotations

from collections.abc import Mapping

ENCODING = "UTF8"
SETTINGS = {
    "client_encoding": ENCODING,
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    "xmloption": "content",
    # Above 0, an index gives some of the rows that it finds, chosen by chance.
    "gin_fuzzy_search_limit": "0",
}
"""How values are written and read. `lc_monetary` is not among them: it decides what an amount of `money` is."""
FORMS = ("timezone", "datestyle", "intervalstyle", "bytea_output", "extra_float_digits")
"""Those that decide what a value looks like as text."""


def set_statements(settings: Mapping[str, str], *, local: bool) -> str:
    """Statements that set them, for the transaction (`local`) or for the session."""
    scope = "local" if local else "session"
    return "; ".join(f"set {scope} {name} to '{value}'" for name, value in settings.items())
