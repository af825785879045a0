"""A real Prefect server in a process of its own: `python -m tests.servers.prefect PORT`.

PREFECT_HOME says where its database is.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import fastapi
import uvicorn


def main(port: int) -> None:
    # Prefect 3.8 uses arguments that FastAPI has dropped since; they are limits on lists in requests.
    fastapi.Body = _renamed(fastapi.Body)
    uvicorn.run("prefect.server.api.server:create_app", factory=True, port=port, log_level="warning")


def _renamed(function: Any) -> Any:
    names = {"min_items": "min_length", "max_items": "max_length"}

    @functools.wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        return function(*arguments, **{names.get(name, name): value for name, value in options.items()})

    return called


if __name__ == "__main__":
    main(int(sys.argv[1]))
