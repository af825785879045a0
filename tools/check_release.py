"""Check that what is about to be released has one version number and a page in the changelog.

python tools/check_release.py v1.2.3     exit code 1 and one line for each mistake
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def mistakes(tag: str, root: Path) -> Iterator[str]:
    """What is wrong with releasing the tree at `root` under a tag."""
    version = re.search(r'^__version__ = "(.+)"$', (root / "src/rowvec/__init__.py").read_text("utf-8"), re.MULTILINE)
    if version is None:
        yield "src/rowvec/__init__.py has no __version__"
        return
    if tag != f"v{version[1]}":
        yield f"the tag is {tag}, and src/rowvec/__init__.py says {version[1]}"
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## (\S+) \((.+)\)$", changelog, re.MULTILINE)
    if newest is None or newest[1] != version[1]:
        yield f"the first section of CHANGELOG.md is not about {version[1]}"
    elif not re.fullmatch(r"\d{4}-\d\d-\d\d", newest[2]):
        yield f"CHANGELOG.md has no date for {version[1]}: {newest[2]}"


if __name__ == "__main__":
    found = list(mistakes(sys.argv[1], ROOT))
    print("\n".join(found))
    sys.exit(1 if found else 0)
