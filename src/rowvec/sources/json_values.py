"""JSON of files and of messages, read."""

from __future__ import annotations

import json
from typing import Any

from rowvec.errors import SourceError


def parse_json(raw: bytes, where: str, *, in_file: bool = True) -> Any:
    """
    Args:
        in_file: it is a line of a file, which may have been cut off, and no message of its own.

    Raises:
        SourceError: it is not JSON; the message says where, and never what stands there.
    """
    try:
        return json.loads(raw)
    except UnicodeDecodeError as error:
        hint = "Write the file as UTF-8." if in_file else "JSON is UTF-8: does the topic hold another format?"
        raise SourceError(f"{where}: byte {error.start + 1} is not UTF-8.", hint=hint) from error
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "")
        if not reason:
            what = "nested too deep" if isinstance(error, RecursionError) else "a number has too many digits"
            raise SourceError(f"{where}: no JSON that can be read: {what}.", hint="Correct the row.") from error
        ended = getattr(error, "pos", 0) >= len(raw.rstrip()) or reason.startswith("Unterminated")
        if in_file and ended and not raw.endswith(b"\n"):
            raise SourceError(
                f"{where}: the file ends in the middle of a line.", hint="It was cut off: copy or write it again."
            ) from error
        raise SourceError(f"{where}: no valid JSON: {reason}, column {getattr(error, 'pos', 0) + 1}.") from error
